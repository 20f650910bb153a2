"""
Bindings that an operator makes and ends.

They are rows like any other, made by a REGISTER that nobody sent: all nodes
use one Call-ID for an address-of-record, so that each takes up where another
left.  Who may do this is no matter here.
"""

from __future__ import annotations

from sipxha.registry.binding import MARKER
from sipxha.registry.register import Offer, Registration, RegistrationRefused, Terms, read_contact
from sipxha.registry.table import Registry, replaces
from sipxha.sip.address import Address
from sipxha.sip.uri import Uri


def find_user(user: str, terms: Terms) -> str:
    """
    The identity of a user as an operator names one: C{user}, C{user@domain}
    or a SIP URI.

    @raise RegistrationRefused: The domain is not ours.
    @raise MalformedField: It is no user at all.
    """
    text = user if user.lower().startswith(("sip:", "sips:")) else f"sip:{user}"
    uri = Uri.parse(text if "@" in text else f"{text}@{terms.domain.name}")
    identity = terms.domain.identity(uri)
    if identity is None:
        raise RegistrationRefused(404, f"{uri.host} Is Not Served Here")
    return identity


def binding(registry: Registry, identity: str, contact: str, terms: Terms) -> Registration:
    """
    What binds a contact, for as long as may be unless it says otherwise.

    @param contact: As in a Contact field: a URI, in brackets where parameters
        (C{q}, C{expires}) follow.
    @raise RegistrationRefused: A parameter is wrong.
    @raise MalformedField: It is none.
    """
    offer = read_contact(Address.parse(contact), terms.max_expires, terms)
    return _registration(registry, identity, (offer._replace(reg_id=0),))


def removal(registry: Registry, identity: str, contact: str, terms: Terms, now: float) -> Registration:
    """
    What ends a contact, whoever bound it; C{*} is all of them.

    @raise RegistrationRefused: It is not bound.
    @raise MalformedField: It is no contact.
    """
    current = registry.current(identity, now)
    if contact == MARKER:
        if not current:
            raise RegistrationRefused(404, f"nothing is bound to {identity}")
        return _registration(registry, identity, (), remove_all=True)
    offer = read_contact(Address.parse(contact), 0, terms)._replace(expires=0, reg_id=0)
    if not any(replaces(offer, row) for row in current):
        raise RegistrationRefused(
            404, f"{contact} is not bound to {identity}; 'sipxha registrations' shows what is"
        )
    return _registration(registry, identity, (offer,))


def _registration(
    registry: Registry, identity: str, offers: tuple[Offer, ...], *, remove_all: bool = False
) -> Registration:
    callid = f"administrative-{identity}"
    cseq = registry.last_cseq(identity, callid) + 1
    return Registration(f"<sip:{identity}>", identity, callid, cseq, offers, remove_all)
