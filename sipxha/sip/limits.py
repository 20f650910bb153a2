"""
How much one message may be.

Whoever sends more is refused before it costs us anything.  The defaults are
those of other servers, or a little less; none of them stands in the way of a
telephone.  Each is a setting of sipxha.xml.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """
    What the parser and the framer let through.
    """

    message: int = 65536
    """The most bytes of one message: what UDP can carry."""

    head: int = 32768
    """The most bytes of a start line and its header fields."""

    fields: int = 128
    """The most header fields of one message."""

    vias: int = 70
    """The most values of Via: as many as a request collects before its
    Max-Forwards ends (RFC 3261 section 8.1.1.6)."""

    values: int = 32
    """The most values of Contact, Route or Record-Route in one message."""

    uri_params: int = 64
    """The most parameters of one URI."""

    identifier: int = 256
    """The most characters of a Call-ID, a tag or a branch (CVE-2018-8828)."""


DEFAULT = MessageLimits()
"""For whoever has no reason for others."""

UNLIMITED = MessageLimits(*[2**62] * 7)
"""For what we have written ourselves."""
