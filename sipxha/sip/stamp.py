"""
Where a request really came from, noted in its top Via.

Does not know how that was found out, and sends no answer there.  RFC 3261
section 18.2.1, RFC 3581 section 4.
"""

from __future__ import annotations

from sipxha.sip.message import Request


def stamp(request: Request, address: str, port: int) -> None:
    """
    Note the sender's address where the top Via does not say so itself, and his
    port where it asks for that.

    @raise MalformedField: There is no Via that can be read.
    """
    if request.lengthen_via(";rport", f"={port};received={address}"):
        return
    via = request.via
    if via.rport is not None:
        via = via.with_param("rport", str(port))
    elif via.received is None and via.host.strip("[]") == address:
        return
    request.replace_first("via", str(via.with_param("received", address)))
