"""
How fast calls are resolved: in memory, and end to end through two real databases.

    python -m bench.bench_resolve [EVENTS]

Prints one line per figure: name, how many, seconds, per second.  The calls are
those of L{tests.support.made_calls}, a tenth of them split over both hosts,
whose clocks are 0.2 s apart; half of the rows are written as sipX wrote them.
The resolver is a process of its own, and so is the second host's door, which
speaks TLS.  Every record is compared with the truth, and the exit status is 1
when one differs.

The yardstick is one SQL statement over a table in which the events of both
hosts are merged already; it does what SQL does easily, and nothing about order,
late events or lost hosts.
"""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall, react

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.resolve import resolve
from sipxha.config.model import CallResolver, CseHost, Tls
from sipxha.net.postgres_gate import PostgresGate
from sipxha.net.tls import MutualTls
from sipxha.services.call_resolver import PassReport, run_pass
from sipxha.services.cse_hosts import Places
from tests.support.certs import Authority
from tests.support.cse_host import Pair
from tests.support.made_calls import TOLD, MadeCall, in_order, made_calls

EVENTS_PER_CALL = 3.5
SEED = 7
CHUNK = 20_000

HOST = "sipx2.example.com"
"""The second one."""

YARDSTICK = """
INSERT INTO yardstick
SELECT DISTINCT ON (call_id) call_id, request.from_tag, leg.to_tag, request.from_url, request.to_url,
       request.event_time, leg.connected, coalesce(leg.ended, leg.failed),
       CASE WHEN leg.ended IS NOT NULL THEN CASE WHEN leg.transferred THEN 'T' ELSE 'C' END
            WHEN leg.connected IS NOT NULL THEN 'I'
            WHEN leg.status = 487 THEN 'A' WHEN leg.status IS NOT NULL THEN 'F' ELSE 'R' END,
       leg.status, leg.reason, request.reference, request.contact, leg.contact,
       request.caller_internal, leg.callee_route
  FROM (SELECT DISTINCT ON (call_id) * FROM merged WHERE event_type = 'R'
         ORDER BY call_id, event_time) AS request
  LEFT JOIN
       (SELECT call_id, greatest(from_tag, to_tag) AS to_tag,
               min(event_time) FILTER (WHERE event_type = 'S') AS connected,
               max(event_time) FILTER (WHERE event_type = 'E') AS ended,
               max(event_time) FILTER (WHERE event_type = 'F') AS failed,
               bool_or(event_type = 'T') AS transferred,
               max(failure_status) AS status, max(failure_reason) AS reason,
               max(contact) FILTER (WHERE event_type = 'S') AS contact,
               max(callee_route) AS callee_route
          FROM merged
         WHERE event_type <> 'R' AND coalesce(failure_status, 0) NOT IN (401, 407)
         GROUP BY call_id, least(from_tag, to_tag), greatest(from_tag, to_tag)) AS leg USING (call_id)
 ORDER BY call_id, leg.ended IS NULL, leg.connected IS NULL, leg.ended - leg.connected DESC
"""


def measure_yardstick(own: str, other: str, number: int) -> float:
    """
    Resolve the same events by one statement.

    @return: Seconds.
    """
    reading, writing = psycopg2.connect(other), psycopg2.connect(own)
    try:
        with TemporaryFile() as copied, writing, writing.cursor() as cursor, reading.cursor() as source:
            cursor.execute("CREATE TABLE merged AS SELECT * FROM call_state_events")
            source.copy_expert("COPY call_state_events TO STDOUT", copied)
            copied.seek(0)
            cursor.copy_expert("COPY merged FROM STDIN", copied)
            cursor.execute(
                "CREATE TABLE yardstick (call_id text PRIMARY KEY, from_tag text, to_tag text, caller text,"
                " callee text, start_time timestamp, connect_time timestamp, end_time timestamp,"
                " termination char(1), failure_status int2, failure_reason text, reference text,"
                " caller_contact text, callee_contact text, caller_internal boolean, callee_route text)"
            )
            cursor.execute("CREATE INDEX ON yardstick (start_time)")
            cursor.execute("ANALYZE merged")
        begin = time.perf_counter()
        with writing, writing.cursor() as cursor:
            cursor.execute(YARDSTICK)
        seconds = time.perf_counter() - begin
    finally:
        reading.close()
        writing.close()
    report("events, yardstick", number, seconds)
    return seconds


