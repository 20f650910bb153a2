"""
How long something took, each time that it was done.

Counts in a few intervals from a millisecond to ten seconds, and a sum: what
Prometheus makes quantiles of.  No single time is kept.
"""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: where one interval ends and the next begins.  There is one more, without an end."""


class Durations:
    """
    The times that one kind of work took.

    @ivar counts: How many lie in each interval; a time on a bound belongs below it.
    @ivar total: The sum of all of them.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def took(self, seconds: float) -> None:
        """
        It was done once more.

        @param seconds: Less than none at all where the clock was set back.
        """
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        if seconds > 0:
            self.total += seconds
