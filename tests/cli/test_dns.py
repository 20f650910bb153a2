"""
Tests for L{sipxha.cli.dns}.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.cli.dns import dns
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.net.dns import serve_zone

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

    def test_options_that_mean_nothing_are_wrong_usage(self) -> None:
        """
        Exit status 2.
        """
        name = PAIR[0].name
        for arguments, part in (
            (["--json"], "go with --check"),
            (["--server", "10.1.1.1"], "go with --check"),
            (["--check", "--server", "ns.example.com"], "is not ADDRESS"),
            (["--check", "--server", "10.1.1.1:x"], "is not a port"),
        ):
            result = self.run_dns(name, *arguments)
            self.assertEqual(result.exit_code, 2, result.output)
            self.assertIn(part, result.output)


class CheckTests(TestCase):
    """
    Tests for C{sipxha dns --check}, with a real DNS server.
    """

    def setUp(self) -> None:
        """
        Make a pair of nodes.
        """
        self.folder = Path(self.mktemp())
        make_cluster(self.folder, Cluster("example.com", PAIR, True))
        self.zone = (self.folder / "zone.db").read_text()

    async def check(self, zone: str, *arguments: str) -> Result:
        """
        Check a server that has this zone.
        """
        server = serve_zone(reactor, zone)
        self.addCleanup(server.stop)
        config = str(self.folder / PAIR[0].name / "sipxha.xml")
        command = ["--check", "--config", config, "--server", f"127.0.0.1:{server.port}", *arguments]
        result: Result = await deferToThread(CliRunner().invoke, dns, command)
        return result

    async def test_a_zone_that_was_included_is_well(self) -> None:
        """
        Exit status 0.
        """
        result = await self.check(self.zone)
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertRegex(result.output, "all [0-9]+ sets of records are as they should be")

    async def test_what_is_wrong_is_named(self) -> None:
        """
        And nothing else; exit status 1.
        """
        result = await self.check(self.zone.replace("127.1.1.2", "127.1.1.9"))
        self.assertEqual(result.exit_code, 1)
        (line,) = [line for line in result.output.splitlines() if "127.0.0.1 port" in line]
        for part in ("sipx2.example.com", "differs", "127.1.1.2", "127.1.1.9"):
            self.assertIn(part, line)

    async def test_a_server_that_says_nothing_is_one_line(self) -> None:
        """
        And not one for each name; programs get those.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            port = silent.getsockname()[1]
        config = str(self.folder / PAIR[0].name / "sipxha.xml")
        command = ["--check", "--config", config, "--server", f"127.0.0.1:{port}"]
        result: Result = await deferToThread(CliRunner().invoke, dns, command)
        said = f"sipxha: 127.0.0.1 port {port} does not answer: is it a DNS server?\n"
        self.assertEqual((result.exit_code, result.output), (1, said))
        result = await deferToThread(CliRunner().invoke, dns, [*command, "--json"])
        self.assertEqual({row["state"] for row in json.loads(result.stdout)}, {"no answer"})

    async def test_programs_get_all_of_it(self) -> None:
        """
        Also the bare domain, where that is asked for.
        """
        result = await self.check(self.zone, "--json", "--apex")
        self.assertEqual(result.exit_code, 1)
        rows = json.loads(result.stdout)
        self.assertEqual(
            [(row["name"], row["type"], row["missing"]) for row in rows if row["state"] != "ok"],
            [("example.com", "A", ["127.1.1.1", "127.1.1.2"])],
        )
        self.assertGreater(len(rows), 10)
