"""
The values of a message: read when asked for, and kept.

What requests and responses have in common but for the start line.  A value
follows its field, however that is changed; what it means is for the layers
above.  RFC 3261 sections 7, 8.1, 16.3 and 20.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Self

from sipxha.sip.address import Address
from sipxha.sip.cseq import CSeq
from sipxha.sip.fields import Fields
from sipxha.sip.grammar import MalformedField, cut_list
from sipxha.sip.limits import DEFAULT, MessageLimits
from sipxha.sip.outline import USUAL_IDENTIFIER, USUAL_PARAMS, Outline, usual_outline
from sipxha.sip.params import NONE
from sipxha.sip.uri import Uri
from sipxha.sip.via import Via

DEFAULT_EXPIRES = 3600
"""What an Expires that cannot be read is taken for (10.2.1.1, 20.19)."""

_CRLF = "\r\n"


class Message(Fields):
    """
    What requests and responses have in common.
    """

    __slots__ = ("_body", "limits")

    limits: MessageLimits
    """Those that it was read under."""

    _body: bytes

    def __init__(self, fields: Iterable[tuple[str, str]], body: bytes) -> None:
        super().__init__(fields)
        self.limits = DEFAULT
        self._body = body

    def _take_lines(self, keys: list[str], lines: list[str], limits: MessageLimits) -> None:
        self._keys = keys
        self._lines = lines
        self._typed = {}
        self._measured = False
        self._written = None
        self.limits = limits
        self._body = b""

    def take_body(self, body: bytes, measured: bool) -> None:
        """
        Add what followed the lines; for the parser.

        @param measured: Whether Content-Length is there and says the same.
        """
        self._body = body
        self._measured = measured

    def _start(self) -> str:
        raise NotImplementedError

    def _target(self) -> str:
        return ""

    @property
    def outline(self) -> Outline:
        """
        What tells this message from others.

        @raise MalformedField: A field that it takes cannot be read.
        """
        typed = self._typed
        if "outline" in typed:
            known: Outline = typed["outline"]
            return known
        held = self.usual_outline()
        if held is None:
            held = typed["outline"] = typed["end to end"] = self._outline_by_field()
        return held

    def usual_outline(self) -> Outline | None:
        """
        The L{outline} of a message that
        L{check<sipxha.sip.check.check>} needs to look at no further, except
        for its method; L{None} if it is not written as most are.
        """
        limits = self.limits
        if limits.identifier < USUAL_IDENTIFIER or limits.uri_params < USUAL_PARAMS:
            return None
        found = usual_outline(self._target(), self._keys, self._lines)
        if found is None:
            return None
        typed = self._typed
        outline, typed["call-id"], max_forwards = found
        # Of the second all but the Via counts, which every hop changes.
        typed["outline"] = typed["end to end"] = outline
        if max_forwards is not None:
            typed["max-forwards"] = max_forwards
        return outline

    def prepend_via(self, value: str, host: str, sent_by: str, branch: str) -> None:
        """
        Put a Via on top that nobody needs to read: what is asked of it is told.

        @param value: Of our own making; it is not looked at.
        @param host: As in the L{outline}, like the others.
        """
        typed, keys = self._typed, self._keys
        count = typed.get("via count")
        self._insert(keys.index("via") if "via" in keys else 0, "via", f"Via: {value}")
        if "end to end" in typed:
            typed["outline"] = _new(Outline, (host, sent_by, branch, *typed["end to end"][3:]))
        if count is not None:
            typed["via count"] = count + 1

    def lengthen_via(self, end: str, more: str) -> bool:
        """
        Add parameters to the top Via without reading it, which costs as much
        as reading the rest of the message; what else was read stays.

        @param end: A parameter that it must end with, and not have before.
        @param more: As it goes on then, with C{received}.

        @return: Whether that could be done: the L{outline} is
            L{usual<usual_outline>}, and nobody noted anything yet.
        """
        if "outline" not in self._typed:
            return False
        index = self._keys.index("via")
        line = self._lines[index]
        if not line.endswith(end) or line.count(end) > 1 or ";received=" in line or "," in line:
            return False
        self._lines[index] = line + more
        self._written = None
        for kept in ("top via", "via"):
            if kept in self._typed:
                del self._typed[kept]
        return True

    def _outline_by_field(self) -> Outline:
        via, cseq = self.via, self.cseq
        return Outline(
            via.host.lower(),
            via.sent_by,
            via.branch or "",
            self.from_.tag,
            self.to.tag,
            cseq.number,
            cseq.method,
        )

    @property
    def via(self) -> Via:
        """
        The top Via.
        """
        held: Via | None = self._typed.get("top via")
        if held is None:
            value = self.get("via") or ""
            if "," in value:
                value, _ = cut_list("via", value)
            held = self._typed["top via"] = read_value("via", value, Via.parse)
        return held

    @property
    def vias(self) -> list[Via]:
        """
        All Via values, the top one first.
        """
        held: tuple[Via, ...] | None = self._typed.get("via")
        if held is None:
            held = self._read_all("via", Via.parse)
        return list(held)

    @property
    def via_count(self) -> int:
        """
        How many Via values there are; those below the top one are not read.
        """
        typed = self._typed
        if "via count" in typed:
            known: int = typed["via count"]
            return known
        lines = [line for key, line in zip(self._keys, self._lines, strict=True) if key == "via"]
        is_plain = "," not in "".join(lines) and len(lines) <= self.limits.vias
        count = typed["via count"] = len(lines if is_plain else self._many("via"))
        return count

    @property
    def from_(self) -> Address:
        """
        Who asks (20.20).
        """
        held: Address | None = self._typed.get("from")
        if held is None:
            held = self._typed["from"] = read_value("from", self.get("from"), self._address)
        return held

    @property
    def to(self) -> Address:
        """
        Who was meant at first (20.39).
        """
        held: Address | None = self._typed.get("to")
        if held is None:
            held = self._typed["to"] = read_value("to", self.get("to"), self._address)
        return held

    @property
    def from_tag(self) -> str | None:
        """
        The tag of From, if it has one.
        """
        typed = self._typed
        return typed["end to end"].from_tag if "end to end" in typed else self.from_.tag

    @property
    def to_tag(self) -> str | None:
        """
        The tag of To, if it has one.
        """
        typed = self._typed
        return typed["end to end"].to_tag if "end to end" in typed else self.to.tag

    @property
    def call_id(self) -> str:
        """
        The Call-ID (20.8).
        """
        typed = self._typed
        if "call-id" in typed:
            known: str = typed["call-id"]
            return known
        held = self.get("call-id")
        if not held or not (held.isascii() and held.isprintable()) or " " in held:
            raise MalformedField("call-id", held or "")
        if len(held) > self.limits.identifier:
            raise MalformedField("call-id", held)
        typed["call-id"] = held
        return held

    @property
    def cseq(self) -> CSeq:
        """
        The sequence number and its method.
        """
        typed = self._typed
        held: CSeq | None = typed.get("cseq")
        if held is None:
            if "end to end" in typed:
                held = _new(CSeq, (typed["end to end"].number, typed["end to end"].method))
            else:
                held = read_value("cseq", self.get("cseq"), CSeq.parse)
            typed["cseq"] = held
        return held

    @property
    def contacts(self) -> list[Address]:
        """
        All Contact addresses; the star is not one.
        """
        held: tuple[Address, ...] | None = self._typed.get("contact")
        if held is None:
            held = self._read_all("contact", self._address, "*")
        return list(held)

    @property
    def is_star_contact(self) -> bool:
        """
        Whether a Contact is C{*}; others beside it are in L{contacts}.
        """
        held: bool | None = self._typed.get("star contact")
        if held is None:
            rows = self.rows("contact")
            held = "*" in rows or ("*" in "".join(rows) and "*" in self.values("contact"))
            self._typed["star contact"] = held
        return held

    @property
    def routes(self) -> list[Address]:
        """
        All Route addresses, the next hop first.
        """
        held: tuple[Address, ...] | None = self._typed.get("route")
        if held is None:
            held = self._read_all("route", _route)
            for address in held:
                self._check_params(address.uri, address.raw)
        return list(held)

    @property
    def record_routes(self) -> list[Address]:
        """
        All Record-Route addresses, the last proxy first.
        """
        held: tuple[Address, ...] | None = self._typed.get("record-route")
        if held is None:
            held = self._read_all("record-route", self._address)
        return list(held)

    @property
    def max_forwards(self) -> int | None:
        """
        How many more proxies may pass this on; L{None} if it does not say.
        Settable to a number.
        """
        typed = self._typed
        if "max-forwards" in typed:
            known: int = typed["max-forwards"]
            return known
        value = self.get("max-forwards")
        if value is None:
            return None
        held = _number(value)
        if held is None or held > 255:
            raise MalformedField("max-forwards", value)
        typed["max-forwards"] = held
        return held

    @max_forwards.setter
    def max_forwards(self, left: int) -> None:
        self.set("max-forwards", str(left))
        self._typed["max-forwards"] = left

    @property
    def expires(self) -> int | None:
        """
        The seconds of the Expires field; what cannot be read, or is over
        2**32-1, counts as L{DEFAULT_EXPIRES}.
        """
        value = self.get("expires")
        if value is None:
            return None
        number = _number(value)
        return DEFAULT_EXPIRES if number is None or number >= 2**32 else number

    @property
    def body(self) -> bytes:
        """
        The body, never looked into.  Setting it sets Content-Length.
        """
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._body = body
        self._measured = False
        self._written = None

    def _address(self, text: str) -> Address:
        address = Address.parse(text)
        self._check_params(address.uri, text)
        return address

    def _check_params(self, uri: Uri, text: str) -> None:
        if uri.params is not NONE and len(uri.params) > self.limits.uri_params:
            raise MalformedField("address", text)

    def _read_all(self, name: str, parse: Any, skip: str = "") -> tuple[Any, ...]:
        try:
            held = self._typed[name] = tuple([parse(value) for value in self._many(name) if value != skip])
        except MalformedField as found:
            raise MalformedField(name, found.value) from found
        return held

    def _many(self, name: str) -> list[str]:
        values = self.values(name)
        if len(values) > (self.limits.vias if name == "via" else self.limits.values):
            raise MalformedField(name, f"{len(values)} values")
        return values

    def encode(self) -> bytes:
        """
        The message as bytes, with a Content-Length that is right.
        """
        written = self._written
        if written is not None:
            return written
        if not self._measured:
            length = self.get("content-length")
            if length is None or _number(length) != len(self._body) or self.count("content-length") > 1:
                self.set("content-length", str(len(self._body)))
            self._measured = True
        head = f"{self._start()}\r\n{_CRLF.join(self._lines)}\r\n\r\n"
        written = self._written = head.encode("utf-8", "surrogateescape") + self._body
        return written

    def _copy_to(self, copy: Self) -> Self:
        copy._keys = self._keys[:]
        copy._lines = self._lines[:]
        copy._typed = self._typed.copy()
        copy._measured = self._measured
        copy._written = self._written
        copy.limits = self.limits
        copy._body = self._body
        return copy


# Our own servers stand in most routes, and what comes after an ACK has its route.
_route = lru_cache(maxsize=256)(Address.parse)


# Past the constructor of a named tuple, which is slow.
_new = tuple.__new__


def _number(text: str) -> int | None:
    digits = text if len(text) < 10 else text.lstrip("0") or "0"
    return int(digits) if len(digits) <= 10 and digits.isdecimal() and digits.isascii() else None


def read_value(name: str, value: str | None, parse: Any) -> Any:
    """
    What C{parse} makes of a value.

    @raise MalformedField: By the name of the field.
    """
    try:
        return parse(value or "")
    except MalformedField as found:
        raise MalformedField(name, value or "") from found
