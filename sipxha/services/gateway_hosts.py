"""
Where the gateways of the configuration are, for the call resolver.

Each name is looked up as sipX did: its addresses, and those of the servers
that its SRV records name; the name itself counts too, since a Contact may hold
it.  What DNS does not tell is left out and said to be missing.  Nothing here
tells the direction of a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from sipxha.cdr.direction import Gateways
from sipxha.errors import SipxhaError
from sipxha.net.names import DNSFailed
from sipxha.routing.location import Unlocatable
from sipxha.sip.hop import Hop
from sipxha.sip.uri import Uri


class Finder(Protocol):
    """
    What is needed of L{sipxha.net.dns.Locator}.
    """

    def addresses(self, name: str) -> Deferred[list[str]]:
        """
        Look up the addresses of a host.
        """

    def locate(self, uri: Uri) -> Deferred[list[Hop]]:
        """
        Find the places for a URI.
        """


class GatewayHosts(NamedTuple):
    """
    What was found.
    """

    known: Gateways | None
    """C{None} where the configuration names no gateways."""

    lost: dict[str, str]
    """Why the addresses of a gateway are not known."""


async def no_gateways() -> GatewayHosts:
    """
    What there is without any.
    """
    return GatewayHosts(None, {})


async def find_gateways(names: Sequence[str], finder: Finder) -> GatewayHosts:
    """
    Look the gateways up.

    @param names: Names and addresses.
    """
    if not names:
        return await no_gateways()
    found = set(names)
    lost = {}
    for name in names:
        try:
            found.update(await _places_of(name, finder))
        except SipxhaError as error:
            lost[name] = str(error)
    return GatewayHosts(Gateways(frozenset(found), not lost), lost)


async def _places_of(name: str, finder: Finder) -> Iterable[str]:
    try:
        found = set(await finder.addresses(name))
    except Unlocatable:
        # It may have servers all the same.
        found = set()
    try:
        hops = await finder.locate(Uri("sip", host=f"[{name}]" if ":" in name else name))
    except (Unlocatable, DNSFailed):
        if not found:
            raise
        return found
    return found.union(hop.address for hop in hops)
