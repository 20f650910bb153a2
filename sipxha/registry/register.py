"""
What a REGISTER asks for.

Reads a request into a L{Registration}, or refuses it as RFC 3261 section 10.3
says.  It knows neither who sent it nor what is registered already: the first
is C{auth}'s, the second L{sipxha.registry.table}'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from sipxha.errors import RemoteError
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus, public_column
from sipxha.registry.validate import INT32, LIMITS
from sipxha.sip.address import Address
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

GRUU = "gruu"
OUTBOUND = "outbound"
"""Option tags of RFC 5627 and 5626."""

_OURS = frozenset(("q", "expires", "+sip.instance", "reg-id", "pub-gruu", "temp-gruu", "gruu"))
"""
Contact parameters that have columns of their own, or that only we may set.
"""

_QVALUE = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")

_AN_HOUR = 3600


class RegistrationRefused(RemoteError):
    """
    A REGISTER was not done, and nothing of it was.

    @ivar reason: The reason phrase of the answer.
    @ivar fields: What else the answer must say, as header fields.
    """

    def __init__(self, status: int, reason: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.fields = tuple(fields)


class Offer(NamedTuple):
    """
    One contact of a REGISTER.
    """

    contact: str
    """Canonical text: the bracketed URI as sent, with the parameters that are not ours."""

    uri: Uri | None
    """What is compared; C{None} where it is no SIP URI."""

    qvalue: str
    expires: int
    """Granted seconds; 0 asks for the end of the binding."""

    instance_id: str = ""
    reg_id: int = 0
    gruu: str = ""
    """The public GRUU, if the phone knows what that is."""


class Registration(NamedTuple):
    """
    A REGISTER that may be done.
    """

    uri: str
    identity: str
    callid: str
    cseq: int
    contacts: tuple[Offer, ...] = ()
    remove_all: bool = False
    """C{Contact: *}"""

    path: str = ""
    received: str = ""
    is_outbound: bool = False
    """Whether its contact is a flow, for a phone that knows what that is (RFC 5626)."""

    @property
    def is_query(self) -> bool:
        """
        Whether nothing is to be changed (section 10.2.3).
        """
        return not (self.contacts or self.remove_all)


@dataclass(frozen=True, slots=True)
class Terms:
    """
    What this registrar grants.
    """

    domain: ServedDomain
    min_expires: int
    default_expires: int
    max_expires: int
    gruus: Gruus
    spread: int = 0
    """Percent by which what is granted is shortened at most."""


def read_register(request: Request, identity: str, received: str, terms: Terms) -> Registration:
    """
    Read a REGISTER request.

    @param identity: The AOR in its To, which the caller had to know to judge
        the credentials.
    @param received: Where it really came from: C{transport:address:port}.

    @raise RegistrationRefused: It breaks section 10.3 step 6 or 7.
    @raise MalformedField: A field cannot be read.
    """
    to, cseq = request.to.uri, request.cseq.number
    contacts = request.contacts
    path = _paths(request) if request.has("path") else ()
    offers: list[Offer] = []
    is_outbound = False
    if request.is_star_contact:
        if contacts or request.expires != 0:
            raise RegistrationRefused(400, "Contact * Needs Expires 0 And No Other Contact")
    elif contacts:
        default = request.expires
        has_flow = has_instance = False
        for address in contacts:
            offer = read_contact(address, default, terms)
            has_instance = has_instance or offer.instance_id != ""
            has_flow = has_flow or offer.reg_id > 0
            offers.append(offer)
        if has_flow:
            offers, is_outbound = _flows(offers, request, path)
        if len(offers) > 1:
            offers = _last_of_equals(offers)
        _check_secure(offers, request)
        if has_instance:
            offers = _routable(offers, request, identity, terms)
        if terms.spread:
            offers = _spread(offers, request.call_id, cseq, terms)
    return Registration(
        f"<{to.bare()}>",
        identity,
        request.call_id,
        cseq,
        tuple(offers),
        request.is_star_contact,
        ",".join([hop.raw for hop in path]) if path else "",
        received,
        is_outbound,
    )


def _paths(request: Request) -> list[Address]:
    """
    The Path, the proxy next to the phone last.

    @raise RegistrationRefused: A hop is a strict router, which no request
        would find its way through (RFC 3327 section 4).
    """
    hops = [Address.parse(value) for value in request.values("path")]
    if any("lr" not in hop.uri.params for hop in hops):
        raise RegistrationRefused(400, "Path Without lr")
    return hops


def read_contact(address: Address, default: int | None, terms: Terms) -> Offer:
    """
    One contact, with what is granted to it.

    @raise RegistrationRefused: A parameter is wrong, or too little is asked for.
    """
    uri, params = address.uri, address.params
    contact, qvalue, asked, instance_id, reg_id = f"<{uri}>", "", default, "", 0
    for name, value in params:
        folded = name.lower()
        if folded == "expires":
            asked = _seconds(value)
        elif folded == "q":
            qvalue = _checked_q(value)
        elif folded == "+sip.instance":
            instance_id = (value or "").strip('"')
        elif folded == "reg-id":
            reg_id = _checked_reg_id(value)
        elif folded not in _OURS:
            contact += f";{name}" if value is None else f";{name}={value}"
    is_sip = uri.scheme in ("sip", "sips")
    # Without an instance a reg-id tells nothing apart (RFC 5626 section 6).
    return Offer(
        contact,
        uri if is_sip else None,
        qvalue,
        _granted(asked, terms),
        instance_id,
        reg_id if instance_id else 0,
    )


def contact_text(address: Address) -> str:
    """
    The canonical text of a contact: what L{Offer} has of one that is sent.
    """
    text = f"<{address.uri}>"
    for name, value in address.params:
        if name.lower() not in _OURS:
            text += f";{name}" if value is None else f";{name}={value}"
    return text


def _flows(offers: list[Offer], request: Request, path: Sequence[Address]) -> tuple[list[Offer], bool]:
    """
    RFC 5626 section 6: a reg-id counts when whoever is next to the phone
    keeps its flow, be it this registrar or an edge that says so in its Path.

    @return: The offers, and whether they are flows.
    """
    is_kept = "ob" in path[-1].uri.params if path else len(request.values("via")) == 1
    is_known = supports(request, OUTBOUND)
    if not is_kept:
        if is_known:
            raise RegistrationRefused(439, "First Hop Lacks Outbound Support")
        return [offer._replace(reg_id=0) for offer in offers], False
    if sum(1 for offer in offers if offer.expires) > 1:
        raise RegistrationRefused(400, "One Flow At A Time")
    return offers, is_known


def _seconds(value: str | None) -> int:
    if value is None or not (value.isascii() and value.isdigit()):
        raise RegistrationRefused(400, "Expires Is Not A Number Of Seconds")
    return int(value[:10])


def _checked_q(value: str | None) -> str:
    if value is None or _QVALUE.fullmatch(value) is None:
        raise RegistrationRefused(400, "Invalid q Value")
    return value


def _checked_reg_id(value: str | None) -> int:
    """
    RFC 5626 section 4.2: one of 1 to 2**31 - 1.
    """
    number = int(value[:11]) if value is not None and value.isascii() and value.isdigit() else 0
    if not 0 < number <= INT32:
        raise RegistrationRefused(400, "Invalid reg-id")
    return number


def _granted(asked: int | None, terms: Terms) -> int:
    """
    Section 10.3 step 7: too short is refused, unless it is an hour; too long
    is shortened.
    """
    if asked is None:
        return terms.default_expires
    if 0 < asked < terms.min_expires and asked < _AN_HOUR:
        raise RegistrationRefused(423, "Interval Too Brief", (("Min-Expires", str(terms.min_expires)),))
    return min(asked, terms.max_expires)


def _spread(offers: list[Offer], callid: str, cseq: int, terms: Terms) -> list[Offer]:
    """
    Shorten what is granted, all contacts of a request by the same share, so
    that phones that came at once do not come at once again (registry.md 4.3).
    """
    lot = crc32(f"{callid}\n{cseq}".encode("utf-8", "surrogateescape")) / 0x1_0000_0000
    share = 1 - lot * terms.spread / 100
    return [
        offer._replace(expires=max(int(offer.expires * share), terms.min_expires))
        if offer.expires > terms.min_expires
        else offer
        for offer in offers
    ]


def _last_of_equals(offers: list[Offer]) -> list[Offer]:
    """
    Of contacts that are equal, the last one counts, as if they had come in
    requests of their own.
    """
    kept: list[Offer] = []
    for offer in offers:
        kept = [other for other in kept if not _is_same(other, offer)]
        kept.append(offer)
    return kept


def _is_same(one: Offer, other: Offer) -> bool:
    if one.reg_id and other.reg_id:
        return one.reg_id == other.reg_id and one.instance_id == other.instance_id
    if one.uri is None or other.uri is None:
        return one.contact == other.contact
    return one.uri.equivalent(other.uri)


def _routable(offers: list[Offer], request: Request, identity: str, terms: Terms) -> list[Offer]:
    """
    RFC 5627 section 5.1: a GRUU for each instance, none of which may lead
    back to its own address-of-record.
    """
    for offer in offers:
        if offer.instance_id and offer.expires:
            if offer.uri is None:
                raise RegistrationRefused(403, "An Instance Needs A SIP Contact")
            if _leads_back(offer.uri, identity, terms):
                raise RegistrationRefused(403, "Contact Is The Address-Of-Record")
    if not supports(request, GRUU):
        return offers
    return [
        offer._replace(gruu=gruu) if len(gruu := _gruu(identity, offer)) <= LIMITS["gruu"] else offer
        for offer in offers
    ]


def _leads_back(uri: Uri, identity: str, terms: Terms) -> bool:
    meant = terms.domain.identity(uri)
    if meant is not None and meant != identity and "gr" in uri.params:
        target = terms.gruus.read(uri, meant)
        meant = None if target is None else target.identity
    return meant == identity


def _gruu(identity: str, offer: Offer) -> str:
    return public_column(identity, offer.instance_id) if offer.instance_id and offer.expires else ""


def supports(request: Request, tag: str) -> bool:
    """
    Whether the sender of a request knows an extension.
    """
    return request.has("supported") and any(each.lower() == tag for each in request.values("supported"))


def _check_secure(offers: list[Offer], request: Request) -> None:
    """
    A sips contact can only be bound by a request that is sips throughout (RFC
    5630 section 5.2).
    """
    if any(offer.uri is not None and offer.uri.scheme == "sips" for offer in offers):
        uris = (request.to.uri, request.from_.uri, request.request_uri)
        if any(uri.scheme != "sips" for uri in uris):
            raise RegistrationRefused(400, "A sips Contact Needs A sips Request")
