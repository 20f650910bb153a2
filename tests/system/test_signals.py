"""
What a node does when it is told to stop, or to read its users again.
"""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

from tests.support.pair import DOMAIN, sipxha
from tests.system.servers import PASSWORD, PairTestCase, Server, reactor, until


class TerminationTests(PairTestCase):
    """
    Tests for SIGTERM.
    """

    async def test_all_that_was_acknowledged_is_on_the_disk(self) -> None:
        """
        Registrations and the events of calls; the exit status is 0.
        """
        caller = await self.registered(self.west)
        callee = await self.registered(self.west)
        call = await caller.call(callee.aor, through=self.west.address)
        self.assertEqual((await call.hang_up()).status, 200)

        self.assertEqual(await self.west.stop(), 0)
        self.assertTrue(self.west.lines[-1].endswith("info stopped"), self.west.lines[-1])
        with closing(sqlite3.connect(self.west.folder / "data" / "registry.sqlite")) as store:
            held = {row[0] for row in store.execute("SELECT identity FROM registrations")}
        self.assertLessEqual({f"{phone.user}@{DOMAIN}" for phone in (caller, callee)}, held)

        # What it did not write to the database any more it would write now.
        await self.west.start()
        await until(lambda: self.west.events(call.call_id) == "RSE", "events are missing")

    async def test_a_second_signal_changes_nothing(self) -> None:
        """
        Whoever waits may become impatient.
        """
        self.west.send(signal.SIGTERM)
        self.assertEqual(await self.west.stop(), 0)
        self.assertTrue(self.west.lines[-1].endswith("info stopped"), self.west.lines[-1])

    async def test_its_phones_are_served_by_the_other(self) -> None:
        """
        From that moment on.
        """
        caller = await self.registered(self.west)
        callee = await self.registered(self.west)
        await self.pair.level()
        self.assertEqual(await self.west.stop(), 0)
        await self.register(caller)
        call = await caller.call(callee.aor)
        self.assertEqual((await call.hang_up()).status, 200)


class ReloadTests(PairTestCase):
    """
    Tests for SIGHUP.
    """

    async def test_a_new_user_can_register(self) -> None:
        """
        As soon as the node was told.
        """
        await self.add_user("newcomer", self.east)
        before = self.count_of_lines(self.east, "the users were read: ")
        self.east.send(signal.SIGHUP)
        await until(
            lambda: self.count_of_lines(self.east, "the users were read: ") > before,
            "the users were not read",
        )
        await self.register(self.phone(user="newcomer"), self.east)

    async def test_a_file_that_cannot_be_read_changes_nothing(self) -> None:
        """
        The node says where the mistake is, and goes on with the users that it had.
        """
        users = self.west.folder / "credential.xml"
        good = users.read_text()
        wrong = good.splitlines()
        wrong[1] = "<item><uri>"
        users.write_text("\n".join(wrong))
        try:
            self.west.send(signal.SIGHUP)
            line = await self.west.line_with("the users stay as they were")
            self.assertIn(f" error the users stay as they were: {users}:", line)
            await self.registered(self.west)
        finally:
            users.write_text(good)
        await self.add_user("latecomer", self.west)
        self.west.send(signal.SIGHUP)
        await self.west.line_with("the users were read: ")
        await self.register(self.phone(user="latecomer"), self.west)

    async def add_user(self, name: str, node: Server) -> None:
        """
        C{sipxha user add}, while the node runs.
        """
        arguments = ["user", "add", name, "--password-stdin", "--config", str(node.config)]
        await sipxha(reactor, *arguments, stdin=f"{PASSWORD}\n")

    def count_of_lines(self, node: Server, text: str) -> int:
        """
        How many lines of the log hold a text.
        """
        return sum(text in line for line in node.lines)
