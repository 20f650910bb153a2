"""
What nodes tell each other beside registrations: which users they have, and
whether all that must be the same on both is.

A node tells its version of the users and its hashes, and hears the other's
(C{registrarSync2.agreement}); who has the older users asks for the newer ones
(C{registrarSync2.users}), which travel in pieces, for they may be many.  When
that happens is the business of L{sipxha.services.user_exchange}.

Design 5.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sipxha.auth.users import Version
from sipxha.sync import rpc, wire
from sipxha.sync.wire import Value

AGREEMENT = "registrarSync2.agreement"
USERS = "registrarSync2.users"
METHODS = frozenset({AGREEMENT, USERS})

MOST_HASHES = 32
"""How many things a node may tell the hash of."""

PIECE = 60_000
"""Characters of users that travel as one string."""

_MOST_TEXT = 255


class Agreement(NamedTuple):
    """
    What one node has.
    """

    version: Version
    """Of its users."""

    hashes: Mapping[str, str]
    """By the name of what is hashed."""


# --- which users, and the same as ours? -------------------------------------


def write_call(caller: str, ours: Agreement) -> list[Value]:
    """
    The parameters by which a node tells what it has.
    """
    return [caller, str(ours.version), dict(ours.hashes)]


def read_call(params: Sequence[Value]) -> Agreement:
    """
    What a peer has.

    @raise wire.Fault: It is not told as it should be.
    """
    if len(params) < 3:
        raise rpc.invalid(AGREEMENT, "hashes")
    theirs = _read(params[1], params[2])
    if theirs is None:
        raise rpc.invalid(AGREEMENT, "version or hashes")
    return theirs


def write_answer(ours: Agreement) -> Value:
    """
    What we have, as it answers a peer that told what it has.
    """
    return {"version": str(ours.version), "hashes": dict(ours.hashes)}


def read_answer(value: Any) -> Agreement:
    """
    What the peer has.

    @raise rpc.Malformed: It does not say.
    """
    theirs = _read(value.get("version"), value.get("hashes")) if isinstance(value, dict) else None
    if theirs is None:
        raise rpc.Malformed("the answer tells of no users")
    return theirs


def _read(version: object, hashes: object) -> Agreement | None:
    if not isinstance(version, str) or len(version) > _MOST_TEXT:
        return None
    if not isinstance(hashes, dict) or len(hashes) > MOST_HASHES:
        return None
    if any(not isinstance(each, str) or len(each) > _MOST_TEXT for pair in hashes.items() for each in pair):
        return None
    try:
        return Agreement(Version.parse(version), hashes)
    except ValueError:
        return None


# --- the users --------------------------------------------------------------


def write_users(text: str) -> Iterator[bytes]:
    """
    All users, as they answer C{registrarSync2.users}.

    @param text: The XML document that holds them.
    """
    pieces: Iterator[Value] = ({"text": text[at : at + PIECE]} for at in range(0, len(text), PIECE))
    return wire.encode_rows({}, "users", pieces, 1)


def read_piece(struct: Mapping[str, Value]) -> str:
    """
    One of the pieces, in their order.

    @raise wire.Fault: It is none.
    """
    text = struct.get("text")
    if not isinstance(text, str):
        raise wire.Fault(rpc.INVALID_PARAMETER, "a piece of the users is no text")
    return text


def read_users(value: Any) -> str:
    """
    The document.

    @param value: As the wire had it, each piece having been read.

    @raise rpc.Malformed: It is none.
    """
    pieces = value.get("users") if isinstance(value, dict) else None
    if not isinstance(pieces, list) or not pieces or not all(isinstance(each, str) for each in pieces):
        raise rpc.Malformed("the answer holds no users")
    return "".join(pieces)
