"""
Registrars in this process, with real HTTPS between them and real stores: no
phones, no SIP.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
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


class RegistrarServer:
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
        self.config = model.Config(
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
        self.service = Replication(reactor, self.config, self.registry, self.store, self.where, self.dialects)
        self.service.startService()
        return self.service.ready

    def where(self, name: str) -> Deferred[list[str]]:
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
class Lines:
    """
    What an operator would read.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))


class RegistrarsCase(TestCase):
    """
    A test of two registrars.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = self.authority = Authority(folder / "ca")
        network = free_network()
        addresses = [f"{network}.{number}" for number in (1, 2)]
        self.servers = [
            RegistrarServer(
                NAMES[mine],
                addresses[mine],
                model.Peer(NAMES[1 - mine], addresses[1 - mine]),
                authority.issue(NAMES[mine]),
                folder,
            )
            for mine in (0, 1)
        ]
        self.log = Lines()
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

    async def pair(self) -> tuple[RegistrarServer, RegistrarServer]:
        """
        Two nodes that have found each other.
        """
        self.assertTrue(await self.start(0))
        self.assertFalse(await self.start(1))
        one, two = self.servers
        await self.until(lambda: one.peer()["state"] == "Reachable")
        return one, two
