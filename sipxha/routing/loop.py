"""
Telling a loop from a spiral (RFC 3261 section 16.3 step 4, RFC 5393).

A proxy leaves in its Via branch a key over what decides where the request
goes: its Request-URI and Route set, not its method.  Finding the own Via with
the same key again means that nothing changed since: a loop.  With another
key it is a spiral, and passes.
"""

from __future__ import annotations

import hashlib

from sipxha.sip.message import Request

_SEPARATOR = "."
_KEY_LENGTH = 16


def loop_key(secret: bytes, request: Request) -> str:
    """
    Compute the key of a request as it arrived, before anything was rewritten.

    @param secret: keeps others from making our keys.
    """
    digest = hashlib.blake2b(key=secret[:64], digest_size=_KEY_LENGTH // 2)
    digest.update(request.uri.encode("utf-8", "surrogateescape"))
    for route in request.rows("route"):
        digest.update(b"\n" + route.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def branch_suffix(key: str) -> str:
    """
    @return: what L{is_loop} looks for, to be put at the end of a branch.
    """
    return _SEPARATOR + key


def is_loop(request: Request, sent_by: frozenset[tuple[str, int | None]], key: str) -> bool:
    """
    @param sent_by: host and port of the own Vias.
    @param key: of the request, by L{loop_key}.
    """
    suffix = _SEPARATOR + key
    if not request.mentions("via", suffix):
        return False
    return any(
        (via.host, via.port) in sent_by and (via.branch or "").endswith(suffix) for via in request.vias
    )
