"""
Tests for L{sipxha.config.load}.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import fields
from datetime import time
from pathlib import Path

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.failures import FailureLimits
from sipxha.config import model
from sipxha.config.certificates import make_authority, make_node, write_node
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.limits import ConnectionLimits, LoadLimits
from sipxha.config.load import ConfigurationRefused, load
from sipxha.config.rules import (
    load_auth_rules,
    load_fallback_rules,
    load_forwarding_rules,
    load_mapping_rules,
)
from sipxha.config.users import load_users
from sipxha.sip.limits import MessageLimits

MINIMAL = """\
<sipxha xmlns="urn:sipxha:config:1">
<domain name="Example.COM"/>
<node name="SIPX1.example.com" address="127.0.0.1"/>
<secret file="secret.key"/>
<users credentials="credential.xml" permissions="permission.xml" aliases="alias.xml"/>
{more}
</sipxha>
"""
"""What follows the C{more} of a test begins on line 6."""

TLS = '<tls certificate="ssl/node.crt" key="ssl/node.key" authority="ssl/ca.crt"/>'


class LoadCase(SynchronousTestCase):
    """
    A node's folder as C{sipxha init} makes it, and a configuration in it.
    """

    def setUp(self) -> None:
        """
        Make the folder of a two-node cluster.
        """
        folder = Path(self.mktemp())
        servers = [Server("sipx1.example.com", "127.1.1.1"), Server("sipx2.example.com", "127.1.1.2")]
        make_cluster(folder, Cluster("example.com", servers, embedded=True))
        self.home = folder / "sipx1.example.com"
        self.path = self.home / "sipxha.xml"

    def load_with(self, more: str) -> model.Config:
        """
        Load the least configuration there can be, and C{more} elements.
        """
        self.path.write_text(MINIMAL.format(more=more))
        return load(self.path)

    def problems_with(self, more: str) -> list[str]:
        """
        The problems of such a configuration, each without the file's name.
        """
        refused = self.assertRaises(ConfigurationRefused, self.load_with, more)
        prefix = f"{self.path}:"
        for problem in refused.problems:
            self.assertTrue(problem.startswith(prefix), problem)
        return [problem.removeprefix(prefix) for problem in refused.problems]


class AcceptedTests(LoadCase):
    """
    Tests for what a good configuration means.
    """

    def test_what_init_writes_is_accepted(self) -> None:
        """
        The configuration of a new node is good.
        """
        config = load(self.path)
        self.assertEqual(config.node.data, self.home.absolute() / "data")
        self.assertEqual(config.dns, model.Dns(zone=self.home.absolute() / "zone.db"))

    def test_services_without_an_element_do_not_run(self) -> None:
        """
        The least configuration is a node that does nothing, with all defaults.
        """
        config = self.load_with("")
        self.assertEqual(
            (config.proxy, config.authproxy, config.registrar, config.call_events, config.console),
            (None,) * 5,
        )
        self.assertEqual(config.log, model.Log("info", None))
        self.assertEqual(list(config.listeners()), [])

    def test_names_are_lower_case_and_the_realm_is_the_domain(self) -> None:
        """
        Host names are compared as DNS compares them.
        """
        config = self.load_with("")
        self.assertEqual(config.domain, model.Domain("example.com", "example.com"))
        self.assertEqual(config.node.name, "sipx1.example.com")
        self.assertEqual(config.node.listen, "127.0.0.1")

    def test_symbols_of_the_rules(self) -> None:
        """
        A symbol that is not given stands for nothing.
        """
        self.assertEqual(self.load_with("").rule_symbols(), {"localhost": "sipx1.example.com"})
        config = self.load_with('<symbols mediaserver="vm.example.com:5100"/>')
        self.assertEqual(
            config.rule_symbols(), {"localhost": "sipx1.example.com", "mediaserver": "vm.example.com:5100"}
        )

    def test_a_register_is_acknowledged_by_this_node_or_by_a_peer(self) -> None:
        """
        By this node, unless said otherwise.
        """
        for attribute, by_peer in (
            ("", False),
            (' acknowledge="local"', False),
            (' acknowledge="peer"', True),
        ):
            config = self.load_with(
                f'{TLS}<registrar udp="5070"><replication port="5077"{attribute}><peer>a.b</peer></replication></registrar>'
            )
            assert config.registrar is not None and config.registrar.replication is not None
            self.assertEqual(config.registrar.replication.by_peer, by_peer)

    def test_the_rules_of_the_registrar(self) -> None:
        """
        Both files may be left out.
        """
        config = self.load_with('<registrar tcp="5070"><fallback-rules file="sipxha.xml"/></registrar>')
        assert config.registrar is not None
        self.assertIsNone(config.registrar.mapping_rules)
        self.assertEqual(config.registrar.fallback_rules, self.path.absolute())
        (problem,) = self.problems_with('<registrar tcp="5070"><mapping-rules file="no.xml"/></registrar>')
        self.assertIn("no.xml: No such file", problem)

    def test_the_defaults_of_the_registrar_are_those_of_the_manual(self) -> None:
        """
        A registrar needs no more than a port.
        """
        self.assertEqual(
            self.load_with('<registrar tcp="5070"/>').registrar,
            model.Registrar(
                model.Ports(None, 5070), 60, 3600, 7200, 10, False, True, ("SHA-256", "MD5"), None
            ),
        )

    def test_refreshes_can_be_spread(self) -> None:
        """
        By half at most, and not by default.
        """
        for attribute, spread in (("", 0), ('spread="50"', 50)):
            config = self.load_with(f'<registrar tcp="5070" {attribute}/>')
            assert config.registrar is not None
            self.assertEqual(config.registrar.spread, spread)
        with self.assertRaises(ConfigurationRefused):
            self.load_with('<registrar tcp="5070" spread="51"/>')

    def test_contacts_that_are_not_listed_can_be_ended(self) -> None:
        """
        They are kept by default.
        """
        config = self.load_with('<registrar tcp="5070" unlisted="expire"/>')
        assert config.registrar is not None
        self.assertTrue(config.registrar.expire_unlisted)

    def limits_with(self, field: str, number: int) -> model.Limits:
        """
        Load a configuration with one limit.
        """
        return self.load_with(f'<limits {field.replace("_", "-")}=" {number} "/>').limits

    def test_limits_are_the_defaults_unless_given(self) -> None:
        """
        An attribute has the name of a field; it changes nothing else.
        """
        default = model.DEFAULT_LIMITS
        for none in ("", "<limits/>"):
            self.assertEqual(self.load_with(none).limits, default)
        for name in (field.name for field in fields(MessageLimits)):
            number = getattr(default.message, name) + 1
            expected = model.Limits(message=MessageLimits(**{name: number}))
            self.assertEqual(self.limits_with(name, number), expected)
        for name in (field.name for field in fields(ConnectionLimits)):
            number = int(getattr(default.connection, name)) + 1
            expected = model.Limits(connection=ConnectionLimits(**{name: number}))
            self.assertEqual(self.limits_with(name, number), expected)
        for name in (field.name for field in fields(FailureLimits)):
            number = getattr(default.failure, name) + 1
            expected = model.Limits(failure=FailureLimits(**{name: number}))
            self.assertEqual(self.limits_with(name, number), expected)
        for name in (field.name for field in fields(LoadLimits)):
            number = getattr(default.load, name) + 1
            expected = model.Limits(load=LoadLimits(**{name: number}))
            self.assertEqual(self.limits_with(name, number), expected)

    def test_the_limits_that_the_example_shows_are_the_defaults(self) -> None:
        """
        All of them, ready to be edited.
        """
        text = (Path(__file__).parents[2] / "etc" / "sipxha.xml").read_text()
        (shown,) = re.findall(r"<limits [^>]*/>", text)
        self.assertEqual(
            shown.count("="),
            sum(len(fields(each)) for each in (MessageLimits, ConnectionLimits, FailureLimits, LoadLimits)),
        )
        self.assertEqual(self.load_with(shown).limits, model.DEFAULT_LIMITS)

    def test_tls_ports_and_what_phones_see(self) -> None:
        """
        The proxy's own certificate, and whom the node trusts with it.
        """
        config = self.load_with(
            TLS + '<proxy tcp="5060" tls="5061"><tls certificate="ssl/node.crt" key="ssl/node.key"/>'
            '<forwarding-rules file="forwardingrules.xml"/></proxy><registrar udp="5070" tls="5071"/>'
        )
        assert config.proxy is not None
        self.assertEqual(config.proxy.ports, model.Ports(None, 5060, 5061))
        self.assertEqual(config.proxy.tls, config.tls)
        self.assertEqual(
            [listener.port for listener in config.listeners() if listener.transport == "tls"], [5061, 5071]
        )

    def test_a_node_finds_itself_in_the_list_of_peers_and_is_left_out(self) -> None:
        """
        One list of peers serves all nodes.
        """
        config = self.load_with(
            TLS + '<registrar udp="5070"><replication port="5077">'
            "<peer> sipx1.example.com </peer><peer address='127.1.1.2'>SIPX2.example.com</peer>"
            "</replication></registrar>"
        )
        assert config.registrar is not None
        self.assertEqual(
            config.registrar.replication,
            model.Replication(5077, 20.0, (model.Peer("sipx2.example.com", "127.1.1.2"),)),
        )

    def test_hosts_of_call_events_may_leave_out_the_port(self) -> None:
        """
        The port is PostgreSQL's own unless given.
        """
        config = self.load_with(
            TLS + '<call-resolver dsn="dbname=SIPXCDR">'
            '<cse-hosts ca="ssl/ca.crt">localhost, <!-- new --> Sipx2.example.com:5433,[::1]:99</cse-hosts>'
            "</call-resolver>"
        )
        assert config.call_resolver is not None
        self.assertEqual(
            config.call_resolver.cse_hosts,
            (
                model.CseHost("localhost", 5432),
                model.CseHost("sipx2.example.com", 5433),
                model.CseHost("::1", 99),
            ),
        )

    def test_gateways_are_names_and_addresses(self) -> None:
        """
        In one spelling, each once.
        """
        listed = "<gateways>GW1.example.com., 10.1.1.9,2001:DB8::0:1, gw1.example.com</gateways>"
        domain = f'<domain name="example.com">{listed}<alias>sip.example.com</alias></domain>'
        self.path.write_text(MINIMAL.format(more="").replace('<domain name="Example.COM"/>', domain))
        self.assertEqual(load(self.path).domain.gateways, ("gw1.example.com", "10.1.1.9", "2001:db8::1"))
        self.path.write_text(
            MINIMAL.format(more="").replace('<domain name="Example.COM"/>', domain.replace("GW1", "g w"))
        )
        refused = self.assertRaises(ConfigurationRefused, load, self.path)
        (problem,) = refused.problems
        self.assertIn(":2: 'g w.example.com.' is neither the name nor the address of a gateway", problem)

    def test_when_the_resolver_runs_and_what_it_keeps(self) -> None:
        """
        By itself it does not run, and keeps what the design says; what is to stay is named.
        """
        hosts = "<cse-hosts>localhost</cse-hosts></call-resolver>"
        config = self.load_with('<call-resolver dsn="dbname=SIPXCDR">' + hosts).call_resolver
        assert config is not None
        self.assertEqual((config.follow, config.run_daily, config.retain), (None, None, model.Retain(35, 7)))
        self.assertEqual((config.max_call, config.max_ringing), (28800, 120))
        config = self.load_with(
            '<call-resolver dsn="d" follow="10" run-daily="03:30" max-call="7200" max-ringing="300">'
            '<retain cdr-days="90"/>' + hosts
        ).call_resolver
        assert config is not None
        self.assertEqual((config.follow, config.run_daily), (10, time(3, 30)))
        self.assertEqual((config.max_call, config.max_ringing), (7200, 300))
        self.assertEqual(config.retain, model.Retain(90, 7))
        config = self.load_with(
            '<call-resolver dsn="d"><retain cdr-days="forever" cse-days="forever"/>' + hosts
        ).call_resolver
        assert config is not None
        self.assertEqual(config.retain, model.Retain(None, None))

    def test_a_dns_server_may_have_a_port(self) -> None:
        """
        Without one it is asked where DNS servers are.
        """
        self.assertEqual(self.load_with('<dns server="10.1.1.1:5353"/>').dns.server, ("10.1.1.1", 5353))
        self.assertEqual(self.load_with('<dns server="::1"/>').dns.server, ("::1", 53))


class RefusedTests(LoadCase):
    """
    Tests for what is refused, and on which line.
    """

    def test_a_file_that_cannot_be_read_is_named(self) -> None:
        """
        There is no line to give.
        """
        missing = self.home / "other.xml"
        refused = self.assertRaises(ConfigurationRefused, load, missing)
        self.assertEqual(refused.problems, (f"{missing}: No such file or directory",))

    def test_broken_xml_is_refused_with_its_line(self) -> None:
        """
        XML that is not well-formed has one problem.
        """
        (problem,) = self.problems_with("<proxy>")
        self.assertTrue(problem.startswith("7: "), problem)

    def test_a_doctype_is_refused(self) -> None:
        """
        The document may not define entities, nor fetch any.
        """
        for doctype in ("<!DOCTYPE sipxha>", '<!DOCTYPE sipxha [<!ENTITY a SYSTEM "secret.key">]>'):
            self.path.write_text(doctype + MINIMAL.format(more=""))
            refused = self.assertRaises(ConfigurationRefused, load, self.path)
            self.assertEqual(refused.problems, (f"{self.path}:1: a DOCTYPE is not allowed here",))

    def test_several_problems_are_found_at_once(self) -> None:
        """
        An operator does not want to start ten times.
        """
        (self.home / "alias.xml").unlink()
        (self.home / "secret.key").write_text("short\n")
        self.assertEqual(
            self.problems_with(
                '<proxy udp="5060"><forwarding-rules file="none.xml"/></proxy>\n<registrar udp="5060"/>'
            ),
            [
                "1: registrar and proxy both want udp port 5060",
                f"4: the secret in {self.home.absolute()}/secret.key has 5 bytes; it needs at least 32",
                f"5: aliases {self.home.absolute()}/alias.xml: No such file or directory",
                f"6: file {self.home.absolute()}/none.xml: No such file or directory",
            ],
        )

    def test_replication_needs_a_certificate(self) -> None:
        """
        Peers know each other by certificate.
        """
        self.assertEqual(
            self.problems_with(
                '<registrar udp="5070"><replication port="5077"><peer>a.b</peer></replication></registrar>'
            ),
            ["6: <replication> needs <tls>: peers know each other by certificate"],
        )

    def test_a_tls_port_needs_a_certificate_and_a_port_of_its_own(self) -> None:
        """
        A certificate without a port is a slip, too.
        """
        rules = '<forwarding-rules file="forwardingrules.xml"/>'
        own = '<tls certificate="ssl/node.crt" key="ssl/node.key"/>'
        for more, problem in (
            ('<registrar udp="5070" tls="5071"/>', "the attribute tls of <registrar> needs <tls>: phones"),
            (TLS + '<registrar tcp="5071" tls="5071"/>', "tcp and tls of <registrar> cannot have one port"),
            (TLS + '<registrar tls="5071"/>', "<registrar> listens nowhere: it needs udp, tcp or both"),
            (
                TLS + f'<proxy tcp="5071">{rules}</proxy><registrar udp="5070" tls="5071"/>',
                "registrar and proxy both want tcp port 5071",
            ),
            (
                TLS + f'<proxy tcp="5060">{rules}{own}</proxy>',
                "<tls> is for the port of the attribute tls, which <proxy> lacks",
            ),
            (
                TLS + f'<proxy tcp="5060" tls="5061">{rules}{own}</proxy>'.replace("node.key", "ca.crt"),
                "ca.crt",
            ),
        ):
            (found,) = self.problems_with(more)
            self.assertIn(problem, found)

    def test_a_peer_is_listed_once(self) -> None:
        """
        Two entries of one peer could disagree.
        """
        self.assertEqual(
            self.problems_with(
                TLS + '<registrar udp="5070"><replication port="5077">\n'
                "<peer>a.b</peer>\n<peer>A.b</peer></replication></registrar>"
            ),
            ["8: peer a.b is listed twice"],
        )

    def test_a_certificate_of_another_node_is_refused(self) -> None:
        """
        No peer would have us with it.
        """
        other = (self.home.parent / "sipx2.example.com" / "ssl" / "node.crt").read_bytes()
        (self.home / "ssl" / "node.crt").write_bytes(other)
        certificate = self.home.absolute() / "ssl" / "node.crt"
        key = self.home.absolute() / "ssl" / "node.key"
        self.assertEqual(
            self.problems_with(TLS),
            [
                f"6: {certificate} is for sipx2.example.com, example.com, not for sipx1.example.com",
                f"6: {key} is not the key of {certificate}",
            ],
        )

    def test_a_missing_key_is_the_only_problem_of_tls(self) -> None:
        """
        Files that cannot be read are not compared.
        """
        key = self.home.absolute() / "ssl" / "node.key"
        key.unlink()
        self.assertEqual(self.problems_with(TLS), [f"6: key {key}: No such file or directory"])

    def test_a_service_must_listen_somewhere(self) -> None:
        """
        A SIP service without a port is a slip.
        """
        self.assertEqual(
            self.problems_with("<registrar/>"), ["6: <registrar> listens nowhere: it needs udp, tcp or both"]
        )

    def test_expiries_are_in_order(self) -> None:
        """
        The default lies between the least and the most.
        """
        (problem,) = self.problems_with('<registrar udp="5070" default-expires="30"/>')
        self.assertIn("min-expires 60, default-expires 30", problem)

    def test_a_remote_database_is_reached_over_tls_only(self) -> None:
        """
        Call events do not travel in the clear.
        """
        self.assertEqual(
            self.problems_with(
                '<call-resolver dsn="a=b">'
                "<cse-hosts>localhost, 127.0.0.2, 10.1.1.2, sipx2</cse-hosts></call-resolver>"
            ),
            [
                "6: 10.1.1.2 can only be reached over TLS, which needs the attribute ca",
                "6: sipx2 can only be reached over TLS, which needs the attribute ca",
            ],
        )

    def test_a_list_of_hosts_has_no_holes(self) -> None:
        """
        Each item is a host, once, with a port that exists.
        """
        self.assertEqual(
            self.problems_with(
                '<call-resolver dsn="a=b">'
                "<cse-hosts>localhost,,localhost:5432,localhost:0</cse-hosts></call-resolver>"
            ),
            [
                "6: '' is not a host, or host:port",
                "6: 'localhost:0' is not a host, or host:port",
                "6: a host is listed twice",
            ],
        )

    def test_a_resolver_needs_a_database(self) -> None:
        """
        Without a dsn it is the embedded one, which must be there.
        """
        (problem,) = self.problems_with("<call-resolver><cse-hosts>localhost</cse-hosts></call-resolver>")
        self.assertIn("needs a dsn", problem)

    def test_the_console_is_for_this_machine(self) -> None:
        """
        It asks nobody for a password.
        """
        (problem,) = self.problems_with('<console address="10.1.1.50" port="8080"/>')
        self.assertIn("10.1.1.50 must be a loopback address", problem)

    def test_addresses_are_addresses(self) -> None:
        """
        A name would have to be asked for before DNS is there.
        """
        self.path.write_text(
            MINIMAL.format(more='<dns server="dns.example.com"/>').replace("127.0.0.1", "0.0.0.0")
        )
        refused = self.assertRaises(ConfigurationRefused, load, self.path)
        self.assertEqual(len(refused.problems), 2)
        self.assertIn("it cannot be a wildcard", refused.problems[0])
        self.assertIn("server must be address:port, not 'dns.example.com'", refused.problems[1])

    def test_a_collector_is_an_address(self) -> None:
        """
        Nothing is looked up for it.
        """
        for wrong in ("homer.example.com:9060", "10.1.1.20:x"):
            self.assertEqual(
                self.problems_with(f'<hep address="{wrong}" id="1"/>'),
                [f"6: address must be address:port, not {wrong!r}"],
            )

    def test_the_log_needs_a_folder(self) -> None:
        """
        Its file is made, its folder is not.
        """
        self.assertEqual(
            self.problems_with('<log file="logs/sipxha.log"/>'),
            [f"6: {self.home.absolute()}/logs is not a folder"],
        )
        self.assertEqual(
            self.problems_with('<log file="x.log" security="x.log"/>'),
            ["6: file and security cannot be one file"],
        )


class ExamplesTests(SynchronousTestCase):
    """
    Tests for the examples in C{etc/}.
    """

    def test_every_example_is_accepted_once_it_has_its_keys(self) -> None:
        """
        The secret and the certificates are nobody's to ship.
        """
        etc = Path(self.mktemp())
        shutil.copytree(Path(__file__).parents[2] / "etc", etc)
        (etc / "secret.key").write_text("0" * 64)
        authority = make_authority("test")
        for path in sorted(etc.glob("sipxha*.xml")):
            name = etree.parse(path).xpath("string(//*[local-name() = 'node']/@name)")
            assert isinstance(name, str)
            write_node(etc / "ssl", make_node(authority, name, "example.com"), authority)
            config = load(path)
            assert config.proxy is not None and config.authproxy is not None
            load_forwarding_rules(config.proxy.forwarding_rules)
            load_auth_rules(config.authproxy.auth_rules)
            assert config.registrar is not None
            assert config.registrar.mapping_rules is not None and config.registrar.fallback_rules is not None
            load_mapping_rules(config.registrar.mapping_rules, config.rule_symbols())
            load_fallback_rules(config.registrar.fallback_rules, config.rule_symbols())
            load_users(config.users, config.domain.name, config.domain.realm)
