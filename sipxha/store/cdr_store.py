"""
The database of call detail records.

Each L{Batch} is one transaction: records, the events of calls that may yet
change, dead letters, and how far each host has been read stand or fall
together.  A record that was made of fewer events than the stored one is not
written, and one that says nothing new changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.position import Position
from sipxha.cdr.record import Cdr
from sipxha.store.pool import Pool, Row, Transaction

T = TypeVar("T")

PIECE = 5000
"""Rows that are deleted at a time."""

TOLD = 1000
"""Rows that travel in one statement: the reactor waits while they are written down."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

_TIMES = ("start_time", "connect_time", "end_time", "as_of")
_TYPES = {
    "failure_status": "int2",
    "events": "int4",
    "caller_internal": "boolean",
} | dict.fromkeys(_TIMES, "float8")
_NAMES = Cdr._fields
# What is the same whenever time decides the same.
_FACTS = [name for name in _NAMES if name not in ("call_id", "as_of")]
# What was known stays known: a gateway that is not found today may have been yesterday, and a host may
# have lost events that it had.
_LASTING = frozenset(
    [
        *("start_time", "connect_time", "reference", "caller_contact", "callee_contact", "caller_internal"),
        *("callee_route", "caller_transport", "callee_transport", "call_direction", "call_type"),
    ]
)
_NEW = {
    name: f"coalesce(excluded.{name}, cdrs.{name})" if name in _LASTING else f"excluded.{name}"
    for name in _NAMES
}


def _value(index: int, name: str) -> str:
    if name in _TIMES:
        return f"to_timestamp((told->>{index})::float8) AT TIME ZONE 'UTC'"
    return f"(told->>{index})::{_TYPES[name]}" if name in _TYPES else f"told->>{index}"


_VALUES = ", ".join(_value(index, name) for index, name in enumerate(_NAMES))

# Everything that follows is made of constants.
_UPSERT = f"""
WITH written AS (
INSERT INTO cdrs ({", ".join(_NAMES)})
SELECT {_VALUES} FROM jsonb_array_elements(%s::jsonb) AS told
ON CONFLICT (call_id) DO UPDATE SET {", ".join(f"{name} = {_NEW[name]}" for name in _NAMES[1:])}
 WHERE coalesce(cdrs.events, 0) <= excluded.events
   AND ({", ".join(f"cdrs.{name}" for name in _FACTS)})
       IS DISTINCT FROM ({", ".join(_NEW[name] for name in _FACTS)})
RETURNING 1)
SELECT count(*) FROM written
"""  # noqa: S608

_KEEP_EVENTS = """
INSERT INTO resolver_events (call_id, is_late, event)
SELECT event->>5, %s, event FROM json_array_elements(%s::json) AS event
"""

_FORGET_EVENTS = "DELETE FROM resolver_events WHERE call_id = ANY(%s)"

_BURY = """
INSERT INTO resolver_dead_letters (host, event_id, call_id, reason, event)
SELECT told->>0, (told->>1)::int8, told->3->>5, told->>2, told->3
  FROM json_array_elements(%s::json) AS told
ON CONFLICT DO NOTHING
RETURNING 1
"""

_MOVE = """
INSERT INTO resolver_positions (host, last_id, mark, read_to, gaps)
VALUES (%s, %s, %s, to_timestamp(%s) AT TIME ZONE 'UTC', %s::int8[])
ON CONFLICT (host) DO UPDATE SET last_id = excluded.last_id, mark = excluded.mark,
    read_to = excluded.read_to, gaps = excluded.gaps, changed = now()
"""

_POSITIONS = "SELECT host, last_id, mark, extract(epoch FROM read_to)::float8, gaps FROM resolver_positions"
_KEPT = "SELECT event FROM resolver_events WHERE is_late = %s"
_HELD = "SELECT call_id, termination FROM cdrs WHERE call_id = ANY(%s)"

# Calls that are not decided have no age.
_PURGE = """
WITH gone AS (
    DELETE FROM cdrs WHERE id = ANY(ARRAY(
        SELECT id FROM cdrs
         WHERE coalesce(end_time, connect_time, start_time) < to_timestamp(%s) AT TIME ZONE 'UTC'
           AND termination IN ('C', 'F', 'T', 'U', 'A')
         LIMIT %s))
    RETURNING 1)
SELECT count(*) FROM gone
"""

_PURGE_LETTERS = "DELETE FROM resolver_dead_letters WHERE noted < to_timestamp(%s)"