def report(name: str, number: int, seconds: float) -> None:
    """
    Print one figure.
    """
    print(f"{name:<28} {number:>9} {seconds:>9.3f} s {number / seconds:>10.0f} /s", flush=True)


def made(number: int) -> Iterator[MadeCall]:
    """
    Make up the calls, always the same ones.
    """
    return made_calls(Random(SEED), number)


def copied(event: CallStateEvent, is_old: bool) -> str:
    """
    Write a row for COPY.

    @param is_old: As sipX wrote it: what is absent is empty, or 0.
    """
    absent, nothing = ("", "0") if is_old else ("\\N", "\\N")
    values = []
    for name, value in zip(CallStateEvent._fields, event, strict=True):
        if value is None and name in ("failure_status", "via_count"):
            values.append(nothing)
        elif value is None:
            values.append("\\N" if name == "caller_internal" else absent)
        elif name == "event_time":
            values.append(datetime.fromtimestamp(event.event_time, UTC).isoformat()[:-6])
        elif isinstance(value, str):
            values.append(value.replace("\\", "\\\\").replace("\t", "\\t"))
        else:
            values.append(str(value))
    return "\t".join(values) + "\n"


def fill(dsns: tuple[str, str], calls: int) -> int:
    """
    Write the events of the calls to the hosts.

    @return: How many.
    """
    columns = ", ".join(CallStateEvent._fields)
    connections = [psycopg2.connect(dsn) for dsn in dsns]
    chunks = [StringIO() for _ in dsns]

    def write(host: int) -> None:
        chunks[host].seek(0)
        with connections[host], connections[host].cursor() as cursor:
            cursor.copy_expert(f"COPY call_state_events ({columns}) FROM STDIN", chunks[host])
        chunks[host] = StringIO()

    number = 0
    for number, seen in enumerate(in_order(made(calls)), 1):
        chunks[seen.host].write(copied(seen.event, seen.event.event_seq % 2 == 0))
        if number % CHUNK == 0:
            for host in range(len(dsns)):
                write(host)
    for host, connection in enumerate(connections):
        write(host)
        connection.close()
    return number


def wrong_records(dsn: str, calls: int) -> int:
    """
    Count the calls whose record is not the truth, or that have none.
    """
    columns = ", ".join(
        f"extract(epoch FROM {name})::float8" if name.endswith("_time") else name for name in TOLD
    )
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor("records") as cursor:
            cursor.itersize = CHUNK
            cursor.execute(f"SELECT {columns} FROM cdrs")
            found = {row[0]: hash(row) for row in cursor}
    finally:
        connection.close()
    wrong = 0
    for call in made(calls):
        told = call.judged._asdict()
        del told["as_of"]
        wrong += hash(tuple(told.values())) != found.pop(call.truth.call_id, 0)
    return wrong + len(found)


def in_memory(calls: int) -> None:
    """
    Resolve events that are there already.
    """
    whole = [[seen.event for seen in call.seen] for call in made(calls)]
    begin = time.perf_counter()
    for events in whole:
        resolve(events, 1e11)
    report("events resolved in memory", sum(map(len, whole)), time.perf_counter() - begin)


async def be_the_gate(reactor: Any, told: dict[str, Any]) -> None:
    """
    Let the second host be reached until standard input ends, and say how many bytes it sent.
    """
    from twisted.internet.stdio import StandardIO
    from twisted.internet.tcp import Server
    from twisted.protocols.basic import LineReceiver

    sent = 0
    write = Server.writeSomeData

    def counted(self: Server, some: Any) -> Any:
        nonlocal sent
        count = write(self, some)
        sent += max(0, count) if isinstance(count, int) else 0
        return count

    # Counted where it leaves, below TLS: nobody above knows how much that adds.
    Server.writeSomeData = counted  # type: ignore[assignment, method-assign]
    gate = PostgresGate(
        reactor, MutualTls(tls_of(told[HOST])), {"sipx1.example.com"}, "127.0.0.1", 0, told["other"]
    )
    gate.startService()
    over: Deferred[None] = Deferred()

    class Input(LineReceiver):
        def connectionLost(self, reason: Any = None) -> None:
            over.callback(None)

    StandardIO(Input())
    print(gate.port, flush=True)
    await over
    print(sent, flush=True)
    await gate.stopService()


