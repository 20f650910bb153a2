"""
Where messages go to and come from.

Both are plain values; the sockets behind them belong to L{sipxha.net}.
"""

from __future__ import annotations

from typing import NamedTuple


class Hop(NamedTuple):
    """
    One place to which a request can be sent: what RFC 3263 section 4 ends in.
    """

    transport: str
    """C{"udp"}, C{"tcp"} or C{"tls"}."""

    address: str
    """An IPv4 or IPv6 address as text, without brackets."""

    port: int

    name: str = ""
    """The domain that was asked for, which a TLS peer must prove to be."""


class Flow(NamedTuple):
    """
    The path on which a message came, and on which answers go back
    (RFC 3261 section 18.2.2, RFC 5626 section 2).
    """

    transport: str

    address: str
    """The far end's address."""

    port: int
    """The far end's port."""

    local_address: str

    local_port: int

    connection: int = 0
    """Which connection of this endpoint; never used twice; 0 for UDP."""
