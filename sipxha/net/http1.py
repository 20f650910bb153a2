"""
HTTP/1.1 as bytes: the messages of one connection, one after the other.

What RFC 9112 says of framing, and no more of HTTP than that: the head is
bounded, a length is one number or chunks, and whatever two readers could
understand differently is refused.  It knows no socket, no method and no status
but those that have no body.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from sipxha.errors import RemoteError

MOST_HEAD = 1 << 14
"""Octets of a start line and its fields, and of what follows the last chunk."""

_MOST_SIZE_LINE = 256

_REQUEST = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/1\.([01])\Z")
_ANSWER = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t -~\x80-\xff]*))?\Z")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_NOT_TEXT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{1,15}\Z")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[\t -~\x80-\xff]*)?\Z")

_ONCE = frozenset(("content-length", "transfer-encoding", "host"))
"""Fields that mean something else to each reader when they come twice."""

_EMPTY = frozenset((204, 304))
"""Answers without a body (RFC 9112 6.3)."""


class HttpMalformed(RemoteError):
    """
    What came is no HTTP, or may be read in more than one way.
    """


class Head(NamedTuple):
    """
    What stands before a body.
    """

    method: str
    """Empty in an answer."""

    target: str
    status: int
    """0 in a request."""

    phrase: str
    version: int
    """The minor one: 1.0 or 1.1."""

    fields: dict[str, str]
    """By lower-case names."""

    length: int | None
    """Octets of the body; C{None} where that shows only at its end."""

    is_last: bool
    """Nothing follows on this connection."""


class End:
    """
    The body is over.
    """


END: Final = End()
Event: TypeAlias = Head | bytes | End | None


class HttpReceiver(Protocol):
    """
    Whoever takes what comes on a connection.
    """

    def began(self, head: Head) -> None:
        """
        A message begins.
        """

    def took(self, piece: bytes) -> None:
        """
        A piece of its body is there.
        """

    def ended(self) -> None:
        """
        Its body is over.
        """


class HttpReader:
    """
    One direction of a connection.

    C{feed} takes octets, and C{next} gives what is there, one after the other:
    a L{Head}, the pieces of its body, L{END}; C{None} until there is more.
    """

    def __init__(self, *, are_answers: bool) -> None:
        self._are_answers = are_answers
        self._buffer = b""
        self._left = 0
        self._step: Callable[[], Event] = self._read_head
        # The same head comes again and again, as long as bodies are as long.
        self._known = b""
        self._head: Head | None = None

    def feed(self, data: bytes) -> None:
        """
        Take more octets.
        """
        self._buffer = self._buffer + data if self._buffer else data

    def next(self) -> Event:
        """
        What comes next.

        @raise HttpMalformed: It is no HTTP; there is no telling where anything begins from here on.
        """
        return self._step()

    def tell(self, receiver: HttpReceiver) -> bool:
        """
        Let a receiver have what comes next.

        @return: Whether there was anything.

        @raise HttpMalformed: As L{next}.
        """
        event = self._step()
        if isinstance(event, bytes):
            receiver.took(event)
        elif isinstance(event, Head):
            receiver.began(event)
        elif event is not None:
            receiver.ended()
        return event is not None

    def close(self) -> Event:
        """
        The connection has ended; all that came before was taken.

        @return: L{END} where that was what a body was to end with.
        """
        if self._step == self._read_rest:
            self._step = self._read_head
            return END
        return None

    # --- heads --------------------------------------------------------------

    def _read_head(self) -> Event:
        while True:
            # What is too much at the end of a message is passed over (RFC 9112 2.2).
            if self._buffer[:1] in (b"\r", b"\n"):
                self._buffer = self._buffer.lstrip(b"\r\n")
            end = self._buffer.find(b"\r\n\r\n", 0, MOST_HEAD)
            if end < 0:
                if len(self._buffer) >= MOST_HEAD:
                    raise HttpMalformed(f"a head is longer than {MOST_HEAD} octets")
                return None
            text, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            head = self._head if text == self._known else None
            if head is None:
                head = self._parse_answer(text) if self._are_answers else self._parse_request(text)
                self._known, self._head = text, head
            if not 100 <= head.status < 200:
                break
        if head.length is not None:
            self._left, self._step = head.length, self._read_body
        elif "transfer-encoding" in head.fields:
            self._step = self._read_size
        else:
            self._step = self._read_rest
        return head

    def _parse_request(self, text: bytes) -> Head:
        line, fields = _split(text)
        found = _REQUEST.match(line)
        if found is None:
            raise HttpMalformed(f"{line[:80]!r} begins no request")
        version = int(found[3])
        if version and "host" not in fields:
            raise HttpMalformed("a request names no host")
        length = _length(fields, version)
        if length is None and "transfer-encoding" not in fields:
            length = 0
        return Head(found[1], found[2], 0, "", version, fields, length, _is_last(fields, version))

    def _parse_answer(self, text: bytes) -> Head:
        line, fields = _split(text)
        found = _ANSWER.match(line)
        if found is None:
            raise HttpMalformed(f"{line[:80]!r} begins no answer")
        version, status = int(found[1]), int(found[2])
        if status == 101:
            raise HttpMalformed("an answer goes over to another protocol")
        length = 0 if status in _EMPTY else _length(fields, version)
        is_last = _is_last(fields, version) or (length is None and "transfer-encoding" not in fields)
        return Head("", "", status, found[3] or "", version, fields, length, is_last)

    # --- bodies -------------------------------------------------------------

    def _read_body(self) -> Event:
        if not self._left:
            self._step = self._read_head
            return END
        return self._piece()

    def _piece(self) -> bytes | None:
        buffer = self._buffer
        if not buffer:
            return None
        piece, self._buffer = buffer[: self._left], buffer[self._left :]
        self._left -= len(piece)
        return piece

    def _read_rest(self) -> Event:
        piece, self._buffer = self._buffer, b""
        return piece or None

    def _read_size(self) -> Event:
        line = self._line(_MOST_SIZE_LINE)
        if line is None:
            return None
        found = _CHUNK_SIZE.match(line)
        if found is None:
            raise HttpMalformed(f"{line[:20]!r} is no size of a chunk")
        self._left = int(found[1], 16)
        if not self._left:
            self._left, self._step = MOST_HEAD, self._read_trailer
        else:
            self._step = self._read_chunk
        return self._step()

    def _read_chunk(self) -> Event:
        if self._left:
            return self._piece()
        line = self._line(2)
        if line is None:
            return None
        if line:
            raise HttpMalformed("a chunk is longer than it says")
        self._step = self._read_size
        return self._step()

    def _read_trailer(self) -> Event:
        while True:
            line = self._line(self._left)
            if line is None:
                return None
            self._left -= len(line) + 2
            if not line:
                self._step = self._read_head
                return END

    def _line(self, most: int) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, most)
        if end < 0:
            if len(self._buffer) >= most:
                raise HttpMalformed("a line between chunks is too long")
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line


def _split(text: bytes) -> tuple[str, dict[str, str]]:
    """
    The start line, and the fields.
    """
    line, *rest = text.decode("latin-1").split("\r\n")
    fields: dict[str, str] = {}
    for each in rest:
        name, colon, value = each.partition(":")
        if not colon or not _TOKEN.match(name) or _NOT_TEXT.search(value):
            raise HttpMalformed(f"{each[:80]!r} is no field")
        name, value = name.lower(), value.strip(" \t")
        if name in fields:
            if name in _ONCE:
                raise HttpMalformed(f"{name} comes twice")
            value = f"{fields[name]}, {value}"
        fields[name] = value
    return line, fields


def _length(fields: dict[str, str], version: int) -> int | None:
    coding, length = fields.get("transfer-encoding"), fields.get("content-length")
    if coding is not None:
        if length is not None or not version:
            raise HttpMalformed("a body has two lengths")
        if coding.lower() != "chunked":
            raise HttpMalformed(f"{coding[:80]!r} is no coding that is known here")
        return None
    if length is not None and not _LENGTH.match(length):
        raise HttpMalformed(f"{length[:80]!r} is no length")
    return None if length is None else int(length)


def _is_last(fields: dict[str, str], version: int) -> bool:
    options = fields.get("connection", "").lower()
    if not version:
        return "keep-alive" not in options
    return "close" in options and "close" in [each.strip() for each in options.split(",")]
