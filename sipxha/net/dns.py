"""
From a URI to the places where its request can be sent.

L{Locator} puts the questions that L{sipxha.routing.location} calls for to
L{sipxha.net.names}, and keeps failed places apart.  L{resolver_for} says who
answers.  Nothing here sends a request, nor decides what a failure is: callers
tell the L{Locator} of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IReactorTime, IResolver
from twisted.names import dns, hosts
from twisted.names.resolve import ResolverChain
from twisted.python.failure import Failure

from sipxha.config.model import Dns
from sipxha.config.zone import read_zone
from sipxha.net.dns_client import Client, system_servers
from sipxha.net.names import DNSFailed, Names
from sipxha.net.zone_server import Zone, serve_zone
from sipxha.routing.location import (
    Offer,
    Service,
    Srv,
    Target,
    Unlocatable,
    direct,
    is_left_to_chance,
    is_name,
    offers_of,
    services_by_default,
    services_named,
    target_of,
)
from sipxha.routing.quarantine import Quarantine
from sipxha.sip.hop import Hop
from sipxha.sip.uri import Uri

__all__ = ["Locator", "resolver_for", "serve_zone"]

TRANSPORTS = ("tcp", "udp")
"""
What every node speaks.  TCP is liked better where the far end leaves it to us:
a dead server is noticed at once.
"""

PLAN_LIFE = 1.0
"""
Seconds for which all answers about one URI are kept together, so that a busy
proxy need not put them together for every call.
"""

PLANS = 1_000
"""How many of those are kept."""

QUARANTINE = 30.0
"""Seconds for which a place that failed is tried last."""


def resolver_for(reactor: Any, config: Dns) -> IResolver:
    """
    Say who answers questions about names: the zone file if there is one, for
    what is in it; else the configured server, or what the system would ask.

    @param reactor: With TCP, UDP and time.

    @raise ZoneUnreadable: When the zone file is wrong.
    """
    chain: list[IResolver] = []
    if config.zone is not None:
        chain.append(Zone(read_zone(config.zone)))
    if config.server is not None:
        chain.append(Client(reactor, [config.server]))
    else:
        chain += [hosts.Resolver(), Client(reactor, system_servers())]
    return ResolverChain(chain)


class _Plan(NamedTuple):
    """
    What is known about a target; the order is made anew for each request.
    """

    answers: Sequence[tuple[Service, Sequence[Srv]]]
    is_ranked: bool
    places: Mapping[str, Sequence[str]]
    """The addresses of each server."""

    order: Sequence[Hop]
    """The places in their order, where chance has no say in it; else none."""

    until: float


class Locator:
    """
    Finds the places for a URI, in the order in which to try them (RFC 3263).
    """

    def __init__(
        self,
        reactor: IReactorTime,
        resolver: IResolver,
        chance: Callable[[], float],
        own_names: Iterable[str] = (),
        families: Sequence[int] = (dns.A, dns.AAAA),
        transports: Sequence[str] = TRANSPORTS,
    ) -> None:
        """
        @param chance: Gives numbers from 0 up to, not including, 1.
        @param own_names: Names and addresses of the nodes of this cluster.
        @param families: C{dns.A}, C{dns.AAAA} or both: those that our sockets
            can send to, the preferred one first.
        @param transports: What we speak, best liked first.
        """
        self._reactor = reactor
        self._names = Names(reactor, resolver)
        self._chance = chance
        self.set_own_names(own_names)
        # Nearly all requests are for a few places: our own servers, and phones that call at length.
        self._targets: dict[str, tuple[Target, Hop | None]] = {}
        """What is asked for URIs, and the place where that is an address."""

        self._transports = transports
        self._families = families
        self._quarantine = Quarantine(QUARANTINE)
        self._plans: dict[Target, _Plan] = {}

    def set_own_names(self, names: Iterable[str]) -> None:
        """
        Take these for the names and addresses of our own nodes from now on.
        """
        self._own = frozenset(name.lower().removesuffix(".") for name in names)

    def locate(self, uri: Uri) -> Deferred[list[Hop]]:
        """
        Find the places for a URI; those in quarantine come last.

        @return: Fires with one place at least, or fails with L{Unlocatable}
            (there is none) or L{DNSFailed} (nobody knows).
        """
        try:
            hops = self.known(uri)
        except Unlocatable as reason:
            return fail(reason)
        return Deferred.fromCoroutine(self._locate(self._read(uri)[0])) if hops is None else succeed(hops)

    def known(self, uri: Uri) -> list[Hop] | None:
        """
        Tell the places for a URI as L{locate} does, if nobody has to be asked
        for them.

        @raise Unlocatable: There is none.
        """
        target, hop = self._targets.get(uri.raw) or self._read(uri)
        if hop is not None:
            return [hop]
        plan = self._plans.get(target)
        now = self._reactor.seconds()
        return None if plan is None or now >= plan.until else self._hops(target, plan, now)

    def addresses(self, name: str) -> Deferred[list[str]]:
        """
        Look up the addresses of a host.

        @return: Fires with one address at least, or fails as L{locate} does.
        """
        try:
            return succeed([str(ip_address(name))])
        except ValueError:
            return Deferred.fromCoroutine(self._addresses(name.lower().removesuffix(".")))

    def is_own(self, uri: Uri) -> bool:
        """
        Whether a URI leads to a node of this cluster: by its name, by the name
        of one of its services (C{rr.NODE}, C{ap.NODE}) or by its address.

        Such a place answers at once or is dead.
        """
        return self.is_own_name(uri.host.lower().removesuffix(".").strip("[]"))

    def is_own_name(self, name: str) -> bool:
        """
        The same for a name as it stands in a L{Hop}.
        """
        return name in self._own or name.partition(".")[2] in self._own

    def failed(self, hop: Hop) -> None:
        """
        A request to C{hop} got no answer, no connection or a 503.
        """
        self._quarantine.failed(hop, self._reactor.seconds())

    def answered(self, hop: Hop) -> None:
        """
        A request to C{hop} was answered.
        """
        self._quarantine.answered(hop)

    def _read(self, uri: Uri) -> tuple[Target, Hop | None]:
        target = target_of(uri, self._transports)
        hop = _hop(direct(target), target.host, target) if target.is_numeric else None
        if len(self._targets) >= PLANS:
            self._targets.clear()
        self._targets[str(uri)] = target, hop
        return target, hop

    async def _locate(self, target: Target) -> list[Hop]:
        plan = await self._plan(target)
        hops = self._hops(target, plan, self._reactor.seconds())
        if len(self._plans) >= PLANS:
            self._plans.clear()
        self._plans[target] = plan
        return hops

    def _hops(self, target: Target, plan: _Plan, now: float) -> list[Hop]:
        """
        Make the order for one request.
        """
        hops = plan.order or _ordered(target, plan.answers, plan.is_ranked, plan.places, self._chance)
        return self._quarantine.order(hops, now)

    async def _plan(self, target: Target) -> _Plan:
        """
        Ask for all that is to be known about a target.
        """
        answers: list[tuple[Service, Sequence[Srv]]] = []
        is_ranked = False
        if target.port is None:
            answers, is_ranked = await self._services(target)
        named = {record.target: None for _service, records in answers for record in records}
        servers = [server for server in named or [target.host] if server]
        found, trouble = await _gather([Deferred.fromCoroutine(self._addresses(name)) for name in servers])
        if servers and not any(found):
            raise trouble or Unlocatable(f"{target.host} has no address")
        places = dict(zip(servers, found, strict=True))
        order: Sequence[Hop] = ()
        if not is_left_to_chance(answers, is_ranked):
            order = _ordered(target, answers, is_ranked, places, self._chance)
        return _Plan(answers, is_ranked, places, order, self._reactor.seconds() + PLAN_LIFE)

    async def _services(self, target: Target) -> tuple[list[tuple[Service, Sequence[Srv]]], bool]:
        """
        Ask for the servers of a domain: NAPTR where the URI leaves the transport open, then SRV.

        @return: The servers by service, and whether the domain ranks the services.
        """
        services = []
        if not target.decided:
            try:
                services = services_named(target, await self._names.ask(target.host, dns.NAPTR))
            except DNSFailed as failure:
                # Some servers know no NAPTR; one that is dead knows no SRV either.
                if failure.timed_out:
                    raise
        is_ranked = bool(services)
        services = services or services_by_default(target)
        found, trouble = await _gather([self._names.ask(service.name, dns.SRV) for service in services])
        if trouble is not None and not any(found):
            # Its address alone might lead to quite another service.
            raise trouble
        return list(zip(services, found, strict=True)), is_ranked

    async def _addresses(self, name: str) -> list[str]:
        if not is_name(name):
            raise Unlocatable(f"{name[:200]!r} is not a name")
        found, trouble = await _gather([self._names.ask(name, family) for family in self._families])
        addresses = [address for of_family in found for address in of_family]
        if not addresses:
            raise trouble or Unlocatable(f"{name} has no address")
        return addresses


async def _gather(answers: Sequence[Deferred[Any]]) -> tuple[list[Any], DNSFailed | None]:
    """
    Wait for all answers.

    @return: The answers, an empty one for each that failed, and what DNS
        itself failed with, if it did.
    """
    values: list[Any] = []
    trouble: DNSFailed | None = None
    for is_good, value in await DeferredList(answers, consumeErrors=True):
        if is_good:
            values.append(value)
            continue
        failure: Failure = value
        failure.trap(DNSFailed, Unlocatable)
        if isinstance(failure.value, DNSFailed):
            trouble = failure.value
        values.append(())
    return values, trouble


def _ordered(
    target: Target,
    answers: Sequence[tuple[Service, Sequence[Srv]]],
    is_ranked: bool,
    places: Mapping[str, Sequence[str]],
    chance: Callable[[], float],
) -> list[Hop]:
    offers = offers_of(answers, is_ranked, chance) or [direct(target)]
    return [_hop(offer, address, target) for offer in offers for address in places[offer.host]]


def _hop(offer: Offer, address: str, target: Target) -> Hop:
    return Hop(offer.transport, address, offer.port, target.host)
