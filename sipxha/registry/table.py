"""
The registry, and the two ways in which it changes.

L{Registry.register} is the registrar's: a REGISTER becomes rows of this node,
all or none, under one new update number.  L{Registry.apply} is replication's:
rows of other nodes are merged in, whatever came first.

It stores nothing and sends nothing: the changed rows are returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sipxha.registry.binding import MARKER, Binding, Key
from sipxha.registry.merge import merge
from sipxha.registry.register import Offer, Registration, RegistrationRefused
from sipxha.registry.rows import Rows
from sipxha.registry.validate import validate
from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField


class Registered(NamedTuple):
    """
    What became of a REGISTER that was not refused.
    """

    rows: list[Binding]
    """The rows that changed; empty for a query and for a repeated request."""

    bindings: list[Binding]
    """All that is current now."""

    before: list[Binding | None]
    """What each of the rows was before."""


class Registry(Rows):
    """
    The rows of all nodes, as one node holds them.

    @ivar name: This node: the primary of the rows that it mints.
    """

    def __init__(
        self, name: str, max_expires: int, max_contacts: int = 10, *, expire_unlisted: bool = False
    ) -> None:
        """
        @param max_expires: The longest registration that any node grants; a
            row is forgotten twice that long after its end.
        @param max_contacts: How many current bindings an AOR may have.
        @param expire_unlisted: Whether a REGISTER ends what it does not list
            of its Call-ID (SyncDesign 4.2).
        """
        super().__init__(max_expires)
        self.name = name
        self._max_contacts = max_contacts
        self._expire_unlisted = expire_unlisted
        self._update_number = 0

    # -- REGISTER --------------------------------------------------------

    def register(self, registration: Registration, now: float) -> Registered:
        """
        Do what a REGISTER asks for: all of it, or nothing (RFC 3261 section
        10.3, steps 6 to 8).

        @raise RegistrationRefused: Out of order, or too many contacts.
        @raise RowRefused: A contact cannot be a row.
        """
        identity = registration.identity
        if registration.is_query or self._is_repeated(registration, now):
            return Registered([], self.current(identity, now), [])
        live = self._live(identity, now)
        number = self._update_number + 1
        if registration.remove_all:
            rows = [self._marker(registration, number, now)]
            rows += [self._ended_by(registration, row, number, now) for row in live]
        else:
            rows = self._bound(registration, live, number, now)
            self._check_room(rows, live, now)
        self._update_number = number
        before = [self._put(row) for row in rows]
        return Registered(rows, self.current(identity, now), before)

    def _is_repeated(self, registration: Registration, now: float) -> bool:
        """
        The sequence check: whether this was done already, here or elsewhere,
        and only its answer was lost.

        @raise RegistrationRefused: It is late, or not what was done then.
        """
        rows = self._of_call(registration.identity, registration.callid)
        if not rows or rows[-1].cseq < registration.cseq:
            return False
        if rows[-1].cseq == registration.cseq and self._was_done(registration, rows, now):
            return True
        raise RegistrationRefused(500, "Out Of Order")

    def _was_done(self, registration: Registration, rows: Sequence[Binding], now: float) -> bool:
        """
        Whether the rows of a Call-ID show that exactly this was asked before.
        """
        cseq = registration.cseq
        asked = {(offer.contact, offer.reg_id): offer.expires for offer in registration.contacts}
        if registration.remove_all:
            asked[(MARKER, 0)] = 0
        for row in reversed(rows):
            if row.cseq != cseq:
                break
            expires = asked.pop((row.contact, row.reg_id), None)
            is_live = row.deadline > now
            if expires is None and (is_live or row.contact == MARKER):
                return False
            if expires == 0 and is_live:
                return False
        return not asked

    def _bound(
        self, registration: Registration, live: list[Binding], number: int, now: float
    ) -> list[Binding]:
        """
        A row for each contact, and the end of what these replace.
        """
        rows: dict[Key, Binding] = {}
        for offer in registration.contacts:
            row = self._minted(offer, registration, number, now)
            validate(row)
            rows[row.key] = row
        for row in live:
            key = row.key
            if key in rows:
                continue
            # A flow ends by itself, or by another one of its number.
            if self._expire_unlisted and row.callid == registration.callid and not row.reg_id:
                rows[key] = self._ended_by(registration, row, number, now)
            else:
                for offer in registration.contacts:
                    if replaces(offer, row):
                        rows[key] = self._ended_by(registration, row, number, now)
                        break
        return list(rows.values())

    def _minted(self, offer: Offer, registration: Registration, number: int, now: float) -> Binding:
        """
        The row of one contact: granted, or ended even where there was nothing
        to end, so that a late REGISTER of lower CSeq does not revive it.
        """
        # Its texts are used again, so that a binding has them once.
        identity, callid, contact = registration.identity, registration.callid, offer.contact
        uri, received = registration.uri, registration.received
        held = self.held((identity, callid, contact, offer.reg_id))
        if held is not None:
            identity, callid, contact = held.identity, held.callid, held.contact
            uri = held.uri if held.uri == uri else uri
            received = held.received if held.received == received else received
        if offer.expires:
            expires, deadline = int(now) + offer.expires, now + offer.expires
        else:
            expires, deadline = int(now), now
            if held is not None:
                expires, deadline = min(expires, held.expires), min(deadline, held.deadline)
            expires, deadline = max(expires - 1, 0), deadline - 1
        return Binding(
            uri,
            identity,
            contact,
            offer.qvalue,
            callid,
            registration.cseq,
            expires,
            offer.instance_id,
            offer.reg_id,
            offer.gruu,
            registration.path,
            received,
            self.name,
            number,
            deadline,
        )

    def _marker(self, registration: Registration, number: int, now: float) -> Binding:
        """
        What remembers a C{Contact: *} for as long as it matters.
        """
        marker = self._minted(Offer(MARKER, None, "", 0), registration, number, now)
        validate(marker)
        return marker

    def _ended_by(self, registration: Registration, row: Binding, number: int, now: float) -> Binding:
        """
        A live row that a REGISTER ended.  A row of another Call-ID keeps its
        CSeq, for its own next REGISTER is counted by that.
        """
        cseq = registration.cseq if row.callid == registration.callid else row.cseq
        return self._ended(row, cseq, number, now)

    def _ended(self, row: Binding, cseq: int, number: int, now: float) -> Binding:
        """
        A live row that somebody ended.
        """
        return row._replace(
            cseq=cseq,
            expires=max(min(row.expires, int(now)) - 1, 0),
            primary=self.name,
            update_number=number,
            deadline=now - 1,
        )

    def end_flow(self, token: str, now: float) -> list[Binding]:
        """
        End what is bound over a flow that is no more (RFC 5626 section 7), an
        update for each address-of-record.

        @param token: What the edge put into its Path (see L{flow_token}).
        @return: The rows that changed.
        """
        ended = []
        numbers: dict[str, int] = {}
        for row in self.on_flow(token):
            if row.deadline > now:
                number = numbers.setdefault(row.identity, self._update_number + 1)
                self._update_number = max(self._update_number, number)
                ended.append(self._ended(row, row.cseq, number, now))
        for row in ended:
            self._put(row)
        return ended

    def _check_room(self, rows: list[Binding], live: list[Binding], now: float) -> None:
        """
        A REGISTER may not raise the number of bindings above the limit; it
        may refresh what is there already.

        @raise RegistrationRefused: It would.
        """
        if len(live) + len(rows) <= self._max_contacts:
            return
        before = {row.slot for row in live}
        after = before - {row.slot for row in rows} | {row.slot for row in rows if row.deadline > now}
        if len(after) > max(len(before), self._max_contacts):
            raise RegistrationRefused(403, "Too Many Contacts")

    # -- replication -----------------------------------------------------

    @property
    def update_number(self) -> int:
        """
        DbUpdateNumber: the last number that this node gave to a change.
        """
        return self._update_number

    def raise_update_number(self, number: int) -> None:
        """
        Never give C{number} or a smaller one again.
        """
        self._update_number = max(self._update_number, number)

    def apply(self, rows: Iterable[Binding], now: float) -> list[Binding]:
        """
        Merge in rows of any node, valid ones only.

        A row without a deadline is held to end at its C{expires}.  One that
        would be purged at once is let go: it is held nowhere any more.

        @return: The rows that changed here, as they are now.
        """
        changed = []
        for row in rows:
            if not row.deadline:
                row = row._replace(deadline=float(row.expires))
            if row.primary == self.name:
                self.raise_update_number(row.update_number)
            if row.deadline + self._memory <= now:
                continue
            held = self.held(row.key)
            if held is not None:
                row = merge(held, row)
                if row is held:
                    continue
            self._put(row)
            changed.append(row)
        return changed

    def load(self, rows: Iterable[Binding]) -> None:
        """
        Take back the rows of the store.
        """
        for row in rows:
            self._put(row)
        self.raise_update_number(self.largest_number(self.name))

    def renumber(self, rows: Iterable[Binding]) -> list[Binding]:
        """
        Give own rows new numbers, so that every peer will be sent them.

        Rows that shared a number share the new one, and their order stays.

        @param rows: Own rows; those that have changed since are passed over.
        @return: The rows as they are now.
        """
        renumbered = []
        fresh: dict[int, int] = {}
        for row in sorted(rows, key=lambda row: row.update_number):
            if row.primary != self.name or self.held(row.key) != row:
                continue
            number = fresh.get(row.update_number)
            if number is None:
                self._update_number += 1
                number = fresh[row.update_number] = self._update_number
            row = row._replace(update_number=number)
            self._put(row)
            renumbered.append(row)
        return renumbered


def replaces(offer: Offer, row: Binding) -> bool:
    """
    Whether a live row gives way to a contact of a REGISTER.

    Two outbound flows are the same only by instance and reg-id (RFC 5626
    section 6); all else by the equality of RFC 3261 section 19.1.4.
    """
    if offer.reg_id and row.reg_id:
        return offer.reg_id == row.reg_id and offer.instance_id == row.instance_id
    if offer.contact == row.contact:
        return True
    # Equal URIs name the same host in the same letters: rarely any other row does.
    if offer.uri is None or offer.uri.host.lower() not in row.contact.lower():
        return False
    try:
        return offer.uri.equivalent(Address.parse(row.contact).uri)
    except MalformedField:
        # Some other registrar kept it.
        return False
