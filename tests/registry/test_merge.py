"""
Tests for L{sipxha.registry.merge}: its laws, and what they are for.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.merge import merge, winners
from tests.registry.rows import NOW, a_row, rows


def _same_key(row: Binding) -> Binding:
    return row._replace(
        identity="201@example.com", callid="one", contact="<sip:a@10.1.1.7>", reg_id=0, deadline=0.0
    )


mergeable = rows.map(_same_key)


class LawTests(SynchronousTestCase):
    """
    Nodes agree whatever came first, and however often.
    """

    @given(mergeable, mergeable)
    def test_commutative(self, one: Binding, other: Binding) -> None:
        """
        It does not matter which row was there first.
        """
        self.assertEqual(merge(one, other), merge(other, one))

    @given(mergeable, mergeable, mergeable)
    def test_associative(self, one: Binding, two: Binding, three: Binding) -> None:
        """
        It does not matter over which nodes rows came.
        """
        self.assertEqual(merge(merge(one, two), three), merge(one, merge(two, three)))

    @given(mergeable, mergeable)
    def test_idempotent(self, one: Binding, other: Binding) -> None:
        """
        It does not matter how often a row comes.
        """
        self.assertIs(merge(one, one), one)
        merged = merge(one, other)
        self.assertIs(merge(merged, other), merged)

    @given(st.lists(rows))
    def test_winners_do_not_depend_on_order(self, some: list[Binding]) -> None:
        """
        Which row of a slot is current is a function of the rows alone.
        """
        by_key = {row.key: row for row in some}
        one = winners(by_key.values())
        other = winners(reversed(list(by_key.values())))
        self.assertEqual(set(one), set(other))
        self.assertEqual(len({row.slot for row in one}), len(one))


class MergeTests(SynchronousTestCase):
    """
    What the laws are for.
    """

    def test_the_greater_cseq_wins(self) -> None:
        """
        Even if it ends the binding sooner.
        """
        old, new = a_row(cseq=1), a_row(cseq=2, expires=int(NOW) - 1)
        self.assertIs(merge(old, new), new)

    def test_an_old_row_does_not_revive_what_was_ended(self) -> None:
        """
        At equal CSeq the earlier end wins, though the other node's number is
        greater.
        """
        live = a_row(update_number=9, primary="sipx9.example.com")
        ended = a_row(expires=int(NOW) - 1, primary="sipx2.example.com")
        self.assertIs(merge(live, ended), ended)

    def test_a_renumbered_row_replaces_its_old_copy(self) -> None:
        """
        So that every peer learns the new number.
        """
        self.assertEqual(merge(a_row(update_number=5), a_row(update_number=6)).update_number, 6)

    def test_a_second_copy_fills_in_what_the_first_lacked(self) -> None:
        """
        A row from an older dialect has no source address.
        """
        poor, rich = a_row(received=""), a_row(path="")
        self.assertEqual(merge(poor, rich).received, rich.received)

    def test_a_copy_with_another_deadline_changes_nothing(self) -> None:
        """
        The deadline is this node's own.
        """
        held = a_row()
        self.assertIs(merge(held, held._replace(deadline=1.0)), held)

    def test_the_binding_that_was_minted_to_end_last_is_current(self) -> None:
        """
        Two sides of a partition took the same contact: one of them shows.
        """
        one = a_row(callid="one", expires=int(NOW) + 10)
        two = a_row(callid="two", expires=int(NOW) + 20)
        self.assertEqual(winners([two, one]), [two])
