"""
One pass of the call resolver.

All hosts of call state events are read at once, from where each was read to
before; the calls that this touches are resolved, and their records, the events
still needed and the positions are written together.  A host that cannot be
read costs the others nothing: what it holds is added when it is back.  A pass
over a window reads no positions and moves none: it resolves the calls that
have an event in the window, with all their events, wherever these are.

How a record is made is in L{sipxha.cdr}, how rows are read and written in
L{sipxha.store}.  When to run a pass is for the caller to know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.ledger import Ledger
from sipxha.cdr.position import Position
from sipxha.cdr.record import UNDECIDED, Termination
from sipxha.cdr.scrutiny import fault_of
from sipxha.cdr.window import Window
from sipxha.config.model import CallResolver, CseHost, Tls
from sipxha.errors import LocalError, SipxhaError
from sipxha.store.cdr_store import Batch, CdrStore, Letter
from sipxha.store.cse_source import Logged, Look, Source, remote_dsn
from sipxha.store.pool import Pool
from sipxha.store.schema import CDR, CSE, prepare

T = TypeVar("T")

_log = Logger()

OWN = "localhost"
"""The name in C{cse-hosts} of this node's own database."""

PAGE = 5000
ROUND = 40_000
"""Events that are read between two commits."""

CALLS = 2000
"""Calls that are looked up in one statement."""

AHEAD = 600.0
"""Seconds by which one host may be read ahead of another that is not yet at its end."""

WORTH_TELLING = 1.0
"""Seconds of clock skew; what is less is no news."""


class ResolverBusy(LocalError):
    """
    Another pass is at work on the same database of call detail records.
    """


@dataclass
class HostReport:
    """
    How a pass fared with one host.
    """

    name: str
    events: int = 0
    """How many it gave."""

    expected: int = 0
    """How many it may have, by the ids."""

    read_to: float | None = None
    fault: str | None = None
    """Why it could not be read to its end, and where it was looked for."""


@dataclass
class PassReport:
    """
    What a pass did, and what is missing.
    """

    hosts: list[HostReport]
    written: int = 0
    """Records that are new or changed."""

    dead_letters: int = 0
    unresolved: int = 0
    """Calls that we failed to make a record of."""

    open_calls: int = 0
    terminations: Counter[Termination] = field(default_factory=Counter)
    skews: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """
        Whether every host was read to its end.
        """
        return not any(host.fault for host in self.hosts)


Progress = Callable[[HostReport], None]
"""Is told of a host each time something was read from it."""


@dataclass(frozen=True)
class Places:
    """
    Where a pass finds what it needs.
    """

    config: CallResolver
    dsn: str
    """The database of call detail records."""

    own_dsn: str
    """This node's own call state events."""

    tls: Tls | None
    addresses: Callable[[str], Deferred[list[str]]]
    """Asks DNS; an address is its own answer."""


def run_pass(
    reactor: IReactorTime,
    places: Places,
    window: Window | None = None,
    redo: bool = False,
    progress: Progress = lambda _: None,
) -> Deferred[PassReport]:
    """
    Run one pass.

    @param window: Resolve only calls with an event in it, ended ones that have a record excepted.
    @param redo: Resolve those too; without a window, all calls of which there are events.

    @raise sipxha.store.pool.DatabaseUnavailable: The database of records cannot be reached.
    @raise ResolverBusy: Another pass is at work.
    """
    if redo and window is None:
        window = Window()
    return Deferred.fromCoroutine(_run_pass(reactor, places, window, redo, progress))


async def _run_pass(
    reactor: IReactorTime, places: Places, window: Window | None, redo: bool, progress: Progress
) -> PassReport:
    pool = Pool(reactor, places.dsn)
    hosts = [_Host(HostReport(_name(host))) for host in places.config.cse_hosts]
    try:
        await prepare(reactor, places.dsn, pool, (CDR,))
        work = _Pass(CdrStore(pool), hosts, progress)
        await work.claim()
        asked = zip(hosts, places.config.cse_hosts, strict=True)
        await _each([(host, Deferred.fromCoroutine(host.open(reactor, places, at))) for host, at in asked])
        if window is None:
            await work.follow_up()
        else:
            await work.look_through(window, redo)
    finally:
        pool.close()
        for host in hosts:
            host.close()
    for (ahead, behind), seconds in work.report.skews.items():
        if seconds >= WORTH_TELLING:
            _log.warn(
                "the clock of {ahead} is at least {seconds:.1f} s ahead of that of {behind}",
                ahead=ahead,
                behind=behind,
                seconds=seconds,
            )
    return work.report


