"""
Tests for L{sipxha.config.whole_file}.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkdtemp

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.whole_file import give, owner_to_be, write_whole


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
    Tests for whose a file becomes.
    """

    def test_a_replaced_file_stays_its_owners(self) -> None:
        """
        So that the node can still read its key, whoever writes.
        """
        for writer in (0, 4321, 12345):
            self.assertEqual(owner_to_be(state(4321, 8765), state(1, 2), writer), (4321, 8765))

    def test_what_root_makes_belongs_to_the_owner_of_the_folder(self) -> None:
        """
        Others cannot give files away, and what they make is theirs.
        """
        self.assertEqual(owner_to_be(None, state(4321, 8765), 0), (4321, 8765))
        self.assertIsNone(owner_to_be(None, state(4321, 8765), 12345))

    def test_the_file_and_its_folders_become_what_was_decided(self) -> None:
        """
        For root that is the owner of the folder above, for others themselves.
        """
        self.folder.mkdir()
        if os.geteuid() == 0:
            os.chown(self.folder, 4321, 8765)
        owner = owner_of(self.folder)
        self.write()
        self.write()
        self.assertEqual((owner_of(self.path.parent), owner_of(self.path)), (owner, owner))

    def test_who_is_not_root_takes_no_file_away(self) -> None:
        """
        It is left as it is, and named.
        """
        self.write(b"old")
        with self.path.open("rb") as stream:
            if os.geteuid() == 0:
                os.seteuid(12345)
                self.addCleanup(os.seteuid, 0)
            error = self.assertRaises(PermissionError, give, stream.fileno(), (0, 0), self.path)
        self.assertIn("only root can replace it", str(error))


def state(user: int, group: int) -> os.stat_result:
    """
    @return: what the system says of a file of C{user} and C{group}.
    """
    return os.stat_result((0o100600, 1, 1, 1, user, group, 0, 0, 0, 0))
