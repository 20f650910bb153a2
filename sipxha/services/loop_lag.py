"""
How late the reactor is: what everything that a node does waits for.

Measures only; what makes it late is for others to find out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

INTERVAL = 1.0
"""Seconds between two ticks that are in time."""

REMEMBERED = 60
"""How many of the last ticks are looked at."""


class LoopLag:
    """
    Watches whether its own ticks come in time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """
        @param clock: Seconds that nobody sets back.
        """
        self._clock = clock
        self._last: float | None = None
        self._lags: deque[float] = deque(maxlen=REMEMBERED)

    def tick(self) -> None:
        """
        A second should have passed since the last one.
        """
        now = self._clock()
        if self._last is not None:
            self._lags.append(max(now - self._last - INTERVAL, 0.0))
        self._last = now

    @property
    def longest(self) -> float:
        """
        By how many seconds the latest of the last minute's ticks was late.
        """
        return max(self._lags, default=0.0)
