"""
How much each source asks for.

Counts requests by where they came from, as a bucket that drains evenly: what
is refused adds nothing, so whoever slows down is heard again at once.  Knows
no more about a source than its name, and refuses nothing itself.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

REMEMBERED: Final = 50_000
"""How many sources are kept in mind; those that were heard longest ago are forgotten first."""


class Rates:
    """
    The sources that were heard of late.
    """

    __slots__ = ("_each", "_empty_at", "_most", "_remembered")

    def __init__(self, per_second: int, burst: int, remembered: int = REMEMBERED) -> None:
        """
        @param burst: How many may come at once.
        """
        self._each = 1.0 / per_second
        self._most = burst / per_second
        self._remembered = remembered
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._empty_at)

    def is_over(self, source: str, now: float) -> bool:
        """
        Count a request, unless there were too many.

        @return: Whether there were.
        """
        empty_at = self._empty_at.get(source, now)
        if not now < empty_at <= now + self._most:
            # Drained; or the clock was set back, which is nobody's fault.
            empty_at = now
        empty_at += self._each
        # Sums of parts of a second are not exact.
        if empty_at > now + self._most + self._each / 2:
            return True
        self._empty_at[source] = empty_at
        self._empty_at.move_to_end(source)
        if len(self._empty_at) > self._remembered:
            self._empty_at.popitem(last=False)
        return False
