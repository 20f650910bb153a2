"""
Tests for L{sipxha.sip.params}.
"""

from __future__ import annotations

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.grammar import MalformedField, UnsafeValue
from sipxha.sip.params import Params
from tests.sip.samples import params_texts, tokens


class ParamsTests(SynchronousTestCase):
    """
    Tests for L{Params}.
    """

    def test_names_are_case_blind(self) -> None:
        """
        A flag has an empty value; what is not there has none.
        """
        params = Params.parse(";Tag=aB;lr ; x = 1")
        self.assertEqual((params.get("tag"), params.get("LR"), params.get("x")), ("aB", "", "1"))
        self.assertIsNone(params.get("y"))
        self.assertTrue("TAG" in params)
        self.assertFalse("y" in params)
        self.assertEqual(len(params), 3)

    def test_order_and_spelling_stay(self) -> None:
        """
        A flag and an empty value are told apart when listed.
        """
        params = Params.parse(";B=1;a;c=")
        self.assertEqual(list(params), [("B", "1"), ("a", None), ("c", "")])

    def test_a_quoted_value_is_kept_as_sent(self) -> None:
        """
        L{Params.text} takes the quotes off.
        """
        params = Params.parse(';x="a;b\\",c";y=z')
        self.assertEqual(params.get("x"), '"a;b\\",c"')
        self.assertEqual(params.text("x"), 'a;b",c')
        self.assertEqual(params.text("y"), "z")
        self.assertIsNone(params.text("z"))

    def test_the_first_of_two_equal_names_counts(self) -> None:
        """
        Setting it leaves one.
        """
        params = Params.parse(";a=1;b;A=2")
        self.assertEqual(params.get("a"), "1")
        self.assertEqual(str(params.with_("a", "3")), ";a=3;b")

    def test_a_changed_value_stays_where_it_was(self) -> None:
        """
        A new one goes to the end; neither touches the original.
        """
        params = Params.parse(" ; a = 1;b")
        self.assertEqual(str(params.with_("b", "2")), " ; a = 1;b=2")
        self.assertEqual(str(params.with_("lr", None)), " ; a = 1;b;lr")
        self.assertEqual(str(params.without("A")), ";b")
        self.assertEqual(str(params), " ; a = 1;b")

    def test_other_text_is_malformed(self) -> None:
        """
        Empty parameters and open quotes among it.
        """
        for text in (
            ";;",
            "a",
            ";a;",
            ";a b",
            ';a="b',
            ";a=<b>",
            ";a,b",
            ";=b",
            ";a=b c",
            ';a="\\\0"',
            ';a="\0"',
            '; ;a="',
            ";a\0",
        ):
            with self.assertRaises(MalformedField, msg=text):
                Params.parse(text)

    def test_M29_a_value_that_would_be_read_otherwise_is_refused(self) -> None:
        """
        Nobody can smuggle a parameter or a header into a value.
        """
        for name, value in (("a", "b;c"), ("a", 'x"'), ("a", "b\r\nc"), ("a", " b"), ("a b", "c"), ("", "c")):
            with self.assertRaises(UnsafeValue):
                Params().with_(name, value)
        with self.assertRaises(UnsafeValue):
            Params().with_("a=b", None)

    def test_equal_texts_are_equal(self) -> None:
        """
        Also as keys of a dictionary.
        """
        self.assertEqual(Params.parse(";a=1"), Params().with_("a", "1"))
        self.assertEqual(hash(Params.parse(";a=1")), hash(Params().with_("a", "1")))
        self.assertNotEqual(Params.parse(";a=1"), Params.parse(";A=1"))
        self.assertNotEqual(Params(), "")
        self.assertEqual(repr(Params.parse(";a")), "Params(';a')")

    @given(params_texts)
    def test_they_are_printed_as_they_came(self, text: str) -> None:
        """
        Blanks and all.
        """
        self.assertEqual(str(Params.parse(text)), text)

    @given(params_texts, tokens, tokens)
    def test_what_was_set_is_found(self, text: str, name: str, value: str) -> None:
        """
        And what was removed is not.
        """
        params = Params.parse(text).with_(name, value)
        self.assertEqual(params.get(name), value)
        self.assertEqual(Params.parse(str(params)), params)
        self.assertIsNone(params.without(name).get(name))
