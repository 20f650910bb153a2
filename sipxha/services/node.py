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
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.names import dns
from twisted.python.failure import Failure

from sipxha.auth.digest import Authenticator
from sipxha.auth.failures import Failures
from sipxha.auth.nonce import Nonces
from sipxha.auth.security_events import SecurityEvents
from sipxha.auth.users import Users
from sipxha.cdr.event import CallStateEvent
from sipxha.config import model
from sipxha.config.load import ConfigurationRefused, load
from sipxha.errors import LocalError, RemoteError, SipxhaError
from sipxha.net.dns import TRANSPORTS, Locator, resolver_for
from sipxha.net.hep import Mirror
from sipxha.registry.table import Registry
from sipxha.services.call_records import CallRecords
from sipxha.services.chance import CHANCE, mint
from sipxha.services.console import Action, Console
from sipxha.services.drain import LIMIT, MOST_LIMIT, Drain
from sipxha.services.gateways import Gateways
from sipxha.services.live_calls import ClusterCalls
from sipxha.services.loop_lag import INTERVAL
from sipxha.services.metrics import Metrics
from sipxha.services.neighbours import Neighbours
from sipxha.services.overview import Overview
from sipxha.services.parts import Parts
from sipxha.services.proxies import (
    auth_proxy_names,
)
from sipxha.services.reload import (
    CHANGED,
    REFUSED,
    RESTART,
    LiveFiles,
    Outcome,
    need_restart,
    peers_outcome,
    users_outcome,
    with_live_parts,
)
from sipxha.services.replication import Replication
from sipxha.services.shown_certificates import ShownCertificates
from sipxha.services.sip_services import REGISTRY_ACTIONS, SipServices
from sipxha.services.user_files import UserFiles
from sipxha.store.registrations import RegistrationStore

DEFAULT_DIGEST = ("SHA-256", "MD5")
"""What a node without a registrar asks of senders."""

REMINDER_INTERVAL = 86400.0
"""Seconds between two words about a certificate that ends soon."""

WATCH_INTERVAL = 1.0
"""Seconds between two looks at whether anything is missing."""


class NotPossible(LocalError):
    """
    What an operator asks for cannot be done as the node is.
    """


