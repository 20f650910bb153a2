"""
Tests for L{sipxha.store.wal}, on logs that SQLite wrote.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.store.wal import damage

PAGE = 4096
HEADER, FRAME = 32, 24 + PAGE


class DamageTests(SynchronousTestCase):
    """
    Tests for a log with several transactions of several frames each.
    """

    def setUp(self) -> None:
        path = Path(self.mktemp())
        database = sqlite3.connect(path, isolation_level=None)
        self.addCleanup(database.close)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("CREATE TABLE rows (text)")
        for _ in range(4):
            database.execute("INSERT INTO rows VALUES (?)", ["x" * 3 * PAGE])
        self.log = Path(self.mktemp())
        shutil.copy(f"{path}-wal", self.log)
        self.content = self.log.read_bytes()
        self.frames = (len(self.content) - HEADER) // FRAME
        self.assertGreater(self.frames, 12)

    def found(self, content: bytes) -> int | None:
        """
        What is said of a log with other content.
        """
        self.log.write_bytes(content)
        return damage(self.log)

    def broken(self, start: int, length: int = 1) -> bytes:
        """
        The log with other bytes at a place.
        """
        content = bytearray(self.content)
        content[start : start + length] = bytes(byte ^ 0xFF for byte in content[start : start + length])
        return bytes(content)

    def test_a_whole_log(self) -> None:
        """
        Or none, or one that was only begun.
        """
        self.assertIsNone(damage(self.log))
        self.assertIsNone(damage(self.log.with_name("none")))
        self.assertIsNone(self.found(b""))
        self.assertIsNone(self.found(self.content[:HEADER]))

    def test_a_tear_is_no_damage(self) -> None:
        """
        Wherever the power cut came, to the byte.
        """
        for length in range(HEADER, len(self.content), 997):
            self.assertIsNone(self.found(self.content[:length]), length)

    def test_the_last_transaction_may_be_torn_in_the_middle(self) -> None:
        """
        Sectors reach a disk in any order.
        """
        self.assertIsNone(self.found(self.broken(HEADER + (self.frames - 2) * FRAME + 100)))

    def test_a_frame_that_later_ones_followed(self) -> None:
        """
        In its page, its number, its salt or its sum; all of them, too.
        """
        for frame in (0, 1, self.frames // 2):
            start = HEADER + frame * FRAME
            for place, length in ((24 + 100, 1), (0, 1), (8, 8), (16, 4), (0, FRAME)):
                self.assertEqual(self.found(self.broken(start + place, length)), start, (frame, place))

    def test_a_header_without_which_no_frame_can_be_read(self) -> None:
        """
        It was on the disk before the first frame was written.
        """
        for place in (0, 8, 16, 24):
            self.assertEqual(self.found(self.broken(place, 4)), 0, place)

    def test_what_an_earlier_round_left_behind(self) -> None:
        """
        SQLite writes from the beginning again when all was copied: frames
        with another salt follow the last one.
        """
        path = Path(self.mktemp())
        database = sqlite3.connect(path, isolation_level=None)
        self.addCleanup(database.close)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE rows (text)")
        for _ in range(4):
            database.execute("INSERT INTO rows VALUES (?)", ["x" * 3 * PAGE])
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        before = Path(f"{path}-wal").stat().st_size
        database.execute("DELETE FROM rows WHERE rowid = 1")
        shutil.copy(f"{path}-wal", self.log)
        self.assertEqual(self.log.stat().st_size, before)
        self.assertIsNone(damage(self.log))
