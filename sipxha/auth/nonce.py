"""
Nonces that prove themselves.

A nonce carries its time, its node, whom it was given to and a salt under an
HMAC of the secret that all nodes share.  A challenge therefore costs no
memory, and nobody can answer one in another's name.  What costs some is a
nonce that was answered: the node remembers its highest count, so that no
response is accepted twice (RFC 7616 section 5.5).  Only the node that issued
a nonce can know that; any other, and the same one after a restart, calls it
stale, which costs a phone one more round trip and an attacker everything.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from zlib import crc32

from sipxha.sip.seal import seal

_MARK = "."


class Standing(Enum):
    """
    What a nonce in somebody's credentials is worth.
    """

    FORGED = "forged"
    """No node of ours issued it for this realm and algorithm."""

    STALE = "stale"
    """One did, but not this life of this node, or too long ago, or it was used."""

    ELSEWHERE = "elsewhere"
    """One did, for somebody at another address."""

    GOOD = "good"


class Nonces:
    """
    The nonces of one node, for all of its services.

    They must share one object: what one service accepted is a replay to the
    others.
    """

    def __init__(self, secret: bytes, node: str, lifetime: float = 300.0, remembered: int = 100_000) -> None:
        """
        @param remembered: How many answered nonces are kept.  When there are
            more, all nonces as old as the one forgotten become stale.
        """
        self._secret = secret
        self._node = node
        self._lifetime = lifetime
        self._remembered = remembered
        # When each was issued in milliseconds, its highest count, and who
        # answered it.  A plain tuple, for a named one, which the garbage
        # collector looks at for ever, would be the most of what a registrar keeps.
        self._used: OrderedDict[str, tuple[int, int, str]] = OrderedDict()
        self._owner: str | None = None
        # Nonces issued in this or an earlier millisecond are stale.
        self._horizon = -1

    def issue(self, realm: str, algorithm: str, now: float, mint: Callable[[], str], source: str = "") -> str:
        """
        Make a nonce for one challenge.

        @param source: The address that it is given to; without, it may be
            answered from anywhere.
        """
        if self._owner is None:
            # One for each life of the node: what was answered in the last one is forgotten.
            life = f"node:{self._node}:{mint()}".encode("utf-8", "surrogateescape")
            self._owner = seal(self._secret, life)[:6].hex()
        # A clock that was set back must not make every new nonce a stale one.
        issued = max(int(now * 1000), self._horizon + 1)
        stamp = f"{issued:x}{_MARK}{self._owner}{_MARK}{_place(source)}{_MARK}{mint()}"
        return f"{stamp}{_MARK}{self._seal(stamp, realm, algorithm)}"

    def judge(
        self, nonce: str, realm: str, algorithm: str, count: int, now: float, source: str = ""
    ) -> Standing:
        """
        Say what a nonce is worth to a request that counts it C{count}.  This
        remembers nothing: L{accept} does, once the response proved right.
        """
        stamp, _, sealed = nonce.rpartition(_MARK)
        if not hmac.compare_digest(_plain(sealed), _plain(self._seal(stamp, realm, algorithm))):
            return Standing.FORGED
        issued_text, owner, place, _salt = stamp.split(_MARK, 3)
        if place and place != _place(source):
            return Standing.ELSEWHERE
        issued = int(issued_text, 16)
        if owner != self._owner or issued <= self._horizon or now * 1000 >= issued + self._lifetime * 1000:
            return Standing.STALE
        used = self._used.get(nonce)
        return Standing.STALE if used is not None and count <= used[1] else Standing.GOOD

    def accept(self, nonce: str, count: int, now: float, username: str = "") -> None:
        """
        Remember that a good nonce was answered with this count, and by whom.
        """
        self._used[nonce] = (int(nonce.partition(_MARK)[0], 16), count, username)
        issued, _, _ = next(iter(self._used.values()))
        if now * 1000 >= issued + self._lifetime * 1000 or len(self._used) > self._remembered:
            self._used.popitem(last=False)
            self._horizon = max(self._horizon, issued)

    def is_proved(self, nonce: str, username: str) -> bool:
        """
        Whether this user gave the right answer to this nonce before.
        """
        used = self._used.get(nonce)
        return used is not None and used[2] == username

    def _seal(self, stamp: str, realm: str, algorithm: str) -> str:
        text = f"nonce:{stamp}:{algorithm}:{realm}".encode("utf-8", "surrogateescape")
        return seal(self._secret, text)[:16].hex()


def _place(source: str) -> str:
    # Nothing to hide, and nothing to forge: it stands under the seal.
    return f"{crc32(_plain(source)):x}" if source else ""


def _plain(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
