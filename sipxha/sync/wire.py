"""
XML-RPC as text: values in, bytes out, and back.

The codec of the standard library cannot write 64-bit integers, so this one is
our own.  Types: C{int} travels as C{<int>}, L{I8} as C{<i8>}, and C{str},
C{bool}, C{list} and C{dict} as what XML-RPC calls them.  Dates, doubles and
base64 have no use between registrars and are refused.

What comes in is hostile until it is a value: no DTD, no entity, no nesting
beyond L{DEPTH}.  Whatever is wrong with it is a L{Fault}.  How much of it
there may be is the business of whoever reads it from a socket.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from lxml import etree

from sipxha.errors import LocalError, RemoteError

DEPTH = 12
"""How deep values may lie in each other."""

MOST_ROWS = 1_000_000
"""How many rows one answer may hold."""

_I8_LEAST = -(1 << 63)
_I8_MOST = (1 << 63) - 1
_I4_LEAST = -(1 << 31)
_I4_MOST = (1 << 31) - 1
_DECIMAL = re.compile(r"[+-]?[0-9]{1,20}\Z")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,16}\Z")
_WHITE = " \t\r\n"

ILL_FORMED = -1
NOT_VALID = -2
BAD_VALUE = -5


class I8(int):
    """
    An integer that travels as C{<i8>} whatever its size.
    """

    __slots__ = ()

    def text(self) -> str:
        """
        As it is written.
        """
        return str(int(self))


class HexI8(I8):
    """
    One that is written as sipX writes it.
    """

    __slots__ = ()

    def text(self) -> str:
        """
        In hexadecimal, with zeros, and nothing but zeros for zero (registry.md 1.3).
        """
        return f"{int(self):#016x}" if self else "0" * 16


Value: TypeAlias = str | int | bool | list["Value"] | dict[str, "Value"]


class Fault(RemoteError):
    """
    The answer to a call that is not carried out.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"fault {code}: {text}")
        self.code = code
        self.text = text


class NotEncodable(LocalError):
    """
    A value that XML or XML-RPC cannot carry.
    """


# --- writing ---------------------------------------------------------------

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_NEEDS_ESCAPE = re.compile(r"[&<>\r]")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_PROLOG = '<?xml version="1.0" encoding="UTF-8"?>\n'


def encode_call(method: str, params: Sequence[Value]) -> bytes:
    """
    A C{methodCall} document.

    @raise NotEncodable: A string holds what XML 1.0 cannot carry, or a number is too great.
    """
    parts = [_PROLOG, "<methodCall><methodName>", _text(method), "</methodName><params>"]
    for param in params:
        parts.append("<param>")
        _encode(param, parts)
        parts.append("</param>")
    parts.append("</params></methodCall>\n")
    return "".join(parts).encode()


def encode_answer(value: Value) -> bytes:
    """
    A C{methodResponse} document with one value.
    """
    parts = [_PROLOG, "<methodResponse><params><param>"]
    _encode(value, parts)
    parts.append("</param></params></methodResponse>\n")
    return "".join(parts).encode()


def encode_rows(head: dict[str, Value], name: str, rows: Iterator[Value], each: int = 200) -> Iterator[bytes]:
    """
    A C{methodResponse} with a struct, in pieces: C{head} and an array C{name} of C{rows}.

    However many rows there are, only C{each} of them are text at a time.
    """
    parts = [_PROLOG, "<methodResponse><params><param><value><struct>"]
    for key, value in head.items():
        _member(key, value, parts)
    parts.append(f"<member><name>{_text(name)}</name><value><array><data>")
    for count, row in enumerate(rows, 1):
        _encode(row, parts)
        if count % each == 0:
            yield "".join(parts).encode()
            parts.clear()
    parts.append("</data></array></value></member></struct></value></param></params></methodResponse>\n")
    yield "".join(parts).encode()


def encode_fault(fault: Fault) -> bytes:
    """
    A C{methodResponse} that says no.  What XML cannot carry of its text becomes C{?}.
    """
    parts = [_PROLOG, "<methodResponse><fault>"]
    _encode({"faultCode": fault.code, "faultString": _NOT_XML.sub("?", fault.text)}, parts)
    parts.append("</fault></methodResponse>\n")
    return "".join(parts).encode()


