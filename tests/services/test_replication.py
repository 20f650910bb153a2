"""
Tests for L{sipxha.services.replication}: two nodes in one process, with real
HTTPS and real stores.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sipxha.config import model
from sipxha.registry.register import Offer, Registration
from sipxha.registry.table import Registry
from sipxha.services.replication import Replication
from sipxha.store.registrations import RegistrationStore
from sipxha.sync.dialects import DIALECTS, Spoken
from tests.support.certs import Authority
from tests.support.pair import free_network

reactor: Any = _reactor
NAMES = ("sipx1.example.com", "sipx2.example.com")
PORT = 5077


class _Server:
    """
    What of a node replication needs, with a disk that outlives it.
    """

    def __init__(self, name: str, address: str, peer: model.Peer, tls: model.Tls, folder: Path) -> None:
        self.file = folder / f"{name}.sqlite"
        ports = model.Ports(udp=None, tcp=None)
        registrar = model.Registrar(
            ports=ports,
            min_expires=60,
            default_expires=3600,
            max_expires=7200,
            max_contacts=10,
            expire_unlisted=False,
            authenticate=False,
            digest=("MD5",),
            replication=model.Replication(PORT, 20.0, (peer,)),
        )
        self._config = model.Config(
            path=folder / "sipxha.xml",
            domain=model.Domain("example.com", "example.com"),
            node=model.NodeName(name, address, address, folder),
            secret=b"secret",
            tls=tls,
            dns=model.Dns(),
            users=model.Users(folder, folder, folder),
            proxy=None,
            authproxy=None,
            registrar=registrar,
            call_events=None,
            call_resolver=None,
            console=None,
            log=model.Log("info", None),
            limits=model.DEFAULT_LIMITS,
        )
        self._name = name
        self.asked: list[str] = []
        self.dialects: Spoken = DIALECTS

    def start(self) -> Deferred[bool]:
        """
        Begin a life; fires as the service's C{ready}.
        """
        self.registry = Registry(self._name, 7200)
        self.store = RegistrationStore(self.file, reactor)
        self.registry.load(self.store.open())
        self.service = Replication(
            reactor, self._config, self.registry, self.store, self._where, self.dialects
        )
        self.service.startService()
        return self.service.ready

    def _where(self, name: str) -> Deferred[list[str]]:
        self.asked.append(name)
        return succeed([])

    async def stop(self) -> None:
        """
        End it; the disk stays.
        """
        if self.service.running:
            await self.service.stopService()
            await self.store.close()

    async def register(self, user: int) -> None:
        """
        What the registrar does with a REGISTER.
        """
        registration = Registration(
            uri=f"<sip:{user}@example.com>",
            identity=f"{user}@example.com",
            callid=f"call-{user}",
            cseq=1,
            contacts=(Offer(f"<sip:{user}@10.1.1.7>", None, "", 3600),),
        )
        registered = self.registry.register(registration, reactor.seconds())
        await self.store.commit(registered.rows)
        self.service.updated()

    def users(self) -> int:
        return sum(1 for _ in self.registry.all_current(reactor.seconds()))

    def peer(self) -> dict[str, Any]:
        return self.service.peers()[0]


@implementer(ILogObserver)
class _Lines:
    """
    What an operator would read.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))


