"""
The identity that travels between our own services.

The edge judges credentials once; behind it a request carries who sent it in
one header, signed with the secret of the cluster and bound to the call, so
that it cannot be lifted into another.  The header is stripped at the border,
in both directions, by whoever is the border.
"""

from __future__ import annotations

import hmac
import re
from functools import lru_cache
from typing import Final

from sipxha.sip.seal import seal

HEADER: Final = "X-Sipx-Identity"

_LIFETIME = 300.0
"""
How old a signature may be; clocks of nodes may differ by as much.
"""

_VALUE = re.compile(r"<sip:([^<>\s]+)>;signature=([0-9a-f]{1,12}):([0-9a-f]{32})")


def sign(secret: bytes, identity: str, call_id: str, from_tag: str, now: float) -> str:
    """
    The header's value for a request that C{identity} (C{user@domain}) sent.
    """
    stamp = f"{int(now):x}"
    return f"<sip:{identity}>;signature={stamp}:{_seal(secret, stamp, identity, call_id, from_tag)}"


def verify(secret: bytes, value: str, call_id: str, from_tag: str, now: float) -> str | None:
    """
    Who sent a request, by the word of one of our services.

    @return: L{None} for what none of them signed, for this call, of late.
    """
    match = _VALUE.fullmatch(value)
    if match is None:
        return None
    identity, stamp, sealed = match.groups()
    if not hmac.compare_digest(sealed, _seal(secret, stamp, identity, call_id, from_tag)):
        return None
    return identity if abs(now - int(stamp, 16)) <= _LIFETIME else None


# One is signed for each branch, and read by the next service of the same process.
@lru_cache(maxsize=1024)
def _seal(secret: bytes, *parts: str) -> str:
    text = "\n".join(("identity", *parts))
    return seal(secret, text.encode("utf-8", "surrogateescape"))[:16].hex()
