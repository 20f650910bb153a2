"""
The simulator for as long as one likes::

    MINUTES=10 python -m tests.simulation.run

Plays schedules longer than those of the tests until the time is up or one
fails.  Each round has a seed of its own, which is printed and, as C{SEED},
begins with that round; Hypothesis shrinks what fails, and prints the blob that
repeats it.
"""

from __future__ import annotations

import os
import sys
import time
from random import Random

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.simulation.schedules import Step, ages, outcome, schedules

AT_ONCE = 200
SIZES = (2, 3, 4, 5)


def main() -> int:
    """
    Play; 0 when all held.
    """
    end = time.monotonic() + 60 * float(os.environ.get("MINUTES", "1"))
    first = os.environ.get("SEED")
    chance = Random()
    played = 0
    has_failed = False

    def converges(size: int, steps: list[Step], chance: int, spoken: list[int]) -> None:
        nonlocal played, has_failed
        # What failed once is played again and again to make it short.
        if has_failed or time.monotonic() < end:
            played += 1
            wrong = outcome(size, steps, chance, ages(spoken))
            has_failed = has_failed or bool(wrong)
            assert not wrong, wrong

    while time.monotonic() < end:
        number = chance.getrandbits(32) if first is None else int(first)
        first = None
        sys.stdout.write(f"SEED={number}\n")
        sys.stdout.flush()
        for size in SIZES:
            patient = settings(
                deadline=None,
                max_examples=AT_ONCE,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                database=None,
            )
            spoken = st.lists(st.sampled_from((0, 0, 0, 0, 1, 2)), min_size=size, max_size=size)
            play = given(st.just(size), schedules(size, 100), st.integers(0, 1 << 32), spoken)(converges)
            patient(seed(number)(play))()
        sys.stdout.write(f"{played} schedules, all converged\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
