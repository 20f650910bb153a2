"""
Tests for L{sipxha.services.node}: whole nodes in this process, on real sockets.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from cryptography import x509
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import DatagramProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.filepath import FilePath
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sipxha.auth.identity import HEADER, sign
from sipxha.config.certificates import make_authority, make_node, read_authority, write_node
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.users import add_user
from sipxha.errors import RemoteError
from sipxha.net.postgres_gate import SSL_REQUEST
from sipxha.net.tls import MutualTls
from sipxha.services.node import Node
from sipxha.sip.message import Request, Response
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from tests.support.pair import free_network

reactor: Any = _reactor

NAMES = ("sipx1.example.com", "sipx2.example.com")

CONFIGURATION = """\
<sipxha xmlns="urn:sipxha:config:1">
<domain name="example.com"/>
<node name="{name}" address="{address}"/>
<secret file="secret.key"/>
<tls certificate="ssl/node.crt" key="ssl/node.key" authority="ssl/ca.crt"/>
<dns zone="zone.db"/>
<users credentials="credential.xml" permissions="permission.xml" aliases="alias.xml"/>
{services}
</sipxha>
"""

REGISTRAR = '<registrar udp="5070" tls="5071" authenticate="false"/>'

REPLICATED = """\
<registrar udp="5070" authenticate="false"><replication port="5077" startup-limit="5">
<peer>sipx1.example.com</peer><peer>sipx2.example.com</peer></replication></registrar>
"""

PROXIES = """\
<proxy udp="5060" tcp="5060" tls="5061"><forwarding-rules file="forwardingrules.xml"/></proxy>
<authproxy udp="5080" tcp="5080" tls="5081"><auth-rules file="authrules.xml"/></authproxy>
<call-events dsn="host=/nowhere dbname=SIPXCDR" listen="5433"/>
<console address="{address}" port="8080"/>
"""

MAPPING = """\
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/urlmap-00-00"><hostMatch>
<hostPattern>example.com</hostPattern><userMatch><userPattern>{pattern}</userPattern>
<permissionMatch><transform><url>{url}</url></transform></permissionMatch></userMatch>
</hostMatch></mappings>
"""


class _Phone(DatagramProtocol):
    """
    Sends one request and waits for its final answer.
    """

    def __init__(self) -> None:
        self.answer: Deferred[Response] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        Take the final answer.
        """
        response = parse_message(datagram)
        assert isinstance(response, Response)
        if response.status >= 200 and not self.answer.called:
            self.answer.callback(response)


class _Server(DatagramProtocol):
    """
    Takes every call.
    """

    def __init__(self) -> None:
        self.uris: list[str] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        Answer it.
        """
        request = parse_message(datagram)
        if isinstance(request, Request) and request.method != "ACK":
            self.uris.append(request.uri)
            response = response_to(request, 200, to_tag="vm", fields=[("Contact", "<sip:vm@127.0.0.1>")])
            self.transport.write(response.encode(), addr)  # type: ignore[union-attr]


@implementer(ILogObserver)
class _Lines:
    """
    What an operator would read.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))


@implementer(IHandshakeListener)
class _Visitor(Protocol):
    """
    Asks a port who it is.
    """

    transport: Any

    def __init__(self, options: IOpenSSLClientConnectionCreator, request: bytes) -> None:
        self.certificate: Deferred[x509.Certificate] = Deferred()
        self._options = options
        self._request = request

    def connectionMade(self) -> None:
        """
        Begin with TLS, or ask for it.
        """
        if self._request:
            self.transport.write(self._request)
        else:
            self.transport.startTLS(self._options)

    def dataReceived(self, data: bytes) -> None:
        """
        It may begin.
        """
        self.transport.startTLS(self._options)

    def handshakeCompleted(self) -> None:
        """
        Take what was shown.
        """
        self.certificate.callback(self.transport.getPeerCertificate().to_cryptography())
        self.transport.loseConnection()


