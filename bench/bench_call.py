"""
What a call costs: INVITE, 100, 180, 200, ACK, BYE, 200.

A real node under Debian's sipp: through its forking proxy, its redirect server
and its authproxy, all events recorded in its own PostgreSQL.  Debian's kamailio
(one UDP worker, in memory) does the same calls in turn with it, as one proxy
that stays in the dialogs and records nothing.  The figures are CPU seconds of
all threads of the process; those of the database are told beside them.  Then
what each adds to the setting up of a call, and the highest rate at which
hardly anything is sent twice.  Without these programs it says so.

    python -m bench.bench_call [cost] [limit] [stalls] [profile FILE] [inside]

Both figures without an argument; stalls are L{bench.stalls}, for calls and
registrations; inside counts what L{bench.call_inside} does,
which needs no other program; the profile is that of the reactor's thread of
a node that takes 2,000 calls.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.calibration import calibrate
from bench.call_inside import inside
from bench.kamailio import PORT, Kamailio
from bench.load import cpu_seconds, percentile, users
from bench.single_node import DOMAIN, Node
from bench.sipp import Callee, Caller, Pass, Phones
from bench.stalls import PHONES, UNDER, beside, pauses, registers, tell
from tests.support.pair import free_network

RATES = (100, 250)
"""Calls in a second."""

SECONDS = 6
ROUNDS = 2
PROFILED = 2_000

STEP = 1.25


class Subject:
    """
    A proxy under load.
    """

    def __init__(self, name: str, address: str, port: int, pids: Callable[[], list[int]], caller: Caller):
        self.name = name
        self.caller = caller
        self.used: dict[int, list[float]] = {rate: [] for rate in RATES}
        """CPU seconds of each call, by rate."""

        self._address = address
        self._port = port
        self._pids = pids

    def call(self, rate: int, count: int) -> tuple[Pass, list[float]]:
        """
        Make calls through it.
        """
        return self.caller.call(self._address, self._port, rate, count)

    def cost(self, rate: int) -> None:
        """
        Make calls for a while, and say what one of them costs.
        """
        count = rate * SECONDS
        before = cpu_seconds(*self._pids())
        done, times = self.call(rate, count)
        used = cpu_seconds(*self._pids()) - before
        self.used[rate].append(used / count)
        note = "" if done.is_clean(rate) else f" ({done.retransmissions} sent again, {done.failed} failed)"
        print(f"{self.name}, at {rate}/s{note}, CPU {count} {used:.6f}", flush=True)
        shares = ((0.5, "p50"), (0.99, "p99"))
        told = ", ".join(f"{name} {percentile(times, share) * 1e3:.1f} ms" for share, name in shares)
        print(f"{self.name}, at {rate}/s: INVITE to 200 {told}", flush=True)

    def _is_clean(self, rate: int) -> bool:
        try:
            done, _ = self.call(rate, rate * SECONDS)
        except subprocess.TimeoutExpired:
            # Some call has neither succeeded nor failed.
            return False
        return done.is_clean(rate)

    def limit(self, rate: int) -> None:
        """
        Find the highest rate at which hardly anything is sent twice, in two
        tries each.
        """
        clean = 0
        while any(self._is_clean(rate) for _ in range(2)):
            clean, rate = rate, int(rate * STEP)
        print(f"{self.name}: clean at {clean or 'no rate'}, not at {rate} calls per second", flush=True)


def bind(node: Node, contact: str) -> None:
    """
    Have calls for a user go to the callee, as an operator would.
    """
    command = [str(Path(sys.executable).parent / "sipxha"), "register", f"u0@{DOMAIN}", contact]
    subprocess.run(
        [*command, "--config", str(node.folder / "sipxha.xml")], check=True, stdout=subprocess.DEVNULL
    )


def bind_at(kamailio: Kamailio, contact: str) -> None:
    """
    The same, where everybody may.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.settimeout(10)
        phone.connect((kamailio.address, PORT))
        address, port = phone.getsockname()
        phone.send(
            (
                f"REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {address}:{port};branch=z9hG4bKbind\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:u0@{DOMAIN}>;tag=bind\r\nTo: <sip:u0@{DOMAIN}>\r\n"
                f"Call-ID: bind\r\nCSeq: 1 REGISTER\r\nContact: <{contact}>\r\nContent-Length: 0\r\n\r\n"
            ).encode()
        )
        answer = phone.recv(65535)
        if not answer.startswith(b"SIP/2.0 200"):
            raise ConnectionError(f"kamailio does not register the callee: {answer[:40]!r}")


