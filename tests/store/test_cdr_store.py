"""
Tests for L{sipxha.store.cdr_store}.
"""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from sipxha.cdr.position import Position
from sipxha.cdr.record import Termination
from sipxha.cdr.resolve import resolve
from sipxha.store.cdr_store import Batch, CdrStore, Letter, Written
from sipxha.store.pool import Pool, StatementRefused
from sipxha.store.schema import CDR, upgrade
from tests.cdr import calls
from tests.support.cse_host import execute
from tests.support.postgres import PostgresForTests

RECORD = resolve(
    [calls.requested(1_700_000_000.123), calls.set_up(1_700_000_003.5), calls.ended(1_700_000_063.5)]
)

# sipX's own table, before it was ours.
OF_OLD = """
CREATE TABLE cdrs (
    id serial8 PRIMARY KEY, call_id text NOT NULL CONSTRAINT cdrs_call_id_unique UNIQUE,
    from_tag text NOT NULL, to_tag text NOT NULL, caller_aor text NOT NULL, callee_aor text NOT NULL,
    start_time timestamp, connect_time timestamp, end_time timestamp, termination char(1),
    failure_status int2, failure_reason text, call_direction char(1)
);
CREATE VIEW view_cdrs AS SELECT id, caller_aor, callee_aor, start_time, connect_time, end_time,
    end_time - connect_time AS duration, termination, failure_status, failure_reason, call_direction
  FROM cdrs;
INSERT INTO cdrs VALUES (DEFAULT, 'old', 'a', 'b', 'x', 'y', '2006-05-08', NULL, NULL, 'F', 408, 'why', NULL);
"""


class CdrStoreTests(TestCase):
    """
    Tests against a real database.
    """

    def setUp(self) -> Deferred[Any]:  # type: ignore[override]
        """
        An empty database of records.
        """
        self.dsn = PostgresForTests.shared().fresh()
        self.pool = Pool(reactor, self.dsn)
        self.addCleanup(self.pool.close)
        self.store = CdrStore(self.pool)
        return upgrade(self.pool, (CDR,))

    async def test_a_record_is_one_row_with_the_names_of_sipx(self) -> None:
        """
        Times are UTC without a zone.
        """
        self.assertEqual(await self.store.write(Batch([RECORD])), Written(1, 0))
        ((row,),) = execute(self.dsn, "SELECT row_to_json(cdrs) FROM cdrs")
        told = RECORD._asdict() | {
            "id": 1,
            "call_direction": None,
            "start_time": "2023-11-14T22:13:20.123",
            "connect_time": "2023-11-14T22:13:23.5",
            "end_time": "2023-11-14T22:14:23.5",
        }
        self.assertEqual(row, told)

    async def test_what_says_nothing_new_changes_nothing(self) -> None:
        """
        Nor does a record made of fewer events, nor another moment at which time decided the same.
        """
        judged = RECORD._replace(call_id="u", termination=Termination.UNKNOWN, end_time=None, as_of=1.0)
        await self.store.write(Batch([RECORD, judged]))
        poorer = RECORD._replace(connect_time=None, events=2)
        written = await self.store.write(Batch([RECORD, judged._replace(as_of=2.0)]))
        self.assertEqual(written.records, 0)
        self.assertEqual((await self.store.write(Batch([poorer]))).records, 0)
        better = RECORD._replace(callee_contact="<sip:c@d>", events=4)
        self.assertEqual((await self.store.write(Batch([better]))).records, 1)
        self.assertEqual(
            execute(self.dsn, "SELECT id, callee_contact FROM cdrs ORDER BY id")[0], (1, "<sip:c@d>")
        )

    async def test_what_was_known_stays_known(self) -> None:
        """
        When a host has lost events and another gives as many new ones.
        """
        await self.store.write(Batch([RECORD]))
        lost = RECORD._replace(start_time=None, caller_contact=None, events=RECORD.events + 1)
        self.assertEqual((await self.store.write(Batch([lost]))).records, 1)
        row = execute(self.dsn, "SELECT start_time IS NULL, caller_contact, events FROM cdrs")
        self.assertEqual(row, [(False, RECORD.caller_contact, RECORD.events + 1)])

    async def test_a_batch_is_written_as_a_whole_or_not_at_all(self) -> None:
        """
        A position never stands past what was lost.
        """
        batch = Batch([RECORD, RECORD._replace(call_id="x", callee_route="\0")], positions={"h": Position(5)})
        with self.assertRaises(StatementRefused):
            await self.store.write(batch)
        self.assertEqual(await self.store.positions(), {})
        self.assertEqual(execute(self.dsn, "SELECT count(*) FROM cdrs"), [(0,)])

    async def test_positions_come_back(self) -> None:
        """
        The last one of each host.
        """
        first, second = Position(5, "mark", 1_700_000_000.25, (2, 3)), Position(7)
        await self.store.write(Batch(positions={"localhost": first, "sipx2:5433": first}))
        await self.store.write(Batch(positions={"localhost": second}))
        self.assertEqual(await self.store.positions(), {"localhost": second, "sipx2:5433": first})

    async def test_kept_events_come_back_until_they_are_forgotten(self) -> None:
        """
        As they were, late ones apart.
        """
        one, two = calls.requested(0.1, from_url="ü\u2028'\""), calls.set_up(call_id="late")
        await self.store.write(Batch(keep=[one], late=[two]))
        self.assertEqual(await self.store.kept_events(False), [one])
        self.assertEqual(await self.store.kept_events(True), [two])
        await self.store.write(Batch(forget=[one.call_id]))
        self.assertEqual(await self.store.kept_events(False), [])

    async def test_a_dead_letter_is_kept_once(self) -> None:
        """
        Whatever is in it.
        """
        letter = Letter("localhost", 7, "why", calls.ended()._replace(event_time=inf))
        self.assertEqual(await self.store.write(Batch(letters=[letter])), Written(0, 1))
        self.assertEqual(await self.store.write(Batch(letters=[letter])), Written(0, 0))

    async def test_only_one_may_resolve(self) -> None:
        """
        Until it is gone.
        """
        other = Pool(reactor, self.dsn)
        self.addCleanup(other.close)
        self.assertTrue(await self.store.claim())
        self.assertFalse(await CdrStore(other).claim())

    async def test_the_database_of_a_sipx_goes_on(self) -> None:
        """
        Its records stay, and are corrected when their events are still there.
        """
        dsn = PostgresForTests.shared().fresh()
        execute(dsn, OF_OLD)
        pool = Pool(reactor, dsn)
        self.addCleanup(pool.close)
        await upgrade(pool, (CDR,))
        store = CdrStore(pool)
        shown = "SELECT call_id, termination FROM view_calls"
        self.assertEqual(execute(dsn, shown), [("old", "F")])
        await store.write(Batch([RECORD._replace(call_id="old")]))
        self.assertEqual(execute(dsn, shown), [("old", "C")])
