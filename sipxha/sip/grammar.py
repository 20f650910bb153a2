"""
What the header modules share of RFC 3261 section 25.

Quoted strings, comma lists, and the two findings about a value.  Knows no
header by name.  Runs of one class of characters are possessive, groups have
one way only to match, and each pattern is tried at one place only, so that
matching takes time linear in the length of what was received.  No group is
possessive: CPython before 3.11.5 matches those wrongly (gh-106052).
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address

from sipxha.errors import LocalError, RemoteError

TOKEN = r"[!%'*+\-.0-9A-Z_`a-z~]"  # noqa: S105  (the grammar's word, not a secret)
"""One character of RFC 3261's C{token}, as a regular expression."""

QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*"'
"""RFC 3261's C{quoted-string}, as a regular expression."""

is_token = re.compile(TOKEN + "+").fullmatch

_ELEMENT = re.compile(rf'(?:[^",<]++|{QUOTED}|<[^>]*+>)*', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)


class MalformedField(RemoteError):
    """
    A header field does not match its grammar.

    @ivar name: The field, or the kind of value where no field is known.
    @ivar value: The offending text, at most 200 characters of it.
    """

    def __init__(self, name: str, value: str) -> None:
        super().__init__(f"{name}: {value[:200]!r} is not valid")
        self.name = name
        self.value = value[:200]


class UnsafeValue(LocalError):
    """
    We were about to send a value that would be read as something else.

    @ivar name: The field or parameter that it was meant for.
    """

    def __init__(self, name: str, value: str) -> None:
        super().__init__(f"{name}: {value[:200]!r} cannot be sent")
        self.name = name
        self.value = value[:200]


def unfold(text: str) -> str:
    """
    Join the lines of a folded value, one blank for each fold (7.3.1).
    """
    return " ".join([line.strip(" \t") for line in text.split("\r\n")])


def cut_list(name: str, text: str, start: int = 0) -> tuple[str, int]:
    """
    Read the element of a comma list that begins at C{start}, leaving commas
    in quotes and angle brackets alone.

    @return: The element, and where the next one begins; that is beyond the
        end of C{text} if there is none.
    @raise MalformedField: If it is empty, or a quote or a bracket stays open.
    """
    match = _ELEMENT.match(text, start)
    assert match is not None  # it matches the empty string
    end = match.end()
    element = text[start:end].strip(" \t")
    if not element or text[end : end + 1] not in (",", ""):
        raise MalformedField(name, text)
    return element, end + 1


def split_list(name: str, text: str) -> list[str]:
    """
    Split a comma list as L{cut_list} does.
    """
    if "," not in text:
        return [text]
    elements = []
    start = 0
    while start <= len(text):
        element, start = cut_list(name, text, start)
        elements.append(element)
    return elements


@lru_cache(maxsize=1024)
def ipv6_address(reference: str) -> IPv6Address | None:
    """
    The address in an C{IPv6reference}, brackets and all; L{None} if that is
    none.

    A third colon before an embedded IPv4 address is forgiven, for the grammar
    of RFC 3261 asked for it (RFC 5118 section 4.10).
    """
    text = reference[1:-1]
    try:
        return IPv6Address(text.replace(":::", "::") if "." in text else text)
    except ValueError:
        return None


def quote(text: str) -> str:
    """
    Make a quoted string of any text (25.1).
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """
    Take quotes and backslashes off, if C{text} is a quoted string at all.
    """
    if len(text) < 2 or text[0] != '"':
        return text
    text = text[1:-1]
    return _PAIR.sub(r"\1", text) if "\\" in text else text
