"""
Tests for L{sipxha.cdr.position}.
"""

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.position import MOST_GAPS, Position
from tests.cdr import calls


def _rows(*ids: int) -> list[tuple[int, CallStateEvent]]:
    return [(row_id, calls.ended(float(row_id))) for row_id in ids]


class PositionTests(SynchronousTestCase):
    """
    Tests for how far a host has been read.
    """

    def test_a_page_moves_it_to_its_last_row(self) -> None:
        """
        In time too, and to the host's clock once there is no more.
        """
        begun = Position().after_page(_rows(1, 2, 3), now=1000.0, is_last=False)
        self.assertEqual((begun.last_id, begun.read_to, begun.gaps), (3, 3.0, ()))
        self.assertEqual(begun.after_page(_rows(4), 1000.0, is_last=True).read_to, 1000.0)
        self.assertEqual(begun.after_page([], 1000.0, is_last=True), begun._replace(read_to=1000.0))

    def test_times_that_nobody_can_have_seen_move_nothing(self) -> None:
        """
        Neither those after the host's own clock nor those that are none.
        """
        odd = [(1, calls.ended(5000.0)), (2, calls.ended(1.0)._replace(event_time=inf))]
        self.assertEqual(Position().after_page(odd, 1000.0, is_last=False).read_to, 1000.0)

    def test_missing_ids_are_remembered_until_they_are_found(self) -> None:
        """
        A transaction that began before another may be committed after it.
        """
        position = Position().after_page(_rows(2, 5), 9.0, is_last=True)
        self.assertEqual(position.gaps, (1, 3, 4))
        self.assertEqual(position.after_gaps([3, 77]).gaps, (1, 4))
        self.assertEqual(position.after_page(_rows(7), 9.0, is_last=True).gaps, (1, 3, 4, 6))

    def test_only_the_latest_missing_ids_are_remembered(self) -> None:
        """
        The first row of a database whose old events were purged has any id.
        """
        position = Position().after_page(_rows(10**12), 9.0, is_last=True)
        self.assertEqual(len(position.gaps), MOST_GAPS)
        self.assertEqual(position.gaps[-1], 10**12 - 1)

    def test_a_database_made_anew_is_noticed(self) -> None:
        """
        By ids that went back, or by another row at the position, or none.
        """
        position = Position().after_page(_rows(1, 2, 3), 9.0, is_last=True)
        self.assertFalse(position.is_of_another_life(3, calls.ended(3.0)))
        self.assertTrue(position.is_of_another_life(8, None))
        self.assertTrue(position.is_of_another_life(2, None))
        self.assertTrue(position.is_of_another_life(8, calls.ended(4.0)))
