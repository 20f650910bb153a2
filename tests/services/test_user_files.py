"""
Tests for L{sipxha.services.user_files}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.users import Users
from sipxha.config import model
from sipxha.config.users import add_user
from sipxha.errors import LocalError
from sipxha.services.user_files import INTERVAL, UserFiles


class UserFilesTests(SynchronousTestCase):
    """
    Tests for files that change under a running node.
    """

    def setUp(self) -> None:
        """
        Make files without a user.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        self.files = model.Users(*(folder / f"{name}.xml" for name in ("credential", "permission", "alias")))
        for path in (self.files.credentials, self.files.permissions, self.files.aliases):
            path.write_text(f'<items type="{path.stem}"/>\n')
        self.clock = Clock()
        self.changes: list[Users] = []

    def watch(self) -> UserFiles:
        """
        Begin to watch.
        """
        watching = UserFiles(
            self.clock, self.files, model.Domain("example.com", "example.com"), self.changes.append
        )
        watching.startService()
        self.addCleanup(watching.stopService)
        return watching

    def add(self, name: str) -> None:
        """
        What C{sipxha user add} does.
        """
        add_user(self.files, f"{name}@example.com", "example.com", "secret")

    def test_a_changed_file_is_read_again(self) -> None:
        """
        Once, within a second.
        """
        watching = self.watch()
        self.clock.advance(INTERVAL)
        self.assertEqual(self.changes, [])
        self.add("200")
        for _ in range(3):
            self.clock.advance(INTERVAL)
        (users,) = self.changes
        self.assertIs(users, watching.users)
        self.assertTrue(users.knows("200@example.com"))

    def test_a_bad_file_leaves_the_old_users(self) -> None:
        """
        And they go on when it is good again.
        """
        self.add("200")
        watching = self.watch()
        good = self.files.credentials.read_text()
        self.files.credentials.write_text("<items")
        self.clock.advance(INTERVAL)
        self.files.credentials.unlink()
        self.clock.advance(INTERVAL)
        self.assertEqual(self.changes, [])
        self.assertTrue(watching.users.knows("200@example.com"))
        self.files.credentials.write_text(good)
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.changes), 1)

    def test_a_reload_reads_files_that_did_not_change(self) -> None:
        """
        As SIGHUP does.
        """
        self.watch().reload()
        self.assertEqual(len(self.changes), 1)

    def test_a_node_does_not_begin_with_a_bad_file(self) -> None:
        """
        There are no old users to go on with.
        """
        self.files.aliases.write_text("<items")
        self.assertRaises(LocalError, self.watch)