class NodeCase(TestCase):
    """
    A test with the folders of a pair.
    """

    def setUp(self) -> None:
        """
        Make the folders of a pair on addresses that nobody has.
        """
        # The name of a socket is short, and trial's folders are deep.
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        network = free_network()
        self.addresses = [f"{network}.1", f"{network}.2"]
        servers = [Server(*server) for server in zip(NAMES, self.addresses, strict=True)]
        self.folder = folder / "c"
        make_cluster(self.folder, Cluster("example.com", servers, embedded=False))
        self.calls = 0
        log = _Lines()
        self.lines = log.lines
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)

    def node(self, number: int, services: str) -> Node:
        """
        Make a node with some services; C{number} is 0 or 1.
        """
        home = self.folder / NAMES[number]
        path = home / "sipxha.xml"
        address = self.addresses[number]
        services = services.format(address=address)
        path.write_text(CONFIGURATION.format(name=NAMES[number], address=address, services=services))
        config = load(path)
        if not (home / "data" / "registry.sqlite").exists():
            add_user(config.users, "200@example.com", "example.com", "secret")
        node = Node(reactor, config)
        node.failed.addCallback(self.fail)
        self.addCleanup(lambda: node.stopService() if node.running else None)
        return node

    async def until(self, condition: Callable[[], object]) -> None:
        """
        Let the reactor turn until something is so; trial's limit ends a test
        in which it never is.
        """
        while not condition():
            await deferLater(reactor, 0.01)

    async def start(self, *nodes: Node) -> None:
        """
        Start nodes at once and wait for all.
        """
        for node in nodes:
            node.startService()
        await self.until(lambda: all(node.overview.is_ready for node in nodes))

    async def send(self, method: str, uri: str, port: int, *fields: str, number: int = 0) -> Response:
        """
        Send a request to a service of a node.
        """
        self.calls += 1
        address = self.addresses[number]
        phone = _Phone()
        listening = reactor.listenUDP(0, phone, interface="127.0.0.1")
        source = f"127.0.0.1:{listening.getHost().port}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {source};branch=z9hG4bKt{self.calls}",
            "Max-Forwards: 70",
            f"From: <sip:200@example.com>;tag=t{self.calls}",
            "To: <sip:200@example.com>",
            f"Call-ID: call-{self.calls}",
            f"CSeq: 1 {method}",
            *fields,
            "Content-Length: 0",
        ]
        phone.transport.write("\r\n".join([*lines, "", ""]).encode(), (address, port))  # type: ignore[union-attr]
        try:
            return await phone.answer
        finally:
            await listening.stopListening()

    async def register(self, number: int = 0) -> None:
        """
        Register 200 at a node.
        """
        answer = await self.send(
            "REGISTER", "sip:example.com", 5070, "Contact: <sip:200@10.9.9.9>", number=number
        )
        self.assertEqual(answer.status, 200)

    async def call(self, target: str, port: int = 5080, method: str = "OPTIONS") -> int:
        """
        Send a request of a known user through a proxy of the first node.
        """
        secret = load(self.folder / NAMES[0] / "sipxha.xml").secret
        number = self.calls + 1
        proof = sign(secret, "200@example.com", f"call-{number}", f"t{number}", reactor.seconds())
        fields = [f"{HEADER}: {proof}", "Contact: <sip:200@10.9.9.9>"]
        answer = await self.send(method, target, port, *fields)
        return answer.status


