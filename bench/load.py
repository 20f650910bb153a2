"""
REGISTERs at a steady rate, and how soon each can be looked up elsewhere.

A plain loop over two UDP sockets, so that the sender costs little beside the
servers that it drives.  It retransmits nothing: on loopback what is not
answered was dropped, and that is counted.
"""

from __future__ import annotations

import hashlib
import re
import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

PASSWORD = "secret"
LINGER = 3.0
"""Seconds that stragglers are waited for."""

LOOKS = 1
"""Lookups under way at a time, of the oldest registration first: more would load what they watch."""

_BUFFER = 1 << 22
_BRANCH = re.compile(rb"branch=z9hG4bK-(\d+)-")
_NONCE = re.compile(rb'nonce="([^"]+)"')


class Server(NamedTuple):
    """
    Where a registrar listens, and how it is asked.
    """

    address: str
    port: int
    domain: str
    is_digest: bool
    """Whether it asks for credentials."""

    look_up: Callable[[bytes, bytes], bytes]
    """Makes, from a user and the first fields, a request that only a bound user answers with a Contact."""


def look_up_redirect(user: bytes, fields: bytes) -> bytes:
    """
    Ask our redirect server, which takes any method.
    """
    return b"OPTIONS sip:%b@example.com SIP/2.0\r\n%bCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n" % (
        user,
        fields,
    )


def look_up_register(user: bytes, fields: bytes) -> bytes:
    """
    Ask a registrar by a REGISTER without a Contact.
    """
    return b"REGISTER sip:example.com SIP/2.0\r\n%bCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n" % fields


def users(count: int) -> list[str]:
    """
    Their names.
    """
    return [f"u{number}" for number in range(count)]


def credential_xml(names: Iterable[str], domain: str) -> str:
    """
    A C{credential.xml} in which all have the same password.
    """
    items = [
        f"<item><uri>sip:{name}@{domain}</uri><realm>{domain}</realm><userid>{name}</userid>"
        f"<passtoken>{_ha1(name, domain, 'md5')}</passtoken>"
        f"<passtoken-sha256>{_ha1(name, domain, 'sha256')}</passtoken-sha256>"
        "<authtype>DIGEST</authtype></item>\n"
        for name in names
    ]
    return f'<items type="credential">\n{"".join(items)}</items>\n'


def _ha1(name: str, domain: str, algorithm: str) -> str:
    return hashlib.new(algorithm, f"{name}:{domain}:{PASSWORD}".encode()).hexdigest()


@dataclass(slots=True)
class Outcome:
    """
    What became of a round.
    """

    sent: int = 0
    confirmed: int = 0
    refused: int = 0
    seconds: float = 0.0
    answered_in: list[float] = field(default_factory=list)
    """Seconds from a REGISTER to its 200."""

    seen_in: list[float] = field(default_factory=list)
    """Seconds from a REGISTER until the other server knew of it."""

    seen_after: list[float] = field(default_factory=list)
    """Seconds from its 200 until then; 0 where the other was the first."""

    unseen: int = 0
    """Watched ones that the other server had not heard of in the end."""


