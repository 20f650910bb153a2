"""
How many messages of what kind took which way.

Plain numbers, which whoever wants to know reads; methods that strangers invent
are counted as one, so that nobody makes us remember every name there is.
"""

from __future__ import annotations

from sipxha.sip.message import METHODS

INSIDE = "inside"
"""The way of what services of one process hand to each other."""

WAYS = ("udp", "tcp", "tls", INSIDE)

OTHER = "other"
"""What all methods count as that we do not know."""

Kind = str | int
"""The method of a request; the first digit of a response's status."""

Counts = dict[str, dict[Kind, int]]
"""How many there were, by way and kind."""


def no_messages() -> Counts:
    """
    Counts of nothing yet.
    """
    kinds: tuple[Kind, ...] = (*sorted(METHODS), OTHER, *range(1, 7))
    return {way: dict.fromkeys(kinds, 0) for way in WAYS}


def count_request(counts: dict[Kind, int], method: str) -> None:
    """
    Count a request among those of its way.
    """
    counts[method if method in counts else OTHER] += 1
