"""
Tests for L{sipxha.net.http1}.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.net.http1 import END, MOST_HEAD, Head, HttpMalformed, HttpReader

CALL = b"POST /RPC2 HTTP/1.1\r\nHost: a\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def read(pieces: list[bytes], *, are_answers: bool = False) -> list[Head | bytes]:
    """
    All heads that came, each with its whole body after it.
    """
    reader = HttpReader(are_answers=are_answers)
    found: list[Head | bytes] = []
    body = b""
    for piece in pieces:
        reader.feed(piece)
        while (event := reader.next()) is not None:
            if isinstance(event, Head):
                found.append(event)
            elif isinstance(event, bytes):
                body += event
            else:
                found.append(body)
                body = b""
    return found


class HttpReaderTests(SynchronousTestCase):
    """
    Tests for messages of one connection.
    """

    def test_a_request_is_read(self) -> None:
        """
        Names of fields in any case, and values without what surrounds them.
        """
        head, body = read([CALL + b"X-a:  one \t\r\nx-A: two\r\nCONTENT-LENGTH: 5\r\n\r\nhello"])
        assert isinstance(head, Head)
        self.assertEqual((head.method, head.target, head.version, head.length), ("POST", "/RPC2", 1, 5))
        self.assertEqual(head.fields, {"host": "a", "x-a": "one, two", "content-length": "5"})
        self.assertEqual((body, head.is_last), (b"hello", False))

    def test_an_answer_is_read(self) -> None:
        """
        With or without a phrase; an interim one is none.
        """
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        text = interim + ANSWER + b"Content-Length: 2\r\n\r\nokHTTP/1.1 204\r\nContent-Length: 9\r\n\r\n"
        first, body, second, empty = read([text], are_answers=True)
        assert isinstance(first, Head) and isinstance(second, Head)
        self.assertEqual((first.status, first.phrase, body), (200, "OK", b"ok"))
        self.assertEqual((second.status, second.phrase, empty), (204, "", b""))

    @given(st.lists(st.integers(0, 260), max_size=12))
    def test_messages_are_the_same_however_they_are_cut(self, cuts: list[int]) -> None:
        """
        One that has a length, one in chunks with a trailer, one without a body.
        """
        text = (
            CALL
            + b"Content-Length: 5\r\n\r\nhello\r\n"
            + CALL
            + CHUNKED
            + b"3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n"
            + b"GET / HTTP/1.0\r\n\r\n"
            + CALL
            + b"Content-Length: 0\r\n\r\n"
        )
        places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
        pieces = [text[start:end] for start, end in pairwise(places)]
        self.assertEqual(read(pieces), read([text]))
        self.assertEqual(read(pieces)[1::2], [b"hello", b"abc0123456789", b"", b""])

    @given(st.binary(max_size=300), st.booleans())
    def test_bytes_are_messages_or_are_refused(self, data: bytes, are_answers: bool) -> None:
        """
        Whatever follows a good beginning.
        """
        begin = ANSWER if are_answers else CALL
        for text in (data, begin + data, begin + CHUNKED + data):
            try:
                read([text], are_answers=are_answers)
            except HttpMalformed:
                pass

    def test_what_can_be_read_in_two_ways_is_refused(self) -> None:
        """
        Lengths that contradict each other, and what is almost a line or a field.
        """
        for text in (
            CALL + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            CALL + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
            CALL + b"Content-Length: +5\r\n\r\n",
            CALL + b"Content-Length: 5, 5\r\n\r\n",
            CALL + b"Content-Length: 0x5\r\n\r\n",
            CALL + b"Content-Length: 5 5\r\n\r\n",
            CALL + b"Content-Length:\r\n\r\n",
            CALL + b"Content-Length: 5\r\n 5\r\n\r\n",
            CALL + b"Content-Length: 5\n\r\n\r\n",
            CALL + b"Content-Length: \xb2\r\n\r\n",
            CALL + b"Content-Length: 5\x0b\r\n\r\n",
            CALL + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            CALL + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
            CALL + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            CALL + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            CALL + b"Transfer-Encoding: xchunked\r\n\r\n",
            CALL + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
            CALL + b"Transfer-Encoding : chunked\r\n\r\n",
            CALL + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
            b"POST /RPC2 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            CALL + b"Content-Length : 5\r\n\r\n",
            CALL + b"X: 1\r\n Content-Length: 5\r\n\r\n",
            CALL + b"X: 1\nContent-Length: 5\r\n\r\n",
            CALL + b"X: 1\0\r\n\r\n",
            CALL + b"no field\r\n\r\n",
            CALL + b"Host: b\r\n\r\n",
            b"POST /RPC2 HTTP/1.1\r\n\r\n",
            b"POST  /RPC2 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /RPC2 HTTP/2.0\r\nHost: a\r\n\r\n",
            b"hello\r\n\r\n",
            CALL + CHUNKED + b"x\r\n",
            CALL + CHUNKED + b"-1\r\n",
            CALL + CHUNKED + b"+1\r\n",
            CALL + CHUNKED + b"0x1\r\n",
            CALL + CHUNKED + b" 1\r\n",
            CALL + CHUNKED + b"1 2\r\n",
            CALL + CHUNKED + b"1\na\r\n",
            CALL + CHUNKED + b"1;\n\r\n",
            CALL + CHUNKED + b"1" * 13 + b"\r\n",
            CALL + CHUNKED + b"1\r\nab\r\n",
            CALL + CHUNKED + b"1\r\na\n\r\n",
            CALL + CHUNKED + b"0" * 400,
            CALL + CHUNKED + b"0\r\n" + b"x" * MOST_HEAD,
            CALL + b"X: " + b"x" * MOST_HEAD,
        ):
            with self.assertRaises(HttpMalformed, msg=text[:80]):
                read([text])
        for text in (b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 101 Other\r\n\r\n", CALL + b"\r\n"):
            with self.assertRaises(HttpMalformed, msg=text[:80]):
                read([text], are_answers=True)

    def test_a_connection_goes_on_unless_it_is_said_otherwise(self) -> None:
        """
        As each version of HTTP has it.
        """
        for text, is_last in (
            (CALL, False),
            (CALL + b"Connection: Keep-Alive\r\n", False),
            (CALL + b"Connection: TE, Close\r\n", True),
            (b"POST / HTTP/1.0\r\n", True),
            (b"POST / HTTP/1.0\r\nConnection: keep-alive\r\n", False),
        ):
            head = read([text + b"\r\n"])[0]
            assert isinstance(head, Head)
            self.assertEqual(head.is_last, is_last, text)

    def test_an_answer_without_a_length_ends_with_its_connection(self) -> None:
        """
        One that has a length does not.
        """
        reader = HttpReader(are_answers=True)
        reader.feed(ANSWER + b"\r\nhel")
        head = reader.next()
        assert isinstance(head, Head)
        self.assertEqual((head.length, head.is_last, reader.next()), (None, True, b"hel"))
        reader.feed(b"lo")
        self.assertEqual((reader.next(), reader.next()), (b"lo", None))
        self.assertIs(reader.close(), END)
        reader = HttpReader(are_answers=True)
        reader.feed(ANSWER + b"Content-Length: 5\r\n\r\nhel")
        reader.next()
        self.assertIsNone(reader.close())
