"""
A call detail record: one row of C{cdrs}.

Attributes carry the names of the columns.  How a record comes about is not
told here but in L{sipxha.cdr.resolve}.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

NO_TAG = "1"
"""What the tag columns hold where no tag is known; they must not be empty."""


class Termination(StrEnum):
    """
    How far a call came.
    """

    REQUESTED = "R"
    IN_PROGRESS = "I"
    COMPLETED = "C"
    FAILED = "F"
    TRANSFERRED = "T"
    """Ended by a BYE after a REFER, whose sender did not take the call back."""

    UNKNOWN = "U"
    """Set up, and not heard of for longer than calls last."""

    ABANDONED = "A"
    """The caller gave up before anybody answered: 487."""


UNDECIDED = frozenset({Termination.REQUESTED, Termination.IN_PROGRESS})
"""Calls that only wait for their next event; C{view_cdrs} does not show them."""


class Cdr(NamedTuple):
    """
    All that is known of one call.

    Times are UTC seconds as observed, whatever the clocks of two nodes make
    of their difference.
    """

    call_id: str
    from_tag: str
    to_tag: str
    caller_aor: str
    """The From value without its tag."""

    callee_aor: str
    start_time: float | None
    connect_time: float | None
    end_time: float | None
    termination: Termination
    failure_status: int | None
    failure_reason: str | None
    reference: str | None
    caller_contact: str | None
    callee_contact: str | None
    caller_internal: bool | None
    callee_route: str | None
    events: int
    """Of how many events this was made.  A record made of fewer does not replace it."""

    as_of: float | None = None
    """Where only time decided (U, or F for ringing too long): the moment that all events were known to."""

    hung_up_by: str | None = None
    """C{caller} or C{callee}."""

    caller_transport: str | None = None
    callee_transport: str | None = None
    call_direction: str | None = None
    call_type: str | None = None
