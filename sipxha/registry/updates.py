"""
The rows of one primary, in the order of their update numbers.

New numbers are mostly the greatest, and of old ones every refresh takes one
away: its place is kept until half of its neighbours are gone, too.  So no
change moves more than one chunk of numbers, and no question looks at more of
what is gone than at what is there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import TypeAlias

from sipxha.registry.binding import Binding

_CHUNK = 256

_Rows: TypeAlias = Binding | tuple[Binding, ...] | None
"""Those of one update: mostly one; L{None} when they are gone."""


class _Chunk:
    """
    Some successive numbers, and beside each its rows.
    """

    __slots__ = ("gone", "numbers", "rows")

    def __init__(self, numbers: list[int], rows: list[_Rows]) -> None:
        self.numbers = numbers
        self.rows = rows
        self.gone = rows.count(None)


class Updates:
    """
    All rows of a primary, by number.
    """

    __slots__ = ("_chunks", "_ends", "_firsts")

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        # For each chunk a number above all in the last one, and not above its own.
        self._firsts: list[int] = []
        # How many rows end in each second.
        self._ends: dict[int, int] = {}

    def __bool__(self) -> bool:
        """
        Whether there are any.
        """
        return bool(self._chunks)

    def largest(self) -> int:
        """
        The greatest number; 0 when there are none.
        """
        if self._chunks:
            chunk = self._chunks[-1]
            for number, rows in zip(reversed(chunk.numbers), reversed(chunk.rows), strict=True):
                if rows is not None:
                    return number
        return 0

    def after(self, number: int) -> Iterator[tuple[Binding, ...]]:
        """
        The rows of each update above C{number}, in ascending order.
        """
        place = max(bisect_right(self._firsts, number) - 1, 0)
        for index in range(place, len(self._chunks)):
            chunk = self._chunks[index]
            start = bisect_right(chunk.numbers, number) if index == place else 0
            for rows in chunk.rows[start:]:
                if rows is not None:
                    yield (rows,) if isinstance(rows, Binding) else rows

    def count_after(self, number: int) -> int:
        """
        How many updates there are above C{number}, without a look at each.
        """
        place = max(bisect_right(self._firsts, number) - 1, 0)
        count = 0
        for index in range(place, len(self._chunks)):
            chunk = self._chunks[index]
            count += len(chunk.rows) - chunk.gone
            if index == place:
                passed = chunk.rows[: bisect_right(chunk.numbers, number)]
                count -= len(passed) - passed.count(None)
        return count

    def live(self, now: float) -> int:
        """
        How many rows end in this second or later.  What this costs depends on
        how long they may live, and not on how many there are.
        """
        second = int(now)
        return sum(count for end, count in self._ends.items() if end >= second)

    def add(self, row: Binding) -> None:
        """
        Take in a row.
        """
        end = int(row.deadline)
        self._ends[end] = self._ends.get(end, 0) + 1
        number = row.update_number
        chunk = self._chunks[-1] if self._chunks else None
        if chunk is None or (number > chunk.numbers[-1] and len(chunk.numbers) >= _CHUNK):
            self._chunks.append(_Chunk([number], [row]))
            self._firsts.append(number)
        elif number > chunk.numbers[-1]:
            chunk.numbers.append(number)
            chunk.rows.append(row)
        else:
            self._insert(number, row)

    def _insert(self, number: int, row: Binding) -> None:
        """
        Put a row among those of smaller and greater numbers.
        """
        place = max(bisect_right(self._firsts, number) - 1, 0)
        chunk = self._chunks[place]
        index = bisect_left(chunk.numbers, number)
        if index < len(chunk.numbers) and chunk.numbers[index] == number:
            held = chunk.rows[index]
            if held is None:
                chunk.gone -= 1
                chunk.rows[index] = row
            else:
                chunk.rows[index] = (held, row) if isinstance(held, Binding) else (*held, row)
            return
        chunk.numbers.insert(index, number)
        chunk.rows.insert(index, row)
        self._firsts[place] = min(self._firsts[place], number)
        if len(chunk.numbers) > 2 * _CHUNK:
            numbers, rows = chunk.numbers, chunk.rows
            halves = [
                _Chunk(numbers[:_CHUNK], rows[:_CHUNK]),
                _Chunk(numbers[_CHUNK:], rows[_CHUNK:]),
            ]
            self._chunks[place : place + 1] = halves
            self._firsts.insert(place + 1, numbers[_CHUNK])

    def remove(self, row: Binding) -> None:
        """
        Let go of a row that is there.
        """
        end = int(row.deadline)
        left = self._ends[end] - 1
        if left:
            self._ends[end] = left
        else:
            del self._ends[end]
        number = row.update_number
        place = bisect_right(self._firsts, number) - 1
        chunk = self._chunks[place]
        index = bisect_left(chunk.numbers, number)
        held = chunk.rows[index]
        if held is row:
            chunk.rows[index] = None
            chunk.gone += 1
            if chunk.gone * 2 > len(chunk.rows):
                self._shrink(place, chunk)
        elif held is not None and not isinstance(held, Binding):
            first, *rest = [other for other in held if other is not row]
            chunk.rows[index] = (first, *rest) if rest else first

    def _shrink(self, place: int, chunk: _Chunk) -> None:
        """
        Forget what is gone of a chunk; most chunks go whole.
        """
        left = [index for index, rows in enumerate(chunk.rows) if rows is not None]
        if left:
            numbers, rows = chunk.numbers, chunk.rows
            self._chunks[place] = _Chunk([numbers[each] for each in left], [rows[each] for each in left])
        else:
            del self._chunks[place], self._firsts[place]
