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
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
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
from sipxha.config.certificates import CertificateUnusable, read_certificate
from sipxha.config.load import ConfigurationRefused, load
from sipxha.config.pem_files import pem_problems, public_pem_problems
from sipxha.errors import LocalError, RemoteError, SipxhaError
from sipxha.net.dns import TRANSPORTS, Locator, resolver_for
from sipxha.net.endpoint import Endpoint, ITransactionUser
from sipxha.net.hep import Mirror
from sipxha.net.postgres_gate import PostgresGate
from sipxha.net.siblings import Siblings
from sipxha.net.sip_tls import SipTls
from sipxha.net.tls import MutualTls
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.register import Terms
from sipxha.registry.table import Registry
from sipxha.routing.emergency import EmergencyNumbers
from sipxha.services.administration import Administration
from sipxha.services.auth_proxy import AuthProxy
from sipxha.services.call_log import CallLog
from sipxha.services.change_log import ChangeLog
from sipxha.services.cluster import Cluster
from sipxha.services.console import Action, Console
from sipxha.services.cse_hosts import Places
from sipxha.services.drain import LIMIT, MOST_LIMIT, Drain
from sipxha.services.edge import Edge
from sipxha.services.gate import Gate
from sipxha.services.gateway_hosts import find_gateways
from sipxha.services.gateways import Gateways
from sipxha.services.live_calls import ClusterCalls
from sipxha.services.loop_lag import INTERVAL
from sipxha.services.metrics import Metrics
from sipxha.services.neighbours import Neighbours
from sipxha.services.overview import Overview
from sipxha.services.proxies import (
    auth_proxy_names,
    make_auth_proxy,
    make_fork_proxy,
    read_auth_rules,
    read_forwarding_rules,
)
from sipxha.services.proxy import Proxy
from sipxha.services.redirect import read_fallback_rules, read_mapping_rules
from sipxha.services.reg_event import RegEvents
from sipxha.services.registrar import RegistrarUser
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
from sipxha.services.resolution import Resolution
from sipxha.services.user_files import UserFiles
from sipxha.store.journal import Journal
from sipxha.store.pool import with_user_of
from sipxha.store.postgres import EmbeddedPostgres, PostgresUnusable
from sipxha.store.registrations import NotYetWritten, RegistrationStore

DEFAULT_DIGEST = ("SHA-256", "MD5")
"""What a node without a registrar asks of senders."""

STOP_LIMIT = 20.0
"""Seconds that each part has to flush and close."""

PURGE_INTERVAL = 2.0
PURGE_SIZE = 1000
"""Rows that are forgotten at a time, which takes a few milliseconds."""

WATCH_INTERVAL = 1.0
"""Seconds between two looks at whether anything is missing."""

_CHANCE = secrets.SystemRandom()


def _tokens() -> Iterator[str]:
    # To ask for chance lets go of the interpreter, which another thread may
    # then keep for a switch interval: it is done once for many.
    while True:
        chance = secrets.token_hex(12 * 256)
        for start in range(0, len(chance), 24):
            yield chance[start : start + 24]


_next_token = _tokens().__next__


