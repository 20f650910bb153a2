"""
Makes the proxies that a node's configuration asks for: the names that are
theirs, and the rules by which they go, which can be read again.

Their ports and their life are the node's business, what they do is their own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sipxha.config import model
from sipxha.config.rules import load_auth_rules, load_caller_aliases, load_forwarding_rules
from sipxha.registry.domain import ServedDomain
from sipxha.routing.caller_alias import CallerAliases
from sipxha.routing.emergency import NO_NUMBERS, EmergencyNumbers
from sipxha.routing.route import OwnNames
from sipxha.services.auth_proxy import NO_ALIASES, AuthProxy, OwnRoutes
from sipxha.services.cluster import Cluster
from sipxha.services.edge import Edge
from sipxha.services.fork_proxy import ForkProxy
from sipxha.sip.uri import Uri


def make_fork_proxy(
    reactor: Any,
    config: model.Config,
    own: model.Proxy,
    cluster: Cluster,
    life: int,
    emergency: EmergencyNumbers = NO_NUMBERS,
) -> ForkProxy:
    """
    Make the forking proxy and its edge.

    @param own: Its element of the configuration.

    @param life: A number that this process does not share with the one before.

    @raise RulesRefused: Its rules cannot be used.
    """
    domain, node = config.domain, config.node
    edge = Edge(
        reactor,
        config.secret,
        node.address,
        node.name,
        own.ports,
        ServedDomain(domain.name, domain.aliases),
        life,
        authenticated=config.registrar is not None and config.registrar.authenticate,
    )
    return ForkProxy(
        reactor,
        cluster,
        node.address,
        _port(own.ports),
        _own_names(node, own.ports, {domain.name, *domain.aliases}),
        own.ports.tls,
        rules=load_forwarding_rules(own.forwarding_rules),
        authproxy=Uri.parse(f"sip:ap.{node.name};lr"),
        edge=edge,
        emergency=emergency,
        own_authproxy=_own_authproxy(config),
        accept_strangers=own.strangers == "accept",
        decline_ends_search=own.decline_ends_search,
    )


def read_forwarding_rules(proxy: ForkProxy, own: model.Proxy) -> None:
    """
    Let a forking proxy go by the rules that are there now.

    @raise RulesRefused: They cannot be used, and the old ones stay.
    """
    proxy.rules = load_forwarding_rules(own.forwarding_rules)


def make_auth_proxy(reactor: Any, config: model.Config, own: model.AuthProxy, cluster: Cluster) -> AuthProxy:
    """
    Make the authproxy.

    @param own: Its element of the configuration.

    @raise RulesRefused: Its rules cannot be used.
    """
    node = config.node
    return AuthProxy(
        reactor,
        cluster,
        node.address,
        _port(own.ports),
        auth_proxy_names(config, own),
        own.ports.tls,
        routes=_own_routes(node, own),
        rules=load_auth_rules(own.auth_rules),
        aliases=_load_aliases(own),
    )


def auth_proxy_names(config: model.Config, own: model.AuthProxy) -> OwnNames:
    """
    The names under which an authproxy finds itself: those of other nodes,
    too, for ours steps in where another node's is away.
    """
    nodes = (config.node.name, *(peer.name for peer in config.peers()))
    return _own_names(config.node, own.ports, {f"ap.{name}" for name in nodes})


def read_auth_rules(proxy: AuthProxy, own: model.AuthProxy) -> None:
    """
    Let an authproxy go by the rules that are there now.

    @raise RulesRefused: They cannot be used, and the old ones stay.
    """
    rules, proxy.aliases = load_auth_rules(own.auth_rules), _load_aliases(own)
    proxy.rules = rules


def _load_aliases(own: model.AuthProxy) -> CallerAliases:
    return NO_ALIASES if own.caller_aliases is None else load_caller_aliases(own.caller_aliases)


def _own_authproxy(config: model.Config) -> Uri | None:
    own, node = config.authproxy, config.node
    if own is None:
        return None
    literal = f"[{node.address}]" if ":" in node.address else node.address
    transport = "" if own.ports.tcp is None else ";transport=tcp"
    return Uri.parse(f"sip:{literal}:{own.ports.tcp or own.ports.udp}{transport};lr")


def _own_routes(node: model.NodeName, own: model.AuthProxy) -> OwnRoutes:
    """
    What the authproxy puts into a Record-Route.  Its name leads to all nodes,
    the own one first, but over TLS, where a phone looks for a node's own name
    in the certificate (RFC 5922 section 7.5).
    """
    ports = own.ports
    if own.record_route == "name":
        plain = over_tcp = f"sip:ap.{node.name}"
        if ports.tcp is not None:
            over_tcp = f"{plain};transport=tcp"
    else:
        literal = f"[{node.address}]" if ":" in node.address else node.address
        plain = over_tcp = f"sip:{literal}:{_port(ports)}"
        if ports.tcp is not None:
            over_tcp = f"sip:{literal}:{ports.tcp};transport=tcp"
        if ports.udp is None:
            plain = over_tcp
    safe = plain if ports.tls is None else f"sips:{node.name}:{ports.tls}"
    return OwnRoutes(f"{plain};lr", f"{over_tcp};lr", f"{safe};lr")


def _own_names(node: model.NodeName, ports: model.Ports, services: Collection[str]) -> OwnNames:
    """
    @param services: names that lead to a proxy by SRV, so without a port.
    """
    literal = f"[{node.address}]" if ":" in node.address else node.address
    numbers = {port for port in (ports.udp, ports.tcp, ports.tls) if port is not None}
    hosts = [(host, port) for host in (literal, node.name, *services) for port in numbers]
    return OwnNames([*hosts, *((service, None) for service in services)])


def _port(ports: model.Ports) -> int:
    port = ports.udp or ports.tcp
    assert port is not None
    return port
