"""
Tests for L{sipxha.transaction.machine}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.transaction.machine import step
from sipxha.transaction.tables import SEND, Table
from sipxha.transaction.vocabulary import Input, State

TABLE: Table = {(State.CALLING, Input.TIMER_A): (State.TRYING, (SEND,))}


class StepTests(SynchronousTestCase):
    """
    Tests for L{step}.
    """

    def test_a_cell_tells_the_next_state_and_what_to_do(self) -> None:
        """
        The table's answer is given as it stands.
        """
        self.assertEqual(step(TABLE, State.CALLING, Input.TIMER_A, ()), (State.TRYING, (SEND,)))

    def test_a_missing_cell_changes_nothing(self) -> None:
        """
        What the table does not know is ignored.
        """
        self.assertEqual(step(TABLE, State.TRYING, Input.TIMER_A, ()), (State.TRYING, ()))
