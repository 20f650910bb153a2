"""
What logging a call state event costs: making it, keeping it in the journal,
and writing it into PostgreSQL.

Usage: python -m bench.bench_journal [EVENTS]

Signalling pays for the first two only.  The server is an embedded one with
its usual settings, fsync included.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.task import react

from sipxha.cdr import observe
from sipxha.services.call_log import BATCH
from sipxha.sip.message import Request
from sipxha.store.cse_log import CseLog, encode_event
from sipxha.store.journal import START, Journal
from sipxha.store.pool import Pool
from sipxha.store.postgres import EmbeddedPostgres
from sipxha.store.schema import CSE, prepare

OBSERVER = "10.1.1.50:5060"


def an_invite() -> Request:
    """
    Build an INVITE as a phone sends it.
    """
    return Request(
        "INVITE",
        "sip:bob@example.com",
        [
            ("via", "SIP/2.0/UDP 10.1.1.9:5060;branch=z9hG4bK-524287-1---0a1b2c3d4e5f6071;rport"),
            ("from", '"Alice" <sip:alice@example.com>;tag=0a1b2c3d'),
            ("to", "<sip:bob@example.com>"),
            ("call-id", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6@10.1.1.9"),
            ("cseq", "1 INVITE"),
            ("contact", '<sip:alice@10.1.1.9:5060>;+sip.instance="<urn:uuid:0>"'),
        ],
    )


def report(name: str, count: int, seconds: float) -> None:
    """
    Print one line.
    """
    print(f"{name:28} {count:8} {seconds:8.3f} s {seconds / count * 1e6:8.1f} us {count / seconds:10.0f} /s")


async def run(reactor: Any, count: int) -> None:
    """
    Measure everything once.
    """
    folder = Path(tempfile.mkdtemp(prefix="sipxha-bench-", dir="/tmp"))
    invite = an_invite()
    server = EmbeddedPostgres(reactor, folder / "pg")
    journal = Journal(folder / "journal", limit=2**32)
    try:
        await server.start()
        began = time.perf_counter()
        events = [observe.requested(invite, OBSERVER, seq, 1_700_000_000.0 + seq) for seq in range(count)]
        report("observe an INVITE", count, time.perf_counter() - began)

        began = time.perf_counter()
        records = [encode_event(event) for event in events]
        report("encode an event", count, time.perf_counter() - began)

        began = time.perf_counter()
        for record in records:
            journal.append(record)
        report("append a record", count, time.perf_counter() - began)

        pool = Pool(reactor, server.dsn())
        await prepare(reactor, server.dsn(), pool, (CSE,))
        log = CseLog(pool, journal.identity)
        position = START
        began, cpu = time.perf_counter(), time.process_time()
        while True:
            some, after = journal.read_from(position, BATCH)
            if not some:
                break
            await log.write(some, after)
            position = after
        report("write to PostgreSQL", count, time.perf_counter() - began)
        report("  of it, CPU of this process", count, time.process_time() - cpu)
        stored = (await pool.run("SELECT count(*) FROM call_state_events"))[0][0]
        assert stored == count, stored
        pool.close()
    finally:
        journal.close()
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def main(reactor: Any, count: str = "50000") -> None:
    """
    Take the number of events from the command line.
    """
    await run(reactor, int(count))


if __name__ == "__main__":
    react(main, sys.argv[1:])
