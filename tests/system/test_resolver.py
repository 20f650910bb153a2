"""
Made-up calls, whose truth is known, through everything that befalls databases:
two real servers, one of them behind the gate that other nodes have.

Every call is billed once, with every field right, whichever server stops,
lags, commits late, is restored from a backup or made anew.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import psycopg2
from psycopg2 import extensions
from psycopg2.extensions import parse_dsn
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.python.filepath import FilePath
from twisted.trial.unittest import TestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.record import Cdr
from sipxha.config.model import CallResolver, CseHost
from sipxha.net.postgres_gate import PostgresGate
from sipxha.net.tls import MutualTls
from sipxha.services import call_resolver
from sipxha.services.call_resolver import PassReport, run_pass
from sipxha.services.cse_hosts import HostReport, Places
from sipxha.store import cdr_store
from tests.support.certs import Authority
from tests.support.cse_host import Pair, execute, insert_events, log_events
from tests.support.made_calls import BEGIN, TOLD, MadeCall, MadeHost, Seen, in_order, made_calls

NODES = ("sipx1.example.com", "sipx2.example.com")
ALSO = "also.example.com"
"""Another name of the second one."""

AHEAD = 40.0
"""Seconds by which the second host's clock is."""

HOSTS = (MadeHost("10.1.1.50"), MadeHost("10.1.2.50", AHEAD))
CALLS = 500
LATE = 17
"""Of so many rows one is committed late."""

_COLUMNS = ", ".join(
    f"extract(epoch FROM {name})::float8" if name.endswith("_time") else name for name in TOLD
)


class ResolverTestCase(TestCase):
    """
    Calls of two nodes, and the resolver on the first.
    """

    timeout = 300

    async def setUp(self) -> None:  # type: ignore[override]
        """
        Make up the calls, and let the first node through the second one's gate.
        """
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        self.authority = Authority(folder)
        self.tls = self.authority.issue(NODES[0])
        # libpq refuses a key that others may read.
        self.tls.key.chmod(0o600)
        self.pair = Pair()
        self.addCleanup(self.pair.bring_back)
        await self.pair.prepare()
        self.dsns = (self.pair.own, self.pair.other)
        gate = PostgresGate(
            reactor,
            MutualTls(self.authority.issue(NODES[1], ALSO)),
            {NODES[0]},
            "127.0.0.1",
            0,
            self.pair.other,
        )
        gate.startService()
        self.addCleanup(gate.stopService)
        self.hosts: list[CseHost] = [CseHost("localhost", 5432), CseHost(NODES[1], gate.port)]
        # Small enough that a pass has many pages, rounds and saves.
        for name, size in (("PAGE", 50), ("ROUND", 200), ("SAVE", 500), ("CALLS", 20), ("SLICE", 7)):
            self.patch(call_resolver, name, size)
        self.patch(cdr_store, "TOLD", 9)
        made = made_calls(Random(5), CALLS, HOSTS, self.begin())
        calls = list(made)
        self.rows = list(in_order(iter(calls)))
        self.truth = {call.truth.call_id: self.told(self.wanted(call)) for call in calls}

    def begin(self) -> float:
        """
        When the calls were made: years ago.
        """
        return BEGIN

    def wanted(self, call: MadeCall) -> Cdr:
        """
        The record of a call in the end.
        """
        return call.judged

    def told(self, record: Cdr) -> tuple[Any, ...]:
        """
        What has to be in the table.
        """
        return tuple(getattr(record, name) for name in TOLD)

    def run_pass(self, **kwargs: Any) -> Deferred[PassReport]:
        """
        Run one over TLS.
        """

        def addresses(name: str) -> Deferred[list[str]]:
            return succeed(["127.0.0.1"])

        config = CallResolver(self.pair.own, tuple(self.hosts), self.authority.path)
        places = Places(config, self.pair.own, self.pair.own, self.tls, addresses)
        return run_pass(reactor, places, **kwargs)

    def log(self, rows: Sequence[Seen]) -> None:
        """
        Write rows to their hosts.
        """
        for host, dsn in enumerate(self.dsns):
            log_events(dsn, *self.of_host(rows, host))

    def of_host(self, rows: Sequence[Seen], host: int) -> list[CallStateEvent]:
        """
        The events of one host.
        """
        return [seen.event for seen in rows if seen.host == host]

    def assert_truth(self) -> None:
        """
        Every call has one record, which is right in every column.
        """
        records = execute(self.pair.own, f"SELECT {_COLUMNS} FROM cdrs ORDER BY id")
        self.assertEqual(len(records), len(self.truth))
        wrong = [row for row in records if row != self.truth[row[0]]]
        self.assertEqual(wrong, [])