def _name(host: CseHost) -> str:
    return OWN if host.name == OWN else f"{host.name}:{host.port}"


class _Host:
    """
    One host during a pass; what it has is known once it is open.
    """

    source: Source
    look: Look

    def __init__(self, report: HostReport) -> None:
        self.report = report
        self.name = report.name
        self.position = Position()
        self._pool: Pool | None = None
        self._tried = ""

    async def open(self, reactor: IReactorTime, places: Places, host: CseHost) -> None:
        """
        Connect, and see how much there is.
        """
        if host.name == OWN:
            self._pool = Pool(reactor, places.own_dsn)
            self._tried = str(self._pool)
            # This one may be written to; on others their own nodes see to it.
            await prepare(reactor, places.own_dsn, self._pool, (CSE,))
        else:
            addresses = await places.addresses(host.name)
            dsn = remote_dsn(places.dsn, host.name, addresses, host.port, places.tls, places.config.ca)
            self._pool = Pool(reactor, dsn)
            self._tried = ", ".join(f"{address} port {host.port}" for address in addresses)
        self.source = Source(self._pool)
        self.look = await self.source.look()

    @property
    def is_live(self) -> bool:
        """
        Whether it has answered so far.
        """
        return self.report.fault is None

    @property
    def read_to(self) -> float:
        """
        How far it was read, as a number that can be compared.
        """
        return -inf if self.position.read_to is None else self.position.read_to

    def failed(self, reason: str) -> None:
        """
        Give the host up for this pass.
        """
        self.report.fault = f"{self._tried}: {reason}" if self._tried else reason

    def close(self) -> None:
        """
        End the connection.
        """
        if self._pool is not None:
            self._pool.close()


async def _each(asked: Sequence[tuple[_Host, Deferred[T]]]) -> list[tuple[_Host, T]]:
    """
    Wait for an answer of each host.  One that fails is reported and gives none.
    """
    results: list[tuple[bool, Any]] = await DeferredList([answer for _, answer in asked], consumeErrors=True)
    given = []
    for (host, _), (is_good, answer) in zip(asked, results, strict=True):
        if is_good:
            given.append((host, answer))
        else:
            answer.trap(SipxhaError)
            host.failed(answer.getErrorMessage())
    return given


