"""
All rows, in every order in which they are asked for.

Decides nothing about rows; what is current is a pure function of them and of
the time.  No question about one address-of-record looks at the rows of
another, nor at more of its own than the live ones; nothing costs more where
there are more rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush

from sipxha.registry.binding import MARKER, Binding, Key, flow_token
from sipxha.registry.digest import Digest, Digests
from sipxha.registry.merge import winners
from sipxha.registry.several import Several
from sipxha.registry.updates import Updates

_AGE = 64
"""Seconds: rows that end so close together are looked at together."""


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
        self._size = 0
        # Most have one row, and need nothing to find it among others.
        self._aors: dict[str, Binding | Several] = {}
        self._updates: dict[str, Updates] = {}
        self._digests = Digests()
        # By the token of the flow; a flow may carry all phones of a company.
        self._flows: dict[str, Binding | set[Binding]] = {}
        self.watched: dict[str, Callable[[str], None]] = {}
        # Each identity is in one age, not later than some row of it ends or
        # ended once; the ages themselves are in a heap.
        self._ages: dict[int, list[str]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        """
        How many rows there are, ended ones included.
        """
        return self._size

    @property
    def aors(self) -> int:
        """
        How many addresses-of-record have rows.
        """
        return len(self._aors)

    def current(self, identity: str, now: float) -> list[Binding]:
        """
        The bindings of an address-of-record, the one that ends last first.
        """
        held = self._aors.get(identity)
        if isinstance(held, Binding):
            return [held] if held.deadline > now and held.contact != MARKER else []
        live = [row for row in self._live(identity, now) if not self._is_superseded(row)]
        return live if len(live) < 2 else winners(live)

    def on_flow(self, token: str) -> list[Binding]:
        """
        The rows, ended ones included, whose phone is at the other end of a
        flow (see L{flow_token}).
        """
        rows = self._flows.get(token, ())
        return [rows] if isinstance(rows, Binding) else list(rows)

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
        held = self._aors.get(key[0])
        if held is None:
            return None
        if isinstance(held, Several):
            return held.by_key.get(key)
        return held if held.key == key else None

    def remembered(self, identity: str) -> Sequence[Binding]:
        """
        All rows of an AOR, live or ended, the one that ends last behind.
        """
        held = self._aors.get(identity)
        if held is None:
            return ()
        return held.by_deadline if isinstance(held, Several) else (held,)

    def _of_call(self, identity: str, callid: str) -> Sequence[Binding]:
        """
        The rows of a Call-ID in the order of CSeq.
        """
        held = self._aors.get(identity)
        if isinstance(held, Several):
            return held.by_call.get(callid, ())
        return (held,) if held is not None and held.callid == callid else ()

    def last_cseq(self, identity: str, callid: str) -> int:
        """
        The greatest CSeq that is remembered of a Call-ID; 0 when none is.
        """
        rows = self._of_call(identity, callid)
        return rows[-1].cseq if rows else 0

    def _live(self, identity: str, now: float) -> list[Binding]:
        """
        All rows of an AOR that have not ended, superseded ones included.
        """
        live: list[Binding] = []
        for row in reversed(self.remembered(identity)):
            if row.deadline <= now:
                break
            if row.contact != MARKER:
                live.append(row)
        return live

    def _is_superseded(self, row: Binding) -> bool:
        """
        Whether a later C{Contact: *} of the row's Call-ID is known.
        """
        marker = self.held((row.identity, row.callid, MARKER, 0))
        return marker is not None and marker.cseq > row.cseq

    def primaries(self) -> list[str]:
        """
        The nodes of which there are rows.
        """
        return sorted(name for name, updates in self._updates.items() if updates)

    def live(self, now: float) -> dict[str, int]:
        """
        How many bindings of each node have not ended, to the second.  Those
        that nodes took at the same time for the same phone, unaware of each
        other, count each.
        """
        return {primary: self._updates[primary].live(now) for primary in self.primaries()}

    def count_after(self, primary: str, number: int) -> int:
        """
        How many updates of a node are newer than C{number}.
        """
        updates = self._updates.get(primary)
        return 0 if updates is None else updates.count_after(number)

    def largest_number(self, primary: str) -> int:
        """
        The greatest update number among a node's rows; 0 when there are none.
        """
        updates = self._updates.get(primary)
        return updates.largest() if updates is not None else 0

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
            for rows in updates.after(number):
                newer += rows
                if limit is not None and len(newer) >= limit:
                    break
        return newer

    def digest(self, primary: str, horizon: int) -> Digest:
        """
        What to compare with another node's (see L{sipxha.registry.digest}).
        """
        return self._digests.of(primary, horizon)

    def purge(self, now: float, most: int | None = None) -> list[Key]:
        """
        Forget what ended so long ago that no peer can hold a live copy
        (SyncDesign 4.1).  What shares its address-of-record with a row that
        was to end later may wait for that.

        @param most: Leave the rest for another time when so many are gone.
        @return: The keys that are gone.
        """
        gone: list[Key] = []
        horizon = now - self._memory
        later: list[tuple[str, float]] = []
        while self._order and self._order[0] * _AGE <= horizon and (most is None or len(gone) < most):
            identities = self._ages[self._order[0]]
            while identities and (most is None or len(gone) < most):
                identity = identities.pop()
                gone += self._purge(identity, horizon)
                rows = self.remembered(identity)
                if rows:
                    later.append((identity, rows[0].deadline))
            if not identities:
                del self._ages[heappop(self._order)]
        for identity, deadline in later:
            self._age(identity, deadline)
        return gone

    def _purge(self, identity: str, horizon: float) -> list[Key]:
        """
        Forget the rows of an AOR that ended before the horizon.
        """
        gone = []
        held = self._aors[identity]
        for row in [row for row in self.remembered(identity) if row.deadline <= horizon]:
            gone.append(row.key)
            self._drop(row)
            if isinstance(held, Several):
                held.remove(row)
        self._size -= len(gone)
        left = self.remembered(identity)
        if not left or (gone and isinstance(held, Binding)):
            del self._aors[identity]
        elif len(left) == 1:
            self._aors[identity] = left[0]
        return gone

    def _age(self, identity: str, deadline: float) -> None:
        """
        Remember when to look whether an AOR has rows to be forgotten.
        """
        age = int(deadline) // _AGE
        identities = self._ages.get(age)
        if identities is None:
            self._ages[age] = [identity]
            heappush(self._order, age)
        else:
            identities.append(identity)

    def _put(self, row: Binding) -> Binding | None:
        """
        Make C{row} the row of its key, in every index.

        @return: The one that it was before.
        """
        identity = row.identity
        held = self._aors.get(identity)
        before: Binding | None = None
        if held is None:
            self._aors[identity] = row
            self._age(identity, row.deadline)
        elif isinstance(held, Several):
            before = held.put(row)
        elif held.key == row.key:
            self._aors[identity] = row
            before = held
        else:
            self._aors[identity] = several = Several(held)
            several.put(row)
        if before is None:
            self._size += 1
        else:
            self._drop(before)
        updates = self._updates.get(row.primary)
        if updates is None:
            updates = self._updates[row.primary] = Updates()
        updates.add(row)
        self._digests.add(row)
        if row.path:
            self._join_flow(flow_token(row.path), row)
        heard = self.watched.get(identity)
        if heard is not None:
            heard(identity)
        return before

    def _drop(self, row: Binding) -> None:
        """
        Let go of a row that is not that of its key any more.
        """
        self._updates[row.primary].remove(row)
        self._digests.remove(row)
        if row.path:
            self._leave_flow(flow_token(row.path), row)

    def _join_flow(self, token: str, row: Binding) -> None:
        rows = self._flows.get(token)
        if rows is None:
            self._flows[token] = row
        elif isinstance(rows, Binding):
            self._flows[token] = {rows, row}
        else:
            rows.add(row)

    def _leave_flow(self, token: str, row: Binding) -> None:
        rows = self._flows[token]
        if isinstance(rows, Binding) or len(rows) == 1:
            del self._flows[token]
        else:
            rows.remove(row)
