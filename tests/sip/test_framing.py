"""
Tests for L{sipxha.sip.framing}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.framing import KeepAlive, StreamFramer
from sipxha.sip.limits import DEFAULT, MessageLimits
from sipxha.sip.message import MalformedMessage
from sipxha.sip.values import Message
from tests.sip.samples import corpus, datagram, mutated_messages

EMPTY = datagram("Content-Length: 0")
FULL = datagram("l: 8", body=b"\r\n\r\nbody")


def summary(arrived: list[Message | MalformedMessage | KeepAlive]) -> list[object]:
    """
    What arrived, as values that can be compared.
    """
    return [
        found.encode()
        if isinstance(found, Message)
        else found.status
        if isinstance(found, MalformedMessage)
        else "ping"
        for found in arrived
    ]


class StreamFramerTests(SynchronousTestCase):
    """
    Tests for L{StreamFramer}.
    """

    def test_messages_follow_each_other(self) -> None:
        """
        Each ends where its Content-Length says.
        """
        framer = StreamFramer()
        self.assertEqual(summary(framer.receive_data(FULL + EMPTY + FULL[:-1])), [FULL, EMPTY])
        self.assertTrue(framer.pending)
        self.assertEqual(summary(framer.receive_data(FULL[-1:])), [FULL])
        self.assertFalse(framer.pending)

    def test_it_tells_what_it_waits_for(self) -> None:
        """
        Nothing, the end of the header fields, or that of the body.
        """
        framer = StreamFramer()
        begun = FULL.index(b"\r\n\r\n") + 4
        for data, expected in (
            (b"", (False, False)),
            (FULL[: begun - 1], (True, False)),
            (FULL[begun - 1 : -1], (True, True)),
            (FULL[-1:], (False, False)),
        ):
            framer.receive_data(data)
            self.assertEqual((framer.pending, framer.awaits_body), expected)

    def test_M01_two_line_ends_are_a_ping_and_one_is_nothing(self) -> None:
        """
        RFC 5626 section 3.5.1.
        """
        framer = StreamFramer()
        self.assertEqual(summary(framer.receive_data(b"\r\n\r\n\r\n\r\n")), ["ping", "ping"])
        self.assertEqual(summary(framer.receive_data(b"\r\n" + EMPTY)), [EMPTY])
        self.assertEqual(summary(framer.receive_data(b"\r\n\r\n\r\n" + EMPTY)), ["ping", EMPTY])

    def test_M04_without_a_length_the_stream_is_lost(self) -> None:
        """
        The request is answered first; nothing after it is looked at.
        """
        for data in (
            datagram(),
            datagram("l: -1"),
            datagram("l: 5", "Content-Length: 13"),
            datagram("l: 4294967328"),
        ):
            framer = StreamFramer()
            arrived = framer.receive_data(data + EMPTY)
            self.assertEqual(summary(arrived), [513] if b"4294967328" in data else [400])
            assert isinstance(arrived[0], MalformedMessage)
            self.assertIsNotNone(arrived[0].request)
            self.assertTrue(framer.closed)
            self.assertEqual(framer.receive_data(EMPTY), [])
            self.assertFalse(framer.pending)

    def test_good_messages_before_a_bad_one_arrive(self) -> None:
        """
        In order.
        """
        framer = StreamFramer()
        self.assertEqual(summary(framer.receive_data(EMPTY + b"junk\r\n\r\n" + EMPTY)), [EMPTY, 400])
        self.assertFalse(framer.overflowed)

    def test_a_message_over_the_limit_is_refused_before_it_is_there(self) -> None:
        """
        No sender makes us keep more.
        """
        framer = StreamFramer(MessageLimits(message=1000))
        self.assertEqual(summary(framer.receive_data(datagram("Content-Length: 1000"))), [513])
        self.assertTrue(framer.closed and framer.overflowed)
        framer = StreamFramer(MessageLimits(message=len(FULL)))
        self.assertEqual(summary(framer.receive_data(FULL)), [FULL])

    def test_a_head_that_does_not_end_is_refused(self) -> None:
        """
        At the same length, whether it comes at once or in pieces.
        """
        for size in (1000, DEFAULT.head * 2):
            framer = StreamFramer()
            endless = EMPTY[:-2] + b"X: " + b"y" * DEFAULT.head
            found: list[object] = []
            for start in range(0, len(endless), size):
                found += summary(framer.receive_data(endless[start : start + size]))
            self.assertEqual(found, [513])
            self.assertTrue(framer.overflowed)

    @given(st.data())
    def test_any_chunking_gives_the_same_messages(self, data: st.DataObject) -> None:
        """
        Pings and refusals too.
        """
        piece = st.one_of(
            st.sampled_from([EMPTY, FULL, b"\r\n", b"\r\n\r\n", *corpus().values()]), mutated_messages()
        )
        stream = b"".join(data.draw(st.lists(piece, max_size=4)))
        whole = StreamFramer()
        expected = summary(whole.receive_data(stream))
        chunked = StreamFramer()
        found: list[object] = []
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            found += summary(chunked.receive_data(stream[start:end]))
        self.assertEqual(found, expected)
        self.assertEqual((chunked.closed, chunked.overflowed), (whole.closed, whole.overflowed))

    def test_byte_by_byte_gives_the_same_messages(self) -> None:
        """
        The finest chunking there is.
        """
        framer = StreamFramer()
        stream = EMPTY + b"\r\n\r\n" + FULL + b"\r\n" + EMPTY
        found = [each for byte in stream for each in summary(framer.receive_data(bytes([byte])))]
        self.assertEqual(found, [EMPTY, "ping", FULL, EMPTY])
