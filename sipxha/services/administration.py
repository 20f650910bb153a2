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
from sipxha.registry.adopt import adopt
from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry
from sipxha.registry.validate import validate
from sipxha.store.registrations import RegistrationStore

_COLUMNS = Binding._fields[:-1]
"""All but the deadline, which is this node's."""


class NoRows(RemoteError):
    """
    What was posted is no list of rows.
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
        max_expires: int,
        updated: Callable[[], None],
    ) -> None:
        """
        @param updated: Called when there is something new to replicate.
        """
        self._reactor = reactor
        self._registry = registry
        self._store = store
        self._max_expires = max_expires
        self._updated = updated

    def import_rows(self, posted: Any) -> Deferred[list[bool]]:
        """
        Take over rows of another registrar.

        @param posted: Rows, as lists of the columns of L{Binding} but the
            deadline.

        @return: Of each, whether it was news, when they are on the disk.

        @raise RemoteError: One of them is no row; then none is taken.
        """
        rows = read_rows(posted)
        changed = adopt(self._registry, rows, self._max_expires, self._reactor.seconds())
        taken = {row.key for row in changed}

        def settled(result: Any) -> Any:
            # What the disk refused is written later, and replicated now.
            if changed:
                self._updated()
            return result

        committed: Deferred[Any] = self._store.commit(changed).addBoth(settled)
        return committed.addCallback(lambda _: [row.key in taken for row in rows])


def read_rows(posted: Any) -> list[Binding]:
    """
    Read rows that were posted.

    @raise RemoteError: One of them is none.
    """
    try:
        rows = [Binding(**dict(zip(_COLUMNS, each, strict=True))) for each in posted]
        for row in rows:
            validate(row)
    except (TypeError, ValueError) as error:
        raise NoRows("expected a list of rows") from error
    return rows
