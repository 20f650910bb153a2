"""
The redirect server: where an address-of-record can be reached right now.

Answers every request but REGISTER, from the registry, the aliases of the users
and the mapping rules, and by the fallback rules where those know nothing.  It
follows nothing itself: a contact that leads to another user of the domain is
the proxy's to ask about (RFC 3261 section 8.3).  Extensions and methods that it
does not know change nothing in its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from sipxha.auth.users import Users
from sipxha.config import model
from sipxha.config.rules import load_fallback_rules, load_mapping_rules
from sipxha.registry.binding import Binding
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.table import Registry
from sipxha.routing.mapping import MappingRules
from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField
from sipxha.sip.grammar import quote as quoted
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

ALLOW = ("Allow", "ACK, CANCEL, INVITE, OPTIONS, REGISTER, SUBSCRIBE")


class Answer(NamedTuple):
    """
    What to answer, besides what every response copies from its request.
    """

    status: int
    fields: tuple[tuple[str, str], ...] = ()


class Redirect:
    """
    Answers 302, 404 or 480.

    @ivar mapping: Contacts besides the registered ones; can be replaced while
        running.
    @ivar fallback: Contacts for what nothing else leads anywhere; can be
        replaced while running.
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
        self.mapping = MappingRules()
        self.fallback = MappingRules()

    def answer(self, request: Request, now: float) -> Answer:
        """
        Say where the user of the Request-URI is.
        """
        uri = request.request_uri
        if not uri.host:
            return Answer(416)
        if request.method == "OPTIONS" and uri.user is None and self._domain.serves(uri):
            return Answer(200, (ALLOW, ("Supported", "path")))
        identity = self._domain.identity(uri)
        if identity is not None and "gr" in uri.params:
            return self._answer_gruu(uri, identity, now)
        contacts = self._contacts(identity, uri, now)
        if contacts:
            return Answer(302, tuple(("Contact", contact) for contact in contacts))
        return Answer(480 if identity is not None and self._users().knows(identity) else 404)

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

    def gateways(self, uri: Uri, now: float) -> list[str]:
        """
        Say where an emergency call may go: to whatever there is, the fallback
        rules' contacts last among equals.

        @return: Contact values, the most wanted first.
        """
        return self._contacts(self._domain.identity(uri), uri, now, everything=True)

    def _contacts(self, identity: str | None, uri: Uri, now: float, *, everything: bool = False) -> list[str]:
        """
        Contact values, the most wanted first.

        @param identity: C{None} where C{uri} is nobody of the domain; the rules
            may know what it is all the same.

        @param everything: Whether the fallback rules count besides others.
        """
        found: list[tuple[float, str]] = []
        users = self._users()
        if identity is not None:
            for row in self._registry.current(identity, now):
                if _may_lead(row.contact, uri):
                    found.append((float(row.qvalue or 1), _registered(row, now)))
            if uri.params.get("sipx-userforward") != "false":
                _add(found, users.aliases(identity), uri)
        permissions = frozenset[str]() if identity is None else users.permissions(identity)
        _add(found, self.mapping.contacts(uri, permissions), uri)
        if everything or not found:
            _add(found, self.fallback.contacts(uri, permissions), uri)
        if len(found) > 1:
            found.sort(key=lambda each: -each[0])
        return [contact for _, contact in found]


def read_mapping_rules(redirect: Redirect, config: model.Config) -> None:
    """
    Let a redirect server go by the mapping rules that are there now.

    @raise RulesRefused: They cannot be used, and the old ones stay.
    """
    assert config.registrar is not None
    if config.registrar.mapping_rules is not None:
        redirect.mapping = load_mapping_rules(config.registrar.mapping_rules, config.rule_symbols())


def read_fallback_rules(redirect: Redirect, config: model.Config) -> None:
    """
    The same for the fallback rules.

    @raise RulesRefused: They cannot be used, and the old ones stay.
    """
    assert config.registrar is not None
    if config.registrar.fallback_rules is not None:
        redirect.fallback = load_fallback_rules(config.registrar.fallback_rules, config.rule_symbols())


def _add(found: list[tuple[float, str]], contacts: Iterable[str], uri: Uri) -> None:
    """
    Add contacts that carry their q with them.
    """
    for contact in contacts:
        if _may_lead(contact, uri):
            found.append((_wish(contact), contact))


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
    if row.reg_id:
        # By this the proxy tells the flows to one phone from several phones (RFC 5626 section 7).
        contact += f";+sip.instance={quoted(row.instance_id)};reg-id={row.reg_id}"
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
def _wish(contact: str) -> float:
    """
    The q of a contact; 1 where it has none that can be read.
    """
    try:
        return min(max(float(Address.parse(contact).params.get("q") or 1), 0.0), 1.0)
    except (MalformedField, ValueError):
        return 1.0