class Load:
    """
    Somebody with many telephones.
    """

    def __init__(self, server: Server, other: Server | None = None) -> None:
        """
        @param other: Where it is looked whether a registration arrived.
        """
        self._server, self._other = server, other
        self._near = _socket(server)
        self._far = None if other is None else _socket(other)
        self._nonce = b""
        self._count = 0
        self._serial = 0

    def close(self) -> None:
        """
        Hang up.
        """
        self._near.close()
        if self._far is not None:
            self._far.close()

    def run(self, names: list[str], rate: float, watch_each: int = 1, cseq: int = 1) -> Outcome:
        """
        Register each of them once.

        @param rate: REGISTERs per second.
        @param watch_each: Look each n-th up at the other server, from the
            moment that its REGISTER leaves.
        """
        outcome = Outcome()
        if self._server.is_digest:
            self._challenge()
        sent_at: dict[int, float] = {}
        confirmed_at: dict[int, float] = {}
        watched: dict[int, str] = {}
        first = self._serial
        begun = time.perf_counter()
        deadline = begun + len(names) / rate + LINGER
        while True:
            now = time.perf_counter()
            due = min(int((now - begun) * rate) + 1, len(names))
            while outcome.sent < due:
                serial, name = self._serial, names[outcome.sent]
                self._serial += 1
                outcome.sent += 1
                self._near.send(self._register(name, serial, cseq))
                sent_at[serial] = time.perf_counter()
                if self._other is not None and (serial - first) % watch_each == 0:
                    watched[serial] = name
                    if len(watched) <= LOOKS:
                        self._look(name, serial)
            if now > deadline or (
                outcome.sent == len(names) == len(confirmed_at) + outcome.refused and not watched
            ):
                break
            pause = max(0.0, min(begun + outcome.sent / rate - time.perf_counter(), 0.05))
            readable, _, _ = select.select([self._near, *([self._far] if self._far else [])], [], [], pause)
            if self._near in readable:
                for serial, status, _ in _answers(self._near):
                    if status >= 300:
                        outcome.refused += 1
                    elif status >= 200 and serial in sent_at and serial not in confirmed_at:
                        confirmed_at[serial] = time.perf_counter()
            if self._far is not None and self._far in readable:
                for serial, _, answer in _answers(self._far):
                    if serial not in watched:
                        continue
                    if b"\nContact:" not in answer:
                        self._look(watched[serial], serial)
                        continue
                    at = time.perf_counter()
                    del watched[serial]
                    outcome.seen_in.append(at - sent_at[serial])
                    outcome.seen_after.append(at - confirmed_at.get(serial, at))
                    for waiting in list(islice(watched, LOOKS - 1, LOOKS)):
                        self._look(watched[waiting], waiting)
        outcome.seconds = time.perf_counter() - begun
        outcome.confirmed = len(confirmed_at)
        outcome.answered_in = [at - sent_at[serial] for serial, at in confirmed_at.items()]
        outcome.unseen = len(watched)
        return outcome

    def await_all(self, names: list[str], limit: float) -> tuple[int, float]:
        """
        Ask the other server for each of them until it knows them all.

        @return: how many it knew in the end, and the seconds until then.
        """
        begun = time.perf_counter()
        missing = dict(enumerate(names, self._serial))
        self._serial += len(names)
        while missing and time.perf_counter() - begun < limit:
            for serial in list(missing)[:200]:
                self._look(missing[serial], serial)
            until = time.perf_counter() + 0.1
            asked = min(200, len(missing))
            while asked and time.perf_counter() < until:
                assert self._far is not None
                if not select.select([self._far], [], [], 0.05)[0]:
                    continue
                for serial, _, answer in _answers(self._far):
                    asked -= 1
                    if b"\nContact:" in answer:
                        missing.pop(serial, None)
        return len(names) - len(missing), time.perf_counter() - begun

    def _challenge(self) -> None:
        """
        Get a nonce; its count then goes up from one request to the next.
        """
        asked = self._serial
        self._serial += 1
        self._near.send(self._register("u0", asked, 1, anonymous=True))
        until = time.perf_counter() + 10.0
        while time.perf_counter() < until:
            select.select([self._near], [], [], 0.1)
            for serial, _, answer in _answers(self._near):
                if serial != asked:
                    continue
                for row in answer.split(b"\r\n"):
                    # Who names no algorithm means MD5.
                    found = None if b"SHA" in row else _NONCE.search(row)
                    if found is not None:
                        self._nonce, self._count = found[1], 0
                        return
        raise ConnectionError("the registrar did not ask for MD5")

    def _fields(self, name: str, serial: int, socket_: socket.socket) -> bytes:
        address, port = socket_.getsockname()[:2]
        return (
            f"Via: SIP/2.0/UDP {address}:{port};branch=z9hG4bK-{serial}-{time.monotonic_ns()}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{name}@{self._server.domain}>;tag={serial}\r\n"
            f"To: <sip:{name}@{self._server.domain}>\r\nCall-ID: {name}@bench\r\n"
        ).encode()

    def _register(self, name: str, serial: int, cseq: int, *, anonymous: bool = False) -> bytes:
        domain = self._server.domain
        address, port = self._near.getsockname()[:2]
        authorization = ""
        if self._nonce and not anonymous:
            self._count += 1
            count, nonce = f"{self._count:08x}", self._nonce.decode()
            ha2 = hashlib.md5(f"REGISTER:sip:{domain}".encode()).hexdigest()
            proof = f"{_ha1(name, domain, 'md5')}:{nonce}:{count}:bench:auth:{ha2}"
            authorization = (
                f'Authorization: Digest username="{name}", realm="{domain}", nonce="{nonce}", '
                f'uri="sip:{domain}", response="{hashlib.md5(proof.encode()).hexdigest()}", algorithm=MD5, '
                f'cnonce="bench", qop=auth, nc={count}\r\n'
            )
        return (
            f"REGISTER sip:{domain} SIP/2.0\r\n".encode()
            + self._fields(name, serial, self._near)
            + (
                f"CSeq: {cseq} REGISTER\r\nContact: <sip:{name}@{address}:{port}>\r\nExpires: 3600\r\n"
                f"{authorization}Content-Length: 0\r\n\r\n"
            ).encode()
        )

    def _look(self, name: str, serial: int) -> None:
        assert self._far is not None and self._other is not None
        self._far.send(self._other.look_up(name.encode(), self._fields(name, serial, self._far)))


def _socket(server: Server) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    made.bind(("127.0.0.1", 0))
    made.connect((server.address, server.port))
    made.setblocking(False)
    return made


def _answers(socket_: socket.socket) -> Iterable[tuple[int, int, bytes]]:
    """
    All that is there: number of the request, status, and the whole text.
    """
    while True:
        try:
            data = socket_.recv(65535)
        except BlockingIOError:
            return
        found = _BRANCH.search(data)
        if found is not None:
            yield int(found[1]), int(data[8:11]), data


def percentile(values: list[float], share: float) -> float:
    """
    @return: the value that C{share} of all are not above; 0 without any.
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def cpu_seconds(*pids: int) -> float:
    """
    What processes have used so far, all threads included.
    """
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_bytes(pid: int) -> int:
    """
    The memory that a process holds.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
