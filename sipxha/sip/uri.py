"""
SIP, SIPS and other URIs: reading, printing, comparing.

Keeps the sender's spelling; resolves no name and decides no route.
RFC 3261 section 19.1.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from sipxha.sip.grammar import MalformedField, UnsafeValue, ipv6_address
from sipxha.sip.params import NONE, Params

_ESCAPE = r"%[0-9A-Fa-f]{2}"

# Wider than the grammar by "#[]\^`{|}", which telephones do send in user parts.
_USER = r"[!#$&-9;=?A-Z\[-~]"
_PASSWORD = r"[!$&-.0-9=A-Z_a-z~]"  # noqa: S105  (what one may hold)
_SIP = re.compile(
    rf"([sS][iI][pP][sS]?):"
    rf"(?:(?![:@])({_USER}*+(?:{_ESCAPE}{_USER}*+)*)(?::({_PASSWORD}*+(?:{_ESCAPE}{_PASSWORD}*+)*))?@)?"
    r"([0-9A-Z_a-z-]++(?:\.[0-9A-Z_a-z-]++)*\.?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::([0-9]{1,5}))?"
    r"(;[!#-;=A-Z\[-~]++)?"
    r"(?:\?([!#-;=?-~]++))?"
)
_sip = _SIP.fullmatch
_OTHER = re.compile(r"([A-Za-z][0-9A-Za-z+.-]*+):([!#-;=?-~]++)")

_new = tuple.__new__

_PLAIN_USER = re.compile(r"[0-9A-Za-z\-_.!~*'()&=+$,;?/]*+")
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_ILLEGAL = re.compile(r"[^0-9A-Za-z\-_.!~*'()&=+$,;?/%]")
_UNRESERVED = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.!~*'()")
_USER_UNRESERVED = _UNRESERVED | frozenset("&=+$,;?/")

# 19.1.4: these never match a URI that lacks them.
_NEVER_IGNORED = ("user", "ttl", "method", "maddr", "transport")


class Uri(NamedTuple):
    """
    One URI; immutable.

    Of schemes other than sip and sips only L{scheme} and L{opaque} are known.
    """

    scheme: str
    """In lower case."""

    user: str | None = None
    """As sent, escapes included."""

    password: str | None = None

    host: str = ""
    """As sent; an IPv6 address in brackets; empty for other schemes."""

    port: int | None = None

    params: Params = NONE

    headers: str = ""
    """What follows the question mark, as sent."""

    opaque: str = ""
    """What follows the colon, for other schemes."""

    raw: str = ""
    """The text that this was read from, if any."""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """
        Read a URI with nothing around it.

        @raise MalformedField: If this is not one.
        """
        match = _sip(text)
        if match is None:
            return cls._parse_other(text)
        scheme, user, password, host, port, params, headers = match.groups()
        number = None
        if port is not None:
            number = int(port)
            if not 0 < number < 65536:
                raise MalformedField("uri", text)
        if host[0] == "[" and ipv6_address(host) is None:
            raise MalformedField("uri", text)
        listed = Params.parse(params) if params else NONE
        # Past the constructor of a named tuple, which costs as much as the pattern.
        return _new(cls, (scheme.lower(), user, password, host, number, listed, headers or "", "", text))

    @classmethod
    def _parse_other(cls, text: str) -> Uri:
        match = _OTHER.fullmatch(text)
        if match is None or match[1].lower() in ("sip", "sips"):
            raise MalformedField("uri", text)
        return cls(match[1].lower(), opaque=match[2], raw=text)

    def __str__(self) -> str:
        if self.raw:
            return self.raw
        if self.opaque:
            return f"{self.scheme}:{self.opaque}"
        userinfo = ""
        if self.user is not None:
            userinfo = f"{self.user}@" if self.password is None else f"{self.user}:{self.password}@"
        port = "" if self.port is None else f":{self.port}"
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{userinfo}{self.host}{port}{self.params}{headers}"

    def __eq__(self, other: object) -> bool:
        """
        Whether both are spelled alike; L{equivalent} asks whether they mean
        the same.
        """
        return str(self) == str(other) if isinstance(other, Uri) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return str(self) != str(other) if isinstance(other, Uri) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def replace(self, **fields: Any) -> Uri:
        """
        This URI with other values of the named fields.

        @raise UnsafeValue: If that is no URI any more.
        """
        text = str(self._replace(raw="", **fields))
        try:
            return Uri.parse(text)
        except MalformedField as found:
            raise UnsafeValue("uri", text) from found

    def bare(self) -> Uri:
        """
        This URI as it may stand in a request line: without headers and the
        method parameter (19.1.1).
        """
        if not self.headers and "method" not in self.params:
            return self
        return self.replace(headers="", params=self.params.without("method"))

    def identity(self) -> str:
        """
        C{user@host}, the key of an address-of-record (10.3 step 5): the
        user's needless escapes undone, the host in lower case.
        """
        if self.user is None:
            return self.host.lower() or str(self)
        user = self.user
        if _PLAIN_USER.fullmatch(user) is None:
            user = _ILLEGAL.sub(_escape, _ESCAPED.sub(_unescape_user, user))
        return f"{user}@{self.host.lower()}"

    def equivalent(self, other: Uri) -> bool:
        """
        Whether both mean the same by RFC 3261 section 19.1.4, which is not
        transitive.
        """
        if self.scheme != other.scheme or self.opaque != other.opaque:
            return False
        if self.port != other.port or _host(self.host) != _host(other.host):
            return False
        if _normal(self.user) != _normal(other.user) or _normal(self.password) != _normal(other.password):
            return False
        ours, theirs = self.params, other.params
        for name in _NEVER_IGNORED:
            if (name in ours) != (name in theirs):
                return False
        for name, _ in ours:
            value = theirs.get(name)
            if value is not None and not _same_text(value, ours.get(name)):
                return False
        return _header_set(self.headers) == _header_set(other.headers)


def _host(host: str) -> str:
    return str(ipv6_address(host)) if host.startswith("[") else host.lower()


def _unescape_user(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char in _USER_UNRESERVED else match[0].upper()


def _unescape(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char in _UNRESERVED else match[0].upper()


def _escape(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


def _normal(text: str | None) -> str | None:
    return text if text is None or "%" not in text else _ESCAPED.sub(_unescape, text)


def _same_text(one: str, other: str | None) -> bool:
    return (
        other is not None and _ESCAPED.sub(_unescape, one).lower() == _ESCAPED.sub(_unescape, other).lower()
    )


def _header_set(headers: str) -> list[str]:
    return sorted(_ESCAPED.sub(_unescape, header).lower() for header in headers.split("&"))
