"""
Tests for L{sipxha.services.node}: whole nodes in this process, on real sockets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.python.filepath import FilePath
from twisted.trial.unittest import TestCase

from sipxha.auth.identity import HEADER, sign
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.users import add_user
from sipxha.services.node import Node
from sipxha.sip.message import Response
from sipxha.sip.parser import parse_message
from tests.support.pair import free_network

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

REGISTRAR = '<registrar udp="5070" authenticate="false"/>'

REPLICATED = """\
<registrar udp="5070" authenticate="false"><replication port="5077" startup-limit="5">
<peer>sipx1.example.com</peer><peer>sipx2.example.com</peer></replication></registrar>
"""

PROXIES = """\
<proxy udp="5060" tcp="5060"><forwarding-rules file="forwardingrules.xml"/></proxy>
<authproxy udp="5080" tcp="5080"><auth-rules file="authrules.xml"/></authproxy>
<call-events dsn="host=/nowhere dbname=SIPXCDR" listen="5433"/>
<console address="{address}" port="8080"/>
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


class NodeTests(TestCase):
    """
    Tests for nodes as wholes.
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
        listening = reactor.listenUDP(0, phone, interface="127.0.0.1")  # type: ignore[attr-defined]
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
        self.assertEqual(second.overview.registrations("201"), [])
        answer = await self.send("OPTIONS", "sip:200@example.com", 5070)
        self.assertEqual(answer.status, 302)

    async def test_the_nodes_of_a_pair_have_the_same_registrations(self) -> None:
        """
        They find each other by name, whoever comes first.
        """
        one, two = self.node(0, REPLICATED), self.node(1, REPLICATED)
        await self.start(one, two)
        await self.register(number=0)
        await self.until(lambda: two.overview.registrations("200"))
        self.assertEqual(list(two.overview.registrations(None)), list(one.overview.registrations(None)))
        await self.until(lambda: not one.overview.is_degraded and not two.overview.is_degraded)
        status = one.overview.status()
        self.assertEqual((status["peers"], status["peers_reachable"]), (1, 1))

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

    async def test_users_change_while_a_node_runs(self) -> None:
        """
        As soon as the files do, or when it is told to reload.
        """
        node = self.node(0, REGISTRAR)
        await self.start(node)
        add_user(load(self.folder / NAMES[0] / "sipxha.xml").users, "201@example.com", "example.com", "x")
        node.reload()
        self.assertEqual(node.overview.status()["users"], 2)
        answer = await self.send("OPTIONS", "sip:201@example.com", 5070)
        self.assertEqual(answer.status, 480)

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
