"""
Digest authentication, the server's side (RFC 7616, 8760; RFC 3261 section 22).

Challenges go out, credentials are judged.  What is refused is refused for one
visible reason only: whether the user, the password, the realm or the
algorithm was wrong is not to be told apart, in the answer or by its time, nor
whether anybody looked at all at what came from where too much was guessed.
Neither C{-sess} algorithms nor C{qop=auth-int} are offered or accepted, and
of schemes only Digest.  Hashed user names (C{userhash}) are offered and
accepted with SHA-256 alone: what knows only MD5 gets no parameter that it has
never heard of.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import md5, sha256
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from sipxha.auth.failures import Failures, network
from sipxha.auth.nonce import Nonces, Standing
from sipxha.auth.security_events import AUTH_FAILED, AUTH_HELD, STRANGER, SecurityEvents
from sipxha.auth.users import Credential, Users
from sipxha.errors import RemoteError
from sipxha.sip.auth_fields import Credentials
from sipxha.sip.grammar import MalformedField
from sipxha.sip.uri import Uri

HASHES: Final = {"MD5": md5, "SHA-256": sha256}
"""
What we can compute, by the name that RFC 7616 gives it.
"""

_OFFERS: Final = {"SHA-256": ", charset=UTF-8, userhash=true"}
"""
What else a challenge says, by algorithm (RFC 7616 section 3.3).
"""

_COUNT = re.compile(r"[0-9A-Fa-f]{8}")
_BARE_URI = re.compile(r'[\s,]uri[ \t]*=[ \t]*[^\s"]', re.IGNORECASE)
_EXTENDED = re.compile(r"UTF-8'[A-Za-z0-9-]*'((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})+)", re.IGNORECASE)


class UriNotQuoted(RemoteError):
    """
    The digest URI of credentials stands without quotation marks.
    """

    status = 400


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

    is_wrong: bool = False
    """Somebody looked, and the password was not the user's; for our own log alone."""


_UNPROVED = Verdict(None)
_HELD = Verdict(None)
"""The same, but nobody looked; told apart by which object it is."""

_STALE = Verdict(None, True)


