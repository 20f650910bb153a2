"""
Tests for L{sipxha.sip.check}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.check import check
from sipxha.sip.message import MalformedMessage
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from tests.sip.samples import a_request, datagram


class CheckTests(SynchronousTestCase):
    """
    Tests for L{check}.
    """

    def refusal(
        self, *lines: str, start: str = "OPTIONS sip:bob@example.com SIP/2.0", without: str = ""
    ) -> tuple[int, str]:
        with self.assertRaises(MalformedMessage) as raised:
            check(a_request(*lines, start=start, without=without))
        self.assertIsNotNone(raised.exception.request)
        return raised.exception.status, raised.exception.reason

    def test_a_good_request_passes(self) -> None:
        """
        Extension methods and unknown fields too (P04).
        """
        check(a_request())
        check(a_request("CSeq: 1 FOO", "X: y", without="CSeq", start="FOO sips:a SIP/2.0"))

    def test_M08_a_missing_field_is_named(self) -> None:
        """
        With enough left to answer.
        """
        for line in ("To", "From", "Call-ID", "CSeq"):
            self.assertEqual(self.refusal(without=line), (400, f"Missing {line}"))

    def test_M08_without_a_via_there_is_no_answer(self) -> None:
        """
        Nor with one that cannot be read.
        """
        for line in ("Subject: x", "Via: SIP/2.0/UDP :]", "Via: SIP/2.0/UDP h;;"):
            with self.assertRaises(MalformedMessage) as raised:
                check(a_request(line, without="Via"))
            self.assertIsNone(raised.exception.request)

    def test_M09_a_single_field_cannot_be_there_twice(self) -> None:
        """
        In whatever spelling.
        """
        for name, line in (
            ("Call-ID", "i: x"),
            ("CSeq", "cseq : 1 OPTIONS"),
            ("From", "f: <sip:a>"),
            ("To", "T: <sip:b>"),
            ("Max-Forwards", "max-forwards: 70"),
        ):
            self.assertEqual(self.refusal(line), (400, f"Repeated {name}"))

    def test_M10_the_method_must_be_that_of_the_cseq(self) -> None:
        """
        501 where we do not know the method either.
        """
        line = "CSeq: 1 INVITE"
        self.assertEqual(self.refusal(line, without="CSeq")[0], 400)
        self.assertEqual(self.refusal(line, without="CSeq", start="NEWMETHOD sip:a SIP/2.0")[0], 501)

    def test_M11_a_cseq_has_31_bits(self) -> None:
        """
        A greater one is refused.
        """
        self.assertEqual(self.refusal("CSeq: 2147483648 OPTIONS", without="CSeq"), (400, "Bad CSeq"))

    def test_M25_an_unknown_scheme_is_refused(self) -> None:
        """
        Never routed by its To.
        """
        for start in ("OPTIONS soap.beep://192.0.2.103:3002", "OPTIONS tel:112", "OPTIONS urn:service:sos"):
            self.assertEqual(self.refusal(start=f"{start} SIP/2.0")[0], 416)

    def test_M25_a_call_may_be_for_a_number_or_a_service(self) -> None:
        """
        Somebody may be in need of help; who takes no such call says so later.
        """
        for uri in ("tel:112", "urn:service:sos"):
            for method in ("INVITE", "CANCEL", "ACK"):
                start = f"{method} {uri} SIP/2.0"
                check(a_request(f"CSeq: 1 {method}", without="CSeq", start=start))

    def test_a_request_uri_must_be_one_without_headers(self) -> None:
        """
        RFC 3261 section 19.1.1.
        """
        self.assertEqual(self.refusal(start="OPTIONS <sip:a@b> SIP/2.0"), (400, "Bad Request-URI"))
        self.assertEqual(self.refusal(start="OPTIONS sip:a@b?Route=x SIP/2.0")[0], 400)

    def test_tags_branches_and_call_ids_have_limits(self) -> None:
        """
        Neither empty nor endless (CVE-2018-8828, CVE-2018-14767).
        """
        long = "x" * 257
        for name, line in (
            ("From", "From: <sip:a>;tag="),
            ("From", "From: <sip:a>;tag"),
            ("From", f"From: <sip:a>;tag={long}"),
            ("To", f"To: <sip:a>;tag={long}"),
            ("To", "To: <sip:a>;tag="),
            ("Call-ID", f"Call-ID: {long}"),
            ("Call-ID", "Call-ID:"),
            ("Call-ID", "Call-ID: a b"),
            ("Call-ID", "Call-ID: a\0b"),
            ("Call-ID", "Call-ID: \u00e4"),
            ("Max-Forwards", "Max-Forwards: 256"),
        ):
            self.assertEqual(self.refusal(line, without=name), (400, f"Bad {name}"))
        for branch in ("", "z9hG4bK", "z9hG4bK" + long):
            line = f"Via: SIP/2.0/UDP h;branch={branch}"
            self.assertEqual(self.refusal(line, without="Via"), (400, "Bad Via Branch"))

    def test_M13_a_response_is_looked_at_too(self) -> None:
        """
        What is refused is dropped: there is nothing to answer.
        """
        check(response_to(a_request(), 200))
        for line, name in (
            ("CSeq: 9292394834772304023312 OPTIONS", "CSeq"),
            ("To: <", "To"),
            ("Via: x", "Via"),
        ):
            response = parse_message(datagram(line, without=name, start="SIP/2.0 200 OK"))
            with self.assertRaises(MalformedMessage) as raised:
                check(response)
            self.assertIsNone(raised.exception.request)

    @given(
        st.sampled_from(["Contact", "Route", "Subject", "Date", "Warning", "X"]),
        st.text('<>",;:* sip@a', max_size=9),
    )
    def test_what_no_element_needs_is_nobodys_business(self, name: str, value: str) -> None:
        """
        A proxy passes malformed fields that it does not use (16.3).
        """
        check(a_request(f"{name}: {value}"))
