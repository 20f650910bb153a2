"""
Tests for L{sipxha.cdr.party}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.party import without_params, without_tag


class WithoutTagTests(SynchronousTestCase):
    """
    Tests for From and To values as CDRs show them.
    """

    def test_only_the_tag_goes(self) -> None:
        """
        Display name, brackets and other parameters are kept as they were sent.
        """
        for sent, shown in (
            ("<sip:a@b>;tag=1", "<sip:a@b>"),
            ("<sip:a@b>; TAG = 1", "<sip:a@b>"),
            ("<sip:a@b;user=phone>;tag=1", "<sip:a@b;user=phone>"),
            ("<sip:a@b;tag=uri>;tag=1;x", "<sip:a@b;tag=uri>;x"),
            ("sip:a@b;tag=1", "sip:a@b"),
            ("<sip:a@b>", "<sip:a@b>"),
            ("sip:a@b", "sip:a@b"),
            ('"A; tag=x <y>" <sip:a@b>;tag=1', '"A; tag=x <y>" <sip:a@b>'),
            ('"A \\" ;tag=" <sip:a@b>;tag=1', '"A \\" ;tag=" <sip:a@b>'),
            ('<sip:a@b>;x="p>;tag=0";tag=1', '<sip:a@b>;x="p>;tag=0"'),
            ("<sip:o'brien@b>;tag=1", "<sip:o'brien@b>"),
            ("", ""),
        ):
            self.assertEqual(without_tag(sent), shown)

    @given(st.text(alphabet='a<>;="\\ tag', max_size=40))
    def test_any_text_is_survived_and_nothing_is_added(self, value: str) -> None:
        """
        Whatever a sender wrote, the answer is part of it.
        """
        shown = iter(value)
        self.assertTrue(all(char in shown for char in without_tag(value)))

    def test_a_long_hostile_text_costs_one_pass(self) -> None:
        """
        Unclosed brackets and quotes are no way to keep the resolver busy.
        """
        for piece in ("<", '"', ";", '";', '<"'):
            without_tag(piece * 50_000)
            without_params(piece * 50_000)


class WithoutParamsTests(SynchronousTestCase):
    """
    Tests for Contact values as CDRs show them.
    """

    def test_all_parameters_go(self) -> None:
        """
        What is left is the display name and the URI, its bracket closed.
        """
        for sent, shown in (
            ("<sip:a@10.1.1.7:5062;transport=tcp>;expires=60", "<sip:a@10.1.1.7:5062>"),
            ("<sip:a@10.1.1.7>;expires=60", "<sip:a@10.1.1.7>"),
            ("sip:a@10.1.1.7;expires=60", "sip:a@10.1.1.7"),
            ('"A;B <x" <sip:a@[::1];ob>', '"A;B <x" <sip:a@[::1]>'),
            ("<sip:a@h>", "<sip:a@h>"),
        ):
            self.assertEqual(without_params(sent), shown)

    def test_no_contact_stays_none(self) -> None:
        """
        Old writers left the empty string.
        """
        self.assertIsNone(without_params(None))
        self.assertIsNone(without_params(""))
