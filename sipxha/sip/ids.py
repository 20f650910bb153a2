"""
Branches, tags and Call-IDs, made from chance that comes in.

A mint is a callable that returns a fresh, unguessable token of 16 or more
token characters.  Nothing here makes chance of its own.  RFC 3261 sections
8.1.1.4, 8.1.1.7 and 19.3.
"""

from __future__ import annotations

from collections.abc import Callable

MAGIC_COOKIE = "z9hG4bK"
"""How the branch of a sender that follows RFC 3261 begins."""


def branch(mint: Callable[[], str]) -> str:
    """
    A branch for the Via of one attempt.
    """
    return f"{MAGIC_COOKIE}-{mint()}"


def tag(mint: Callable[[], str]) -> str:
    """
    A tag for From or To.
    """
    return mint()


def call_id(mint: Callable[[], str], host: str) -> str:
    """
    A Call-ID for a request of our own.
    """
    return f"{mint()}@{host}"