async def be_the_resolver(reactor: Any, told: dict[str, Any]) -> None:
    """
    Run two passes, and say what they cost.
    """
    config = CallResolver(
        told["own"], (CseHost("localhost", 5432), CseHost(HOST, told["port"])), Path(told["authority"])
    )
    places = Places(
        config,
        told["own"],
        told["own"],
        tls_of(told["sipx1.example.com"]),
        lambda name: succeed(["127.0.0.1"]),
    )
    pauses = [0.0]
    looked = time.perf_counter()

    def look() -> None:
        nonlocal looked
        before, looked = looked, time.perf_counter()
        pauses.append(looked - before)

    watch = LoopingCall(look)
    watch.start(0.01, now=False)
    # As a node and the command do.
    gc.set_threshold(100_000, 20, 20)
    passes = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF)
        begin = time.perf_counter()
        done: PassReport = await run_pass(reactor, places)
        seconds = time.perf_counter() - begin
        after = resource.getrusage(resource.RUSAGE_SELF)
        passes.append(
            {
                "events": sum(host.events for host in done.hosts),
                "faults": [host.fault for host in done.hosts if host.fault],
                "seconds": seconds,
                "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            }
        )
    # Unlike getrusage this forgets what was before exec.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    watch.stop()
    print(json.dumps({"passes": passes, "peak": peak, "pause": max(pauses)}))


def tls_of(told: list[str]) -> Tls:
    """
    Read what L{told_tls} wrote.
    """
    return Tls(*map(Path, told))


def told_tls(tls: Tls) -> list[str]:
    """
    Name a node's files.
    """
    return [str(tls.certificate), str(tls.key), str(tls.authority)]


def child(part: str, told: dict[str, Any]) -> subprocess.Popen[str]:
    """
    Start a part of this in a process of its own.
    """
    command = [sys.executable, "-m", "bench.bench_resolve", part, json.dumps(told)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end_to_end(pair: Pair, folder: Path, number: int) -> float:
    """
    Read the events from two databases and write the records.

    @return: Seconds of the first pass.
    """
    authority = Authority(folder)
    told: dict[str, Any] = {"own": pair.own, "other": pair.other, "authority": str(authority.path)}
    for name in ("sipx1.example.com", HOST):
        tls = authority.issue(name)
        # libpq refuses a key that others may read.
        tls.key.chmod(0o600)
        told[name] = told_tls(tls)
    with child("--gate", told) as gate:
        assert gate.stdout is not None
        port = int(gate.stdout.readline())
        with child("--pass", told | {"port": port}) as resolver:
            answer, _ = resolver.communicate()
        sent, _ = gate.communicate()
    found = json.loads(answer)
    first, second = found["passes"]
    for one in (first, second):
        if one["faults"]:
            raise SystemExit(f"a host could not be read: {one['faults']}")
    report("events, first pass", first["events"], first["seconds"])
    report("events, nothing new", second["events"] or number, second["seconds"])
    each = first["cpu"] / number * 1e6
    print(f"{'CPU of the resolver':<28} {number:>9} {first['cpu']:>9.3f} s {each:>10.1f} us each")
    print(f"{'highest memory':<28} {found['peak']:>9.0f} MiB")
    print(f"{'longest pause of its loop':<28} {found['pause'] * 1e3:>9.0f} ms")
    print(f"{'sent by the second host':<28} {int(sent) / 1e6:>9.1f} MB, encrypted", flush=True)
    return float(first["seconds"])


def main() -> int:
    """
    Run all.
    """
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    calls = int(number / EVENTS_PER_CALL)
    in_memory(calls // 10)
    pair = Pair()
    with contextlib.suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(pair.prepare()))
    number = fill((pair.own, pair.other), calls)
    print(f"{calls} calls of {number} events", flush=True)
    with TemporaryDirectory() as folder:
        seconds = end_to_end(pair, Path(folder), number)
    wrong = wrong_records(pair.own, calls)
    print(f"{'records that are not true':<28} {wrong:>9} of {calls}", flush=True)
    yardstick = measure_yardstick(pair.own, pair.other, number)
    print(f"{'first pass / yardstick':<28} {seconds / yardstick:>9.2f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--gate"]:
        react(lambda reactor: Deferred.fromCoroutine(be_the_gate(reactor, json.loads(sys.argv[2]))))
    elif sys.argv[1:2] == ["--pass"]:
        react(lambda reactor: Deferred.fromCoroutine(be_the_resolver(reactor, json.loads(sys.argv[2]))))
    else:
        sys.exit(main())
