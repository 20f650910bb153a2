"""
The registry on disk: how long a start takes, how large the file is, and what
waiting for the disk adds to a REGISTER.

Usage: python -m bench.bench_store [ROWS...]       (100000 and 1000000)

The files lie in the folder for temporary files, whose disk is what is
measured.  The CPU of a row is that of the whole process: both threads, and
the asking.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry
from sipxha.store.registrations import RegistrationStore

NODE = "sipx1.example.com"
AT_ONCE = 10_000
RATES = (100, 1_000, 5_000)
SECONDS = 3.0
TICK = 0.005


def a_row(number: int, cseq: int, now: float) -> Binding:
    """
    A binding as a phone behind the edge leaves it.
    """
    user = f"{100_000 + number}"
    return Binding(
        f"<sip:{user}@example.com>",
        f"{user}@example.com",
        f"<sip:{user}@10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:5060;transport=tcp>",
        "",
        f"{number:08x}-7dec-11d0-a765-00a0c91e6bf6",
        cseq,
        int(now) + 3600,
        f"<urn:uuid:00000000-0000-1000-8000-{number:012x}>",
        0,
        "",
        f"<sip:{number:032x}@10.1.1.50;lr;ob>",
        f"tcp:10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:5060",
        NODE,
        cseq * 10_000_000 + number,
        now + 3600,
    )


def report(name: str, count: int, seconds: float, more: str = "") -> None:
    """
    Print one line.
    """
    print(f"{name:34} {count:8} {seconds:8.3f} s {seconds / count * 1e6:8.1f} us  {more}", flush=True)


async def fill(store: RegistrationStore, count: int, now: float) -> None:
    """
    Put rows into an empty store, as a first synchronization does.
    """
    began, used = time.perf_counter(), time.process_time()
    for start in range(0, count, AT_ONCE):
        await store.commit([a_row(number, 1, now) for number in range(start, min(start + AT_ONCE, count))])
    report(f"{count} rows written, {AT_ONCE} at once", count, time.perf_counter() - began)
    report(f"{count} rows written, CPU", count, time.process_time() - used)


async def start(reactor: Any, path: Path, count: int) -> None:
    """
    What a start does: open, read, and put everything into the registry.
    """
    began = time.perf_counter()
    store = RegistrationStore(path, reactor)
    rows = store.open()
    opened = time.perf_counter()
    Registry(NODE, 7200).load(rows)
    loaded = time.perf_counter()
    assert len(rows) == count
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    report(f"{count} rows read from the disk", count, opened - began, f"{size / count:.0f} bytes a row")
    report(f"{count} rows into the registry", count, loaded - opened)
    await store.close()


async def refresh(reactor: Any, store: RegistrationStore, count: int, rate: int, now: float) -> None:
    """
    Commit single rows at a rate, and look at how long each of them waits.
    """
    waits: list[float] = []
    pending: list[Deferred[None]] = []
    cseq = 1_000 + rate

    def commit(number: int) -> None:
        began = time.perf_counter()
        # A stride visits the file as phones would, in no order.
        row = a_row(number * 7919 % count, cseq, now)
        pending.append(store.commit([row]).addCallback(lambda _: waits.append(time.perf_counter() - began)))

    began, used, done = time.perf_counter(), time.process_time(), 0
    total = int(rate * SECONDS)
    while done < total:
        due = min(int((time.perf_counter() - began) * rate), total)
        for number in range(done, due):
            commit(number)
        done = due
        # No sooner than the next is due: looking costs, too.
        await deferLater(reactor, max(TICK, began + (done + 1) / rate - time.perf_counter()))
    await gatherResults(pending)
    lasted, busy = time.perf_counter() - began, time.process_time() - used
    waits.sort()
    middle, last = (waits[int(len(waits) * part)] * 1e3 for part in (0.5, 0.99))
    report(
        f"{rate} updates/s, CPU",
        total,
        busy,
        f"wait p50 {middle:.2f} ms, p99 {last:.2f} ms; {total / lasted:.0f}/s reached",
    )


async def run(reactor: Any, sizes: Sequence[int]) -> None:
    """
    Measure all, for each size.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-store-"))
    now = time.time()
    try:
        for count in sizes:
            path = folder / f"{count}.sqlite"
            store = RegistrationStore(path, reactor)
            store.open()
            await fill(store, count, now)
            await store.close()
            await start(reactor, path, count)
            store = RegistrationStore(path, reactor)
            store.open()
            for rate in RATES:
                await refresh(reactor, store, count, rate, now)
            await store.close()
            path.unlink()
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """
    Run on Twisted's reactor.
    """
    sizes = [int(text) for text in sys.argv[1:]] or [100_000, 1_000_000]
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, sizes)))


if __name__ == "__main__":
    main()
