"""
The answer to a request, before its sender has anything to say in it.

Takes from the request what names it.  Which answer is right is for the layers
above.  RFC 3261 section 8.2.6.
"""

from __future__ import annotations

from collections.abc import Iterable

from sipxha.sip.fields import safe
from sipxha.sip.grammar import MalformedField
from sipxha.sip.message import Request, Response
from sipxha.sip.status import REASONS

_COPIED = frozenset({"via", "from", "to", "call-id", "cseq"})
_COPIED_TO_100 = _COPIED | {"timestamp"}


def response_to(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    fields: Iterable[tuple[str, str]] = (),
) -> Response:
    """
    The answer to a request, with the fields that 8.2.6 wants copied.  It is
    read under the same limits.

    @param reason: The usual phrase if left out.
    @param to_tag: Put on a To that has none, except in a 100.
    @param fields: What else the answer says.
    """
    phrase = REASONS.get(status) if reason is None else None
    if phrase is None:
        # Not one of our own: the constructor looks at both.
        phrase = Response(status, reason or "").reason
    keys, lines = request.lines_of(_COPIED_TO_100 if status == 100 else _COPIED)
    if to_tag is not None and status != 100 and _lacks_tag(request) and "to" in keys:
        # The row else stays byte for byte.
        index = keys.index("to")
        lines[index] = lines[index].rstrip(" \t\r\n") + safe("to", f";tag={to_tag}")
    response = Response.of_lines(status, phrase, keys, lines, request.limits)
    for name, value in fields:
        response.add(name, value)
    return response


def _lacks_tag(request: Request) -> bool:
    try:
        return request.to_tag is None
    except MalformedField:
        # A To that nobody can read goes back as it came.
        return False