class NodeTests(NodeCase):
    """
    Tests for nodes as wholes.
    """

    async def test_an_acknowledged_registration_outlives_the_node(self) -> None:
        """
        The next life shows it again, and redirects to it.
        """
        first = self.node(0, REGISTRAR)
        await self.start(first)
        await self.register()
        await first.stopService()
        self.assertFalse(first.overview.is_ready)

        second = self.node(0, REGISTRAR)
        await self.start(second)
        for user in (None, "200", "200@example.com"):
            (row,) = second.overview.registrations(user)
            self.assertEqual((row["contact"], row["primary"]), ("<sip:200@10.9.9.9>", NAMES[0]))
            self.assertTrue(row["expires"].endswith("Z"))
            self.assertNotIn("deadline", row)
        self.assertEqual(list(second.overview.registrations("201")), [])
        answer = await self.send("OPTIONS", "sip:200@example.com", 5070)
        self.assertEqual(answer.status, 302)

    async def test_the_nodes_of_a_pair_have_the_same_registrations(self) -> None:
        """
        They find each other by name, whoever comes first.
        """
        one, two = self.node(0, REPLICATED), self.node(1, REPLICATED)
        await self.start(one, two)
        await self.register(number=0)
        await self.until(lambda: list(two.overview.registrations("200")))
        self.assertEqual(list(two.overview.registrations(None)), list(one.overview.registrations(None)))
        await self.until(lambda: not one.overview.is_degraded and not two.overview.is_degraded)
        status = one.overview.status()
        self.assertEqual((status["peers"], status["peers_reachable"]), (1, 1))
        # That of the REGISTER, which may be repeated for a while.
        self.assertEqual(status["transactions"], {"registrar": 1})

        await two.stopService()
        await self.register(number=0)
        await self.until(lambda: one.overview.is_degraded)
        self.assertIn(f"{NAMES[1]} is UnReachable", one.overview.status()["trouble"])

    async def test_a_dead_database_holds_nothing_back(self) -> None:
        """
        The node serves, and says what is missing.
        """
        node = self.node(0, REGISTRAR + PROXIES)
        await self.start(node)
        answer = await self.send("OPTIONS", "sip:example.com", 5070)
        self.assertEqual(answer.status, 200)
        for port in (5060, 5080):
            answer = await self.send("INVITE", "sip:200@example.com", port, "Contact: <sip:200@10.9.9.9>")
            self.assertEqual(answer.status, 407)
        await self.until(lambda: node.overview.is_degraded)
        self.assertIn("call events wait for", node.overview.status()["trouble"])

    async def test_every_service_keeps_the_limits_that_it_is_given(self) -> None:
        """
        What is just allowed is read, one more is refused.
        """
        node = self.node(0, REGISTRAR + PROXIES + '<limits fields="16"/>')
        await self.start(node)
        for port in (5060, 5070, 5080):
            for more, reason in ((9, None), (10, "Too Many Header Fields")):
                answer = await self.send("OPTIONS", "sip:example.com", port, *["X: y"] * more)
                refusal = answer.reason if answer.status == 400 else None
                self.assertEqual(refusal, reason, (port, more))

    async def test_an_authproxy_steps_in_for_that_of_another_node(self) -> None:
        """
        What was on its way to the other one goes on to where its next Route leads.
        """
        node = self.node(0, REPLICATED + PROXIES)
        await self.start(node)
        secret = load(self.folder / NAMES[0] / "sipxha.xml").secret
        proof = sign(secret, "200@example.com", "call-1", "t1", reactor.seconds())
        answer = await self.send(
            "OPTIONS",
            "sip:200@example.com",
            5080,
            f"Route: <sip:ap.{NAMES[1]};lr>, <sip:{self.addresses[0]}:5070;lr>",
            f"{HEADER}: {proof}",
        )
        self.assertEqual(answer.status, 480)

    async def test_what_is_for_sips_travels_over_tls_all_the_way(self) -> None:
        """
        From a phone that is none of ours through the proxy to the registrar,
        which proves to be the domain under the name that DNS knows it by.
        """
        node = self.node(0, REGISTRAR + PROXIES)
        await self.start(node)
        context = ssl.create_default_context(cafile=str(self.folder / "ca" / "ca.crt"))
        request = "\r\n".join(
            [
                "REGISTER sips:example.com SIP/2.0",
                "Via: SIP/2.0/TLS phone.invalid;branch=z9hG4bKt1;rport",
                "Max-Forwards: 70",
                "From: <sips:200@example.com>;tag=t1",
                "To: <sips:200@example.com>",
                "Call-ID: call-1",
                "CSeq: 1 REGISTER",
                "Contact: <sips:200@10.9.9.9>",
                "Content-Length: 0",
                "",
                "",
            ]
        ).encode()

        def register() -> bytes:
            plain = socket.create_connection((self.addresses[0], 5061), 5)
            wire = context.wrap_socket(plain, server_hostname=NAMES[0])
            # Whoever hangs up is not registered any longer.
            self.addCleanup(wire.close)
            wire.sendall(request)
            return wire.recv(65536)

        answer = parse_message(await deferToThread(register))
        assert isinstance(answer, Response)
        self.assertEqual((answer.status, answer.get("contact")), (200, "<sips:200@10.9.9.9>;expires=3600"))
        (row,) = node.overview.registrations("200")
        self.assertEqual(row["received"].partition(":")[0], "tls")

    async def test_who_guesses_passwords_is_named_once(self) -> None:
        """
        However long he goes on.
        """
        node = self.node(0, REGISTRAR)
        await self.start(node)
        failures = node._authenticator.failures
        for _ in range(20):
            if not failures.is_held("192.0.2.1", "200", reactor.seconds()):
                failures.failed("192.0.2.1", "200", reactor.seconds())
        line = "wrong passwords from 192.0.2.1, at last for 200: no more of them are looked at for now"
        await self.until(lambda: line in self.lines)
        self.assertEqual(self.lines.count(line), 1)

    async def test_a_node_that_misses_nothing_any_more_says_so(self) -> None:
        """
        Once, when the last peer has come.
        """
        one, two = self.node(0, REPLICATED), self.node(1, REPLICATED)
        await self.start(one)
        self.assertTrue(one.overview.is_degraded)
        self.assertNotIn("whole again", self.lines)
        await self.start(two)
        await self.until(lambda: "whole again" in self.lines)
        self.assertFalse(one.overview.is_degraded)
        self.assertEqual(self.lines.count("whole again"), 1)

    async def test_a_node_that_cannot_go_on_says_why_and_opens_no_port(self) -> None:
        """
        Its store is left as it is.
        """
        node = self.node(0, REGISTRAR)
        (self.folder / NAMES[0] / "data" / "registry.sqlite").write_bytes(b"this is no database" * 100)
        reasons: list[str] = []
        node.failed = Deferred()
        node.failed.addCallback(reasons.append)
        node.startService()
        (reason,) = reasons
        self.assertIn("registry.sqlite", reason)
        self.assertFalse(node.overview.is_ready)

    async def test_a_node_can_be_stopped_while_it_starts(self) -> None:
        """
        It waits for its peer, but not with that.
        """
        node = self.node(0, REPLICATED)
        node.startService()
        self.assertFalse(node.overview.is_ready)
        await node.stopService()
        self.assertFalse(node.overview.is_ready)

    async def test_the_status_can_be_shown_before_the_node_is_ready(self) -> None:
        """
        An operator asks when something hangs.
        """
        node = self.node(0, REPLICATED)
        node.startService()
        status = json.loads(json.dumps(node.overview.status()))
        self.assertEqual((status["node"], status["ready"]), (NAMES[0], False))


