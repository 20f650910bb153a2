"""
Forwarding rules: which server a request in our domain is for.

The values behind C{forwardingrules.xml}, in the language of sipX
(namespace forwardingrules-00-00).  L{sipxha.config.rules} reads the file;
nothing here knows XML, DNS or what the forking proxy does with the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

_DEFAULT_PORT = 5060


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


class ForwardingRules:
    """
    All routes of a file, in its order.
    """

    __slots__ = ("_by_host",)

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_host: dict[tuple[str, int | None], list[Route]] = {}
        for route in routes:
            for host in route.hosts:
                self._by_host.setdefault(host, []).append(route)

    def route(self, uri: Uri, request: Request) -> str | None:
        """
        Find the server that C{request} is for when it is sent to C{uri}.

        The first route in the order of the file that yields a target wins; one
        that names the host and yields none leaves the search going.

        @return: the C{routeTo} as a URI with C{lr}, or C{None} where no rule applies.
        """
        for route in self._by_host.get(host_key(uri), ()):
            for method in route.methods:
                target = method.route(request)
                if target is not None:
                    return target
            if route.route_to is not None:
                return route.route_to
        return None

    def serves(self, uri: Uri) -> bool:
        """
        @return: whether any route names the host of C{uri}.
        """
        return host_key(uri) in self._by_host


def host_key(uri: Uri) -> tuple[str, int | None]:
    """
    @return: what hosts are compared by: case-blind, 5060 equal to no port.
    """
    return uri.host.lower(), None if uri.port == _DEFAULT_PORT else uri.port
