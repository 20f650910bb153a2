"""
Which of two rows stays, and which of two live rows counts.

Both are pure functions of the rows.  They compare no clocks and do not care
what arrived first, so all nodes that were given the same rows hold the same
rows (design 5.4; SyncDesign 5.7.4 made commutative, associative and
idempotent).  Rows are taken to be valid: L{sipxha.registry.validate} comes
first.
"""

from __future__ import annotations

from collections.abc import Iterable

from sipxha.registry.binding import Binding


def merge(held: Binding, incoming: Binding) -> Binding:
    """
    Choose between two rows of one key.

    The greater CSeq wins.  At equal CSeq the earlier minted C{expires} does:
    within one CSeq a binding can only be ended sooner, so a node that returns
    with an old row resurrects nothing.  Then the greater primary and update
    number.  Rows that are equal in all of these are copies of one row, and
    each only fills in what the other, having come in an older dialect, lacks.

    C{deadline} belongs to this node and has no part in the choice.

    @return: One of the two themselves, unless columns were filled in.
    """
    ours = (held.cseq, -held.expires, held.primary, held.update_number)
    theirs = (incoming.cseq, -incoming.expires, incoming.primary, incoming.update_number)
    if ours != theirs:
        return held if ours > theirs else incoming
    return _fill(held, incoming)


def _fill(held: Binding, incoming: Binding) -> Binding:
    """
    Two copies of one row: the empty text gives way to any other.
    """
    filled = held._replace(
        uri=max(held.uri, incoming.uri),
        qvalue=max(held.qvalue, incoming.qvalue),
        instance_id=max(held.instance_id, incoming.instance_id),
        gruu=max(held.gruu, incoming.gruu),
        path=max(held.path, incoming.path),
        received=max(held.received, incoming.received),
    )
    return held if filled == held else filled


def winners(live: Iterable[Binding]) -> list[Binding]:
    """
    Leave one row in each slot.

    Two live rows of one slot meet only after a partition.  The later minted
    C{expires} counts, then the greater Call-ID, then the greater primary and
    update number.
    """
    best: dict[tuple[object, ...], Binding] = {}
    for row in live:
        slot = row.slot
        rival = best.get(slot)
        if rival is None or _precedence(row) > _precedence(rival):
            best[slot] = row
    return list(best.values())


def _precedence(row: Binding) -> tuple[int, str, str, int, str]:
    # The contact only for an update that binds one flow twice, which none of ours does.
    return (row.expires, row.callid, row.primary, row.update_number, row.contact)
