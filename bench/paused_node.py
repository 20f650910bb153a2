"""
A node that notes how long the garbage collector stopped it, for
L{bench.bench_call}::

    python -m bench.paused_node twistd -n sipxha --config F

What it noted is in C{pauses.json} beside the configuration when it has ended:
generation and milliseconds of each time, since it was ready.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from typing import Any

from bench.watched_node import be_twistd, replace
from sipxha.services.pauses import Pauses


class Watch:
    """
    What was noted.
    """

    def __init__(self) -> None:
        self.pauses: list[tuple[int, float]] = []
        self._begun = 0.0

    def begin(self) -> None:
        """
        Look on from the moment that the node is ready.
        """
        settle = Pauses.settle

        def settled(pauses: Pauses) -> None:
            settle(pauses)
            gc.callbacks.append(self._looked)

        replace(Pauses, "settle", settled)

    def _looked(self, phase: str, info: Mapping[str, Any]) -> None:
        # The time of this thread: what other jobs take is not the collector's.
        if phase == "start":
            self._begun = time.thread_time()
        else:
            self.pauses.append((info["generation"], (time.thread_time() - self._begun) * 1000))


def main() -> None:
    """
    Be twistd.
    """
    watch = Watch()
    watch.begin()
    be_twistd("pauses.json", lambda: watch.pauses)


if __name__ == "__main__":
    main()
