"""
Tests for L{sipxha.registry.updates}: it is a plain dictionary, in order.
"""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.updates import Updates
from tests.registry.rows import a_row


class UpdatesTests(SynchronousTestCase):
    """
    Tests for L{Updates}.
    """

    def assertHolds(self, updates: Updates, rows: list[Binding], *numbers: int) -> None:
        """
        Check every answer against the rows themselves.
        """
        held: dict[int, set[str]] = {}
        for row in rows:
            held.setdefault(row.update_number, set()).add(row.contact)
        self.assertEqual((bool(updates), updates.largest()), (bool(rows), max(held, default=0)))
        for number in (-1, 0, *numbers):
            after = [(each[0].update_number, {row.contact for row in each}) for each in updates.after(number)]
            self.assertEqual(after, [(each, held[each]) for each in sorted(held) if each > number])
            self.assertEqual(updates.count_after(number), len(after))

    @given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=200))
    def test_rows_come_and_go(self, steps: list[tuple[int, int]]) -> None:
        """
        A row that is there goes, any other comes.
        """
        updates, rows = Updates(), dict[tuple[int, int], Binding]()
        for step in steps:
            if step in rows:
                updates.remove(rows.pop(step))
            else:
                rows[step] = a_row(update_number=step[0], contact=f"<sip:{step[1]}>")
                updates.add(rows[step])
        self.assertHolds(updates, list(rows.values()), 5, 20, 40)

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(90, 110)), max_size=40), st.integers(89, 111))
    def test_those_that_have_not_ended_are_counted(self, steps: list[tuple[int, int]], now: int) -> None:
        """
        To the second, and as rows are replaced and forgotten.
        """
        updates, rows = Updates(), dict[int, Binding]()
        for number, end in steps:
            if number in rows:
                updates.remove(rows.pop(number))
            rows[number] = a_row(update_number=number, deadline=end + 0.5)
            updates.add(rows[number])
        self.assertEqual(updates.live(now + 0.25), sum(row.deadline > now for row in rows.values()))

    @settings(max_examples=10)
    @given(st.integers())
    def test_many_rows_in_any_order(self, seed: int) -> None:
        """
        As when one node's rows are pulled from others, piece by piece.
        """
        updates, random = Updates(), Random(seed)
        rows = [a_row(update_number=number, contact=f"<sip:{number}>") for number in range(1, 1500)]
        random.shuffle(rows)
        for row in rows:
            updates.add(row)
        self.assertHolds(updates, rows, 1, 700, 1499)
        random.shuffle(rows)
        for row in rows[100:]:
            updates.remove(row)
        self.assertHolds(updates, rows[:100], 1, 700, 1499)
        for row in rows[100:]:
            updates.add(row)
        self.assertHolds(updates, rows, 1, 700, 1499)

    def test_refreshes_leave_nothing_behind(self) -> None:
        """
        However many numbers there were.
        """
        updates, rows = Updates(), [a_row(update_number=number) for number in range(1, 101)]
        for row in rows:
            updates.add(row)
        for number in range(101, 20_001):
            updates.remove(rows.pop(0))
            rows.append(a_row(update_number=number))
            updates.add(rows[-1])
        self.assertHolds(updates, rows, 19_950, 20_000)
        self.assertLess(len(updates._chunks), 4)
