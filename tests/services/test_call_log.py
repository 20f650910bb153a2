"""
Tests for the call event log: a real journal, and a real database that comes
and goes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from sipxha.cdr.event import CallStateEvent
from sipxha.services.call_log import COMPLAINT_INTERVAL, CallLog
from sipxha.store.cse_log import encode_event
from sipxha.store.journal import START, Journal, Position
from tests.cdr import calls
from tests.support.postgres import PostgresForTests

OBSERVER = "10.1.1.50:5060"


def an_event(seq: int) -> CallStateEvent:
    """
    Build an event that is known by its number.
    """
    return CallStateEvent(
        OBSERVER, seq, 1_700_000_000.0 + seq, "R", 1, f"call-{seq}", "a", None, "<f>", "<t>"
    )


@implementer(ILogObserver)
class _Complaints:
    """
    The lines about lost events.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        line = formatEvent(event)
        if "lost" in line:
            self.lines.append(line)


class RecordTests(SynchronousTestCase):
    """
    Tests for the side of the proxies, which needs no database.
    """

    def setUp(self) -> None:
        """
        A log that is not started.
        """
        self.clock = Clock()
        self.journal = Journal(Path(self.mktemp()), limit=4000)
        self.addCleanup(self.journal.close)
        self.log = CallLog(self.clock, self.journal, "host=/nowhere dbname=x")
        complaints = _Complaints()
        globalLogPublisher.addObserver(complaints)
        self.addCleanup(globalLogPublisher.removeObserver, complaints)
        self.lines = complaints.lines

    def test_numbers_count_from_one_after_the_observer_s_start(self) -> None:
        """
        Its start is event 0, and each observer counts for itself.
        """
        self.log.observer_started(OBSERVER, "ForkProxy")
        self.assertEqual([self.log.next_seq(OBSERVER) for _ in range(3)], [1, 2, 3])
        self.assertEqual(self.log.next_seq("10.1.1.50:5080"), 1)
        self.assertEqual(self.log.next_seq(OBSERVER), 4)
        records, _ = self.journal.read_from(START, 9)
        self.assertEqual([record[:1] for record in records], [b"O", b"O"])

    def test_an_event_is_on_disk_when_it_has_been_recorded(self) -> None:
        """
        Before its message leaves.
        """
        self.log.record(an_event(1))
        following = Journal(self.journal._folder)
        self.addCleanup(following.close)
        self.assertEqual(len(following.read_from(START, 9)[0]), 1)

    def test_a_full_journal_costs_events_and_nothing_else(self) -> None:
        """
        They are counted, and the log says so once in a minute.
        """
        while not self.log.lost:
            self.log.record(an_event(1))
        for _ in range(4):
            self.log.record(an_event(1))
        self.assertEqual(self.log.lost, 5)
        self.assertEqual(len(self.lines), 1)
        self.clock.advance(COMPLAINT_INTERVAL)
        self.log.record(an_event(1))
        self.assertIn("5 call events lost", self.lines[1])
        self.assertEqual(self.log.trouble(), "6 call events were lost")
        self.assertEqual(self.log.status()["lost"], 6)


