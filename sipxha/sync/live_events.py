"""
How nodes tell each other of the calls that they see at the moment: the events
of those that are not over, one by one (C{registrarSync2.calls}).

What becomes of them is L{sipxha.cdr.live}'s business; when anybody asks,
L{sipxha.services.live_calls}'.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.scrutiny import fault_of
from sipxha.sync import rpc, wire
from sipxha.sync.wire import Value

CALLS = "registrarSync2.calls"

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "event_time": (float, int),
    "event_seq": int,
    "cseq": int,
    "failure_status": int,
    "via_count": int,
    "caller_internal": bool,
}
_MUST = frozenset(
    ("observer", "event_seq", "event_time", "event_type", "cseq", "call_id", "from_url", "to_url")
)
_KINDS = [(_TYPES.get(name, str), name not in _MUST) for name in CallStateEvent._fields]


def write_call(caller: str) -> list[Value]:
    """
    The parameters of the question.
    """
    return [caller]


def write_events(events: Iterable[CallStateEvent]) -> Iterator[bytes]:
    """
    The answer.
    """
    # JSON leaves nothing in a text that XML could not carry.
    rows: Iterator[Value] = ({"event": json.dumps(event, ensure_ascii=True)} for event in events)
    return wire.encode_rows({}, "events", rows)


def read_event(struct: Mapping[str, Value]) -> CallStateEvent:
    """
    One event of the answer.

    @raise wire.Fault: It is none, or one that nobody can use.
    """
    text = struct.get("event")
    try:
        values = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(_KINDS):
        raise _no_event()
    for value, (kind, may_lack) in zip(values, _KINDS, strict=True):
        if not (isinstance(value, kind) or (value is None and may_lack)):
            raise _no_event()
    event = CallStateEvent(*values)
    if fault_of(event) is not None:
        raise _no_event()
    return event


def read_events(value: Any) -> list[CallStateEvent]:
    """
    All events of the answer.

    @param value: As the wire had it, each event having been read.

    @raise rpc.Malformed: It is none.
    """
    events = value.get("events") if isinstance(value, dict) else None
    if not isinstance(events, list) or not all(isinstance(each, CallStateEvent) for each in events):
        raise rpc.Malformed("the answer tells of no calls")
    return events


def _no_event() -> wire.Fault:
    return wire.Fault(rpc.INVALID_PARAMETER, "an event of a call is none")
