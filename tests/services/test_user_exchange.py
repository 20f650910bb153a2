"""
Tests for L{sipxha.services.user_exchange}: nodes in one process, with real
HTTPS and real files.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sipxha.config.users import add_user
from sipxha.net.rpc_client import RpcClient
from sipxha.net.rpc_server import Exchange, RpcServer
from sipxha.net.tls import MutualTls
from sipxha.services.user_exchange import GRACE, INTERVAL, UserExchange
from sipxha.services.user_files import UserFiles
from sipxha.sync import agreement, rpc, wire
from tests.services.test_user_files import at_once, configuration
from tests.support.certs import Authority
from tests.support.pair import free_network

reactor: Any = _reactor
PORT = 5077


class _Timed:
    """
    The real reactor with a clock of the test's own.
    """

    def __init__(self, clock: Clock) -> None:
        self.callLater = clock.callLater
        self.seconds = clock.seconds


class _Node:
    """
    What of a node the exchange needs.
    """

    def __init__(self, number: int, test: UserExchangeTests) -> None:
        self.name = f"sipx{number}.example.com"
        self.address = f"{test.network}.{number}"
        self.folder = test.folder / self.name
        self.config = configuration(self.folder)
        self.files = UserFiles(reactor, self.config, self._changed, at_once)
        self.tls = MutualTls(test.authority.issue(self.name))
        self.is_old = False
        self.exchange: UserExchange | None = None
        self._test = test

    def listen(self) -> None:
        """
        Answer calls.
        """
        server = RpcServer(reactor, self.tls, self)
        port = server.listen(reactor, self.address, PORT)
        self._test.addCleanup(server.close)
        self._test.addCleanup(port.stopListening)

    def start(self) -> Deferred[None]:
        """
        Begin to exchange.
        """
        test = self._test
        client = RpcClient(reactor, self.tls, PORT, lambda name: succeed([test.addresses[name]]))
        self.exchange = UserExchange(_Timed(test.clock), self.name, test.addresses, self.files, client)
        test.addCleanup(self.exchange.stop)
        return self.exchange.start()

    def call_received(self, exchange: Exchange, method: str, params: list[wire.Value]) -> None:
        """
        A peer calls.
        """
        if self.is_old or self.exchange is None:
            raise wire.Fault(rpc.UNKNOWN_METHOD, "Method has not been registered")
        self.exchange.call_received(exchange, method, params)

    def add(self, user: str) -> None:
        """
        C{sipxha user add}, and the node sees it.
        """
        add_user(self.config.users, f"{user}@example.com", "example.com", "x", node=self.name)
        self.files.look()

    def _changed(self, _: object) -> None:
        if self.exchange is not None:
            self.exchange.changed()


@implementer(ILogObserver)
class _Log:
    """
    What an operator would read.
    """

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def __call__(self, event: LogEvent) -> None:
        self._lines.append(formatEvent(event))


class UserExchangeTests(TestCase):
    """
    Tests for nodes that tell each other of their users.
    """

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.authority = Authority(self.folder / "ca")
        self.network = free_network()
        self.addresses = {f"sipx{number}.example.com": f"{self.network}.{number}" for number in (1, 2, 3)}
        self.clock = Clock()
        self.one, self.two, self.three = (_Node(number, self) for number in (1, 2, 3))
        self.lines: list[str] = []
        log = _Log(self.lines)
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)

    async def until(self, condition: Any) -> None:
        """
        Wait for what must come; trial's own limit ends it otherwise.
        """
        while not condition():
            await deferLater(reactor, 0.005)

    async def three_nodes(self) -> None:
        """
        All of them, acquainted.
        """
        for node in (self.one, self.two, self.three):
            node.listen()
            await node.start()

    def knows(self, node: _Node, user: str) -> bool:
        return node.files.users.knows(f"{user}@example.com")

    async def test_a_node_that_starts_has_the_newest_users(self) -> None:
        """
        Whoever has them, before its start is over; and those that it has are taken by others.
        """
        self.one.add("200")
        self.one.add("201")
        self.two.add("300")
        self.one.listen()
        await self.one.start()
        self.two.listen()
        await self.two.start()
        self.assertTrue(self.knows(self.two, "200") and self.knows(self.two, "201"))
        self.assertFalse(self.knows(self.two, "300"))
        for number in range(5):
            self.three.add(f"{400 + number}")
        self.three.listen()
        await self.three.start()
        await self.until(lambda: self.knows(self.one, "404") and self.knows(self.two, "404"))
        self.assertEqual(self.one.files.version, self.three.files.version)

    async def test_a_change_reaches_all_nodes(self) -> None:
        """
        And nothing differs then.
        """
        await self.three_nodes()
        self.two.add("200")
        await self.until(lambda: self.knows(self.one, "200") and self.knows(self.three, "200"))
        for node in (self.one, self.two, self.three):
            exchange = node.exchange
            assert exchange is not None
            others = [name for name in self.addresses if name != node.name]
            await self.until(
                lambda exchange=exchange, others=others: not any(map(exchange.differing, others))
            )
            self.assertEqual({exchange.version(name) for name in others}, {"1 sipx2.example.com"})
        self.clock.advance(GRACE)
        self.assertEqual(self.lines_with("has not the same"), [])

    async def test_many_users_are_more_than_a_call_may_hold(self) -> None:
        """
        They are asked for, not sent.
        """
        for name in ("200", "201"):
            self.one.add(name)
        path = self.one.config.users.credentials
        text = path.read_text()
        item = text[text.index("<item>", text.index("<item>") + 1) : text.rindex("</item>") + 7]
        many = "".join(item.replace("201", str(number)) for number in range(10_000, 14_000))
        path.write_text(text.replace(item, item + many))
        self.one.files.look()
        self.one.listen()
        await self.one.start()
        self.two.listen()
        await self.two.start()
        self.assertTrue(self.knows(self.two, "13999"))
        self.assertGreater(self.two.config.users.credentials.stat().st_size, 1 << 20)

    async def test_what_lasts_differing_is_named(self) -> None:
        """
        Until it does not any more, or the peer is lost.
        """
        await self.three_nodes()
        assert self.one.exchange is not None and self.two.exchange is not None
        # An editor knows nothing of versions.
        for node in (self.one, self.two, self.three):
            add_user(node.config.users, "200@example.com", "example.com", "x", node="")
        other = self.two.name
        credentials = self.two.config.users.credentials
        whole = credentials.read_text()
        for node in (self.one, self.three):
            node.config.users.credentials.write_text(whole)
        credentials.write_text(whole.replace("200", "300"))
        for node in (self.one, self.three, self.two):
            node.files.look()
        exchange = self.one.exchange
        await self.until(lambda: exchange.differing(other) == ["users"])
        await self.until(lambda: exchange.differing(self.three.name) == [])
        self.assertEqual(exchange.lasting(), {})
        self.clock.advance(GRACE)
        self.assertEqual(exchange.lasting(), {other: ["users"]})
        self.assertTrue(self.lines_with(f"peer '{other}' has not the same as we have: users"))
        credentials.write_text(whole)
        self.two.files.look()
        await self.until(lambda: not exchange.lasting())
        self.assertTrue(self.lines_with(f"peer '{other}' has the same as we have again"))
        exchange.went(other)
        self.assertEqual((exchange.version(other), exchange.differing(other)), (None, []))

    async def test_an_older_node_is_left_alone(self) -> None:
        """
        Nothing is known of it, and nothing is logged.
        """
        self.two.is_old = True
        self.two.listen()
        await self.one.start()
        assert self.one.exchange is not None
        self.assertIsNone(self.one.exchange.version(self.two.name))
        self.one.add("200")
        self.assertEqual(self.lines_with("sipx2"), [])

    async def test_each_peer_is_looked_at_again_after_a_while(self) -> None:
        """
        So that what was missed comes a minute later.
        """
        await self.three_nodes()
        exchange, self.two.exchange = self.two.exchange, None
        self.two.add("200")
        self.two.exchange = exchange
        self.assertFalse(self.knows(self.one, "200"))
        self.clock.advance(INTERVAL)
        await self.until(lambda: self.knows(self.one, "200"))

    async def test_strangers_are_told_nothing(self) -> None:
        """
        A node of the authority that is no peer of ours; and nonsense of a peer.
        """
        self.one.listen()
        await self.one.start()
        for name, params, code in (
            ("sipx9.example.com", [], rpc.UNCONFIGURED_PEER),
            ("sipx2.example.com", [1, {}], rpc.INVALID_PARAMETER),
        ):
            tls = MutualTls(self.authority.issue(name))
            client = RpcClient(reactor, tls, PORT, lambda _: succeed([self.one.address]))
            self.addCleanup(client.close)
            told: list[Any] = [name, *params]
            call = partial(client.call, self.one.name)
            fault = await self.assertFailure(call(agreement.AGREEMENT, told), wire.Fault)
            self.assertEqual(fault.code, code)
            if code == rpc.UNCONFIGURED_PEER:
                users = call(agreement.USERS, told, agreement.read_piece)
                fault = await self.assertFailure(users, wire.Fault)
                self.assertEqual(fault.code, code)

    async def test_users_that_cannot_be_are_not_taken(self) -> None:
        """
        What a peer sends is checked; ours stay as they were.
        """
        self.one.add("200")
        self.two.add("300")
        self.two.add("301")
        self.two.listen()
        await self.two.start()
        self.two.files.snapshot = lambda: succeed(b"<users/>")  # type: ignore[method-assign]
        await self.one.start()
        self.assertTrue(self.knows(self.one, "200"))
        self.assertTrue(self.lines_with("no word with 'sipx2.example.com' about users: "))

    def lines_with(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]
