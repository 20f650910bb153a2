"""
Digest authentication, the server's side (RFC 7616, 8760; RFC 3261 section 22).

Challenges go out, credentials are judged.  What is refused is refused for one
visible reason only: whether the user, the password, the realm or the
algorithm was wrong is not to be told apart, in the answer or by its time.
Neither C{-sess} algorithms nor C{qop=auth-int} are offered or accepted.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import md5, sha256
from typing import Final, NamedTuple

from sipxha.auth.nonce import Nonces, Standing
from sipxha.auth.users import Users
from sipxha.sip.auth_fields import Credentials
from sipxha.sip.grammar import MalformedField
from sipxha.sip.uri import Uri

HASHES: Final = {"MD5": md5, "SHA-256": sha256}
"""
What we can compute, by the name that RFC 7616 gives it.
"""

_COUNT = re.compile(r"[0-9A-Fa-f]{8}")


def digest(algorithm: str, text: str) -> str:
    """
    H(text), in lower-case hexadecimal.
    """
    return HASHES[algorithm](text.encode("utf-8", "surrogateescape")).hexdigest()


def ha1(username: str, realm: str, password: str, algorithm: str) -> str:
    """
    What is kept instead of a password (RFC 7616 section 3.4.2).
    """
    return digest(algorithm, f"{username}:{realm}:{password}")


def response(ha1: str, nonce: str, nc: str, cnonce: str, method: str, uri: str, algorithm: str) -> str:
    """
    The C{response} parameter under C{qop=auth} (RFC 7616 section 3.4.1).
    """
    ha2 = digest(algorithm, f"{method}:{uri}")
    return digest(algorithm, f"{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")


class Verdict(NamedTuple):
    """
    What credentials proved.
    """

    identity: str | None
    """Who it is, C{user@domain}; L{None} when nothing was proved."""

    stale: bool = False
    """All but the nonce was right: a new challenge should say so."""


_UNPROVED = Verdict(None)


class Authenticator:
    """
    Challenges and judges for one realm.

    @ivar users: Replaced as a whole when the users change.
    """

    def __init__(
        self,
        realm: str,
        algorithms: Sequence[str],
        users: Users,
        nonces: Nonces,
        mint: Callable[[], str],
    ) -> None:
        """
        @param algorithms: In the order in which they are offered.
        """
        self.realm = realm
        self.users = users
        self._algorithms = tuple(algorithms)
        self._folded = {algorithm.lower(): algorithm for algorithm in algorithms}
        self._nonces = nonces
        self._mint = mint
        quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
        self._head = f'Digest realm="{quoted}", nonce="'
        # Nobody's: so that the unknown cost the same work as the known.
        self._nobody = {algorithm: digest(algorithm, mint()) for algorithm in algorithms}

    def challenges(self, now: float, stale: bool = False) -> list[str]:
        """
        The values of as many WWW-Authenticate or Proxy-Authenticate rows: one
        for each algorithm, each with a nonce of its own (RFC 8760 section
        2.3).
        """
        tail = ', qop="auth", stale=true' if stale else ', qop="auth"'
        return [
            f'{self._head}{self._nonces.issue(self.realm, algorithm, now, self._mint)}"'
            f", algorithm={algorithm}{tail}"
            for algorithm in self._algorithms
        ]

    def judge(self, values: Iterable[str], method: str, request_uri: str, now: float) -> Verdict:
        """
        Judge the Authorization or Proxy-Authorization rows of a request.

        Credentials of another scheme or realm are passed over: they may be
        meant for somebody further on.
        """
        stale = False
        for value in values:
            try:
                scheme, params = Credentials.parse(value)
            except MalformedField:
                continue
            if scheme.lower() != "digest" or params.get("realm") != self.realm:
                continue
            verdict = self._judge(params, method, request_uri, now)
            if verdict.identity is not None:
                return verdict
            stale = stale or verdict.stale
        return Verdict(None, True) if stale else _UNPROVED

    def _judge(self, params: dict[str, str], method: str, request_uri: str, now: float) -> Verdict:
        algorithm = self._folded.get(params.get("algorithm", "MD5").lower())
        username, nonce, uri = params.get("username"), params.get("nonce"), params.get("uri")
        answer, cnonce, nc = params.get("response"), params.get("cnonce"), params.get("nc")
        if (
            algorithm is None
            or params.get("qop") != "auth"
            or username is None
            or nonce is None
            or uri is None
            or answer is None
            or not cnonce
            or nc is None
            or _COUNT.fullmatch(nc) is None
        ):
            return _UNPROVED
        credential = self.users.credential(username, self.realm)
        known = None if credential is None else credential.ha1.get(algorithm)
        right = response(known or self._nobody[algorithm], nonce, nc, cnonce, method, uri, algorithm)
        count = int(nc, 16)
        standing = self._nonces.judge(nonce, self.realm, algorithm, count, now)
        # The answer is compared whatever else is wrong: time tells nothing.
        is_right = hmac.compare_digest(right.encode(), answer.lower().encode("utf-8", "surrogateescape"))
        if not is_right or credential is None or known is None or standing is Standing.FORGED:
            return _UNPROVED
        if uri != request_uri and not _is_meant(uri, request_uri):
            return _UNPROVED
        if standing is Standing.STALE:
            return Verdict(None, True)
        self._nonces.accept(nonce, count, now)
        return Verdict(credential.identity)


def _is_meant(uri: str, request_uri: str) -> bool:
    """
    Whether a digest computed for C{uri} holds for a request to another: for
    the same user and host, for that is the least that must be bound (RFC 8760
    section 2.6); a proxy may have changed the rest.
    """
    try:
        return Uri.parse(uri).identity() == Uri.parse(request_uri).identity()
    except MalformedField:
        return False
