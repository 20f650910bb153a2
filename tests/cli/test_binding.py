"""
Tests for L{sipxha.cli.binding}: what reaches the node, and what is shown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.python.filepath import FilePath
from twisted.trial.unittest import TestCase

from sipxha.cli.main import main
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.registry.register import RegistrationRefused
from sipxha.services.console import Console


class FakeNode:
    """
    A node that binds whatever it is told, but not twice.
    """

    def __init__(self) -> None:
        self.bound: list[dict[str, str]] = []

    def registrations(self, user: str | None) -> Sequence[dict[str, Any]]:
        """
        What it was told.
        """
        return [
            {"identity": each["user"], "contact": each["contact"], "expires": "2026-11-21T12:00:00Z"}
            for each in self.bound
            if each["user"] == user
        ]

    def register(self, asked: Any) -> Deferred[int]:
        """
        As the administration's.
        """
        if asked in self.bound:
            raise RegistrationRefused(403, "Too Many Contacts")
        self.bound.append(asked)
        return succeed(1)

    def unregister(self, asked: Any) -> Deferred[int]:
        """
        As the administration's.
        """
        self.bound.remove(asked)
        return succeed(1)


class BindingTests(TestCase):
    """
    Tests for both verbs, over a real control socket.
    """

    def setUp(self) -> None:
        # The name of a socket is short, and trial's folders are deep.
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        server = Server("sipx1.example.com", "127.1.1.1")
        make_cluster(folder / "c", Cluster("example.com", [server], embedded=True))
        self.config = folder / "c" / "sipx1.example.com" / "sipxha.xml"

    def start(self) -> None:
        """
        Serve on the control socket.
        """
        node = FakeNode()
        actions = {b"/register": node.register, b"/unregister": node.unregister}
        socket = load(self.config).node.control_socket
        console = Console(reactor, node, socket, None, actions)  # type: ignore[arg-type]
        console.startService()
        self.addCleanup(console.stopService)

    def run_verb(self, *arguments: str) -> Deferred[Result]:
        """
        Run a verb, which blocks, while the reactor serves.
        """
        return deferToThread(CliRunner().invoke, main, [*arguments, "--config", str(self.config)])

    async def test_what_is_bound_is_shown(self) -> None:
        """
        In the columns of C{sipxha registrations}.
        """
        self.start()
        result = await self.run_verb("register", "201", "sip:gw@10.9.9.9", "--json")
        (row,) = json.loads(result.stdout)
        self.assertEqual((row["identity"], row["contact"]), ("201", "sip:gw@10.9.9.9"))
        result = await self.run_verb("register", "201", "sip:gw@10.9.9.8")
        self.assertIn("sip:gw@10.9.9.9", result.stdout)
        self.assertIn("sip:gw@10.9.9.8", result.stdout)
        result = await self.run_verb("unregister", "201", "sip:gw@10.9.9.9", "--json")
        self.assertEqual([row["contact"] for row in json.loads(result.stdout)], ["sip:gw@10.9.9.8"])

    async def test_what_the_node_refuses_is_told(self) -> None:
        """
        With its reason, and exit status 1.
        """
        self.start()
        await self.run_verb("register", "201", "sip:gw@10.9.9.9")
        result = await self.run_verb("register", "201", "sip:gw@10.9.9.9")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("Too Many Contacts", result.output)

    async def test_it_takes_a_running_node(self) -> None:
        """
        The files of a stopped one are not touched.
        """
        result = await self.run_verb("unregister", "201", "*")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("is not running", result.output)
