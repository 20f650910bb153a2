"""
Tests for L{sipxha.sip.message}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.grammar import UnsafeValue
from sipxha.sip.message import Request, Response
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from tests.sip.samples import a_request, datagram


class EncodeTests(SynchronousTestCase):
    """
    Tests for printing and copying.
    """

    def test_a_message_can_be_built(self) -> None:
        """
        Names are spelled as usual and Content-Length is right.
        """
        request = Request("INVITE", "sip:a@b", [("via", "SIP/2.0/UDP h"), ("call-id", "1")], b"body")
        self.assertEqual(
            request.encode(),
            b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nCall-ID: 1\r\nContent-Length: 4\r\n\r\nbody",
        )
        response = Response(486, "Busy Here", [("Call-ID", "1")])
        self.assertEqual(
            response.encode(), b"SIP/2.0 486 Busy Here\r\nCall-ID: 1\r\nContent-Length: 0\r\n\r\n"
        )

    def test_P17_content_length_follows_the_body(self) -> None:
        """
        A wrong one is corrected, whoever wrote it.
        """
        message = a_request("l: 0")
        message.body = b"abc"
        self.assertTrue(message.encode().endswith(b"\r\nContent-Length: 3\r\n\r\nabc"))
        message.set("content-length", "99")
        self.assertTrue(message.encode().endswith(b"\r\nContent-Length: 3\r\n\r\nabc"))
        message.add("content-length", "3")
        self.assertEqual(message.encode().count(b"Content-Length"), 1)

    def test_a_right_content_length_stays_as_it_is(self) -> None:
        """
        Spelling and all.
        """
        data = datagram("l : 0003", body=b"abc")
        self.assertEqual(parse_message(data).encode(), data)

    def test_M28_a_body_is_bytes(self) -> None:
        """
        No byte of it is touched.
        """
        body = bytes(range(256)) + b"\r\n\r\n\0"
        data = datagram(f"Content-Length: {len(body)}", body=body)
        self.assertEqual(parse_message(data).body, body)
        self.assertEqual(parse_message(data).encode(), data)

    def test_a_copy_is_independent(self) -> None:
        """
        In both directions.
        """
        message = a_request("Route: <sip:r>")
        _ = message.routes
        copy = message.copy()
        copy.remove_first("route")
        copy.uri = "sip:other"
        copy.body = b"x"
        message.set("to", "<sip:changed>")
        self.assertEqual((len(message.routes), len(copy.routes)), (1, 0))
        self.assertEqual((message.uri, message.body), ("sip:bob@example.com", b""))
        self.assertEqual(str(copy.to), "<sip:bob@example.com>")
        answer = response_to(message, 200)
        other = answer.copy()
        other.remove("via")
        self.assertEqual((other.status, other.reason, answer.has("via")), (200, "OK", True))

    def test_M29_no_start_line_can_be_broken(self) -> None:
        """
        Nor one be made that means something else.
        """
        for method, uri in (
            ("IN VITE", "sip:a"),
            ("", "sip:a"),
            ("X", "sip:a b"),
            ("X", "sip:a\r\nY: z"),
            ("X", ""),
        ):
            with self.assertRaises(UnsafeValue):
                Request(method, uri)
        with self.assertRaises(UnsafeValue):
            a_request().uri = "sip:a SIP/2.0\r\n"
        for status, reason in ((99, "x"), (700, "x"), (200, "OK\r\nX: y"), (200, "\0")):
            with self.assertRaises(UnsafeValue):
                Response(status, reason)

    def test_it_shows_what_it_is(self) -> None:
        """
        In a log line or a failed test.
        """
        self.assertEqual(repr(a_request()), "<Request OPTIONS sip:bob@example.com call-1>")
        self.assertEqual(repr(response_to(a_request(), 404)), "<Response 404 Not Found call-1>")
