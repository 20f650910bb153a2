"""
Tests for L{sipxha.sip.parser}.
"""

from __future__ import annotations

import sys

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.auth_fields import Credentials
from sipxha.sip.check import check
from sipxha.sip.grammar import MalformedField
from sipxha.sip.limits import DEFAULT, UNLIMITED
from sipxha.sip.message import MalformedMessage, Request, Response
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from sipxha.sip.values import Message
from tests.sip.samples import corpus, datagram, mutated_messages


class ParseTests(SynchronousTestCase):
    """
    Tests for L{parse_message}.
    """

    def refusal(self, data: bytes) -> MalformedMessage:
        with self.assertRaises(MalformedMessage) as raised:
            parse_message(data)
        found: MalformedMessage = raised.exception
        return found

    def test_a_request_is_read(self) -> None:
        """
        Its start line, its fields, its body.
        """
        message = parse_message(datagram("Content-Length: 2", body=b"hi"))
        assert isinstance(message, Request)
        self.assertEqual(
            (message.method, message.uri, message.body), ("OPTIONS", "sip:bob@example.com", b"hi")
        )

    def test_a_response_is_read(self) -> None:
        """
        Its reason may be empty, and of any bytes.
        """
        for line, status, reason in (
            ("SIP/2.0 200 OK", 200, "OK"),
            ("SIP/2.0 100 ", 100, ""),
            ("SIP/2.0 100", 100, ""),
            ("sip/2.0 699 \u00fc \udcff", 699, "\u00fc \udcff"),
        ):
            message = parse_message(datagram(start=line))
            assert isinstance(message, Response)
            self.assertEqual((message.status, message.reason), (status, reason))

    def test_M01_line_ends_before_the_start_line_are_ignored(self) -> None:
        """
        A datagram of nothing else is no message.
        """
        self.assertIsInstance(parse_message(b"\r\n\r\n" + datagram()), Request)
        for data in (b"", b"\r\n", b"\r\n\r\n", b"\0\0\0\0"):
            self.assertIsNone(self.refusal(data).request)

    def test_M02_what_follows_the_body_is_discarded(self) -> None:
        """
        It is not looked at.
        """
        data = datagram("Content-Length: 2", body=b"hi")
        self.assertEqual(parse_message(data + datagram()).encode(), data)

    def test_M03_a_body_that_is_too_short_is_refused(self) -> None:
        """
        A request can be answered, a response is dropped.
        """
        found = self.refusal(datagram("Content-Length: 9", body=b"hi"))
        self.assertEqual((found.status, found.request is not None), (400, True))
        self.assertIsNone(self.refusal(datagram("Content-Length: 9", start="SIP/2.0 200 OK")).request)

    def test_M04_content_length_is_one_number(self) -> None:
        """
        However many bits it would take.
        """
        for lines in (
            ["-1"],
            ["x"],
            [""],
            ["5 5"],
            ["+5"],
            ["\u0665"],
            ["5", "5"],
            ["5", "6"],
            ["4294967328"],
            ["0" * 11],
        ):
            found = self.refusal(datagram(*[f"Content-Length: {value}" for value in lines], body=b"12345"))
            self.assertEqual((found.status, found.request is not None), (400, True))

    def test_without_content_length_a_datagram_ends_its_body(self) -> None:
        """
        RFC 3261 section 18.3.
        """
        self.assertEqual(parse_message(datagram(body=b"rest")).body, b"rest")

    def test_M05_odd_spellings_of_names_are_read(self) -> None:
        """
        A colon in a value ends no name.
        """
        message = parse_message(datagram("sUbJeCt \t:a:b", "X-y:", "!%':1"))
        self.assertEqual((message.get("subject"), message.get("x-y"), message.get("!%'")), ("a:b", "", "1"))

    def test_lines_that_are_no_fields_are_refused(self) -> None:
        """
        Though they look like one.
        """
        for line in ("Foobar roobar", "Via", ": x", "a b: c", "a\x01: c", "\xe4: c", "\0: c"):
            self.assertEqual(self.refusal(datagram(line)).status, 400, line)

    def test_a_line_end_is_always_two_bytes(self) -> None:
        """
        Otherwise two elements could see different fields.
        """
        for line in ("A: b\nC: d", "A: b\rC: d", "A: b\r\r\nC: d", "A: b\n\nC: d", "A: b\n"):
            self.assertEqual(self.refusal(datagram(line)).status, 400, line)

    def test_the_start_line_cannot_be_folded(self) -> None:
        """
        Nor can a fold stand before any field.
        """
        self.assertEqual(self.refusal(b"OPTIONS sip:a SIP/2.0\r\n x: y\r\n\r\n").status, 400)

    def test_request_lines_have_three_words(self) -> None:
        """
        RFC 4475 sections 3.1.2.8 to 3.1.2.10; all can be answered.
        """
        for start in (
            "OPTIONS  sip:a  SIP/2.0",
            "OPTIONS sip:a SIP/2.0  ",
            "OPTIONS sip:a; lr SIP/2.0",
            "OPTIONS  SIP/2.0",
            "OPTIONS sip:a",
            "OPTIONS sip:a HTTP/1.1",
            "OPTIONS sip:a SIP/2.0.1",
        ):
            found = self.refusal(datagram(start=start))
            self.assertEqual((found.status, found.request is not None), (400, True), start)
        for start in ("", "OPT<>IONS sip:a SIP/2.0", " OPTIONS sip:a SIP/2.0"):
            found = self.refusal(b"\r\n" + datagram(start=start)[:0] + start.encode() + b"\r\nX: y\r\n\r\n")
            self.assertIsNone(found.request, start)

    def test_M12_another_version_is_refused(self) -> None:
        """
        The case of its letters does not matter.
        """
        self.assertEqual(self.refusal(datagram(start="OPTIONS sip:a SIP/7.0")).status, 505)
        self.assertEqual(
            parse_message(datagram(start="OPTIONS sip:a sip/2.0")).encode()[:22], b"OPTIONS sip:a SIP/2.0\r"
        )

    def test_M13_a_bad_status_line_is_dropped(self) -> None:
        """
        There is nobody to tell.
        """
        for start in (
            "SIP/2.0 700 x",
            "SIP/2.0 099 x",
            "SIP/2.0 4294967301 x",
            "SIP/2.0 2000",
            "SIP/2.0 2x0 OK",
            "SIP/7.0 200 OK",
        ):
            self.assertIsNone(self.refusal(datagram(start=start)).request, start)

    def test_an_ack_is_never_answered(self) -> None:
        """
        Whatever is wrong with it.
        """
        self.assertIsNone(self.refusal(datagram("junk", start="ACK sip:a SIP/2.0")).request)

    def test_M08_a_broken_request_is_answered_by_what_can_be_read(self) -> None:
        """
        The lines that are no fields are left out.
        """
        found = self.refusal(datagram("junk", "a\rb: c", "Subject: x"))
        assert found.request is not None
        answer = response_to(found.request, found.status, found.reason, to_tag="t")
        self.assertEqual(answer.get("call-id"), "call-1")
        check(parse_message(answer.encode()))

    def test_there_are_limits(self) -> None:
        """
        To the message, its head and its fields (standards.md D.4).
        """
        most = DEFAULT.fields - 6
        self.assertIsInstance(parse_message(datagram(*["X: y"] * most)), Request)
        self.assertEqual(self.refusal(datagram(*["X: y"] * (most + 1))).status, 400)
        self.assertEqual(self.refusal(datagram(body=b"x" * DEFAULT.message)).status, 513)
        found = self.refusal(datagram("X: " + "y" * DEFAULT.head))
        self.assertEqual((found.status, found.request is not None), (513, True))

    def test_bytes_that_are_no_text_pass(self) -> None:
        """
        Nobody has to understand what is not addressed to him.
        """
        data = datagram("Subject: \udcff\udc80 \u00e4", "Content-Length: 0")
        self.assertEqual(parse_message(data).encode(), data)


