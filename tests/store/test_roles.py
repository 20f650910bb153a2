"""
Tests for L{sipxha.store.roles}, with real databases: each role does its work, and nothing more.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from sipxha.config.model import CallResolver, CseHost, Retain
from sipxha.services.call_resolver import run_pass
from sipxha.services.cse_hosts import Places
from sipxha.store.cdr_export import Selection, read_calls
from sipxha.store.cse_log import CseLog, encode_event, encode_reset
from sipxha.store.journal import Position
from sipxha.store.pool import Pool, StatementRefused
from sipxha.store.roles import (
    GRANTS,
    REPORTS,
    RESOLVER,
    WRITER,
    missing_roles,
    provide_roles,
    roles_of,
)
from sipxha.store.schema import CDR, CSE, prepare, steps, upgrade
from tests.cdr import calls
from tests.support.cse_host import Pair, execute, log_events, open_door
from tests.support.postgres import PostgresForTests

BOTH = (CSE, CDR)
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

# All that may be had of a schema, and who has it.
HELD = f"""
SELECT role, relname, array_agg(kind ORDER BY place)
  FROM pg_class, unnest(%s) AS role, unnest(ARRAY{list(RIGHTS)}) WITH ORDINALITY AS r (kind, place)
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
   AND has_table_privilege(role, pg_class.oid, kind)
 GROUP BY role, relname
