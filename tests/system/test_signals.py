"""
What a node does when it is told to stop, or to read its users again.
"""

from __future__ import annotations

import signal
import socket
import sqlite3
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.pair import DOMAIN, sipxha
from tests.system.servers import PASSWORD, PATIENCE, PairTestCase, Server, reactor, until


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
            await self.west.line_with(f" error the users stay as they were: {users}:")
            await self.registered(self.west)
        finally:
            users.write_text(good)
        await self.add_user("latecomer", self.west)
        logged = self.west.logged
        self.west.send(signal.SIGHUP)
        await self.west.line_with("the users were read: ", logged)
        await self.register(self.phone(user="latecomer"), self.west)

    async def test_a_new_certificate_is_shown_to_new_connections(self) -> None:
        """
        At the replication's port; a connection that is open goes on, and a
        file that is wrong changes nothing.
        """
        files = self.east.folder / "ssl"
        before = {path: path.read_bytes() for path in files.iterdir()}
        self.addCleanup(self.restore, before)
        old, serial = self.connect()
        (files / "node.crt").write_text("-----BEGIN CERTIFICATE-----\n")
        self.east.send(signal.SIGHUP)
        await self.east.line_with("the certificates stay as they were")
        self.assertEqual(self.connect()[1], serial)
        authority = str(self.pair.folder / "pair" / "ca")
        arguments = ["--domain", DOMAIN, "--ca", authority, "--into", str(files)]
        await sipxha(reactor, "cert", "node", self.east.name, *arguments)
        self.east.send(signal.SIGHUP)
        await self.east.line_with("the certificates were read")
        fresh, new_serial = self.connect()
        self.assertNotEqual(new_serial, serial)
        for connection in (old, fresh):
            connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(connection.recv(12), b"HTTP/1.1 404")
            connection.close()
        await self.pair.level()

    def connect(self) -> tuple[ssl.SSLSocket, str]:
        """
        Call the replication's port of one node as the other does.

        @return: the connection, and the serial number of the certificate that was shown.
        """
        files = self.west.folder / "ssl"
        context = ssl.create_default_context(cafile=str(files / "ca.crt"))
        context.load_cert_chain(files / "node.crt", files / "node.key")
        plain = socket.create_connection((self.east.address, 5077), PATIENCE)
        connection = context.wrap_socket(plain, server_hostname=self.east.name)
        self.addCleanup(connection.close)
        shown: Any = connection.getpeercert()
        return connection, shown["serialNumber"]

    async def restore(self, files: dict[Path, bytes]) -> None:
        """
        Have the files of before, also in the node.
        """
        for path, content in files.items():
            path.write_bytes(content)
        if self.east.is_running:
            await self.east.stop()

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
