"""
Tests for L{sipxha.config.init}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.init import Cluster, ClusterRefused, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.rules import load_auth_rules, load_forwarding_rules
from sipxha.config.zone import NotAHostName, read_zone

ONE = Server("sipx1.example.com", "10.1.1.50")
TWO = Server("sipx2.example.com", "2001:db8::2")

NODE_FILES = {
    "sipxha.xml",
    "zone.db",
    "secret.key",
    "credential.xml",
    "permission.xml",
    "alias.xml",
    "forwardingrules.xml",
    "authrules.xml",
    "mappingrules.xml",
    "fallbackrules.xml",
    "ssl/node.crt",
    "ssl/node.key",
    "ssl/ca.crt",
    "data",
    "ssl",
}


class MakeClusterTests(SynchronousTestCase):
    """
    Tests for the folders of a new cluster.
    """

    def setUp(self) -> None:
        """
        Choose a folder.
        """
        self.folder = Path(self.mktemp())

    def make(self, *servers: Server, embedded: bool = False, dns: str | None = None) -> None:
        """
        Make a cluster there.
        """
        make_cluster(self.folder, Cluster("example.com", servers, embedded, dns))

    def test_every_node_has_all_its_files(self) -> None:
        """
        The paths are those that users know.
        """
        self.make(ONE, TWO)
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"zone.db", "ca", ONE.name, TWO.name})
        for server in (ONE, TWO):
            home = self.folder / server.name
            self.assertEqual({str(path.relative_to(home)) for path in home.rglob("*")}, NODE_FILES)

    def test_keys_and_secrets_are_their_owners(self) -> None:
        """
        Nobody else can read them.
        """
        self.make(ONE)
        home = self.folder / ONE.name
        for path in (
            home / "secret.key",
            home / "ssl/node.key",
            home / "credential.xml",
            self.folder / "ca/ca.key",
        ):
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path)
        self.assertEqual((home / "data").stat().st_mode & 0o777, 0o700)

    def test_a_node_alone_has_nobody_to_replicate_with(self) -> None:
        """
        Neither replication nor a database for peers.
        """
        self.make(ONE, embedded=True)
        config = load(self.folder / ONE.name / "sipxha.xml")
        assert config.registrar is not None and config.call_events is not None
        assert config.call_resolver is not None
        self.assertIsNone(config.registrar.replication)
        self.assertIsNone(config.call_events.listen)
        self.assertEqual([host.name for host in config.call_resolver.cse_hosts], ["localhost"])

    def test_the_nodes_of_a_pair_know_each_other(self) -> None:
        """
        They share the secret, and the resolver is on the first.
        """
        self.make(ONE, TWO)
        one, two = (load(self.folder / server.name / "sipxha.xml") for server in (ONE, TWO))
        self.assertEqual(one.secret, two.secret)
        for config, other in ((one, TWO.name), (two, ONE.name)):
            assert config.registrar is not None and config.registrar.replication is not None
            self.assertEqual([peer.name for peer in config.registrar.replication.peers], [other])
        assert one.call_resolver is not None
        self.assertEqual([host.name for host in one.call_resolver.cse_hosts], ["localhost", TWO.name])
        self.assertIsNone(two.call_resolver)

    def test_the_database_is_embedded_or_the_servers_own(self) -> None:
        """
        The resolver writes to the same one.
        """
        self.make(ONE)
        config = load(self.folder / ONE.name / "sipxha.xml")
        assert config.call_events is not None and config.call_resolver is not None
        self.assertEqual(config.call_events.dsn, "host=/run/postgresql dbname=SIPXCDR")
        self.assertEqual(config.call_resolver.dsn, config.call_events.dsn)

    def test_the_console_is_on_loopback(self) -> None:
        """
        On the node's own address where that is one, so that a pair fits one
        machine.
        """
        self.make(ONE, Server("sipx2.example.com", "127.1.1.2"))
        addresses = []
        for name in (ONE.name, "sipx2.example.com"):
            console = load(self.folder / name / "sipxha.xml").console
            assert console is not None
            addresses.append(console.address)
        self.assertEqual(addresses, ["127.0.0.1", "127.1.1.2"])

    def test_a_dns_server_takes_the_place_of_the_zone_file(self) -> None:
        """
        It knows the zone already.
        """
        self.make(ONE, dns="127.0.0.1:5353")
        dns = load(self.folder / ONE.name / "sipxha.xml").dns
        self.assertEqual((dns.zone, dns.server), (None, ("127.0.0.1", 5353)))

    def test_every_sip_service_has_a_port_for_tls(self) -> None:
        """
        One above its other ports, and phones see the node's own certificate.
        """
        self.make(ONE)
        config = load(self.folder / ONE.name / "sipxha.xml")
        assert config.proxy is not None and config.authproxy is not None and config.registrar is not None
        ports = [service.ports for service in (config.proxy, config.authproxy, config.registrar)]
        self.assertEqual(
            [(each.udp, each.tcp, each.tls) for each in ports],
            [(5060, 5060, 5061), (5080, 5080, 5081), (5070, 5070, 5071)],
        )
        self.assertIsNone(config.proxy.tls)

    def test_the_rules_and_the_zone_can_be_read(self) -> None:
        """
        By those who will read them; an IPv6 node too.
        """
        self.make(ONE, TWO)
        for server in (ONE, TWO):
            home = self.folder / server.name
            load_forwarding_rules(home / "forwardingrules.xml")
            load_auth_rules(home / "authrules.xml")
            self.assertTrue(read_zone(home / "zone.db"))

    def test_an_existing_folder_is_not_touched(self) -> None:
        """
        Not even an empty one.
        """
        self.folder.mkdir()
        self.assertRaises(ClusterRefused, self.make, ONE)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_nothing_is_left_of_a_cluster_that_cannot_be(self) -> None:
        """
        It is there as a whole or not at all.
        """
        for servers, finding in (
            ([ONE, ONE], ClusterRefused),
            ([ONE, Server("other.example.com", ONE.address)], ClusterRefused),
            ([Server("sipx1.example.com", "sipx1")], ClusterRefused),
            ([Server("sipx1.example.com", "0.0.0.0")], ClusterRefused),
            ([Server("sipx_1.example.com", "10.1.1.1")], NotAHostName),
            ([Server("ca", "10.1.1.1")], FileExistsError),
        ):
            self.assertRaises(finding, self.make, *servers)
            self.assertEqual(list(self.folder.parent.glob(f"*{self.folder.name}*")), [])
