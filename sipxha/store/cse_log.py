"""
Call state events on their way into the database of their node.

An event becomes one record of the L{Journal<sipxha.store.journal.Journal>};
records become rows, together with the journal's position, in one transaction,
so that each gets there exactly once.  This module decides what can be stored
and what cannot; when to write, and what to do when nothing can be written, is
for C{services.call_log}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.live import MOST
from sipxha.store.journal import START, Position
from sipxha.store.pool import Pool, StatementRefused, Transaction

OBSERVER_RESET = 101
"""The status of C{observer_state_events}, the only one there is."""

# A record is one byte that tells its table, and a JSON array of its values.
_EVENT = b"E"
_OBSERVER = b"O"

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

_INTEGERS = {"event_seq": "int8", "cseq": "int4", "failure_status": "int2", "via_count": "int2"}


def _expression(index: int, column: str) -> str:
    if column == "event_time":
        return f"timestamp 'epoch' + (e->>{index})::int8 * interval '1 ms'"
    if column == "caller_internal":
        return f"(e->>{index})::boolean"
    if column in _INTEGERS:
        return f"(e->>{index})::{_INTEGERS[column]}"
    return f"e->>{index}"


def _insertion(table: str, columns: Sequence[str]) -> str:
    # A batch travels as one JSON text, made of the records as they are: a
    # quarter of the cost of a VALUES list, and next to none of it here.
    expressions = ", ".join(_expression(index, column) for index, column in enumerate(columns))
    return (
        f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 (names from this module)
        f" SELECT {expressions} FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS batch (e, place)"
        " ORDER BY place"
    )


_INSERTIONS = {
    _EVENT: _insertion("call_state_events", CallStateEvent._fields),
    _OBSERVER: (
        "INSERT INTO observer_state_events (observer, event_seq, event_time, status, msg)"
        " SELECT e->>0, (e->>1)::int8, timestamp 'epoch' + (e->>2)::int8 * interval '1 ms',"
        " (e->>3)::int2, e->>4 FROM jsonb_array_elements(%s::jsonb) AS batch (e)"
    ),
}

_SAVE_POSITION = """
INSERT INTO journal_position (journal, segment, "offset") VALUES (%s, %s, %s)
ON CONFLICT (journal) DO UPDATE SET segment = excluded.segment, "offset" = excluded."offset", changed = now()
"""

_LOAD_POSITION = 'SELECT segment, "offset" FROM journal_position WHERE journal = %s'

_OPEN_CALLS = f"""
SELECT {", ".join("extract(epoch FROM event_time)::float8" if name == "event_time" else name for name in CallStateEvent._fields)}
  FROM call_state_events
 WHERE call_id IN (
        SELECT call_id FROM call_state_events
         WHERE event_time > to_timestamp(%s) AT TIME ZONE 'UTC'
         GROUP BY call_id HAVING bool_or(event_type = 'S') AND NOT bool_or(event_type = 'E')
         ORDER BY min(event_time) DESC LIMIT %s)
"""  # noqa: S608 (names from this module)

_ABOUT_THE_DATA = ("22", "23", "54")
"""The SQLSTATE classes that say that a row, and not the database, is to blame:
data exception, integrity violation, program limit exceeded."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def encode_event(event: CallStateEvent) -> bytes:
    """
    Make the record of an event; any text survives it exactly.
    """
    values = [*event]
    values[2] = round(event.event_time * 1000)
    return _EVENT + _encode(values).encode("ascii")


def encode_reset(observer: str, now: float, msg: str) -> bytes:
    """
    Make the record of an observer's start, which is its event 0.
    """
    return _OBSERVER + _encode([observer, 0, round(now * 1000), OBSERVER_RESET, msg]).encode("ascii")


def storable(text: str) -> str:
    r"""
    Show what PostgreSQL cannot store: NUL becomes C{\x00}, and a byte that
    is not UTF-8, which is a lone surrogate in our text, C{\x80} to C{\xff}.
    """
    return _UNSTORABLE.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    # surrogateescape puts byte NN at U+DCNN.
    return f"\\x{code & 0xFF:02x}" if code == 0 or 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _row(record: bytes) -> str:
    text = record[1:].decode("ascii")
    # Either escape is rare, and anything else passes as it is.
    if "\\u0000" not in text and "\\ud" not in text:
        return text
    return _encode([storable(value) if isinstance(value, str) else value for value in json.loads(text)])


class CseLog:
    """
    The tables of call state events, as a writer sees them.

    @ivar refused: How many records the database would not take.
    """

    _log = Logger()

    def __init__(self, pool: Pool, journal: str) -> None:
        """
        @param journal: The identity of the journal that is copied.
        """
        self._pool = pool
        self._journal = journal
        self.refused = 0

    def position(self) -> Deferred[Position]:
        """
        Ask how far the journal has been copied.
        """
        return Deferred.fromCoroutine(self._position())

    def write(self, records: Sequence[bytes], position: Position) -> Deferred[None]:
        """
        Copy records, and remember that the journal has been copied so far.

        A record that the database refuses for what it holds is logged with
        its cause, counted and left out; it holds up no other.

        @param position: The place in the journal after the last of them.
        @raise StatementRefused: The database is not fit to take any record.
        """

        async def work(transaction: Transaction) -> list[tuple[bytes, StatementRefused]]:
            refused = []
            for kind in _INSERTIONS:
                refused += await _insert(transaction, kind, [r for r in records if r[:1] == kind])
            await transaction.run(_SAVE_POSITION, (self._journal, *position))
            return refused

        return self._pool.transaction(work).addCallback(self._report)

    def open_calls(self, since: float) -> Deferred[list[CallStateEvent]]:
        """
        Give the events of calls that were set up and have not ended, of those that were seen after a moment.
        """
        return self._pool.run(_OPEN_CALLS, (since, MOST)).addCallback(
            lambda rows: [CallStateEvent(*row) for row in rows]
        )

    async def _position(self) -> Position:
        rows = await self._pool.run(_LOAD_POSITION, (self._journal,))
        return Position(*rows[0]) if rows else START

    def _report(self, refused: list[tuple[bytes, StatementRefused]]) -> None:
        self.refused += len(refused)
        for record, reason in refused:
            self._log.error(
                "an event was refused by the database: {reason}: {record}",
                reason=reason,
                record=record[:2000].decode("ascii"),
            )


async def _insert(
    transaction: Transaction, kind: bytes, records: list[bytes]
) -> list[tuple[bytes, StatementRefused]]:
    if not records:
        return []
    await transaction.run("SAVEPOINT batch")
    try:
        await transaction.run(_INSERTIONS[kind], (f"[{','.join(map(_row, records))}]",))
    except StatementRefused as refused:
        if refused.sqlstate[:2] not in _ABOUT_THE_DATA:
            raise
        await transaction.run("ROLLBACK TO SAVEPOINT batch")
        if len(records) == 1:
            return [(records[0], refused)]
        # The guilty one is found in as many steps as the batch has halves.
        half = len(records) // 2
        found = await _insert(transaction, kind, records[:half])
        return found + await _insert(transaction, kind, records[half:])
    await transaction.run("RELEASE SAVEPOINT batch")
    return []
