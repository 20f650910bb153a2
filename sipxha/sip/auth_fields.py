"""
Challenges and credentials: syntax only.

WWW-Authenticate, Proxy-Authenticate, Authorization, Proxy-Authorization and
Authentication-Info.  Computes no digest and judges nothing.  RFC 3261
sections 20.7 and 20.44, RFC 7616 section 3.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sipxha.sip.grammar import QUOTED, TOKEN, MalformedField, UnsafeValue, is_token, quote, unquote

_SCHEME = re.compile(rf"[ \t]*+({TOKEN}++)[ \t]++")
# The last group takes all that is left where no parameter stands.
_PARAM = re.compile(
    rf"[ \t]*+({TOKEN}++)[ \t]*+=[ \t]*+(?:({QUOTED})|([^\x00-\x20\x7f,\"]++))[ \t]*+(?:,|\Z)|(.++)",
    re.DOTALL,
)
_all_params = _PARAM.findall

# RFC 7616 sections 3.3 and 3.4: values that are sent without quotes.
_BARE_IN_CHALLENGE = frozenset({"algorithm", "stale", "charset", "userhash"})
_BARE_IN_CREDENTIALS = frozenset({"algorithm", "qop", "nc", "userhash", "username*"})


def _parse(text: str) -> tuple[str, dict[str, str]]:
    match = _SCHEME.match(text)
    if match is None:
        raise MalformedField("credentials", text)
    items = _all_params(text, match.end())
    if "\\" in text:
        params = {name.lower(): unquote(quoted) or bare for name, quoted, bare, _ in items}
    else:
        params = {name.lower(): quoted[1:-1] or bare for name, quoted, bare, _ in items}
    if not items or items[-1][3] or len(params) < len(items):
        raise MalformedField("credentials", text)
    return match[1], params


def _print(scheme: str, params: dict[str, str], bare: frozenset[str]) -> str:
    pieces = []
    for name, value in params.items():
        if name not in bare:
            value = quote(value)
        elif is_token(value) is None:
            raise UnsafeValue(name, value)
        pieces.append(f"{name}={value}")
    return f"{scheme} {', '.join(pieces)}"


class Challenge(NamedTuple):
    """
    What a server asks a client to prove.
    """

    scheme: str
    """As sent, such as C{Digest}."""

    params: dict[str, str]
    """By lower-case name, in order, quotes taken off."""

    @classmethod
    def parse(cls, text: str) -> Challenge:
        """
        Read one challenge.

        @raise MalformedField: If this is not one, or a name occurs twice.
        """
        return cls(*_parse(text))

    def __str__(self) -> str:
        return _print(self.scheme, self.params, _BARE_IN_CHALLENGE)


class Credentials(NamedTuple):
    """
    What a client offers as proof.
    """

    scheme: str
    """As sent, such as C{Digest}."""

    params: dict[str, str]
    """By lower-case name, in order, quotes taken off."""

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """
        Read one set of credentials.

        @raise MalformedField: If this is not one, or a name occurs twice.
        """
        return cls(*_parse(text))

    def __str__(self) -> str:
        return _print(self.scheme, self.params, _BARE_IN_CREDENTIALS)
