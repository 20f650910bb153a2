"""
What the edge writes into a Path or Record-Route to find a flow again
(RFC 5626 section 5.2).

A token names the edge that minted it and the flow behind it, under the secret
that all nodes share: each of them can read it, and nobody else can make one.
It is a function of the flow, so it stays the same for as long as the flow
does.  Whether the flow is still there only its own edge can tell, and who may
use it is the proxy's to say.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from ipaddress import ip_address
from typing import Final, NamedTuple

from sipxha.errors import RemoteError
from sipxha.sip.hop import Flow
from sipxha.sip.seal import seal

PREFIX: Final = "flow_"
"""How the user part of a URI begins that is a token."""

_TRANSPORTS = ("udp", "tcp", "tls")
_SEAL = 12
_SIX = 0x04
"""Set in the first byte where the edge's address is one of IPv6; twice that, the far end's."""


class TokenForged(RemoteError):
    """
    A flow token was not made by any of our nodes, or was changed on the way.
    """

    status = 403


class FlowToken(NamedTuple):
    """
    A flow, and where it ends at our side.
    """

    edge: tuple[str, int]
    """Address and port of the forking proxy that holds it."""

    transport: str

    address: str
    """The far end's address."""

    port: int
    """The far end's port."""

    life: int = 0
    """Which life of the edge's process the connection belongs to; 0 for UDP."""

    connection: int = 0
    """Which connection of that life; 0 for UDP."""

    def is_of(self, flow: Flow) -> bool:
        """
        Whether this names C{flow}, one of its edge's present life.
        """
        if self.transport != flow.transport or self.connection != flow.connection:
            return False
        return self.transport != "udp" or (self.address, self.port) == (flow.address, flow.port)


def is_token(user: str | None) -> bool:
    """
    Whether the user part of a URI claims to be a token.
    """
    return user is not None and user.startswith(PREFIX)


def mint_token(secret: bytes, token: FlowToken) -> str:
    """
    @return: the user part of a URI that leads to the flow.
    """
    (edge, edge_port), transport, address, port, life, connection = token
    near, far = _packed(edge), _packed(address)
    kind = (
        _TRANSPORTS.index(transport) | (_SIX if len(near) == 16 else 0) | (2 * _SIX if len(far) == 16 else 0)
    )
    body = b"%c%b%b%b%b" % (kind, near, edge_port.to_bytes(2), far, port.to_bytes(2))
    if transport != "udp":
        body += life.to_bytes(4) + connection.to_bytes(6)
    return PREFIX + base64.urlsafe_b64encode(body + _seal(secret, body)).rstrip(b"=").decode()


def read_token(secret: bytes, user: str) -> FlowToken:
    """
    @raise TokenForged: None of our nodes minted it.
    """
    text = user.removeprefix(PREFIX)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenForged("a flow token that cannot be read") from None
    body, sealed = data[:-_SEAL], data[-_SEAL:]
    if not body or not hmac.compare_digest(sealed, _seal(secret, body)):
        raise TokenForged("a flow token that none of our nodes minted")
    kind = body[0]
    edge, edge_port, rest = _place(body[1:], kind & _SIX)
    address, port, rest = _place(rest, kind & 2 * _SIX)
    return FlowToken(
        (edge, edge_port),
        _TRANSPORTS[kind & 3],
        address,
        port,
        int.from_bytes(rest[:4]),
        int.from_bytes(rest[4:]),
    )


def _packed(address: str) -> bytes:
    # What an address means on one link only is not needed: a connection has its number.
    return ip_address(address.partition("%")[0]).packed


def _place(data: bytes, is_six: int) -> tuple[str, int, bytes]:
    size = 16 if is_six else 4
    return str(ip_address(data[:size])), int.from_bytes(data[size : size + 2]), data[size + 2 :]


def _seal(secret: bytes, body: bytes) -> bytes:
    return seal(secret, b"flow\n" + body)[:_SEAL]
