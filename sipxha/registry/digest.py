"""
What tells in a few octets whether two nodes hold the same rows.

A sum of hashes for each primary, kept as rows come and go, so that to ask for
it costs nothing that grows with the registry.  Nodes forget rows at different
moments, so rows are counted from a horizon of minted C{expires} on; they lie
in buckets of L{WIDTH} seconds for that, and the width is part of the protocol
(design 5.8).

It says that rows differ, never which.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from sipxha.registry.binding import Binding

WIDTH = 1024
"""Seconds of C{expires} in one bucket: a horizon is a multiple of it."""

_MODULUS = 1 << 128


class Digest(NamedTuple):
    """
    The rows of one primary from a horizon on.
    """

    rows: int
    total: int
    """The sum of their hashes, modulo 2**128."""

    def minus(self, other: Digest) -> Digest:
        """
        By how much two nodes differ; zeros if they do not.
        """
        return Digest(self.rows - other.rows, (self.total - other.total) % _MODULUS)


NOTHING = Digest(0, 0)


def horizon(now: float, max_expires: int) -> int:
    """
    From which C{expires} on nodes compare: what nobody has forgotten yet,
    however their clocks differ within reason.
    """
    return max(0, int(now - max_expires / 2) // WIDTH * WIDTH)


class Digests:
    """
    The digests of all primaries.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, dict[int, Digest]] = {}

    def add(self, row: Binding) -> None:
        """
        A row is held.
        """
        self._count(row, 1, _hash(row))

    def remove(self, row: Binding) -> None:
        """
        A row is held no longer.
        """
        self._count(row, -1, -_hash(row))

    def of(self, primary: str, horizon: int) -> Digest:
        """
        The rows of a primary whose C{expires} is in or after the bucket that
        C{horizon} begins.
        """
        rows = total = 0
        least = -(-horizon // WIDTH)
        for place, bucket in self._buckets.get(primary, {}).items():
            if place >= least:
                rows += bucket.rows
                total += bucket.total
        return Digest(rows, total % _MODULUS)

    def _count(self, row: Binding, rows: int, value: int) -> None:
        buckets = self._buckets.get(row.primary)
        if buckets is None:
            buckets = self._buckets[row.primary] = {}
        place = row.expires // WIDTH
        held = buckets.get(place, NOTHING)
        if held.rows + rows:
            buckets[place] = Digest(held.rows + rows, held.total + value)
        else:
            del buckets[place]


def _hash(row: Binding) -> int:
    """
    What both nodes must agree on: the key, and all that the merge looks at.
    """
    text = (
        f"{row.identity}\t{row.callid}\t{row.contact}\t{row.reg_id}\t"
        f"{row.cseq}\t{row.expires}\t{row.primary}\t{row.update_number}"
    )
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest())
