"""
Tests for L{sipxha.services.user_files}.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.auth.users import Users, Version
from sipxha.config import model
from sipxha.config.load import load
from sipxha.config.tables import bound, intent, read_table
from sipxha.config.user_set import UsersMalformed, differing
from sipxha.config.users import add_user
from sipxha.errors import LocalError
from sipxha.services.user_files import INTERVAL, UserFiles

CONFIGURATION = """<sipxha xmlns="urn:sipxha:config:1">
  <domain name="example.com"/>
  <node name="sipx1.example.com" address="127.0.0.1"/>
  <secret file="secret.key"/>
  <users credentials="credential.xml" permissions="permission.xml" aliases="alias.xml"/>
</sipxha>
"""

T = TypeVar("T")


def at_once(do: Callable[[], T], /) -> Deferred[T]:
    """
    Stands for a thread that takes no time.
    """
    return maybeDeferred(do)


class Held:
    """
    Stands for a thread that takes its time.
    """

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def __call__(self, do: Callable[[], T], /) -> Deferred[T]:
        """
        Do it when the test says so.
        """
        result: Deferred[T] = Deferred()
        self.waiting.append(lambda: maybeDeferred(do).chainDeferred(result))
        return result

    def go_on(self) -> None:
        """
        Let the oldest task be done.
        """
        self.waiting.pop(0)()


def configuration(folder: Path) -> model.Config:
    """
    Make the files of a node without a user.
    """
    folder.mkdir(parents=True)
    for kind in ("credential", "permission", "alias"):
        (folder / f"{kind}.xml").write_text(f'<items type="{kind}"/>\n')
    (folder / "secret.key").write_bytes(b"s" * 40)
    (folder / "sipxha.xml").write_text(CONFIGURATION)
    return load(folder / "sipxha.xml")


class UserFilesTests(SynchronousTestCase):
    """
    Tests for files that change under a running node.
    """

    def setUp(self) -> None:
        """
        Make files without a user.
        """
        self.config = configuration(Path(self.mktemp()))
        self.files = self.config.users
        self.clock = Clock()
        self.changes: list[Users] = []
        self.held = Held()

    def watch(self, config: model.Config | None = None, *, is_held: bool = False) -> UserFiles:
        """
        Begin to watch.
        """
        watching = UserFiles(
            self.clock, config or self.config, self.changes.append, self.held if is_held else at_once
        )
        watching.startService()
        self.addCleanup(watching.stopService)
        return watching

    def add(self, name: str) -> None:
        """
        What C{sipxha user add} does.
        """
        add_user(self.files, f"{name}@example.com", "example.com", "secret", "sipx1.example.com")

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
        self.assertEqual(watching.version, Version(1, "sipx1.example.com"))

    def test_a_bad_file_leaves_the_old_users(self) -> None:
        """
        And they go on when it is good again.
        """
        self.add("200")
        watching = self.watch()
        good = self.files.credentials.read_text()
        self.files.credentials.write_text("<items")
        self.clock.advance(INTERVAL)
        self.assertIn("credential.xml:1: ", watching.trouble or "")
        self.files.credentials.unlink()
        self.clock.advance(INTERVAL)
        self.assertEqual(self.changes, [])
        self.assertTrue(watching.users.knows("200@example.com"))
        self.files.credentials.write_text(good)
        self.clock.advance(INTERVAL)
        self.assertEqual((len(self.changes), watching.trouble), (1, None))

    def test_a_reload_reads_files_that_did_not_change(self) -> None:
        """
        As SIGHUP does.
        """
        self.watch().reload()
        self.assertEqual(len(self.changes), 1)

    def test_what_changes_while_it_is_read_is_read_again(self) -> None:
        """
        One reading at a time, and the last state is what counts.
        """
        watching = self.watch(is_held=True)
        self.add("200")
        self.clock.advance(INTERVAL)
        self.assertTrue(watching.is_reading)
        self.add("201")
        self.clock.advance(INTERVAL)
        watching.reload()
        self.assertEqual((len(self.held.waiting), self.changes), (1, []))
        self.held.go_on()
        self.held.go_on()
        self.clock.advance(INTERVAL)
        self.assertEqual((self.held.waiting, watching.is_reading), ([], False))
        self.assertEqual(len(watching.users), 2)

    def test_a_stop_waits_for_what_is_being_read(self) -> None:
        """
        Nothing happens after it.
        """
        watching = self.watch(is_held=True)
        watching.reload()
        stopping = watching.stopService()
        self.assertNoResult(stopping)
        self.held.go_on()
        self.successResultOf(stopping)

    def test_a_node_does_not_begin_with_a_bad_file(self) -> None:
        """
        There are no old users to go on with.
        """
        self.files.aliases.write_text("<items")
        self.assertRaises(LocalError, self.watch)

    def test_a_change_that_was_begun_is_finished_at_the_start(self) -> None:
        """
        A node died while it took over the users of another.
        """
        roots = {"permission": read_table(self.files.permissions, "permission")}
        intent(self.files).write_bytes(bound(roots, Version(9, "sipx2.example.com")))
        self.assertEqual(self.watch().version, Version(9, "sipx2.example.com"))

    def test_another_node_takes_our_users_over(self) -> None:
        """
        And then nothing differs; once is enough, and nonsense is refused.
        """
        self.add("200")
        ours = self.watch()
        theirs = self.watch(configuration(Path(self.mktemp())))
        self.assertEqual(differing(ours.digest(), theirs.digest()), ["users"])
        text = self.successResultOf(ours.snapshot())
        self.assertTrue(self.successResultOf(theirs.take(text)))
        self.assertEqual(differing(ours.digest(), theirs.digest()), [])
        self.assertEqual(theirs.version, ours.version)
        self.assertTrue(theirs.users.knows("200@example.com"))
        self.assertFalse(self.successResultOf(theirs.take(text)))
        self.failureResultOf(theirs.take(b"<users/>"), UsersMalformed)
        self.assertTrue(theirs.users.knows("200@example.com"))


class ThreadTests(TestCase):
    """
    Tests with the threads of a reactor.
    """

    async def test_files_are_read_in_a_thread(self) -> None:
        """
        And what comes of it is told in the reactor's.
        """
        changed: Deferred[Users] = Deferred()
        watching = UserFiles(reactor, configuration(Path(self.mktemp())), changed.callback)
        watching.startService()
        watching.reload()
        self.assertFalse(changed.called)
        self.assertEqual(len(await changed), 0)
        await watching.stopService()
