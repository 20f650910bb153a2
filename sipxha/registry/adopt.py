"""
Rows that somebody brings from another registrar.

They become rows of this node, under new numbers like any other, so that peers
are sent them; Call-ID and CSeq stay, for the phone's next REGISTER is counted
by those.  Where they come from is no matter here.
"""

from __future__ import annotations

from collections.abc import Sequence

from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry


def adopt(registry: Registry, rows: Sequence[Binding], max_expires: int, now: float) -> list[Binding]:
    """
    Take over rows that nothing here is newer than: an update for each
    address-of-record.

    @param rows: Valid but for primary and number.
    @param max_expires: The longest that one is held live, as if it had been
        granted here.

    @return: The rows that changed.
    """
    numbers: dict[str, int] = {}
    minted = []
    for row in rows:
        if _is_known(registry, row, now):
            continue
        number = numbers.setdefault(row.identity, registry.update_number + 1 + len(numbers))
        expires = min(row.expires, int(now) + max_expires)
        minted.append(
            row._replace(
                primary=registry.name, update_number=number, expires=expires, deadline=float(expires)
            )
        )
    return registry.apply(minted, now)


def _is_known(registry: Registry, row: Binding, now: float) -> bool:
    """
    Whether the registry knows as much: the same row or a later one, or what
    the phone has registered here since.
    """
    held = registry.held(row.key)
    if held is not None and held.cseq >= row.cseq:
        return True
    # A replica of this row from before the move, or another of its slot.
    return any(current.slot == row.slot for current in registry.current(row.identity, now))
