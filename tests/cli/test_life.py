"""
Tests for L{sipxha.cli.life}: what reaches the node, and how the command ends.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.python.filepath import FilePath
from twisted.trial.unittest import TestCase

from sipxha.cli.main import main
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.services.console import Console


class LifeTests(TestCase):
    """
    Tests for both verbs, over a real control socket.
    """

    def setUp(self) -> None:
        # The name of a socket is short, and trial's folders are deep.
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        make_cluster(
            folder / "c", Cluster("example.com", [Server("sipx1.example.com", "127.1.1.1")], embedded=True)
        )
        self.config = folder / "c" / "sipx1.example.com" / "sipxha.xml"
        self.posted: list[Any] = []

    def answer(self, value: Any) -> None:
        """
        Serve on the control socket, with one answer to everything.
        """

        def act(posted: Any) -> Deferred[Any]:
            self.posted.append(posted)
            return succeed(value)

        node = load(self.config).node
        node.data.mkdir(exist_ok=True)
        actions = {b"/reload": act, b"/drain": act}
        console = Console(cast(Any, reactor), cast(Any, None), node.control_socket, None, actions)
        console.startService()
        self.addCleanup(console.stopService)

    async def run_verb(self, *arguments: str) -> Result:
        """
        Run the command beside the reactor.
        """
        result: Result = await deferToThread(
            CliRunner().invoke, main, [*arguments, "--config", str(self.config)]
        )
        return result

    async def test_a_reload_shows_what_became_of_each_part(self) -> None:
        """
        As it is for scripts.
        """
        rows = [{"what": "peers", "result": "changed", "detail": "sipx3.example.com added"}]
        self.answer(rows)
        result = await self.run_verb("reload", "--json")
        self.assertEqual((result.exit_code, json.loads(result.output)), (0, rows))

    async def test_what_was_refused_is_status_1(self) -> None:
        """
        All of it is shown all the same.
        """
        self.answer([{"what": "users", "result": "refused", "detail": "credential.xml:3: wrong"}])
        result = await self.run_verb("reload")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("credential.xml:3", result.output)

    async def test_a_drain_that_cut_something_off_is_status_3(self) -> None:
        """
        It says what.
        """
        self.answer({"seconds": 5.0, "unanswered": 2, "behind": 0})
        result = await self.run_verb("drain", "--limit", "5", "--json")
        self.assertEqual((result.exit_code, self.posted), (3, [{"limit": 5.0}]))
        self.assertEqual(json.loads(result.output)[0]["unanswered"], 2)

    async def test_a_drain_that_left_nothing_is_status_0(self) -> None:
        """
        It waits for a minute unless told otherwise.
        """
        self.answer({"seconds": 1.3, "unanswered": 0, "behind": 0})
        result = await self.run_verb("drain")
        self.assertEqual((result.exit_code, self.posted), (0, [{"limit": 60.0}]))

    async def test_there_must_be_a_node(self) -> None:
        """
        One line says so.
        """
        result = await self.run_verb("reload")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("the node sipx1.example.com is not running", result.stderr)
