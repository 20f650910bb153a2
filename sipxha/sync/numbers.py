"""
Update numbers: what orders the changes of one registrar.

SyncDesign 5.3 and design 5.1.  Nothing here decides who has which number;
the registry counts its own, each link counts its peer's.
"""

from __future__ import annotations

LARGEST = (1 << 63) - (1 << 32)
"""
The greatest number that is taken from a peer.

Below the signed 64-bit limit by as much as a node could ever count in one
life, so that no peer can bring our numbering to its end.
"""

_LAST_EPOCH = (1 << 31) - 2


def epoch_step(current: int, now: float) -> int:
    """
    The number from which a node counts after its start.

    Epoch seconds lie in the upper half, so that a node that lost its disk
    does not give numbers again which it gave in an earlier life.  From 2038
    on the upper half is full, and each start is one step.

    @param current: The greatest own number that is known.
    @param now: UTC seconds.
    """
    return max(current + 1, min(int(now), _LAST_EPOCH) << 32)


def is_number(value: object) -> bool:
    """
    Whether C{value} can be an update number that a peer tells us.
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
