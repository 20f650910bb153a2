"""
The tables of the databases, by version.

The SQL lies in the folder of this name: C{PART-N.sql} brings a part of the
schema from version N-1 to N.  C{cse} is what a node's proxies write, C{cdr}
what the call resolver writes; one database may hold both.  The table
C{sipxha_schema} tells what has been applied; to apply a file twice changes
nothing, so that table may get lost.  This module makes the database and applies
such files; it takes nothing away, and it knows no column.

A database that is ahead of this program is used as it is, since versions only
add: in a cluster one node is upgraded after the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

from psycopg2.extensions import parse_dsn
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sipxha.store.pool import DatabaseUnavailable, Pool, StatementRefused, Transaction, with_database
from sipxha.store.roles import grant

CSE = "cse"
CDR = "cdr"

MAINTENANCE = "postgres"
"""The database that every server has."""

_log = Logger()

_FILE = re.compile(r"([a-z]+)-([0-9]+)\.sql")

# Any number will do that all nodes and commands have in common.
_LOCK = "SELECT pg_advisory_xact_lock(5060507750705080)"

_CREATE_VERSIONS = """
CREATE TABLE IF NOT EXISTS sipxha_schema (
    part    text NOT NULL,
    version int4 NOT NULL,
    applied timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (part, version)
)
"""

_HAS_VERSIONS = "SELECT to_regclass('sipxha_schema') IS NOT NULL"

_VERSIONS = "SELECT part, max(version) FROM sipxha_schema GROUP BY part"

_DUPLICATE_DATABASE = frozenset({"42P04", "23505"})
"""What the slower of two gets who create the same database at once."""


@lru_cache(maxsize=1)
def steps() -> dict[str, tuple[str, ...]]:
    """
    Read the SQL of all parts: at index N-1 what leads to version N.
    """
    found: dict[str, dict[int, str]] = {}
    for file in files("sipxha.store").joinpath("schema").iterdir():
        match = _FILE.fullmatch(file.name)
        if match is not None:
            found.setdefault(match[1], {})[int(match[2])] = file.read_text()
    return {
        part: tuple(by_version[number] for number in sorted(by_version)) for part, by_version in found.items()
    }


def versions(pool: Pool) -> Deferred[dict[str, int]]:
    """
    Ask a database which version of each part it has; parts without are absent.
    """
    return pool.transaction(_versions)


def upgrade(pool: Pool, parts: Sequence[str]) -> Deferred[list[str]]:
    """
    Bring parts of the schema up to date, all or nothing.

    @return: What was applied, as C{"cse 1"}; empty when nothing was missing.
    """

    async def work(transaction: Transaction) -> list[str]:
        # A user who may only read and write tables needs no right to make
        # them as long as nothing is missing.
        if not _missing(parts, await _versions(transaction)):
            return []
        # Two of us may have been started together.
        await transaction.run(_LOCK)
        await transaction.run(_CREATE_VERSIONS)
        missing = _missing(parts, await _versions(transaction))
        for part, number, sql in missing:
            await transaction.run(sql)
            await transaction.run("INSERT INTO sipxha_schema (part, version) VALUES (%s, %s)", (part, number))
        await grant(transaction, {part: None for part, _, _ in missing})
        return [f"{part} {number}" for part, number, _ in missing]

    return pool.transaction(work)


def create_database(reactor: IReactorTime, dsn: str) -> Deferred[bool]:
    """
    Make the database that a DSN names, unless it is there.

    @return: Whether it was made.
    @raise DatabaseUnavailable: The server cannot be reached.
    @raise StatementRefused: This user may not create databases.
    """
    return Deferred.fromCoroutine(_create_database(reactor, dsn))


def prepare(reactor: IReactorTime, dsn: str, pool: Pool, parts: Sequence[str]) -> Deferred[list[str]]:
    """
    Do all that a writer needs before its first row: the database, where it
    is missing and may be made, and the parts of its schema.

    @param pool: A pool on the same DSN.
    @return: As L{upgrade}.
    """
    return Deferred.fromCoroutine(_prepare(reactor, dsn, pool, parts))


def _missing(parts: Sequence[str], present: Mapping[str, int]) -> list[tuple[str, int, str]]:
    return [
        (part, number, sql)
        for part in parts
        for number, sql in enumerate(steps()[part], start=1)
        if number > present.get(part, 0)
    ]


async def _versions(transaction: Transaction) -> dict[str, int]:
    if not (await transaction.run(_HAS_VERSIONS))[0][0]:
        return {}
    return dict(await transaction.run(_VERSIONS))


async def _create_database(reactor: IReactorTime, dsn: str) -> bool:
    parts = parse_dsn(dsn)
    name = parts.get("dbname") or parts.get("user")
    if not name:
        return False
    pool = Pool(reactor, with_database(dsn, MAINTENANCE))
    try:
        if await pool.run("SELECT 1 FROM pg_database WHERE datname = %s", (name,)):
            return False
        quoted = name.replace('"', '""')
        # From template0, the only one that accepts any encoding.
        await pool.run(f"CREATE DATABASE \"{quoted}\" ENCODING 'UTF8' TEMPLATE template0")
    except StatementRefused as refused:
        if refused.sqlstate in _DUPLICATE_DATABASE:
            return False
        raise
    finally:
        pool.close()
    _log.info("database {name} created", name=name)
    return True


async def _prepare(reactor: IReactorTime, dsn: str, pool: Pool, parts: Sequence[str]) -> list[str]:
    try:
        applied = await upgrade(pool, parts)
    except DatabaseUnavailable as unavailable:
        # libpq gives no code for a missing database; only the server's other
        # database can tell that from a server that is down.
        try:
            await _create_database(reactor, dsn)
        except (DatabaseUnavailable, StatementRefused):
            raise unavailable from None
        # Where it was there already, somebody else has made it meanwhile.
        applied = await upgrade(pool, parts)
    for step in applied:
        _log.info("database {dsn}: schema {step} applied", dsn=str(pool), step=step)
    return applied
