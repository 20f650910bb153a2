"""
The dialect in which our own kind speaks to each other.

Many updates in one push, answers in pages, and a row is one text: the columns
joined by TAB, which no column may hold.  In place of a deadline travel the
seconds that are left until then, so that clocks that differ shorten no
binding.  What an older dialect carries is carried here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sipxha.registry.binding import Binding
from sipxha.registry.validate import LATEST, RowRefused, validate
from sipxha.sync import rpc
from sipxha.sync.dialect import UPDATES, Dialect
from sipxha.sync.numbers import is_number
from sipxha.sync.wire import I8, Fault, Value

MOST_ROWS = 1000
"""Rows in one push or page; an update is never cut, so there may be some more."""

MOST_PUSHES = 64
"""Pushes that are under way at a time, so that no update waits for the peer's disk; it may stand still for a while."""

MOST_TEXT = 180_000
"""Characters in one push or page, likewise: as XML they must be below what a body may hold."""

_COLUMNS = len(Binding._fields)
_SAFE_ROWS = MOST_TEXT // 10_000
"""So many rows are never too long."""


class Batch(Dialect):
    """
    See above.
    """

    name = "batch"
    prefix = "registrarSync2"
    most_rows = MOST_ROWS
    most_pushes = MOST_PUSHES
    is_streamed = False
    has_digests = True

    def __init__(self) -> None:
        super().__init__()
        self.digest = f"{self.prefix}.digest"
        self.methods[self.digest] = rpc.Ask

    def write_call(self, caller: str, call: rpc.Call, now: float) -> tuple[str, list[Value]]:
        if isinstance(call, rpc.Ask):
            return self.digest, [caller, call.primary, I8(call.horizon)]
        method, params = super().write_call(caller, call, now)
        if isinstance(call, rpc.Pull):
            params.append(self.most_rows)
        return method, params

    def read_call(self, method: str, params: Sequence[Value], now: float) -> rpc.Call:
        if method == self.digest:
            primary = rpc.text_param(method, params, 1, "primaryRegistrar").lower()
            return rpc.Ask(primary, rpc.number_param(method, params, 2, "horizon"))
        call = super().read_call(method, params, now)
        if isinstance(call, rpc.Pull):
            limit = rpc.number_param(method, params, 3, "limit")
            call = call._replace(limit=min(max(limit, 1), self.most_rows))
        return call

    def head(self, page: rpc.Page) -> dict[str, Value]:
        return {"updateNumber": I8(page.number), "more": page.more}

    def read_page(self, value: Any, asked: int, now: float) -> rpc.Page:
        if not isinstance(value, dict):
            raise rpc.Malformed("the answer is no struct")
        updates, number, more = (value.get(name) for name in (UPDATES, "updateNumber", "more"))
        if not isinstance(updates, list) or not is_number(number) or not isinstance(more, bool):
            raise rpc.Malformed("the answer is no page")
        rows = [self.read_row(update, now) for update in updates]
        last = rows[-1].update_number if rows else asked
        if number != last or (more and not rows):
            raise rpc.Malformed("the page holds other updates than it says")
        return rpc.Page(rows, last, more)

    def write_row(self, row: Binding, now: float) -> str:
        return (
            f"{row.uri}\t{row.identity}\t{row.contact}\t{row.qvalue}\t{row.callid}\t{row.cseq}\t{row.expires}\t"
            f"{row.instance_id}\t{row.reg_id}\t{row.gruu}\t{row.path}\t{row.received}\t{row.primary}\t"
            f"{row.update_number}\t{round(row.deadline - now)}"
        )

    def read_row(self, value: Any, now: float = 0.0) -> Binding:
        columns: list[Any] = value.split("\t") if isinstance(value, str) else []
        if len(columns) != _COLUMNS:
            raise Fault(rpc.INVALID_PARAMETER, "an update has not the columns of a row")
        remaining = columns[14]
        is_ended = remaining.startswith("-")
        columns[5] = _integer(columns[5])
        columns[6] = _integer(columns[6])
        columns[8] = _integer(columns[8])
        columns[12] = columns[12].lower()
        columns[13] = _integer(columns[13])
        seconds = _integer(remaining[1:] if is_ended else remaining)
        columns[14] = now + min(-seconds if is_ended else seconds, LATEST)
        row = Binding._make(columns)
        try:
            validate(row)
        except RowRefused as error:
            raise Fault(
                rpc.UPDATE_FAILED, f"update {row.update_number} of '{row.primary[:255]}': {error}"
            ) from error
        if not is_number(row.update_number) or not row.update_number:
            raise Fault(rpc.UPDATE_FAILED, f"{row.update_number} is no update number")
        return row


def _integer(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        raise Fault(rpc.INVALID_PARAMETER, "a column of an update is no number")
    return int(text)


def whole(rows: list[Binding]) -> list[Binding]:
    """
    As many of the first updates as may travel together, one at least.

    @param rows: In ascending order.
    """
    if len(rows) <= _SAFE_ROWS:
        return rows
    room = MOST_TEXT
    begin = 0
    for place, row in enumerate(rows):
        if place and row.update_number != rows[place - 1].update_number:
            begin = place
        room -= len(row.uri) + len(row.identity) + len(row.contact) + len(row.qvalue) + len(row.callid)
        room -= len(row.instance_id) + len(row.gruu) + len(row.path) + len(row.received) + len(row.primary)
        room -= 60
        if room < 0 and begin:
            return rows[:begin]
    return rows


BATCH = Batch()
