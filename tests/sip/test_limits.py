"""
Tests for L{sipxha.sip.limits}: that each is kept.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.check import check
from sipxha.sip.framing import StreamFramer
from sipxha.sip.grammar import MalformedField
from sipxha.sip.limits import DEFAULT, UNLIMITED, MessageLimits
from sipxha.sip.message import MalformedMessage
from sipxha.sip.parser import parse_message
from sipxha.sip.values import Message
from tests.sip.samples import datagram


class LimitsTests(SynchronousTestCase):
    """
    Tests for L{MessageLimits}.
    """

    def refused(self, data: bytes, limits: MessageLimits) -> int:
        """
        The status that a datagram is refused with.
        """
        with self.assertRaises(MalformedMessage) as raised:
            check(parse_message(data, limits))
        status: int = raised.exception.status
        return status

    def test_the_defaults_are_those_of_standards_d4(self) -> None:
        """
        64 KiB, 32 KiB of it header; 128 fields, 32 values, 64 parameters, 256
        characters.  But 70 Vias, for those come from 70 honest hops.
        """
        self.assertEqual(DEFAULT, MessageLimits(65536, 32768, 128, 70, 32, 64, 256))

    def test_sizes_and_counts_are_kept_to_the_last(self) -> None:
        """
        What is just allowed passes, one more does not.
        """
        data = datagram("Content-Length: 2", body=b"hi")
        head = len(data) - 6
        for limits, status in (
            (MessageLimits(message=len(data)), 513),
            (MessageLimits(head=head), 513),
            (MessageLimits(fields=7), 400),
        ):
            check(parse_message(data, limits))
            self.assertEqual(self.refused(data.replace(b"\r\n\r\n", b"\r\nX: y\r\n\r\n"), limits), status)

    def test_lists_have_so_many_values(self) -> None:
        """
        However they are spread over rows.
        """
        limits = MessageLimits(vias=3, values=3)
        for name, read in (
            ("Via", lambda message: message.vias),
            ("Contact", lambda message: message.contacts),
            ("Route", lambda message: message.routes),
            ("Record-Route", lambda message: message.record_routes),
        ):
            value = "SIP/2.0/UDP h" if name == "Via" else "<sip:h>"
            lines = [f"{name}: {value}, {value}", f"{name}: {value}"]
            self.assertEqual(len(read(parse_message(datagram(*lines, without="Via"), limits))), 3)
            with self.assertRaises(MalformedField):
                read(parse_message(datagram(*lines, f"{name}: {value}", without="Via"), limits))

    def test_a_uri_has_so_many_parameters(self) -> None:
        """
        In a field and in the request line.
        """
        limits = MessageLimits(uri_params=5)
        for count, fine in ((5, True), (6, False)):
            uri = "sip:a@b" + ";x=y" * count
            for data, read in (
                (datagram(f"Contact: <{uri}>"), lambda message: message.contacts),
                (datagram(f"To: <{uri}>", without="To"), lambda message: message.to),
                (datagram(f"From: <{uri}>", without="From"), lambda message: message.from_),
                (datagram(start=f"OPTIONS {uri} SIP/2.0"), lambda message: message.request_uri),
            ):
                message = parse_message(data, limits)
                if fine:
                    read(message)
                    check(message)
                else:
                    with self.assertRaises(MalformedField):
                        read(message)

    def test_identifiers_have_so_many_characters(self) -> None:
        """
        Tags, branches and Call-IDs, below and above what is usual.
        """
        for most in (20, 127, 128, 129, 300):
            limits = MessageLimits(identifier=most)
            for name, line, taken in (
                ("Call-ID", "Call-ID: {}", 0),
                ("From", "From: <sip:a>;tag={}", 0),
                ("To", "To: <sip:a>;tag={}", 0),
                ("Via", "Via: SIP/2.0/UDP h;branch=z9hG4bK{}", 7),
            ):
                for length, fine in ((most, True), (most + 1, False)):
                    data = datagram(line.format("x" * (length - taken)), without=name)
                    if fine:
                        check(parse_message(data, limits))
                    else:
                        self.assertEqual(self.refused(data, limits), 400, (name, most))

    def test_a_stream_has_the_same(self) -> None:
        """
        They are its parser's, too.
        """
        data = datagram("Content-Length: 0", "X: y")
        (found,) = StreamFramer(MessageLimits(fields=8)).receive_data(data)
        self.assertIsInstance(found, Message)
        (found,) = StreamFramer(MessageLimits(fields=7)).receive_data(data)
        self.assertIsInstance(found, MalformedMessage)

    def test_without_limits_everything_passes(self) -> None:
        """
        What we have written, we can read.
        """
        data = datagram(*["X: y"] * 1000, "Content-Length: 90000", body=bytes(90000))
        self.assertEqual(parse_message(data, UNLIMITED).encode(), data)
