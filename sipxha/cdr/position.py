"""
How far a host's call state events have been read.

Ids are given when a row is written and seen when it is committed, so a lesser
one may appear after a greater one.  A position therefore remembers which ids
were missing, and these are asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from sipxha.cdr.event import CallStateEvent

MOST_GAPS = 1000
"""How many missing ids are remembered; a sequence also leaves gaps for ever."""


class Position(NamedTuple):
    """
    What has been read of one host.
    """

    last_id: int = 0
    mark: str | None = None
    """What tells the row C{last_id} from one that took its id in another life of the database."""

    read_to: float | None = None
    """The moment, by the host's clock, that all its events are known to."""

    gaps: tuple[int, ...] = ()
    """Ids below C{last_id} that were not there."""

    def is_of_another_life(self, last_id: int, event: CallStateEvent | None) -> bool:
        """
        Whether the database was restored or made anew since: then all is read again.

        @param last_id: The greatest id it has now.
        @param event: What stands at our position; C{None} if nothing does.  A purge of ours leaves it
            there; after one of somebody else there is not much to be read again.
        """
        return last_id < self.last_id or event is None or _mark(event) != self.mark

    def after_page(self, rows: Sequence[tuple[int, CallStateEvent]], now: float, is_last: bool) -> Position:
        """
        The position after a page of rows.

        @param rows: With ascending ids, all greater than C{last_id}.
        @param now: What the host's clock said before.
        @param is_last: Whether there was no more to read then.
        """
        missing: list[int] = []
        if rows and rows[-1][0] == self.last_id + len(rows) and isfinite(rows[-1][1].event_time):
            last = rows[-1][1]
            return Position(
                rows[-1][0], _mark(last), now if is_last else min(now, last.event_time), self.gaps
            )
        expected = self.last_id + 1
        read_to = self.read_to
        for row_id, event in rows:
            if row_id != expected:
                missing.extend(range(max(expected, row_id - MOST_GAPS), row_id))
            expected = row_id + 1
            if isfinite(event.event_time):
                read_to = event.event_time
        return Position(
            expected - 1,
            _mark(rows[-1][1]) if rows else self.mark,
            now if is_last or read_to is None else min(now, read_to),
            (*self.gaps, *missing)[-MOST_GAPS:] if missing else self.gaps,
        )

    def after_gaps(self, found: Sequence[int]) -> Position:
        """
        The position after some of the missing rows were read.
        """
        there = set(found)
        return self._replace(gaps=tuple(gap for gap in self.gaps if gap not in there))


def _mark(event: CallStateEvent) -> str:
    return f"{event.observer} {event.event_seq} {event.event_time} {event.call_id}"
