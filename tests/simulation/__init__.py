"""
Whole clusters without a network.

    cluster         real engines and registries over virtual disks, links and clocks
    schedules       what can happen to them, for Hypothesis to combine
    histories       what happens so seldom by chance that it is told
    mutations       mistakes made on purpose
    test_cluster    what must hold, whatever happened
    test_mutations  that whoever breaks it is caught
    run             the same for many minutes, from a terminal: C{make simulate}
"""
