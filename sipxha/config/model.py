"""
What a node is told to be: one frozen value for each element of sipxha.xml.

Built once by L{sipxha.config.load}; a service is given only its own part.
Paths are absolute, names are lower-case, numbers are checked: nothing that
holds one of these needs to look again.  An element that is absent is C{None},
and the service behind it does not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import NamedTuple

from sipxha.auth.failures import FailureLimits
from sipxha.config.limits import ConnectionLimits, LoadLimits
from sipxha.sip.limits import MessageLimits


class Listener(NamedTuple):
    """
    A port that this node takes.
    """

    transport: str
    """C{"udp"}, C{"tcp"} or C{"tls"}."""

    address: str
    port: int
    service: str
    """The element that asks for it."""


@dataclass(frozen=True, slots=True)
class Domain:
    """
    C{<domain>}: the SIP domain that all nodes serve together.
    """

    name: str
    realm: str
    aliases: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    """C{<gateways>}: names or addresses of those to the telephone network."""


@dataclass(frozen=True, slots=True)
class NodeName:
    """
    C{<node>}: this server.
    """

    name: str
    """The fully qualified name that peers and certificates know."""

    address: str
    """The address that is advertised in Via, Record-Route and DNS."""

    listen: str
    """The address that is bound; the advertised one unless said otherwise."""

    data: Path
    """The folder of everything that this node remembers."""

    @property
    def control_socket(self) -> Path:
        """
        Where the running node answers the C{sipxha} command.
        """
        return self.data / "control.sock"


@dataclass(frozen=True, slots=True)
class Tls:
    """
    C{<tls>}: PEM files.
    """

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class Dns:
    """
    C{<dns>}: names that are answered locally, and who answers the others.
    """

    zone: Path | None = None
    server: tuple[str, int] | None = None
    """Address and port; C{None} for the system's resolvers."""


@dataclass(frozen=True, slots=True)
class Symbols:
    """
    C{<symbols>}: what the mapping rules call by these names.
    """

    voicemail: str | None = None
    mediaserver: str | None = None


@dataclass(frozen=True, slots=True)
class Users:
    """
    C{<users>}: the sipX tables of people.
    """

    credentials: Path
    permissions: Path
    aliases: Path


@dataclass(frozen=True, slots=True)
class Ports:
    """
    Where a SIP service listens; C{None} for a transport that it does not offer.
    With a TLS port there is a L{Tls}.
    """

    udp: int | None
    tcp: int | None
    tls: int | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """
    C{<proxy>}: the forking proxy.
    """

    ports: Ports
    strangers: str
    """C{"challenge"} or C{"accept"}."""

    decline_ends_search: bool
    forwarding_rules: Path
    tls: Tls | None = None
    """What phones see; C{None} for the node's own certificate."""


@dataclass(frozen=True, slots=True)
class AuthProxy:
    """
    C{<authproxy>}.
    """

    ports: Ports
    auth_rules: Path
    record_route: str = "address"
    """C{"address"} of this node, or C{"name"}, which leads to all nodes."""

    caller_aliases: Path | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """
    C{<peer>}: another registrar.
    """

    name: str
    address: str | None = None
    """Where DNS should not be asked."""


@dataclass(frozen=True, slots=True)
class Replication:
    """
    C{<replication>}.
    """

    port: int
    startup_limit: float
    """Seconds after which a node serves although a peer did not answer."""

    peers: tuple[Peer, ...]
    """All but this node itself."""

    by_peer: bool = False
    """Whether a REGISTER is answered only when a peer has it too."""


@dataclass(frozen=True, slots=True)
class Registrar:
    """
    C{<registrar>}: registrar and redirect server.
    """

    ports: Ports
    min_expires: int
    default_expires: int
    max_expires: int
    max_contacts: int
    expire_unlisted: bool
    """Whether a REGISTER ends the contacts of its Call-ID that it does not list."""

    authenticate: bool
    digest: tuple[str, ...]
    """Algorithms in the order in which they are offered."""

    replication: Replication | None
    spread: int = 0
    """Percent by which a registration is shortened at most, so that refreshes spread."""

    mapping_rules: Path | None = None
    fallback_rules: Path | None = None


@dataclass(frozen=True, slots=True)
class CallEvents:
    """
    C{<call-events>}: the database that this node's proxies log to.
    """

    dsn: str | None
    """libpq parameters; C{None} for the embedded server."""

    listen: int | None
    """Port on which configured peers reach this database over TLS."""


