"""
A node: all services that its configuration asks for, wired and started in
order.

The registry comes from the disk first; then replication brings it up to date,
and only then SIP opens and the node is ready.  Databases and DNS are not
waited for: calls need neither.  What each part does is its own business; here
is who gets what, and who starts and stops before whom.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.names import dns
from twisted.python.failure import Failure

from sipxha.auth.digest import Authenticator
from sipxha.auth.nonce import Nonces
from sipxha.auth.users import Users
from sipxha.config import model
from sipxha.config.rules import load_auth_rules, load_forwarding_rules
from sipxha.errors import SipxhaError
from sipxha.net.dns import Locator, resolver_for
from sipxha.net.endpoint import Endpoint, ITransactionUser
from sipxha.net.postgres_gate import PostgresGate
from sipxha.net.tls import MutualTls
from sipxha.registry.domain import ServedDomain
from sipxha.registry.register import Terms
from sipxha.registry.table import Registry
from sipxha.routing.route import OwnNames
from sipxha.services.auth_proxy import AuthProxy
from sipxha.services.call_log import CallLog
from sipxha.services.cluster import Cluster
from sipxha.services.console import Console
from sipxha.services.fork_proxy import ForkProxy
from sipxha.services.neighbours import Neighbours
from sipxha.services.overview import Overview
from sipxha.services.proxy import Proxy
from sipxha.services.registrar import RegistrarUser
from sipxha.services.replication import Replication
from sipxha.services.user_files import UserFiles
from sipxha.sip.uri import Uri
from sipxha.store.journal import Journal
from sipxha.store.postgres import EmbeddedPostgres, PostgresUnusable
from sipxha.store.registrations import NotYetWritten, RegistrationStore

DEFAULT_DIGEST = ("SHA-256", "MD5")
"""What a node without a registrar asks of senders."""

STOP_LIMIT = 20.0
"""Seconds that each part has to flush and close."""

PURGE_INTERVAL = 60.0

_CHANCE = secrets.SystemRandom()


def mint() -> str:
    """
    A token that nobody can guess.
    """
    return secrets.token_hex(12)


class Node(Service):
    """
    Everything that runs on a server.

    @ivar failed: Fires with the reason when the node cannot go on.
    @ivar overview: How it is.
    """

    _log = Logger()

    def __init__(self, reactor: Any, config: model.Config) -> None:
        self.failed: Deferred[str] = Deferred()
        self.overview = Overview(config, reactor.seconds)
        self._reactor = reactor
        self._config = config
        self._closers: list[Callable[[], Any]] = []
        """How to close what is open, in the order in which it was opened."""

        self._starting: Deferred[None] | None = None

    # -- life --------------------------------------------------------------

    def startService(self) -> None:
        """
        Begin to start; the overview turns ready, or L{failed} fires.
        """
        super().startService()
        self.overview.started = self._reactor.seconds()
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._start_failed)

    def stopService(self) -> Deferred[None]:
        """
        Stop, the last opened first; each part flushes, none for ever.
        """
        super().stopService()
        self.overview.is_ready = False
        if self._starting is not None:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._stop())

    def reload(self) -> None:
        """
        Read the users again.
        """
        if self.overview.users is not None:
            self.overview.users.reload()

    async def _start(self) -> None:
        config = self._config
        config.node.data.mkdir(mode=0o700, exist_ok=True)
        self.overview.users = UserFiles(self._reactor, config.users, config.domain, self._users_changed)
        digest = config.registrar.digest if config.registrar is not None else DEFAULT_DIGEST
        nonces = Nonces(config.secret, config.node.name)
        self._authenticator = Authenticator(
            config.domain.realm, digest, self.overview.users.users, nonces, mint
        )
        locator = self._locator()
        if config.registrar is not None:
            self._open_registry(config.registrar)
        self._run(self.overview.users)
        self._run(Console(self._reactor, self.overview, config.node.control_socket, config.console))
        if config.call_events is not None:
            self._open_call_events(config.call_events)
        endpoints = [*self._proxies(locator)]
        alone = False
        if config.registrar is not None:
            endpoints.append(self._registrar(config.registrar, locator))
            if self.overview.replication is not None:
                alone = await self.overview.replication.ready
        for endpoint in endpoints:
            self._run(endpoint)
        self.overview.is_ready = True
        state = "ready degraded" if alone or self.overview.is_degraded else "ready"
        self._log.info("{state} {ports}", state=state, ports=json.dumps(self._ports()))

    async def _stop(self) -> None:
        while self._closers:
            closing = maybeDeferred(self._closers.pop())
            closing.addTimeout(STOP_LIMIT, self._reactor)
            closing.addErrback(self._not_closed)
            await closing
        self._log.info("stopped")

    def _not_closed(self, failure: Failure) -> None:
        # The others have something to flush, too.
        self._log.failure("a part of the node did not stop as it should", failure)

    def _start_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) and not self.running:
            return
        if not failure.check(SipxhaError, CannotListenError, OSError):
            self._log.failure("the node did not start", failure)
        self.failed.callback(failure.getErrorMessage())

    def _run(self, service: Service) -> None:
        """
        Start a part, and see to it that it is stopped.
        """
        self._closers.append(service.stopService)
        service.startService()

    # -- the parts ---------------------------------------------------------

    def _locator(self) -> Locator:
        node = self._config.node
        own = [node.name, node.address]
        for peer in self._peers():
            own += [peer.name, peer.address] if peer.address else [peer.name]
        # What our sockets can send to.
        families = (dns.AAAA,) if ":" in node.listen else (dns.A,)
        return Locator(
            self._reactor, resolver_for(self._reactor, self._config.dns), _CHANCE.random, own, families
        )

    def _peers(self) -> tuple[model.Peer, ...]:
        registrar = self._config.registrar
        if registrar is None or registrar.replication is None:
            return ()
        return registrar.replication.peers

    def _open_registry(self, config: model.Registrar) -> None:
        """
        Take the registry from the disk.

        @raise StoreUnusable: It cannot be.
        """
        node = self._config.node
        self.overview.registry = Registry(node.name, config.max_expires, config.max_contacts)
        self.overview.store = RegistrationStore(node.data / "registry.sqlite", self._reactor)
        self.overview.registry.load(self.overview.store.open())
        self._closers.append(self.overview.store.close)

    def _open_call_events(self, config: model.CallEvents) -> None:
        """
        Open the journal; its database may come later.
        """
        node = self._config.node
        if config.dsn is None:
            embedded = EmbeddedPostgres(self._reactor, node.data / "pg")
            self._closers.append(embedded.stop)
            dsn = embedded.dsn()
            started = embedded.start()
            started.addErrback(self._database_failed)
        else:
            dsn = config.dsn
            started = succeed(None)
        self.overview.call_log = CallLog(self._reactor, Journal(node.data / "journal"), dsn)
        self._closers.append(self.overview.call_log.stopService)
        started.addCallback(self._write_call_events)
        if config.listen is not None:
            assert self._config.tls is not None
            peers = frozenset([node.name, *(peer.name for peer in self._peers())])
            tls = MutualTls(self._config.tls)
            self._run(PostgresGate(self._reactor, tls, peers, node.listen, config.listen, dsn))

    def _database_failed(self, failure: Failure) -> None:
        failure.trap(PostgresUnusable)
        self._log.error("the embedded database does not start: {reason}", reason=failure.getErrorMessage())

    def _write_call_events(self, _: None) -> None:
        # Not before the database had its chance, or every start would begin
        # with a warning.  The journal takes events from the first call on.
        if self.running and self.overview.call_log is not None:
            self.overview.call_log.startService()

    def _registrar(self, config: model.Registrar, locator: Locator) -> Endpoint:
        """
        Start replication, and make the registrar.
        """
        assert self.overview.registry is not None and self.overview.store is not None
        own = self._config.node
        neighbours = Neighbours(self._reactor, (own.address, own.listen), self._peers(), locator.addresses)
        self._run(neighbours)
        if config.replication is not None:
            self.overview.replication = Replication(
                self._reactor, self._config, self.overview.registry, self.overview.store, locator.addresses
            )
            self._run(self.overview.replication)
            updated = self.overview.replication.updated
        else:
            self._purging = LoopingCall(self._purge)
            self._purging.clock = self._reactor
            self._purging.start(PURGE_INTERVAL, now=False)
            self._closers.append(self._purging.stop)
            updated = _nothing
        domain = self._config.domain
        user = RegistrarUser(
            self._reactor,
            Terms(
                ServedDomain(domain.name, domain.aliases),
                config.min_expires,
                config.default_expires,
                config.max_expires,
            ),
            self.overview.registry,
            self.overview.store,
            self._authenticator,
            authenticate=config.authenticate,
            allowed=neighbours.knows,
            updated=updated,
            mint=mint,
        )
        user.endpoint = self._endpoint("registrar", config.ports, user)
        return user.endpoint

    def _purge(self) -> None:
        assert self.overview.registry is not None and self.overview.store is not None
        purged = self.overview.registry.purge(self._reactor.seconds())
        if purged:
            self.overview.store.commit([], purged).addErrback(Failure.trap, NotYetWritten)

    def _proxies(self, locator: Locator) -> Iterator[Endpoint]:
        config, node = self._config, self._config.node
        domains = frozenset((config.domain.name, *config.domain.aliases))
        cluster = Cluster(
            domain=config.domain.name,
            secret=config.secret,
            authenticator=self._authenticator,
            locate=locator.locate,
            hop_failed=locator.failed,
            hop_answered=locator.answered,
            call_log=self.overview.call_log,
            is_ours=lambda uri: uri.host.lower() in domains or locator.is_own(uri),
        )
        if config.proxy is not None:
            fork_proxy = ForkProxy(
                self._reactor,
                cluster,
                node.address,
                _port(config.proxy.ports),
                self._own_names(config.proxy.ports, domains),
                rules=load_forwarding_rules(config.proxy.forwarding_rules),
                authproxy=Uri.parse(f"sip:ap.{node.name};lr"),
                accept_strangers=config.proxy.strangers == "accept",
                decline_ends_search=config.proxy.decline_ends_search,
            )
            self._observe(fork_proxy)
            fork_proxy.endpoint = self._endpoint("proxy", config.proxy.ports, fork_proxy)
            yield fork_proxy.endpoint
        if config.authproxy is not None:
            auth_proxy = AuthProxy(
                self._reactor,
                cluster,
                node.address,
                _port(config.authproxy.ports),
                # Ours steps in where another node's is away.
                self._own_names(
                    config.authproxy.ports,
                    {f"ap.{name}" for name in (node.name, *(peer.name for peer in self._peers()))},
                ),
                rules=load_auth_rules(config.authproxy.auth_rules),
            )
            self._observe(auth_proxy)
            auth_proxy.endpoint = self._endpoint("authproxy", config.authproxy.ports, auth_proxy)
            yield auth_proxy.endpoint

    def _observe(self, proxy: Proxy) -> None:
        """
        Let the call event log know that an observer begins a new life.
        """
        if self.overview.call_log is not None:
            self.overview.call_log.observer_started(proxy.observer, type(proxy).__name__)

    def _own_names(self, ports: model.Ports, services: Iterable[str]) -> OwnNames:
        """
        @param services: names that lead to a proxy by SRV, so without a port.
        """
        node = self._config.node
        literal = f"[{node.address}]" if ":" in node.address else node.address
        numbers = {port for port in (ports.udp, ports.tcp) if port is not None}
        hosts = [(host, port) for host in (literal, node.name, *services) for port in numbers]
        return OwnNames([*hosts, *((service, None) for service in services)])

    def _endpoint(self, name: str, ports: model.Ports, user: ITransactionUser) -> Endpoint:
        node = self._config.node
        return Endpoint(self._reactor, name, ports, node.listen, node.address, user, mint)

    def _users_changed(self, users: Users) -> None:
        self._authenticator.users = users

    def _ports(self) -> dict[str, dict[str, int]]:
        ports: dict[str, dict[str, int]] = {}
        for transport, _, port, service in self._config.listeners():
            ports.setdefault(service, {})[transport] = port
        return ports


def _nothing() -> None:
    """
    Nobody is there to replicate with.
    """


def _port(ports: model.Ports) -> int:
    port = ports.udp or ports.tcp
    assert port is not None
    return port
