"""
How soon, and for how much, a peer knows what one registrar was told.

Two real nodes (digest, TLS, both stores on disk), and where kamailio is
installed a pair of it with dmq_usrloc (UDP, no digest, no store) under the
same load: each REGISTER is of a user who was not there before.

C{python -m bench.bench_sync [latency] [three] [path] [rate] [resync] [freeze] [SECONDS]}:
all of them without an argument.

    latency   from a REGISTER until the other node knows of it, and CPU
    three     the same with three of our nodes
    path      where that time goes
    rate      the largest rate that the other follows, and octets on the wire
    resync    a node that lost its disk takes all from the other
    freeze    a peer stands still for SECONDS (45) while its partner is told a
              thousand things
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from bench.kamailio import PORT, Kamailio
from bench.load import (
    Load,
    Outcome,
    Server,
    cpu_seconds,
    credential_xml,
    look_up_redirect,
    look_up_register,
    percentile,
    resident_bytes,
    users,
)
from sipxha.cli.status import ask
from sipxha.registry.binding import Binding
from sipxha.store.registrations import RegistrationStore
from tests.support.pair import DOMAIN, Pair, free_network

ROUNDS = ((100, 500, 1), (1_000, 8_000, 20), (3_000, 12_000, 60))
"""REGISTERs per second, how many, and each which of them is watched."""

RATES = (250, 500, 750, 1_000, 1_500, 2_000, 3_000)
RATE_SECONDS = 4.0
CAUGHT_UP = 0.3
"""Seconds after the last REGISTER in which the other node must have all, or it lags."""

ANSWERED = 0.995
"""So much of what was sent must be answered, or this node is full."""

STAGES = {
    "came": "",
    "registered": "in to registry",
    "called": "the push before it",
    "written": "push written",
    "heard": "on its way",
    "visible": "read and applied",
    "answered": "(disk, and back)",
}
BOUNDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Milliseconds: the columns of the histogram."""

REPLICATION = 5077
ROWS = 100_000
FROZEN = 1_000
PARTS = ("latency", "three", "path", "rate", "resync", "freeze")


def line(name: str, count: int, seconds: float, *notes: str) -> None:
    """
    One figure.
    """
    print(f"{name} {count} {seconds:.6f} {' '.join(notes)}", flush=True)


def told(outcome: Outcome) -> str:
    """
    What became of a round, in words.
    """
    milliseconds = {
        "in to seen": outcome.seen_in,
        "200 to seen": outcome.seen_after,
        "in to 200": outcome.answered_in,
    }
    parts = [
        f"{name} p50 {percentile(values, 0.5) * 1e3:.2f} p99 {percentile(values, 0.99) * 1e3:.2f} ms"
        for name, values in milliseconds.items()
    ]
    lost = outcome.sent - outcome.confirmed
    return (
        "; ".join(parts)
        + (f"; {lost} without a 200" if lost else "")
        + (f"; {outcome.unseen} never seen" if outcome.unseen else "")
    )


def rounds(name: str, near: Server, far: Server, pids: Sequence[Sequence[int]]) -> None:
    """
    New registrations at one of a pair, and their way to the other.
    """
    load = Load(near, far)
    everybody = users(sum(count for _, count, _ in ROUNDS))
    for rate, count, watch_each in ROUNDS:
        some, everybody = everybody[:count], everybody[count:]
        before = [cpu_seconds(*each) for each in pids]
        outcome = load.run(some, rate, watch_each)
        known, late = load.await_all(some[-200:], 20.0)
        used = [cpu_seconds(*each) - start for each, start in zip(pids, before, strict=True)]
        each = " + ".join(f"{cpu / count * 1e6:.0f}" for cpu in used)
        line(f"{name}, {rate}/s, CPU of all", count, sum(used), f"({each} us)")
        print(f"     {told(outcome)}; the last 200: {known} there {late:.2f} s after the end", flush=True)
    load.close()


def near_and_far(pair: Pair) -> tuple[Server, Server]:
    """
    The registrars of the first two of our nodes.
    """
    near, far = (Server(node.address, 5070, DOMAIN, True, look_up_redirect) for node in pair.nodes[:2])
    return near, far


def prepare(pair: Pair, count: int) -> None:
    """
    Let many users register; sipp's digest, MD5, is what the load knows.
    """
    text = credential_xml(users(count), DOMAIN)
    for node in pair:
        (node.folder / "credential.xml").write_text(text)


async def fill(reactor: Any, path: Path, primary: str) -> None:
    """
    A registry on disk, as a node that was told much leaves it.
    """
    now = time.time()
    rows = [
        Binding(
            f"<sip:v{number}@{DOMAIN}>",
            f"v{number}@{DOMAIN}",
            f"<sip:v{number}@10.1.{number >> 8 & 255}.{number & 255}:5060;transport=tcp>",
            "",
            f"f00dcafe-{number}@10.1.1.7",
            17,
            int(now) + 7_000,
            "",
            0,
            "",
            "",
            "udp:10.1.1.7:5060",
            primary,
            number + 1,
            now + 7_000.0,
        )
        for number in range(ROWS)
    ]

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = RegistrationStore(path, reactor)
    store.open()
    await store.commit(rows)
    await store.close()


