"""
One step of a transaction's table.

This is all that a machine does; it holds no state and performs nothing.
"""

from __future__ import annotations

from sipxha.transaction.tables import A, Cells
from sipxha.transaction.vocabulary import Input, State


def step(table: Cells[A], state: State, happened: Input, nothing: A) -> tuple[State, A]:
    """
    Look up what follows.

    @return: The next state, and what to do; the same state and C{nothing},
        where the table ignores this.
    """
    return table.get((state, happened)) or (state, nothing)
