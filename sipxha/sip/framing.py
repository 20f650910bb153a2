"""
A byte stream becomes messages.

Knows no connection: bytes come in as they arrive, whole messages go out.
RFC 3261 sections 7.5 and 18.3, RFC 5626 section 3.5.1.
"""

from __future__ import annotations

from typing import NamedTuple

from sipxha.sip.limits import DEFAULT, MessageLimits
from sipxha.sip.message import MalformedMessage
from sipxha.sip.parser import answerable, content_length, parse_head, partial_request
from sipxha.sip.values import Message


class KeepAlive(NamedTuple):
    """
    A ping: two CRLFs where a message could begin, to be answered with one.
    """


class StreamFramer:
    """
    Cuts one stream into messages by their Content-Length.

    After the first message that cannot be read nobody knows where the next
    one begins: the framer is L{closed}, and so should be the connection, once
    that message is answered.
    """

    __slots__ = ("_buffer", "_limits", "_message", "_missing", "_searched", "closed", "overflowed")

    closed: bool
    """Whether the rest of the stream is lost."""

    overflowed: bool
    """Whether that is because a message was over the limit."""

    def __init__(self, limits: MessageLimits = DEFAULT) -> None:
        self._buffer = bytearray()
        self._limits = limits
        self._message: Message | None = None
        self._missing = 0
        self._searched = 0
        self.closed = False
        self.overflowed = False

    @property
    def pending(self) -> bool:
        """
        Whether a message has begun that is not complete.
        """
        return self._message is not None or bool(self._buffer)

    @property
    def awaits_body(self) -> bool:
        """
        Whether the header fields of a message are here, and its body is not.
        """
        return self._message is not None

    def receive_data(self, data: bytes) -> list[Message | MalformedMessage | KeepAlive]:
        """
        Take what arrived and return what is complete with it.
        """
        arrived: list[Message | MalformedMessage | KeepAlive] = []
        if self.closed:
            return arrived
        self._buffer += data
        try:
            while (found := self._next()) is not None:
                arrived.append(found)
        except MalformedMessage as problem:
            arrived.append(problem)
            self.closed = True
            self.overflowed = problem.status == 513
            self._buffer.clear()
            self._message = None
        return arrived

    def _next(self) -> Message | KeepAlive | None:
        buffer = self._buffer
        if self._message is None:
            if buffer[:1] == b"\r":
                # Not lstrip(): two CRLFs are a ping, one is a pong or padding.
                if len(buffer) < 4 and b"\r\n\r\n".startswith(buffer):
                    return None
                if buffer[:4] == b"\r\n\r\n":
                    del buffer[:4]
                    return KeepAlive()
                if buffer[:2] == b"\r\n":
                    del buffer[:2]
            end = buffer.find(b"\r\n\r\n", self._searched)
            if end < 0:
                self._searched = max(0, len(buffer) - 3)
                if len(buffer) > min(self._limits.head, self._limits.message) + 3:
                    raise MalformedMessage(
                        513, "Header Too Large", partial_request(bytes(buffer), self._limits)
                    )
                return None
            self._searched = 0
            self._begin(bytes(buffer[:end]))
            del buffer[: end + 4]
        if len(buffer) < self._missing:
            return None
        message = self._message
        assert message is not None
        message.take_body(bytes(buffer[: self._missing]), measured=True)
        del buffer[: self._missing]
        self._message = None
        return message

    def _begin(self, head: bytes) -> None:
        message = parse_head(head, self._limits)
        length = content_length(message)
        if length is None:
            raise MalformedMessage(400, "Missing Content-Length", answerable(message))
        if len(head) + 4 + length > self._limits.message:
            raise MalformedMessage(513, "Message Too Large", answerable(message))
        self._message = message
        self._missing = length
