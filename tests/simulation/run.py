"""
The simulator for as long as one likes::

    MINUTES=10 python -m tests.simulation.run

Plays schedules longer than those of the tests until the time is up or one
fails.  Hypothesis shrinks that one, and prints the blob that repeats it.
"""

from __future__ import annotations

import os
import sys
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulation.cluster import Cluster
from tests.simulation.schedules import Step, play, schedules

AT_ONCE = 500


def main() -> int:
    """
    Play; 0 when all held.
    """
    end = time.monotonic() + 60 * float(os.environ.get("MINUTES", "1"))
    played = 0

    def converges(size: int, steps: list[Step], seed: int) -> None:
        nonlocal played
        played += 1
        cluster = Cluster(size, seed)
        cluster.start()
        cluster.advance(2)
        play(cluster, steps)
        cluster.heal()
        wrong = cluster.differences()
        assert not wrong, wrong

    while time.monotonic() < end:
        for size in (2, 3, 4):
            patient = settings(
                deadline=None,
                max_examples=AT_ONCE,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                database=None,
            )
            patient(given(st.just(size), schedules(size, 100), st.integers(0, 1 << 32))(converges))()
        sys.stdout.write(f"{played} schedules, all converged\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
