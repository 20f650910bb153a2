"""
Tests for L{sipxha.sip.names}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.grammar import UnsafeValue
from sipxha.sip.names import canonical, printed

COMPACT = "v via f from t to i call-id m contact l content-length c content-type k supported s subject e "
COMPACT += "content-encoding o event r refer-to b referred-by u allow-events a accept-contact y identity "
COMPACT += "d request-disposition j reject-contact x session-expires n identity-info"


class CanonicalTests(SynchronousTestCase):
    """
    Tests for L{canonical}.
    """

    def test_M05_compact_forms_are_the_long_ones(self) -> None:
        """
        In either case.
        """
        words = COMPACT.split()
        for letter, name in zip(words[::2], words[1::2], strict=True):
            self.assertEqual(canonical(letter), name)
            self.assertEqual(canonical(letter.upper()), name)

    def test_M05_case_and_blanks_before_the_colon_do_not_matter(self) -> None:
        """
        No spelling smuggles a field past its name.
        """
        for spelling in ("cAll-iD", "Call-ID ", "CALL-ID\t ", "I ", "call-id"):
            self.assertEqual(canonical(spelling), "call-id")
        self.assertEqual(canonical("X-Thing "), "x-thing")

    def test_what_is_no_token_is_no_name(self) -> None:
        """
        Neither is nothing.
        """
        for spelling in ("", " ", "a b", " Via", "Via\0", "Vi(a", "V\u00eda"):
            self.assertIsNone(canonical(spelling))


class PrintedTests(SynchronousTestCase):
    """
    Tests for L{printed}.
    """

    def test_known_names_are_spelled_as_usual(self) -> None:
        """
        Unknown ones as asked for, or else with capitals.
        """
        self.assertEqual(printed("call-id"), ("call-id", "Call-ID"))
        self.assertEqual(printed("WWW-AUTHENTICATE"), ("www-authenticate", "WWW-Authenticate"))
        self.assertEqual(printed("i"), ("call-id", "Call-ID"))
        self.assertEqual(printed("X-sipX-Thing"), ("x-sipx-thing", "X-sipX-Thing"))
        self.assertEqual(printed("x-thing"), ("x-thing", "X-Thing"))

    def test_M29_no_other_text_becomes_a_name(self) -> None:
        """
        A colon or a line end in a name would make another field.
        """
        for name in ("", "a:b", "a\r\nb", "a ", "a\n"):
            with self.assertRaises(UnsafeValue):
                printed(name)
