"""
Who guesses passwords.

Counts wrong passwords by where they came from, never by user alone: whoever
guesses at somebody from one address locks nobody out at another.  What is
counted drains with time, and an attempt that is not looked at adds nothing,
so the owner of an address waits a moment at most, whoever else uses it.
Judges no credentials, and knows no more about a source than its address.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from typing import Final, NamedTuple

REMEMBERED: Final = 50_000
"""
How many sources, and how many names at sources, are kept in mind.  Those that
failed longest ago are forgotten first.
"""


@dataclass(frozen=True, slots=True)
class FailureLimits:
    """
    How many wrong passwords one address, or one /64 of IPv6, may try.
    """

    failures: int = 5
    """For one user, in C{failure_time}."""

    failures_per_source: int = 60
    """For all users together; those who proved themselves there do not suffer from others."""

    failure_time: int = 60
    """Seconds."""


class Burst(NamedTuple):
    """
    Somebody began to guess.
    """

    source: str
    username: str
    """Whom at last."""


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """
    Who is at an address, as far as can be told: one customer has all of a /64.
    """
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    # A socket for both shows those of IPv4 so, who are not all one.
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))


class _Buckets:
    """
    How full each key is, as the moment at which it will be empty.
    """

    def __init__(self, size: int, drain_time: float, remembered: int) -> None:
        self._each = drain_time / size
        self._drain_time = drain_time
        self._remembered = remembered
        self._empty_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._empty_at)

    def is_full(self, key: tuple[str, str], now: float) -> bool:
        empty_at = self._empty_at.get(key)
        if empty_at is None:
            return False
        if not now < empty_at <= now + self._drain_time:
            # Drained; or the clock was set back, which is nobody's fault.
            del self._empty_at[key]
            return False
        return empty_at + self._each > now + self._drain_time

    def add(self, key: tuple[str, str], now: float) -> None:
        self._empty_at[key] = max(self._empty_at.get(key, now), now) + self._each
        self._empty_at.move_to_end(key)
        if len(self._empty_at) > self._remembered:
            self._empty_at.popitem(last=False)


class Failures:
    """
    The wrong passwords that a node has seen of late, at all of its services.

    @ivar counts: How many credentials were C{proved}, C{wrong}, or C{held},
        which is not looked at, since the start.
    """

    def __init__(self, limits: FailureLimits = FailureLimits(), remembered: int = REMEMBERED) -> None:
        self._limits = limits
        self._remembered = remembered
        self._pairs = _Buckets(limits.failures, limits.failure_time, remembered)
        self._sources = _Buckets(limits.failures_per_source, limits.failure_time, remembered)
        self._proved: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._homes: OrderedDict[str, None] = OrderedDict()
        # When each of those who guess was last seen doing so.
        self._guessing: OrderedDict[str, float] = OrderedDict()
        self._bursts: list[Burst] = []
        self.counts = {"proved": 0, "wrong": 0, "held": 0}

    def is_held(self, source: str, username: str, now: float) -> bool:
        """
        Whether credentials from there are not to be looked at for now, be they
        right or wrong.
        """
        pair = (source, username)
        if not self._pairs.is_full(pair, now) and (
            pair in self._proved or not self._sources.is_full((source, ""), now)
        ):
            return False
        self.counts["held"] += 1
        last = self._guessing.get(source)
        if last is None or not 0 <= now - last <= self._limits.failure_time:
            self._bursts.append(Burst(source, username))
            del self._bursts[100:]
        self._guessing[source] = now
        self._guessing.move_to_end(source)
        if len(self._guessing) > self._remembered:
            self._guessing.popitem(last=False)
        return True

    def failed(self, source: str, username: str, now: float) -> None:
        """
        Somebody there gave a wrong password, for a user who may not even exist.
        """
        self.counts["wrong"] += 1
        self._pairs.add((source, username), now)
        self._sources.add((source, ""), now)

    def proved(self, source: str, username: str) -> None:
        """
        A user is there who knows his password.
        """
        self.counts["proved"] += 1
        pair = (source, username)
        self._proved[pair] = None
        self._proved.move_to_end(pair)
        if len(self._proved) > self._remembered:
            self._proved.popitem(last=False)
        self._homes[source] = None
        self._homes.move_to_end(source)
        if len(self._homes) > self._remembered:
            self._homes.popitem(last=False)

    def is_home(self, source: str) -> bool:
        """
        Whether any user proved himself there of late.
        """
        return source in self._homes

    def take_bursts(self) -> list[Burst]:
        """
        Who began to guess since this was last asked; at most a hundred.
        """
        bursts, self._bursts = self._bursts, []
        return bursts