def _text(text: str) -> str:
    if _NOT_XML.search(text):
        raise NotEncodable("a string holds a character that XML cannot carry")
    if _NEEDS_ESCAPE.search(text):
        for character, entity in _ESCAPES.items():
            text = text.replace(character, entity)
    return text


def _encode(value: Value, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(f"<value><string>{_text(value)}</string></value>")
    elif isinstance(value, I8):
        if not _I8_LEAST <= value <= _I8_MOST:
            raise NotEncodable(f"{int(value)} is no 64-bit integer")
        parts.append(f"<value><i8>{value.text()}</i8></value>")
    elif isinstance(value, bool):
        parts.append(f"<value><boolean>{value:d}</boolean></value>")
    elif isinstance(value, int):
        if not _I4_LEAST <= value <= _I4_MOST:
            raise NotEncodable(f"{value} is no 32-bit integer")
        parts.append(f"<value><int>{value}</int></value>")
    elif isinstance(value, list):
        parts.append("<value><array><data>")
        for item in value:
            _encode(item, parts)
        parts.append("</data></array></value>")
    elif isinstance(value, dict):
        parts.append("<value><struct>")
        for key, item in value.items():
            _member(key, item, parts)
        parts.append("</struct></value>")
    else:
        raise NotEncodable(f"{type(value).__name__} has no place in XML-RPC")


def _member(name: str, value: Value, parts: list[str]) -> None:
    parts.append(f"<member><name>{_text(name)}</name>")
    _encode(value, parts)
    parts.append("</member>")


# --- reading ---------------------------------------------------------------

_HARDENED: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "dtd_validation": False,
    "attribute_defaults": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}


def decode_call(document: bytes) -> tuple[str, list[Value]]:
    """
    The method and the parameters of a C{methodCall}.

    @raise Fault: It is not one.
    """
    root = _parse(document)
    if root.tag != "methodCall":
        raise Fault(NOT_VALID, "Message not schema valid: no methodCall")
    name = (root.findtext("methodName") or "").strip(_WHITE)
    if not name:
        raise Fault(NOT_VALID, "Message not schema valid: no methodName")
    params = root.find("params")
    return name, [] if params is None else [_only(param, 0) for param in params]


def decode_answer(document: bytes) -> Value:
    """
    The value of a C{methodResponse}.

    @raise Fault: It holds a fault, or it is not one.
    """
    return _answer(_parse(document))


class RowReader:
    """
    Reads an answer of many rows as it arrives and keeps the rows only.

    Every struct in an array is given to C{row} as soon as it is complete and
    forgotten; what C{row} makes of it stands in the value in its place.
    """

    def __init__(self, row: Callable[[dict[str, Value]], Any]) -> None:
        self._row = row
        self._parser = etree.XMLPullParser(
            events=("start", "end"), tag=("methodResponse", "struct"), **_HARDENED
        )
        self._rows: list[Any] = []
        self._array: etree._Element | None = None
        self._name = ""
        self._root: etree._Element | None = None

    def feed(self, data: bytes) -> None:
        """
        Take more bytes.

        @raise Fault: They are no XML, or C{row} refused a struct.
        """
        try:
            self._parser.feed(data)
            self._take_events()
        except etree.XMLSyntaxError as error:
            raise Fault(ILL_FORMED, f"Ill-formed XML contents: {error}") from error

    def close(self) -> Any:
        """
        All has arrived.

        @return: The value; the array of rows is a list of what C{row} returned.

        @raise Fault: As L{decode_answer}.
        """
        try:
            self._parser.close()
            self._take_events()
        except etree.XMLSyntaxError as error:
            raise Fault(ILL_FORMED, f"Ill-formed XML contents: {error}") from error
        if self._root is None:
            raise Fault(NOT_VALID, "Message not schema valid: no methodResponse")
        value: Any = _answer(self._root)
        if self._array is not None:
            if not isinstance(value, dict) or value.get(self._name) != []:
                raise Fault(NOT_VALID, "Message not schema valid: rows outside of the answer's struct")
            value[self._name] = self._rows
        return value

    def _take_events(self) -> None:
        events: Iterator[tuple[str, etree._Element]] = self._parser.read_events()
        for event, element in events:
            if element.tag == "methodResponse":
                self._root = element
                _refuse_dtd(element)
            elif event == "end":
                self._take(element)

    def _take(self, struct: etree._Element) -> None:
        item = struct.getparent()
        array = None if item is None else item.getparent()
        if item is None or array is None or array.tag != "data":
            return
        if self._array is None:
            self._array = array
            self._name = str(array.xpath("string(../../../name)"))
        if self._array is not array or item.getprevious() is not None or len(self._rows) == MOST_ROWS:
            raise Fault(NOT_VALID, "Message not schema valid: one array of rows, and not too many")
        self._rows.append(self._row(_struct(struct, 3)))
        array.remove(item)


