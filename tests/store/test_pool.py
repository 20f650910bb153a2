"""
Tests for one connection to one real server that comes and goes.
"""

from __future__ import annotations

import socket
from typing import Any

from psycopg2.extensions import parse_dsn
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.store.pool import (
    DatabaseUnavailable,
    Pool,
    PoolClosed,
    StatementRefused,
    StatementTimedOut,
    Transaction,
    shown,
    with_database,
    with_user_of,
)
from tests.support.postgres import PostgresForTests


class DsnTests(SynchronousTestCase):
    """
    Tests for what is read from and shown of a DSN.
    """

    def test_a_password_is_not_shown(self) -> None:
        """
        Logs name the server and the database only.
        """
        self.assertEqual(
            shown("host=db user=x password='s e' dbname=SIPXCDR"), "host=db user=x dbname=SIPXCDR"
        )

    def test_an_unreadable_dsn_is_shown_as_such(self) -> None:
        """
        It might hold a password anywhere.
        """
        self.assertEqual(shown("host= = x"), "(unreadable dsn)")

    def test_another_database_of_the_same_server(self) -> None:
        """
        Only the name changes.
        """
        self.assertIn("dbname=postgres", with_database("host=db dbname=SIPXCDR", "postgres"))

    def test_another_user_of_the_same_database(self) -> None:
        """
        With his own password, or none; who names nobody changes nothing.
        """
        dsn = "host=db user=a password=b dbname=c"
        told = parse_dsn(with_user_of(dsn, "host=elsewhere user=d"))
        self.assertEqual(told, {"host": "db", "user": "d", "dbname": "c"})
        told = parse_dsn(with_user_of(dsn, "user=d password=e"))
        self.assertEqual(told, {"host": "db", "user": "d", "password": "e", "dbname": "c"})
        self.assertEqual(with_user_of(dsn, "host=elsewhere"), dsn)


