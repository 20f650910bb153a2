"""
What an authenticated REGISTER costs.

Without sockets: C{registry} is L{Registry.register} alone, C{registrar} the
whole transaction user: digest, registry, store, 200.  Both refresh one binding
at a time among 1,000 and among 100,000.  The store's thread is on the same
cores, and what it uses is in the figures of the process (C{cpu}).

With sockets: a real node under Debian's sipp, 10,000 users who register and
refresh (401 and 200) at fixed rates, straight at the registrar and through the
forking proxy, and Debian's kamailio (one UDP worker, in memory) in turn with
it.  The figures are CPU seconds, of all threads, for so many pairs of requests.
Without these programs it says so, and shows what it can.

Then what the store adds: a node that starts with 100,000 bindings, its memory,
and how long a commit takes.

    python -m bench.bench_register [inside] [node] [store] [profile FILE]

All but the profile without an argument; the profile is that of the reactor's
thread of a node that takes 10,000 refreshes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent.parent))

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from bench.bench_sync import ROWS, fill
from bench.calibration import calibrate
from bench.kamailio import PORT, Kamailio
from bench.load import cpu_seconds, percentile, resident_bytes
from bench.load import users as user_names
from bench.single_node import NAME, Node
from bench.sipp import Phones
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
from tests.support.pair import free_network

SAMPLE = 5_000
PHONES = 10_000
RATES = (1_000, 2_000)
ROUNDS = 2
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


class Subject:
    """
    A registrar under load.
    """

    def __init__(self, name: str, address: str, port: int, pids: Callable[[], list[int]], phones: Phones):
        self.name = name
        self.used: list[float] = []
        """CPU seconds of each refresh at the last of the rates."""

        self._address = address
        self._port = port
        self._pids = pids
        self.phones = phones

    def once(self, what: str, rate: int) -> float:
        """
        Let everybody register, and say what it cost.

        @return: CPU seconds.
        """
        before = cpu_seconds(*self._pids())
        done = self.phones.register(self._address, self._port, rate)
        used = cpu_seconds(*self._pids()) - before
        note = "" if done.is_clean(rate) else f" ({done.retransmissions} sent again, {done.failed} failed)"
        line(f"{self.name}, {what} at {rate}/s{note}, CPU", PHONES, used)
        return used

    def round(self, number: int, rates: Sequence[int]) -> None:
        """
        New users in the first round, refreshes in all.
        """
        if not number:
            self.once("first", rates[0])
        for rate in rates:
            used = self.once("refresh", rate)
        self.used.append(used)

    def limit(self, rate: int, step: float) -> None:
        """
        Find the highest rate at which hardly anything is sent twice, in two tries.
        """
        clean = 0
        while any(self.phones.register(self._address, self._port, rate).is_clean(rate) for _ in range(2)):
            clean, rate = rate, int(rate * step)
        print(f"{self.name}: clean at {clean or 'no rate'}, not at {rate} per second", flush=True)


def line(name: str, count: int, seconds: float) -> None:
    """
    One figure of a whole process.
    """
    print(f"{name} {count} {seconds:.6f}", flush=True)


def under_load(folder: Path) -> None:
    """
    A node and kamailio, in turn.
    """
    if not Phones.is_here():
        print("sipp is not installed: no figures of a whole node")
        return
    names = user_names(PHONES)
    network = free_network()
    node = Node(folder / "cluster", f"{network}.1", names)
    kamailio = Kamailio(folder / "kamailio", f"{network}.2") if Kamailio.is_here() else None
    try:
        node.start()
        subjects = [Subject("node", node.address, 5070, lambda: [node.pid], Phones(folder / "own", names))]
        if kamailio is not None:
            kamailio.start()
            phones = Phones(folder / "theirs", names)
            subjects.append(Subject("kamailio", kamailio.address, PORT, lambda: kamailio.pids, phones))
        else:
            print("kamailio is not installed: no ratio")
        for number in range(ROUNDS):
            for subject in subjects:
                subject.round(number, RATES)
        for subject, rate in zip(subjects, (1_000, 4_000), strict=False):
            subject.limit(rate, 1.25)
        through = Subject("node, by its proxy", node.address, 5060, lambda: [node.pid], subjects[0].phones)
        through.once("refresh", 250)
        if kamailio is not None:
            own, other = (sum(subject.used) / len(subject.used) for subject in subjects)
            print(f"the node uses {own / other:.1f} times the CPU of kamailio for a refresh")
    finally:
        if kamailio is not None and kamailio.is_started:
            kamailio.stop()
        node.stop()


def profiled(folder: Path, profile: Path) -> None:
    """
    Where the time of a node goes.
    """
    names = user_names(PHONES)
    node = Node(folder / "cluster", f"{free_network()}.1", names)
    phones = Phones(folder / "own", names)
    node.start(profile)
    try:
        phones.register(node.address, 5070, 400)
    finally:
        node.stop()


async def stored(folder: Path) -> None:
    """
    What the store adds.
    """
    empty = Node(folder / "empty", f"{free_network()}.1", [])
    full = Node(folder / "full", f"{free_network()}.1", [])
    await fill(cast(Any, reactor), full.folder / "data" / "registry.sqlite", NAME)
    memory = []
    for node, rows in ((empty, 0), (full, ROWS)):
        seconds = await deferToThread(node.start)
        memory.append(resident_bytes(node.pid))
        line(f"a node starts with {rows:,} bindings", max(rows, 1), seconds)
        await deferToThread(node.stop)
    print(f"{(memory[1] - memory[0]) / ROWS:.0f} bytes of memory for each binding")
    for rate in RATES:
        await commits(folder / f"{rate}.sqlite", rate)


async def commits(path: Path, rate: int) -> None:
    """
    How long a REGISTER waits for the disk.
    """
    now = time.time()
    rows = list(filled(rate * 5, now).all_current(now))
    store = RegistrationStore(path, cast(Any, reactor))
    store.open()
    taken: list[float] = []
    done: Deferred[None] = Deferred()
    begun = time.perf_counter()
    asked = count()

    def ask() -> None:
        due = min(int((time.perf_counter() - begun) * rate), len(rows))
        for _ in range(due - len(started)):
            started.append(next(asked))
            store.commit([rows[started[-1]]]).addCallback(answered, time.perf_counter())

    def answered(_: None, at: float) -> None:
        taken.append(time.perf_counter() - at)
        if len(taken) == len(rows):
            done.callback(None)

    started: list[int] = []
    asking = LoopingCall(ask)
    asking.start(0.001)
    await done
    asking.stop()
    await store.close()
    shares = ((0.5, "p50"), (0.99, "p99"))
    told = ", ".join(f"{name} {percentile(taken, share) * 1e3:.2f} ms" for share, name in shares)
    print(f"a commit at {rate}/s: {told}")


async def main(asked: list[str]) -> None:
    """
    What was asked for, or everything.
    """
    with tempfile.TemporaryDirectory(prefix="sipxha-") as name:
        folder = Path(name)
        if asked[:1] == ["profile"]:
            await deferToThread(profiled, folder, Path(asked[1]).absolute())
            return
        calibrate()
        if not asked or "inside" in asked:
            for size in (1_000, 100_000):
                registry_alone(size)
                await registrar(size, name)
        if not asked or "node" in asked:
            await deferToThread(under_load, folder)
        if not asked or "store" in asked:
            await stored(folder)


if __name__ == "__main__":
    from twisted.internet.task import react

    react(lambda _: Deferred.fromCoroutine(main(sys.argv[1:])))