class _Pass:
    """
    A pass at work.
    """

    def __init__(self, store: CdrStore, hosts: list[_Host], progress: Progress) -> None:
        self.report = PassReport([host.report for host in hosts])
        self._store = store
        self._hosts = hosts
        self._progress = progress
        self._positions: dict[str, Position] = {}
        self._letters: list[Letter] = []

    async def claim(self) -> None:
        """
        Keep other passes away.
        """
        if not await self._store.claim():
            raise ResolverBusy("another pass is at work on this database")

    async def follow_up(self) -> None:
        """
        Read on from where each host was read to.
        """
        self._positions = await self._store.positions()
        ledger = Ledger()
        for is_late in (True, False):
            ledger.restore(await self._store.kept_events(is_late), not is_late)
        for host in self._hosts:
            host.position = self._positions.get(host.name, host.position)
        await self._look_again(ledger)
        unread = self._live()
        fresh = 0
        while unread:
            slowest = min(host.read_to for host in unread)
            near = [host for host in unread if host.read_to <= slowest + AHEAD]
            pages = [(host, host.source.page(host.position.last_id, PAGE)) for host in near]
            for host, rows in await _each(pages):
                is_last = len(rows) < PAGE
                host.position = host.position.after_page(rows, host.look.now, is_last)
                ledger.take(self._sound(host, rows))
                fresh += len(rows)
                if is_last:
                    unread.remove(host)
            unread = [host for host in unread if host.is_live]
            if fresh >= ROUND:
                await self._commit(ledger)
                fresh = 0
        await self._commit(ledger)
        self.report.open_calls = len(ledger)
        self._conclude(ledger)

    async def look_through(self, window: Window, redo: bool) -> None:
        """
        Resolve the calls of a window.
        """
        named = await _each([(host, host.source.calls_in(window)) for host in self._live()])
        calls = sorted({call_id for _, call_ids in named for call_id in call_ids})
        for chosen in _chunks(calls):
            if not redo:
                held = await self._store.held(chosen)
                chosen = [each for each in chosen if each not in held or held[each] in UNDECIDED]
            ledger = Ledger()
            await self._look_up(ledger, chosen)
            # What one host does not tell, time cannot decide.
            as_of = min(host.look.now for host in self._hosts) if self.report.is_complete else None
            await self._write(Batch(ledger.resolve(as_of)))
            self._conclude(ledger)

    async def _look_again(self, ledger: Ledger) -> None:
        """
        See whether the row that each host was read to is still the same, and
        whether any that were missing have appeared.
        """
        asked = [
            (host, host.source.by_id((*host.position.gaps, host.position.last_id)))
            for host in self._live()
            if host.position.last_id
        ]
        for host, rows in await _each(asked):
            found = dict(rows)
            if host.position.is_of_another_life(host.look.last_id, found.pop(host.position.last_id, None)):
                _log.warn("{host} was restored or made anew: it is read from the start", host=host.name)
                host.position = Position()
            else:
                host.position = host.position.after_gaps(list(found))
                ledger.take(self._sound(host, found.items()))
        for host in self._live():
            host.report.expected = host.look.last_id - host.position.last_id
            self._progress(host.report)

    async def _look_up(self, ledger: Ledger, call_ids: Sequence[str]) -> None:
        """
        Read all events of some calls from all hosts.
        """
        for chosen in _chunks(call_ids):
            asked = [(host, host.source.of_calls(chosen)) for host in self._live()]
            for host, rows in await _each(asked):
                ledger.take(self._sound(host, rows))

    async def _commit(self, ledger: Ledger) -> None:
        """
        Write what the events read so far say, and that they were read.
        """
        read_to = [host.position.read_to for host in self._hosts]
        as_of = None if None in read_to else min(each for each in read_to if each is not None)
        late = await self._complete(ledger)
        records = [record for record in ledger.resolve(as_of) if record.call_id not in late]
        left = ledger.leftover(as_of)
        moved = {
            host.name: host.position
            for host in self._hosts
            if host.position != self._positions.get(host.name, Position())
        }
        await self._write(Batch(records, left.keep, left.late, left.forget, (), moved))
        self._positions |= moved

    async def _complete(self, ledger: Ledger) -> set[str]:
        """
        Look up the other events of calls that had been settled when more came.

        @return: The calls for which that has to wait, because a host is down.
        """
        partial = ledger.partial()
        held = await self._store.held(partial)
        late = [call_id for call_id in partial if call_id in held]
        await self._look_up(ledger, late)
        if self.report.is_complete:
            late = []
        ledger.complete(set(partial).difference(late))
        return set(late)

    async def _write(self, batch: Batch) -> None:
        letters, self._letters = self._letters, []
        written = await self._store.write(batch._replace(letters=letters))
        self.report.written += written.records
        self.report.dead_letters += written.letters

    def _live(self) -> list[_Host]:
        return [host for host in self._hosts if host.is_live]

    def _sound(self, host: _Host, rows: Collection[Logged]) -> list[CallStateEvent]:
        """
        Take the events out of rows; those that cannot be used are put aside.
        """
        events = []
        for row_id, event in rows:
            fault = fault_of(event)
            if fault is None:
                events.append(event)
            else:
                _log.warn("event {id} of {host}: {fault}", id=row_id, host=host.name, fault=fault)
                self._letters.append(Letter(host.name, row_id, fault, event))
        host.report.events += len(rows)
        host.report.read_to = host.position.read_to
        self._progress(host.report)
        return events

    def _conclude(self, ledger: Ledger) -> None:
        self.report.terminations += ledger.terminations
        for pair, seconds in ledger.skews.items():
            self.report.skews[pair] = max(seconds, self.report.skews.get(pair, 0.0))
        for call_id, error in ledger.unresolved.items():
            self.report.unresolved += 1
            _log.failure("call {call_id} has no record", Failure(error), call_id=call_id)


def _chunks(call_ids: Sequence[str]) -> list[Sequence[str]]:
    return [call_ids[begin : begin + CALLS] for begin in range(0, len(call_ids), CALLS)]