class LawTests(SynchronousTestCase):
    """
    What holds for every sequence of bytes.
    """

    def touch(self, message: Message) -> None:
        names = ["via", "vias", "from_", "to", "call_id", "cseq", "contacts", "is_star_contact", "routes"]
        for name in [*names, "record_routes", "max_forwards", "expires", "request_uri"]:
            if name != "request_uri" or isinstance(message, Request):
                try:
                    getattr(message, name)
                except MalformedField:
                    continue

    @given(st.one_of(mutated_messages(), st.binary(max_size=200)))
    @example(b"A\r\n \r\n\r\n")
    def test_it_is_a_message_or_malformed(self, data: bytes) -> None:
        """
        Never anything else; and what can be answered, can be.
        """
        try:
            message = parse_message(data)
            self.touch(message)
            again = parse_message(message.encode())
            self.assertEqual(again.encode(), message.encode())
            check(message)
        except MalformedMessage as found:
            if found.request is not None:
                parse_message(response_to(found.request, found.status, found.reason, to_tag="t").encode())

    @given(mutated_messages())
    def test_an_unedited_message_leaves_byte_for_byte(self, data: bytes) -> None:
        """
        Whatever was read of it; only a missing Content-Length is added, and
        the spelling of the version is ours.
        """
        try:
            message = parse_message(data)
        except MalformedMessage:
            return
        self.touch(message)
        had_length = message.has("content-length")
        came, left = (each.split(b"\r\n\r\n", 1)[0] for each in (data.lstrip(b"\r\n"), message.encode()))
        lines = left.split(b"\r\n")[1:]
        self.assertEqual(came.split(b"\r\n")[1:], lines if had_length else lines[:-1])
        self.assertIn(message.body, data)

    def test_time_is_linear_in_what_was_received(self) -> None:
        """
        Hostile values of the greatest size are read or refused at once; this
        test would not end otherwise.
        """
        many = DEFAULT.head - 500
        for value in (
            '"' * many,
            "<" * many,
            ";" * many,
            "," * many,
            "\\" * many,
            '"\\' * (many // 2),
            "a," * (many // 2),
        ):
            for line in (f"Contact: {value}", f"Route: sip:{value}", f"Via: SIP/2.0/UDP h;{value}"):
                self.touch(parse_message(datagram(line)))
        for line in (
            f"Contact: a\r\n {' ' * many}<sip:a>",
            "Contact: a" + "\r\n " * (many // 3),
            f"Expires: {'0' * many}",
        ):
            self.touch(parse_message(datagram(line)))
        for value in ("a" * many, "a%41" * (many // 4), "a.-" * (many // 3), "a;" * (many // 2)):
            for line in (f"Contact: <sip:{value}>", f"Contact: <sip:{value}@>", f"Contact: {value} <x"):
                self.touch(parse_message(datagram(line)))

    def test_work_is_linear_in_what_was_received(self) -> None:
        """
        Four times as many hostile values take at most four times the calls, and
        so for each way of being hostile; one call sees each byte once, for no
        pattern can go back.
        """
        for piece in (
            "a,",
            "<sip:a>,",
            ";a=b",
            '"a"',
            '"\\"',
            "a%41",
            "\r\n x",
            "\r\nX: y",
            "\r\nVia: a",
            "\r\nfold\r\n ",
            "\r\n\r\n",
        ):
            for before in (
                "Contact: ",
                "Route: sip:",
                "Via: SIP/2.0/UDP h;x",
                "Authorization: Digest a=b,",
                "X: ",
                "To: <sip:",
            ):
                work = [self.work(datagram(before + piece * (count * 100))) for count in (1, 2, 4)]
                self.assertLess(work[1], 2 * work[0] + 100, (before, piece))
                self.assertLess(work[2], 4 * work[0] + 100, (before, piece))

    def work(self, data: bytes) -> int:
        """
        How many calls it takes to read all of this, and to print it.
        """
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            message = parse_message(data, UNLIMITED)
            self.touch(message)
            Credentials.parse(message.get("authorization") or "")
            message.encode()
        except (MalformedMessage, MalformedField):
            pass
        finally:
            sys.setprofile(None)
        return calls

    def test_the_corpus_is_there(self) -> None:
        """
        The laws above are only as good as their seeds.
        """
        self.assertEqual(len(corpus()), 50)
