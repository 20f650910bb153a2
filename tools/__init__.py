"""
What the Makefile runs.

    demo        two nodes, real calls, one node killed, the bill written
    run         the same pair, kept up
    interop     clients that we did not write, against a pair
    soak        calls through a pair over a lossy network, and what they leave behind
    kill        kill -9 of a node under load, and what it still knows
    run_tests   the suite under trial
    run_bench   the benchmarks
    conformance the generated part of docs/conformance.md
    story       the account that demo, interop and soak give on the terminal
    foreground  runs a tool so that Ctrl-C lets it clean up
"""
