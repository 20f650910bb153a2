"""
Tests for C{sipxha node}.
"""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from sipxha.cli.main import main
from sipxha.config.init import Cluster, Server, make_cluster
from tests.support.pair import free_network, run


class NodeTests(TestCase):
    """
    Tests for the verbs.
    """

    def setUp(self) -> None:
        """
        A pair on loopback addresses that nobody uses.
        """
        self.network = free_network()
        # Short, because of the control socket in it.
        home = Path(mkdtemp(prefix="sipxha-node-", dir="/tmp"))
        self.addCleanup(rmtree, home)
        self.folder = home / "c"
        servers = [Server(f"sipx{number}.example.com", f"{self.network}.{number}") for number in (1, 2)]
        make_cluster(self.folder, Cluster("example.com", servers, embedded=True))

    def invoke(self, *arguments: str) -> Result:
        """
        Run the command in this process.
        """
        return CliRunner().invoke(main, ["node", *arguments])

    async def test_every_node_can_start_afterwards(self) -> None:
        """
        What was made and what was changed.
        """
        result = self.invoke("add", str(self.folder), f"SIPX3.example.com={self.network}.3")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn(f"{self.folder}/sipx3.example.com is for the server sipx3.example.com", result.output)
        self.assertIn(f"{self.folder}/sipx1.example.com/sipxha.xml\n", result.output)
        for number in (1, 2, 3):
            config = self.folder / f"sipx{number}.example.com" / "sipxha.xml"
            status, _, err = await run(reactor, "sipxha", "check", "--config", str(config))
            self.assertEqual(status, 0, err)
        result = self.invoke("remove", str(self.folder), "sipx2.example.com")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("sipx2.example.com.removed is what the node was", result.output)

    def test_what_is_refused_is_one_line(self) -> None:
        """
        With status 1; what cannot be meant has 2.
        """
        for arguments, status, part in (
            (["add", str(self.folder), "sipx3.example.com"], 2, "is not NAME=ADDRESS"),
            (["add", str(self.folder), f"sipx2.example.com={self.network}.9"], 1, "two nodes have the name"),
            (["add", str(self.folder / "x"), f"sipx3.example.com={self.network}.3"], 1, "holds no nodes"),
            (["remove", str(self.folder), "sipx1.example.com"], 1, "runs the call resolver"),
        ):
            result = self.invoke(*arguments)
            self.assertEqual(result.exit_code, status, result.output)
            self.assertIn(part, result.output)
