"""
The Via header field: the way that answers take back.

Does not decide where an answer goes; that is the transport's.  RFC 3261
section 20.42, RFC 3581.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sipxha.sip.grammar import TOKEN, MalformedField, ipv6_address
from sipxha.sip.params import NONE, Params

DEFAULT_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}
"""The ports of a sent-by that names none (18.2.2)."""

_VIA = re.compile(
    # Any protocol and version: a request of another version is answered 505 by its Via.
    rf"[ \t]*+{TOKEN}++[ \t]*+/[ \t]*+{TOKEN}++[ \t]*+/[ \t]*+({TOKEN}++)[ \t]++"
    r"([0-9A-Z_a-z-]++(?:\.[0-9A-Z_a-z-]++)*\.?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?:[ \t]*+:[ \t]*+([0-9]{1,5}))?(.*)",
    re.DOTALL,
)

_via = _VIA.fullmatch
_new = tuple.__new__


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
        match = _via(text)
        if match is None:
            raise MalformedField("via", text)
        transport, host, port, rest = match.groups()
        params = Params.parse(rest) if rest else NONE
        rport = params.get("rport")
        if (rport and not _is_port(rport)) or not (port is None or _is_port(port)):
            raise MalformedField("via", text)
        if host[0] == "[" and ipv6_address(host) is None:
            raise MalformedField("via", text)
        number = None if port is None else int(port)
        # Past the constructor of a named tuple, which costs as much as the pattern.
        return _new(cls, (transport.upper(), host, number, params, text))

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
        port = self.port or DEFAULT_PORTS.get(self.transport, 5060)
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
