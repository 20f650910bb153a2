"""
Where a request for a URI can be sent: the decisions of RFC 3263 and RFC 2782.

What to ask DNS, and what the answers mean, as values.  The questions are put,
remembered and given up on by L{sipxha.net.dns}; which places have failed of
late is known to L{sipxha.routing.quarantine}.  Nothing here draws a random
number: chance comes in as a callable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from sipxha.errors import RemoteError
from sipxha.sip.uri import Uri

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}

_SRV_PREFIXES = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}
_NAPTR_SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


class Unlocatable(RemoteError):
    """
    A URI leads nowhere: there is no such name, or it offers nothing that we speak.
    """

    status = 404


class TransportNotSpoken(Unlocatable):
    """
    A URI demands a scheme or a transport that this node does not have.
    """

    status = 416


class Target(NamedTuple):
    """
    What a URI says about where to go, before DNS is asked.
    """

    host: str
    """A name in lower case without final dot, or an address without brackets."""

    port: int | None
    """C{None} where the URI names none, so that SRV decides."""

    transports: tuple[str, ...]
    """Those that may be used, best liked first; one only where the URI decides."""

    decided: bool
    """Whether the URI itself names the transport, so that NAPTR is not asked."""

    is_numeric: bool


class Service(NamedTuple):
    """
    One transport, and the name of its SRV records.
    """

    transport: str
    name: str


class Naptr(NamedTuple):
    """
    A NAPTR record (RFC 3403).
    """

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(NamedTuple):
    """
    An SRV record (RFC 2782).
    """

    priority: int
    weight: int
    port: int
    target: str
    """Empty for C{.}: the service is decidedly not available."""


class Offer(NamedTuple):
    """
    A server that is named by SRV, or by the URI itself, whose addresses are still to be asked.
    """

    transport: str
    port: int
    host: str


def is_name(text: str) -> bool:
    """
    Whether DNS can be asked about C{text}, which may have come from anywhere.
    """
    return _NAME.fullmatch(text) is not None


def target_of(uri: Uri, spoken: Sequence[str]) -> Target:
    """
    Read what a URI demands (RFC 3263 section 4.1).

    @param spoken: The transports that we have, best liked first.

    @raise Unlocatable: When no transport suits or the host is no name.
    """
    host = (uri.params.get("maddr") or uri.host).removeprefix("[").removesuffix("]")
    asked = uri.params.get("transport")
    if uri.scheme == "sips":
        # transport=tcp of a sips URI is TLS over TCP (RFC 3261 section 26.2.2).
        suitable: tuple[str, ...] = ("tls",) if asked is None or asked.lower() in ("tcp", "tls") else ()
    elif uri.scheme == "sip":
        suitable = (asked.lower(),) if asked is not None else tuple(spoken)
    else:
        suitable = ()
    transports = tuple(transport for transport in suitable if transport in spoken)
    if not transports:
        wanted = f" over {asked}" if asked else ""
        raise TransportNotSpoken(f"{uri.scheme}{wanted} is not spoken here")
    try:
        # Most are names, and to see that by the error costs ten times as much.
        address = None if host[-1:].isalpha() and ":" not in host else ip_address(host)
    except ValueError:
        address = None
    if address is None:
        name = host.removesuffix(".")
        if not is_name(name):
            raise Unlocatable(f"{host[:200]!r} is neither an address nor a name")
        return Target(name.lower(), uri.port, transports, asked is not None, False)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise Unlocatable(f"{host[:200]!r} has a meaning on one network only")
    return Target(str(address), uri.port, transports, asked is not None, True)


def direct(target: Target) -> Offer:
    """
    The offer that the URI itself makes, when it is numeric, names a port or has no SRV records.

    Without a word about the transport it is UDP (RFC 3263 section 4.1).
    """
    transport = "udp" if "udp" in target.transports else target.transports[0]
    return Offer(transport, target.port or DEFAULT_PORTS[transport], target.host)


def services_named(target: Target, records: Iterable[Naptr]) -> list[Service]:
    """
    The services that NAPTR records name, in the order in which to try them (RFC 3263 section 4.1).

    Of transports that do not suit the URI none is kept; for C{sips} that
    leaves C{SIPS+D2T}.
    """
    suitable = [
        (record.order, record.preference, Service(transport, record.replacement))
        for record in records
        if record.flags.lower() == "s"
        and is_name(record.replacement)
        and (transport := _NAPTR_SERVICES.get(record.service.upper(), "")) in target.transports
    ]
    return [service for _order, _preference, service in sorted(suitable, key=lambda found: found[:2])]


def services_by_default(target: Target) -> list[Service]:
    """
    The services to ask for where NAPTR is silent or is not asked.

    TLS is looked for only where the URI demands it: C{_sips} is for C{sips}.
    """
    transports = [transport for transport in target.transports if transport != "tls"] or ["tls"]
    return [Service(transport, _SRV_PREFIXES[transport] + target.host) for transport in transports]


def offers_of(
    answers: Sequence[tuple[Service, Sequence[Srv]]], ranked: bool, chance: Callable[[], float]
) -> list[Offer]:
    """
    Put the servers of several services into the order in which to try them.

    @param ranked: Whether the order of C{answers} is the domain's own wish
        (NAPTR); all servers of one service then come before those of the next.
        Otherwise the priorities count across services, as the names of a
        node's own services need it, and the order of C{answers} only among equals.
    @param chance: Gives numbers from 0 up to, not including, 1.

    @raise Unlocatable: When there are records, but all say that there is no service.
    """
    groups: dict[tuple[int, int], tuple[str, list[Srv]]] = {}
    found = False
    for rank, (service, records) in enumerate(answers):
        for record in records:
            found = True
            if record.target:
                place = (rank, record.priority) if ranked else (record.priority, rank)
                groups.setdefault(place, (service.transport, []))[1].append(record)
    if found and not groups:
        raise Unlocatable(f"{answers[0][0].name} says that there is no such service")
    return [
        Offer(transport, record.port, record.target)
        for _place, (transport, records) in sorted(groups.items(), key=lambda group: group[0])
        for record in shuffled(records, chance)
    ]


def is_left_to_chance(answers: Sequence[tuple[Service, Sequence[Srv]]], ranked: bool) -> bool:
    """
    Whether L{offers_of} may answer now one thing and now another: some servers
    are wanted alike.
    """
    places = [
        (rank, record.priority) if ranked else (record.priority, rank)
        for rank, (_service, records) in enumerate(answers)
        for record in records
        if record.target
    ]
    return len(set(places)) != len(places)


def shuffled(records: Iterable[Srv], chance: Callable[[], float]) -> list[Srv]:
    """
    Order records of one priority by weighted chance (RFC 2782, "Weight").

    Weight 0 comes first in the sum, so that such a record is chosen now and
    then, but hardly ever before one that has a weight.

    @param chance: Gives numbers from 0 up to, not including, 1.
    """
    waiting = sorted(records, key=lambda record: record.weight > 0)
    chosen = []
    while len(waiting) > 1:
        mark = int(chance() * (sum(record.weight for record in waiting) + 1))
        running = 0
        for place, record in enumerate(waiting):
            running += record.weight
            if running >= mark:
                chosen.append(waiting.pop(place))
                break
    return chosen + waiting