def compare(folder: Path, asked: Sequence[str]) -> None:
    """
    A node and kamailio, in turn.
    """
    network = free_network()
    stalls = "stalls" in asked
    names = users(PHONES) if stalls else ["u0"]
    node = Node(folder / "cluster", f"{network}.1", names, calls=True)
    kamailio = Kamailio(folder / "kamailio", f"{network}.2", proxies=True) if Kamailio.is_here() else None
    callee = Callee(folder / "callee", f"{network}.3", 5060)
    try:
        node.start(under=UNDER if stalls else ())
        node.await_database()
        bind(node, callee.contact)
        subjects = [
            Subject("node", node.address, 5060, lambda: [node.pid], Caller(folder / "own")),
        ]
        if kamailio is not None:
            kamailio.start()
            bind_at(kamailio, callee.contact)
            theirs = Caller(folder / "theirs")
            subjects.append(Subject("kamailio", kamailio.address, PORT, lambda: kamailio.pids, theirs))
        else:
            print("kamailio is not installed: no ratio")
        for subject in subjects:
            # Connections, names and caches.
            subject.call(RATES[0], RATES[0])
        if "cost" in asked:
            costs(node, subjects)
        if stalls:
            for rate in RATES:
                for subject in subjects:
                    _, times = subject.call(rate, rate * SECONDS)
                    tell(f"{subject.name}, at {rate}/s: INVITE to 200", times)
            registers("node", node.address, 5070)
            if kamailio is not None:
                beside(folder / "registrar", f"{network}.4")
        if "limit" in asked:
            for subject in subjects:
                subject.limit(RATES[0])
    finally:
        callee.stop()
        if kamailio is not None and kamailio.is_started:
            kamailio.stop()
        node.stop()
    if stalls:
        pauses(node)


def costs(node: Node, subjects: Sequence[Subject]) -> None:
    """
    What a call costs, at each rate.
    """
    for rate in RATES:
        database, before = 0.0, {}
        for _ in range(ROUNDS):
            before = {pid: cpu_seconds(pid) for pid in node.database_pids}
            for subject in subjects:
                subject.cost(rate)
            database += sum(cpu_seconds(pid) - before.get(pid, 0.0) for pid in node.database_pids)
        print(f"the node's database, at {rate}/s, CPU {rate * SECONDS * ROUNDS} {database:.6f}")
        if len(subjects) > 1:
            own, other = (min(subject.used[rate]) for subject in subjects)
            print(f"at {rate}/s the node uses {own / other:.1f} times the CPU of kamailio for a call")


def profiled(folder: Path, profile: Path) -> None:
    """
    Where the time of a node goes.
    """
    network = free_network()
    node = Node(folder / "cluster", f"{network}.1", ["u0"], calls=True)
    callee = Callee(folder / "callee", f"{network}.3", 5060)
    try:
        node.start(profile)
        node.await_database()
        bind(node, callee.contact)
        Caller(folder / "own").call(node.address, 5060, RATES[0] // 2, PROFILED)
    finally:
        callee.stop()
        node.stop()


def main(asked: list[str]) -> None:
    """
    What was asked for, or both.
    """
    if asked == ["inside"]:
        with tempfile.TemporaryDirectory(prefix="sipxha-") as name:
            inside(Path(name) / "cluster")
        return
    if not Phones.is_here():
        print("sipp is not installed: no figures of calls")
        return
    with tempfile.TemporaryDirectory(prefix="sipxha-") as name:
        folder = Path(name)
        if asked[:1] == ["profile"]:
            profiled(folder, Path(asked[1]).absolute())
            return
        calibrate()
        compare(folder, asked or ("cost", "limit"))


if __name__ == "__main__":
    main(sys.argv[1:])
