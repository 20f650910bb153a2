"""
The Via that an endpoint puts on what it sends over one transport.

Made once and for all but for the branch, since every request gets one.  It
neither invents branches nor reads what comes back.  RFC 3261 section 18.1.1.
"""

from __future__ import annotations

from sipxha.sip.message import Request


class OwnVia:
    """
    One transport of an endpoint.

    @ivar sent_by: The host, as others know it, and the port.
    """

    __slots__ = ("_end", "_host", "_start", "sent_by")

    def __init__(self, transport: str, host: str, port: int) -> None:
        """
        @param host: In lower case, with brackets if it is an IPv6 address.
        """
        self.sent_by = f"{host}:{port}"
        self._host = host
        self._start = f"SIP/2.0/{transport.upper()} {self.sent_by};branch="
        # RFC 5923 section 5: requests may come back on the same connection.
        self._end = ";alias;rport" if transport == "tls" else ";rport"

    def value(self, branch: str) -> str:
        """
        The value for a request of this branch.
        """
        return f"{self._start}{branch}{self._end}"

    def put_on(self, request: Request, branch: str) -> None:
        """
        Make it the top one.
        """
        request.prepend_via(self.value(branch), self._host, self.sent_by, branch)
