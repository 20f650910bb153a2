"""
What the Makefile runs: the demo, the test run, interop and the benchmarks.
"""
