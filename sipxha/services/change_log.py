"""
What became of registrations on this node: a line for each change, and counts.

Decides nothing.  Changes that come from other nodes are replication's to tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from twisted.logger import Logger

from sipxha.registry.binding import MARKER, Binding
from sipxha.services.durations import Durations

CAUSES = ("registered", "refreshed", "removed", "flow closed", "administrative")
"""Why a binding changes."""


class ChangeLog:
    """
    Writes down what changed, and counts it.

    Refreshes are most of it, and no news: they are written at level debug.

    @ivar changes: How many bindings changed, by cause.
    @ivar confirmed: How many REGISTERs were answered 200, queries included.
    @ivar delays: How long each of those took here, disk and peer included.
    @ivar refusals: How many REGISTERs were refused, by status; a challenge is one, too.
    """

    _log = Logger()

    def __init__(self, level: str = "info") -> None:
        """
        @param level: From which level on lines are written at all: what would
            be thrown away is not even made.
        """
        self.set_level(level)
        self.changes: Counter[str] = Counter(dict.fromkeys(CAUSES, 0))
        self.confirmed = 0
        self.delays = Durations()
        self.refusals: Counter[int] = Counter()

    def set_level(self, level: str) -> None:
        """
        Write lines from this level on.
        """
        self._is_verbose = level == "debug"
        self._is_silent = level not in ("debug", "info")

    def registered(self, rows: Sequence[Binding], before: Sequence[Binding | None], now: float) -> None:
        """
        A REGISTER changed rows.

        @param before: What each of them was.
        """
        for row, old in zip(rows, before, strict=True):
            is_live = row.deadline > now
            was_live = old is not None and old.deadline > now
            if is_live:
                self._changed(row, "refreshed" if was_live else "registered", now)
            elif was_live:
                self._changed(row, "removed", now)

    def changed(self, rows: Sequence[Binding], cause: str, now: float) -> None:
        """
        Rows changed for another reason.
        """
        for row in rows:
            if row.contact != MARKER:
                self._changed(row, cause, now)

    def _changed(self, row: Binding, cause: str, now: float) -> None:
        self.changes[cause] += 1
        if self._is_silent or (cause == "refreshed" and not self._is_verbose):
            return
        fields = {
            "contact": row.contact,
            "identity": row.identity,
            "seconds": max(round(row.deadline - now), 0),
            "callid": row.callid,
        }
        if cause == "refreshed":
            self._log.debug("refreshed: {contact} of {identity} for {seconds} s, Call-ID {callid}", **fields)
        else:
            self._log.info(
                "{cause}: {contact} of {identity} for {seconds} s, Call-ID {callid}",
                cause=cause,
                **fields,
            )
