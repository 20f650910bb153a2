"""
What a proxy does to the Route set of a request (RFC 3261 sections 16.4, 16.6).

Finding the next hop's address is L{sipxha.routing.location}'s matter, choosing
it the proxies'.  Nothing here touches Via or Max-Forwards.
"""

from __future__ import annotations

from collections.abc import Iterable

from sipxha.routing.rules import host_key
from sipxha.sip.address import Address
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri


class OwnNames:
    """
    The names under which one proxy finds itself in Route headers.
    """

    __slots__ = ("_keys",)

    def __init__(self, names: Iterable[tuple[str, int | None]]) -> None:
        """
        @param names: host and port of each; 5060 and no port are the same.
        """
        self._keys = frozenset((host.lower(), None if port == 5060 else port) for host, port in names)

    def own(self, uri: Uri) -> bool:
        """
        @return: whether C{uri} leads to this proxy.
        """
        return host_key(uri) in self._keys


def take_own_routes(request: Request, names: OwnNames) -> list[Uri]:
    """
    Remove what upstream put into C{request} to reach this proxy
    (RFC 3261 section 16.4): a Request-URI that a strict router left there
    (P05), and every leading Route of ours (P06).

    @return: the URIs that were removed, in the order of travel; a proxy that
        signs state into its Record-Route finds it there again.
    """
    taken: list[Uri] = []
    if not request.has("route"):
        return taken
    target = request.request_uri
    if "lr" in target.params and names.own(target):
        last = request.routes[-1]
        rows = request.values("route")[:-1]
        request.remove("route")
        for row in rows:
            request.add("route", row)
        request.uri = str(last.uri)
        taken.append(target)
    for route in request.routes:
        if not names.own(route.uri):
            break
        request.remove_first("route")
        taken.append(route.uri)
    return taken


def take_own_maddr(request: Request, names: OwnNames) -> None:
    """
    Take C{maddr} off a Request-URI where it leads to this very proxy, and
    with it what was to lead there: the port and the transport (16.4, P07).
    """
    if "maddr" not in request.uri.lower():
        return
    target = request.request_uri
    maddr = target.params.get("maddr")
    if maddr and names.own(target.replace(host=maddr)):
        params = target.params.without("maddr").without("transport")
        request.uri = str(target.replace(port=None, params=params))


def push_route(request: Request, uri: Uri) -> None:
    """
    Make C{uri} the first server that C{request} visits.
    """
    request.prepend("route", f"<{uri}>")


def next_hop(request: Request) -> Uri:
    """
    @return: the URI whose address the request goes to: its first Route, else
        its Request-URI (RFC 3261 section 16.6 step 7).
    """
    target = request.request_uri
    return as_safe(request.routes[0].uri, target) if request.has("route") else target


def as_safe(uri: Uri, target: Uri) -> Uri:
    """
    @return: C{uri}, with sips for its scheme if C{target} has: what is to
        arrive safely travels safely (RFC 3261 section 16.6 step 7).
    """
    return uri.replace(scheme="sips") if target.scheme == "sips" and uri.scheme == "sip" else uri


def adapt_to_strict_router(request: Request) -> None:
    """
    Rewrite a request whose first Route lacks C{lr} for the strict router there
    (RFC 3261 section 16.6 step 6, P15).
    """
    row = request.get("route")
    # Nearly every one is a loose router: that is not worth reading it.
    if row is None or _is_loose(row):
        return
    first: Address = request.routes[0]
    if "lr" in first.uri.params:
        return
    request.remove_first("route")
    request.add("route", f"<{request.uri}>")
    request.uri = str(first.uri)


def _is_loose(row: str) -> bool:
    """
    Whether a Route without anything unusual ends in C{lr}, as most do.
    """
    end = row.find(">")
    return row[end - 3 : end] == ";lr" and row[0] == "<" and "?" not in row