@dataclass(frozen=True, slots=True)
class CseHost:
    """
    One of the servers that hold call state events.
    """

    name: str
    """C{"localhost"} is this node's own database."""

    port: int


@dataclass(frozen=True, slots=True)
class Retain:
    """
    C{<retain>}: after how many days records and events are deleted; C{None}: never.
    """

    cdr_days: int | None = None
    cse_days: int | None = None


@dataclass(frozen=True, slots=True)
class CallResolver:
    """
    C{<call-resolver>}.
    """

    dsn: str | None
    """Where CDRs go, and how hosts are reached; C{None}: this node's embedded server."""

    cse_hosts: tuple[CseHost, ...]
    ca: Path | None
    follow: int | None = None
    """Seconds between two passes of the node itself."""

    run_daily: time | None = None
    """When the node runs a pass each day, by its local time."""

    max_call: int = 28800
    max_ringing: int = 120
    retain: Retain = Retain()


@dataclass(frozen=True, slots=True)
class Console:
    """
    C{<console>}: JSON, health and metrics over HTTP.
    """

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Log:
    """
    C{<log>}.
    """

    level: str
    file: Path | None
    format: str = "text"
    """C{"text"} or C{"json"}."""

    security: Path | None = None
    """Where security events go; C{None}: they are only counted."""


@dataclass(frozen=True, slots=True)
class Hep:
    """
    C{<hep>}: where SIP is mirrored to.
    """

    collector: tuple[str, int]
    agent: int


@dataclass(frozen=True, slots=True)
class Limits:
    """
    C{<limits>}: what one sender may cost each of our SIP services.
    """

    message: MessageLimits = field(default_factory=MessageLimits)
    connection: ConnectionLimits = field(default_factory=ConnectionLimits)
    failure: FailureLimits = field(default_factory=FailureLimits)
    load: LoadLimits = field(default_factory=LoadLimits)


DEFAULT_LIMITS = Limits()
"""For whoever has no reason for others."""


@dataclass(frozen=True, slots=True)
class Config:
    """
    All of sipxha.xml.
    """

    path: Path
    domain: Domain
    node: NodeName
    secret: bytes
    """Shared by all nodes: nonces, route state and identities are signed with it."""

    tls: Tls | None
    dns: Dns
    users: Users
    proxy: Proxy | None
    authproxy: AuthProxy | None
    registrar: Registrar | None
    call_events: CallEvents | None
    call_resolver: CallResolver | None
    console: Console | None
    log: Log
    limits: Limits
    symbols: Symbols = Symbols()
    emergency: tuple[str, ...] = ()
    """Numbers that everybody may call, whatever happens."""

    hep: Hep | None = None

    def rule_symbols(self) -> dict[str, str]:
        """
        What the symbols of the mapping rules stand for on this node.
        """
        found = {"localhost": self.node.name}
        for name in ("voicemail", "mediaserver"):
            value = getattr(self.symbols, name)
            if value is not None:
                found[name] = value
        return found

    def peers(self) -> tuple[Peer, ...]:
        """
        The other registrars, if there are any.
        """
        if self.registrar is None or self.registrar.replication is None:
            return ()
        return self.registrar.replication.peers

    def node_names(self) -> frozenset[str]:
        """
        Of this node and its peers.
        """
        return frozenset([self.node.name, *(peer.name for peer in self.peers())])

    def listeners(self) -> Iterator[Listener]:
        """
        Every port that a node with this configuration takes.
        """
        address = self.node.listen
        for service, sip in (
            ("proxy", self.proxy),
            ("authproxy", self.authproxy),
            ("registrar", self.registrar),
        ):
            if sip is not None and sip.ports.udp is not None:
                yield Listener("udp", address, sip.ports.udp, service)
            if sip is not None and sip.ports.tcp is not None:
                yield Listener("tcp", address, sip.ports.tcp, service)
            if sip is not None and sip.ports.tls is not None:
                yield Listener("tls", address, sip.ports.tls, service)
        if self.registrar is not None and self.registrar.replication is not None:
            yield Listener("tcp", address, self.registrar.replication.port, "replication")
        if self.call_events is not None and self.call_events.listen is not None:
            yield Listener("tcp", address, self.call_events.listen, "call-events")
        if self.console is not None:
            yield Listener("tcp", self.console.address, self.console.port, "console")