async def ours(reactor: Any, folder: Path, nodes: int = 2) -> None:
    """
    Our nodes under the load.
    """
    pair = Pair(reactor, folder / "pair", nodes)
    await pair.write()
    prepare(pair, sum(count for _, count, _ in ROUNDS))
    try:
        await pair.start()
        near, far = near_and_far(pair)
        pids = [[node.pid] for node in pair]
        await deferToThread(rounds, "sipxha" if nodes == 2 else f"{nodes} of sipxha", near, far, pids)
    finally:
        await pair.stop()
        shutil.rmtree(pair.folder)


async def path(reactor: Any, folder: Path) -> None:
    """
    Where the time goes from a REGISTER at one node until another knows of it.
    """
    for rate, count in ((100, 500), (1_000, 5_000)):
        pair = Pair(reactor, folder / f"path-{rate}")
        await pair.write()
        prepare(pair, count)
        for node in pair:
            node.under = [sys.executable, "-m", "bench.traced_node"]
        try:
            await pair.start()
            load = Load(near_and_far(pair)[0])
            await deferToThread(load.run, users(count), rate)
            load.close()
            await deferLater(reactor, 1.0)
        finally:
            await pair.stop()
        here, there = (json.loads((node.folder / "trace.json").read_text()) for node in pair)
        passed = [{**there[number], **here[number]} for number in here if number in there]
        print(f"{rate}/s, {len(passed)} updates; ms p50, p99, and how many in 100 took less than")
        print(f"{'':22}{'p50':>7}{'p99':>8}  " + "".join(f"{bound:>6g}" for bound in BOUNDS))
        for (before, stage), label in zip(pairwise(STAGES), list(STAGES.values())[1:], strict=True):
            show(label, [each[stage] - each[before] for each in passed if stage in each and before in each])
        show("in to visible", [each["visible"] - each["came"] for each in passed])