class ReloadTests(NodeCase):
    """
    Tests for what a running node reads again when it is told to.
    """

    async def test_users_change_while_a_node_runs(self) -> None:
        """
        As soon as the files do, or when it is told to reload.
        """
        node = self.node(0, REGISTRAR)
        await self.start(node)
        add_user(load(self.folder / NAMES[0] / "sipxha.xml").users, "201@example.com", "example.com", "x")
        node.reload()
        await self.until(lambda: node.overview.status()["users"] == 2)
        answer = await self.send("OPTIONS", "sip:201@example.com", 5070)
        self.assertEqual(answer.status, 480)

    async def test_a_peer_can_join_and_leave_while_nodes_run(self) -> None:
        """
        Both are told; nothing is restarted, and what differs otherwise is named.
        """
        alone = REPLICATED.replace("<peer>sipx2.example.com</peer>", "")
        one, two = self.node(0, alone), self.node(1, REPLICATED)
        await self.start(one, two)
        await self.register()
        self.assertEqual(one.overview.status()["peers"], 0)
        self.node(0, REPLICATED.replace('authenticate="false"', 'authenticate="true"'))
        outcomes = {each.what: each for each in await one.reload()}
        self.assertEqual(outcomes["peers"], ("peers", "changed", "sipx2.example.com added"))
        self.assertEqual(outcomes["<registrar>"].result, "needs a restart")
        self.assertEqual(outcomes["users"][1:], ("unchanged", "1 users, 0 added, 0 removed"))
        await self.until(lambda: list(two.overview.registrations("200")))
        await self.until(lambda: not one.overview.is_degraded and not two.overview.is_degraded)

        self.node(0, alone)
        await one.reload()
        self.assertEqual(one.overview.status()["peers"], 0)
        self.assertIn("reload: peers changed sipx2.example.com removed", self.lines)

    async def test_a_configuration_that_is_wrong_changes_nothing(self) -> None:
        """
        All its problems are told.
        """
        node = self.node(0, REGISTRAR)
        await self.start(node)
        (self.folder / NAMES[0] / "sipxha.xml").write_text("<sipxha")
        before = node.overview.config
        outcomes = {each.what: each.result for each in await node.reload()}
        self.assertEqual((outcomes["configuration"], outcomes["certificates"]), ("refused", "unchanged"))
        self.assertIs(node.overview.config, before)

    async def test_a_node_that_is_drained_may_end(self) -> None:
        """
        As soon as nothing is left; what is new is sent elsewhere meanwhile.
        """
        node = self.node(0, REGISTRAR)
        await self.start(node)
        draining = node._drain({"limit": 30})
        self.assertFalse(node.overview.is_ready)
        self.assertRaises(RemoteError, node._drain, {})
        source = "Contact: <sip:200@10.9.9.9>"
        answer = await self.send("REGISTER", "sip:example.com", 5070, source)
        self.assertEqual((answer.status, answer.get("retry-after")), (503, "60"))
        summary = await draining
        self.assertEqual((summary["unanswered"], summary["behind"]), (0, 0))
        await node.drained

    async def test_a_drain_needs_a_limit_that_is_one(self) -> None:
        """
        Anything else is refused, and nothing has begun.
        """
        node = self.node(0, REGISTRAR)
        await self.start(node)
        wrong: list[Any] = [[], {"limit": "1"}, {"limit": True}, {"limit": -1}, {"limit": 1e9}]
        for posted in wrong:
            self.assertRaises(RemoteError, node._drain, posted)
        self.assertTrue(node.overview.is_ready)

    async def test_rules_are_read_again(self) -> None:
        """
        Those of both proxies.
        """
        registrar = f"{self.addresses[0]}:5070"
        forwarding = self.folder / NAMES[0] / "forwardingrules.xml"
        text = forwarding.read_text().replace(f"rr.{NAMES[0]};transport=tcp", registrar)
        forwarding.write_text(text)
        node = self.node(0, REGISTRAR + PROXIES)
        await self.start(node)
        self.assertEqual(await self.call(f"sip:200@{registrar}"), 404)
        self.assertEqual(await self.call("sip:200@example.com", 5060), 480)
        self.forbid(registrar)
        # Where nobody listens.
        forwarding.write_text(text.replace(registrar, f"{self.addresses[0]}:9;transport=tcp"))
        node.reload()
        self.assertEqual(await self.call(f"sip:200@{registrar}"), 403)
        self.assertEqual(await self.call("sip:200@example.com", 5060), 500)
        for line in ("the forwarding rules were read", "the authorization rules were read"):
            self.assertIn(line, self.lines)

    async def test_wrong_rules_leave_the_old_ones(self) -> None:
        """
        A line says where they are wrong; what else changed is read.
        """
        node = self.node(0, REGISTRAR + PROXIES)
        await self.start(node)
        forwarding = self.folder / NAMES[0] / "forwardingrules.xml"
        forwarding.write_text("<routes>\n")
        self.forbid(f"{self.addresses[0]}:5070")
        node.reload()
        (line,) = [line for line in self.lines if "stay as they were" in line]
        self.assertTrue(line.startswith(f"the forwarding rules stay as they were: {forwarding}:2: "), line)
        self.assertEqual(await self.call(f"sip:200@{self.addresses[0]}:5070"), 403)

    async def test_a_number_leads_where_the_rules_of_the_registrar_say(self) -> None:
        """
        A user without a telephone to the voicemail server, and a number that is
        nobody's to the gateway, through both proxies; and the rules are read
        again.
        """
        server = _Server()
        listening = reactor.listenUDP(0, server, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        place = f"127.0.0.1:{listening.getHost().port}"
        home = self.folder / NAMES[0]
        (home / "mappingrules.xml").write_text(
            MAPPING.format(pattern="2xx", url="&lt;sip:vm-{digits}@{mediaserver}&gt;;q=0.1")
        )
        (home / "fallbackrules.xml").write_text(MAPPING.format(pattern="9.", url=f"sip:{{vdigits}}@{place}"))
        registrar = REGISTRAR.replace(
            "/>",
            '><fallback-rules file="fallbackrules.xml"/><mapping-rules file="mappingrules.xml"/></registrar>'
            f'<symbols mediaserver="{place}"/>',
        )
        forwarding = home / "forwardingrules.xml"
        forwarding.write_text(
            forwarding.read_text().replace(f"rr.{NAMES[0]};transport=tcp", f"{self.addresses[0]}:5070")
        )
        node = self.node(0, registrar + PROXIES)
        await self.start(node)
        for number, reached in (("200", "vm-200"), ("9555", "555")):
            self.assertEqual(await self.call(f"sip:{number}@example.com", 5060, "INVITE"), 200)
            self.assertEqual(server.uris.pop(), f"sip:{reached}@{place}")
        self.assertEqual(await self.call("sip:300@example.com", 5060), 404)
        (home / "mappingrules.xml").write_text(MAPPING.format(pattern="3xx", url=f"sip:other@{place}"))
        (home / "fallbackrules.xml").write_text("<mappings/>")
        node.reload()
        self.assertEqual(await self.call("sip:300@example.com", 5060), 200)
        self.assertEqual(server.uris.pop(), f"sip:other@{place}")
        self.assertEqual(await self.call("sip:9555@example.com", 5060), 200)
        self.assertIn("the mapping rules were read", self.lines)
        (line,) = [line for line in self.lines if "stay as they were" in line]
        self.assertTrue(line.startswith("the fallback rules stay as they were: "), line)

    def forbid(self, host: str) -> None:
        """
        Let nobody call a host.
        """
        rules = self.folder / NAMES[0] / "authrules.xml"
        rules.write_text(
            '<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/urlauth-00-00">'
            f"<hostMatch><hostPattern>{host}</hostPattern><userMatch><userPattern>.</userPattern>"
            "<permissionMatch><permission>NoAccess</permission></permissionMatch></userMatch></hostMatch>"
            "</mappings>"
        )

    async def shown(self, port: int, request: bytes = b"") -> int:
        """
        The number of the certificate that a port of the first node shows.
        """
        tls = load(self.folder / NAMES[1] / "sipxha.xml").tls
        assert tls is not None
        visitor = _Visitor(MutualTls(tls).client(NAMES[0]), request)
        await connectProtocol(TCP4ClientEndpoint(reactor, self.addresses[0], port), visitor)
        return (await visitor.certificate).serial_number

    async def test_certificates_are_read_again(self) -> None:
        """
        Where peers come in, where the database is, and where phones do.
        """
        node = self.node(0, REPLICATED + PROXIES)
        await self.start(node)
        authority = read_authority(self.folder / "ca")
        renewed = make_node(authority, NAMES[0], "example.com")
        write_node(self.folder / NAMES[0] / "ssl", renewed, authority)
        self.assertNotEqual(await self.shown(5077), renewed.certificate.serial_number)
        node.reload()
        self.assertIn("the certificates were read", self.lines)
        self.assertEqual(await self.shown(5077), renewed.certificate.serial_number)
        self.assertEqual(await self.shown(5433, SSL_REQUEST), renewed.certificate.serial_number)
        self.assertEqual(await self.shown(5061), renewed.certificate.serial_number)

    async def test_phones_see_the_certificate_that_is_for_them(self) -> None:
        """
        Of whatever authority; who asks for the node sees the node's.
        """
        authority = make_authority("public")
        write_node(
            self.folder / NAMES[0] / "public", make_node(authority, "example.com", "example.com"), authority
        )
        own = '<tls certificate="public/node.crt" key="public/node.key"/></proxy>'
        node = self.node(0, PROXIES.replace("</proxy>", own))
        await self.start(node)
        self.assertEqual(await self.issuer("example.com"), "CN=public")
        self.assertEqual(await self.issuer(NAMES[0]), "CN=example.com sipxha authority")
        other = make_authority("other")
        write_node(self.folder / NAMES[0] / "public", make_node(other, "example.com", "example.com"), other)
        node.reload()
        self.assertEqual(await self.issuer("example.com"), "CN=other")
        write_node(self.folder / NAMES[0] / "public", make_node(other, "example.org", "example.org"), other)
        node.reload()
        (line,) = [line for line in self.lines if "certificates stay as they were" in line]
        self.assertIn("is for example.org, not for example.com", line)
        self.assertEqual(await self.issuer("example.com"), "CN=other")

    async def issuer(self, name: str) -> str:
        """
        Who signed what the first node's proxy shows to a client that asks for C{name}.
        """
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

        def look() -> bytes:
            plain = socket.create_connection((self.addresses[0], 5061), 5)
            with context.wrap_socket(plain, server_hostname=name) as wire:
                return wire.getpeercert(binary_form=True) or b""

        return x509.load_der_x509_certificate(await deferToThread(look)).issuer.rfc4514_string()

    async def test_wrong_certificates_leave_the_old_ones(self) -> None:
        """
        No peer would have a node with the certificate of another, or without one.
        """
        node = self.node(0, REPLICATED + PROXIES)
        await self.start(node)
        before = await self.shown(5077)
        authority = read_authority(self.folder / "ca")
        folder = self.folder / NAMES[0] / "ssl"
        write_node(folder, make_node(authority, NAMES[1], "example.com"), authority)
        node.reload()
        (folder / "node.key").unlink()
        node.reload()
        lines = [line for line in self.lines if line.startswith("the certificates stay as they were: ")]
        self.assertIn(f"{folder}/node.crt is for {NAMES[1]}, example.com, not for {NAMES[0]}", lines[0])
        self.assertIn(f"{folder}/node.key: No such file or directory", lines[1])
        self.assertEqual(await self.shown(5077), before)