def _answer(root: etree._Element) -> Value:
    if root.tag != "methodResponse":
        raise Fault(NOT_VALID, "Message not schema valid: no methodResponse")
    fault = root.find("fault")
    if fault is not None:
        said = _only(fault, 0)
        code = said.get("faultCode") if isinstance(said, dict) else None
        text = said.get("faultString") if isinstance(said, dict) else None
        if not isinstance(code, int) or not isinstance(text, str):
            raise Fault(NOT_VALID, "Message not schema valid: a fault without code and text")
        raise Fault(code, text)
    params = root.find("params")
    if params is None or len(params) != 1:
        raise Fault(NOT_VALID, "Message not schema valid: an answer has one value")
    return _only(params[0], 0)


def _parse(document: bytes) -> etree._Element:
    try:
        root: etree._Element = etree.fromstring(document, etree.XMLParser(**_HARDENED))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Fault(ILL_FORMED, f"Ill-formed XML contents: {error}") from error
    _refuse_dtd(root)
    return root


def _refuse_dtd(root: etree._Element) -> None:
    document = root.getroottree().docinfo
    if document.internalDTD is not None or document.doctype:
        raise Fault(ILL_FORMED, "Ill-formed XML contents: a document type is not allowed")


def _only(parent: etree._Element, depth: int) -> Value:
    """
    The value in an element that holds exactly one.
    """
    if len(parent) != 1 or parent[0].tag != "value":
        raise Fault(NOT_VALID, f"Message not schema valid: {parent.tag!s} holds no value")
    return _value(parent[0], depth)


def _value(element: etree._Element, depth: int) -> Value:
    if len(element) == 0:
        return element.text or ""
    if len(element) != 1 or depth > DEPTH:
        raise Fault(NOT_VALID, "Message not schema valid: a value holds one thing, and not too deep")
    typed = element[0]
    tag = typed.tag
    if tag == "string":
        return _content(typed)
    if tag == "i8":
        return I8(_integer(typed, _I8_LEAST, _I8_MOST))
    if tag in ("int", "i4"):
        return _integer(typed, _I4_LEAST, _I4_MOST)
    if tag == "struct":
        return _struct(typed, depth)
    if tag == "array":
        return _array(typed, depth)
    if tag == "boolean":
        return _integer(typed, 0, 1) == 1
    raise Fault(NOT_VALID, f"Message not schema valid: {str(tag)[:40]} is no type")


def _struct(element: etree._Element, depth: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for member in element:
        if member.tag != "member" or len(member) != 2 or member[0].tag != "name" or member[1].tag != "value":
            raise Fault(NOT_VALID, "Message not schema valid: a struct holds members of a name and a value")
        found[_content(member[0])] = _value(member[1], depth + 1)
    return found


def _array(element: etree._Element, depth: int) -> list[Value]:
    if len(element) != 1 or element[0].tag != "data":
        raise Fault(NOT_VALID, "Message not schema valid: an array holds data")
    items = []
    for item in element[0]:
        if item.tag != "value":
            raise Fault(NOT_VALID, "Message not schema valid: data holds values")
        items.append(_value(item, depth + 1))
    return items


def _content(element: etree._Element) -> str:
    # An entity that was not resolved is a child, and so is an element.
    if len(element):
        raise Fault(NOT_VALID, f"Message not schema valid: {element.tag!s} holds text only")
    return element.text or ""


def _integer(element: etree._Element, least: int, most: int) -> int:
    text = _content(element).strip(_WHITE)
    if _DECIMAL.match(text):
        number = int(text)
    elif _HEXADECIMAL.match(text):
        number = int(text, 16)
    else:
        raise Fault(BAD_VALUE, f"'{element.tag!s}' element is empty or invalid")
    if not least <= number <= most:
        raise Fault(BAD_VALUE, f"'{element.tag!s}' element is out of range")
    return number
