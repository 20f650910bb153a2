"""
One step of a transaction's table.

This is all that a machine does; it holds no state and performs nothing.
"""

from __future__ import annotations

from sipxha.transaction.tables import Acts, Table
from sipxha.transaction.vocabulary import Input, State


def step(table: Table, state: State, happened: Input) -> tuple[State, Acts]:
    """
    Look up what follows.

    @return: The next state, and what to do; the same state and nothing, where
        the table ignores this.
    """
    return table.get((state, happened)) or (state, ())
