"""
Tests for L{sipxha.sip.response}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.grammar import UnsafeValue
from sipxha.sip.limits import UNLIMITED
from sipxha.sip.message import Request
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from tests.sip.samples import a_request, datagram


class ResponseToTests(SynchronousTestCase):
    """
    Tests for L{response_to}.
    """

    def test_M20_what_names_the_request_is_copied(self) -> None:
        """
        Byte for byte, Vias in order.
        """
        request = a_request("v:SIP/2.0/TCP x\r\n ;branch=z9hG4bKq", "Subject: no")
        self.assertEqual(
            response_to(
                request, 200, to_tag="t", fields=[("Contact", "<sip:a>"), ("contact", "<sip:b>")]
            ).encode(),
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1\r\n"
            b"From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>;tag=t\r\nCall-ID: call-1\r\n"
            b"CSeq: 1 OPTIONS\r\nv:SIP/2.0/TCP x\r\n ;branch=z9hG4bKq\r\n"
            b"Contact: <sip:a>\r\nContact: <sip:b>\r\nContent-Length: 0\r\n\r\n",
        )

    def test_M20_a_tag_is_added_once_and_never_to_a_100(self) -> None:
        """
        A tag that is there stays.
        """
        self.assertEqual(response_to(a_request(), 180, to_tag="t").to.tag, "t")
        self.assertIsNone(response_to(a_request(), 100, to_tag="t").to.tag)
        self.assertIsNone(response_to(a_request(), 180).to.tag)
        tagged = a_request("To: sip:bob@b;tag=old", without="To")
        self.assertEqual(response_to(tagged, 180, to_tag="t").rows("to"), ["sip:bob@b;tag=old"])
        bare = a_request("To: sip:bob@b", without="To")
        self.assertEqual(response_to(bare, 180, to_tag="t").to.tag, "t")

    def test_a_to_that_nobody_can_read_goes_back_as_it_came(self) -> None:
        """
        So that the sender recognises it.
        """
        for lines in (["To: <sip:a"], []):
            answer = response_to(a_request(*lines, without="To"), 400, to_tag="t")
            self.assertEqual(answer.rows("to"), [line[4:] for line in lines])

    def test_a_to_leaves_byte_for_byte_before_its_new_tag(self) -> None:
        """
        Even with an escaped NUL, which no value of ours could have.
        """
        request = a_request('t:"\\\0"\r\n  <sip:b> ', without="To")
        self.assertIn(b'\r\nt:"\\\0"\r\n  <sip:b>;tag=t\r\n', response_to(request, 180, to_tag="t").encode())
        with self.assertRaises(UnsafeValue):
            response_to(request, 180, to_tag="t\r\nEvil: 1")

    def test_M21_a_100_copies_the_timestamp(self) -> None:
        """
        Others do not.
        """
        self.assertEqual(response_to(a_request("Timestamp: 54"), 100).get("timestamp"), "54")
        self.assertFalse(response_to(a_request("Timestamp: 54"), 200).has("timestamp"))

    def test_the_phrase_can_be_chosen(self) -> None:
        """
        Unknown codes have none.
        """
        self.assertEqual(response_to(a_request(), 403, "Not For You").reason, "Not For You")
        self.assertEqual(response_to(a_request(), 499).reason, "")

    def test_what_could_be_read_of_the_request_can_be_read_of_the_answer(self) -> None:
        """
        Under the limits of the request.
        """
        long = "c" * 1000
        request = parse_message(datagram(f"Call-ID: {long}", without="Call-ID"), UNLIMITED)
        assert isinstance(request, Request)
        self.assertEqual(response_to(request, 200).call_id, long)
