"""
What no element may handle, proxy or not.

Looks at what every element needs: the top Via, From, To, Call-ID, CSeq,
Max-Forwards and the Request-URI.  Everything else is for those who use it.
RFC 3261 sections 8.1.1, 8.2.2 and 16.3.
"""

from __future__ import annotations

from sipxha.sip.grammar import MalformedField
from sipxha.sip.ids import MAGIC_COOKIE
from sipxha.sip.message import METHODS, MalformedMessage, Request
from sipxha.sip.names import SINGLE, printed
from sipxha.sip.status import REASONS
from sipxha.sip.values import Message

_FOR_HELP = frozenset(("tel", "urn"))
"""Schemes of a number and of a service, by which telephones call for help (RFC 5031)."""

_OF_CALLS = frozenset(("INVITE", "CANCEL", "ACK"))
"""What such a call takes before it has a route set; who is called is its receiver's matter."""


def check(message: Message) -> None:
    """
    Refuse a message that cannot be handled.  A refused response is to be
    dropped.

    @raise MalformedMessage: With the status to answer a request with.
    """
    outline = message.usual_outline()
    if outline is None or (isinstance(message, Request) and outline.method != message.method):
        check_by_field(message)


def check_by_field(message: Message) -> None:
    """
    What L{check} does with a message that is not written as most are.

    @raise MalformedMessage: As L{check}.
    """
    request = message if isinstance(message, Request) else None
    longest = message.limits.identifier
    try:
        branch = message.via.branch
    except MalformedField as found:
        raise MalformedMessage(400, "Bad Via") from found
    if branch is not None and (branch in ("", MAGIC_COOKIE) or len(branch) > longest):
        raise MalformedMessage(400, "Bad Via Branch", request)
    for name in SINGLE:
        if message.count(name) > 1:
            raise MalformedMessage(400, f"Repeated {printed(name)[1]}", request)
    try:
        sender, recipient = message.from_.tag, message.to.tag
        if sender is not None and not 0 < len(sender) <= longest:
            raise MalformedField("from", sender)
        if recipient is not None and not 0 < len(recipient) <= longest:
            raise MalformedField("to", recipient)
        message.call_id  # noqa: B018  (reading is the check)
        cseq = message.cseq
        message.max_forwards  # noqa: B018
        if request is not None:
            uri = request.request_uri
    except MalformedField as found:
        spelling = "Request-URI" if found.name == "request-uri" else printed(found.name)[1]
        missing = found.name != "request-uri" and not message.has(found.name)
        raise MalformedMessage(400, f"{'Missing' if missing else 'Bad'} {spelling}", request) from found
    if request is None:
        return
    if cseq.method != request.method:
        raise MalformedMessage(
            400 if request.method in METHODS else 501, "CSeq Does Not Match Method", request
        )
    if not uri.host and not (uri.scheme in _FOR_HELP and request.method in _OF_CALLS):
        raise MalformedMessage(416, REASONS[416], request)
    if uri.headers:
        # They would have to become header fields of somebody else's making.
        raise MalformedMessage(400, "Headers In Request-URI", request)
