"""
Tests for L{sipxha.cli.calls}, with a control socket that tells what a test wants.
"""

from __future__ import annotations

import json
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from sipxha.config.init import Cluster, Server, make_cluster
from tests.support.pair import run

CALL = {
    "call_id": "a",
    "state": "talking",
    "caller_aor": '"\x1b[2J" <sip:ann@example.com>',
    "callee_aor": "<sip:bob@example.com>",
    "start_time": "2026-11-22T05:00:00.000Z",
    "connect_time": None,
    "duration": 7.5,
}


class _Told(Resource):
    isLeaf = True

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def render_GET(self, request: Request) -> bytes:
        """
        Tell it.
        """
        assert request.path == b"/calls", request.path
        return json.dumps(self._answer).encode()


class CallsTests(TestCase):
    """
    Tests for what is printed.
    """

    def setUp(self) -> None:
        """
        A node's folder.
        """
        # Short, because a socket's path has to fit into 107 bytes.
        folder = Path(mkdtemp(prefix="sipxha-calls-", dir="/tmp"))
        self.addCleanup(rmtree, folder)
        make_cluster(folder / "c", Cluster("example.com", [Server("sipx1.example.com", "127.0.0.1")], True))
        self.home = folder / "c" / "sipx1.example.com"

    def ask(self, *options: str, **answer: Any) -> Deferred[tuple[int, str, str]]:
        """
        Ask a node that says so.
        """
        data = self.home / "data"
        data.mkdir(exist_ok=True)
        site: Factory = Site(_Told({"calls": [CALL], "missing": {}} | answer))  # type: ignore[assignment]
        port = reactor.listenUNIX(str(data / "control.sock"), site)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return run(reactor, "sipxha", "calls", *options, "--config", str(self.home / "sipxha.xml"))

    async def test_people_get_a_table(self) -> None:
        """
        Without what a terminal would obey.
        """
        status, out, err = await self.ask()
        self.assertEqual((status, err), (0, ""))
        self.assertIn("talking", out)
        self.assertIn("7.5", out)
        self.assertNotIn("\x1b[2J", out)

    async def test_programs_get_all_columns(self) -> None:
        """
        Also those that an older node leaves out.
        """
        _, out, _ = await self.ask("--json")
        (row,) = json.loads(out)
        self.assertEqual((row["duration"], row["observers"]), (7.5, None))
        self.assertEqual(row["start_time"], "2026-11-22T05:00:00Z")

    async def test_nodes_that_did_not_tell_are_named(self) -> None:
        """
        And the exit status says that something is missing.
        """
        status, out, err = await self.ask("--json", missing={"sipx2.example.com": "connection refused"})
        self.assertEqual((status, len(json.loads(out))), (3, 1))
        self.assertEqual(
            err, "sipxha: the calls of sipx2.example.com are not among them: connection refused\n"
        )

    async def test_without_a_node_there_are_none(self) -> None:
        """
        In one line.
        """
        status, _, err = await run(reactor, "sipxha", "calls", "--config", str(self.home / "sipxha.xml"))
        self.assertEqual((status, err.count("\n")), (1, 1))
