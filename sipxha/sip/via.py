"""
The Via header field: the way that answers take back.

Does not decide where an answer goes; that is the transport's.  RFC 3261
section 20.42, RFC 3581.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sipxha.sip.grammar import TOKEN, MalformedField
from sipxha.sip.params import NONE, Params

_VIA = re.compile(
    # Any protocol and version: a request of another version is answered 505 by its Via.
    rf"[ \t]*+{TOKEN}++[ \t]*+/[ \t]*+{TOKEN}++[ \t]*+/[ \t]*+({TOKEN}++)[ \t]++"
    r"([0-9A-Z_a-z-]++(?:\.[0-9A-Z_a-z-]++)*+\.?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?:[ \t]*+:[ \t]*+([0-9]{1,5}))?(.*)",
    re.DOTALL,
)


class Via(NamedTuple):
    """
    One Via value; immutable.
    """

    transport: str
    """In upper case."""

    host: str
    """The host of sent-by, as sent; an IPv6 address in brackets."""

    port: int | None = None
    """The port of sent-by."""

    params: Params = NONE

    raw: str = ""
    """The text that this was read from, if any."""

    @classmethod
    def parse(cls, text: str) -> Via:
        """
        Read one Via value.

        @raise MalformedField: If this is not one.
        """
        match = _VIA.fullmatch(text)
        if match is None:
            raise MalformedField("via", text)
        transport, host, port, rest = match.groups()
        params = Params.parse(rest) if rest else NONE
        rport = params.get("rport")
        if rport and not _is_port(rport):
            raise MalformedField("via", text)
        if port is None:
            return cls(transport.upper(), host, None, params, text)
        if not _is_port(port):
            raise MalformedField("via", text)
        return cls(transport.upper(), host, int(port), params, text)

    @property
    def branch(self) -> str | None:
        """
        What names the transaction, if its sender follows RFC 3261.
        """
        return self.params.get("branch")

    @property
    def received(self) -> str | None:
        """
        The address that the message came from, where a hop noted it.
        """
        return self.params.get("received")

    @property
    def rport(self) -> str | None:
        """
        The port that the message came from; C{""} if the sender only asks
        for it (RFC 3581).
        """
        return self.params.get("rport")

    @property
    def sent_by(self) -> str:
        """
        C{host:port} in lower case, the port always written out.
        """
        port = self.port or (5061 if self.transport == "TLS" else 5060)
        return f"{self.host.lower()}:{port}"

    def with_param(self, name: str, value: str | None) -> Via:
        """
        This Via with one parameter set.
        """
        return self._replace(params=self.params.with_(name, value), raw="")

    def __str__(self) -> str:
        if self.raw:
            return self.raw
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {self.host}{port}{self.params}"


def _is_port(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 5 and 0 < int(text) < 65536
