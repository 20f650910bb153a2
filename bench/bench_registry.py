"""
What the registry costs, by its size: nothing here may grow with it.

Each size is filled in a process of its own, the way phones fill it, a user
after the other.  Then, each for users all over the registry: C{new} is the
first REGISTER of a user, C{refresh} one of a user who is there, C{query} one
without a contact, C{lookup} what the redirect server asks, C{apply} a row of
another node for a user who is there.  The bytes are those of the process.

    python -m bench.bench_registry [SIZE...]
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from sipxha.registry.binding import Binding
from sipxha.registry.register import Offer, Registration
from sipxha.registry.table import Registry
from sipxha.sip.uri import Uri

SIZES = (1_000, 100_000, 1_000_000)
SAMPLE = 20_000
ROUNDS = 3
NOW = 1_700_000_000.0


def report(name: str, n: int, seconds: float) -> None:
    """
    One line.
    """
    print(f"{name:<32} {n:>8} {seconds:>9.4f} s {seconds / n * 1e6:>8.2f} us each", flush=True)


def registration(number: int, cseq: int, *, is_query: bool = False) -> Registration:
    """
    A REGISTER of one user, read.
    """
    host = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    uri = Uri.parse(f"sip:u{number}@{host}:5060")
    offer = Offer(f"<{uri}>", uri, "", 3600)
    return Registration(
        f"<sip:u{number}@example.com>",
        f"u{number}@example.com",
        f"{number:08x}-call@{host}",
        cseq,
        () if is_query else (offer,),
        False,
        "",
        f"udp:{host}:5060",
    )


def measure(name: str, size: int, calls: Sequence[Any], each: Callable[[Any], object]) -> None:
    """
    Time a call for each of some arguments.
    """
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for call in calls:
        each(call)
    taken = time.perf_counter() - start
    gc.enable()
    report(f"{name}, {size:,} rows", len(calls), taken)


def memory() -> int:
    """
    The bytes of this process.
    """
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def run(size: int) -> None:
    """
    All figures of one size.
    """
    registry = Registry("sipx1.example.com", 7200)
    before = memory()
    gc.freeze()
    for number in range(size):
        registry.register(registration(number, 1), NOW + number * 3000 / size)
    if size >= 100_000:
        print(f"{size:,} rows: {(memory() - before) / size:.0f} bytes each", flush=True)
    now = NOW + 3000
    sample = min(SAMPLE, size)
    users = [n * (size // sample) for n in range(sample)]
    # Not in the order of memory.
    users = users[::2][::-1] + users[1::2]

    def register(asked: Registration) -> object:
        return registry.register(asked, now)

    for cseq in range(2, 2 + ROUNDS):
        calls = [registration(number, cseq) for number in users]
        if cseq == 1 + ROUNDS:
            measure("refresh", size, calls, register)
        else:
            for call in calls:
                register(call)
    measure("query", size, [registration(n, 9, is_query=True) for n in users], register)
    identities = [f"u{number}@example.com" for number in users]
    measure("lookup", size, identities, lambda identity: registry.current(identity, now))
    theirs = [rows[0] for rows in (registry.current(identity, now) for identity in identities)]
    rows = [_of_peer(row, number) for number, row in enumerate(theirs, 1)]
    measure("apply", size, rows, lambda row: registry.apply((row,), now))
    measure("new", size, [registration(size + n, 1) for n in range(sample)], register)
    start = time.perf_counter()
    purged = len(registry.purge(now + 100_000))
    report(f"purge, {size:,} rows", max(purged, 1), time.perf_counter() - start)


def _of_peer(row: Binding, number: int) -> Binding:
    return row._replace(cseq=row.cseq + 1, primary="sipx2.example.com", update_number=number)


def main(asked: list[str]) -> None:
    """
    Each size in a process of its own, so that memory is what it needs.
    """
    for size in map(int, asked) if asked else SIZES:
        child = os.fork()
        if not child:
            run(size)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
