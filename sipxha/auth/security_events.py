"""
What comes from outside and should not: one line for each, for programs that
lock out whoever sends it, such as fail2ban.

A line has a fixed form, and what strangers chose stands last in it, quoted, so
that nobody can write a line about somebody else::

    2026-11-22T05:14:00Z sipxha event=auth-failed source=192.0.2.7 transport=- service=- method=REGISTER detail="201"

What makes an event is for others to say, and where lines go.  Our own nodes
are in none.  Lines are limited, by source and over all, so that nobody can
fill a disk; events are counted without a limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

from sipxha.auth.rates import Rates

AUTH_FAILED: Final = "auth-failed"
"""A wrong password, in answer to a challenge that this source was given: nobody can pretend to be there."""

AUTH_HELD: Final = "auth-held"
"""Credentials that nobody looks at, after too many of those."""

STRANGER: Final = "stranger"
"""A request from a source that never proved anything was asked for credentials."""

REFUSED: Final = "refused"
"""Something that is not for the sender: another's address, a port of our nodes, a flow."""

RATE: Final = "rate"
"""More requests a second than one source may send."""

MALFORMED: Final = "malformed"
"""What came is no SIP, or against its rules."""

REPLICATION: Final = "replication-refused"
"""A caller of the replication's port who is none of our nodes."""

DATABASE: Final = "database-refused"
"""The same at the port of call events."""

EVENTS: Final = (AUTH_FAILED, AUTH_HELD, STRANGER, REFUSED, RATE, MALFORMED, REPLICATION, DATABASE)

LINES_PER_SOURCE: Final = (1, 20)
"""Lines a second, and how many at once."""

LINES: Final = (100, 1000)
"""The same for all sources together."""

LONGEST_DETAIL: Final = 200

_METHOD = re.compile(r"[A-Z]{1,16}", re.ASCII)
_PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - {'"', "\\"}


class SecurityEvents:
    """
    The security events of a node.

    @ivar counts: How many there were, by event.
    @ivar write: Takes each line, without its end; C{None} where nobody reads them.
    @ivar is_ours: Whether an address is one of our own nodes.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(EVENTS, 0)
        self.write: Callable[[str], None] | None = None
        self.is_ours: Callable[[str], bool] = lambda address: False
        self._of_source = Rates(*LINES_PER_SOURCE)
        self._of_all = Rates(*LINES)

    def saw(
        self,
        event: str,
        source: str,
        now: float,
        *,
        service: str = "-",
        transport: str = "-",
        method: str = "-",
        detail: str = "",
    ) -> None:
        """
        Something happened.

        @param event: One of L{EVENTS}.
        @param source: The address that it came from.
        @param transport: How, which tells whether the address is proved: that
            of a datagram is what its sender says.
        @param detail: What was tried; a stranger's words.
        """
        address = plain_address(source)
        if not address or self.is_ours(address):
            return
        self.counts[event] += 1
        if self.write is None or self._of_source.is_over(address, now) or self._of_all.is_over("", now):
            return
        moment = datetime.fromtimestamp(int(now), UTC)
        verb = method if _METHOD.fullmatch(method) else "-"
        self.write(
            f"{moment:%Y-%m-%dT%H:%M:%SZ} sipxha event={event} source={address} transport={transport}"
            f' service={service} method={verb} detail="{_quoted(detail)}"'
        )


@lru_cache(maxsize=4096)
def plain_address(text: str) -> str:
    """
    An address as a firewall knows it: no zone, and IPv4 as IPv4.

    @return: C{""} for what is none.
    """
    try:
        address = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _quoted(text: str) -> str:
    """
    At most so much of it, and nothing that could end it.
    """
    return "".join(mark if mark in _PLAIN else _escape(mark) for mark in text[:LONGEST_DETAIL])


def _escape(mark: str) -> str:
    return f"\\x{ord(mark):02x}" if ord(mark) < 0x100 else f"\\u{ord(mark):04x}"
