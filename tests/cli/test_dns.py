"""
Tests for L{sipxha.cli.dns}.
"""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.dns import dns
from sipxha.config.init import Cluster, Server, make_cluster

PAIR = (Server("sipx1.example.com", "127.1.1.1"), Server("sipx2.example.com", "127.1.1.2"))


class DnsTests(SynchronousTestCase):
    """
    Tests for C{sipxha dns}.
    """

    def setUp(self) -> None:
        """
        Make a pair of nodes.
        """
        self.folder = Path(self.mktemp())
        make_cluster(self.folder, Cluster("example.com", PAIR, True))

    def run_dns(self, node: str, *arguments: str) -> Result:
        return CliRunner().invoke(dns, ["--config", str(self.folder / node / "sipxha.xml"), *arguments])

    def test_every_node_prints_what_init_wrote(self) -> None:
        """
        The configuration says all that the fragment needs.
        """
        for server in PAIR:
            printed = self.run_dns(server.name)
            self.assertEqual(printed.exit_code, 0, printed.output)
            self.assertEqual(printed.stdout, (self.folder / "zone.db").read_text())

    def test_the_bare_domain_is_added_when_asked_for(self) -> None:
        """
        With the addresses of both nodes.
        """
        apex = self.run_dns(PAIR[0].name, "--apex").stdout.splitlines()
        added = [line.split() for line in apex if line.startswith("example.com.") and " A " in line]
        self.assertEqual([line[-1] for line in added], ["127.1.1.1", "127.1.1.2"])

    def test_a_configuration_that_is_wrong_is_said(self) -> None:
        """
        Exit status 1.
        """
        self.assertEqual(self.run_dns("nowhere").exit_code, 1)
