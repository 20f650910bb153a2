"""
The SIP services of a node: registrar, forking proxy and authproxy, each with
its ports, as the configuration asks for them.

Here is who gets what.  Replication is started with the registrar whose rows it
carries; what each part does, and in what order a node opens, is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from twisted.python.failure import Failure

from sipxha.auth.digest import Authenticator
from sipxha.auth.security_events import SecurityEvents
from sipxha.config import model
from sipxha.net.dns import Locator
from sipxha.net.endpoint import Endpoint, ITransactionUser
from sipxha.net.siblings import Siblings
from sipxha.net.sip_tls import SipTls
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.register import Terms
from sipxha.registry.table import Registry
from sipxha.routing.emergency import EmergencyNumbers
from sipxha.services.administration import Administration
from sipxha.services.auth_proxy import AuthProxy
from sipxha.services.chance import CHANCE, mint
from sipxha.services.change_log import ChangeLog
from sipxha.services.cluster import Cluster
from sipxha.services.console import Action
from sipxha.services.edge import Edge
from sipxha.services.gate import Gate
from sipxha.services.gateways import Gateways
from sipxha.services.neighbours import Neighbours
from sipxha.services.overview import Overview
from sipxha.services.parts import Parts
from sipxha.services.proxies import (
    make_auth_proxy,
    make_fork_proxy,
    read_auth_rules,
    read_forwarding_rules,
)
from sipxha.services.proxy import Proxy
from sipxha.services.redirect import read_fallback_rules, read_mapping_rules
from sipxha.services.reg_event import RegEvents
from sipxha.services.registrar import RegistrarUser
from sipxha.services.reload import LiveFiles
from sipxha.services.replication import Replication
from sipxha.services.shown_certificates import ShownCertificates
from sipxha.store.registrations import NotYetWritten, RegistrationStore

REGISTRY_ACTIONS = b"/import", b"/register", b"/unregister"
"""Where an operator posts what he wants to be done to the registry."""

PURGE_INTERVAL = 2.0
PURGE_SIZE = 1000
"""Rows that are forgotten at a time, which takes a few milliseconds."""


class SipServices:
    """
    Those of one node.

    @ivar auth_proxy: C{None} until it is made, or where there is none; the same
        goes for the others.
    @ivar edge: The flows of the forking proxy.
    @ivar administration: What may be changed in the registry by hand.
    @ivar reg_events: Who watches registrations.
    """

    def __init__(
        self,
        reactor: Any,
        overview: Overview,
        parts: Parts,
        *,
        authenticator: Authenticator,
        certificates: ShownCertificates,
        files: LiveFiles,
        gateways: Gateways,
        locator: Locator,
        neighbours: Neighbours,
        security: SecurityEvents,
    ) -> None:
        self.auth_proxy: AuthProxy | None = None
        self.edge: Edge | None = None
        self.administration: Administration | None = None
        self.reg_events: RegEvents | None = None
        self._reactor = reactor
        self._config = overview.config
        self._overview = overview
        self._parts = parts
        self._authenticator = authenticator
        self._certificates = certificates
        self._files = files
        self._gateways = gateways
        self._locator = locator
        self._neighbours = neighbours
        self._security = security
        self._siblings = Siblings(reactor)

    def registrar(self, config: model.Registrar, registry: Registry, store: RegistrationStore) -> Endpoint:
        """
        Start replication, and make the registrar.

        @param registry: What was on the disk, which C{store} writes to.
        """
        if config.replication is not None:
            replication = Replication(
                self._reactor,
                self._config,
                registry,
                store,
                self._locator.addresses,
                users=self._overview.users,
                security=self._security,
            )
            self._overview.replication = replication
            if self._overview.call_log is not None:
                replication.live = self._overview.call_log.live
            self._certificates.shown_by(replication.reload)
            self._parts.run(replication)
            updated = replication.updated
            acknowledged = replication.acknowledged if config.replication.by_peer else None
        else:
            self._parts.every(PURGE_INTERVAL, partial(self._purge, registry, store))
            updated, acknowledged = _nothing, None
        domain = self._config.domain
        terms = Terms(
            ServedDomain(domain.name, domain.aliases),
            config.min_expires,
            config.default_expires,
            config.max_expires,
            Gruus(self._config.secret, domain.name),
            config.spread,
        )
        change_log = self._overview.change_log = ChangeLog(self._config.log.level)
        user = RegistrarUser(
            self._reactor,
            terms,
            registry,
            store,
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
        endpoint = user.endpoint = self._endpoint("registrar", config.ports, user)
        endpoint.at_once = user.answer_at_once
        reg_events = self.reg_events = user.reg_events = RegEvents(
            self._reactor,
            terms,
            registry,
            self._config.secret,
            user.authorize,
            self._locator.locate,
            self._config.node.name,
            mint,
        )
        reg_events.endpoint = endpoint
        self.administration = Administration(
            self._reactor,
            registry,
            store,
            terms,
            self._knows,
            updated,
            change_log,
            reg_events.deactivated,
        )
        if self.edge is not None:
            self.edge.closed = user.flow_closed
        if self._overview.fork_proxy is not None:
            redirect = user.redirect
            self._overview.fork_proxy.gateways = lambda uri: self._gateways.besides(
                redirect.gateways(uri, self._reactor.seconds()), uri
            )
        return endpoint

    def take_up(self) -> None:
        """
        Go on with what the last life of the node knew, after the ports are open.
        """
        if self.reg_events is not None:
            # Stopped before what carries its last words.
            self._parts.run(self.reg_events)
        if self._overview.gate is not None:
            self._parts.run(self._overview.gate)
        if self.edge is not None:
            if self._overview.registry is not None:
                self.edge.take_up(self._overview.registry.all_current(self._reactor.seconds()))
            self._parts.run(self.edge)

    def actions(self) -> dict[bytes, Action]:
        """
        What an operator can do to the registry, once it is open.
        """
        administration = self.administration
        if administration is None:
            return {}
        doing = administration.import_rows, administration.register, administration.unregister
        return dict(zip(REGISTRY_ACTIONS, doing, strict=True))

    def proxies(self) -> Iterator[Endpoint]:
        """
        Make the proxies.

        @raise RulesRefused: The rules of one cannot be used.
        """
        config, locator = self._config, self._locator
        node = config.node
        domains = frozenset((config.domain.name, *config.domain.aliases))
        cluster = Cluster(
            domain=config.domain.name,
            secret=config.secret,
            authenticator=self._authenticator,
            locate=locator.locate,
            known=locator.known,
            hop_failed=locator.failed,
            hop_answered=locator.answered,
            call_log=self._overview.call_log,
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
        self._overview.gate = Gate(
            self._reactor,
            config.limits.load,
            self._neighbours.is_node,
            lambda address: self._neighbours.knows(address) or self._gateways.has_address(address),
            emergency,
            config.secret,
            CHANCE.random,
            self._security,
        )
        if config.proxy is not None:
            fork_proxy = self._overview.fork_proxy = make_fork_proxy(
                self._reactor, config, config.proxy, cluster, CHANCE.getrandbits(32), emergency
            )
            if config.registrar is None:
                fork_proxy.gateways = lambda uri: self._gateways.besides([], uri)
            read = partial(read_forwarding_rules, fork_proxy, config.proxy)
            self._files.add("forwarding rules", read, config.proxy.forwarding_rules)
            endpoint = self._proxy_endpoint("proxy", config.proxy, fork_proxy)
            self.edge = fork_proxy.edge
            self.edge.endpoint = endpoint
            endpoint.watch(self.edge.flow_closed)
            yield endpoint
        if config.authproxy is not None:
            auth_proxy = make_auth_proxy(self._reactor, config, config.authproxy, cluster)
            self.auth_proxy = auth_proxy
            again = partial(read_auth_rules, auth_proxy, config.authproxy)
            self._files.add("authorization rules", again, config.authproxy.auth_rules)
            yield self._proxy_endpoint("authproxy", config.authproxy, auth_proxy)

    def _purge(self, registry: Registry, store: RegistrationStore) -> None:
        purged = registry.purge(self._reactor.seconds(), PURGE_SIZE)
        if purged:
            store.commit([], purged).addErrback(Failure.trap, NotYetWritten)

    def _knows(self, identity: str) -> bool:
        # The users of this moment.
        return self._authenticator.users.knows(identity)

    def _proxy_endpoint(self, name: str, config: model.Proxy | model.AuthProxy, proxy: Proxy) -> Endpoint:
        """
        Make the ports of a proxy, which begins a new life as an observer of calls.
        """
        if self._overview.call_log is not None:
            self._overview.call_log.observer_started(proxy.observer, type(proxy).__name__)
        public = config.tls if isinstance(config, model.Proxy) else None
        proxy.endpoint = self._endpoint(name, config.ports, proxy, public)
        if self._overview.gate is not None:
            proxy.endpoint.gate = self._overview.gate.judge
            proxy.endpoint.spares = self._overview.gate.spares
        return proxy.endpoint

    def _endpoint(
        self,
        name: str,
        ports: model.Ports,
        user: ITransactionUser,
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
            tls = SipTls(shown, config.domain.name, self._locator.is_own_name)
            self._certificates.shown_by(tls.reload)
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
            security=self._security,
            mirror=self._overview.mirror,
        )


def _nothing() -> None:
    """
    Nobody is there to replicate with.
    """
