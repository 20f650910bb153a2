"""
Whole clusters without a network.

    cluster         real engines and registries over virtual disks, links and clocks
    schedules       what can happen to them, for Hypothesis to combine
    test_cluster    what must hold, whatever happened
    run             the same for many minutes, from a terminal
"""