class Authenticator:
    """
    Challenges and judges for one realm.

    @ivar users: Replaced as a whole when the users change.
    @ivar failures: Who guesses.
    @ivar security: Hears of it.
    """

    def __init__(
        self,
        realm: str,
        algorithms: Sequence[str],
        users: Users,
        nonces: Nonces,
        mint: Callable[[], str],
        failures: Failures | None = None,
        security: SecurityEvents | None = None,
    ) -> None:
        """
        @param algorithms: In the order in which they are offered.
        """
        self.realm = realm
        self.users = users
        self.failures = failures or Failures()
        self.security = security or SecurityEvents()
        self._algorithms = tuple(algorithms)
        self._folded = {algorithm.lower(): algorithm for algorithm in algorithms}
        self._nonces = nonces
        self._mint = mint
        quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
        self._head = f'Digest realm="{quoted}", nonce="'
        # Nobody's: so that the unknown cost the same work as the known.
        self._nobody = {algorithm: digest(algorithm, mint()) for algorithm in algorithms}

    def challenges(self, now: float, stale: bool = False, source: str = "") -> list[str]:
        """
        The values of as many WWW-Authenticate or Proxy-Authenticate rows: one
        for each algorithm, each with a nonce of its own (RFC 8760 section
        2.3).

        @param source: The address of who is challenged; nobody else can
            answer then.
        """
        tail = ', qop="auth", stale=true' if stale else ', qop="auth"'
        place = network(source)
        return [
            f'{self._head}{self._nonces.issue(self.realm, algorithm, now, self._mint, place)}"'
            f", algorithm={algorithm}{tail}{_OFFERS.get(algorithm, '')}"
            for algorithm in self._algorithms
        ]

    def judge(
        self, values: Iterable[str], method: str, request_uri: str, now: float, source: str = ""
    ) -> Verdict:
        """
        Judge the Authorization or Proxy-Authorization rows of a request.

        Credentials of another scheme or realm are passed over: they may be
        meant for somebody further on.

        @param source: The address that the request came into the cluster from.

        @raise UriNotQuoted: In credentials for us, it is not.
        """
        place = network(source)
        stale = False
        wrong = None
        for value in values:
            try:
                scheme, params = Credentials.parse(value)
            except MalformedField:
                continue
            if scheme.lower() != "digest" or params.get("realm") != self.realm:
                continue
            if 'uri="' not in value and _BARE_URI.search(value):
                raise UriNotQuoted
            username, credential = self._claimed(params)
            if username is None:
                continue
            verdict = self._judge(params, username, credential, method, request_uri, now, place)
            if verdict is None:
                wrong = username
            elif verdict is _HELD:
                self.security.saw(AUTH_HELD, source, now, method=method, detail=username)
            elif verdict.identity is not None:
                self.failures.proved(place, username)
                return verdict
            else:
                stale = stale or verdict.stale
        if wrong is not None:
            self.failures.failed(place, wrong, now)
            self.security.saw(AUTH_FAILED, source, now, method=method, detail=wrong)
        return Verdict(None, stale, wrong is not None)

    def asked(self, source: str, now: float, transport: str, service: str, method: str, detail: str) -> None:
        """
        Hear of a request that came without credentials, and was challenged:
        of note where nobody ever proved anything.
        """
        if not self.failures.is_home(network(source)):
            self.security.saw(
                STRANGER, source, now, transport=transport, service=service, method=method, detail=detail
            )

    def _claimed(self, params: dict[str, str]) -> tuple[str | None, Credential | None]:
        """
        Whom credentials are to prove: in plain, in the extended notation of
        RFC 8187, or hashed.
        """
        username, extended = params.get("username"), params.get("username*")
        is_hashed = params.get("userhash", "false").lower() == "true"
        if extended is not None:
            match = _EXTENDED.fullmatch(extended)
            if match is None or username is not None or is_hashed:
                return None, None
            username = unquote_to_bytes(match[1]).decode("utf-8", "surrogateescape")
        if username is None:
            return None, None
        if not is_hashed:
            return username, self.users.credential(username, self.realm)
        if "userhash" not in _OFFERS.get(params.get("algorithm", "").upper(), ""):
            return None, None
        credential = self.users.hashed(username.lower(), self.realm)
        return (username if credential is None else credential.username), credential

    def _judge(
        self,
        params: dict[str, str],
        username: str,
        credential: Credential | None,
        method: str,
        request_uri: str,
        now: float,
        place: str,
    ) -> Verdict | None:
        """
        @return: L{None} for a wrong password.
        """
        algorithm = self._folded.get(params.get("algorithm", "MD5").lower())
        nonce, uri = params.get("nonce"), params.get("uri")
        answer, cnonce, nc = params.get("response"), params.get("cnonce"), params.get("nc")
        if (
            algorithm is None
            or params.get("qop") != "auth"
            or nonce is None
            or uri is None
            or answer is None
            or not cnonce
            or nc is None
            or _COUNT.fullmatch(nc) is None
        ):
            return _UNPROVED
        if not self._nonces.is_proved(nonce, username) and self.failures.is_held(place, username, now):
            return _HELD
        known = None if credential is None else credential.ha1.get(algorithm)
        right = response(known or self._nobody[algorithm], nonce, nc, cnonce, method, uri, algorithm)
        count = int(nc, 16)
        standing = self._nonces.judge(nonce, self.realm, algorithm, count, now, place)
        # The answer is compared whatever else is wrong: time tells nothing.
        is_right = hmac.compare_digest(right.encode(), answer.lower().encode("utf-8", "surrogateescape"))
        if standing is Standing.FORGED:
            return _UNPROVED
        if standing is Standing.ELSEWHERE:
            # A phone that moved tries again; a guess that nobody is charged with tells nothing.
            return _STALE
        if not is_right or credential is None or known is None:
            return None
        if uri != request_uri and not _is_meant(uri, request_uri):
            return _UNPROVED
        if standing is Standing.STALE:
            return _STALE
        self._nonces.accept(nonce, count, now, username)
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
