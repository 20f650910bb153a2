"""
Tests for L{sipxha.config.whole_file}.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkdtemp

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sipxha.config.whole_file import write_whole

SOMEBODY = (4321, 8765)
"""A user and a group that nobody here is in."""


def owner_of(path: Path) -> tuple[int, int]:
    """
    The user and the group of a file.
    """
    state = path.stat()
    return state.st_uid, state.st_gid


def mode_of(path: Path) -> int:
    """
    The permissions of a file.
    """
    return path.stat().st_mode & 0o777


class FileCase(SynchronousTestCase):
    """
    A test with a file to be written.
    """

    def setUp(self) -> None:
        """
        Choose a file in a folder that is not there yet.
        """
        # Another user does not get into trial's folders.
        top = Path(mkdtemp())
        self.addCleanup(FilePath(str(top)).remove)
        top.chmod(0o755)
        self.folder = top / "c"
        self.path = self.folder / "ssl" / "node.key"

    def write(self, content: bytes = b"new") -> None:
        """
        Write it.
        """
        write_whole(self.path, content, 0o600)


class WriteWholeTests(FileCase):
    """
    Tests for files that are written as a whole.
    """

    def test_a_new_file_has_its_mode_and_its_folders(self) -> None:
        """
        Whatever the umask is.
        """
        self.addCleanup(os.umask, os.umask(0))
        self.write()
        self.assertEqual((self.path.read_bytes(), mode_of(self.path)), (b"new", 0o600))

    def test_a_replaced_file_keeps_its_mode(self) -> None:
        """
        An operator had a reason for it; but nobody has one to show passwords.
        """
        self.write()
        self.path.chmod(0o640)
        self.write()
        self.assertEqual(mode_of(self.path), 0o640)
        write_whole(self.path, b"new", 0o600, keeps_mode=False)
        self.assertEqual(mode_of(self.path), 0o600)

    def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_rest(self) -> None:
        """
        Nobody ever reads a half.
        """
        self.write(b"old")
        self.assertRaises(TypeError, write_whole, self.path, None, 0o600)
        self.assertEqual([entry.name for entry in self.path.parent.iterdir()], ["node.key"])
        self.assertEqual(self.path.read_bytes(), b"old")


class OwnerTests(FileCase):
    """
    Tests for whose the files are that root writes.
    """

    def setUp(self) -> None:
        """
        Only root can give files away.
        """
        if os.geteuid() != 0:
            raise SkipTest("not root")
        super().setUp()

    def test_a_replaced_file_keeps_its_owner(self) -> None:
        """
        So that the node can still read its key.
        """
        self.write()
        os.chown(self.path, *SOMEBODY)
        self.write()
        self.assertEqual(owner_of(self.path), SOMEBODY)

    def test_a_new_file_belongs_to_the_owner_of_its_folder(self) -> None:
        """
        Folders that are made for it do, too.
        """
        self.folder.mkdir()
        os.chown(self.folder, *SOMEBODY)
        self.write()
        self.assertEqual((owner_of(self.path.parent), owner_of(self.path)), (SOMEBODY, SOMEBODY))

    def test_who_is_not_root_takes_no_file_away(self) -> None:
        """
        It is left as it is, and named.
        """
        self.write(b"old")
        os.chown(self.path, *SOMEBODY)
        for folder in (self.folder, self.path.parent):
            folder.chmod(0o777)
        os.seteuid(12345)
        self.addCleanup(os.seteuid, 0)
        error = self.assertRaises(PermissionError, self.write)
        os.seteuid(0)
        self.assertIn("only root can replace it", str(error))
        self.assertEqual((self.path.read_bytes(), owner_of(self.path)), (b"old", SOMEBODY))
        self.assertEqual(len(list(self.path.parent.iterdir())), 1)
