"""
URIs that lead to one instance of a user agent (RFC 5627).

A GRUU is made of the row and the secret of the cluster, and nothing is kept
of it: every node makes the same ones, and knows them after a restart.  The
public one is the address-of-record with the instance in C{gr}.  A temporary
one tells nobody but us whose it is; each REGISTER makes another, and they
hold for as long as the Call-ID does.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from sipxha.registry.binding import Binding
from sipxha.sip.seal import seal
from sipxha.sip.uri import Uri

PREFIX: Final = "tgruu."
"""What the user part of a temporary GRUU begins with."""

_SEAL = 12
_LIFE = 12
_LONGEST = 1024
_COUNT = 4

_BLOCK = 32

_PARAM_SAFE = "[]/:&+$-_.!~*'()"


class Target(NamedTuple):
    """
    Whom a GRUU means.
    """

    identity: str
    """The address-of-record."""

    instance: str | None = None
    """The instance, if the GRUU is a public one."""

    life: bytes = b""
    """What ties a temporary one to instance and Call-ID."""


class Gruus:
    """
    The GRUUs of a domain.
    """

    __slots__ = ("_cover", "_domain", "_life", "_seal")

    def __init__(self, secret: bytes, domain: str) -> None:
        """
        @param secret: Shared by all nodes.
        """
        self._domain = domain
        self._seal, self._cover, self._life = (
            seal(secret, b"gruu:" + purpose) for purpose in (b"seal", b"cover", b"life")
        )

    def public(self, row: Binding) -> str:
        """
        The public GRUU of a row's instance; of sips if its contact is (RFC
        5630 section 5.2.1).
        """
        return f"{_scheme(row)}:{public_column(row.identity, row.instance_id)}"

    def temporary(self, row: Binding) -> str:
        """
        The temporary GRUU that the row's REGISTER made.
        """
        user = row.identity.rpartition("@")[0].encode("utf-8", "surrogateescape")
        # Of one length, or it would tell users apart.
        user += bytes(-len(user) % _BLOCK)
        plain = self._life_of(row) + row.cseq.to_bytes(_COUNT, "big") + user
        # The seal is the nonce, too: equal only for what is equal.
        sealed = seal(self._seal, plain)[:_SEAL]
        token = base64.urlsafe_b64encode(sealed + self._covered(sealed, plain)).rstrip(b"=").decode()
        return f"{_scheme(row)}:{PREFIX}{token}@{self._domain};gr"

    def read(self, uri: Uri, identity: str) -> Target | None:
        """
        Whom a URI with C{gr} means.

        @param identity: The address-of-record that it would mean without.
        @return: C{None} if we never made it.
        """
        instance = uri.params.get("gr")
        if instance:
            instance = _folded(unquote(instance))
            return Target(identity, instance) if instance.startswith("urn:") else None
        token = (uri.user or "").removeprefix(PREFIX)
        if len(token) > _LONGEST:
            return None
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        nonce, covered = sealed[:_SEAL], sealed[_SEAL:]
        plain = self._covered(nonce, covered)
        if not hmac.compare_digest(nonce, seal(self._seal, plain)[:_SEAL]):
            return None
        user = plain[_LIFE + _COUNT :].rstrip(b"\0").decode("utf-8", "surrogateescape")
        return Target(f"{user}@{self._domain}", life=plain[:_LIFE])

    def rows(self, target: Target, current: Iterable[Binding]) -> list[Binding]:
        """
        What a GRUU leads to: all flows of the instance, or else the contact
        that was refreshed last (section 6.1).

        @param current: The bindings of its address-of-record.
        """
        latest: dict[tuple[str, int], Binding] = {}
        for row in current:
            if row.instance_id:
                flow = _folded(row.instance_id), row.reg_id
                rival = latest.get(flow)
                if rival is None or _is_later(row, rival):
                    latest[flow] = row
        wanted = target.instance
        if not wanted:
            # Of an instance's older Call-IDs no temporary GRUU is valid.
            lives = [instance for (instance, _), row in latest.items() if self._life_of(row) == target.life]
            wanted = lives[0] if lives else None
        rows = [row for (instance, _), row in latest.items() if instance == wanted]
        if not rows:
            return []
        last = rows[0]
        for row in rows[1:]:
            if _is_later(row, last):
                last = row
        return [row for row in rows if row.reg_id] if last.reg_id else [last]

    def _life_of(self, row: Binding) -> bytes:
        text = f"{row.identity}\n{row.instance_id}\n{row.callid}".encode("utf-8", "surrogateescape")
        return seal(self._life, text)[:_LIFE]

    def _covered(self, nonce: bytes, text: bytes) -> bytes:
        """
        The text under a stream of bytes that only the secret and the nonce give;
        the same again uncovers it.
        """
        stream = b"".join(seal(self._cover, nonce + bytes((block,))) for block in range(len(text) // 32 + 1))
        size = len(text)
        return (int.from_bytes(text, "big") ^ int.from_bytes(stream[:size], "big")).to_bytes(size, "big")


def public_column(identity: str, instance_id: str) -> str:
    """
    The public GRUU without a scheme, which is what a row holds; the same on
    all nodes, since it is made of nothing else.
    """
    return f"{identity};gr={quote(instance_id.strip('<>'), safe=_PARAM_SAFE)}"


def _folded(instance_id: str) -> str:
    """
    A URN as it is compared: it is blind to case as far as ours go (RFC 4122).
    """
    return instance_id.strip("<>").lower()


def _scheme(row: Binding) -> str:
    return "sips" if row.contact[:6].lower() == "<sips:" else "sip"


def _is_later(one: Binding, other: Binding) -> bool:
    """
    Which of two rows was refreshed later.  Only one node's own numbers, and
    one call's, tell for sure; else the one that ends later counts.
    """
    if one.primary == other.primary:
        return one.update_number > other.update_number
    if one.callid == other.callid:
        return one.cseq > other.cseq
    return (one.expires, one.primary) > (other.expires, other.primary)
