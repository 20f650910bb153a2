"""
Tests for making and upgrading the databases.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.store.pool import DatabaseUnavailable, Pool
from sipxha.store.schema import CSE, create_database, prepare, steps, upgrade, versions
from tests.support.postgres import PostgresForTests

# sipX's table of 2006, its version 2, as an old server has it.
OF_OLD = """
CREATE TABLE version_history (version int4 PRIMARY KEY, applied date);
INSERT INTO version_history VALUES (2, '2006-05-08');
CREATE TABLE call_state_events (
    id serial8 PRIMARY KEY, observer text NOT NULL, event_seq int8 NOT NULL, event_time timestamp NOT NULL,
    event_type char(1) NOT NULL, cseq int4 NOT NULL, call_id text NOT NULL, from_tag text, to_tag text,
    from_url text NOT NULL, to_url text NOT NULL, contact text, refer_to text, referred_by text,
    failure_status int2, failure_reason text, request_uri text
);
INSERT INTO call_state_events VALUES
    (DEFAULT, 'sipx:5060', 1, now(), 'R', 1, 'old', 'a', '', 'from', 'to', '', '', '', 0, '', '');
"""

COLUMNS = (
    "SELECT column_name FROM information_schema.columns"
    " WHERE table_name = 'call_state_events' ORDER BY ordinal_position"
)

SHAPE = (
    "SELECT table_name, column_name, ordinal_position, data_type, is_nullable"
    " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'sipxha_schema'"
    " ORDER BY table_name, ordinal_position"
)


class StepTests(SynchronousTestCase):
    """
    Tests for the files.
    """

    def test_every_part_begins_at_version_one_without_gaps(self) -> None:
        """
        A gap would let an upgrade skip a file.
        """
        self.assertIn(CSE, steps())
        for part, files in steps().items():
            self.assertTrue(all(files), part)


class SchemaTests(TestCase):
    """
    Tests against a real server.
    """

    def pool(self, dsn: str) -> Pool:
        pool = Pool(reactor, dsn)
        self.addCleanup(pool.close)
        return pool

    async def test_a_fresh_database_gets_every_part(self) -> None:
        """
        And the second time there is nothing to do.
        """
        pool = self.pool(PostgresForTests.shared().fresh())
        self.assertEqual(await versions(pool), {})
        applied = await upgrade(pool, tuple(steps()))
        self.assertEqual(len(applied), sum(map(len, steps().values())))
        self.assertEqual(await versions(pool), {part: len(files) for part, files in steps().items()})
        self.assertEqual(await upgrade(pool, tuple(steps())), [])

    async def test_all_may_be_applied_again(self) -> None:
        """
        When it is forgotten what was, as in a dump of some tables: no row is lost.
        """
        pool = self.pool(PostgresForTests.shared().fresh())
        await upgrade(pool, tuple(steps()))
        await pool.run("INSERT INTO journal_position (journal, segment, \"offset\") VALUES ('j', 1, 2)")
        shape = await pool.run(SHAPE)
        await pool.run("DROP TABLE sipxha_schema")
        self.assertEqual(len(await upgrade(pool, tuple(steps()))), sum(map(len, steps().values())))
        self.assertEqual(await pool.run("SELECT segment FROM journal_position"), [(1,)])
        self.assertEqual(await pool.run(SHAPE), shape)

    async def test_the_columns_are_those_of_an_event_and_in_sipx_order(self) -> None:
        """
        sipX's proxies insert by position.
        """
        pool = self.pool(PostgresForTests.shared().fresh())
        await upgrade(pool, (CSE,))
        columns = [row[0] for row in await pool.run(COLUMNS)]
        self.assertEqual(columns[0], "id")
        self.assertEqual(sorted(columns[1:]), sorted(CallStateEvent._fields))
        self.assertEqual(columns[1:17], list(CallStateEvent._fields[:16]))
        self.assertEqual(
            columns[-5:], ["reference", "caller_internal", "callee_route", "branch_id", "via_count"]
        )
        self.assertEqual(await pool.run("SELECT max(version) FROM version_history"), [(7,)])

    async def test_a_database_of_sipx_keeps_its_rows(self) -> None:
        """
        It has the columns of later versions afterwards.
        """
        dsn = PostgresForTests.shared().fresh()
        PostgresForTests.shared().execute(OF_OLD, dsn)
        pool = self.pool(dsn)
        await upgrade(pool, (CSE,))
        self.assertEqual(await pool.run("SELECT call_id, via_count FROM call_state_events"), [("old", None)])

    async def test_two_who_upgrade_at_once_do_it_once(self) -> None:
        """
        A node and a command may be started together.
        """
        dsn = PostgresForTests.shared().fresh()
        done = await gatherResults([upgrade(self.pool(dsn), (CSE,)) for _ in range(3)])
        self.assertEqual(sorted(map(len, done)), [0, 0, len(steps()[CSE])])

    async def test_a_user_without_rights_to_create_can_use_what_is_complete(self) -> None:
        """
        Only reading the version is needed.
        """
        server = PostgresForTests.shared()
        dsn = server.fresh()
        await upgrade(self.pool(dsn), (CSE,))
        server.execute("CREATE ROLE reader LOGIN; GRANT SELECT ON sipxha_schema TO reader", dsn)
        self.assertEqual(await upgrade(self.pool(dsn.replace("user=postgres", "user=reader")), (CSE,)), [])

    async def test_a_missing_database_is_made(self) -> None:
        """
        With a name as sipX has it, in capitals.
        """
        server = PostgresForTests.shared()
        dsn = server.dsn("SIPX CDR")
        pool = self.pool(dsn)
        self.assertTrue(await prepare(reactor, dsn, pool, (CSE,)))
        self.assertEqual(await prepare(reactor, dsn, pool, (CSE,)), [])
        self.assertFalse(await create_database(reactor, dsn))

    async def test_two_who_miss_a_database_at_once_both_get_it(self) -> None:
        """
        A node that makes its database, and the command that resolves meanwhile.
        """
        dsn = PostgresForTests.shared().dsn("together")
        done = await gatherResults([prepare(reactor, dsn, self.pool(dsn), (CSE,)) for _ in range(3)])
        self.assertEqual(sorted(map(len, done)), [0, 0, len(steps()[CSE])])

    async def test_a_server_that_is_not_there_is_unavailable(self) -> None:
        """
        Not a missing database.
        """
        dsn = "host=/nowhere dbname=SIPXCDR"
        await self.assertFailure(prepare(reactor, dsn, self.pool(dsn), (CSE,)), DatabaseUnavailable)
