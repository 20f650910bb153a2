"""
One host's call state events, to be read.

Rows are read by id in pages, or by Call-ID, and become L{CallStateEvent}s on
the server: what old writers left empty is NULL, times are seconds.  Nothing is
written to a host; what is old is deleted, when others, who know what has been
read and what it means, say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from psycopg2.extensions import make_dsn
from twisted.internet.defer import Deferred

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.position import Position
from sipxha.cdr.window import Window
from sipxha.config.model import Tls
from sipxha.errors import LocalError
from sipxha.store.pool import Pool, Row

PIECE = 5000
"""Rows that are deleted at a time."""

PLANS = "-c enable_seqscan=off -c enable_sort=off"
"""Settings of a connection to a host: by index, also while the server has no statistics of a table that grows."""

# The columns in the order of CallStateEvent.
_COLUMNS = """
    id, observer, event_seq, extract(epoch FROM event_time)::float8, event_type, cseq, call_id,
    nullif(from_tag, ''), nullif(to_tag, ''), from_url, to_url,
    nullif(contact, ''), nullif(refer_to, ''), nullif(referred_by, ''),
    nullif(failure_status, 0), nullif(failure_reason, ''), nullif(request_uri, ''),
    nullif(reference, ''), caller_internal, nullif(callee_route, ''),
    nullif(branch_id, ''), nullif(via_count, 0)
"""

_SELECT = f"SELECT {_COLUMNS} FROM call_state_events"  # noqa: S608 (both are constants)
_PAGE = f"{_SELECT} WHERE id > %s ORDER BY id LIMIT %s"
_BY_ID = f"{_SELECT} WHERE id = ANY(%s) ORDER BY id"
_BY_CALL = f"{_SELECT} WHERE call_id = ANY(%s)"

_LOOK = """
SELECT extract(epoch FROM clock_timestamp())::float8,
       coalesce((SELECT max(id) FROM call_state_events), 0),
       current_setting('server_encoding')
"""

_CALLS_IN = """
SELECT DISTINCT call_id FROM call_state_events
 WHERE event_time >= coalesce(to_timestamp(%s) AT TIME ZONE 'UTC', '-infinity')
   AND event_time < coalesce(to_timestamp(%s) AT TIME ZONE 'UTC', 'infinity')
"""

# The row that was read last stays: by it a database is told from another one.
_PURGE = """
WITH gone AS (
    DELETE FROM call_state_events WHERE id = ANY(ARRAY(
        SELECT id FROM call_state_events
         WHERE event_time < to_timestamp(%s) AT TIME ZONE 'UTC' AND id < %s AND id <> ALL(%s::int8[])
         ORDER BY event_time LIMIT %s))
    RETURNING 1)
SELECT count(*) FROM gone
"""

_PURGE_OBSERVERS = "DELETE FROM observer_state_events WHERE event_time < to_timestamp(%s) AT TIME ZONE 'UTC'"

Logged = tuple[int, CallStateEvent]
"""An event and the id of its row."""


class CannotBeReached(LocalError):
    """
    A host of call state events cannot be reached safely as it is configured.
    """


class NotUnicode(LocalError):
    """
    A host's database holds text in no known encoding; it has to be UTF8.
    """


class Look(NamedTuple):
    """
    What a host says before it is read.
    """

    now: float
    """Its clock."""

    last_id: int
    """The greatest id."""


def remote_dsn(
    dsn: str, name: str, addresses: Sequence[str], port: int, tls: Tls | None, authority: Path | None
) -> str:
    """
    Say how a remote host is reached: as our own database, but there.

    @param dsn: libpq parameters of our own database.
    @param addresses: What the host's name resolves to.
    @param authority: Who signs the hosts' certificates.  Without one only this
        machine is spoken to, since nothing would be encrypted.

    @raise CannotBeReached: There is nobody to verify another machine.
    """
    if not addresses:
        raise CannotBeReached(f"{name} has no address")
    many = len(addresses)
    places = {
        "host": ",".join([name] * many),
        "hostaddr": ",".join(addresses),
        "port": ",".join([str(port)] * many),
        "gssencmode": "disable",
    }
    if authority is None or tls is None:
        if not all(ip_address(address).is_loopback for address in addresses):
            raise CannotBeReached(f"{name} is another machine: cse-hosts needs ca, and the node <tls>")
        return make_dsn(dsn, **places)
    return make_dsn(
        dsn,
        **places,
        sslmode="verify-full",
        sslrootcert=str(authority),
        sslcert=str(tls.certificate),
        sslkey=str(tls.key),
    )


class Source:
    """
    The events of one host.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def look(self) -> Deferred[Look]:
        """
        See how much there is.
        """
        return Deferred.fromCoroutine(self._look())

    async def _look(self) -> Look:
        now, last_id, encoding = (await self._pool.run(_LOOK))[0]
        if encoding != "UTF8":
            raise NotUnicode(f"the database's encoding is {encoding}, not UTF8")
        return Look(now, last_id)

    def page(self, after: int, limit: int) -> Deferred[list[Logged]]:
        """
        Read up to C{limit} rows with greater ids, ascending.
        """
        return self._read(_PAGE, (after, limit))

    def by_id(self, ids: Sequence[int]) -> Deferred[list[Logged]]:
        """
        Read those of some rows that exist, ascending.
        """
        return self._read(_BY_ID, (list(ids),))

    def of_calls(self, call_ids: Sequence[str]) -> Deferred[list[Logged]]:
        """
        Read all rows of some calls.
        """
        return self._read(_BY_CALL, (list(call_ids),))

    def calls_in(self, window: Window) -> Deferred[list[str]]:
        """
        Name the calls that have an event in a window.
        """
        return self._pool.run(_CALLS_IN, window).addCallback(lambda rows: [row[0] for row in rows])

    def purge(self, before: float, position: Position) -> Deferred[int]:
        """
        Delete the events that are older than a moment and have been read.

        @return: How many.
        """
        return Deferred.fromCoroutine(self._purge(before, position))

    async def _purge(self, before: float, position: Position) -> int:
        purged: int = 0
        while True:
            # In pieces, each a short transaction, so that proxies need not wait.
            row = (before, position.last_id, list(position.gaps), PIECE)
            ((count,),) = await self._pool.run(_PURGE, row)
            purged += count
            if count < PIECE:
                break
        await self._pool.run(_PURGE_OBSERVERS, (before,))
        return purged

    def _read(self, sql: str, params: Sequence[object]) -> Deferred[list[Logged]]:
        return self._pool.run(sql, params).addCallback(_logged)


_without_id = itemgetter(slice(1, None))


def _logged(rows: list[Row]) -> list[Logged]:
    # Without a call of Python for each row.
    events = map(tuple.__new__, repeat(CallStateEvent), map(_without_id, rows))
    return list(zip(map(itemgetter(0), rows), events, strict=True))