class WriterTests(TestCase):
    """
    Tests with a real server.
    """

    def setUp(self) -> None:
        """
        A folder that outlives the logs of a test.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="sipxha-log-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def log(self, dsn: str) -> CallLog:
        log = CallLog(reactor, Journal(self.folder), dsn)
        self.addCleanup(lambda: log.stopService() if log.running else None)
        log.startService()
        return log

    def stored(self, server: PostgresForTests, dsn: str) -> list[int]:
        rows = server.execute("SELECT event_seq FROM call_state_events ORDER BY id", dsn)
        return [int(str(row[0])) for row in rows]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await deferLater(reactor, 0.02)

    async def test_events_reach_a_database_that_did_not_exist(self) -> None:
        """
        In order, each once, and the journal is forgotten.
        """
        server = PostgresForTests.shared()
        dsn = server.dsn("SIPXCDR")
        log = self.log(dsn)
        log.observer_started(OBSERVER, "ForkProxy")
        for _ in range(1200):
            log.record(an_event(log.next_seq(OBSERVER)))
        await log.stopService()
        self.assertEqual(self.stored(server, dsn), list(range(1, 1201)))
        self.assertEqual(
            server.execute("SELECT observer, status, msg FROM observer_state_events", dsn),
            [(OBSERVER, 101, "ForkProxy")],
        )
        self.assertIsNone(log.trouble())

    async def test_events_wait_for_a_server_that_is_down(self) -> None:
        """
        At the start and later; nothing is lost or doubled, and the node says
        that it waits.
        """
        server = PostgresForTests.start_for(self)
        dsn = server.fresh()
        server.stop()
        log = self.log(dsn)
        log.record(an_event(1))
        await self.until(lambda: log.trouble() is not None)
        self.assertEqual(log.waiting, 1)
        server.start()
        await self.until(lambda: log.trouble() is None)
        log.record(an_event(2))
        await self.until(lambda: self.stored(server, dsn) == [1, 2])
        server.kill()
        log.record(an_event(3))
        await self.until(lambda: log.trouble() is not None)
        log.record(an_event(4))
        server.start()
        log.record(an_event(5))
        self.assertGreaterEqual(log.waiting, 3)
        await self.until(lambda: log.trouble() is None and not log.waiting)
        await log.stopService()
        self.assertEqual(self.stored(server, dsn), [1, 2, 3, 4, 5])

    async def test_a_node_that_was_killed_writes_nothing_twice(self) -> None:
        """
        The next one goes on from the place that was committed, and takes
        what the journal still holds.
        """
        server = PostgresForTests.shared()
        dsn = server.fresh()
        killed = self.log(dsn)
        for seq in (1, 2):
            killed.record(an_event(seq))
        await self.until(lambda: killed._journal.size > 0 and killed._rows.refused == 0 and self._has(dsn, 2))
        # As kill -9 does: no flush, no farewell.
        assert killed._writer is not None
        killed._writer.cancel()
        killed.record(an_event(3))
        following = self.log(dsn)
        following.record(an_event(4))
        await following.stopService()
        self.assertEqual(self.stored(server, dsn), [1, 2, 3, 4])

    async def test_events_that_come_all_the_time_share_their_writes(self) -> None:
        """
        One write follows the other only where there is more than it may hold.
        """
        server = PostgresForTests.shared()
        dsn = server.fresh()
        log = self.log(dsn)
        writes: list[int] = []
        write = log._rows.write

        async def counted(records: Sequence[bytes], position: Position) -> None:
            writes.append(len(records))
            # Whenever one is written the next one is there.
            if log.written < 20:
                log.record(an_event(log.next_seq(OBSERVER)))
                reactor.callLater(0.01, log.record, an_event(log.next_seq(OBSERVER)))
            await write(records, position)

        log._rows.write = counted  # type: ignore[assignment, method-assign]
        log.record(an_event(log.next_seq(OBSERVER)))
        await self.until(lambda: log.written >= 20 and not log.waiting)
        await log.stopService()
        self.assertEqual(min(writes[1:-1]), 2)

    def _has(self, dsn: str, count: int) -> bool:
        server = PostgresForTests.shared()
        there = server.execute("SELECT to_regclass('call_state_events') IS NOT NULL", dsn)[0][0]
        return bool(there) and len(self.stored(server, dsn)) == count

    async def test_a_stop_without_a_database_is_quick_and_keeps_the_events(self) -> None:
        """
        The next start finds them.
        """
        log = self.log("host=/nowhere dbname=x")
        log.record(an_event(1))
        await self.until(lambda: log.trouble() is not None)
        await log.stopService()
        dsn = PostgresForTests.shared().fresh()
        await self.log_once(dsn)
        self.assertEqual(self.stored(PostgresForTests.shared(), dsn), [1])

    async def log_once(self, dsn: str) -> None:
        await self.log(dsn).stopService()

    async def test_a_table_that_is_taken_away_costs_no_event(self) -> None:
        """
        They wait until somebody has repaired the database.
        """
        server = PostgresForTests.shared()
        dsn = server.fresh()
        log = self.log(dsn)
        log.record(an_event(1))
        await self.until(lambda: self._has(dsn, 1))
        server.execute("ALTER TABLE call_state_events RENAME TO elsewhere", dsn)
        log.record(an_event(2))
        await self.until(lambda: log.trouble() is not None)
        server.execute("ALTER TABLE elsewhere RENAME TO call_state_events", dsn)
        await self.until(lambda: self._has(dsn, 2))
        self.assertEqual(log.status()["refused"], 0)

    async def test_calls_of_an_earlier_life_are_known_again(self) -> None:
        """
        Those that have not ended; also what only the journal still held.
        """
        dsn = PostgresForTests.shared().fresh()
        now = time.time()
        first = self.log(dsn)
        first.record(calls.requested(now, call_id="open"))
        first.record(calls.set_up(now, call_id="open"))
        for event in (calls.requested(now), calls.set_up(now), calls.ended(now)):
            first.record(event)
        await first.stopService()
        journal = Journal(self.folder)
        journal.append(encode_event(calls.ended(now, call_id="open", to_tag="c")))
        journal.append(encode_event(calls.set_up(now, call_id="late")))
        journal.append(encode_event(calls.set_up(now - 100_000, call_id="of last week")))
        journal.close()
        second = self.log(dsn)
        await self.until(lambda: len(second.live) > 0)
        self.assertEqual(sorted(event.call_id for event in second.live.told(now)), ["late"])

    async def test_events_are_made_durable_without_being_asked(self) -> None:
        """
        Within a second, on another thread.
        """
        log = self.log(PostgresForTests.shared().fresh())
        log.record(an_event(1))
        await self.until(lambda: not log._journal._dirty)
        self.assertTrue(os.listdir(self.folder))