class PoolTests(TestCase):
    """
    Tests against the server of this test run.
    """

    def pool(self, dsn: str | None = None, **settings: Any) -> Pool:
        pool = Pool(reactor, dsn or PostgresForTests.shared().fresh(), **settings)
        self.addCleanup(pool.close)
        return pool

    async def test_rows_come_back(self) -> None:
        """
        Parameters go in and rows come out, whatever text they hold.
        """
        text = "O'Brien \\' \N{SNOWMAN} %s"
        rows = await self.pool().run("SELECT %s::text, 1 WHERE 'a' LIKE '%%'", (text,))
        self.assertEqual(rows, [(text, 1)])

    async def test_a_statement_without_rows_gives_none(self) -> None:
        """
        There is nothing to fetch from a CREATE.
        """
        self.assertEqual(await self.pool().run("CREATE TABLE t (a int)"), [])

    async def test_statements_asked_together_run_one_after_the_other(self) -> None:
        """
        One connection serves all who ask, in order.
        """
        pool = self.pool()
        rows = await gatherResults([pool.run("SELECT %s::int", (number,)) for number in range(5)])
        self.assertEqual([row[0][0] for row in rows], [0, 1, 2, 3, 4])
        self.assertEqual(pool.connects, 1)

    async def test_a_transaction_is_whole_or_nothing(self) -> None:
        """
        What the work did before it raised is not there afterwards.
        """
        pool = self.pool()
        await pool.run("CREATE TABLE t (a int)")

        async def fails(transaction: Transaction) -> None:
            await transaction.run("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError

        async def works(transaction: Transaction) -> str:
            await transaction.run("INSERT INTO t VALUES (2)")
            return "done"

        await self.assertFailure(pool.transaction(fails), ZeroDivisionError)
        self.assertEqual(await pool.transaction(works), "done")
        self.assertEqual(await pool.run("SELECT a FROM t"), [(2,)])
        self.assertEqual(pool.connects, 1)

    async def test_a_wrong_statement_is_refused_and_harms_no_other(self) -> None:
        """
        The SQLSTATE tells why, and the connection stays.
        """
        pool = self.pool()
        for statement, sqlstate in (("SELECT nothing", "42703"), ("SELECT 'x'::int", "22P02")):
            refused: Any = await self.assertFailure(pool.run(statement), StatementRefused)
            self.assertEqual(refused.sqlstate, sqlstate)
        self.assertEqual(await pool.run("SELECT 1"), [(1,)])
        self.assertEqual(pool.connects, 1)

    async def test_a_value_the_driver_cannot_write_is_refused(self) -> None:
        """
        A NUL or a lone surrogate fails before it is sent.
        """
        pool = self.pool()
        await self.assertFailure(pool.run("SELECT %s", ("a\0b",)), StatementRefused)
        await self.assertFailure(pool.run("SELECT %s", ("\udc80",)), StatementRefused)
        self.assertEqual(await pool.run("SELECT 1"), [(1,)])

    async def test_a_slow_statement_is_ended_by_the_server(self) -> None:
        """
        The connection serves on.
        """
        pool = self.pool(statement_timeout=0.05)
        await self.assertFailure(pool.run("SELECT pg_sleep(10)"), StatementTimedOut)
        self.assertEqual(await pool.run("SELECT 1"), [(1,)])

    async def test_cancelling_drops_the_connection_only(self) -> None:
        """
        The next statement gets a new one.
        """
        pool = self.pool()
        await pool.run("SELECT 1")
        asked = pool.run("SELECT pg_sleep(10)")
        asked.cancel()
        await self.assertFailure(asked, CancelledError)
        self.assertEqual(await pool.run("SELECT 2"), [(2,)])
        self.assertEqual(pool.connects, 2)

    async def test_a_closed_pool_answers_so(self) -> None:
        """
        A service that stops does not connect again.
        """
        pool = self.pool()
        asked = pool.run("SELECT pg_sleep(10)")
        await pool_is_connected(pool)
        pool.close()
        await self.assertFailure(asked, DatabaseUnavailable)
        await self.assertFailure(pool.run("SELECT 1"), PoolClosed)

    async def test_a_connection_that_is_lost_between_two_statements_costs_none(self) -> None:
        """
        It is made again for the next.
        """
        server = PostgresForTests.start_for(self)
        pool = self.pool(server.dsn())
        await pool.run("SELECT 1")
        server.kill()
        server.start()
        await _turns()
        self.assertEqual(await pool.run("SELECT 1"), [(1,)])
        self.assertEqual(pool.connects, 2)

    async def test_a_connection_that_the_server_ends_is_made_again(self) -> None:
        """
        One statement may be lost with it, the next one works.
        """
        pool = self.pool()
        dsn = pool._dsn
        await pool.run("SELECT 1")
        PostgresForTests.shared().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'sipxha'",
            dsn,
        )
        await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)
        self.assertEqual(await pool.run("SELECT 1"), [(1,)])

    async def test_nobody_there_is_unavailable(self) -> None:
        """
        A missing socket, a refused port and a missing database alike.
        """
        server = PostgresForTests.shared()
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            for dsn in ("host=/nowhere dbname=x", f"host=127.0.0.1 port={port}", server.dsn("missing")):
                pool = self.pool(dsn)
                await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)
                self.assertFalse(pool.is_connected)

    async def test_a_server_that_does_not_answer_is_given_up(self) -> None:
        """
        A listening port behind which nobody speaks fails the connect in time.
        """
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()
            port = deaf.getsockname()[1]
            pool = self.pool(f"host=127.0.0.1 port={port} dbname=x", connect_timeout=0.05)
            await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)

    async def test_a_server_that_breaks_off_leaves_nothing_in_the_reactor(self) -> None:
        """
        libpq changes its socket, or has closed it, before it is told that it failed.
        """
        turning: Any = reactor
        listening = turning.listenTCP(0, Factory.forProtocol(_BreaksOff), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port = listening.getHost().port
        for _attempt in range(20):
            pool = self.pool(f"host=127.0.0.1 port={port} user=x dbname=x sslmode=prefer")
            await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)
            # A socket that was closed behind its back makes a reactor stumble here.
            turning.getReaders()


class _BreaksOff(Protocol):
    """
    Refuses encryption and goes away.
    """

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"N")
        self.transport.loseConnection()


async def _turns() -> None:
    for _turn in range(20):
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.001, turn.callback, None)
        await turn


async def pool_is_connected(pool: Pool) -> None:
    """
    Wait until a pool has connected.
    """
    while not pool.connects:
        await _turns()