def show(label: str, seconds: list[float]) -> None:
    """
    A row of the histogram.
    """
    count = max(1, len(seconds))
    below = (100 * sum(each * 1e3 < bound for each in seconds) // count for bound in BOUNDS)
    p50, p99 = (percentile(seconds, share) * 1e3 for share in (0.5, 0.99))
    print(f"  {label:20}{p50:7.2f}{p99:8.2f}  " + "".join(f"{each:6}" for each in below), flush=True)


async def rate(reactor: Any, folder: Path) -> None:
    """
    The largest rate of refreshes that the other node follows.
    """
    pair = Pair(reactor, folder / "rate")
    await pair.write()
    prepare(pair, 2_000)
    try:
        await pair.start()
        await deferToThread(follow, pair)
    finally:
        await pair.stop()


def follow(pair: Pair) -> None:
    """
    Ever faster, until the one is full or the other lags, twice in a row.
    """
    load = Load(*near_and_far(pair))
    best = cseq = 0
    for per_second in RATES:
        for _ in range(2):
            cseq += 1_000
            if follows(pair, load, per_second, cseq):
                best = per_second
                break
        else:
            break
    line("sipxha, largest rate that is followed, 1/s", best, 0.0)
    load.close()


def follows(pair: Pair, load: Load, per_second: int, cseq: int) -> bool:
    """
    @return: whether all goes well at a rate.
    """
    near, far = pair.nodes
    turns = int(per_second * RATE_SECONDS)
    before = [*(cpu_seconds(node.pid) for node in pair), *wire_octets(far.address)]
    sent = confirmed = 0
    while sent < turns:
        # A user who comes again has a greater CSeq.
        cseq += 1
        outcome = load.run(users(min(2_000, turns - sent)), per_second, turns, cseq)
        sent, confirmed = sent + outcome.sent, confirmed + outcome.confirmed
    late = settle(near.config)
    after = [*(cpu_seconds(node.pid) for node in pair), *wire_octets(far.address)]
    here, there, out, back = ((now - then) / sent for now, then in zip(after, before, strict=True))
    is_well = late <= CAUGHT_UP and confirmed >= ANSWERED * sent
    print(
        f"{per_second}/s: {confirmed} of {sent} confirmed, level {late:.2f} s after the last; CPU "
        f"{here * 1e6:.0f} + {there * 1e6:.0f} us; {out:.0f} octets of TLS there and {back:.0f} back for each"
        f"{'' if is_well else '  -- not followed'}",
        flush=True,
    )
    return is_well


def settle(config: Path) -> float:
    """
    Wait until a node's peers are level.

    @return: the seconds.
    """
    began = time.perf_counter()
    while any(peer["behind"] for peer in ask(config, "/peers")) and time.perf_counter() < began + 30:
        # Seldom: the one who asks takes time from the one who works.
        time.sleep(0.02)
    return time.perf_counter() - began


def wire_octets(server: str) -> Iterator[int]:
    """
    What the connections to a node's port have carried: there, and back.
    """
    shown = subprocess.run(
        ["ss", "-Htin", "state", "established", "dst", server, "dport", "=", f":{REPLICATION}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in ("bytes_sent", "bytes_received"):
        yield sum(map(int, re.findall(rf"\b{name}:(\d+)", shown)))


def theirs(folder: Path) -> None:
    """
    Kamailio's pair under the load.
    """
    pair = kamailio_pair(folder)
    try:
        near, far = (Server(node.address, PORT, DOMAIN, False, look_up_register) for node in pair)
        rounds("kamailio", near, far, [node.pids for node in pair])
    finally:
        for node in pair:
            node.stop()


def kamailio_pair(folder: Path) -> list[Kamailio]:
    """
    Started, and acquainted with each other.
    """
    network = free_network()
    names = (f"{network}.1", f"{network}.2")
    pair = [Kamailio(folder / "k1", names[0], names[1]), Kamailio(folder / "k2", names[1], names[0])]
    for node in pair:
        node.start()
    time.sleep(20)  # a ping interval, after which each has the other on its list
    return pair


async def resync(reactor: Any, folder: Path) -> None:
    """
    A node without a disk takes everything from its peer, which goes on.
    """
    pair = Pair(reactor, folder / "resync")
    await pair.write()
    prepare(pair, 2_000)
    donor, empty = pair.nodes
    await fill(reactor, donor.folder / "data" / "registry.sqlite", donor.name)
    try:
        began = time.perf_counter()
        await donor.start()
        line("start with rows, the peer being away", ROWS, time.perf_counter() - began)
        alone = resident_bytes(donor.pid)
        load = Load(near_and_far(pair)[0])
        calm = await deferToThread(load.run, users(500), 100, 1)
        began = time.perf_counter()
        started = empty.start()
        busy = deferToThread(load.run, users(2_000)[500:], 100, 1)
        await started
        line("an empty node is ready", ROWS, time.perf_counter() - began)
        outcome = await busy
        print(
            f"     resident: donor {alone / 1e6:.0f} MB before, {resident_bytes(donor.pid) / 1e6:.0f} MB after; "
            f"the node that was empty {resident_bytes(empty.pid) / 1e6:.0f} MB"
        )
        for name, each in (("before", calm), ("meanwhile", outcome)):
            p50, p99 = (percentile(each.answered_in, share) * 1e3 for share in (0.5, 0.99))
            print(f"     REGISTER at the donor {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)
        load.close()
    finally:
        await pair.stop()


def frozen(name: str, near: Server, far: Server, pids: Sequence[int], seconds: float) -> None:
    """
    One stands still while the other is told much, and comes back.
    """
    load = Load(near, far)
    load.run(users(10), 100)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    names = users(FROZEN + 10)[10:]
    load.run(names, FROZEN / seconds, FROZEN * 2)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    known, late = load.await_all(names, 60.0)
    line(f"{name}, frozen {seconds:g} s, all known after", known, late, f"({known} of {len(names)})")
    load.close()


async def freeze(reactor: Any, folder: Path, seconds: float) -> None:
    """
    Both pairs.
    """
    pair = Pair(reactor, folder / "freeze")
    await pair.write()
    prepare(pair, FROZEN + 10)
    try:
        await pair.start()
        near, far = near_and_far(pair)
        await deferToThread(frozen, "sipxha", near, far, [pair.nodes[1].pid], seconds)
    finally:
        await pair.stop()
    if Kamailio.is_here():
        kamailios = await deferToThread(kamailio_pair, folder / "frozen")
        try:
            near, far = (Server(node.address, PORT, DOMAIN, False, look_up_register) for node in kamailios)
            await deferToThread(frozen, "kamailio", near, far, kamailios[1].pids, seconds)
        finally:
            for node in kamailios:
                node.stop()


async def bench(reactor: Any, asked: Sequence[str]) -> None:
    """
    What was asked for, or all.
    """
    seconds = next((float(each) for each in asked if each.isdigit()), 45.0)
    wanted = [each for each in asked if not each.isdigit()] or list(PARTS)
    folder = Path(tempfile.mkdtemp(prefix="bench-sync-"))
    try:
        if "latency" in wanted:
            await ours(reactor, folder)
            if Kamailio.is_here():
                await deferToThread(theirs, folder)
            else:
                print("kamailio is not installed (Debian: apt install kamailio): ours only")
        if "three" in wanted:
            await ours(reactor, folder, 3)
        if "path" in wanted:
            await path(reactor, folder)
        if "rate" in wanted:
            await rate(reactor, folder)
        if "resync" in wanted:
            await resync(reactor, folder)
        if "freeze" in wanted:
            await freeze(reactor, folder, seconds)
        await deferLater(reactor, 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(reactor: Any, *asked: str) -> Deferred[None]:
    """
    For C{react}.
    """
    return Deferred.fromCoroutine(bench(reactor, asked))


if __name__ == "__main__":
    react(main, sys.argv[1:], _reactor)
