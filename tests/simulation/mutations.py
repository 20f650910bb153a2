"""
Ways to break replication on purpose, to see that the simulator notices.

Each is a mistake that somebody might make: a mutation replaces one function
for as long as a cluster runs, here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sipxha.registry import table
from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry
from sipxha.sync import calling, numbering, rpc
from sipxha.sync.answering import Answering
from sipxha.sync.calling import Calling
from sipxha.sync.effects import Answer
from sipxha.sync.healing import Healing
from sipxha.sync.link import Link
from sipxha.sync.mesh import Mesh


class Mutation(NamedTuple):
    """
    A function, and what stands in its place.
    """

    name: str
    owner: Any
    attribute: str
    replace: Callable[[Any], Any]
    """The wrong one, made from the right one."""


@contextmanager
def broken(mutation: Mutation) -> Iterator[None]:
    """
    Let replication be wrong for a while.
    """
    right = vars(mutation.owner)[mutation.attribute]
    setattr(mutation.owner, mutation.attribute, mutation.replace(right))
    try:
        yield
    finally:
        setattr(mutation.owner, mutation.attribute, right)


def _drop_reset(right: Any) -> Any:
    def reset(self: Calling, link: Link, pending: Any, number: int) -> None:
        right(self, link, pending, self._mesh.registry.update_number)

    return reset


def _one_too_far(right: Any) -> Any:
    def pushed(self: Calling, link: Link, pending: Any, push: rpc.Push, number: int) -> None:
        right(self, link, pending, push, number)
        link.sent += 1

    return pushed


def _wrong_key(right: Any) -> Any:
    return property(lambda row: (row.identity, row.callid, "", row.reg_id))


def _later_end_wins(right: Any) -> Any:
    def merge(held: Binding, incoming: Binding) -> Binding:
        if held.cseq == incoming.cseq and held.expires != incoming.expires:
            return held if held.expires > incoming.expires else incoming
        return right(held, incoming)  # type: ignore[no-any-return]

    return merge


def _last_come_wins(right: Any) -> Any:
    return lambda held, incoming: incoming


def _forget_tombstones(right: Any) -> Any:
    def apply(self: Registry, rows: Any, now: float) -> Any:
        return right(self, [row for row in rows if (row.deadline or row.expires) > now], now)

    return apply


def _first_row_only(right: Any) -> Any:
    return lambda rows: right(rows)[:1]


def _no_step(right: Any) -> Any:
    return lambda current, now: current


def _never_again(right: Any) -> Any:
    def wait(self: Link, now: float) -> None:
        right(self, now)
        self.next_try = None

    return wait


def _own_rows_ignored(right: Any) -> Any:
    def apply(self: Registry, rows: Any, now: float) -> Any:
        return right(self, [row for row in rows if row.primary != self.name], now)

    return apply


def _one_page(right: Any) -> Any:
    def pulled(self: Calling, link: Link, call: rpc.Pull, page: rpc.Page) -> None:
        right(self, link, call, page._replace(more=False))

    return pulled


def _no_repair(right: Any) -> Any:
    def compare(self: Healing, link: Link, ask: rpc.Ask, mine: Any, theirs: Any) -> None:
        del link.checks[:1]

    return compare


def _never_behind(right: Any) -> Any:
    def is_behind(self: Mesh, link: Link) -> bool:
        return link.sent + 1 < self.registry.largest_number(self.name)

    return is_behind


def _never_all(right: Any) -> Any:
    return lambda self, link: False


def _answer_first(right: Any) -> Any:
    def store(self: Mesh, rows: list[Binding], waiting: Any = None) -> None:
        if isinstance(waiting, Answer):
            self.emit(waiting)
            waiting = None
        right(self, rows, waiting)

    return store


def _whatever_was_before(right: Any) -> Any:
    def push(self: Answering, exchange: int, link: Link, dialect: Any, call: rpc.Push) -> None:
        right(self, exchange, link, dialect, call._replace(last_sent=0))

    return push


def _count_first(right: Any) -> Any:
    def push(self: Answering, exchange: int, link: Link, dialect: Any, call: rpc.Push) -> None:
        link.received = max(link.received, call.rows[-1].update_number)
        right(self, exchange, link, dialect, call)

    return push


def _gaps_are_nothing(right: Any) -> Any:
    return lambda after, rows: True


def _window_too_far(right: Any) -> Any:
    return property(lambda link: right.fget(link) + bool(link.calls))


NO_DIGESTS = Mutation("digests are not compared", Healing, "compare", _no_repair)

MUTATIONS = (
    Mutation("a reset's answer is not heeded", Calling, "_reset", _drop_reset),
    Mutation("the sent number is one too great", Calling, "_pushed", _one_too_far),
    Mutation("the contact is not part of the key", Binding, "key", _wrong_key),
    Mutation("of equal CSeq the later end wins", table, "merge", _later_end_wins),
    Mutation("the row that came last wins", table, "merge", _last_come_wins),
    Mutation("ended rows are not taken", Registry, "apply", _forget_tombstones),
    Mutation("only the first row of an update is pushed", calling, "whole", _first_row_only),
    Mutation("numbers are not stepped at start", numbering, "epoch_step", _no_step),
    Mutation("a lost peer is never tried again", Link, "_wait", _never_again),
    Mutation("own rows that come back are not taken", Registry, "apply", _own_rows_ignored),
    Mutation("a page is taken for all", Calling, "_pulled", _one_page),
    NO_DIGESTS,
    Mutation("greater instead of greater or equal: the last update waits", Mesh, "is_behind", _never_behind),
    Mutation("not all rows are pulled from peers without digests", Healing, "_begins_all", _never_all),
    Mutation("a push is answered before it is on disk", Mesh, "store", _answer_first),
    Mutation("a push is taken though one before it was not", Answering, "_push", _whatever_was_before),
    Mutation("a push that is refused counts as received", Answering, "_push", _count_first),
    Mutation(
        "a push past replaced rows does not wait for the disk", calling, "is_gapless", _gaps_are_nothing
    ),
    Mutation("what is under way counts as one more", Link, "offered", _window_too_far),
)
