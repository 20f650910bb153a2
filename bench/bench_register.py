"""
What an authenticated REGISTER costs, without sockets.

C{registry} is L{Registry.register} alone, C{registrar} the whole transaction
user: digest, registry, store, 200.  Both refresh one binding at a time among
1,000 and among 100,000.  The store's thread is on the same cores, and what it
uses is in the figures of the process (C{cpu}).

    python bench/bench_register.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent.parent))

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from sipxha.auth.digest import Authenticator, ha1, response
from sipxha.auth.nonce import Nonces
from sipxha.auth.users import Credential, Users
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.register import Offer, Registration, Terms
from sipxha.registry.table import Registry
from sipxha.services.registrar import RegistrarUser
from sipxha.sip.auth_fields import Challenge
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request, Response
from sipxha.sip.parser import parse_message
from sipxha.sip.uri import Uri
from sipxha.store.registrations import RegistrationStore

SAMPLE = 5_000
FLOW = Flow("udp", "127.0.0.1", 5060, "127.0.0.1", 5070)
NONCES = count(1)


def mint() -> str:
    """
    No chance is needed here.
    """
    return f"token-{next(NONCES):012d}"


def report(name: str, n: int, seconds: float, note: str = "") -> None:
    """
    One line.
    """
    print(f"{name:<32} {n:>8} {seconds:>9.3f} s {seconds / n * 1e6:>8.1f} us each {note}")


def registration(number: int, cseq: int) -> Registration:
    """
    A REGISTER of one user, read.
    """
    uri = Uri.parse(f"sip:u{number}@10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:5060")
    return Registration(
        f"<sip:u{number}@example.com>",
        f"u{number}@example.com",
        f"call{number}@h",
        cseq,
        (Offer(f"<{uri}>", uri, "", 3600),),
        False,
        "",
        f"udp:{uri.host}:5060",
    )


def filled(size: int, now: float) -> Registry:
    """
    A registry with that many bindings.
    """
    registry = Registry("sipx1.example.com", 7200)
    for number in range(size):
        registry.register(registration(number, 1), now)
    return registry


def registry_alone(size: int) -> None:
    """
    L{Registry.register}.
    """
    now = time.time()
    registry = filled(size, now)
    step = max(1, size // SAMPLE)
    refreshes = [registration(n * step % size, 2 + n // size) for n in range(SAMPLE)]
    start = time.perf_counter()
    for refresh in refreshes:
        registry.register(refresh, now + 60)
    report(f"registry, {size:,} bindings", SAMPLE, time.perf_counter() - start)


class Answers:
    """
    Counts the 200s and tells when all are there.
    """

    def __init__(self) -> None:
        self.left = 0
        self.done: Deferred[None] = Deferred()

    def respond(self, transaction: object, answer: Response) -> None:
        """
        As the endpoint's.
        """
        assert answer.status == 200, answer
        self.left -= 1
        if not self.left:
            self.done.callback(None)


def requests(size: int, users: int, authenticator: Authenticator, hashes: dict[str, str]) -> list[Request]:
    """
    Authenticated REGISTERs as they come from the wire.
    """
    messages = []
    for n in range(SAMPLE):
        number = n * max(1, size // SAMPLE) % size
        user = f"u{number}"
        challenge = Challenge.parse(authenticator.challenges(time.time())[-1]).params
        nonce, uri = challenge["nonce"], "sip:example.com"
        proof = response(hashes[user], nonce, "00000001", "c", "REGISTER", uri, "MD5")
        text = (
            "REGISTER sip:example.com SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK-{n}\r\n"
            f"From: <sip:{user}@example.com>;tag={n}\r\nTo: <sip:{user}@example.com>\r\n"
            f"Call-ID: call{number}@h\r\nCSeq: {2 + n // size} REGISTER\r\n"
            f"Contact: <sip:{user}@10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:5060>\r\n"
            "Max-Forwards: 70\r\nExpires: 3600\r\n"
            f'Authorization: Digest username="{user}", realm="example.com", nonce="{nonce}", uri="{uri}", '
            f'response="{proof}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c"\r\n'
            "Content-Length: 0\r\n\r\n"
        )
        message = parse_message(text.encode())
        # As the layers below have looked at it already.
        assert isinstance(message, Request)
        message.via, message.from_, message.to, message.call_id, message.cseq, message.request_uri  # noqa: B018
        messages.append(message)
    return messages


async def registrar(size: int, folder: str) -> None:
    """
    The transaction user, over a real store.
    """
    now = time.time()
    registry = filled(size, now)
    hashes = {f"u{number}": ha1(f"u{number}", "example.com", "secret", "MD5") for number in range(size)}
    users = Users(
        Credential(f"{name}@example.com", "example.com", name, {"MD5": each}) for name, each in hashes.items()
    )
    authenticator = Authenticator("example.com", ("MD5",), users, Nonces(b"secret", "sipx1"), mint)
    store = RegistrationStore(Path(folder) / f"{size}.sqlite", cast(Any, reactor))
    store.open()
    await store.commit(list(registry.all_current(now)))
    user = RegistrarUser(
        cast(Any, reactor),
        Terms(ServedDomain("example.com"), 60, 3600, 7200, Gruus(b"secret", "example.com")),
        registry,
        store,
        authenticator,
        authenticate=True,
        allowed=lambda address: address == "127.0.0.1",
        updated=lambda: None,
        mint=mint,
    )
    messages = requests(size, size, authenticator, hashes)
    answers = Answers()
    user.endpoint = cast(Any, answers)
    answers.left = len(messages)
    cpu, start = time.process_time(), time.perf_counter()
    for message in messages:
        user.request_received(cast(Any, None), message, FLOW)
    in_turn = time.perf_counter() - start
    await answers.done
    note = f"(cpu {(time.process_time() - cpu) / SAMPLE * 1e6:.1f} us with answer and store)"
    report(f"registrar, {size:,} bindings", SAMPLE, in_turn, note)
    await store.close()
    start = time.perf_counter()
    again = RegistrationStore(Path(folder) / f"{size}.sqlite", cast(Any, reactor))
    fresh = Registry("sipx1.example.com", 7200)
    fresh.load(again.open())
    report(f"start, {size:,} bindings", size, time.perf_counter() - start)
    await again.close()


async def main() -> None:
    """
    Everything at both sizes.
    """
    with tempfile.TemporaryDirectory() as folder:
        for size in (1_000, 100_000):
            registry_alone(size)
            await registrar(size, folder)


if __name__ == "__main__":
    from twisted.internet.task import react

    react(lambda _: Deferred.fromCoroutine(main()))
