"""
Calls that ring or are talked in at this moment.

A L{LiveCalls} is what one node has seen of such calls, from the events that
its proxies log; L{live_calls} joins what several nodes have seen.  Who has the
request need not have the answer or the end, so each node also remembers for a
while what it saw end of calls that began elsewhere.  All of it is forgotten
with the process; the records of calls do not depend on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from sipxha.cdr.direction import transport_of
from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.legs import CHALLENGES, Standing, legs_of
from sipxha.cdr.order import arranged
from sipxha.cdr.party import without_params
from sipxha.cdr.resolve import LIMITS, Limits, record_of

MOST = 5000
"""Calls that a node keeps; beyond that it forgets the oldest."""

MOST_EVENTS = 16
"""Of one call: further re-INVITEs say nothing new."""

MOST_ENDS = 32
"""The same, with room for the ends of its legs, whatever came before."""

RINGING = "ringing"
TALKING = "talking"


class LiveCall(NamedTuple):
    """
    A call that is not over.
    """

    call_id: str
    state: str
    """C{ringing} or C{talking}."""

    caller_aor: str
    callee_aor: str
    start_time: float | None
    connect_time: float | None
    caller_contact: str | None
    callee_contact: str | None
    caller_transport: str | None
    callee_transport: str | None
    caller_internal: bool | None
    observers: tuple[str, ...]
    """The proxies that have seen anything of it."""


# When to forget a call, whatever became of it, and its events: as plain tuples,
# for these are thousands, and a named one the garbage collector looks at for ever.
_Kept = tuple[float, tuple[tuple[object, ...], ...]]


class LiveCalls:
    """
    What one node has seen of calls that are not over.

    @ivar forgotten: How many calls there was no room for.
    """

    def __init__(self, limits: Limits = LIMITS, most: int = MOST) -> None:
        self._limits = limits
        self._most = most
        self._calls: dict[str, _Kept] = {}
        self._over: OrderedDict[str, _Kept] = OrderedDict()
        """Those that ended, as far as is known here, and whose end another node may have to know."""

        # For longer than a request alone is taken for a ringing call.
        self._ended_for = limits.max_ringing + 60.0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._calls)

    def take(self, event: CallStateEvent) -> None:
        """
        Hear of an event.
        """
        call = self._calls.get(event.call_id)
        if call is None:
            if len(self._calls) >= self._most:
                self._make_room(event.event_time)
            call = self._over.pop(event.call_id, None) or (0.0, ())
        until, events = call
        if len(events) < (MOST_ENDS if event.event_type == "E" else MOST_EVENTS):
            events = (*events, tuple(event))
        if event.event_type not in "EF":
            until = event.event_time + self._limits.max_call
        self._calls[event.call_id] = (until, events)
        if event.event_type in "EF":
            self._end(events, event)

    def told(self, now: float) -> list[CallStateEvent]:
        """
        Tell all that another node may need.
        """
        for calls in (self._calls, self._over):
            _expire(calls, now)
        return [
            CallStateEvent._make(event)
            for calls in (self._calls, self._over)
            for _, events in calls.values()
            for event in events
        ]

    def _end(self, kept: tuple[tuple[object, ...], ...], event: CallStateEvent) -> None:
        """
        See what an end or a failure ends.
        """
        events = [CallStateEvent._make(one) for one in kept]
        answered = {_tags(one) for one in events if one.event_type == "S"}
        if answered - {_tags(one) for one in events if one.event_type == "E"}:
            return
        began = [one.event_time for one in events if one.event_type == "R"]
        if event.event_type == "F" and (
            event.failure_status in CHALLENGES or not _is_at_the_door(event, events)
        ):
            # Of an attempt that goes on, or of one branch as an authproxy of old tells it.
            return
        del self._calls[event.call_id]
        # Where the request is known, another one elsewhere is hardly younger.
        until = (min(began) if began else event.event_time) + self._ended_for
        if until > event.event_time:
            if len(self._over) >= self._most:
                self._over.popitem(last=False)
            self._over[event.call_id] = (until, kept)

    def _make_room(self, now: float) -> None:
        _expire(self._calls, now)
        # Some at a time, so that a flood does not look through all of them for each call.
        surplus = len(self._calls) - self._most * 9 // 10
        if surplus > 0:
            self.forgotten += surplus
            for call_id in list(self._calls)[:surplus]:
                del self._calls[call_id]


def _expire(calls: dict[str, _Kept], now: float) -> None:
    for call_id in [call_id for call_id, (until, _) in calls.items() if until <= now]:
        del calls[call_id]


def _is_at_the_door(failure: CallStateEvent, events: list[CallStateEvent]) -> bool:
    """
    Whether the failure is what the caller heard.
    """
    return any(one.event_type == "R" and one.branch_id == failure.branch_id for one in events)


def live_calls(events: Iterable[CallStateEvent], now: float, limits: Limits = LIMITS) -> list[LiveCall]:
    """
    Join what nodes have seen.

    @param events: Those of all of them, in any order.

    @return: The oldest first.
    """
    calls: dict[str, set[CallStateEvent]] = {}
    for event in events:
        calls.setdefault(event.call_id, set()).add(event)
    found = [live for seen in calls.values() if (live := _live(seen, now, limits)) is not None]
    return sorted(found, key=lambda call: (call.start_time or call.connect_time or now, call.call_id))


def _live(events: set[CallStateEvent], now: float, limits: Limits) -> LiveCall | None:
    ordered = arranged(events)
    legs = legs_of(ordered)
    began = ordered[0].event_time
    speaking = [leg for leg in legs if leg.standing is Standing.OPEN and leg.setup is not None]
    if speaking:
        if now - began > limits.max_call:
            return None
    elif legs or now - began > limits.max_ringing:
        return None
    record = record_of(ordered, None, limits)
    leg = speaking[0] if speaking else None
    contact = leg.contact if leg is not None else None
    return LiveCall(
        record.call_id,
        TALKING if speaking else RINGING,
        record.caller_aor,
        record.callee_aor,
        record.start_time,
        leg.setup.event_time if leg is not None and leg.setup is not None else None,
        record.caller_contact,
        without_params(contact),
        record.caller_transport,
        transport_of(contact),
        record.caller_internal,
        tuple(sorted({event.observer for event in ordered})),
    )


def _tags(event: CallStateEvent) -> tuple[str, str]:
    one, other = event.from_tag or "", event.to_tag or ""
    return (one, other) if one <= other else (other, one)
