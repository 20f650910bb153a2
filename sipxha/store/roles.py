"""
Users of the databases who may do their work and nothing more.

Three roles, the same on every server: one writes call state events, one makes
call detail records of them, one reads these.  They can log in and have no
password, so that only the server's own rules (pg_hba.conf) let them in.  What
was granted to others stays.  This module makes the roles and grants; tables
are L{sipxha.store.schema}'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred

from sipxha.store.pool import Pool, StatementRefused, Transaction

WRITER = "sipxha_writer"
"""A node, for its call log."""

RESOLVER = "sipxha_resolver"
"""The call resolver: reads events, deletes old ones, and writes records."""

REPORTS = "sipxha_reports"
"""Whoever makes reports of the records."""

_ALL = "SELECT, INSERT, UPDATE, DELETE"

GRANTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "cse": {
        WRITER: {
            "sipxha_schema": "SELECT",
            "call_state_events": "INSERT",
            "observer_state_events": "INSERT",
            "journal_position": "SELECT, INSERT, UPDATE",
        },
        RESOLVER: {
            "sipxha_schema": "SELECT",
            "call_state_events": "SELECT, DELETE",
            "observer_state_events": "SELECT, DELETE",
        },
    },
    "cdr": {
        RESOLVER: {
            "sipxha_schema": "SELECT",
            "cdrs": _ALL,
            "resolver_positions": _ALL,
            "resolver_events": _ALL,
            "resolver_dead_letters": _ALL,
        },
        REPORTS: {"cdrs": "SELECT", "view_cdrs": "SELECT", "view_calls": "SELECT"},
    },
}
"""By part of the schema, role and table."""

_NUMBERED = frozenset({"call_state_events", "observer_state_events", "cdrs"})
"""Tables whose rows get their id from a sequence."""

_THERE = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY(%s)"

_REFUSED = "42501"
_MADE_MEANWHILE = frozenset({"42710", "23505"})


def roles_of(parts: Iterable[str]) -> list[str]:
    """
    Name the roles that have something to do with parts of the schema.
    """
    return sorted({role for part in parts for role in GRANTS[part]})


def provide_roles(pool: Pool, parts: Sequence[str]) -> Deferred[list[str]]:
    """
    Make the roles of some parts where they are missing and this user may, and
    grant them what they need.  The tables must be there.

    @return: The roles that are still missing.
    """
    return Deferred.fromCoroutine(_provide(pool, parts))


def missing_roles(pool: Pool, parts: Sequence[str]) -> Deferred[list[str]]:
    """
    Look which roles of some parts there are not.
    """
    wanted = roles_of(parts)
    return pool.run(_THERE, (wanted,)).addCallback(
        lambda rows: [role for role in wanted if (role,) not in rows]
    )


async def grant(transaction: Transaction, parts: Iterable[str]) -> None:
    """
    Grant the roles that exist what they need of some parts, new tables included.
    """
    for part in parts:
        there = {row[0] for row in await transaction.run(_THERE, (roles_of([part]),))}
        for role, tables in GRANTS[part].items():
            if role not in there:
                continue
            # Names are constants of ours.
            for table, rights in tables.items():
                await transaction.run(f"GRANT {rights} ON {table} TO {role}")
                if table in _NUMBERED and "INSERT" in rights:
                    await transaction.run(
                        f"GRANT USAGE ON SEQUENCE {await _sequence(transaction, table)} TO {role}"
                    )


async def _sequence(transaction: Transaction, table: str) -> str:
    ((name,),) = await transaction.run("SELECT pg_get_serial_sequence(%s, 'id')", (table,))
    return str(name)


async def _provide(pool: Pool, parts: Sequence[str]) -> list[str]:
    missing = []
    for role in await missing_roles(pool, parts):
        try:
            await pool.run(f"CREATE ROLE {role} LOGIN")
        except StatementRefused as refused:
            if refused.sqlstate == _REFUSED:
                missing.append(role)
            elif refused.sqlstate not in _MADE_MEANWHILE:
                raise
    try:
        await pool.transaction(lambda transaction: grant(transaction, parts))
    except StatementRefused as refused:
        # Only the owner of the tables may, and has done so when it made them.
        if refused.sqlstate != _REFUSED:
            raise
    return missing
