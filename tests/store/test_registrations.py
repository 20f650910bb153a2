"""
Tests for L{sipxha.store.registrations}, on real files.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from time import time

from twisted.internet import reactor
from twisted.internet.defer import DeferredList
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from sipxha.registry.binding import Binding
from sipxha.store.registrations import NotYetWritten, RegistrationStore
from tests.registry.rows import a_row

ROOT = Path(__file__).parents[2]

_MUTE = """
import sys
from pathlib import Path
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from sipxha.store.registrations import NotYetWritten, RegistrationStore
from tests.support.disk import mute_disk

async def main(reactor):
    store = RegistrationStore(Path(sys.argv[1]), reactor, retry=0.01)
    with mute_disk():
        print(len(store.open()), store.degraded)
        try:
            await store.commit([])
        except NotYetWritten as refused:
            print(refused.status)
    while store.degraded:
        await deferLater(reactor, 0.01)
    print(store.degraded)
    await store.close()

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""

A, B, C = (a_row(contact=f"<sip:{name}@10.1.1.7>") for name in "abc")


class StoreCase(TestCase):
    """
    Has a file, and closes what it opened.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def open(self) -> tuple[RegistrationStore, list[Binding]]:
        """
        A store and its rows.
        """
        store = RegistrationStore(self.path, reactor, retry=0.01)  # type: ignore[arg-type]
        rows = store.open()
        self.addCleanup(store.close)
        return store, rows

    def look(self, statement: str) -> list[tuple[object, ...]]:
        """
        Look into the file with eyes of our own; nobody may have it open.
        """
        database = sqlite3.connect(self.path)
        try:
            return database.execute(statement).fetchall()
        finally:
            database.close()


class RegistrationStoreTests(StoreCase):
    """
    Tests for what is durable, and when.
    """

    async def test_only_its_owner_may_read_it(self) -> None:
        """
        Nor the files that SQLite puts beside it, whatever the umask is.
        """
        self.addCleanup(os.umask, os.umask(0))
        store, _ = self.open()
        await store.commit([A])
        modes = {
            path.name.removeprefix(self.path.name): path.stat().st_mode & 0o777
            for path in self.path.parent.glob(f"{self.path.name}*")
        }
        self.assertEqual(modes, {"": 0o600, "-wal": 0o600})

    async def test_rows_come_back(self) -> None:
        """
        Every column as it was, the newest row of each key only.
        """
        store, rows = self.open()
        self.assertEqual(rows, [])
        odd = a_row(
            callid="'\"\\", update_number=(1 << 63) - 1, qvalue="0.5", path="<sip:p;lr>", deadline=1.5
        )
        await store.commit([A, B, odd])
        ended = B._replace(cseq=18, expires=1)
        await store.commit([ended])
        await store.close()
        self.assertEqual(set(self.open()[1]), {A, ended, odd})

    async def test_purged_rows_do_not(self) -> None:
        """
        Nor does a row that is purged in the batch that brought it; one that
        comes again after that does.
        """
        store, _ = self.open()
        await store.commit([A, B])
        await DeferredList([store.commit([C]), store.commit([], [A.key, C.key]), store.commit([A])])
        await store.close()
        self.assertEqual(set(self.open()[1]), {A, B})

    async def test_many_rows_are_one_commit(self) -> None:
        """
        However many statements that takes.
        """
        rows = [a_row(identity=f"{number}@example.com") for number in range(1234)]
        store, _ = self.open()
        await store.commit(rows)
        await store.commit([], [row.key for row in rows[:600]])
        await store.close()
        self.assertEqual(set(self.open()[1]), set(rows[600:]))

    async def test_commits_of_one_moment_are_all_confirmed(self) -> None:
        """
        They go to the disk together.
        """
        store, _ = self.open()
        rows = [a_row(identity=f"{number}@example.com") for number in range(50)]
        results = await DeferredList([store.commit([row]) for row in rows])
        self.assertTrue(all(success for success, _ in results))
        await store.close()
        self.assertEqual(self.look("SELECT count(*) FROM registrations"), [(50,)])

    async def test_nothing_is_confirmed_at_once_when_nothing_is_on_its_way(self) -> None:
        """
        And otherwise after that.
        """
        store, _ = self.open()
        self.successResultOf(store.commit([]))
        order: list[str] = []
        first = store.commit([A]).addCallback(lambda _: order.append("row"))
        second = store.commit([]).addCallback(lambda _: order.append("nothing"))
        self.assertNoResult(second)
        await DeferredList([first, second])
        self.assertEqual(order, ["row", "nothing"])

    async def test_closing_writes_what_is_left(self) -> None:
        """
        And then nothing can be written any more.
        """
        store, _ = self.open()
        committed = store.commit([A])
        await store.close()
        self.successResultOf(committed)
        self.failureResultOf(store.commit([B]), NotYetWritten)
        self.assertEqual(self.open()[1], [A])

    async def test_a_store_can_be_closed_twice_or_unopened(self) -> None:
        """
        As happens when a start fails half-way.
        """
        self.successResultOf(RegistrationStore(self.path, reactor).close())  # type: ignore[arg-type]
        store, _ = self.open()
        await store.close()
        self.successResultOf(store.close())


class TroubleTests(StoreCase):
    """
    When the disk refuses.
    """

    async def test_what_could_not_be_written_is_refused_kept_and_written_later(self) -> None:
        """
        A failed commit says so at once; the rows go with the next attempt
        that succeeds, and until then nothing else is confirmed.
        """
        store, _ = self.open()
        await store.commit([B])
        unfit = A._replace(cseq=1 << 70)
        await self.assertFailure(store.commit([unfit]), NotYetWritten)
        self.assertEqual(NotYetWritten.status, 503)
        self.assertTrue(store.degraded)
        await self.assertFailure(store.commit([C]), NotYetWritten)
        await self.assertFailure(store.commit([]), NotYetWritten)
        # The obstacle goes away by itself: the newer row of its key fits.
        await store.commit([A])
        self.assertFalse(store.degraded)
        await store.close()
        self.assertEqual(set(self.open()[1]), {A, B, C})

    async def test_it_is_tried_again_without_being_asked(self) -> None:
        """
        A trigger that lets nothing pass for a moment stands for a full disk.
        """
        store, _ = self.open()
        await store.close()
        self.look(
            f"""CREATE TRIGGER full BEFORE INSERT ON registrations
            WHEN (julianday('now') - 2440587.5) * 86400 < {time() + 0.2}
            BEGIN SELECT RAISE(ABORT, 'no room'); END"""
        )
        store, _ = self.open()
        await self.assertFailure(store.commit([A]), NotYetWritten)
        self.assertTrue(store.degraded)
        while store.degraded:
            await deferLater(reactor, 0.01)
        await store.close()
        self.assertEqual(self.open()[1], [A])

    async def test_a_disk_that_takes_nothing_at_the_start_is_waited_for(self) -> None:
        """
        What is there is served meanwhile; the store tries again although
        nobody asks for anything.
        """
        store, _ = self.open()
        await store.commit([A])
        await store.close()
        # In a process of its own: this one has a log to write.
        out, err, status = await getProcessOutputAndValue(
            sys.executable, ["-c", _MUTE, str(self.path.absolute())], env=os.environ, path=str(ROOT)
        )
        self.assertEqual((out.split(), status), ([b"1", b"True", b"503", b"False"], 0), err)
        self.assertEqual(set(self.open()[1]), {A})

    async def test_a_crash_loses_nothing_that_was_confirmed(self) -> None:
        """
        The files as they were at that moment are enough, without a close.
        """
        store, _ = self.open()
        await store.commit([A, B])
        copy = Path(self.mktemp())
        for suffix in ("", "-wal"):
            Path(f"{copy}{suffix}").write_bytes(Path(f"{self.path}{suffix}").read_bytes())
        self.path = copy
        self.assertEqual(set(self.open()[1]), {A, B})