"""


def as_role(dsn: str, role: str) -> str:
    """
    The same database, for somebody else.
    """
    return dsn.replace("user=postgres", f"user={role}")


class RoleTests(TestCase):
    """
    Tests against real servers.
    """

    def setUp(self) -> Deferred[Any]:  # type: ignore[override]
        """
        Two hosts with all roles, the first with the records.
        """
        self.pair = Pair()
        return Deferred.fromCoroutine(self.prepare())

    async def prepare(self) -> None:
        """
        As the owner does by C{sipxha db init}.
        """
        for dsn, parts in ((self.pair.own, BOTH), (self.pair.other, (CSE,))):
            pool = self.pool(dsn)
            await prepare(reactor, dsn, pool, parts)
            self.assertEqual(await provide_roles(pool, parts), [])

    def pool(self, dsn: str) -> Pool:
        """
        Connect until the test ends.
        """
        pool = Pool(reactor, dsn)
        self.addCleanup(pool.close)
        return pool

    async def test_each_has_what_it_needs_and_nothing_else(self) -> None:
        """
        Of every table and view there is.
        """
        held = {(role, table): rights for role, table, rights in execute(self.pair.own, HELD, roles_of(BOTH))}
        wanted = {
            (role, table): rights.split(", ")
            for part in GRANTS.values()
            for role, tables in part.items()
            for table, rights in tables.items()
        }
        self.assertEqual(held, wanted)
        flags = execute(
            self.pair.own,
            "SELECT DISTINCT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolcanlogin,"
            " rolpassword IS NULL FROM pg_authid WHERE rolname = ANY(%s)",
            roles_of(BOTH),
        )
        self.assertEqual(flags, [(False,) * 5 + (True, True)])

    async def test_the_writer_writes_events(self) -> None:
        """
        And cannot read who called whom.
        """
        dsn = as_role(self.pair.own, WRITER)
        pool = self.pool(dsn)
        self.assertEqual(await prepare(reactor, dsn, pool, (CSE,)), [])
        log = CseLog(pool, "journal-1")
        records = [encode_reset("10.1.1.50:5060", 1.0, "ForkProxy"), encode_event(calls.requested())]
        await log.write(records, Position(1, 2))
        await log.write([encode_event(calls.set_up())], Position(1, 3))
        self.assertEqual(await log.position(), Position(1, 3))
        self.assertEqual(execute(self.pair.own, "SELECT count(*) FROM call_state_events"), [(2,)])
        for sql in (
            "SELECT * FROM call_state_events",
            "DELETE FROM call_state_events",
            "SELECT * FROM cdrs",
            "CREATE TABLE mine (a int)",
        ):
            await self.assertFailure(pool.run(sql), StatementRefused)

    async def test_the_resolver_resolves_and_deletes_what_is_old(self) -> None:
        """
        On both hosts; it writes no events.
        """
        now = time.time()
        for name, began in (("old", now - 40 * 86400), ("new", now - 3600)):
            log_events(self.pair.own, calls.requested(began, call_id=name))
            log_events(
                self.pair.other, calls.set_up(began + 3, call_id=name), calls.ended(began + 60, call_id=name)
            )
        log_events(self.pair.own, calls.requested(now, call_id="open"))
        log_events(self.pair.other, calls.requested(now, call_id="also open"))
        dsn = as_role(self.pair.own, RESOLVER)
        hosts = CseHost("localhost", 5432), CseHost("sipx2.example.com", open_door(self, self.pair.other))
        config = CallResolver(dsn, hosts, None, retain=Retain(35, 7))
        places = Places(config, dsn, dsn, None, lambda name: succeed(["127.0.0.1"]))
        for _ in range(2):
            report = await run_pass(reactor, places)
            self.assertTrue(report.is_complete, report)
        self.assertEqual(
            execute(self.pair.own, "SELECT call_id, termination FROM cdrs ORDER BY call_id"),
            [("also open", "R"), ("new", "C"), ("open", "R")],
        )
        self.assertEqual(execute(self.pair.other, "SELECT count(*) FROM call_state_events"), [(3,)])
        pool = self.pool(dsn)
        for sql in (
            "INSERT INTO observer_state_events VALUES (DEFAULT, 'x', 0, now(), 101, '')",
            "UPDATE call_state_events SET call_id = 'x'",
            "SELECT * FROM journal_position",
            "TRUNCATE cdrs",
        ):
            await self.assertFailure(pool.run(sql), StatementRefused)

    async def test_a_role_that_finds_all_as_it_needs_it_may_say_init(self) -> None:
        """
        It may change nothing, and need not.
        """
        for role, part in ((WRITER, CSE), (RESOLVER, CDR)):
            self.assertEqual(await provide_roles(self.pool(as_role(self.pair.own, role)), (part,)), [])

    async def test_reports_are_made_of_records_alone(self) -> None:
        """
        Neither the events nor the resolver's memory are theirs.
        """
        dsn = as_role(self.pair.own, REPORTS)
        self.assertEqual(list(read_calls(dsn, Selection())), [])
        pool = self.pool(dsn)
        self.assertEqual(await pool.run("SELECT * FROM view_cdrs"), [])
        for sql in (
            "SELECT * FROM call_state_events",
            "SELECT * FROM resolver_events",
            "DELETE FROM cdrs",
            "UPDATE view_cdrs SET termination = 'F'",
        ):
            await self.assertFailure(pool.run(sql), StatementRefused)

    async def test_a_new_version_of_the_schema_is_granted_too(self) -> None:
        """
        By whoever upgrades it, a node that starts included.
        """
        dsn = PostgresForTests.shared().fresh()
        pool = self.pool(dsn)
        await upgrade(pool, (CDR,))
        self.assertEqual(list(read_calls(as_role(dsn, REPORTS), Selection())), [])

    async def test_what_was_granted_to_others_stays(self) -> None:
        """
        A role that somebody made for his reports, as sipX makes cdrremote.
        """
        server = PostgresForTests.shared()
        dsn = server.fresh()
        execute(dsn, steps()[CDR][0].partition("-- Of how many")[0])
        # A role belongs to the whole server, where other tests have one named cdrremote.
        execute(dsn, "CREATE ROLE monthly LOGIN")
        self.addCleanup(execute, dsn, "DROP OWNED BY monthly; DROP ROLE monthly")
        execute(dsn, "GRANT SELECT ON cdrs TO monthly")
        pool = self.pool(dsn)
        await prepare(reactor, dsn, pool, (CDR,))
        await provide_roles(pool, (CDR,))
        self.assertEqual(execute(as_role(dsn, "monthly"), "SELECT count(*) FROM cdrs"), [(0,)])

    async def test_who_may_not_make_roles_is_told_which_are_missing(self) -> None:
        """
        The rest is done all the same, and the owner's later roles are granted theirs.
        """
        server = PostgresForTests.start_for(self)
        server.execute("CREATE ROLE owner LOGIN CREATEDB")
        dsn = as_role(server.dsn("made by owner"), "owner")
        pool = self.pool(dsn)
        await prepare(reactor, dsn, pool, (CSE,))
        self.assertEqual(await provide_roles(pool, (CSE,)), [RESOLVER, WRITER])
        server.execute(f"CREATE ROLE {WRITER} LOGIN")
        self.assertEqual(await provide_roles(pool, (CSE,)), [RESOLVER])
        self.assertEqual(await missing_roles(pool, (CSE,)), [RESOLVER])
        writer = self.pool(as_role(server.dsn("made by owner"), WRITER))
        await CseLog(writer, "j").write([encode_event(calls.requested())], Position(1, 1))
