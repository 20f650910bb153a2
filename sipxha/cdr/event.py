"""
A call state event: one row of C{call_state_events}.

Attributes carry the names of the columns.  Absent text is C{None}, never the
empty string; writers of old left empty strings, and readers of rows turn
those into C{None} before they build an event.
"""

from __future__ import annotations

from typing import NamedTuple


class CallStateEvent(NamedTuple):
    """
    What a proxy saw of a call.

    C{event_type} is R (requested), S (set up), F (failed), E (ended) or
    T (transferred); which columns each type fills is in calls.md 1.1.
    """

    observer: str
    """The proxy that saw it: C{address:port}."""

    event_seq: int
    """Counts from 0 within one life of the observer."""

    event_time: float
    """UTC seconds by the observer's clock; stored with milliseconds."""

    event_type: str
    cseq: int
    call_id: str
    from_tag: str | None
    to_tag: str | None
    from_url: str
    to_url: str
    contact: str | None = None
    refer_to: str | None = None
    referred_by: str | None = None
    failure_status: int | None = None
    failure_reason: str | None = None
    request_uri: str | None = None
    reference: str | None = None
    caller_internal: bool | None = None
    callee_route: str | None = None
    branch_id: str | None = None
    via_count: int | None = None
