"""
The requests that a client transaction makes by itself.

Both go where the INVITE went, under its branch.  The ACK of a 2xx is not
among them: that is a transaction of its own (RFC 3261 section 13.2.2.4).
"""

from __future__ import annotations

from sipxha.sip.message import Request, Response


def ack_for(invite: Request, response: Response) -> Request:
    """
    The ACK of a final response from 300 to 699: RFC 3261 section 17.1.1.3.
    """
    return _derived("ACK", invite, response.get("to") or "")


def cancel_for(invite: Request, reason: str | None) -> Request:
    """
    The CANCEL of an INVITE: RFC 3261 section 9.1.

    @param reason: The value of the Reason header, if there is to be one.
    """
    cancel = _derived("CANCEL", invite, invite.get("to") or "")
    if reason is not None:
        cancel.add("reason", reason)
    return cancel


def _derived(method: str, invite: Request, to: str) -> Request:
    return Request(
        method,
        invite.uri,
        [
            ("Via", invite.values("via")[0]),
            ("Max-Forwards", "70"),
            *(("Route", route) for route in invite.rows("route")),
            ("From", invite.get("from") or ""),
            ("To", to),
            ("Call-ID", invite.get("call-id") or ""),
            ("CSeq", f"{invite.cseq.number} {method}"),
            ("Content-Length", "0"),
        ],
    )
