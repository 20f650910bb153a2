"""
What a watcher is told of an address-of-record: the registration information
document of RFC 3680 section 5, with the public GRUUs of RFC 5628.  Of the
temporary ones it does not tell: a row does not know which was the first.

Always full state.  Decides nothing about when it is sent, nor to whom.  A row
that ended before its time does not say who ended it: unless it is known to be
us, its phone did (C{unregistered}).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import NamedTuple
from xml.sax.saxutils import escape

from sipxha.registry.binding import Binding
from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField, quote

CONTENT_TYPE = "application/reginfo+xml"

_SEEN = Binding._fields.index("received")
"""The columns before this one are what a watcher sees of a row."""

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write; the bytes that were no UTF-8 are among it."""

_UNWRITABLE = "\ufffd"
_IN_QUOTES = {'"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}

_NOT_UNKNOWN = frozenset(("expires", "q", "+sip.instance", "reg-id"))
"""Parameters of a contact that are told from columns."""


class Event(Enum):
    """
    What happened to a contact last (RFC 3680 section 5.1).
    """

    REGISTERED = "registered"
    CREATED = "created"
    REFRESHED = "refreshed"
    SHORTENED = "shortened"
    EXPIRED = "expired"
    DEACTIVATED = "deactivated"
    UNREGISTERED = "unregistered"
    REJECTED = "rejected"

    @property
    def is_end(self) -> bool:
        """
        Whether the contact is terminated by this.
        """
        return self in _ENDS


_ENDS = frozenset((Event.EXPIRED, Event.DEACTIVATED, Event.UNREGISTERED, Event.REJECTED))


class Contact(NamedTuple):
    """
    A contact as a watcher is told of it.
    """

    row: Binding
    event: Event
    since: float | None = None
    """Since when it is registered, if that was seen."""


def contact_id(row: Binding) -> str:
    """
    What a contact is known by in all documents.  Two flows of an instance may
    have the same contact, and are two.
    """
    flow = f"@@{row.instance_id}@@{row.reg_id}" if row.reg_id else ""
    return f"{row.identity}@@{row.contact}{flow}"


def contacts_now(
    told: Mapping[str, Contact],
    current: Iterable[Binding],
    now: float,
    *,
    since: float | None = None,
    deactivated: Collection[str] = (),
) -> tuple[dict[str, Contact], bool]:
    """
    What has become of what a watcher was told last.

    @param told: The active contacts, by their ids.
    @param current: The bindings that there are.
    @param since: Since when those that are new are registered, if that is known.
    @param deactivated: The ids of contacts that we ended, and not their phones.
    @return: All contacts by their ids, those that ended since then as well;
        and whether that is news to the watcher.
    """
    contacts = {}
    is_news = False
    for row in current:
        name = contact_id(row)
        before = told.get(name)
        if before is None:
            event = Event.REGISTERED
        elif row[:_SEEN] == before.row[:_SEEN]:
            contacts[name] = before._replace(row=row)
            continue
        else:
            event = _change(before.row, row)
        is_news = True
        contacts[name] = Contact(row, event, since if before is None else before.since)
    for name, before in told.items():
        if name not in contacts:
            is_news = True
            if before.row.deadline <= now:
                event = Event.EXPIRED
            else:
                event = Event.DEACTIVATED if name in deactivated else Event.UNREGISTERED
            contacts[name] = before._replace(event=event)
    return contacts, is_news


def _change(before: Binding, row: Binding) -> Event:
    """
    A REGISTER refreshes, however short; without one somebody else did it.
    """
    same_request = (before.callid, before.cseq) == (row.callid, row.cseq)
    return Event.SHORTENED if same_request and row.expires < before.expires else Event.REFRESHED


def document(identity: str, version: int, contacts: Mapping[str, Contact], now: float) -> str:
    """
    The registration information document.

    @param contacts: By their id; none where nothing is registered.
    """
    if any(not contact.event.is_end for contact in contacts.values()):
        state = "active"
    else:
        state = "terminated" if contacts else "init"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" xmlns:gr="urn:ietf:params:xml:ns:gruuinfo"'
        f' version="{version}" state="full">',
        f'  <registration aor={_quoted(f"sip:{identity}")} id={_quoted(identity)} state="{state}">',
    ]
    for name, contact in contacts.items():
        lines += _contact_lines(name, contact, now)
    lines += ["  </registration>", "</reginfo>", ""]
    return "\n".join(lines)


def _contact_lines(name: str, contact: Contact, now: float) -> list[str]:
    row, event, since = contact
    # Without a q a contact counts as 1 (RFC 3261 section 10.2.1.2).
    attributes = f'event="{event.value}" callid={_quoted(row.callid)} cseq="{row.cseq}"'
    attributes += f" q={_quoted(row.qvalue or '1')}"
    if event.is_end:
        state = "terminated"
    else:
        state = "active"
        attributes += f' expires="{max(round(row.deadline - now), 1)}"'
    if since is not None:
        attributes += f' duration-registered="{max(round(now - since), 0)}"'
    uri, display, unknown = _shown(row.contact)
    if row.instance_id:
        unknown = (*unknown, ("+sip.instance", quote(row.instance_id)))
    if row.reg_id:
        unknown = (*unknown, ("reg-id", str(row.reg_id)))
    if row.path:
        unknown = (*unknown, ("path", row.path))
    lines = [
        f'    <contact id={_quoted(name)} state="{state}" {attributes}>',
        f"      <uri>{_text(uri)}</uri>",
    ]
    if display:
        lines.append(f"      <display-name>{_text(display)}</display-name>")
    for param, value in unknown:
        lines.append(f"      <unknown-param name={_quoted(param)}>{_text(value)}</unknown-param>")
    if row.gruu and not event.is_end:
        scheme = "sips" if uri[:5].lower() == "sips:" else "sip"
        lines.append(f"      <gr:pub-gruu uri={_quoted(f'{scheme}:{row.gruu}')}/>")
    lines.append("    </contact>")
    return lines


@lru_cache(maxsize=1024)
def _shown(contact: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """
    URI, display name and parameters of a row's contact.  Ours are addresses;
    other kinds of registrars keep what was sent.
    """
    try:
        address = Address.parse(contact)
    except MalformedField:
        return contact, "", ()
    params = tuple((name, value or "") for name, value in address.params if name.lower() not in _NOT_UNKNOWN)
    return str(address.uri), address.name, params


def _text(value: str) -> str:
    return escape(_FORBIDDEN.sub(_UNWRITABLE, value), {"\r": "&#13;"})


def _quoted(value: str) -> str:
    return f'"{escape(_FORBIDDEN.sub(_UNWRITABLE, value), _IN_QUOTES)}"'
