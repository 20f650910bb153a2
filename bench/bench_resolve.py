"""
How fast calls are resolved: in memory, and end to end through two real databases.

    python -m bench.bench_resolve [EVENTS]

Prints one line per figure: name, how many, seconds, per second.  A tenth of
the calls has its events on both hosts; clocks are 0.2 s apart.  The yardstick
is one SQL statement over a table in which the events of both hosts are merged
already; it does what SQL does easily, and nothing about order, late events or
lost hosts.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from random import Random
from tempfile import TemporaryFile

import psycopg2
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import react

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.resolve import resolve
from sipxha.config.model import CallResolver, CseHost
from sipxha.services.call_resolver import PassReport, run_pass
from sipxha.services.cse_hosts import Places
from tests.cdr import calls
from tests.support.cse_host import Pair, listen_for, log_events

BEGIN = 1_700_000_000.0
CALLS_PER_SECOND = 50


def one_call(chance: Random, number: int) -> list[CallStateEvent]:
    """
    Make up a call: two in three are answered, the others fail, are abandoned or transferred.
    """
    at = BEGIN + number / CALLS_PER_SECOND
    call_id = f"{chance.getrandbits(96):024x}@10.{number % 250}.1.7"
    a, b = f"{chance.getrandbits(32):08x}", f"{chance.getrandbits(32):08x}"
    same = {"call_id": call_id, "from_tag": "a", "branch_id": f"z9hG4bK-{a}"}
    events = [calls.requested(at, **same)]
    if chance.random() < 0.3:
        events.append(calls.requested(at + 0.05, cseq=2, caller_internal=True, **same))
    cseq = len(events)
    answered = at + chance.uniform(1, 20)
    ended = answered + chance.expovariate(1 / 120)
    kind = chance.random()
    if kind < 0.12:
        events.append(
            calls.failed(chance.choice([404, 480, 486, 603]), answered, to_tag=b, cseq=cseq, **same)
        )
    elif kind < 0.25:
        events.append(calls.failed(487, answered, to_tag=b, cseq=cseq, **same))
    else:
        events.append(calls.set_up(answered, to_tag=b, cseq=cseq, **same))
        if kind < 0.30:
            events.append(calls.set_up(answered + 0.1, to_tag=b + "2", cseq=cseq, **same))
            events.append(calls.ended(answered + 0.3, call_id=call_id, to_tag=b + "2", cseq=cseq + 1))
        if kind < 0.35:
            events.append(calls.transferred(ended - 0.5, call_id=call_id, to_tag=b, cseq=cseq + 1))
        if chance.random() < 0.5:
            events.append(calls.ended(ended, call_id=call_id, to_tag=b, cseq=cseq + 2))
        else:
            events.append(calls.ended_by_callee(ended, call_id=call_id, from_tag=b))
    return events


def made_up(chance: Random, number: int) -> Iterator[list[CallStateEvent]]:
    """
    Make up calls until there are so many events.
    """
    made = serial = 0
    while made < number:
        events = one_call(chance, serial)
        yield events
        made += len(events)
        serial += 1


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


def in_memory(whole: list[list[CallStateEvent]], number: int) -> None:
    """
    Resolve events that are there already.
    """
    begin = time.perf_counter()
    for events in whole:
        resolve(events, BEGIN * 2)
    report("events resolved in memory", number, time.perf_counter() - begin)


async def end_to_end(reactor: object, whole: list[list[CallStateEvent]], number: int) -> None:
    """
    Read the events from two databases and write the records.
    """
    pair = Pair()
    await pair.prepare()
    hosts: tuple[list[CallStateEvent], list[CallStateEvent]] = ([], [])
    for serial, events in enumerate(whole):
        for place, event in enumerate(events):
            host = (serial + (place if serial % 10 == 0 else 0)) % 2
            hosts[host].append(event._replace(event_time=event.event_time + 0.2 * host))
    for dsn, events in zip((pair.own, pair.other), hosts, strict=True):
        events.sort(key=lambda event: event.event_time)
        log_events(dsn, *events)
        # What is still in memory would be counted against the resolver.
        events.clear()
    whole.clear()
    door = listen_for(pair.other)
    address = door.getHost()
    assert isinstance(address, IPv4Address)
    config = CallResolver(pair.own, (CseHost("localhost", 5432), CseHost("sipx2", address.port)), None)
    places = Places(config, pair.own, pair.own, None, lambda name: succeed(["127.0.0.1"]))
    before = resource.getrusage(resource.RUSAGE_SELF)
    high_water = before.ru_maxrss / 1024
    first = 0.0
    for name in ("events, first pass", "events, nothing new"):
        begin = time.perf_counter()
        done: PassReport = await run_pass(reactor, places)  # type: ignore[arg-type]
        took = time.perf_counter() - begin
        first = first or took
        report(name, sum(host.events for host in done.hosts) or number, took)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{'CPU of the resolver':<28} {number:>9} {cpu:>9.3f} s {cpu / number * 1e6:>10.1f} us each")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'highest memory':<28} {peak:>9.0f} MiB, of which the generator {high_water:.0f}")
    yardstick = measure_yardstick(pair.own, pair.other, number)
    print(f"{'first pass / yardstick':<28} {first / yardstick:>9.2f}")
    door.stopListening()


def main() -> None:
    """
    Run all.
    """
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    whole = list(made_up(Random(7), number))
    number = sum(map(len, whole))
    print(f"{len(whole)} calls of {number} events")
    in_memory(whole, number)
    react(lambda reactor: Deferred.fromCoroutine(end_to_end(reactor, whole, number)))


if __name__ == "__main__":
    main()
