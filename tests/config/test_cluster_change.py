"""
Tests for L{sipxha.config.cluster_change}.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.cluster_change import add_node, nodes_of, remove_node
from sipxha.config.init import Cluster, ClusterRefused, Server, make_cluster
from sipxha.config.load import ConfigurationRefused, load
from sipxha.config.model import CseHost
from sipxha.config.pem_files import pem_problems
from sipxha.config.rules import load_forwarding_rules
from sipxha.config.zone import NotAHostName

ONE = Server("sipx1.example.com", "10.1.1.50")
TWO = Server("sipx2.example.com", "10.1.1.5")
THREE = Server("sipx22.example.com", "2001:db8::3")


class ChangeCase(SynchronousTestCase):
    """
    A cluster in a folder.
    """

    servers: tuple[Server, ...] = (ONE, TWO)

    def setUp(self) -> None:
        """
        Make it, with something in it that an operator wrote.
        """
        self.folder = Path(self.mktemp())
        make_cluster(self.folder, Cluster("example.com", self.servers, embedded=True))
        for server in self.servers:
            path = self.folder / server.name / "sipxha.xml"
            path.write_text(
                path.read_text().replace(
                    '  <log level="info"/>',
                    "  <emergency>112</emergency> <!-- the fire brigade -->\n  <log   level='debug'/>",
                )
            )
        (self.folder / TWO.name / "data" / "registry.sqlite").write_bytes(b"rows")

    def contents(self) -> dict[str, bytes]:
        """
        All files.
        """
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }

    def peers(self, name: str) -> list[str]:
        """
        Whom a node replicates with.
        """
        return sorted(peer.name for peer in load(self.folder / name / "sipxha.xml").peers())


class AddTests(ChangeCase):
    """
    Tests for a node more.
    """

    def test_all_nodes_know_each_other(self) -> None:
        """
        By peers, by hosts of call events, and by the zone; and only what changed is named.
        """
        before = self.contents()
        changed = add_node(self.folder, THREE)
        names = [server.name for server in (ONE, TWO, THREE)]
        for name in names:
            self.assertEqual(self.peers(name), [other for other in names if other != name])
            self.assertIn(b"AAAA  2001:db8::3", (self.folder / name / "zone.db").read_bytes())
        resolver = load(self.folder / ONE.name / "sipxha.xml").call_resolver
        assert resolver is not None
        hosts = [CseHost("localhost", 5432), CseHost(TWO.name, 5433), CseHost(THREE.name, 5433)]
        self.assertEqual(list(resolver.cse_hosts), hosts)
        after = self.contents()
        self.assertEqual(
            {str(path.relative_to(self.folder)) for path in changed},
            {name for name in before if before[name] != after[name]},
        )
        self.assertEqual(before.keys() - after.keys(), set())

    def test_it_is_like_the_others_but_itself(self) -> None:
        """
        Settings, users and rules are theirs; name, address, key and data its own, and no call resolver.
        """
        add_node(self.folder, THREE)
        home = self.folder / THREE.name
        config = load(home / "sipxha.xml")
        self.assertEqual((config.node.name, config.node.address), THREE)
        self.assertEqual(
            (config.emergency, config.log.level, config.call_resolver), (("112",), "debug", None)
        )
        self.assertIn("the fire brigade", (home / "sipxha.xml").read_text())
        assert config.tls is not None and config.proxy is not None
        self.assertEqual(pem_problems(config.tls, THREE.name, datetime.now(UTC)), [])
        keys = {(self.folder / server.name / "ssl" / "node.key").read_bytes() for server in (ONE, TWO, THREE)}
        self.assertEqual(len(keys), 3)
        self.assertEqual((home / "ssl" / "node.key").stat().st_mode & 0o777, 0o600)
        self.assertEqual(
            (list((home / "data").iterdir()), (home / "data").stat().st_mode & 0o777), ([], 0o700)
        )
        rules = config.proxy.forwarding_rules.read_text()
        for part in (f"<routeFrom>{THREE.name}<", "<routeFrom>[2001:db8::3]<", f"rr.{THREE.name};"):
            self.assertIn(part, rules)
        self.assertNotIn(TWO.name, rules)
        load_forwarding_rules(config.proxy.forwarding_rules)
        self.assertEqual(config.secret, load(self.folder / ONE.name / "sipxha.xml").secret)

    def test_what_operators_wrote_stays(self) -> None:
        """
        Comments and settings of the others.
        """
        add_node(self.folder, THREE)
        text = (self.folder / ONE.name / "sipxha.xml").read_text()
        self.assertIn("<emergency>112</emergency> <!-- the fire brigade -->", text)
        self.assertIn("      <peer>sipx22.example.com</peer>\n    </replication>\n", text)

    def test_hosts_and_peers_from_elsewhere_stay(self) -> None:
        """
        Such as one that is given by its address, or whose folder is kept by somebody else.
        """
        path = self.folder / ONE.name / "sipxha.xml"
        text = path.read_text().replace(
            "localhost, sipx2.example.com:5433", "localhost, 10.1.1.5:5433, 10.9.9.9"
        )
        path.write_text(
            text.replace("    </replication>", "      <peer>far.example.net</peer>\n    </replication>")
        )
        add_node(self.folder, THREE)
        resolver = load(path).call_resolver
        assert resolver is not None
        hosts = [CseHost("localhost", 5432), CseHost(TWO.address, 5433), CseHost("10.9.9.9", 5432)]
        self.assertEqual(list(resolver.cse_hosts), [*hosts, CseHost(THREE.name, 5433)])
        remove_node(self.folder, TWO.name)
        resolver = load(path).call_resolver
        assert resolver is not None
        self.assertEqual(list(resolver.cse_hosts), [hosts[0], hosts[2], CseHost(THREE.name, 5433)])
        self.assertEqual(self.peers(ONE.name), ["far.example.net", THREE.name])

    def test_the_bare_domain_keeps_its_addresses(self) -> None:
        """
        Where the zone had them.
        """
        zone = self.folder / "zone.db"
        zone.write_text(zone.read_text() + "example.com. 60 IN A 10.1.1.50\n")
        add_node(self.folder, THREE)
        self.assertRegex(zone.read_text(), r"(?m)^example\.com\. .* AAAA +2001:db8::3$")

    def test_what_cannot_be_added_changes_nothing(self) -> None:
        """
        In one line.
        """
        before = self.contents()
        for server, part in (
            (ONE, "exists|two nodes"),
            (Server("sipx3.example.com", ONE.address), "two nodes have the address"),
            (Server("sipx3.example.com", "0.0.0.0"), "not the address of a server"),
            (Server("sipx3.example.com", "nowhere"), "not the address of a server"),
        ):
            self.assertRegex(str(self.assertRaises(ClusterRefused, add_node, self.folder, server)), part)
        self.assertRaises(NotAHostName, add_node, self.folder, Server("no/name", "10.1.1.9"))
        self.assertRaises(ClusterRefused, add_node, self.folder / "nothing", THREE)
        self.assertEqual(self.contents(), before)

    def test_a_broken_configuration_of_another_changes_nothing(self) -> None:
        """
        It is named.
        """
        path = self.folder / ONE.name / "sipxha.xml"
        path.write_text(path.read_text().replace('udp="5060"', 'udp="x"'))
        before = self.contents()
        self.assertRaises(ConfigurationRefused, add_node, self.folder, THREE)
        self.assertEqual(self.contents(), before)

    def test_without_the_authority_s_key_nothing_is_made(self) -> None:
        """
        It may be kept elsewhere.
        """
        (self.folder / "ca" / "ca.key").unlink()
        before = self.contents()
        with self.assertRaisesRegex(Exception, "ca.key cannot be read"):
            add_node(self.folder, THREE)
        self.assertEqual(self.contents(), before)
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"ca", "zone.db", ONE.name, TWO.name})


class AloneTests(ChangeCase):
    """
    Tests for a node that was alone.
    """

    servers = (ONE,)

    def setUp(self) -> None:
        """
        Only one.
        """
        self.folder = Path(self.mktemp())
        make_cluster(self.folder, Cluster("example.com", [ONE], embedded=True))

    def test_the_second_makes_it_a_pair(self) -> None:
        """
        As if init had been told of both; and back.
        """
        pair = Path(self.mktemp())
        make_cluster(pair, Cluster("example.com", [ONE, TWO], embedded=True))
        add_node(self.folder, TWO)
        for server in (ONE, TWO):
            made, added = (load(folder / server.name / "sipxha.xml") for folder in (pair, self.folder))
            self.assertEqual(added.peers(), made.peers())
            self.assertEqual(added.call_events, made.call_events)
            self.assertEqual(list(added.listeners()), list(made.listeners()))
        self.assertEqual((self.folder / "zone.db").read_text(), (pair / "zone.db").read_text())
        remove_node(self.folder, TWO.name)
        config = load(self.folder / ONE.name / "sipxha.xml")
        assert config.call_resolver is not None
        self.assertEqual(config.peers(), ())
        self.assertEqual(config.call_resolver.cse_hosts, (CseHost("localhost", 5432),))


class RemoveTests(ChangeCase):
    """
    Tests for a node less.
    """

    def test_nobody_knows_it_any_more(self) -> None:
        """
        But its folder is there, with its data.
        """
        add_node(self.folder, THREE)
        remove_node(self.folder, TWO.name)
        self.assertEqual(list(nodes_of(self.folder)), [ONE.name, THREE.name])
        self.assertEqual((self.peers(ONE.name), self.peers(THREE.name)), ([THREE.name], [ONE.name]))
        for path in (self.folder / "zone.db", self.folder / ONE.name / "sipxha.xml"):
            self.assertNotIn(TWO.name, path.read_text())
        gone = self.folder / f"{TWO.name}.removed"
        self.assertEqual((gone / "data" / "registry.sqlite").read_bytes(), b"rows")

    def test_to_add_and_remove_changes_nothing(self) -> None:
        """
        For the others.
        """
        before = {name: load(self.folder / name / "sipxha.xml") for name in (ONE.name, TWO.name)}
        add_node(self.folder, THREE)
        remove_node(self.folder, THREE.name)
        for name, config in before.items():
            self.assertEqual(load(self.folder / name / "sipxha.xml"), config)

    def test_what_cannot_be_removed_stays(self) -> None:
        """
        The resolver's node, the last one, one that is not there, and a second of one name.
        """
        before = self.contents()
        for name, part in ((ONE.name, "runs the call resolver"), ("x.example.com", "there is no node")):
            self.assertIn(part, str(self.assertRaises(ClusterRefused, remove_node, self.folder, name)))
        self.assertEqual(self.contents(), before)
        (self.folder / f"{TWO.name}.removed").mkdir()
        self.assertIn(
            "in the way", str(self.assertRaises(ClusterRefused, remove_node, self.folder, TWO.name))
        )
