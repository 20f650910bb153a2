"""
All rows, in every order in which they are asked for.

Decides nothing about rows; what is current is a pure function of them and of
the time.  No question about one address-of-record looks at the rows of
another, nor at more of its own than the live ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any, TypeVar

from sortedcontainers import SortedDict

from sipxha.registry.binding import MARKER, Binding, Key, flow_token
from sipxha.registry.merge import winners

_K = TypeVar("_K")

_CSEQ = Binding._fields.index("cseq")
_DEADLINE = Binding._fields.index("deadline")


class Rows:
    """
    The rows that one node holds.

    @ivar watched: Who hears of changes, by identity.  Called with it for each
        row, in the midst of the change: to take note, and to look later.
    """

    def __init__(self, max_expires: int) -> None:
        """
        @param max_expires: The longest registration that any node grants; a
            row is forgotten twice that long after its end.
        """
        self._memory = 2.0 * max_expires
        self._rows: dict[Key, Binding] = {}
        # Ordered by deadline, so that the live rows are the last ones.
        self._aors: dict[str, list[Binding]] = {}
        # Ordered by CSeq, so that the sequence check looks at the last one.
        self._calls: dict[tuple[str, str], list[Binding]] = {}
        self._updates: dict[str, SortedDict[int, tuple[Binding, ...]]] = {}
        # By the token of the flow; a flow may carry all phones of a company.
        self._flows: dict[str, set[Binding]] = {}
        self.watched: dict[str, Callable[[str], None]] = {}
        # One entry for each key, not later than its row's deadline at some time.
        self._ages: list[tuple[float, Key]] = []

    def __len__(self) -> int:
        """
        How many rows there are, ended ones included.
        """
        return len(self._rows)

    def current(self, identity: str, now: float) -> list[Binding]:
        """
        The bindings of an address-of-record, the one that ends last first.
        """
        live = [row for row in self._live(identity, now) if not self._is_superseded(row)]
        return live if len(live) < 2 else winners(live)

    def on_flow(self, token: str) -> list[Binding]:
        """
        The rows, ended ones included, whose phone is at the other end of a
        flow (see L{flow_token}).
        """
        return list(self._flows.get(token, ()))

    def all_current(self, now: float) -> Iterator[Binding]:
        """
        Every current binding; for operators, never for a request.
        """
        for identity in list(self._aors):
            yield from self.current(identity, now)

    def known(self, identity: str) -> bool:
        """
        Whether any row of the AOR is remembered, live or ended.
        """
        return identity in self._aors

    def held(self, key: Key) -> Binding | None:
        """
        The row under a key, live or ended.
        """
        return self._rows.get(key)

    def _live(self, identity: str, now: float) -> list[Binding]:
        """
        All rows of an AOR that have not ended, superseded ones included.
        """
        rows = self._aors.get(identity)
        live: list[Binding] = []
        if rows is not None:
            for row in reversed(rows):
                if row.deadline <= now:
                    break
                if row.contact != MARKER:
                    live.append(row)
        return live

    def _is_superseded(self, row: Binding) -> bool:
        """
        Whether a later C{Contact: *} of the row's Call-ID is known.
        """
        marker = self._rows.get((row.identity, row.callid, MARKER, 0))
        return marker is not None and marker.cseq > row.cseq

    def primaries(self) -> list[str]:
        """
        The nodes of which there are rows.
        """
        return sorted(name for name, updates in self._updates.items() if updates)

    def largest_number(self, primary: str) -> int:
        """
        The greatest update number among a node's rows; 0 when there are none.
        """
        updates = self._updates.get(primary)
        return updates.peekitem()[0] if updates else 0

    def next_update(self, primary: str, after: int) -> list[Binding]:
        """
        All rows of a node's next update, which is the smallest number above
        C{after}; none when there is nothing newer.
        """
        return self.rows_after(primary, after, limit=1)

    def rows_after(self, primary: str, number: int, limit: int | None = None) -> list[Binding]:
        """
        The rows of a node that are newer than C{number}, in ascending order.

        @param limit: Stop when there are this many; an update is never cut,
            so the last one may go above.
        """
        newer: list[Binding] = []
        updates = self._updates.get(primary)
        if updates is not None:
            for each in updates.irange(number, inclusive=(False, True)):
                newer += updates[each]
                if limit is not None and len(newer) >= limit:
                    break
        return newer

    def purge(self, now: float) -> list[Key]:
        """
        Forget what ended so long ago that no peer can hold a live copy
        (SyncDesign 4.1).

        @return: The keys that are gone.
        """
        gone: list[Key] = []
        horizon = now - self._memory
        ages = self._ages
        while ages and ages[0][0] <= horizon:
            key = heappop(ages)[1]
            row = self._rows[key]
            if row.deadline > horizon:
                heappush(ages, (row.deadline, key))
            else:
                self._take_out(row)
                del self._rows[key]
                gone.append(key)
        return gone

    def _put(self, row: Binding) -> None:
        """
        Make C{row} the row of its key, in every index.
        """
        key = row.key
        held = self._rows.get(key)
        if held is None:
            heappush(self._ages, (row.deadline, key))
        else:
            self._take_out(held)
        self._rows[key] = row
        _file(self._aors, row.identity, row, _DEADLINE)
        _file(self._calls, (row.identity, row.callid), row, _CSEQ)
        updates = self._updates.get(row.primary)
        if updates is None:
            updates = self._updates[row.primary] = SortedDict()
        updates[row.update_number] = (*updates.get(row.update_number, ()), row)
        if row.path:
            self._flows.setdefault(flow_token(row.path), set()).add(row)
        heard = self.watched.get(row.identity)
        if heard is not None:
            heard(row.identity)

    def _take_out(self, row: Binding) -> None:
        """
        Remove a row from every index but that by key.
        """
        _draw(self._aors, row.identity, row)
        _draw(self._calls, (row.identity, row.callid), row)
        if row.path:
            token = flow_token(row.path)
            self._flows[token].discard(row)
            if not self._flows[token]:
                del self._flows[token]
        updates = self._updates[row.primary]
        rest = tuple(other for other in updates[row.update_number] if other is not row)
        if rest:
            updates[row.update_number] = rest
        else:
            del updates[row.update_number]


def _file(index: dict[_K, list[Binding]], key: _K, row: Binding, column: int) -> None:
    """
    Put a row into the ordered list of its key; new rows mostly belong last.
    """
    rows = index.get(key)
    if rows is None:
        index[key] = [row]
        return
    place = len(rows)
    value: Any = row[column]
    while place and rows[place - 1][column] > value:
        place -= 1
    rows.insert(place, row)


def _draw(index: dict[_K, list[Binding]], key: _K, row: Binding) -> None:
    """
    Take a row out of the list of its key; live rows are near the end.
    """
    rows = index[key]
    place = len(rows) - 1
    while rows[place] is not row:
        place -= 1
    if len(rows) == 1:
        del index[key]
    else:
        del rows[place]
