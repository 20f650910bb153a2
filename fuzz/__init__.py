"""
Hostile bytes for the message core.

    - targets: what must hold for any bytes
    - one: one target under atheris
    - run: all targets, each for its share of the time; keeps what they find

What was found lives on in C{tests/corpus/found}, and every run of the tests
replays it.  Nothing here is installed.
"""
