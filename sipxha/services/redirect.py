"""
The redirect server: where an address-of-record can be reached right now.

Answers every request but REGISTER, from the registry and the aliases of the
users.  It follows nothing itself: an alias that leads to another user of the
domain is the proxy's to ask about (RFC 3261 section 8.3).  Extensions and
methods that it does not know change nothing in its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from sipxha.auth.users import Users
from sipxha.registry.binding import Binding
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.table import Registry
from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

ALLOW = ("Allow", "ACK, CANCEL, INVITE, OPTIONS, REGISTER")


class Answer(NamedTuple):
    """
    What to answer, besides what every response copies from its request.
    """

    status: int
    fields: tuple[tuple[str, str], ...] = ()


class Redirect:
    """
    Answers 302, 404 or 480.
    """

    def __init__(
        self, domain: ServedDomain, gruus: Gruus, registry: Registry, users: Callable[[], Users]
    ) -> None:
        """
        @param users: The users of this moment.
        """
        self._domain = domain
        self._gruus = gruus
        self._registry = registry
        self._users = users

    def answer(self, request: Request, now: float) -> Answer:
        """
        Say where the user of the Request-URI is.
        """
        uri = request.request_uri
        if request.method == "OPTIONS" and uri.user is None and self._domain.serves(uri):
            return Answer(200, (ALLOW, ("Supported", "path")))
        identity = self._domain.identity(uri)
        if identity is None:
            return Answer(404)
        if "gr" in uri.params:
            return self._answer_gruu(uri, identity, now)
        contacts = self._contacts(identity, uri, now)
        if contacts:
            return Answer(302, tuple(("Contact", contact) for contact in contacts))
        return Answer(480 if self._users().knows(identity) else 404)

    def _answer_gruu(self, uri: Uri, identity: str, now: float) -> Answer:
        """
        RFC 5627 section 6.1: to one instance, or nowhere.
        """
        target = self._gruus.read(uri, identity)
        if target is None or not self._users().knows(target.identity):
            return Answer(404)
        rows = self._gruus.rows(target, self._registry.current(target.identity, now))
        contacts = [_registered(row, now) for row in rows if _may_lead(row.contact, uri)]
        if contacts:
            return Answer(302, tuple(("Contact", contact) for contact in contacts))
        # A temporary one ends with the last contact of its instance.
        return Answer(480 if rows or target.instance else 404)

    def _contacts(self, identity: str, uri: Uri, now: float) -> list[str]:
        """
        Contact values, the most wanted first.
        """
        found: list[tuple[float, str]] = []
        for row in self._registry.current(identity, now):
            if _may_lead(row.contact, uri):
                found.append((float(row.qvalue or 1), _registered(row, now)))
        for alias in self._users().aliases(identity):
            if _may_lead(alias, uri):
                found.append((_wish(alias), alias))
        if len(found) > 1:
            found.sort(key=lambda each: -each[0])
        return [contact for _, contact in found]


def _registered(row: Binding, now: float) -> str:
    """
    The Contact of a binding.  Its Path becomes a Route header in the URI (RFC
    3327 section 5.3), which the proxy takes along.
    """
    contact = bracketed(row.contact)
    if row.path:
        end = contact.find(">")
        mark = "&" if "?" in contact[:end] else "?"
        contact = f"{contact[:end]}{mark}Route={_escaped(row.path)}{contact[end:]}"
    if row.qvalue:
        contact += f";q={row.qvalue}"
    return f"{contact};expires={max(round(row.deadline - now), 1)}"


def bracketed(contact: str) -> str:
    """
    The text of a row's contact with its URI in brackets, so that parameters
    can follow.  Ours are; other kinds of registrars keep what was sent.
    """
    return contact if contact[0] == "<" else _rebracketed(contact)


@lru_cache(maxsize=1024)
def _rebracketed(contact: str) -> str:
    try:
        address = Address.parse(contact)
    except MalformedField:
        return f"<{contact}>"
    return f"<{address.uri}>{address.params}"


@lru_cache(maxsize=1024)
def _escaped(path: str) -> str:
    return quote(path, safe="")


def _may_lead(contact: str, uri: Uri) -> bool:
    """
    Whether a request to C{uri} may be sent to a contact: not back to itself,
    and not out of SIPS (RFC 3261 section 8.3, RFC 5630 section 5.3).
    """
    folded = contact.lower()
    if uri.scheme == "sips" and "<sips:" not in folded:
        return False
    if uri.host.lower() not in folded:
        return True
    try:
        return not Address.parse(contact).uri.equivalent(uri)
    except MalformedField:
        return False


@lru_cache(maxsize=1024)
def _wish(alias: str) -> float:
    """
    The q of an alias; 1 where it has none that can be read.
    """
    try:
        return min(max(float(Address.parse(alias).params.get("q") or 1), 0.0), 1.0)
    except (MalformedField, ValueError):
        return 1.0
