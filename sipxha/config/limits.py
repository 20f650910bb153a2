"""
How much one connection, or one sender of many, may cost us.

Values only: L{sipxha.net.connections}, L{sipxha.net.stream} and
L{sipxha.services.gate} keep them.  How
much one message may be is L{sipxha.sip.limits}'s.  The defaults are those of
other servers, or a little less.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """
    What the connections of an endpoint may take; times are seconds.
    """

    per_source: int = 64
    """Connections that one address, or one /64 of IPv6, may open to us."""

    handshake_time: float = 5.0
    """For the TLS handshake, once the connection is there."""

    head_time: float = 5.0
    """From the first byte of a message to the end of its header fields."""

    body_time: float = 10.0
    """From there to the end of its body."""

    idle_time: float = 120.0
    """Of silence, for a connection that no transaction waits for."""

    registered_time: float = 7200.0
    """The same, for one over which somebody registered: calls may come for him."""

    flow_time: float = 150.0
    """The same, for one whose phone was told to ping: 120 seconds (Flow-Timer), and some more."""

    closing_time: float = 5.0
    """For the far end to take what is still to be sent when we hang up."""

    unread: int = 1024 * 1024
    """Bytes that may wait for a far end that does not read."""


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """
    What a node takes before it turns requests away.
    """

    requests_per_source: int = 50
    """New requests that one address, or one /64 of IPv6, may send in a second."""

    request_burst: int = 100
    """How many of them at once."""

    lag: int = 200
    """Milliseconds that the node may be behind with its work."""
