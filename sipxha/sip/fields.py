"""
The header lines of a message: ordered, and exactly as they came.

Finds, adds and removes rows by name and takes comma lists apart.  Does not
know what any value means.  RFC 3261 section 7.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sipxha.sip.grammar import UnsafeValue, cut_list, split_list, unfold
from sipxha.sip.names import PRINTED, UNSPLIT, printed

_READ_FROM = {
    "via": ("top via", "outline", "via count"),
    "from": ("outline", "end to end"),
    "to": ("outline", "end to end"),
    "cseq": ("outline", "end to end"),
    "contact": ("star contact",),
}
"""What else is kept of a field, beside its values."""


class Fields:
    """
    The header fields of one message.

    Fields are called by their long names in lower case; compact forms are the
    same fields.  A line that nobody changed leaves byte for byte.
    """

    __slots__ = ("_keys", "_lines", "_measured", "_typed", "_written")

    _keys: list[str]
    # The canonical names, in step with the lines.
    _lines: list[str]
    # "Name: value" as sent, folds included, without the last CRLF.
    _typed: dict[str, Any]
    # What was read from the lines; only immutable values, for copies share them.
    _measured: bool
    # Whether Content-Length is known to be there and right.
    _written: bytes | None
    # What was printed last, unless something has changed since.

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._keys = []
        self._lines = []
        self._typed = {}
        self._measured = False
        self._written = None
        for name, value in fields:
            key, spelling = printed(name)
            self._keys.append(key)
            self._lines.append(field_line(spelling, value))

    def has(self, name: str) -> bool:
        """
        Whether there is such a field.
        """
        return name in self._keys

    def count(self, name: str) -> int:
        """
        How many rows there are of a name.
        """
        return self._keys.count(name)

    def get(self, name: str) -> str | None:
        """
        The value of the first row, unfolded and stripped.
        """
        keys = self._keys
        if name not in keys:
            return None
        # L{_value} without a call: so many fields are asked for in each message.
        value = self._lines[keys.index(name)].partition(":")[2].strip(" \t\r\n")
        return unfold(value) if "\n" in value else value

    def mentions(self, name: str, text: str) -> bool:
        """
        Whether a row of a name has C{text}, of one line, in it, whatever that is there.
        """
        rows = [line for key, line in zip(self._keys, self._lines, strict=True) if key == name]
        return text in "\r\n".join(rows)

    def rows(self, name: str) -> list[str]:
        """
        The values of all rows, unfolded and stripped.
        """
        keys = self._keys
        if name not in keys:
            return []
        if keys.count(name) == 1:
            return [_value(self._lines[keys.index(name)])]
        return [_value(line) for key, line in zip(self._keys, self._lines, strict=True) if key == name]

    def values(self, name: str) -> list[str]:
        """
        The values of all rows, comma lists taken apart; challenges and
        credentials are never taken apart (7.3.1).
        """
        rows = self.rows(name)
        if not rows or name in UNSPLIT or ("," not in rows[0] and rows[0] and len(rows) == 1):
            return rows
        return [value for row in rows if row for value in split_list(name, row)]

    def lines_of(self, names: frozenset[str]) -> tuple[list[str], list[str]]:
        """
        The rows of all these names, in order and as they came.

        @return: Their names, and their lines without the last CRLF.
        """
        keys, lines = self._keys, self._lines
        wanted = [index for index, key in enumerate(keys) if key in names]
        return [keys[index] for index in wanted], [lines[index] for index in wanted]

    def set(self, name: str, value: str) -> None:
        """
        Make this the only row of its name, where the first one stood or else
        at the end.
        """
        key, line = _row(name, value)
        keys = self._keys
        if key not in keys:
            keys.append(key)
            self._lines.append(line)
            self._changed(key)
            return
        index = keys.index(key)
        if keys.count(key) > 1:
            self.remove(key)
            self._insert(index, key, line)
        else:
            self._lines[index] = line
            self._changed(key)

    def add(self, name: str, value: str) -> None:
        """
        Add a row after the last one of its name, or else at the end.
        """
        key, line = _row(name, value)
        keys = self._keys
        if key in keys:
            self._insert(len(keys) - keys[::-1].index(key), key, line)
        else:
            keys.append(key)
            self._lines.append(line)
            self._changed(key)

    def prepend(self, name: str, value: str) -> None:
        """
        Add a row before the first one of its name, or else at the top.
        """
        key, line = _row(name, value)
        keys = self._keys
        self._insert(keys.index(key) if key in keys else 0, key, line)

    def remove(self, name: str) -> None:
        """
        Remove all rows of a name, however they are spelled.
        """
        keys, lines = self._keys, self._lines
        if name not in keys:
            return
        while name in keys:
            index = keys.index(name)
            del keys[index], lines[index]
        self._changed(name)

    def remove_first(self, name: str) -> None:
        """
        Remove the first value, out of a comma list if need be.
        """
        keys, lines = self._keys, self._lines
        if name not in keys:
            return
        index = keys.index(name)
        rest = None
        if "," in lines[index]:
            spelling, _, rest = self._cut(index)
        if rest is None:
            del keys[index], lines[index]
        else:
            lines[index] = f"{spelling}: {rest}"
        self._changed(name)

    def first_line(self, name: str) -> str:
        """
        The first row as it is printed; there must be one.
        """
        return self._lines[self._keys.index(name)]

    def drop_first(self, name: str, line: str) -> bool:
        """
        Take off the first value, if it is the one that we have put on.

        @param line: The row that we had put it on as, which held nothing else.

        @return: Whether it was.
        """
        keys, lines = self._keys, self._lines
        if name not in keys:
            return False
        index = keys.index(name)
        first = lines[index]
        if first == line:
            del keys[index], lines[index]
        elif first.startswith(f"{line},"):
            # As some telephones write all of them.
            lines[index] = f"{line[: line.index(':')]}: {first[len(line) + 1 :].lstrip()}"
        else:
            return False
        self._changed(name)
        return True

    def replace_first(self, name: str, value: str) -> None:
        """
        Put another value in place of the first one, leaving the rest of a
        comma list; there must be one.
        """
        index = self._keys.index(name)
        spelling, _, rest = self._cut(index)
        self._lines[index] = (
            field_line(spelling, value) if rest is None else f"{field_line(spelling, value)}, {rest}"
        )
        self._changed(name)

    def _cut(self, index: int) -> tuple[str, str, str | None]:
        line = self._lines[index]
        colon = line.index(":")
        spelling, value = line[:colon], _value(line)
        if "," not in value:
            return spelling, value, None
        first, end = cut_list(self._keys[index], value)
        return spelling, first, value[end:].lstrip(" \t") if end < len(value) else None

    def _insert(self, index: int, key: str, line: str) -> None:
        self._keys.insert(index, key)
        self._lines.insert(index, line)
        self._changed(key)

    def _changed(self, name: str) -> None:
        typed = self._typed
        self._written = None
        if name == "content-length":
            self._measured = False
            return
        if name in typed:
            del typed[name]
        if name in _READ_FROM:
            for kept in _READ_FROM[name]:
                if kept in typed:
                    del typed[kept]


def _value(line: str) -> str:
    value = line.partition(":")[2].strip(" \t\r\n")
    return unfold(value) if "\n" in value else value


def _row(name: str, value: str) -> tuple[str, str]:
    """
    The canonical name and the line of a field that we are about to send.
    """
    if name in PRINTED:
        return name, f"{PRINTED[name]}: {safe(name, value)}"
    key, spelling = printed(name)
    return key, field_line(spelling, value)


def field_line(spelling: str, value: str) -> str:
    """
    One header line, without CRLF.
    """
    return f"{spelling}: {safe(spelling, value)}"


def safe(name: str, value: str) -> str:
    """
    The value, if it cannot end the line that it stands in.

    @raise UnsafeValue: If it holds CR, LF or NUL.
    """
    if "\r" in value or "\n" in value or "\0" in value:
        raise UnsafeValue(name, value)
    return value
