"""
From a message to the call state event that it makes (calls.md 1).

Which messages make events, and when, is for the proxies; what goes into each
column is decided here.  Tags, contacts and parameters that a message lacks, or
that cannot be read, are absent and never an error: an event of what was seen
is worth more than none.
"""

from __future__ import annotations

from sipxha.cdr.event import CallStateEvent
from sipxha.sip.grammar import MalformedField
from sipxha.sip.message import Request, Response
from sipxha.sip.values import Message


def requested(
    request: Request, observer: str, seq: int, now: float, *, caller_internal: bool | None = None
) -> CallStateEvent:
    """
    R: an INVITE that asks for a new call was let in.

    @param caller_internal: Whether the caller proved an identity of ours.
    """
    branch_id, via_count = _vias(request)
    return _event(
        "R",
        request,
        observer,
        seq,
        now,
        contact=_contact(request),
        request_uri=request.uri,
        reference=_reference(request),
        caller_internal=caller_internal,
        branch_id=branch_id,
        via_count=via_count,
    )


def set_up(request: Request, response: Response, observer: str, seq: int, now: float) -> CallStateEvent:
    """
    S: a 2xx to an INVITE goes back to the caller.

    @param request: The INVITE as it came, whose branch and number of Vias
        tell the resolver to which fork it belongs.
    """
    branch_id, via_count = _vias(request)
    return _event(
        "S",
        response,
        observer,
        seq,
        now,
        contact=_contact(response),
        branch_id=branch_id,
        via_count=via_count,
    )


def failed(request: Request, response: Response, observer: str, seq: int, now: float) -> CallStateEvent:
    """
    F: a final response that ends an INVITE goes back to the caller.

    @param request: As for L{set_up}.
    """
    branch_id, via_count = _vias(request)
    return _event(
        "F",
        response,
        observer,
        seq,
        now,
        failure_status=response.status,
        failure_reason=response.reason or None,
        branch_id=branch_id,
        via_count=via_count,
    )


def ended(request: Request, observer: str, seq: int, now: float) -> CallStateEvent:
    """
    E: a BYE, from either side; From is who hung up.
    """
    return _event("E", request, observer, seq, now)


def transferred(request: Request, observer: str, seq: int, now: float) -> CallStateEvent:
    """
    T: a REFER; From is who transfers.
    """
    return _event(
        "T",
        request,
        observer,
        seq,
        now,
        contact=_contact(request),
        refer_to=request.get("refer-to") or None,
        referred_by=request.get("referred-by") or None,
        request_uri=request.uri,
    )


def _event(
    event_type: str, message: Message, observer: str, seq: int, now: float, **columns: str | int | bool | None
) -> CallStateEvent:
    try:
        from_tag, to_tag = message.from_tag or None, message.to_tag or None
    except MalformedField:
        from_tag, to_tag = _tag(message, "from"), _tag(message, "to")
    return CallStateEvent(
        observer=observer,
        event_seq=seq,
        event_time=now,
        event_type=event_type,
        cseq=message.cseq.number,
        call_id=message.call_id,
        from_tag=from_tag,
        to_tag=to_tag,
        from_url=message.get("from") or "",
        to_url=message.get("to") or "",
        **columns,  # type: ignore[arg-type]
    )


def _tag(message: Message, name: str) -> str | None:
    try:
        return (message.from_tag if name == "from" else message.to_tag) or None
    except MalformedField:
        return None


def _contact(message: Message) -> str | None:
    contacts = message.values("contact")
    return contacts[0] or None if contacts else None


def _vias(request: Request) -> tuple[str | None, int | None]:
    """
    The branch of the topmost Via, and how many there are.
    """
    try:
        count = request.via_count
        return request.outline.branch or None if count else None, count
    except MalformedField:
        return None, None


def _reference(request: Request) -> str | None:
    """
    The calls that this one comes from: those of References, and the one that
    Replaces names (RFC 3891).
    """
    if not request.has("references") and not request.has("replaces"):
        return None
    found = request.values("references")
    replaced = (request.get("replaces") or "").partition(";")[0].strip()
    if replaced:
        found.append(f"{replaced};rel=xfer")
    return ",".join(found) or None
