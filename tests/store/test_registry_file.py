"""
Tests for L{sipxha.store.registry_file}, on real files.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.store.registry_file import STEPS, Opened, StoreUnusable, open_file, write
from tests.registry.rows import a_row
from tests.support.disk import mute_disk

MANY = [a_row(identity=f"{number}@example.com") for number in range(500)]
MORE = (*STEPS, ("ALTER TABLE registrations ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",))
"""A version that is not there yet."""


class FileCase(SynchronousTestCase):
    """
    Has a file, and closes what it opened.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.log = Path(f"{self.path}-wal")

    def open(self, steps: object = STEPS) -> Opened:
        """
        Open the file.
        """
        opened = open_file(self.path, steps)  # type: ignore[arg-type]
        self.addCleanup(opened.database.close)
        return opened

    def fill(self, rows: list[Binding] = MANY) -> None:
        """
        A file with rows, closed.
        """
        opened = self.open()
        self.assertIsNone(write(opened.database, {row.key: row for row in rows}))
        opened.database.close()

    def leave(self) -> None:
        """
        A file and its log as a killed node leaves them: several transactions
        are only in the log.
        """
        opened = self.open()
        for start in range(0, len(MANY), 100):
            self.assertIsNone(write(opened.database, {row.key: row for row in MANY[start : start + 100]}))
        copy = Path(self.mktemp())
        shutil.copy(self.path, copy)
        shutil.copy(self.log, f"{copy}-wal")
        self.path, self.log = copy, Path(f"{copy}-wal")

    def look(self, statement: str) -> list[tuple[object, ...]]:
        """
        Look into the file with eyes of our own; nobody may have it open.
        """
        database = sqlite3.connect(self.path)
        try:
            return database.execute(statement).fetchall()
        finally:
            database.close()

    def change(self, statement: str) -> None:
        """
        Change the file behind everybody's back.
        """
        database = sqlite3.connect(self.path)
        database.execute(statement)
        database.commit()
        database.close()

    def content(self) -> list[bytes | None]:
        """
        What is on the disk.
        """
        return [path.read_bytes() if path.is_file() else None for path in (self.path, self.log)]

    def assert_unusable(self, *causes: str) -> None:
        """
        Check that opening fails with the path and the causes, and changes
        nothing.
        """
        before = self.content()
        error = self.assertRaises(StoreUnusable, self.open)
        self.assertEqual(error.path, self.path)
        for cause in (str(self.path), *causes):
            self.assertIn(cause, str(error))
        self.assertEqual(self.content(), before)


class RefusalTests(FileCase):
    """
    Tests for files that are no registry, or not ours to use.
    """

    def test_a_file_that_is_no_database(self) -> None:
        """
        It may be somebody's; if it was ours, its beginning is gone.
        """
        self.path.write_text("something else" * 100)
        self.assert_unusable("file is not a database", "move it")

    def test_a_database_of_something_else(self) -> None:
        """
        It certainly is.
        """
        self.change("CREATE TABLE theirs (x)")
        self.assert_unusable("not of registrations")

    def test_a_file_of_a_newer_version(self) -> None:
        """
        After a downgrade: both versions are named.
        """
        self.open(MORE).database.close()
        self.assert_unusable("newer sipxha (version 2, where this one knows 1)")

    def test_a_folder_that_is_not_there(self) -> None:
        """
        A disk that was not mounted.
        """
        self.path = self.path / "registry.sqlite"
        self.assert_unusable("No such file")

    def test_a_file_that_is_in_use(self) -> None:
        """
        One node, one file.
        """
        self.open()
        error = self.assertRaises(StoreUnusable, self.open)
        self.assertIn("locked: another process has it open", str(error))

    def test_a_file_that_may_not_be_written(self) -> None:
        """
        A backup that was copied back as somebody else.
        """
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.path = folder / "registry.sqlite"
        self.log = folder / "registry.sqlite-wal"
        self.fill()
        folder.chmod(0o755)
        self.path.chmod(0o444)
        if os.geteuid() == 0:
            # Modes mean nothing to root, so a root is made somebody else.
            os.seteuid(12345)
            self.addCleanup(os.seteuid, 0)
        self.assert_unusable("may not be written")

    def test_a_folder_in_which_nothing_can_be_made(self) -> None:
        """
        Not even by root.
        """
        self.path = Path("/proc/registry.sqlite")
        self.assertRaises(StoreUnusable, self.open)


