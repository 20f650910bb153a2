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
from sipxha.cdr.order import Skew, arranged, skews
from sipxha.cdr.record import UNDECIDED, Cdr, Termination
from sipxha.cdr.resolve import LIMITS, Limits, record_of

SETTLED_AFTER = 120.0
"""Seconds after its last event for which an ended call waits for more.  For what comes later its
other events have to be looked up again."""


class OpenCall:
    """
    One call, and when to look at it again.
    """

    __slots__ = ("due", "events", "is_whole", "kept", "termination")

    def __init__(self) -> None:
        self.events: list[CallStateEvent] = []
        """Some may be there twice until the call is resolved."""

        self.kept: frozenset[CallStateEvent] = frozenset()
        """Those that are in the database of the resolver."""

        self.is_whole = False
        """Whether we surely hold all of its events that were read: those of settled calls were dropped."""

        self.termination: Termination | None = None
        self.due = -inf
        """The moment, in time that all hosts are read to, at which time decides or the call is settled."""

    @property
    def unkept(self) -> list[CallStateEvent]:
        """
        The events that are nowhere but here.
        """
        kept = self.kept
        return [event for event in self.events if event not in kept] if kept else self.events


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
        self._settled: list[str] = []
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
        kept: dict[str, list[CallStateEvent]] = {}
        for event in events:
            kept.setdefault(event.call_id, []).append(event)
        for call_id, those in kept.items():
            self.take(those)
            call = self._calls[call_id]
            call.kept |= frozenset(those)
            call.is_whole = is_whole

    def take(self, events: Iterable[CallStateEvent]) -> None:
        """
        Take what was read, each event as often as it may come.
        """
        calls, touched = self._calls, self._touched
        for event in events:
            call_id = event.call_id
            call = calls.get(call_id)
            if call is None:
                call = calls[call_id] = OpenCall()
            call.events.append(event)
            touched.add(call_id)

    def changed(self, as_of: float | None) -> list[str]:
        """
        Name the calls that have changed, or that time may decide now.
        """
        waiting = () if as_of is None else self._waiting(as_of)
        return list(self._touched.union(waiting))

    def settling(self, read_to: float) -> list[str]:
        """
        Of the calls that have changed, name those for which no more is likely to come.

        @param read_to: As for L{settle}.
        """
        calls, latest = self._calls, read_to - SETTLED_AFTER
        return [each for each in self._touched if calls[each].events[-1].event_time < latest]

    def partial(self, call_ids: Iterable[str]) -> list[str]:
        """
        Name those calls that may have other events which were read and dropped.
        """
        return [call_id for call_id in call_ids if not self._calls[call_id].is_whole]

    def complete(self, call_ids: Iterable[str]) -> None:
        """
        These were not dropped before, or have been given all of their events.
        """
        for call_id in call_ids:
            self._calls[call_id].is_whole = True

    def resolve(self, call_ids: Iterable[str], as_of: float | None) -> list[Cdr]:
        """
        Write the records of some calls.
        """
        records = []
        for call_id in call_ids:
            self._touched.discard(call_id)
            call = self._calls[call_id]
            try:
                records.append(self._record(call, as_of))
            except Exception as error:
                # A fault of ours may cost a call its record until it is mended, not others theirs.
                self.unresolved[call_id] = error
                call.events = list(dict.fromkeys(call.events))
                call.due = inf
        return records

    def settle(self, read_to: float, call_ids: Iterable[str] | None = None) -> None:
        """
        Drop the calls that are settled.

        @param read_to: The moment that all hosts which can be read were read to.  What another one has of
            a call that is decided without it comes as a late event.
        @param call_ids: Look at these only.
        """
        calls, touched = self._calls, self._touched
        for call_id in tuple(calls) if call_ids is None else call_ids:
            call = calls[call_id]
            if (
                call.due < read_to
                and call.is_whole
                and call.termination not in UNDECIDED
                and call_id not in touched
            ):
                if call.kept:
                    self._settled.append(call_id)
                del calls[call_id]

    def leftover(self) -> Leftover:
        """
        Say what to do about the events of all calls.
        """
        left = Leftover([], self._settled, [])
        self._settled = []
        for call_id, call in list(self._calls.items()):
            if not call.is_whole:
                left.late.extend(call.unkept)
                del self._calls[call_id]
            elif len(call.kept) < len(call.events):
                left.keep.extend(call.unkept)
                call.kept = frozenset(call.events)
        return left

    def _waiting(self, as_of: float) -> list[str]:
        return [
            call_id
            for call_id, call in self._calls.items()
            if call.due < as_of and call.termination in UNDECIDED
        ]

    def _record(self, call: OpenCall, as_of: float | None) -> Cdr:
        call.events = ordered = arranged(call.events)
        record = record_of(ordered, as_of, self._limits, self._gateways)
        first = last = ordered[0].event_time
        is_skewed = False
        for event in ordered:
            if event.event_time >= last:
                last = event.event_time
            else:
                is_skewed = True
        termination = record.termination
        if termination is Termination.REQUESTED:
            call.due = first + self._limits.max_ringing
        elif termination is Termination.IN_PROGRESS:
            call.due = first + self._limits.max_call
        else:
            call.due = last + SETTLED_AFTER
        if termination is not call.termination:
            if call.termination is not None:
                self.terminations[call.termination] -= 1
            self.terminations[termination] += 1
            call.termination = termination
        if is_skewed:
            self._note(skews(ordered))
        return record

    def _note(self, found: Iterable[Skew]) -> None:
        for skew in found:
            pair = _address(skew.ahead), _address(skew.behind)
            if pair[0] != pair[1]:
                self.skews[pair] = max(skew.seconds, self.skews.get(pair, 0.0))


def _address(observer: str) -> str:
    return observer.rpartition(":")[0] or observer
