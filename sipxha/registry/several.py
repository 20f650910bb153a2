"""
The rows of an address-of-record that has more than one.

Phones that were restarted and those with several lines leave rows behind; the
questions about them are answered by those that count, however many there are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from sipxha.registry.binding import Binding, Key

_cseq: Final = itemgetter(Binding._fields.index("cseq"))
_deadline: Final = itemgetter(Binding._fields.index("deadline"))


class Several:
    """
    Rows of one identity in every order in which they are asked for.

    @ivar by_deadline: So the live rows are the last ones.
    @ivar by_call: For each Call-ID in the order of CSeq, so that the sequence
        check looks at the last one.
    """

    __slots__ = ("by_call", "by_deadline", "by_key")

    def __init__(self, row: Binding) -> None:
        self.by_key: dict[Key, Binding] = {row.key: row}
        self.by_deadline: list[Binding] = [row]
        self.by_call: dict[str, list[Binding]] = {row.callid: [row]}

    def put(self, row: Binding) -> Binding | None:
        """
        Make C{row} the row of its key.

        @return: The one that it was before.
        """
        key = row.key
        held = self.by_key.get(key)
        if held is not None:
            _draw(self.by_deadline, held, _deadline)
            _draw(self.by_call[held.callid], held, _cseq)
        self.by_key[key] = row
        insort(self.by_deadline, row, key=_deadline)
        call = self.by_call.get(row.callid)
        if call is None:
            self.by_call[row.callid] = [row]
        else:
            insort(call, row, key=_cseq)
        return held

    def remove(self, row: Binding) -> None:
        """
        Let go of a row that is there.
        """
        del self.by_key[row.key]
        _draw(self.by_deadline, row, _deadline)
        call = self.by_call[row.callid]
        _draw(call, row, _cseq)
        if not call:
            del self.by_call[row.callid]


def _draw(rows: list[Binding], row: Binding, order: Callable[[Binding], Any]) -> None:
    """
    Take a row out of an ordered list; live rows are near its end.
    """
    if rows[-1] is row:
        rows.pop()
        return
    place = bisect_left(rows, order(row), key=order)
    while rows[place] is not row:
        place += 1
    del rows[place]
