"""
Call detail records on their way out: the calls that ended, chosen and in order.

They are read by a cursor on the server, some at a time, so that a million of
them need no more memory than a thousand.  It blocks, for commands; what a node
reads while it runs is in L{sipxha.store.cdr_store}.  How rows are written down
is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg2
import psycopg2.errors

from sipxha.cdr.window import Window
from sipxha.errors import LocalError
from sipxha.store.pool import DatabaseUnavailable, StatementRefused, shown

PAGE = 2000
"""Rows that are read at a time."""

CONNECT_LIMIT = 5
"""Seconds."""

_SECONDS = ("ring_time", "duration")

COLUMNS = (
    "id",
    "call_id",
    "caller_aor",
    "callee_aor",
    "start_time",
    "connect_time",
    "end_time",
    "ring_time",
    "duration",
    "termination",
    "failure_status",
    "failure_reason",
    "hung_up_by",
    "call_direction",
    "call_type",
    "caller_contact",
    "callee_contact",
    "caller_transport",
    "callee_transport",
    "caller_internal",
    "callee_route",
    "reference",
)
"""Those of C{view_calls}, in its order but for the names at its end; durations are seconds."""

_BEGAN = "coalesce(start_time, connect_time, end_time)"
_UTC = "to_timestamp(%s) AT TIME ZONE 'UTC'"


class Selection(NamedTuple):
    """
    Which calls are asked for; all of them unless something is said.
    """

    window: Window = Window()
    """When they began."""

    user: str | None = None
    """C{user@domain} of either side."""

    terminations: tuple[str, ...] = ()
    """Codes of C{termination}, of which one must be theirs."""

    failures: tuple[int, ...] = ()
    """Or a failure with one of these statuses."""

    shortest: float | None = None
    """Seconds for which they lasted at least; a call that nobody answered lasted for none."""

    longest: float | None = None
    latest: int | None = None
    """Only so many of them, those that began last."""


class NotUpToDate(LocalError):
    """
    The database has not the tables of this program, or those of an older one.
    """


Row = tuple[Any, ...]
"""The values of L{COLUMNS}; times are L{datetime}s in UTC."""


def read_calls(dsn: str, selection: Selection) -> Iterator[list[Row]]:
    """
    Read calls, the oldest first, some at a time.

    @raise DatabaseUnavailable: The database cannot be reached, or the connection was lost.
    @raise NotUpToDate: It has not the tables.
    @raise StatementRefused: It may not be read.
    """
    try:
        with closing(
            psycopg2.connect(dsn, connect_timeout=CONNECT_LIMIT, application_name="sipxha")
        ) as connection:
            cursor = connection.cursor()
            sql, values = query_of(selection)
            cursor.execute(f"DECLARE calls NO SCROLL CURSOR FOR {sql}", values)
            while True:
                cursor.execute("FETCH %s FROM calls", (PAGE,))
                rows = cursor.fetchall()
                if not rows:
                    return
                yield [_told(row) for row in rows]
    except psycopg2.OperationalError as error:
        raise DatabaseUnavailable(f"{shown(dsn)}: {_line(error)}") from error
    except psycopg2.errors.UndefinedTable as error:
        raise NotUpToDate(
            f"{shown(dsn)}: {_line(error)}: bring it up to date by sipxha db upgrade"
        ) from error
    except psycopg2.Error as error:
        raise StatementRefused(f"{shown(dsn)}: {_line(error)}", error.pgcode or "") from error


def query_of(selection: Selection) -> tuple[str, list[object]]:
    """
    Say a selection in SQL: made of constants, with the values apart.
    """
    conditions, values = [], list[object]()

    def demand(condition: str, *of: object) -> None:
        conditions.append(condition)
        values.extend(of)

    start, end = selection.window
    if start is not None:
        # The index knows those with a start; few are without.
        demand(f"(start_time >= {_UTC} OR start_time IS NULL AND {_BEGAN} >= {_UTC})", start, start)
    if end is not None:
        demand(f"(start_time < {_UTC} OR start_time IS NULL AND {_BEGAN} < {_UTC})", end, end)
    if selection.user is not None:
        pattern = address_pattern(selection.user)
        demand("(caller_aor ~* %s OR callee_aor ~* %s)", pattern, pattern)
    if selection.terminations or selection.failures:
        demand(
            "(termination = ANY(%s) OR failure_status = ANY(%s::int4[]))",
            list(selection.terminations),
            list(selection.failures),
        )
    lasted = "coalesce(extract(epoch FROM duration), 0)"
    if selection.shortest is not None:
        demand(f"{lasted} >= %s", selection.shortest)
    if selection.longest is not None:
        demand(f"{lasted} <= %s", selection.longest)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    columns = ", ".join(
        f"extract(epoch FROM {name})::float8 AS {name}" if name in _SECONDS else name for name in COLUMNS
    )
    chosen = f"SELECT * FROM view_calls{where}"  # noqa: S608 (made of constants)
    if selection.latest is not None:
        chosen += f" ORDER BY {_BEGAN} DESC, id DESC LIMIT %s"
        values.append(selection.latest)
    return f"SELECT {columns} FROM ({chosen}) AS chosen ORDER BY {_BEGAN}, id", values  # noqa: S608 (as above)


def address_pattern(identity: str) -> str:
    """
    Write the regular expression of PostgreSQL that finds C{user@host} in a From or To value, and no longer name.
    """
    escaped = re.sub(r"([^\w@])", r"\\\1", identity, flags=re.ASCII)
    return rf"(^|[<\s])sips?:{escaped}([:;>?\s]|$)"


def _told(row: Row) -> Row:
    return tuple(value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for value in row)


def _line(error: psycopg2.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
