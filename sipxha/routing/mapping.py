"""
Mapping rules: further places where a dialled number may be answered.

The values behind C{mappingrules.xml} and C{fallbackrules.xml}, in the language
of sipX (namespaces urlmap-00-00 and fallback-00-00).
L{sipxha.config.rules} reads the files; nothing here knows XML, who is
registered, or what becomes of the contacts that a rule yields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from typing import NamedTuple
from urllib.parse import quote

from sipxha.errors import SipxhaError
from sipxha.routing.permissions import compile_user_pattern
from sipxha.routing.rules import host_key, names
from sipxha.sip.address import Address
from sipxha.sip.params import Params
from sipxha.sip.uri import Uri

SYMBOLS = frozenset(
    (
        "user",
        "user-escaped",
        "digits",
        "digits-escaped",
        "vdigits",
        "vdigits-escaped",
        "host",
        "uri",
        "urlparams",
        "headerparams",
    )
)
"""What stands for a part of the request; all others are known beforehand."""

_SYMBOL = re.compile(r"\{([A-Za-z-]+)\}")


class UserPattern(NamedTuple):
    """
    A pattern of the dialling language.
    """

    pattern: re.Pattern[str]
    constant: int | None
    """Where in the user part C{vdigits} begin; C{None} where nothing varies."""


def read_user_pattern(text: str) -> UserPattern:
    """
    Read a pattern, as L{compile_user_pattern} does.

    @raise ValueError: for a class that does not end or a backslash at the end.
    """
    compiled = compile_user_pattern(text)
    length = position = 0
    while position < len(text):
        if text[position] in "x.[":
            return UserPattern(compiled, length)
        position += 2 if text[position] == "\\" else 1
        length += 1
    return UserPattern(compiled, None)


class Template(NamedTuple):
    """
    A text with symbols in braces.
    """

    pieces: tuple[tuple[str, str], ...]
    """Each is a text and the symbol behind it; the last one's is empty."""

    def filled(self, values: Mapping[str, str]) -> str:
        """
        @return: the text with C{values} in place of the symbols.
        """
        return "".join([text + (values[symbol] if symbol else "") for text, symbol in self.pieces])


def read_template(text: str, known: Mapping[str, str]) -> Template:
    """
    Read a text with symbols.

    @param known: what symbols stand for that do not depend on the request.

    @raise ValueError: for a symbol that is neither known nor one of L{SYMBOLS}.
    """
    pieces: list[tuple[str, str]] = []
    before = ""
    position = 0
    for match in _SYMBOL.finditer(text):
        before += text[position : match.start()]
        position = match.end()
        symbol = match[1]
        if symbol in SYMBOLS:
            pieces.append((before, symbol))
            before = ""
        elif symbol in known:
            before += known[symbol]
        else:
            raise ValueError(f"{{{symbol}}} stands for nothing here")
    return Template((*pieces, (before + text[position:], "")))


class Transform(NamedTuple):
    """
    How a contact is made of a request: whole, by C{url}, or by changing the
    Request-URI part by part.
    """

    url: Template | None = None
    user: Template | None = None
    host: Template | None = None
    """C{host} or C{host:port}; with another host the transport is forgotten."""

    urlparams: tuple[Template, ...] = ()
    """Added to those of the Request-URI, as C{name=value}."""

    headerparams: tuple[Template, ...] = ()
    fieldparams: tuple[Template, ...] = ()

    def contact(self, uri: Uri, values: Mapping[str, str]) -> str:
        """
        Make the contact.

        @return: a name-addr.

        @raise SipxhaError: if what comes out is none.
        """
        if self.url is not None:
            text = self.url.filled(values)
        else:
            made = self._changed(uri, values)
            text = f"<{made}>" + "".join(f";{each.filled(values)}" for each in self.fieldparams)
        address = Address.parse(text)
        return text if "<" in text else f"<{address.uri}>{address.params}"

    def _changed(self, uri: Uri, values: Mapping[str, str]) -> Uri:
        params, host, port = uri.params, uri.host, uri.port
        if self.host is not None:
            target = Uri.parse(f"sip:{self.host.filled(values)}")
            host, port = target.host, target.port
            params = params.without("transport")
        added = "".join(f";{each.filled(values)}" for each in self.urlparams)
        if added:
            params = Params.parse(f"{params}{added}")
        headers = "&".join(each.filled(values) for each in self.headerparams)
        user = uri.user if self.user is None else self.user.filled(values) or None
        return uri.replace(user=user, host=host, port=port, params=params, headers=headers)


class PermissionMatch(NamedTuple):
    """
    Contacts for whoever has one of some permissions.
    """

    permissions: frozenset[str]
    """Of the user that is called; none at all means everybody."""

    transforms: tuple[Transform, ...]


class UserMatch(NamedTuple):
    """
    User patterns, any one of which leads to the contacts.
    """

    patterns: tuple[UserPattern, ...]
    permissions: tuple[PermissionMatch, ...]


class HostMatch(NamedTuple):
    """
    The rules for some hosts, in the order of the file.
    """

    hosts: frozenset[tuple[str, int | None]]
    domains: tuple[str, ...]
    """Each begins with a dot and ends the names that it stands for."""

    networks: tuple[IPv4Network, ...]
    users: tuple[UserMatch, ...]

    def matches(self, host: tuple[str, int | None]) -> bool:
        """
        @param host: lower-case, with its port; see L{host_key}.
        """
        return host in self.hosts or names(host[0], self.domains, self.networks)


class MappingRules:
    """
    All rules of a file.
    """

    __slots__ = ("_matches",)

    def __init__(self, matches: Iterable[HostMatch] = ()) -> None:
        self._matches = tuple(matches)

    def contacts(self, uri: Uri, held: frozenset[str]) -> list[str]:
        """
        Find where else a request to C{uri} may go.

        The first userMatch that fits decides, whether or not anything comes
        out of it.  A URI parameter C{sipx-noroute} names a permission that does
        not count this time.

        @param held: the permissions of the user that is called.

        @return: name-addrs, each once, in the order of the file.
        """
        if not self._matches:
            return []
        host = host_key(uri)
        user = uri.user or ""
        for match in self._matches:
            if match.matches(host):
                for rule in match.users:
                    for pattern in rule.patterns:
                        if pattern.pattern.fullmatch(user) is not None:
                            return _contacts(rule, pattern, uri, held)
        return []


def _contacts(rule: UserMatch, pattern: UserPattern, uri: Uri, held: frozenset[str]) -> list[str]:
    ignored = uri.params.get("sipx-noroute")
    if ignored:
        held = frozenset(each for each in held if each.lower() != ignored.lower())
        uri = uri.replace(params=uri.params.without("sipx-noroute"))
    values = _values(uri, pattern)
    found: dict[str, None] = {}
    for match in rule.permissions:
        if match.permissions and not match.permissions & held:
            continue
        for transform in match.transforms:
            try:
                found[transform.contact(uri, values)] = None
            except SipxhaError:
                # What was dialled does not fit there; the others may.
                continue
    return list(found)


def _values(uri: Uri, pattern: UserPattern) -> dict[str, str]:
    user = uri.user or ""
    variable = "" if pattern.constant is None else user[pattern.constant :]
    return {
        "user": user,
        "user-escaped": quote(user, safe=""),
        "digits": user,
        "digits-escaped": quote(user, safe=""),
        "vdigits": variable,
        "vdigits-escaped": quote(variable, safe=""),
        "host": uri.host,
        "uri": str(uri),
        "urlparams": str(uri.params)[1:],
        "headerparams": uri.headers,
    }
