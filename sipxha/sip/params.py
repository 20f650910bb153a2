"""
An ordered C{;name=value} list that keeps the sender's spelling.

Used for parameters of URIs and of header fields alike.  Does not know what
any parameter means.  RFC 3261 section 25: C{generic-param}, C{uri-parameter}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from sipxha.sip.grammar import MalformedField, UnsafeValue, unquote

# The name may hold what a URI parameter may hold, which is more than a token.
# A quoted NUL, which the grammar has, is refused: proxies print Via and Route
# anew.  The last group takes all that is left where no parameter stands.
_PARAM = re.compile(
    r"([ \t]*+;[ \t]*+([!$%&'*+\-./0-9:A-Z\[\]_`a-z~]++)"
    r"(?:[ \t]*+=[ \t]*+(\"[^\"\\\x00]*+(?:\\[^\x00][^\"\\\x00]*+)*\"|[^\x00-\x20\x7f;,\"<>]*+))?)|(.++)",
    re.DOTALL,
)

_all_params = _PARAM.findall

_empty = object.__new__

_Item = tuple[str, str, str, str]
# (the text from the semicolon on, name, value or "", nothing)


class Params:
    """
    The parameters of one value; immutable.

    Names are case-blind; a name that was sent twice is found where it stands
    first.
    """

    __slots__ = ("_items",)

    _items: Sequence[_Item]

    def __init__(self) -> None:
        self._items = ()

    @classmethod
    def parse(cls, text: str) -> Params:
        """
        Read C{;name=value;flag}, blanks around the signs included.

        @raise MalformedField: If anything else stands there.
        """
        if not text or text[-1] in " \t":
            text = text.rstrip(" \t")
            if not text:
                return NONE
        items = _all_params(text)
        if items[-1][3]:
            raise MalformedField("parameters", text)
        params = _empty(cls)
        params._items = items
        return params

    def _with_items(self, items: Iterable[_Item]) -> Params:
        params = Params()
        params._items = tuple(items)
        return params

    def get(self, name: str) -> str | None:
        """
        The value as sent, quotes included; C{""} for a flag.
        """
        index = self._index(name)
        return None if index < 0 else self._items[index][2]

    def _index(self, name: str) -> int:
        items = self._items
        if not items:
            return -1
        name = name.lower()
        for index, item in enumerate(items):
            if item[1] == name or item[1].lower() == name:
                return index
        return -1

    def text(self, name: str) -> str | None:
        """
        The value with quotes and backslashes taken off; C{""} for a flag.
        """
        value = self.get(name)
        return None if value is None else unquote(value)

    def with_(self, name: str, value: str | None) -> Params:
        """
        These with C{name} set where it stood, or else at the end.

        @param value: A token or quoted string; L{None} for a flag.
        @raise UnsafeValue: If it would not be read back as it is.
        """
        piece = f";{name}" if value is None else f";{name}={value}"
        found = _PARAM.fullmatch(piece)
        if found is None or found[2] != name or found[3] != value:
            raise UnsafeValue(name, piece)
        item = (piece, name, value or "", "")
        index = self._index(name)
        if index < 0:
            return self._with_items((*self._items, item))
        rest = self.without(name)._items
        return self._with_items((*rest[:index], item, *rest[index:]))

    def without(self, name: str) -> Params:
        """
        These without C{name}, however often it was there.
        """
        name = name.lower()
        return self._with_items(item for item in self._items if item[1].lower() != name)

    def __contains__(self, name: str) -> bool:
        return self._index(name) >= 0

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        return ((name, value if "=" in piece else None) for piece, name, value, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __str__(self) -> str:
        return "".join([item[0] for item in self._items])

    def __repr__(self) -> str:
        return f"Params({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Params) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


NONE = Params()
"""No parameters."""
