"""
Why an event cannot be used.

Rows come from databases that anybody may have written to.  An event that
fails here goes to the dead letters and costs nothing but itself.  Absent
tags, contacts or addresses are no fault: a record does with what there is.
"""

from __future__ import annotations

from math import inf, isfinite

from sipxha.cdr.event import CallStateEvent

EVENT_TYPES = frozenset("RSFTE")

LONGEST_CALL_ID = 2000
"""Bytes; an index of PostgreSQL takes no more than 2,700."""


def fault_of(event: CallStateEvent) -> str | None:
    """
    Say what makes an event unusable.

    @return: A reason for operators, or C{None} for a sound event.
    """
    if (
        event.event_type in EVENT_TYPES
        and 0 < len(event.call_id) <= LONGEST_CALL_ID // 4
        and -inf < event.event_time < inf
        and event.cseq >= 0
    ):
        return None
    if event.event_type not in EVENT_TYPES:
        return f"event_type {event.event_type!r} is none of R S F T E"
    if not event.call_id:
        return "call_id is empty"
    if len(event.call_id.encode()) > LONGEST_CALL_ID:
        return f"call_id is longer than {LONGEST_CALL_ID} bytes"
    if not isfinite(event.event_time):
        return "event_time is not a moment"
    if event.cseq < 0:
        return "cseq is negative"
    return None
