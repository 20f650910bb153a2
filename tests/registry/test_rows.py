"""
Tests for L{sipxha.registry.rows}: all indexes agree, and nothing stays for ever.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.rows import Rows
from tests.registry.rows import NOW, a_row, contents, rows

MAX = 7200
MEMORY = 2 * MAX


class IndexTests(SynchronousTestCase):
    """
    Tests for what is found where.
    """

    @given(st.lists(rows, max_size=30))
    def test_the_last_row_of_each_key_is_found_by_every_index(self, some: list[Binding]) -> None:
        """
        In the order of each.
        """
        held = Rows(MAX)
        for row in some:
            held._put(row)
        self.assertEqual(contents(held), set({row.key: row for row in some}.values()))
        for name in held.primaries():
            numbers = [row.update_number for row in held.rows_after(name, 0)]
            self.assertEqual(numbers, sorted(numbers))
            self.assertEqual(held.largest_number(name), numbers[-1])
        for row in some:
            by_deadline = list(held.remembered(row.identity))
            self.assertEqual(by_deadline, sorted(by_deadline, key=lambda row: row.deadline))
            by_cseq = list(held._of_call(row.identity, row.callid))
            self.assertEqual(by_cseq, sorted(by_cseq, key=lambda row: row.cseq))

    @given(st.lists(rows, max_size=30), st.integers(-3, 3))
    def test_a_purge_leaves_exactly_what_is_young_enough(self, some: list[Binding], seconds: int) -> None:
        """
        Rows that ended sooner than they first said wait until then, no longer.
        """
        held = Rows(MAX)
        for row in some:
            held._put(row)
        before, horizon = contents(held), NOW + seconds
        gone = set(held.purge(horizon + MEMORY))
        self.assertEqual(contents(held), {row for row in before if row.key not in gone})
        self.assertTrue(all(row.deadline <= horizon for row in before if row.key in gone))
        held.purge(NOW + 3 + MEMORY)
        self.assertEqual((len(held), held._ages, held._order, held.primaries()), (0, {}, [], []))


class PurgeTests(SynchronousTestCase):
    """
    What is forgotten, and when.
    """

    def setUp(self) -> None:
        self.rows = Rows(MAX)
        self.row = a_row()
        self.rows._put(self.row)

    def test_a_row_is_forgotten_twice_the_longest_expiry_after_its_end(self) -> None:
        """
        SyncDesign 4.1; without any request.
        """
        end = self.row.deadline
        self.assertEqual(self.rows.purge(end + MEMORY - 1), [])
        self.assertTrue(self.rows.known(self.row.identity))
        self.assertEqual(self.rows.purge(end + MEMORY), [self.row.key])
        self.assertFalse(self.rows.known(self.row.identity))
        self.assertIsNone(self.rows.held(self.row.key))

    def test_a_refreshed_row_is_not_forgotten(self) -> None:
        """
        Its first deadline does not count any more.
        """
        end = self.row.deadline
        self.rows._put(self.row._replace(deadline=end + 3000))
        self.assertEqual(self.rows.purge(end + MEMORY), [])
        self.assertEqual(self.rows.purge(end + 3000 + MEMORY), [self.row.key])
        self.assertEqual(self.rows.purge(end + 100 * MAX), [])

    def test_a_purge_takes_no_longer_than_it_may(self) -> None:
        """
        The rest goes the next times.
        """
        for number in range(2, 11):
            self.rows._put(a_row(identity=f"{number}@example.com", update_number=number))
        sizes = []
        while len(self.rows):
            sizes.append(len(self.rows.purge(NOW + 10 * MAX, most=4)))
        self.assertEqual(sizes, [4, 4, 2])
        self.assertEqual((self.rows.purge(NOW + 10 * MAX), self.rows._order), ([], []))

    def test_a_forgotten_row_can_come_again(self) -> None:
        """
        And is forgotten again.
        """
        self.rows.purge(NOW + 10 * MAX)
        self.rows._put(self.row)
        self.assertEqual(self.rows.purge(NOW + 10 * MAX), [self.row.key])


class WatchTests(SynchronousTestCase):
    """
    Who hears that rows of an address-of-record change.
    """

    def test_only_who_watches_an_address_of_record_hears_of_it(self) -> None:
        """
        Once for each row, whichever way it came; never of others.
        """
        held, heard = Rows(MAX), list[str]()
        row = a_row()
        held.watched[row.identity] = heard.append
        held._put(row)
        held._put(a_row(identity="202@example.com"))
        held._put(row._replace(cseq=row.cseq + 1))
        self.assertEqual(heard, [row.identity] * 2)
        del held.watched[row.identity]
        held._put(row)
        self.assertEqual(len(heard), 2)