class DamageTests(FileCase):
    """
    Tests for files that a disk gave back otherwise than they were written.
    """

    def test_garbage_in_the_middle(self) -> None:
        """
        Nothing is repaired by guessing; what to do is said.
        """
        self.fill()
        content = bytearray(self.path.read_bytes())
        content[3 * 4096 : 5 * 4096] = b"\xff" * (2 * 4096)
        self.path.write_bytes(content)
        self.assert_unusable("is damaged", f"move it and {self.path.name}-wal away", "other nodes")

    def test_garbage_at_the_beginning(self) -> None:
        """
        It is not taken for an empty file.
        """
        self.fill()
        content = bytearray(self.path.read_bytes())
        content[:100] = b"\xff" * 100
        self.path.write_bytes(content)
        self.assert_unusable("is damaged")

    def test_a_file_that_was_cut_off(self) -> None:
        """
        At a page or within one.
        """
        self.fill()
        whole = self.path.read_bytes()
        for length in (len(whole) - 4096, len(whole) // 2, 5000):
            self.path.write_bytes(whole[:length])
            self.assert_unusable("is damaged")

    def test_a_row_that_cannot_be_one(self) -> None:
        """
        SQLite has no checksums: a page may be in order, and its text not.
        """
        for change in ("contact = 'a' || char(7)", "cseq = 'many'", "expires = -1", "deadline = 'soon'"):
            self.setUp()
            self.fill([a_row()])
            self.change(f"UPDATE registrations SET {change}")
            self.assert_unusable("is damaged", a_row().identity)

    def test_garbage_in_the_log(self) -> None:
        """
        SQLite would leave out all that follows it, and say nothing.
        """
        self.leave()
        content = bytearray(self.log.read_bytes())
        content[32 + 2 * 4120 + 500 : 32 + 2 * 4120 + 600] = b"\xff" * 100
        self.log.write_bytes(content)
        self.assert_unusable("is damaged", f"{self.log.name} at byte {32 + 2 * 4120}", "move it")

    def test_a_log_without_its_file(self) -> None:
        """
        SQLite would delete it.
        """
        self.leave()
        self.path.unlink()
        self.assert_unusable("is gone", self.log.name)
        self.path.touch()
        self.assert_unusable("is gone", self.log.name)

    def test_the_torn_end_of_the_log_is_left_out(self) -> None:
        """
        A power cut came before anybody was told that it was done.
        """
        self.leave()
        self.log.write_bytes(self.log.read_bytes()[:-10])
        self.assertEqual(set(self.open().rows), set(MANY[:400]))


class UpgradeTests(FileCase):
    """
    Tests for a file of an older version.
    """

    def test_the_missing_steps_are_made(self) -> None:
        """
        The rows stay, and it is not made twice.
        """
        self.fill()
        for _ in range(2):
            opened = self.open(MORE)
            self.assertEqual(set(opened.rows), set(MANY))
            opened.database.close()
        self.assertEqual(self.look("PRAGMA user_version"), [(2,)])
        self.assertEqual(self.look("SELECT DISTINCT note FROM registrations"), [("none",)])

    def test_a_new_file_has_all_of_them(self) -> None:
        """
        From nothing.
        """
        opened = self.open(MORE)
        self.assertIsNone(write(opened.database, {row.key: row for row in MANY}))
        opened.database.close()
        self.assertEqual(set(self.open(MORE).rows), set(MANY))

    def test_a_step_that_fails_leaves_the_version_before(self) -> None:
        """
        With nothing of the steps that went well: the older program still
        starts.
        """
        self.fill()
        self.assertRaises(StoreUnusable, self.open, (*MORE, ("ALTER TABLE nobody ADD COLUMN x",)))
        self.assertEqual(self.look("PRAGMA user_version"), [(1,)])
        self.assertEqual(set(self.open().rows), set(MANY))


class FullTests(FileCase):
    """
    Tests for a disk without room.
    """

    def test_what_does_not_fit_is_not_written_at_all(self) -> None:
        """
        And is, when there is room.
        """
        database = self.open().database
        self.assertIsNone(write(database, {MANY[0].key: MANY[0]}))
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        changes = {row.key: row for row in MANY}
        self.assertIn("full", str(write(database, changes)))
        self.assertEqual(database.execute("SELECT count(*) FROM registrations").fetchone(), (1,))
        database.execute("PRAGMA max_page_count = 100000")
        self.assertIsNone(write(database, changes))
        database.close()
        self.assertEqual(set(self.open().rows), set(MANY))

    def test_a_file_can_be_read_where_nothing_can_be_written(self) -> None:
        """
        What a killed node left in the log is read as well.
        """
        self.leave()
        with mute_disk():
            opened = self.open()
            self.assertEqual(set(opened.rows), set(MANY))
            self.assertIsNotNone(opened.refusal)
            self.assertIsNotNone(write(opened.database, {}))
        self.assertIsNone(write(opened.database, {}))

    def test_a_new_file_needs_room(self) -> None:
        """
        As does an upgrade.
        """
        with mute_disk():
            self.assertRaises(StoreUnusable, self.open)
        self.path.unlink()
        self.fill()
        with mute_disk():
            self.assertRaises(StoreUnusable, self.open, MORE)
        self.assertEqual(set(self.open().rows), set(MANY))
