"""
Tests for L{sipxha.sip.grammar}.
"""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

import sipxha.sip
from sipxha.sip.grammar import MalformedField, UnsafeValue, cut_list, quote, split_list, unfold, unquote
from tests.sip.samples import addresses, quoted_texts


class SplitListTests(SynchronousTestCase):
    """
    Tests for L{split_list} and L{cut_list}.
    """

    def test_M06_commas_separate_values(self) -> None:
        """
        Blanks around a comma belong to no value.
        """
        self.assertEqual(split_list("allow", "INVITE,ACK , BYE"), ["INVITE", "ACK", "BYE"])

    def test_commas_in_quotes_and_brackets_do_not(self) -> None:
        """
        Neither does a quoted bracket, nor an escaped quote.
        """
        text = '"a, <b\\"," <sip:x,y@z>;p="1,2", <sip:q>'
        self.assertEqual(split_list("contact", text), ['"a, <b\\"," <sip:x,y@z>;p="1,2"', "<sip:q>"])

    def test_what_stays_open_is_malformed(self) -> None:
        """
        So is an empty element.
        """
        for text in ('a, "b', "a, <b", "a,,b", ",a", "a,", ","):
            with self.assertRaises(MalformedField):
                split_list("contact", text)

    def test_one_element_can_be_cut_off(self) -> None:
        """
        The place of the next one is beyond the end where there is none.
        """
        self.assertEqual(cut_list("via", "ab , c"), ("ab", 4))
        self.assertEqual(cut_list("via", "ab , c", 4), ("c", 7))

    @given(addresses, addresses)
    def test_joined_values_come_apart_again(self, one: str, other: str) -> None:
        """
        Whatever the addresses look like.
        """
        self.assertEqual(split_list("route", f"{one}, {other}"), [one, other])


class QuoteTests(SynchronousTestCase):
    """
    Tests for L{quote}, L{unquote} and L{unfold}.
    """

    @given(quoted_texts)
    def test_a_quoted_text_is_read_back(self, text: str) -> None:
        """
        Quotes and backslashes included.
        """
        self.assertEqual(unquote(quote(text)), text)

    def test_a_token_has_no_quotes_to_lose(self) -> None:
        """
        It is taken as it is.
        """
        self.assertEqual(unquote("token"), "token")

    def test_M07_a_fold_is_one_blank(self) -> None:
        """
        However many blanks stand around it.
        """
        self.assertEqual(unfold("a \r\n\t b\r\n c"), "a b c")


class FindingTests(SynchronousTestCase):
    """
    Tests for L{MalformedField} and L{UnsafeValue}.
    """

    def test_they_say_whose_fault_it_is(self) -> None:
        """
        A sender's error is answered 400, ours 500; both hold a bounded part
        of the text.
        """
        theirs, ours = MalformedField("via", "x" * 999), UnsafeValue("via", "x" * 999)
        self.assertEqual((theirs.status, theirs.name, len(theirs.value)), (400, "via", 200))
        self.assertEqual((ours.status, ours.name, len(ours.value)), (500, "via", 200))


class PatternTests(SynchronousTestCase):
    """
    Tests for the regular expressions of the whole package.
    """

    def test_no_group_is_possessive(self) -> None:
        """
        The Python of Debian 12 would match what it should not.
        """
        for path in Path(sipxha.sip.__file__).parent.glob("*.py"):
            self.assertIsNone(re.search(r"\)[*+?]\+", path.read_text()), path.name)
