"""
Tests for L{sipxha.sip.cseq}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.cseq import CSeq
from sipxha.sip.grammar import MalformedField


class CSeqTests(SynchronousTestCase):
    """
    Tests for L{CSeq}.
    """

    def test_number_and_method_are_read(self) -> None:
        """
        Leading zeros do not count; the method keeps its case.
        """
        self.assertEqual(CSeq.parse("0009  INVITE"), CSeq(9, "INVITE"))
        self.assertEqual(CSeq.parse("0" * 50 + "1 x"), CSeq(1, "x"))
        self.assertEqual(str(CSeq(7, "BYE")), "7 BYE")

    def test_M11_the_number_ends_at_31_bits(self) -> None:
        """
        However many digits it has.
        """
        self.assertEqual(CSeq.parse("2147483647 ACK").number, 2**31 - 1)
        for number in ("2147483648", "4294967296", "9" * 5000):
            with self.assertRaises(MalformedField):
                CSeq.parse(f"{number} ACK")

    def test_other_text_is_malformed(self) -> None:
        """
        Signs and digits of other scripts among it.
        """
        for text in (
            "",
            "1",
            "INVITE",
            "1INVITE",
            "-1 INVITE",
            "+1 INVITE",
            "1 IN VITE",
            "\u0661 INVITE",
            "1 <x>",
        ):
            with self.assertRaises(MalformedField, msg=text):
                CSeq.parse(text)
