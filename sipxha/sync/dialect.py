"""
How one generation of registrars spells its calls.

What all generations have in common is here: three methods, their parameters
in their order, and that a number is a number.  How a row looks and how many
of them travel at once is each dialect's own.  The engine speaks of L{rpc}'s
calls and never sees a wire name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from sipxha.registry.binding import Binding
from sipxha.sync import rpc, wire
from sipxha.sync.wire import I8, Value

UPDATES = "updates"
"""The member of a pull's answer that holds the rows."""


class Dialect(ABC):
    """
    One way to spell calls.
    """

    name: ClassVar[str]
    prefix: ClassVar[str]
    most_rows: ClassVar[int] = 0
    """How many rows travel in one push or page; 0: one update in a push, and all rows in an answer."""

    most_pushes: ClassVar[int] = 1
    """How many pushes may be under way at a time."""

    is_streamed: ClassVar[bool] = True
    """Whether an answer of rows may be so long that it is read, and may be written, row by row."""

    is_chunked: ClassVar[bool] = True
    """Whether such an answer may leave before its length is known."""

    has_digests: ClassVar[bool] = False

    def __init__(self) -> None:
        self.pull = f"{self.prefix}.pullUpdates"
        self.reset = f"{self.prefix}.reset"
        self.push = f"{self.prefix}.pushUpdates"
        self.methods: dict[str, type[rpc.Call]] = {
            self.pull: rpc.Pull,
            self.reset: rpc.Reset,
            self.push: rpc.Push,
        }

    # --- calls --------------------------------------------------------------

    def write_call(self, caller: str, call: rpc.Call, now: float) -> tuple[str, list[Value]]:
        """
        The method and the parameters of a call that we make.
        """
        if isinstance(call, rpc.Pull):
            return self.pull, [caller, call.primary, self.number(call.number)]
        if isinstance(call, rpc.Reset):
            return self.reset, [caller, self.number(call.number)]
        assert isinstance(call, rpc.Push)
        rows = [self.write_row(row, now) for row in call.rows]
        return self.push, [caller, self.number(call.last_sent), rows]

    def read_call(self, method: str, params: Sequence[Value], now: float) -> rpc.Call:
        """
        What a peer asks of us.  Form is checked here, sense is not.

        @raise Fault: 302, or 304 where a row can be no row of the registry.
        """
        kind = self.methods[method]
        if kind is rpc.Pull:
            primary = rpc.text_param(method, params, 1, "primaryRegistrar").lower()
            return rpc.Pull(primary, rpc.number_param(method, params, 2, "updateNumber"))
        if kind is rpc.Reset:
            return rpc.Reset(rpc.number_param(method, params, 1, "updateNumber"))
        last_sent = rpc.number_param(method, params, 1, "lastSentUpdateNumber")
        updates = params[2] if len(params) > 2 else None
        if not isinstance(updates, list) or not updates:
            raise rpc.invalid(method, UPDATES)
        return rpc.Push(last_sent, [self.read_row(update, now) for update in updates])

    def number(self, number: int) -> I8:
        """
        An update number as this dialect writes it.
        """
        return I8(number)

    # --- answers ------------------------------------------------------------

    def write_page(self, page: rpc.Page, now: float) -> Iterator[bytes]:
        """
        The answer to a pull, in pieces.
        """
        rows = (self.write_row(row, now) for row in page.rows)
        return wire.encode_rows(self.head(page), UPDATES, rows)

    @abstractmethod
    def head(self, page: rpc.Page) -> dict[str, Value]:
        """
        The members of a pull's answer beside the rows.
        """

    @abstractmethod
    def read_page(self, value: Any, asked: int, now: float) -> rpc.Page:
        """
        The answer to our pull.

        @param value: As the wire had it; where the dialect is streamed, the
            rows were read one by one before.

        @raise rpc.Malformed: It is none.

        @raise Fault: 302 or 304, a row is none.
        """

    # --- rows ---------------------------------------------------------------

    @abstractmethod
    def write_row(self, row: Binding, now: float) -> Value:
        """
        A row as it travels.
        """

    @abstractmethod
    def read_row(self, value: Any, now: float = 0.0) -> Binding:
        """
        The row that travelled as C{value}.

        @raise Fault: 302 where it has not the form of one, 304 where no row may be so.
        """
