"""
Tests for L{sipxha.store.cse_source}.
"""

from __future__ import annotations

from pathlib import Path

from psycopg2.extensions import parse_dsn
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.cdr.window import Window
from sipxha.config.model import Tls
from sipxha.store import cse_source
from sipxha.store.cse_source import CannotBeReached, NotUnicode, Source, remote_dsn
from sipxha.store.pool import Pool, StatementRefused
from tests.cdr import calls
from tests.support.cse_host import Pair, execute, log_events
from tests.support.postgres import PostgresForTests

TLS = Tls(Path("/n/node.crt"), Path("/n/node.key"), Path("/n/ca.crt"))
OWN = "host=/run/postgresql dbname=SIPXCDR user=cdr password=secret"


class RemoteDsnTests(SynchronousTestCase):
    """
    Tests for how a remote host is reached.
    """

    def test_host_and_port_are_replaced_and_the_rest_kept(self) -> None:
        """
        The name is what the certificate has to show, the address was asked of our own DNS.
        """
        dsn = remote_dsn(OWN, "sipx2.example.com", ["10.1.2.50"], 5433, TLS, Path("/etc/ca.crt"))
        self.assertEqual(
            parse_dsn(dsn),
            {
                "host": "sipx2.example.com",
                "hostaddr": "10.1.2.50",
                "port": "5433",
                "dbname": "SIPXCDR",
                "user": "cdr",
                "password": "secret",
                "gssencmode": "disable",
                "sslmode": "verify-full",
                "sslrootcert": "/etc/ca.crt",
                "sslcert": "/n/node.crt",
                "sslkey": "/n/node.key",
            },
        )

    def test_all_addresses_of_a_name_are_tried(self) -> None:
        """
        Each under the same name.
        """
        parts = parse_dsn(remote_dsn(OWN, "h", ["::1", "127.0.0.1"], 5433, None, None))
        self.assertEqual((parts["host"], parts["hostaddr"]), ("h,h", "::1,127.0.0.1"))
        self.assertEqual(parts["port"], "5433,5433")

    def test_nothing_leaves_the_machine_unencrypted(self) -> None:
        """
        Nor is a name without addresses left to the system's resolver.
        """
        for addresses, tls, authority in (
            (["10.1.2.50"], TLS, None),
            (["127.0.0.1", "10.1.2.50"], TLS, None),
            (["10.1.2.50"], None, Path("/etc/ca.crt")),
            ([], TLS, Path("/etc/ca.crt")),
        ):
            with self.assertRaises(CannotBeReached):
                remote_dsn(OWN, "h", addresses, 5433, tls, authority)


class SourceTests(TestCase):
    """
    Tests against a real database.
    """

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        """
        An empty host.
        """
        self.pair = Pair()
        self.source = self.make_source(self.pair.other)
        return Deferred.fromCoroutine(self.pair.prepare())

    def make_source(self, dsn: str) -> Source:
        """
        A source on a database.
        """
        pool = Pool(reactor, dsn)
        self.addCleanup(pool.close)
        return Source(pool)

    async def test_an_event_comes_back_as_it_was_written(self) -> None:
        """
        Times are those of UTC, to the millisecond.
        """
        events = [
            calls.requested(1_700_000_000.123, reference="x;rel=y", caller_internal=True),
            calls.set_up(1_700_000_003.0),
            calls.failed(486, 1_700_000_004.0),
            calls.transferred(1_700_000_005.999),
            calls.ended(1_700_000_006.0),
        ]
        log_events(self.pair.other, *events)
        self.assertEqual(await self.source.page(0, 100), list(enumerate(events, start=1)))

    async def test_pages_go_by_id(self) -> None:
        """
        Not by time.
        """
        log_events(self.pair.other, *(calls.ended(float(1000 - n)) for n in range(5)))
        self.assertEqual([row_id for row_id, _ in await self.source.page(1, 3)], [2, 3, 4])
        self.assertEqual([row_id for row_id, _ in await self.source.page(4, 3)], [5])
        self.assertEqual([row_id for row_id, _ in await self.source.by_id([9, 5, 1])], [1, 5])
        self.assertEqual((await self.source.look()).last_id, 5)

    async def test_calls_are_found_by_name_and_by_time(self) -> None:
        """
        A window holds its start and not its end.
        """
        log_events(
            self.pair.other,
            *(calls.ended(float(at), call_id=call_id) for call_id, at in (("a", 10), ("b", 20), ("a", 30))),
        )
        self.assertEqual([row_id for row_id, _ in await self.source.of_calls(["a", "z"])], [1, 3])
        for window, found in (
            (Window(), ["a", "b"]),
            (Window(20.0, 30.0), ["b"]),
            (Window(None, 20.0), ["a"]),
            (Window(30.5, None), []),
        ):
            self.assertEqual(sorted(await self.source.calls_in(window)), found)

    async def test_absent_values_of_old_writers_are_absent(self) -> None:
        """
        They left empty text, and zeros for numbers.
        """
        log_events(
            self.pair.other,
            calls.ended(to_tag="", contact="", refer_to="", failure_status=0, failure_reason="", via_count=0),
        )
        ((_, event),) = await self.source.page(0, 1)
        self.assertEqual(
            (event.to_tag, event.contact, event.refer_to, event.failure_status, event.via_count), (None,) * 5
        )

    async def test_a_database_of_another_encoding_is_refused(self) -> None:
        """
        Its bytes could be any text.
        """
        server = PostgresForTests.shared()
        name = parse_dsn(self.pair.own)["dbname"] + "_ascii"
        server.execute(
            f"CREATE DATABASE \"{name}\" ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        dsn = server.dsn(name)
        execute(dsn, "CREATE TABLE call_state_events (id int8)")
        with self.assertRaises(NotUnicode):
            await self.make_source(dsn).look()

    async def test_a_database_without_the_table_is_a_finding(self) -> None:
        """
        Not an empty host.
        """
        with self.assertRaises(StatementRefused):
            await self.make_source(PostgresForTests.shared().fresh()).look()


class PlanTests(TestCase):
    """
    Tests for how the server goes about it, with a table that it has no statistics of.
    """

    async def test_every_statement_goes_by_an_index(self) -> None:
        """
        A page costs the same wherever it is, and nothing is sorted for it.
        """
        pair = Pair()
        await pair.prepare()
        execute(pair.other, "ALTER TABLE call_state_events SET (autovacuum_enabled = off)")
        events = [calls.requested(1_700_000_000.0 + n, call_id=f"c{n}") for n in range(3000)]
        log_events(pair.other, *events)
        pool = Pool(reactor, pair.other, settings=cse_source.PLANS)
        self.addCleanup(pool.close)
        for sql, params, index in (
            (cse_source._PAGE, (100, 500), "call_state_events_pkey"),
            (cse_source._BY_ID, ([5, 6],), "call_state_events_pkey"),
            (cse_source._BY_CALL, (["c1", "c2"],), "call_state_events_call_id"),
            (cse_source._CALLS_IN, (1_700_000_000.0, 1_700_000_010.0), "call_state_events_event_time"),
            (cse_source._PURGE, (1_700_000_010.0, 100, [3], 50), "call_state_events_event_time"),
        ):
            plan = "\n".join(row[0] for row in await pool.run("EXPLAIN " + sql, params))
            self.assertIn(index, plan)
            self.assertNotIn("Seq Scan", plan)
            if sql is cse_source._PAGE:
                self.assertNotIn("Sort", plan)
