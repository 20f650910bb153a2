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
    does not give numbers again which it gave in an earlier life.

    @param current: The greatest own number that is known.
    @param now: UTC seconds.
    """
    step = min(int(now), _LAST_EPOCH) << 32
    return step if step > current else above(current)


def above(number: int) -> int:
    """
    A number to count from when C{number} is an earlier life's and the clock is behind it.

    That life may have gone on beyond what we know of it, so the next number
    will not do.  The upper half of no life is one second later and its lower
    half in the middle: nobody makes two thousand million updates.  From 2038
    on the upper half is full, and the next number must do.
    """
    second = (number >> 32) + 1
    return number + 1 if second > _LAST_EPOCH else second << 32 | 1 << 31


def is_number(value: object) -> bool:
    """
    Whether C{value} can be an update number that a peer tells us.
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
