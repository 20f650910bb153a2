"""
The calls that may yet change.

A L{Ledger} takes events as they are read, resolves the calls that they touch,
and says which events have to be kept for later: those of calls that are open,
or that ended a moment ago.  What it holds is bounded by the calls that wait
for something, not by those that were.  It knows no host and no database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from sipxha.cdr.direction import Gateways
from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.order import arranged, skews
from sipxha.cdr.record import UNDECIDED, Cdr, Termination
from sipxha.cdr.resolve import LIMITS, Limits, record_of

SETTLED_AFTER = 120.0
"""Seconds after its last event for which an ended call waits for more.  For what comes later its
other events have to be looked up again."""


class OpenCall:
    """
    One call, and when to look at it again.
    """

    __slots__ = ("due", "events", "is_kept", "is_whole", "termination", "unkept")

    def __init__(self) -> None:
        self.events: set[CallStateEvent] = set()
        self.unkept: list[CallStateEvent] = []
        """Those that are not in the database of the resolver."""

        self.is_kept = False
        """Whether any are there."""

        self.is_whole = False
        """Whether we surely hold all of its events that were read: those of settled calls were dropped."""

        self.termination: Termination | None = None
        self.due = 0.0
        """The moment, in time that all hosts are read to, at which time decides or the call is settled."""


class Leftover(NamedTuple):
    """
    What the next pass needs, and what none will.
    """

    keep: list[CallStateEvent]
    forget: list[str]
    """Call-IDs of which nothing need be kept any longer."""

    late: list[CallStateEvent]
    """To be kept too, as not whole: others of their calls could not be looked up."""


class Ledger:
    """
    All calls that may yet change.

    @ivar terminations: How many records have which code, each counted as it was resolved last.
    @ivar unresolved: Why a call has no record, by Call-ID; its events are kept.
    @ivar skews: By how many seconds one host's clock is ahead of another's, at least; a host is the address
        that its observers have in common.
    """

    def __init__(self, limits: Limits = LIMITS, gateways: Gateways | None = None) -> None:
        self._limits = limits
        self._gateways = gateways
        self._calls: dict[str, OpenCall] = {}
        self._touched: set[str] = set()
        self.terminations: Counter[Termination] = Counter()
        self.unresolved: dict[str, Exception] = {}
        self.skews: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def restore(self, events: Iterable[CallStateEvent], is_whole: bool = True) -> None:
        """
        Take what an earlier pass kept.

        @param is_whole: Whether these are all events of their calls that were ever read.
        """
        for event in events:
            call = self._call(event.call_id)
            call.events.add(event)
            call.is_kept = True
            call.is_whole = is_whole

    def take(self, events: Iterable[CallStateEvent]) -> None:
        """
        Take what was read, each event as often as it may come.
        """
        for event in events:
            call = self._call(event.call_id)
            if event not in call.events:
                call.events.add(event)
                call.unkept.append(event)

    def resolve(self, as_of: float | None) -> list[Cdr]:
        """
        Write the records of all calls that have changed, or that time now decides.
        """
        if as_of is not None:
            self._touched.update(
                call_id
                for call_id, call in self._calls.items()
                if call.due < as_of and call.termination in UNDECIDED
            )
        touched, self._touched = self._touched, set()
        records = []
        for call_id in touched:
            call = self._calls[call_id]
            try:
                records.append(self._record(call, as_of))
            except Exception as error:
                # A fault of ours may cost a call its record until it is mended, not others theirs.
                self.unresolved[call_id] = error
                call.due = inf
        return records

    def partial(self) -> list[str]:
        """
        Name the calls that may have other events which were read and dropped.
        """
        return [call_id for call_id in self._touched if not self._calls[call_id].is_whole]

    def complete(self, call_ids: Iterable[str]) -> None:
        """
        These were not dropped before, or have been given all of their events.
        """
        for call_id in call_ids:
            self._calls[call_id].is_whole = True

    def leftover(self, as_of: float | None) -> Leftover:
        """
        Drop the calls that are settled, and say what to do about the events of all.
        """
        left = Leftover([], [], [])
        for call_id, call in list(self._calls.items()):
            if not call.is_whole:
                left.late.extend(call.unkept)
                del self._calls[call_id]
            elif as_of is not None and call.due < as_of and call.termination not in UNDECIDED:
                if call.is_kept:
                    left.forget.append(call_id)
                del self._calls[call_id]
            elif call.unkept:
                left.keep.extend(call.unkept)
                call.unkept = []
                call.is_kept = True
        return left

    def _call(self, call_id: str) -> OpenCall:
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = OpenCall()
        self._touched.add(call_id)
        return call

    def _record(self, call: OpenCall, as_of: float | None) -> Cdr:
        ordered = arranged(call.events)
        record = record_of(ordered, as_of, self._limits, self._gateways)
        times = [event.event_time for event in ordered]
        if record.termination is Termination.REQUESTED:
            call.due = times[0] + self._limits.max_ringing
        elif record.termination is Termination.IN_PROGRESS:
            call.due = times[0] + self._limits.max_call
        else:
            call.due = max(times) + SETTLED_AFTER
        if call.termination is not None:
            self.terminations[call.termination] -= 1
        self.terminations[record.termination] += 1
        call.termination = record.termination
        if times != sorted(times):
            for skew in skews(ordered):
                pair = _address(skew.ahead), _address(skew.behind)
                if pair[0] != pair[1]:
                    self.skews[pair] = max(skew.seconds, self.skews.get(pair, 0.0))
        return record


def _address(observer: str) -> str:
    return observer.rpartition(":")[0] or observer
