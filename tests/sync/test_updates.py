"""
Tests for L{sipxha.sync.updates}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sync import rpc
from sipxha.sync.updates import newest_of_pull, number_of_push
from sipxha.sync.wire import Fault
from tests.support.bindings import a_row

PEER = "sipx1.example.com"


class PushTests(SynchronousTestCase):
    """
    Tests for what one push may hold.
    """

    def test_all_rows_of_one_update(self) -> None:
        """
        They share the number.
        """
        self.assertEqual(number_of_push(PEER, [a_row(update_number=7), a_row(update_number=7)]), 7)

    def test_mixed_numbers_are_refused(self) -> None:
        """
        306.
        """
        rows = [a_row(update_number=7), a_row(update_number=8)]
        self.assertEqual(self.assertRaises(Fault, number_of_push, PEER, rows).code, rpc.MIXED_NUMBERS)

    def test_rows_of_a_third_registrar_are_refused(self) -> None:
        """
        304: a peer speaks for itself only.
        """
        rows = [a_row(), a_row(primary="sipx3.example.com")]
        self.assertEqual(self.assertRaises(Fault, number_of_push, PEER, rows).code, rpc.UPDATE_FAILED)


class PullTests(SynchronousTestCase):
    """
    Tests for what the answer of a pull may hold.
    """

    def test_the_newest_number_counts(self) -> None:
        """
        In whatever order the rows came; without rows nothing is newer.
        """
        rows = [a_row(update_number=9), a_row(update_number=7)]
        self.assertEqual(newest_of_pull(PEER, 6, rows), 9)
        self.assertEqual(newest_of_pull(PEER, 6, []), 6)

    def test_only_what_was_asked_for_is_taken(self) -> None:
        """
        304 for rows of another registrar, and for old ones.
        """
        for row in (a_row(primary="sipx3.example.com", update_number=9), a_row(update_number=6)):
            self.assertEqual(self.assertRaises(Fault, newest_of_pull, PEER, 6, [row]).code, rpc.UPDATE_FAILED)
