"""
What is left of transactions that are over but for repetitions.

A call is set up in milliseconds, and its transactions rest for 32 seconds, so
nearly all that a busy node keeps is here.  It is kept in values that the
garbage collector does not look at: strings, bytes, numbers, and plain tuples of
these.  (A named tuple it looks at for ever.)  Knows when each transaction is
over; what the values mean is L{sipxha.transaction.layer}'s.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from math import inf
from typing import Any

Key = tuple[str, ...]
"""As a plain tuple, which a C{ServerKey} or C{ClientKey} is equal to."""

Kept = tuple[Any, ...]
"""Floats, integers, strings, bytes and C{None}."""


class Resting:
    """
    The transactions of one layer that rest.  Durations must be few.
    """

    def __init__(self) -> None:
        # What is kept, with the deadline in front.
        self._kept: dict[Key, Kept] = {}
        # For each duration the deadlines in order, and the keys in step with
        # them; who was dropped has a place there until its deadline.
        self._queues: dict[float, tuple[deque[float], deque[Key]]] = {}
        # Nobody is over before this.
        self._soonest = inf

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, seconds: float, now: float, what: Kept) -> None:
        """
        Keep C{what} of a transaction for so many seconds.
        """
        key = tuple(key)
        deadline = now + seconds
        self._kept[key] = (deadline, *what)
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = (deque(), deque())
        deadlines, keys = queue
        if deadlines and deadline < deadlines[-1]:
            # The clock was set back.
            place = bisect_right(deadlines, deadline)
            deadlines.insert(place, deadline)
            keys.insert(place, key)
        else:
            deadlines.append(deadline)
            keys.append(key)
        if deadline < self._soonest:
            self._soonest = deadline

    def find(self, key: Key) -> Kept | None:
        """
        What is kept of a transaction, if it rests.
        """
        kept = self._kept.get(key)
        return None if kept is None else kept[1:]

    def replace(self, key: Key, what: Kept) -> None:
        """
        Keep other values of a transaction, for as long as before.
        """
        self._kept[tuple(key)] = (self._kept[key][0], *what)

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def drop(self, key: Key) -> None:
        """
        Keep nothing of it any more.
        """
        del self._kept[key]

    def next_deadline(self) -> float | None:
        """
        A time before which nobody is over, and at which L{due} should be asked.
        """
        if not self._kept:
            self._soonest = inf
            return None
        return self._soonest

    def due(self, now: float) -> Iterator[Key]:
        """
        Drop those whose time has come, and name them.
        """
        if now < self._soonest:
            return
        for deadlines, keys in list(self._queues.values()):
            while deadlines and deadlines[0] <= now:
                deadline, key = deadlines.popleft(), keys.popleft()
                kept = self._kept.get(key)
                # Otherwise it was dropped, and another may have got its name.
                if kept is not None and kept[0] == deadline:
                    del self._kept[key]
                    yield key
        self._soonest = min([queue[0] for queue, _ in self._queues.values() if queue], default=inf)
