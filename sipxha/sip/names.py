"""
How header fields are called: long, compact and as we print them.

In this program a field is called by its long name in lower case.  Knows
nothing about values.  RFC 3261 sections 7.3.3 and 20, and the registry of
compact forms.
"""

from __future__ import annotations

from sipxha.sip.grammar import UnsafeValue, is_token

_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}

_LONG = """
    Accept Accept-Encoding Accept-Language Alert-Info Allow Authentication-Info Authorization Call-Info
    Content-Disposition Content-Language CSeq Date Error-Info Expires Flow-Timer In-Reply-To Max-Breadth
    Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Asserted-Identity P-Preferred-Identity Path
    Priority Privacy Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Record-Route Replaces
    Reply-To Require Retry-After Route RSeq Server Service-Route SIP-ETag SIP-If-Match Subscription-State
    Timestamp Unsupported User-Agent Warning WWW-Authenticate X-Sipx-Identity
"""

PRINTED: dict[str, str] = {name.lower(): name for name in (*_LONG.split(), *_COMPACT.values())}
"""How we print a field that we know, by its canonical name."""

CANONICAL: dict[str, str] = {
    spelling: key for key, name in PRINTED.items() for spelling in (key, key.upper(), key.title(), name)
}
"""The canonical name behind each usual spelling; L{canonical} knows the others."""

for _letter, _name in _COMPACT.items():
    CANONICAL[_letter] = CANONICAL[_letter.upper()] = _name.lower()

UNSPLIT = frozenset({"www-authenticate", "authorization", "proxy-authenticate", "proxy-authorization"})
"""Fields whose commas do not separate values (7.3.1)."""

SINGLE = ("call-id", "cseq", "from", "to", "max-forwards")
"""Fields that a request cannot have twice."""


def canonical(spelling: str) -> str | None:
    """
    The name of the field that was spelled like this, blanks before its colon
    included.

    @return: L{None} if that cannot be a name.
    """
    name = CANONICAL.get(spelling)
    if name is None:
        spelling = spelling.rstrip(" \t")
        if is_token(spelling) is None:
            return None
        name = spelling.lower()
        name = CANONICAL.get(name, name)
    return name


def printed(name: str) -> tuple[str, str]:
    """
    The canonical name of a field that we are about to send, and how we spell
    it: as usual if we know it, else as asked for.

    @raise UnsafeValue: If this is not a name.
    """
    spelling = PRINTED.get(name)
    if spelling is not None:
        return name, spelling
    key = canonical(name)
    if key is None or name[-1] in " \t":
        raise UnsafeValue("header name", name)
    return key, PRINTED.get(key) or (name.title() if name.islower() else name)