class ReplicationTests(TestCase):
    """
    Tests for a pair of registrars.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = Authority(folder / "ca")
        network = free_network()
        addresses = [f"{network}.{number}" for number in (1, 2)]
        self.servers = [
            _Server(
                NAMES[mine],
                addresses[mine],
                model.Peer(NAMES[1 - mine], addresses[1 - mine]),
                authority.issue(NAMES[mine]),
                folder,
            )
            for mine in (0, 1)
        ]
        self.log = _Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    async def until(self, condition: Any) -> None:
        """
        Wait for what must come; trial's own limit ends it otherwise.
        """
        while not condition():
            await deferLater(reactor, 0.005)

    async def start(self, place: int) -> bool:
        self.addCleanup(lambda: Deferred.fromCoroutine(self.servers[place].stop()))
        return await self.servers[place].start()

    async def pair(self) -> tuple[_Server, _Server]:
        """
        Two nodes that have found each other.
        """
        self.assertTrue(await self.start(0))
        self.assertFalse(await self.start(1))
        one, two = self.servers
        await self.until(lambda: one.peer()["state"] == "Reachable")
        return one, two

    async def test_a_registration_reaches_the_other_node(self) -> None:
        """
        In both directions, and operators see that nobody is behind.
        """
        one, two = await self.pair()
        await one.register(1)
        await two.register(2)
        await self.until(lambda: one.users() == two.users() == 2)
        await self.until(lambda: one.peer()["behind"] == two.peer()["behind"] == 0)
        self.assertEqual(one.peer()["name"], NAMES[1])
        self.assertEqual(one.peer()["sent"], one.registry.update_number)
        self.assertEqual(one.peer()["received"], two.registry.update_number)
        self.assertIsNone(two.peer()["next_try"])

    async def test_both_log_what_operators_look_for(self) -> None:
        """
        The memo's words, once each.
        """
        await self.pair()
        for wanted in (
            "registrarSync.reset success to 'sipx1.example.com'; update numbering synchronized",
            "registrarSync.reset received from 'sipx2.example.com'; update numbering synchronized",
            "peer 'sipx2.example.com' is Reachable",
            "peer 'sipx1.example.com' is Reachable",
        ):
            self.assertEqual(sum(1 for line in self.log.lines if line.startswith(wanted)), 1, wanted)

    async def test_a_lost_peer_is_seen_and_comes_back_with_its_disk(self) -> None:
        """
        What happened meanwhile is pushed or pulled.
        """
        one, two = await self.pair()
        await one.register(1)
        await self.until(lambda: two.users() == 1 and one.peer()["behind"] == 0)
        await two.stop()
        await one.register(2)
        await self.until(lambda: one.peer()["state"] == "UnReachable")
        self.assertEqual(one.peer()["behind"], 1)
        one.service.mark()
        updates, seconds = one.service.lag(NAMES[1])
        self.assertEqual((updates, seconds > 0), (1, True))
        self.assertIn("onnection", one.peer()["last_error"])
        self.assertTrue(one.peer()["next_try"].endswith("Z"))
        self.assertFalse(await two.start())
        self.assertEqual(two.users(), 2)
        await self.until(lambda: one.peer()["state"] == "Reachable")

    async def test_a_node_that_lost_its_disk_gets_everything_back(self) -> None:
        """
        Before it says that it is ready.
        """
        one, two = await self.pair()
        for user in range(1, 5):
            await (one, two)[user % 2].register(user)
        await self.until(lambda: one.users() == two.users() == 4)
        await two.stop()
        for file in two.file.parent.glob(f"{two.file.name}*"):
            file.unlink()
        self.assertFalse(await two.start())
        self.assertEqual(two.users(), 4)
        await two.stop()
        again = RegistrationStore(two.file, reactor)
        self.assertEqual(len(again.open()), 4)
        await again.close()

    async def test_nodes_of_different_ages_understand_each_other(self) -> None:
        """
        All nine pairs: what both know is spoken, and rows come by push, pull and after a restart.
        """
        one, two = self.servers
        names = ("batch", "memo", "sipX")
        for place, (mine, yours) in enumerate(product(range(3), repeat=2)):
            one.dialects, two.dialects = DIALECTS[mine:], DIALECTS[yours:]
            await self.pair()
            await one.register(2 * place)
            await two.register(2 * place + 1)
            wanted = 3 * place + 2
            await self.until(lambda wanted=wanted: one.users() == two.users() == wanted)
            spoken = (names[max(mine, yours)], "Reachable")
            for server in self.servers:
                # The rows may have come before this side asked for anything.
                await self.until(
                    lambda peer=server.peer, spoken=spoken: (peer()["dialect"], peer()["state"]) == spoken
                )
            await two.stop()
            await one.register(100 + place)
            await one.stop()

    async def test_an_update_is_acknowledged_when_a_peer_has_it(self) -> None:
        """
        Without a peer nobody waits, and it is counted.
        """
        one, two = await self.pair()
        await one.register(1)
        number = one.registry.update_number
        waiting = one.service.acknowledged(number)
        if waiting is not None:
            await waiting
        self.assertEqual((two.users(), one.service.unacknowledged), (1, 0))
        await two.stop()
        await one.register(2)
        await self.until(lambda: one.peer()["state"] == "UnReachable")
        self.assertIsNone(one.service.acknowledged(number + 1))
        self.assertEqual(one.service.unacknowledged, 1)

    async def test_a_port_in_use_is_an_error_at_start(self) -> None:
        """
        Not a node without replication.
        """
        one = self.servers[0]
        await self.start(0)
        config = replace(one._config)
        again = Replication(reactor, config, one.registry, one.store, one._where)
        self.assertRaises(CannotListenError, again.startService)
