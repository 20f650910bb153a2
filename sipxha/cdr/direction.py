"""
Where the two sides of a call were: at one of our gateways or not, and over
which transport each said that it can be reached.

By their Contact values, as in sipX (calls.md 6): a call from a gateway comes
in, one to a gateway goes out, any other is neither.  The addresses of the
gateways are given; nothing is looked up here, and a value that cannot be
understood is at no gateway.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from sipxha.cdr.party import without_params

OUTWARD = frozenset(["STS", "LD", "TF", "REST", "LOCL", "INTN", "EMERG", "MOB", "CUST"])
"""The last tag of C{callee_route}, as sipX's proxies write it, of calls that leave the cluster."""


class Gateways(NamedTuple):
    """
    The gateways of the configuration, as far as they are known.
    """

    hosts: frozenset[str] = frozenset()
    """Their names and addresses, as L{host_of} writes them."""

    is_complete: bool = True
    """Whether the addresses of all of them are there.  If not, a side that is at none of these hosts may yet
    be at a gateway."""


class Direction(NamedTuple):
    """
    What reports ask first; C{None} where it is not known.
    """

    call_direction: str | None = None
    """C{I} from a gateway, C{O} to one, C{A} neither: sipX's codes."""

    call_type: str | None = None
    """C{incoming}, C{outgoing}, C{tandem} (in and out again) or C{internal}."""


UNKNOWN = Direction()

_PLAIN = re.compile(
    r"<sip:[^<>;?@\"\[]*@[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]*)?(?:;transport=([A-Za-z0-9]+))?>(?:;[^<>\"]*)?"
)
"""What nearly all Contact values look like: an address that is a number, and no parameter but that one."""

_TYPES = {
    (True, True): "tandem",
    (True, False): "incoming",
    (False, True): "outgoing",
    (False, False): "internal",
}
"""By whether the caller and the callee are outside."""


def direction_of(
    gateways: Gateways | None,
    caller_contact: str | None,
    callee_contact: str | None,
    caller_internal: bool | None,
    callee_route: str | None,
) -> Direction:
    """
    Tell the direction of a call.

    A caller who proved no identity of ours is outside whether at a gateway or
    not, and so is a callee to whom a route led that leaves the cluster.  One
    who did is inside, unless at a gateway for sure.

    @param gateways: C{None} where none are configured: then there is no direction.
    """
    if gateways is None:
        return UNKNOWN
    comes_in = _is_at(gateways, caller_contact)
    goes_out = _is_at(gateways, callee_contact)
    code: str | None
    if comes_in:
        code = "I"
    elif goes_out:
        code = "O"
    else:
        code = None if None in (comes_in, goes_out) else "A"
    leaves = (callee_route or "").rpartition(",")[2].strip().upper() in OUTWARD
    caller_outside = comes_in
    if caller_internal is False or (caller_internal and comes_in is None):
        caller_outside = not caller_internal
    callee_outside = True if leaves else goes_out
    if caller_outside is None or callee_outside is None:
        return Direction(code)
    return Direction(code, _TYPES[caller_outside, callee_outside])


def host_of(contact: str) -> str:
    """
    Find the host of a Contact value without parameters; one way to write it.

    >>> host_of('"Bob" <sip:bob@GW1.example.com:5062>')
    'gw1.example.com'
    """
    # Nothing but an address stands behind the last bracket.
    place = contact[contact.rfind("<") + 1 :].partition(">")[0].partition("?")[0]
    place = place.partition(":")[2].rpartition("@")[2].strip()
    if place.startswith("["):
        return _spelled(place[1:].partition("]")[0])
    return place.partition(":")[0].lower().removesuffix(".")


@lru_cache(maxsize=8192)
def transport_of(contact: str | None) -> str | None:
    """
    Tell over which transport a Contact value says that it is to be reached.

    An address without a word about it means UDP; of a name only DNS knows (RFC 3263 4.1).

    >>> transport_of("<sip:bob@10.1.1.7:5062;transport=TCP>;expires=60")
    'tcp'
    """
    if contact is None:
        return None
    plain = _PLAIN.fullmatch(contact)
    if plain is not None:
        return (plain[1] or "udp").lower()
    address = without_params(contact)
    if address is None:
        return None
    lowered = contact.lower()
    place = address.lower()
    uri = place[place.rfind("<") + 1 :].lstrip()
    if uri.startswith("sips:"):
        return "tls"
    # Behind the display name, which may hold anything.
    params = lowered[len(address.removesuffix(">")) :].partition(">")[0]
    for param in params.split(";"):
        name, _, value = param.partition("=")
        if name.strip() == "transport" and value.strip().isalnum():
            return value.strip()
    try:
        ip_address(host_of(address))
    except ValueError:
        return None
    return "udp"


def _is_at(gateways: Gateways, contact: str | None) -> bool | None:
    """
    Whether a side is at a gateway; C{None} where that cannot be told yet.
    """
    # A side without a Contact never answered, or never asked: sipX counts it as no gateway.
    if not contact:
        return False
    if host_of(contact) in gateways.hosts:
        return True
    return False if gateways.is_complete else None


def _spelled(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        return address.lower()
