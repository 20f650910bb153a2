"""
One datagram becomes one message.

Splits the head into lines and names the fields; looks at no value but
Content-Length.  What is wrong with a message is a L{MalformedMessage}, never
another exception.  RFC 3261 sections 7 and 18.3.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sipxha.sip.grammar import MalformedField, is_token, unfold
from sipxha.sip.limits import DEFAULT, MessageLimits
from sipxha.sip.message import METHODS, MalformedMessage, Request, Response
from sipxha.sip.names import CANONICAL, canonical
from sipxha.sip.values import Message

# Each method once: a message is let go sooner than its transaction, which
# remembers the method.
_method = {method: method for method in METHODS}.get

_OTHER_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)


def parse_message(data: bytes, limits: MessageLimits = DEFAULT) -> Message:
    """
    Read one datagram.

    What follows the octets that Content-Length announces is discarded; a
    datagram that ends before them is malformed (18.3).

    @raise MalformedMessage: If this is no message.
    """
    if data[:1] in b"\r\n":
        data = data.lstrip(b"\r\n")
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise MalformedMessage(400, "No End Of Header", partial_request(data, limits))
    if len(data) > limits.message:
        raise MalformedMessage(513, "Message Too Large", partial_request(data[:end], limits))
    message = parse_head(data[:end], limits)
    length = content_length(message)
    body = data[end + 4 :]
    if length is not None and length != len(body):
        if length > len(body):
            raise MalformedMessage(400, "Body Shorter Than Content-Length", answerable(message))
        body = body[:length]
    message.take_body(body, measured=length is not None)
    return message


def parse_head(head: bytes, limits: MessageLimits = DEFAULT) -> Message:
    """
    Read a start line and header fields, without the blank line after them.

    @return: A message without a body yet.
    @raise MalformedMessage: If this is no message.
    """
    if len(head) > limits.head:
        raise MalformedMessage(513, "Header Too Large", partial_request(head, limits))
    lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    joined = "".join(lines)
    if "\r" in joined or "\n" in joined:
        raise MalformedMessage(400, "Bare CR Or LF", partial_request(head, limits))
    start = lines.pop(0)
    try:
        keys = [CANONICAL[line[: line.index(":")]] for line in lines]
    except (KeyError, ValueError):
        # A fold, a name that is not usual, or no colon at all.
        lines = _unfolded(lines)
        keys = [name for line in lines if (name := _name(line)) is not None]
    if len(keys) != len(lines):
        raise MalformedMessage(400, "Bad Header Name", partial_request(head, limits))
    if len(lines) > limits.fields:
        raise MalformedMessage(400, "Too Many Header Fields", partial_request(head, limits))
    if start[:8].upper() == "SIP/2.0 ":
        return _response(start, keys, lines, limits)
    words = start.split(" ")
    method = _method(words[0])
    if len(words) != 3 or not words[1] or (method is None and is_token(words[0]) is None):
        raise MalformedMessage(400, "Bad Request Line", partial_request(head, limits))
    if words[2] != "SIP/2.0" and words[2].upper() != "SIP/2.0":
        status = 505 if _OTHER_VERSION.fullmatch(words[2]) else 400
        raise MalformedMessage(
            status, "Version Not Supported" if status == 505 else "Bad Version", partial_request(head, limits)
        )
    return Request.of_lines(method or words[0], words[1], keys, lines, limits)


def _response(start: str, keys: list[str], lines: list[str], limits: MessageLimits) -> Response:
    code = start[8:11]
    if not (code.isdecimal() and code.isascii() and 100 <= int(code) <= 699 and start[11:12] in ("", " ")):
        raise MalformedMessage(400, "Bad Status Line")
    return Response.of_lines(int(code), start[12:], keys, lines, limits)


def _name(line: str) -> str | None:
    spelling, colon, _ = line.partition(":")
    return canonical(spelling) if colon else None


def _unfolded(lines: list[str]) -> list[str]:
    """
    Give folded lines back to the field that they continue.
    """
    whole: list[str] = []
    start = 0
    for index in range(1, len(lines) + 1):
        if index == len(lines) or lines[index][:1] not in (" ", "\t"):
            whole.append(lines[start] if index == start + 1 else "\r\n".join(lines[start:index]))
            start = index
    return whole


def content_length(message: Message) -> int | None:
    """
    How long the body is said to be; L{None} if it is not said.

    @raise MalformedMessage: If that is no length, or there are two (20.14).
    """
    if not message.has("content-length"):
        return None
    length = _length(message.first_line("content-length"))
    if length is None or message.count("content-length") > 1:
        raise MalformedMessage(400, "Bad Content-Length", answerable(message))
    return length


# Most messages say the same few.
@lru_cache(maxsize=256)
def _length(line: str) -> int | None:
    value = unfold(line.partition(":")[2].strip(" \t\r\n"))
    # A length of more digits than ours is over every limit, however it wraps.
    return int(value) if value.isdecimal() and value.isascii() and len(value) <= 10 else None


def answerable(message: Message) -> Request | None:
    """
    The message if it is a request that can be answered: not an ACK, and its
    top Via can be read.
    """
    if not isinstance(message, Request) or message.method == "ACK":
        return None
    try:
        message.via  # noqa: B018  (reading is the check)
    except MalformedField:
        return None
    return message


def partial_request(head: bytes, limits: MessageLimits) -> Request | None:
    """
    What can be read of a broken request, in order to answer it.

    Rows without a name are left out, and so is everything after the limits.

    @return: L{None} where nothing can be answered.
    """
    text = head[: limits.head].partition(b"\r\n\r\n")[0].decode("utf-8", "surrogateescape")
    start, *lines = text.split("\r\n")
    method, _, uri = start.partition(" ")
    if is_token(method) is None:
        return None
    keys, kept = [], []
    whole = [line for line in lines if "\r" not in line and "\n" not in line]
    for line in _unfolded(whole[: limits.fields]):
        name = _name(line)
        if name is not None:
            keys.append(name)
            kept.append(line)
    return answerable(Request.of_lines(method, uri, keys, kept, limits))
