"""
All events of one call in, its record out.

The record is a function of the set of events (and, where only time decides,
of the moment that all events are known to): the order of their arrival and
duplicates make no difference.  Whatever is missing, the record says what the
rest allows; with more events a known field changes only to be corrected.  An
outcome (termination, end and failure) is one such field: a failed attempt
gives way to a setup, and that to an end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sipxha.cdr.direction import Gateways, direction_of, transport_of
from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.legs import Leg, Standing, legs_of
from sipxha.cdr.order import arranged
from sipxha.cdr.party import without_params, without_tag
from sipxha.cdr.record import NO_TAG, Cdr, Termination

_CANCELLED = 487
_TIMED_OUT = (408, "Request Timeout")
_HUNG_UP = frozenset({Termination.COMPLETED, Termination.TRANSFERRED})
_BY_EITHER_SIDE = frozenset({"T", "E"})
"""Events that do not tell who called."""


class Limits(NamedTuple):
    """
    How long to wait for a call's next event before time decides.
    """

    max_call: float = 28800.0
    max_ringing: float = 120.0


LIMITS = Limits()


class Outcome(NamedTuple):
    """
    How a call ended, as far as it did.
    """

    termination: Termination
    end_time: float | None = None
    failure_status: int | None = None
    failure_reason: str | None = None


def resolve(
    events: Iterable[CallStateEvent],
    as_of: float | None = None,
    limits: Limits = LIMITS,
    gateways: Gateways | None = None,
) -> Cdr:
    """
    Write the record of one call.

    @param events: What all hosts know of one Call-ID, at least one event, all sound
        (L{sipxha.cdr.scrutiny.fault_of}).
    @param as_of: The moment that the events of all hosts are known to; C{None} where a host
        has never been read: then time decides nothing.
    @param gateways: By which the call's direction is told; C{None} where none are configured.
    """
    return record_of(arranged(events), as_of, limits, gateways)


def record_of(
    ordered: list[CallStateEvent], as_of: float | None, limits: Limits, gateways: Gateways | None = None
) -> Cdr:
    """
    The same, of events in their order (L{sipxha.cdr.order.arranged}).
    """
    opening: CallStateEvent | None = None
    reference = caller_contact = None
    caller_internal: bool | None = None
    for event in ordered:
        if event.event_type != "R":
            continue
        opening = opening or event
        reference = reference or event.reference
        caller_contact = caller_contact or event.contact
        # The first INVITE of a caller lacks the identity that the repeated one proves.
        if not caller_internal and event.caller_internal is not None:
            caller_internal = event.caller_internal
    start_time = opening.event_time if opening else None
    # Without a request the first of the others: a setup or failure names the caller in From too.
    opening = opening or ordered[0]
    legs = legs_of(ordered)
    best = legs[0] if legs else None
    outcome = _outcome(best) if best else Outcome(Termination.REQUESTED)
    connect_time = None
    callee_contact = callee_route = None
    # What the best leg does not tell is taken from the next best.
    for leg in legs:
        if leg.setup is not None:
            connect_time = connect_time if connect_time is not None else leg.setup.event_time
        callee_contact = callee_contact or leg.contact
        callee_route = callee_route or leg.route
    judged = _judged(outcome, opening.event_time, as_of, limits)
    to_tag = best.callee_tag(opening.from_tag) if best else opening.to_tag
    return Cdr(
        opening.call_id,
        opening.from_tag or NO_TAG,
        to_tag or NO_TAG,
        without_tag(opening.from_url),
        without_tag(opening.to_url),
        start_time,
        connect_time,
        judged.end_time,
        judged.termination,
        judged.failure_status,
        judged.failure_reason,
        reference or None,
        without_params(caller_contact),
        without_params(callee_contact),
        caller_internal,
        callee_route or None,
        len(ordered),
        None if judged is outcome else as_of,
        _hung_up_by(judged.termination, best, opening),
        transport_of(caller_contact),
        transport_of(callee_contact),
        *direction_of(gateways, caller_contact, callee_contact, caller_internal, callee_route),
    )


def _hung_up_by(termination: Termination, best: Leg | None, opening: CallStateEvent) -> str | None:
    """
    Tell who ended the call, where somebody did; to give up before anybody answers ends it too.
    """
    if termination is Termination.ABANDONED:
        return "caller"
    if best is None or termination not in _HUNG_UP or opening.event_type in _BY_EITHER_SIDE:
        return None
    assert best.end is not None
    return "caller" if best.end.from_tag == opening.from_tag else "callee"


def _outcome(leg: Leg) -> Outcome:
    standing = leg.standing
    if standing is Standing.ENDED:
        assert leg.end is not None
        termination = Termination.TRANSFERRED if leg.transfer else Termination.COMPLETED
        return Outcome(termination, leg.end.event_time)
    if standing is Standing.OPEN:
        return Outcome(Termination.IN_PROGRESS)
    failure = leg.failure if standing is Standing.FAILED else leg.loss
    assert failure is not None
    status = failure.failure_status or None
    termination = Termination.ABANDONED if status == _CANCELLED else Termination.FAILED
    return Outcome(termination, failure.event_time, status, failure.failure_reason or None)


def _judged(outcome: Outcome, began: float, as_of: float | None, limits: Limits) -> Outcome:
    """
    Let time decide what no event did.  Later events correct it.
    """
    if as_of is None:
        return outcome
    if outcome.termination is Termination.IN_PROGRESS and as_of - began > limits.max_call:
        return Outcome(Termination.UNKNOWN)
    if outcome.termination is Termination.REQUESTED and as_of - began > limits.max_ringing:
        return Outcome(Termination.FAILED, None, *_TIMED_OUT)
    return outcome