class LossTests(ResolverTestCase):
    """
    Tests for a server that stops.
    """

    def begin_late(self, host: int, rows: Sequence[Seen]) -> extensions.connection:
        """
        Write one host's late ones, and do not commit them yet.
        """
        connection = psycopg2.connect(self.dsns[host])
        self.addCleanup(connection.close)
        insert_events(connection, *self.of_host(rows[::LATE], host))
        return connection

    async def test_a_server_stops_in_mid_pass_and_comes_back(self) -> None:
        """
        While rows are committed late on both, and its clock is 40 s ahead.
        """
        third = len(self.rows) // 3
        parts = [self.rows[:third], self.rows[third : 2 * third], self.rows[2 * third :]]
        prompt = [[row for index, row in enumerate(part) if index % LATE] for part in parts]
        await self.run_pass()

        # Part of the first is committed late.
        late = [self.begin_late(host, parts[0]) for host in range(2)]
        self.log(prompt[0])
        await self.run_pass()
        for connection in late:
            connection.commit()

        # The second host stops while it is read, and the first goes on.
        own_late = self.begin_late(0, parts[1])
        self.log(prompt[1])

        def stop(host: HostReport) -> None:
            if host.name != "localhost" and host.events >= 100:
                self.pair.lose(signal.SIGQUIT)

        report = await self.run_pass(progress=stop)
        self.assertFalse(report.is_complete)
        own, other = report.hosts
        self.assertIsNone(own.fault)
        self.assertTrue(100 <= other.events < other.expected, other)
        own_late.commit()
        log_events(self.dsns[0], *self.of_host(parts[2], 0))
        for _ in range(2):
            report = await self.run_pass()
            self.assertEqual([host.fault is None for host in report.hosts], [True, False])

        # It is back with what had been written, and some of it late.
        self.pair.bring_back()
        other_late = self.begin_late(1, parts[1])
        log_events(self.dsns[1], *self.of_host(prompt[2], 1))
        self.assertTrue((await self.run_pass()).is_complete)
        other_late.commit()
        log_events(self.dsns[1], *self.of_host(parts[2][::LATE], 1))
        report = await self.run_pass()
        self.assertTrue(report.is_complete)
        self.assert_truth()
        self.assertEqual(report.open_calls, 0)
        self.assertEqual(execute(self.pair.own, "SELECT * FROM resolver_events"), [])

        # All over again: nothing changes.
        before = execute(self.pair.own, "SELECT id, ctid::text FROM cdrs ORDER BY id")
        report = await self.run_pass(redo=True)
        self.assertEqual(execute(self.pair.own, "SELECT id, ctid::text FROM cdrs ORDER BY id"), before)
        ((pair, seconds),) = report.skews.items()
        self.assertEqual(pair, ("10.1.2.50", "10.1.1.50"))
        self.assertTrue(AHEAD - 5 < seconds <= AHEAD, seconds)


class OtherLifeTests(ResolverTestCase):
    """
    Tests for a database that is not the one that was read before, while calls are open.
    """

    def begin(self) -> float:
        """
        Now.
        """
        return time.time()

    def wanted(self, call: MadeCall) -> Cdr:
        """
        Time decides nothing yet.
        """
        return call.truth

    def other(self, sql: str) -> None:
        """
        Tell the second host's server something, with the name of the database.
        """
        name = parse_dsn(self.pair.other)["dbname"]
        connection = psycopg2.connect(self.pair.other, dbname="postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.format(name=f'"{name}"', backup=f'"{name} backup"'))
        finally:
            connection.close()

    async def test_a_backup_is_restored(self) -> None:
        """
        What was logged since the backup is lost there, and its ids are given again.  It had been read.
        """
        half = len(self.rows) // 2
        self.log(self.rows[: half // 2])
        self.other("CREATE DATABASE {backup} TEMPLATE {name}")
        self.addCleanup(self.other, "DROP DATABASE IF EXISTS {backup}")
        self.log(self.rows[half // 2 : half])
        await self.run_pass()
        self.other("DROP DATABASE {name} WITH (FORCE)")
        self.other("ALTER DATABASE {backup} RENAME TO {name}")
        self.log(self.rows[half:])
        report = await self.run_pass()
        self.assertTrue(report.is_complete)
        self.assert_truth()
        self.assertEqual((await self.run_pass()).written, 0)

    async def test_it_is_made_anew(self) -> None:
        """
        Its ids begin at 1, while calls are open whose first events were in the old one.
        """
        half = len(self.rows) // 2
        self.log(self.rows[:half])
        await self.run_pass()
        execute(self.pair.other, "TRUNCATE call_state_events RESTART IDENTITY")
        self.log(self.rows[half:])
        self.assertTrue((await self.run_pass()).is_complete)
        self.assert_truth()

    async def test_it_is_listed_twice(self) -> None:
        """
        And the resolver's own too, by another name.
        """
        self.hosts.append(CseHost(ALSO, self.hosts[1].port))
        gate = PostgresGate(
            reactor, MutualTls(self.authority.issue(NODES[0])), {NODES[0]}, "127.0.0.1", 0, self.pair.own
        )
        gate.startService()
        self.addCleanup(gate.stopService)
        self.hosts.append(CseHost(NODES[0], gate.port))
        half = len(self.rows) // 2
        for rows in (self.rows[:half], self.rows[half:]):
            self.log(rows)
            report = await self.run_pass()
        self.assertEqual([host.fault is None for host in report.hosts], [True] * 4)
        self.assert_truth()
