"""
What an operator may change on a running node, over its control socket.

A change becomes rows of this node, which are on the disk before it is
confirmed and are replicated as those of a REGISTER.  Who asks is no matter
here: whoever may open the socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sipxha.errors import RemoteError
from sipxha.registry.administrative import binding, find_user, removal
from sipxha.registry.adopt import adopt
from sipxha.registry.binding import Binding
from sipxha.registry.register import Registration, RegistrationRefused, Terms
from sipxha.registry.table import Registry
from sipxha.registry.validate import validate
from sipxha.services.change_log import ChangeLog
from sipxha.store.registrations import RegistrationStore

_COLUMNS = Binding._fields[:-1]
"""All but the deadline, which is this node's."""


class NoRows(RemoteError):
    """
    What was posted is no list of rows.
    """


class NoContact(RemoteError):
    """
    What was posted names no user and contact.
    """


class Administration:
    """
    The registry of a node, for its operator.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        registry: Registry,
        store: RegistrationStore,
        terms: Terms,
        knows: Callable[[str], bool],
        updated: Callable[[], None],
        change_log: ChangeLog,
        deactivated: Callable[[list[Binding]], None],
    ) -> None:
        """
        @param terms: How long a binding may be held.
        @param knows: Whether an identity is a user of ours.
        @param updated: Called when there is something new to replicate.
        @param deactivated: Hears of rows that were ended, and not by their phones.
        """
        self._deactivated = deactivated
        self._reactor = reactor
        self._registry = registry
        self._store = store
        self._terms = terms
        self._knows = knows
        self._updated = updated
        self._change_log = change_log

    def register(self, posted: Any) -> Deferred[int]:
        """
        Bind a contact to a user.

        @param posted: C{user} and C{contact}.

        @return: How many rows that changed, when they are on the disk.

        @raise RemoteError: There is no such user, it is no contact, or there
            are too many.
        """
        identity, contact = self._asked(posted)
        if not self._knows(identity):
            raise RegistrationRefused(404, f"there is no user {identity}; 'sipxha user list' shows who is")
        return self._do(binding(self._registry, identity, contact, self._terms))

    def unregister(self, posted: Any) -> Deferred[int]:
        """
        End a contact of a user, or with C{*} all.

        @param posted: C{user} and C{contact}.

        @return: How many rows that changed, when they are on the disk.

        @raise RemoteError: It is not bound.
        """
        identity, contact = self._asked(posted)
        now = self._reactor.seconds()
        return self._do(removal(self._registry, identity, contact, self._terms, now), self._deactivated)

    def _asked(self, posted: Any) -> tuple[str, str]:
        try:
            user, contact = posted["user"], posted["contact"]
        except (TypeError, KeyError, IndexError) as error:
            raise NoContact("expected a user and a contact") from error
        if not (isinstance(user, str) and isinstance(contact, str)):
            raise NoContact("expected a user and a contact")
        return find_user(user, self._terms), contact

    def _do(
        self, registration: Registration, tell: Callable[[list[Binding]], None] | None = None
    ) -> Deferred[int]:
        now = self._reactor.seconds()
        rows = self._registry.register(registration, now).rows
        if tell is not None:
            tell(rows)
        return self._commit(rows, now).addCallback(lambda _: len(rows))

    def _commit(self, rows: list[Binding], now: float) -> Deferred[None]:
        self._change_log.changed(rows, "administrative", now)

        def settled(result: Any) -> Any:
            # What the disk refused is written later, and replicated now.
            if rows:
                self._updated()
            return result

        committed: Deferred[None] = self._store.commit(rows).addBoth(settled)
        return committed

    def import_rows(self, posted: Any) -> Deferred[list[bool]]:
        """
        Take over rows of another registrar.

        @param posted: Rows, as lists of the columns of L{Binding} but the
            deadline.

        @return: Of each, whether it was news, when they are on the disk.

        @raise RemoteError: One of them is no row; then none is taken.
        """
        rows = read_rows(posted)
        now = self._reactor.seconds()
        changed = adopt(self._registry, rows, self._terms.max_expires, now)
        taken = {row.key for row in changed}
        return self._commit(changed, now).addCallback(lambda _: [row.key in taken for row in rows])


def read_rows(posted: Any) -> list[Binding]:
    """
    Read rows that were posted.

    @raise RemoteError: One of them is none.
    """
    if not isinstance(posted, list):
        raise NoRows("expected a list of rows")
    try:
        rows = [Binding(**dict(zip(_COLUMNS, each, strict=True))) for each in posted]
        for row in rows:
            # JSON has numbers that no column can hold.
            if {type(row.cseq), type(row.expires), type(row.reg_id), type(row.update_number)} != {int}:
                raise TypeError
            validate(row)
    except (TypeError, ValueError) as error:
        raise NoRows("expected a list of rows") from error
    return rows
