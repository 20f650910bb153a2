"""
Forwarding rules: which server a request in our domain is for.

The values behind C{forwardingrules.xml}, in the language of sipX
(namespace forwardingrules-00-00).  L{sipxha.config.rules} reads the file;
nothing here knows XML, DNS or what the forking proxy does with the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NamedTuple

from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

_DEFAULT_PORT = 5060

DIRECT: Final = "direct"
"""What stands for a target where requests go where they say themselves."""

BY_AUTHPROXY: Final = "authproxy"
"""The same where they go there by the authproxy, whatever further routes say."""


class FieldMatch(NamedTuple):
    """
    Where requests go that carry a header field of a certain shape.
    """

    name: str
    """The field's name, lower-case."""

    patterns: tuple[re.Pattern[str], ...]
    """Anchored at the start only; none means that any value will do."""

    route_to: str

    def matches(self, request: Request) -> bool:
        """
        @return: whether C{request} carries the field in one of these shapes.
        """
        value = request.get(self.name)
        if value is None:
            return False
        return not self.patterns or any(pattern.match(value) for pattern in self.patterns)


class MethodMatch(NamedTuple):
    """
    Where requests of certain methods go.
    """

    methods: frozenset[str]
    fields: tuple[FieldMatch, ...]
    route_to: str | None

    def route(self, request: Request) -> str | None:
        """
        @return: the target of the first field that matches, else of the method.
        """
        if request.method.upper() not in self.methods:
            return None
        for field in self.fields:
            if field.matches(request):
                return field.route_to
        return self.route_to


class Route(NamedTuple):
    """
    One C{route}: the hosts that it speaks for and where their requests go.
    """

    hosts: frozenset[tuple[str, int | None]]
    """Lower-case host and port, 5060 written as C{None}."""

    methods: tuple[MethodMatch, ...]
    route_to: str | None
    domains: tuple[str, ...] = ()
    """Each begins with a dot and ends the names that it stands for."""

    networks: tuple[IPv4Network, ...] = ()

    def route(self, request: Request) -> str | None:
        """
        @return: the target of the first method that matches, else of the route.
        """
        return self.by_method(request) or self.route_to

    def by_method(self, request: Request) -> str | None:
        """
        @return: the target of the first method that matches.
        """
        for method in self.methods:
            target = method.route(request)
            if target is not None:
                return target
        return None

    def leads_away(self) -> bool:
        """
        @return: whether some of its requests go where they say themselves.
        """
        targets = {self.route_to}
        for method in self.methods:
            targets.update([method.route_to, *(field.route_to for field in method.fields)])
        return not targets.isdisjoint((DIRECT, BY_AUTHPROXY))


class ForwardingRules:
    """
    All routes of a file, in its order.
    """

    __slots__ = ("_by_host", "_by_pattern")

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_host: dict[tuple[str, int | None], list[tuple[int, Route]]] = {}
        # Few of them, and in most files none.
        self._by_pattern: list[tuple[int, Route]] = []
        for place, route in enumerate(routes):
            for host in route.hosts:
                self._by_host.setdefault(host, []).append((place, route))
            if route.domains or route.networks:
                self._by_pattern.append((place, route))

    def route(self, uri: Uri, request: Request) -> str | None:
        """
        Find the server that C{request} is for when it is sent to C{uri}.

        The first route in the order of the file that yields a target wins; one
        that names the host and yields none leaves the search going.

        @return: the C{routeTo} as a URI with C{lr}, L{DIRECT}, or C{None} for
            the authproxy.
        """
        for _, route in self._matching(host_key(uri)):
            target = route.route(request)
            if target is not None:
                return None if target == BY_AUTHPROXY else target
        return None

    def singles_out(self, uri: Uri, request: Request) -> bool:
        """
        @return: whether C{request} goes where it goes for its method or one of
            its fields, and not because all of its host goes there.
        """
        for _, route in self._matching(host_key(uri)):
            if route.route(request) is not None:
                return route.by_method(request) is not None
        return False

    def serves(self, uri: Uri) -> bool:
        """
        @return: whether the host of C{uri} is ours: routes name it, and none
            leads anywhere but to a server.
        """
        routes = [route for _, route in self._matching(host_key(uri))]
        return bool(routes) and not any(route.leads_away() for route in routes)

    def _matching(self, host: tuple[str, int | None]) -> Iterable[tuple[int, Route]]:
        named = self._by_host.get(host, [])
        if not self._by_pattern:
            return named
        found = [each for each in self._by_pattern if names(host[0], each[1].domains, each[1].networks)]
        return sorted(named + [each for each in found if each not in named], key=_by_place)


def _by_place(found: tuple[int, Route]) -> int:
    return found[0]


def names(host: str, domains: tuple[str, ...], networks: tuple[IPv4Network, ...]) -> bool:
    """
    Whether a host is one of those that wildcards or networks stand for.

    @param host: lower-case.
    """
    if host.endswith(domains):
        return True
    if not networks or not host[-1:].isdigit():
        return False
    try:
        address = IPv4Address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


def host_key(uri: Uri) -> tuple[str, int | None]:
    """
    @return: what hosts are compared by: case-blind, 5060 equal to no port.
    """
    return uri.host.lower(), None if uri.port == _DEFAULT_PORT else uri.port
