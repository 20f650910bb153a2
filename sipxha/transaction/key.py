"""
Which transaction a message belongs to: RFC 3261 sections 17.1.3 and 17.2.3.

Only the rules; the transactions are in L{sipxha.transaction.layer}.
"""

from __future__ import annotations

from sipxha.sip.ids import MAGIC_COOKIE
from sipxha.sip.message import Request
from sipxha.sip.outline import Outline
from sipxha.sip.values import Message
from sipxha.transaction.vocabulary import ClientKey, ServerKey

# Past the constructor of a named tuple, which is slow.
_new = tuple.__new__


def client_key(message: Message) -> ClientKey:
    """
    The transaction that a response answers, or that a request begins.
    """
    outline = message.outline
    return _new(ClientKey, (outline.branch, outline.method))


def server_key(request: Request) -> ServerKey:
    """
    The transaction that a request begins, repeats or acknowledges.
    """
    outline = request.outline
    branch = outline.branch
    if not branch.startswith(MAGIC_COOKIE) or branch == MAGIC_COOKIE:
        branch = _rfc2543_key(request, outline)
    method = request.method
    return _new(ServerKey, (branch, outline.sent_by, "INVITE" if method == "ACK" else method))


def _rfc2543_key(request: Request, outline: Outline) -> str:
    """
    What stands for the branch where that is not unique in space and time.

    The To tag is left out: an ACK has one that its INVITE had not, and two
    requests that differ in nothing else do not occur.
    """
    return "\n".join(
        (outline.branch, request.uri, outline.from_tag or "", request.call_id, str(outline.number))
    )
