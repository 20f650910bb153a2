"""
Which rows may travel together.

What a peer sends is judged here before any of it is stored; what becomes of
each row is then the business of L{sipxha.registry.merge}.
"""

from __future__ import annotations

from collections.abc import Sequence

from sipxha.registry.binding import Binding
from sipxha.sync import rpc
from sipxha.sync.wire import Fault


def number_of_push(caller: str, rows: Sequence[Binding], are_many: bool = False) -> int:
    """
    The number of all rows of a push, or the last one where there may be several.

    @raise Fault: 306 where they have others; 304 where a row is not the caller's own.
    """
    number = rows[0].update_number
    for row in rows:
        if row.update_number != number:
            if not are_many or row.update_number < number:
                raise Fault(rpc.MIXED_NUMBERS, f"updates {number} and {row.update_number} in one push")
            number = row.update_number
        if row.primary != caller:
            raise Fault(rpc.UPDATE_FAILED, f"update {number} of '{row.primary}' pushed by '{caller}'")
    return number


def newest_of_pull(primary: str, after: int, rows: Sequence[Binding]) -> int:
    """
    The greatest number in the answer of a pull; C{after} when it is empty.

    @raise Fault: 304 where a row is of another registrar, or is not newer than asked.
    """
    newest = after
    for row in rows:
        if row.primary != primary or row.update_number <= after:
            found = f"update {row.update_number} of '{row.primary}'"
            raise Fault(rpc.UPDATE_FAILED, f"{found} where those of '{primary}' after {after} were asked for")
        newest = max(newest, row.update_number)
    return newest


def is_gapless(after: int, rows: Sequence[Binding]) -> bool:
    """
    Whether the numbers of rows in ascending order follow C{after} one by one.
    """
    for row in rows:
        if row.update_number > after + 1:
            return False
        after = row.update_number
    return True
