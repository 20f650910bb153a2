"""
Tests for L{sipxha.cli.status}.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.cli.main import main
from sipxha.cli.status import ask_node
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.services.console import Console

ROW = {
    "identity": "200@example.com",
    "contact": "<sip:200@10.1.1.9>",
    "expires": "2026-11-21T12:00:00Z",
    "primary": "sipx1.example.com",
    "update_number": 17,
}


RESOLVER = {
    "last_pass": "2026-11-21T11:00:05Z",
    "open_calls": 2,
    "read_to": {"localhost": "2026-11-21T11:00:04Z", "sipx2.example.com:5433": None},
    "missing": {"sipx2.example.com:5433": "Connection refused"},
    "skews": {
        "by_clock": {"localhost": 0.0},
        "by_events": [{"ahead": "a", "behind": "b", "seconds": 3.25, "seen": "2026-11-21T10:59:00Z"}],
    },
}


class FakeNode:
    """
    A node with one registration and one peer.
    """

    is_ready = True
    is_degraded = False
    resolver: dict[str, Any] = RESOLVER

    def status(self) -> dict[str, Any]:
        """
        The node.
        """
        return {
            "node": "sipx1.example.com",
            "ready": True,
            "started": "2026-11-21T11:00:00Z",
            "transactions": {"proxy": 2, "registrar": 0},
            "call_resolver": self.resolver,
        }

    def registrations(self, user: str | None) -> Sequence[dict[str, Any]]:
        """
        The row, unless another user is asked for.
        """
        return [ROW] if user in (None, "200") else []

    def user_set(self) -> dict[str, Any]:
        """
        Nobody.
        """
        return {"version": "0", "users": 0, "trouble": None}

    def peers(self) -> Sequence[dict[str, Any]]:
        """
        A peer that is away.
        """
        return [{"name": "sipx2.example.com", "state": "UnReachable", "next_try": None}]


class StatusTests(TestCase):
    """
    Tests for the verbs that ask a running node, over its real control socket.
    """

    def setUp(self) -> None:
        """
        Make a node's folder.
        """
        # The name of a socket is short, and trial's folders are deep.
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        make_cluster(
            folder / "c", Cluster("example.com", [Server("sipx1.example.com", "127.1.1.1")], embedded=True)
        )
        self.config = folder / "c" / "sipx1.example.com" / "sipxha.xml"
        self.socket = load(self.config).node.control_socket
        self.node = FakeNode()

    def start(self) -> None:
        """
        Serve on the control socket.
        """
        console = Console(reactor, self.node, self.socket, None)  # type: ignore[arg-type]
        console.startService()
        self.addCleanup(console.stopService)

    def run_verb(self, *arguments: str) -> Deferred[Result]:
        """
        Run a verb, which blocks, while the reactor serves.
        """
        command = [*arguments, "--config", str(self.config)]
        return deferToThread(CliRunner().invoke, main, command)

    async def test_the_status_of_the_node_is_a_list_for_people(self) -> None:
        """
        And one object in JSON.
        """
        self.start()
        result = await self.run_verb("status")
        self.assertIn("sipx1.example.com", result.stdout)
        self.assertIn("proxy 2, registrar 0", result.stdout)
        (row,) = json.loads((await self.run_verb("status", "--json")).stdout)
        self.assertEqual((row["ready"], row["started"]), (True, "2026-11-21T11:00:00Z"))
        self.assertEqual(row["transactions"], {"proxy": 2, "registrar": 0})
        self.assertEqual(row["call_resolver"], RESOLVER)

    async def test_the_call_resolver_has_a_line_for_each_host(self) -> None:
        """
        Up to when it was read, whether its clock is right, and why it was not.
        """
        self.start()
        lines = (await self.run_verb("status")).stdout.splitlines()
        (place,) = [place for place, line in enumerate(lines) if line.startswith("Call resolver: last pass ")]
        self.assertTrue(lines[place].endswith(", 2 calls may change"))
        self.assertEqual(lines[place + 1].split(), ["host", "read", "to", "clock", "missing"])
        self.assertEqual(lines[place + 3].split()[0], "localhost")
        self.assertTrue(lines[place + 3].endswith("+0.0 s"))
        self.assertEqual(lines[place + 4].split(), ["sipx2.example.com:5433", "Connection", "refused"])
        self.assertEqual(lines[place + 5], "the clock of a is at least 3.2 s ahead of that of b")
        self.assertNotIn("{", "".join(lines))

    async def test_a_call_resolver_without_a_pass_is_one_line(self) -> None:
        """
        And no table without rows.
        """
        empty: dict[str, Any] = {"by_clock": {}, "by_events": []}
        self.node.resolver = {
            "last_pass": None,
            "open_calls": None,
            "read_to": {},
            "missing": {},
            "skews": empty,
        }
        self.start()
        lines = (await self.run_verb("status")).stdout.splitlines()
        self.assertEqual(lines[-1], "Call resolver: no pass yet")

    async def test_registrations_have_the_columns_of_the_registry(self) -> None:
        """
        All of them in JSON, those that fit for people.
        """
        self.start()
        (row,) = json.loads((await self.run_verb("registrations", "--json")).stdout)
        self.assertEqual(row["update_number"], 17)
        self.assertIsNone(row["path"])
        lines = (await self.run_verb("registrations")).stdout.splitlines()
        self.assertEqual(lines[0].split()[:2], ["identity", "contact"])
        self.assertIn("<sip:200@10.1.1.9>", lines[2])

    async def test_registrations_can_be_those_of_one_user(self) -> None:
        """
        The node knows its domain.
        """
        self.start()
        self.assertEqual(len(json.loads((await self.run_verb("registrations", "200", "--json")).stdout)), 1)
        self.assertEqual(json.loads((await self.run_verb("registrations", "2 0", "--json")).stdout), [])

    async def test_peers_have_a_line_each(self) -> None:
        """
        With their state as the memo names it.
        """
        self.start()
        (row,) = json.loads((await self.run_verb("peers", "--json")).stdout)
        self.assertEqual((row["name"], row["state"]), ("sipx2.example.com", "UnReachable"))

    async def test_a_node_that_does_not_run_is_one_line_and_status_1(self) -> None:
        """
        Whether it was stopped or killed.
        """
        said = (
            "sipxha: the node sipx1.example.com is not running; "
            "start it: systemctl start sipxha, or twistd sipxha --config F\n"
        )
        expected = (1, said)
        result = await self.run_verb("status")
        self.assertEqual((result.exit_code, result.stderr), expected)
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(self.socket))
        result = await self.run_verb("peers")
        self.assertEqual((result.exit_code, result.stderr), expected)


class RightsTests(SynchronousTestCase):
    """
    Tests for who may not open the socket.
    """

    def test_it_is_told_who_may(self) -> None:
        """
        One line, status 1; whoever tests this is often root, who may all.
        """

        class Forbidden:
            def exists(self) -> bool:
                raise PermissionError

            def __str__(self) -> str:
                return "/etc/sipxha/data/control.sock"

        data = Path(self.mktemp())
        node: Any = SimpleNamespace(name="sipx1.example.com", data=data, control_socket=Forbidden())
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            end = self.assertRaises(SystemExit, ask_node, node, "/status")
        self.assertEqual(end.code, 1)
        self.assertEqual(
            said.getvalue(),
            "sipxha: /etc/sipxha/data/control.sock: Permission denied; run this as the node's own user, or as root\n",
        )
