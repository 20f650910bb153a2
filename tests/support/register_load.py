"""
Many users who register again as soon as they were answered, over UDP.

It remembers what was acknowledged, and nothing else: a request without an
answer is not sent again.  The digest is MD5, computed by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import md5
from itertools import count
from typing import Any

from twisted.internet.protocol import DatagramProtocol

from sipxha.sip.auth_fields import Challenge
from sipxha.sip.message import Response
from sipxha.sip.parser import parse_message

Address = tuple[str, int]


class RegisterLoad(DatagramProtocol):
    """
    The users, at one port.

    @ivar acknowledged: The last CSeq of each that was answered 200.
    @ivar statuses: How many answers there were of each status.
    """

    transport: Any

    def __init__(self, users: Sequence[str], password: str, domain: str, server: Address) -> None:
        self.acknowledged: dict[str, int] = {}
        self.confirmed: Callable[[str], None] = lambda user: None
        """Called at once when a user was answered 200."""

        self.statuses: dict[int, int] = {}
        self._users = users
        self._password = password
        self._domain = domain
        self._server = server
        self._cseq = count(1)
        self._nonces: dict[str, tuple[str, Any]] = {}
        self._is_running = False

    def start(self) -> None:
        """
        Let every user register, and go on.
        """
        self._is_running = True
        for user in self._users:
            self._send(user)

    def stop(self) -> None:
        """
        Send nothing any more.
        """
        self._is_running = False

    def _send(self, user: str) -> None:
        cseq = next(self._cseq)
        host = self.transport.getHost()
        authorization = ""
        if user in self._nonces:
            nonce, counter = self._nonces[user]
            authorization = f"Authorization: {self._credentials(user, nonce, f'{next(counter):08x}')}\r\n"
        message = (
            f"REGISTER sip:{self._domain} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host.host}:{host.port};branch=z9hG4bK{user}x{cseq};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{user}@{self._domain}>;tag={cseq}\r\n"
            f"To: <sip:{user}@{self._domain}>\r\nCall-ID: load-{user}\r\nCSeq: {cseq} REGISTER\r\n"
            f"Contact: <sip:{user}@{host.host}:{host.port}>\r\nExpires: 3600\r\n{authorization}"
            "Content-Length: 0\r\n\r\n"
        )
        self.transport.write(message.encode(), self._server)

    def _credentials(self, user: str, nonce: str, counter: str) -> str:
        uri = f"sip:{self._domain}"
        secret = _hash(f"{user}:{self._domain}:{self._password}")
        answer = _hash(f"{secret}:{nonce}:{counter}:load:auth:{_hash(f'REGISTER:{uri}')}")
        return (
            f'Digest username="{user}", realm="{self._domain}", nonce="{nonce}", uri="{uri}", '
            f'response="{answer}", algorithm=MD5, cnonce="load", qop=auth, nc={counter}'
        )

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """
        Remember what it acknowledges, and go on.
        """
        response = parse_message(datagram)
        assert isinstance(response, Response)
        user = response.call_id.removeprefix("load-")
        self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
        if response.status == 200:
            self.acknowledged[user] = response.cseq.number
            self.confirmed(user)
        elif response.status == 401:
            challenges = (Challenge.parse(text).params for text in response.rows("www-authenticate"))
            self._nonces[user] = (
                next(params["nonce"] for params in challenges if params.get("algorithm", "MD5") == "MD5"),
                count(1),
            )
        if self._is_running and response.status >= 200:
            self._send(user)


def _hash(text: str) -> str:
    # What the scheme asks for.
    return md5(text.encode(), usedforsecurity=False).hexdigest()
