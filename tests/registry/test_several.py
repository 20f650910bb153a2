"""
Tests for L{sipxha.registry.several}: all of its orders hold the same rows.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.several import Several
from tests.registry.rows import a_row, rows


class SeveralTests(SynchronousTestCase):
    """
    Tests for L{Several}.
    """

    @given(st.lists(rows, min_size=1, max_size=20), st.integers(0, 20))
    def test_every_order_has_the_last_row_of_each_key(self, some: list[Binding], drawn: int) -> None:
        """
        Also when some were taken out.
        """
        several, held = Several(some[0]), {some[0].key: some[0]}
        for row in some[1:]:
            self.assertIs(several.put(row), held.get(row.key))
            held[row.key] = row
        for key in list(held)[:drawn]:
            several.remove(held.pop(key))
        self.assertEqual(several.by_key, held)
        self.assertEqual(set(several.by_deadline), set(held.values()))
        deadlines = [row.deadline for row in several.by_deadline]
        self.assertEqual(deadlines, sorted(deadlines))
        for callid, call in several.by_call.items():
            self.assertEqual({row.callid for row in call}, {callid})
            self.assertEqual([row.cseq for row in call], sorted(row.cseq for row in call))
        self.assertEqual(sum(map(len, several.by_call.values())), len(held))

    def test_of_equal_rows_the_one_that_is_there_goes(self) -> None:
        """
        Though others end at the same time.
        """
        twins = [a_row(contact=f"<sip:{number}@10.1.1.7>") for number in range(3)]
        several = Several(twins[0])
        for row in twins[1:]:
            several.put(row)
        several.remove(twins[1])
        self.assertEqual(several.by_deadline, [twins[0], twins[2]])