def mint() -> str:
    """
    A token that nobody can guess; in the reactor's thread only.
    """
    return _next_token()


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
    _reg_events: RegEvents
    _registry: Registry
    _store: RegistrationStore

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
        self._closers: list[Callable[[], Any]] = []
        """How to close what is open, in the order in which it was opened."""

        self._files = LiveFiles()
        self._tls: list[Callable[[], None]] = []
        """How each user of the certificates reads them again."""

        self._gate: PostgresGate | None = None
        self._auth_proxy: AuthProxy | None = None

        self._siblings = Siblings(reactor)
        self._edge: Edge | None = None
        self._actions: dict[bytes, Action] = {}
        """What may be posted to the control socket, as soon as it can be done."""

        self._database: Deferred[None] = succeed(None)
        """Fires when the node's own database had its chance to start."""

        self._updated: Callable[[], None] = _nothing
        """Tells replication, where there is one, that there is something new."""

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
        return Deferred.fromCoroutine(self._stop())

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
        if self._gate is not None:
            self._gate.peers = _node_names(config)
        if self._auth_proxy is not None and config.authproxy is not None:
            self._auth_proxy.names = auth_proxy_names(config, config.authproxy)
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
        config = self._config
        config.node.data.mkdir(mode=0o700, exist_ok=True)
        users = UserFiles(self._reactor, config, self._users_changed)
        self.overview.users = users
        digest = config.registrar.digest if config.registrar is not None else DEFAULT_DIGEST
        nonces = Nonces(config.secret, config.node.name)
        self._authenticator = Authenticator(
            config.domain.realm,
            digest,
            users.users,
            nonces,
            mint,
            Failures(config.limits.failure),
            self.security,
        )
        self.overview.failures = self._authenticator.failures
        if config.tls is not None:
            public = config.proxy.tls if config.proxy is not None else None
            shown = [config.tls] if public is None else [config.tls, public]
            paths = [path for tls in shown for path in (tls.certificate, tls.key, tls.authority)]
            self._files.add("certificates", self._read_certificates, *paths)
            self._note_certificates()
        locator = self._locator = self._make_locator()
        if config.registrar is not None:
            self._open_registry(config.registrar)
        self._run(users)
        socket = config.node.control_socket
        metrics = Metrics(self.overview)
        self._actions[b"/reload"] = self._reload_asked
        self._actions[b"/drain"] = self._drain
        reason = "SIP is not open yet" if config.registrar is not None else "the node has no <registrar>"
        for path in (b"/import", b"/register", b"/unregister"):
            self._actions[path] = partial(_not_possible, reason)
        self._run(Console(self._reactor, self.overview, socket, config.console, self._actions, metrics.page))
        self._run(self._every(INTERVAL, self.overview.tick))
        if config.call_events is not None:
            self._open_call_events(config.call_events)
        log = self.overview.call_log
        self.overview.cluster_calls = ClusterCalls(
            self._reactor, None if log is None else log.live, self.overview.states, self._calls_of
        )
        if config.call_resolver is not None:
            self._open_call_resolver(config.call_resolver, locator)
        node = config.node
        if config.hep is not None:
            self.overview.mirror = Mirror(
                self._reactor, config.hep.collector, config.hep.agent, node.name, node.address
            )
            self._run(self.overview.mirror)
        self._neighbours = Neighbours(
            self._reactor, (node.address, node.listen), config.peers(), locator.addresses
        )
        self.security.is_ours = self._neighbours.is_node
        self._run(self._neighbours)
        self._gateways = Gateways(self._reactor, config.domain.gateways, locator)
        self._run(self._gateways)
        endpoints = [*self._proxies(locator)]
        if config.registrar is not None:
            endpoints.append(self._registrar(config.registrar, locator))
            if self.overview.replication is not None:
                await self.overview.replication.ready
            self._actions[b"/import"] = self._administration.import_rows
            self._actions[b"/register"] = self._administration.register
            self._actions[b"/unregister"] = self._administration.unregister
        self.overview.endpoints = endpoints
        for endpoint in endpoints:
            self._run(endpoint)
        if config.registrar is not None:
            # Stopped before what carries its last words.
            self._run(self._reg_events)
        if self.overview.gate is not None:
            self._run(self.overview.gate)
        if self._edge is not None:
            if self.overview.registry is not None:
                self._edge.take_up(self.overview.registry.all_current(self._reactor.seconds()))
            self._run(self._edge)
        self.overview.is_ready = True
        self._was_degraded = self.overview.is_degraded
        state = "ready degraded" if self._was_degraded else "ready"
        self._log.info("{state} {ports}", state=state, ports=json.dumps(self._ports()))
        self.ready.callback(state)
        self._run(self._every(WATCH_INTERVAL, self._watch))

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

    def _every(self, seconds: float, call: Callable[[], None]) -> Service:
        """
        A part that only does one thing, at once and again and again.
        """
        timer = TimerService(seconds, call)
        timer.clock = self._reactor
        return timer

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

    def _make_locator(self) -> Locator:
        node = self._config.node
        # What our sockets can send to.
        families = (dns.AAAA,) if ":" in node.listen else (dns.A,)
        has_tls = any(listener.transport == "tls" for listener in self._config.listeners())
        return Locator(
            self._reactor,
            resolver_for(self._reactor, self._config.dns),
            _CHANCE.random,
            _own_names(self._config),
            families,
            (*TRANSPORTS, "tls") if has_tls else TRANSPORTS,
        )

    def _users_changed(self, users: Users) -> None:
        self._authenticator.users = users
        if self.overview.replication is not None:
            self.overview.replication.users_changed()

    def _calls_of(self, peer: str) -> Deferred[list[CallStateEvent]]:
        assert self.overview.replication is not None
        return self.overview.replication.calls_of(peer)

    def _read_certificates(self) -> None:
        """
        Let whoever shows the node's certificate show the one that is there now.

        @raise LocalError: No peer would have it.
        """
        config = self._config
        assert config.tls is not None
        public = config.proxy.tls if config.proxy is not None else None
        # Refuses what cannot be read, with which the next one does not reckon.
        MutualTls(config.tls)
        now = datetime.fromtimestamp(self._reactor.seconds(), UTC)
        problems = pem_problems(config.tls, config.node.name, now)
        if public is not None:
            MutualTls(public)
            problems += public_pem_problems(public, config.domain.name, now)
        if problems:
            raise CertificateUnusable("; ".join(problems))
        for read in self._tls:
            read()
        self._note_certificates()

    def _note_certificates(self) -> None:
        """
        Remember when those that are shown end.
        """
        config = self._config
        shown = [config.tls, config.proxy.tls if config.proxy is not None else None]
        paths = [path for tls in shown if tls is not None for path in (tls.certificate, tls.authority)]
        self.overview.certificates = {str(path): read_certificate(path).not_valid_after_utc for path in paths}

    def _open_registry(self, config: model.Registrar) -> None:
        """
        Take the registry from the disk.

        @raise StoreUnusable: It cannot be.
        """
        node = self._config.node
        self._registry = self.overview.registry = Registry(
            node.name, config.max_expires, config.max_contacts, expire_unlisted=config.expire_unlisted
        )
        self._store = self.overview.store = RegistrationStore(node.data / "registry.sqlite", self._reactor)
        self._registry.load(self._store.open())
        self._closers.append(self._store.close)

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
        self._database = started
        call_log = CallLog(self._reactor, Journal(node.data / "journal"), dsn)
        self.overview.call_log = call_log
        self._closers.append(call_log.stopService)
        started.addCallback(self._write_call_events, call_log)
        if config.listen is not None:
            assert self._config.tls is not None
            tls = MutualTls(self._config.tls)
            self._tls.append(tls.reload)
            self._gate = PostgresGate(
                self._reactor,
                tls,
                _node_names(self._config),
                node.listen,
                config.listen,
                dsn,
                self.security,
            )
            self._run(self._gate)

    def _database_failed(self, failure: Failure) -> None:
        failure.trap(PostgresUnusable)
        self._log.error("the embedded database does not start: {reason}", reason=failure.getErrorMessage())

    def _write_call_events(self, _: None, call_log: CallLog) -> None:
        # Not before the database had its chance, or every start would begin
        # with a warning.  The journal takes events from the first call on.
        if self.running:
            call_log.startService()

    def _open_call_resolver(self, config: model.CallResolver, locator: Locator) -> None:
        """
        Resolve calls, where the node is to do that by itself.
        """
        if config.follow is None and config.run_daily is None:
            return
        node, call_events = self._config.node, self._config.call_events
        embedded = EmbeddedPostgres(self._reactor, node.data / "pg").dsn()
        dsn = config.dsn or embedded
        own_dsn = dsn if call_events is None else with_user_of(call_events.dsn or embedded, dsn)
        places = Places(
            config,
            dsn,
            own_dsn,
            self._config.tls,
            locator.addresses,
            lambda: find_gateways(self._config.domain.gateways, locator),
        )
        resolution = self.overview.resolution = Resolution(self._reactor, places, self._reactor)
        self._closers.append(resolution.stopService)
        self._database.addCallback(self._resolve_calls, resolution)

    def _resolve_calls(self, _: None, resolution: Resolution) -> None:
        if self.running:
            resolution.startService()

    def _registrar(self, config: model.Registrar, locator: Locator) -> Endpoint:
        """
        Start replication, and make the registrar.
        """
        if config.replication is not None:
            replication = Replication(
                self._reactor,
                self._config,
                self._registry,
                self._store,
                locator.addresses,
                users=self.overview.users,
                security=self.security,
            )
            self.overview.replication = replication
            if self.overview.call_log is not None:
                replication.live = self.overview.call_log.live
            self._tls.append(replication.reload)
            self._run(replication)
            updated = replication.updated
            acknowledged = replication.acknowledged if config.replication.by_peer else None
        else:
            self._run(self._every(PURGE_INTERVAL, self._purge))
            updated, acknowledged = _nothing, None
        self._updated = updated
        domain = self._config.domain
        terms = Terms(
            ServedDomain(domain.name, domain.aliases),
            config.min_expires,
            config.default_expires,
            config.max_expires,
            Gruus(self._config.secret, domain.name),
            config.spread,
        )
        change_log = self.overview.change_log = ChangeLog(self._config.log.level)
        self._administration = Administration(
            self._reactor,
            self._registry,
            self._store,
            terms,
            self._knows,
            updated,
            change_log,
        )
        user = RegistrarUser(
            self._reactor,
            terms,
            self._registry,
            self._store,
            self._authenticator,
            authenticate=config.authenticate,
            allowed=self._neighbours.knows,
            updated=updated,
            acknowledged=acknowledged,
            mint=mint,
            change_log=change_log,
        )
        for what, path, read in (
            ("mapping rules", config.mapping_rules, read_mapping_rules),
            ("fallback rules", config.fallback_rules, read_fallback_rules),
        ):
            if path is not None:
                read(user.redirect, self._config)
                self._files.add(what, partial(read, user.redirect, self._config), path)
        endpoint = user.endpoint = self._endpoint("registrar", config.ports, user, locator)
        endpoint.at_once = user.answer_at_once
        self._reg_events = user.reg_events = RegEvents(
            self._reactor,
            terms,
            self._registry,
            self._config.secret,
            user.authorize,
            locator.locate,
            self._config.node.name,
            mint,
        )
        self._reg_events.endpoint = endpoint
        if self._edge is not None:
            self._edge.closed = user.flow_closed
        if self.overview.fork_proxy is not None:
            redirect = user.redirect
            self.overview.fork_proxy.gateways = lambda uri: self._gateways.besides(
                redirect.gateways(uri, self._reactor.seconds()), uri
            )
        return endpoint

    def _knows(self, identity: str) -> bool:
        # The users of this moment.
        return self._authenticator.users.knows(identity)

    def _purge(self) -> None:
        purged = self._registry.purge(self._reactor.seconds(), PURGE_SIZE)
        if purged:
            self._store.commit([], purged).addErrback(Failure.trap, NotYetWritten)

    def _proxies(self, locator: Locator) -> Iterator[Endpoint]:
        config = self._config
        node = config.node
        domains = frozenset((config.domain.name, *config.domain.aliases))
        cluster = Cluster(
            domain=config.domain.name,
            secret=config.secret,
            authenticator=self._authenticator,
            locate=locator.locate,
            hop_failed=locator.failed,
            hop_answered=locator.answered,
            call_log=self.overview.call_log,
            is_ours=lambda uri: (
                uri.host.lower() in domains
                or locator.is_own(uri)
                or self._neighbours.is_node(uri.host.strip("[]"))
            ),
            knows=self._neighbours.knows,
            is_gateway=self._gateways.leads_to,
            from_gateway=self._gateways.has_address,
        )
        emergency = EmergencyNumbers(
            config.emergency,
            config.domain.name,
            lambda uri: cluster.is_ours(uri) or uri.host == node.listen,
        )
        self.overview.gate = Gate(
            self._reactor,
            config.limits.load,
            self._neighbours.is_node,
            lambda address: self._neighbours.knows(address) or self._gateways.has_address(address),
            emergency,
            config.secret,
            _CHANCE.random,
            self.security,
        )
        if config.proxy is not None:
            fork_proxy = self.overview.fork_proxy = make_fork_proxy(
                self._reactor, config, config.proxy, cluster, _CHANCE.getrandbits(32), emergency
            )
            if config.registrar is None:
                fork_proxy.gateways = lambda uri: self._gateways.besides([], uri)
            read = partial(read_forwarding_rules, fork_proxy, config.proxy)
            self._files.add("forwarding rules", read, config.proxy.forwarding_rules)
            endpoint = self._proxy_endpoint("proxy", config.proxy, fork_proxy, locator)
            self._edge = fork_proxy.edge
            self._edge.endpoint = endpoint
            endpoint.watch(self._edge.flow_closed)
            yield endpoint
        if config.authproxy is not None:
            auth_proxy = make_auth_proxy(self._reactor, config, config.authproxy, cluster)
            self._auth_proxy = auth_proxy
            again = partial(read_auth_rules, auth_proxy, config.authproxy)
            self._files.add("authorization rules", again, config.authproxy.auth_rules)
            yield self._proxy_endpoint("authproxy", config.authproxy, auth_proxy, locator)

    def _proxy_endpoint(
        self, name: str, config: model.Proxy | model.AuthProxy, proxy: Proxy, locator: Locator
    ) -> Endpoint:
        """
        Make the ports of a proxy, which begins a new life as an observer of calls.
        """
        if self.overview.call_log is not None:
            self.overview.call_log.observer_started(proxy.observer, type(proxy).__name__)
        public = config.tls if isinstance(config, model.Proxy) else None
        proxy.endpoint = self._endpoint(name, config.ports, proxy, locator, public)
        if self.overview.gate is not None:
            proxy.endpoint.gate = self.overview.gate.judge
            proxy.endpoint.spares = self.overview.gate.spares
        return proxy.endpoint

    def _endpoint(
        self,
        name: str,
        ports: model.Ports,
        user: ITransactionUser,
        locator: Locator,
        public: model.Tls | None = None,
    ) -> Endpoint:
        """
        @param public: The certificate that clients see, if not the node's own.
        """
        config, node = self._config, self._config.node
        tls = None
        if ports.tls is not None:
            assert config.tls is not None
            shown = [config.tls] if public is None else [public, config.tls]
            tls = SipTls(shown, config.domain.name, locator.is_own_name)
            self._tls.append(tls.reload)
        return Endpoint(
            self._reactor,
            name,
            ports,
            node.listen,
            node.address,
            user,
            mint,
            tls,
            config.limits,
            is_neighbour=self._neighbours.knows,
            siblings=self._siblings,
            security=self.security,
            mirror=self.overview.mirror,
        )

    def _ports(self) -> dict[str, dict[str, int]]:
        ports: dict[str, dict[str, int]] = {}
        for transport, _, port, service in self._config.listeners():
            ports.setdefault(service, {})[transport] = port
        return ports


def _node_names(config: model.Config) -> frozenset[str]:
    """
    Of this node and its peers.
    """
    return frozenset([config.node.name, *(peer.name for peer in config.peers())])


def _own_names(config: model.Config) -> list[str]:
    """
    The same, and their addresses as far as they are written down.
    """
    addresses = [peer.address for peer in config.peers() if peer.address]
    return [*_node_names(config), config.node.address, *addresses]


def _not_possible(reason: str, posted: Any) -> NoReturn:
    raise NotPossible(reason)


def _nothing() -> None:
    """
    Nobody is there to replicate with.
    """