class Node(Service):
    """
    Everything that runs on a server.

    @ivar failed: Fires with the reason when the node cannot go on.
    @ivar ready: Fires with how it is when SIP is open.
    @ivar drained: Fires when an operator wanted the node to end, and it may.
    @ivar reopen_log: Goes on with the log in a new file; set by whoever has it.
    @ivar set_log_level: Writes lines from a level on; the same.
    @ivar security: What comes from outside and should not; who writes its lines sets C{write}.
    @ivar overview: How it is.
    """

    _log = Logger()
    _authenticator: Authenticator
    _gateways: Gateways
    _locator: Locator
    _neighbours: Neighbours
    _sip: SipServices

    def __init__(self, reactor: Any, config: model.Config) -> None:
        self.failed: Deferred[str] = Deferred()
        self.ready: Deferred[str] = Deferred()
        self.drained: Deferred[None] = Deferred()
        self.reopen_log: Callable[[], None] = _nothing
        self.set_log_level: Callable[[str], None] = lambda level: None
        self.security = SecurityEvents()
        self.overview = Overview(config, reactor.seconds, security=self.security)
        self._reactor = reactor
        self._config = config
        self._parts = Parts(reactor)
        self._files = LiveFiles()
        self._certificates = ShownCertificates(config, reactor.seconds)
        self._call_records: CallRecords | None = None
        self._actions: dict[bytes, Action] = {}
        """What may be posted to the control socket, as soon as it can be done."""

        self._was_degraded = False
        """When it was last looked at."""

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
        stopped = Deferred.fromCoroutine(self._parts.close())
        return stopped.addCallback(lambda _: self._log.info("stopped"))

    def reload(self) -> Deferred[list[Outcome]]:
        """
        Read users, rules, certificates and the configuration again, and go on
        with the log in a new file.  What cannot be used leaves the old state,
        and a line in the log.

        @return: What became of each part.
        """
        return Deferred.fromCoroutine(self._reload())

    async def _reload(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            self.reopen_log()
        except OSError as error:
            self._log.error("the log goes on in its old file: {reason}", reason=str(error))
            outcomes.append(Outcome("log file", REFUSED, str(error)))
        users = self.overview.users
        before = None if users is None else (users.users, users.digest())
        if users is not None:
            users.reload()
        outcomes += self._reload_configuration()
        outcomes += self._files.read_again()
        if users is not None and before is not None:
            await users.settled()
            if users.trouble is not None:
                outcomes.append(Outcome("users", REFUSED, users.trouble))
            else:
                is_same = before[1].get("users") == users.digest().get("users")
                outcomes.append(users_outcome(before[0], users.users, is_same=is_same))
        for each in outcomes:
            if each.result in (CHANGED, RESTART):
                self._log.info(
                    "reload: {what} {result} {detail}", what=each.what, result=each.result, detail=each.detail
                )
        return outcomes

    def _reload_asked(self, posted: Any) -> Deferred[list[dict[str, str]]]:
        if not isinstance(posted, dict):
            raise RemoteError("expected an object")
        return self.reload().addCallback(lambda outcomes: [each._asdict() for each in outcomes])

    def _reload_configuration(self) -> list[Outcome]:
        try:
            config = load(self._config.path)
        except ConfigurationRefused as refused:
            reason = "; ".join(refused.problems)
            self._log.error("the {what} stay as they were: {reason}", what="configuration", reason=reason)
            return [Outcome("configuration", REFUSED, reason)]
        running = self._config
        outcomes = need_restart(running, config)
        self._config = self.overview.config = live = with_live_parts(running, config)
        if live.log.level != running.log.level:
            self.set_log_level(live.log.level)
            if self.overview.change_log is not None:
                self.overview.change_log.set_level(live.log.level)
            outcomes.append(Outcome("log level", CHANGED, live.log.level))
        if live.domain.gateways != running.domain.gateways:
            self._gateways.set_gateways(live.domain.gateways)
            outcomes.append(Outcome("gateways", CHANGED, ", ".join(live.domain.gateways)))
        if self.overview.replication is not None:
            peers = peers_outcome(running.peers(), live.peers())
            outcomes.append(peers)
            if peers.result == CHANGED:
                self._set_peers(self.overview.replication)
        return outcomes

    def _set_peers(self, replication: Replication) -> None:
        """
        Let everybody know who our peers are now.
        """
        config = self._config
        self._locator.set_own_names(_own_names(config))
        self._neighbours.set_peers(config.peers())
        self._neighbours.look()
        gate = self._call_records.gate if self._call_records is not None else None
        if gate is not None:
            gate.peers = config.node_names()
        if self._sip.auth_proxy is not None and config.authproxy is not None:
            self._sip.auth_proxy.names = auth_proxy_names(config, config.authproxy)
        replication.set_peers(config.peers())

    def _drain(self, posted: Any) -> Deferred[dict[str, Any]]:
        """
        Let the node go: an action of the operator's.

        @param posted: C{limit}: seconds to wait for what there is.

        @raise RemoteError: That is no number of seconds.
        """
        limit = posted.get("limit", LIMIT) if isinstance(posted, dict) else None
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit <= MOST_LIMIT:
            raise RemoteError(f"expected a limit of 0 to {MOST_LIMIT} seconds")
        if self.overview.is_draining:
            raise RemoteError("the node drains already")
        draining = Deferred.fromCoroutine(Drain(self._reactor, self.overview, limit).run())

        def done(summary: dict[str, Any]) -> dict[str, Any]:
            # The answer leaves first.
            self._reactor.callLater(0, self.drained.callback, None)
            return summary

        return draining.addCallback(done)

    async def _start(self) -> None:
        config, overview, parts = self._config, self.overview, self._parts
        config.node.data.mkdir(mode=0o700, exist_ok=True)
        users = self._open_users()
        if config.tls is not None:
            self._files.add("certificates", self._read_certificates, *self._certificates.paths)
            overview.certificates = self._certificates.ends()
            parts.every(REMINDER_INTERVAL, self._certificates.remind)
        if config.registrar is not None:
            self._open_registry(config.registrar)
        parts.run(users)
        self._open_console()
        parts.every(INTERVAL, overview.tick)
        self._locator = self._make_locator()
        self._open_call_records()
        self._open_surroundings()
        self._sip = SipServices(
            self._reactor,
            overview,
            parts,
            authenticator=self._authenticator,
            certificates=self._certificates,
            files=self._files,
            gateways=self._gateways,
            locator=self._locator,
            neighbours=self._neighbours,
            security=self.security,
        )
        endpoints = [*self._sip.proxies()]
        if overview.registry is not None and overview.store is not None:
            assert config.registrar is not None
            endpoints.append(self._sip.registrar(config.registrar, overview.registry, overview.store))
            if overview.replication is not None:
                await overview.replication.ready
            self._actions.update(self._sip.actions())
        overview.endpoints = endpoints
        for endpoint in endpoints:
            parts.run(endpoint)
        self._sip.take_up()
        overview.is_ready = True
        self._was_degraded = overview.is_degraded
        state = "ready degraded" if self._was_degraded else "ready"
        self._log.info("{state} {ports}", state=state, ports=json.dumps(self._ports()))
        self.ready.callback(state)
        parts.every(WATCH_INTERVAL, self._watch)

    def _start_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) and not self.running:
            return
        if not failure.check(SipxhaError, CannotListenError, OSError):
            self._log.failure("the node did not start", failure)
        self.failed.callback(failure.getErrorMessage())

    def _watch(self) -> None:
        # What is missing has a line of its own when it goes.
        is_degraded = self.overview.is_degraded
        if self._was_degraded and not is_degraded:
            self._log.info("whole again")
        self._was_degraded = is_degraded
        for burst in self._authenticator.failures.take_bursts():
            # Once for each source, until it has kept quiet for a while.
            self._log.warn(
                "wrong passwords from {source}, at last for {user}: no more of them are looked at for now",
                source=burst.source,
                user=burst.username[:200],
            )

    # -- the parts ---------------------------------------------------------

    def _open_users(self) -> UserFiles:
        """
        Read who our users are, and know them by their passwords.
        """
        config = self._config
        users = self.overview.users = UserFiles(self._reactor, config, self._users_changed)
        self._authenticator = Authenticator(
            config.domain.realm,
            config.registrar.digest if config.registrar is not None else DEFAULT_DIGEST,
            users.users,
            Nonces(config.secret, config.node.name),
            mint,
            Failures(config.limits.failure),
            self.security,
        )
        self.overview.failures = self._authenticator.failures
        return users

    def _open_console(self) -> None:
        """
        Answer whoever asks how we are, and do what an operator wants as soon as
        it can be done.
        """
        config = self._config
        self._actions[b"/reload"] = self._reload_asked
        self._actions[b"/drain"] = self._drain
        reason = "SIP is not open yet" if config.registrar is not None else "the node has no <registrar>"
        for path in REGISTRY_ACTIONS:
            self._actions[path] = partial(_not_possible, reason)
        self._parts.run(
            Console(
                self._reactor,
                self.overview,
                config.node.control_socket,
                config.console,
                self._actions,
                Metrics(self.overview).page,
            )
        )

    def _open_call_records(self) -> None:
        """
        Open what is kept of calls, here and on the other nodes.
        """
        config = self._config
        records = self._call_records = CallRecords(self._reactor, self.overview, self._parts, self._locator)
        if config.call_events is not None:
            records.open_events(config.call_events, self._certificates, self.security)
        log = self.overview.call_log
        self.overview.cluster_calls = ClusterCalls(
            self._reactor, None if log is None else log.live, self.overview.states, self._calls_of
        )
        if config.call_resolver is not None:
            records.open_resolver(config.call_resolver)

    def _open_surroundings(self) -> None:
        """
        Find our nodes and gateways, and where SIP is mirrored to.
        """
        config, node = self._config, self._config.node
        if config.hep is not None:
            self.overview.mirror = Mirror(
                self._reactor, config.hep.collector, config.hep.agent, node.name, node.address
            )
            self._parts.run(self.overview.mirror)
        self._neighbours = Neighbours(
            self._reactor, (node.address, node.listen), config.peers(), self._locator.addresses
        )
        self.security.is_ours = self._neighbours.is_node
        self._parts.run(self._neighbours)
        self._gateways = Gateways(self._reactor, config.domain.gateways, self._locator)
        self._parts.run(self._gateways)

    def _make_locator(self) -> Locator:
        node = self._config.node
        # What our sockets can send to.
        families = (dns.AAAA,) if ":" in node.listen else (dns.A,)
        has_tls = any(listener.transport == "tls" for listener in self._config.listeners())
        return Locator(
            self._reactor,
            resolver_for(self._reactor, self._config.dns),
            CHANCE.random,
            _own_names(self._config),
            families,
            (*TRANSPORTS, "tls") if has_tls else TRANSPORTS,
        )

    def _read_certificates(self) -> None:
        self._certificates.read_again()
        self.overview.certificates = self._certificates.ends()

    def _calls_of(self, peer: str) -> Deferred[list[CallStateEvent]]:
        assert self.overview.replication is not None
        return self.overview.replication.calls_of(peer)

    def _users_changed(self, users: Users) -> None:
        self._authenticator.users = users
        if self.overview.replication is not None:
            self.overview.replication.users_changed()

    def _open_registry(self, config: model.Registrar) -> None:
        """
        Take the registry from the disk.

        @raise StoreUnusable: It cannot be.
        """
        node = self._config.node
        registry = self.overview.registry = Registry(
            node.name, config.max_expires, config.max_contacts, expire_unlisted=config.expire_unlisted
        )
        store = self.overview.store = RegistrationStore(node.data / "registry.sqlite", self._reactor)
        registry.load(store.open())
        self._parts.opened(store.close)

    def _ports(self) -> dict[str, dict[str, int]]:
        ports: dict[str, dict[str, int]] = {}
        for transport, _, port, service in self._config.listeners():
            ports.setdefault(service, {})[transport] = port
        return ports


def _own_names(config: model.Config) -> list[str]:
    """
    The same, and their addresses as far as they are written down.
    """
    addresses = [peer.address for peer in config.peers() if peer.address]
    return [*config.node_names(), config.node.address, *addresses]


def _not_possible(reason: str, posted: Any) -> NoReturn:
    raise NotPossible(reason)


def _nothing() -> None:
    """
    Nobody is there to replicate with.
    """
