"""
What must hold for any bytes.

Each target takes bytes and returns, or raises whatever went wrong: a message or
L{MalformedMessage}, a value or L{MalformedField}, never anything else, and what
was read is printed as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from sipxha.net.http1 import Head, HttpMalformed, HttpReader
from sipxha.sip.address import Address
from sipxha.sip.auth_fields import Challenge, Credentials
from sipxha.sip.check import check, check_by_field
from sipxha.sip.cseq import CSeq
from sipxha.sip.framing import KeepAlive, StreamFramer
from sipxha.sip.grammar import MalformedField, UnsafeValue, split_list
from sipxha.sip.message import MalformedMessage, Request
from sipxha.sip.params import Params
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from sipxha.sip.uri import Uri
from sipxha.sip.values import Message
from sipxha.sip.via import Via

_VALUES = (
    "vias",
    "via",
    "from_",
    "to",
    "call_id",
    "cseq",
    "contacts",
    "is_star_contact",
    "routes",
    "record_routes",
    "max_forwards",
    "expires",
    "request_uri",
    "outline",
)


def parser(data: bytes) -> None:
    """
    A datagram: read, looked at from all sides, answered, printed and read again.
    """
    try:
        message = parse_message(data)
        _touch(message)
        _check(message)
        again = parse_message(message.encode())
        assert again.encode() == message.encode()
    except MalformedMessage as found:
        if found.request is not None:
            parse_message(response_to(found.request, found.status, found.reason, to_tag="t").encode())


def _touch(message: Message) -> None:
    for name in _VALUES:
        if name != "request_uri" or isinstance(message, Request):
            with suppress(MalformedField):
                getattr(message, name)


def _check(message: Message) -> None:
    """
    The quick look must never let through what the thorough one refuses.
    """
    try:
        check_by_field(message)
        refused = None
    except MalformedMessage as found:
        refused = found.reason
    try:
        check(message)
        assert refused is None, refused
    except MalformedMessage as found:
        assert refused == found.reason


def framing(data: bytes) -> None:
    """
    A stream, at once and in pieces of as many bytes as its first one says.
    """
    size, stream = (data[0] or 1) if data else 1, data[1:]
    whole = StreamFramer().receive_data(stream)
    framer = StreamFramer()
    pieces = []
    for start in range(0, len(stream), size):
        pieces += framer.receive_data(stream[start : start + size])
    assert [_summary(found) for found in whole] == [_summary(found) for found in pieces]


def _summary(found: Message | MalformedMessage | KeepAlive) -> object:
    if isinstance(found, Message):
        return found.encode()
    return found.status if isinstance(found, MalformedMessage) else "ping"


def values(data: bytes) -> None:
    """
    One value of each kind that routing needs.
    """
    text = data.decode("utf-8", "surrogateescape")
    for parse in (Uri.parse, Address.parse, Via.parse):
        with suppress(MalformedField):
            value = parse(text)
            assert str(value) == text
            # Composed anew it is still one, and the same to those who read it.
            composed = str(value._replace(raw=""))
            assert str(parse(composed)._replace(raw="")) == composed
    with suppress(MalformedField):
        cseq = CSeq.parse(text)
        assert CSeq.parse(str(cseq)) == cseq
    with suppress(MalformedField):
        assert str(Params.parse(text)) == text.rstrip(" \t")
    with suppress(MalformedField):
        uri = Uri.parse(text)
        assert uri.equivalent(uri)
        assert uri.identity()
        uri.bare()
    with suppress(MalformedField):
        split_list("list", text)


def auth_fields(data: bytes) -> None:
    """
    Challenges and credentials.
    """
    text = data.decode("utf-8", "surrogateescape")
    for kind in (Challenge, Credentials):
        try:
            value = kind.parse(text)
        except MalformedField:
            continue
        try:
            printed = str(value)
        except UnsafeValue:
            # A quoted value where we would write a token.
            continue
        assert kind.parse(printed) == value


def http1(data: bytes) -> None:
    """
    What comes on a connection between nodes, at once and in pieces of as many
    bytes as its first one says: no way to cut it makes other messages of it.
    """
    size, stream = (data[0] or 1) if data else 1, data[1:]
    for are_answers in (False, True):
        whole = _http_messages([stream], are_answers)
        assert whole == _http_messages(
            [stream[start : start + size] for start in range(0, len(stream), size)], are_answers
        )


def _http_messages(pieces: list[bytes], are_answers: bool) -> list[object]:
    """
    Heads, each with what came of its body, and whether it was all of it.
    """
    reader = HttpReader(are_answers=are_answers)
    found: list[object] = []
    head, body = None, b""
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next()) is not None:
                if isinstance(event, Head):
                    head, body = event, b""
                elif isinstance(event, bytes):
                    body += event
                else:
                    assert head is not None and head.length in (None, len(body))
                    found.append((head, body))
                    head = None
    except HttpMalformed:
        found.append("refused")
        return found
    assert head is None or head.length is None or len(body) <= head.length
    return [*found, (head, body)]


TARGETS: dict[str, Callable[[bytes], None]] = {
    "parser": parser,
    "framing": framing,
    "values": values,
    "auth_fields": auth_fields,
    "http1": http1,
}
"""By the name of the folder that their findings are kept in."""