_WRITTEN_LAST = "SELECT extract(epoch FROM max(changed))::float8 FROM resolver_positions"

# Two passes at once would each move the positions past what the other holds.
_ALONE = "SELECT pg_try_advisory_lock(5060507750705081)"
_NO_LONGER_ALONE = "SELECT pg_advisory_unlock(5060507750705081)"


class Letter(NamedTuple):
    """
    An event that cannot be used, and why.
    """

    host: str
    event_id: int
    reason: str
    event: CallStateEvent


class Batch(NamedTuple):
    """
    What is to be written in one transaction.
    """

    records: Sequence[Cdr] = ()
    keep: Sequence[CallStateEvent] = ()
    late: Sequence[CallStateEvent] = ()
    """To be kept, but apart."""

    forget: Sequence[str] = ()
    """Call-IDs whose kept events are no longer needed."""

    letters: Sequence[Letter] = ()
    positions: Mapping[str, Position] | None = None


class Written(NamedTuple):
    """
    What a batch changed.
    """

    records: int
    letters: int


class CdrStore:
    """
    Records, and the memory of the resolver that makes them.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def claim(self) -> Deferred[bool]:
        """
        Try to be the only resolver, until the connection ends.
        """
        return self._pool.run(_ALONE).addCallback(lambda rows: bool(rows[0][0]))

    def release(self) -> Deferred[list[Row]]:
        """
        Let others resolve at once: a server may notice the end of a connection later.
        """
        return self._pool.run(_NO_LONGER_ALONE)

    def positions(self) -> Deferred[dict[str, Position]]:
        """
        Tell how far each host has been read.
        """

        def named(rows: list[Row]) -> dict[str, Position]:
            return {
                host: Position(last_id, mark, read_to, tuple(gaps))
                for host, last_id, mark, read_to, gaps in rows
            }

        return self._pool.run(_POSITIONS).addCallback(named)

    def kept_events(self, is_late: bool) -> Deferred[list[CallStateEvent]]:
        """
        Give back what L{Batch.keep} or L{Batch.late} kept.
        """
        return self._pool.run(_KEPT, (is_late,)).addCallback(
            lambda rows: [CallStateEvent(*row[0]) for row in rows]
        )

    def held(self, call_ids: Iterable[str]) -> Deferred[dict[str, str]]:
        """
        Tell how those of some calls terminated that have a record.
        """
        return self._pool.run(_HELD, (list(call_ids),)).addCallback(dict)

    def write(self, batch: Batch) -> Deferred[Written]:
        """
        Write all of a batch, or nothing.
        """

        async def work(transaction: Transaction) -> Written:
            records = letters = 0
            for some in _pieces(batch.records):
                ((count,),) = await transaction.run(_UPSERT, (_encode(some),))
                records += count
            # A call may be settled, and begin to change again before that is written.
            if batch.forget:
                await transaction.run(_FORGET_EVENTS, (list(batch.forget),))
            for events, is_late in ((batch.keep, False), (batch.late, True)):
                for part in _pieces(events):
                    await transaction.run(_KEEP_EVENTS, (is_late, _encode(part)))
            if batch.letters:
                letters = len(await transaction.run(_BURY, (_encode(_told(batch.letters)),)))
            for host, place in (batch.positions or {}).items():
                row = (host, place.last_id, place.mark, place.read_to, list(place.gaps))
                await transaction.run(_MOVE, row)
            return Written(records, letters)

        return self._pool.transaction(work)

    def last_pass(self) -> Deferred[float | None]:
        """
        Tell when positions were written last.
        """
        return self._pool.run(_WRITTEN_LAST).addCallback(lambda rows: rows[0][0])

    def purge(self, before: float) -> Deferred[int]:
        """
        Delete the records of calls that ended before a moment, and dead letters as old.

        @return: How many records.
        """
        return Deferred.fromCoroutine(self._purge(before))

    async def _purge(self, before: float) -> int:
        purged: int = 0
        while True:
            ((count,),) = await self._pool.run(_PURGE, (before, PIECE))
            purged += count
            if count < PIECE:
                break
        await self._pool.run(_PURGE_LETTERS, (before,))
        return purged


def _pieces(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[begin : begin + TOLD] for begin in range(0, len(rows), TOLD))


def _told(letters: Iterable[Letter]) -> list[object]:
    """
    What JSON can carry of letters: it has no infinity.
    """
    return [
        (host, event_id, reason, [None if item in (inf, -inf) else item for item in event])
        for host, event_id, reason, event in letters
    ]
