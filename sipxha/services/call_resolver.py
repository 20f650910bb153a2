"""
One pass of the call resolver.

All hosts of call state events are read at once, from where each was read to
before; the calls that this touches are resolved, and their records, the events
still needed and the positions are written together.  In a long pass records of
calls that are over go ahead, and positions follow.  A host that cannot be read
costs the others nothing: what it holds is added when it is back.  A pass over a
window reads no positions and moves none: it resolves the calls that have an
event in the window, with all their events, wherever these are.  What is older
than the configuration wants it is deleted in the end.

How a record is made is in L{sipxha.cdr}, how rows are read and written in
L{sipxha.store}.  When to run a pass is for the caller to know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.ledger import Ledger
from sipxha.cdr.position import Position
from sipxha.cdr.record import UNDECIDED, Cdr, Termination
from sipxha.cdr.resolve import Limits
from sipxha.cdr.scrutiny import fault_of
from sipxha.cdr.window import Window
from sipxha.config.model import Retain
from sipxha.errors import LocalError, SipxhaError
from sipxha.services.cse_hosts import Host, HostReport, Places, each_of, name_of
from sipxha.services.gateway_hosts import GatewayHosts
from sipxha.store.cdr_store import Batch, CdrStore, Letter
from sipxha.store.cse_source import Logged
from sipxha.store.pool import Pool
from sipxha.store.schema import CDR, prepare

_log = Logger()

PAGE = 2000
ROUND = 40_000
"""Events that are read between two looks at what is settled."""

SAVE = 400_000
"""Events that are read until all else is saved as well: what a pass that dies has to read again."""

CALLS = 2000
"""Calls that are looked up in one statement."""

SLICE = 500
"""Calls that are resolved until others may use the reactor: it may be that of a node that serves."""

AHEAD = 600.0
"""Seconds by which one host may be read ahead of another that is not yet at its end."""

DAY = 86400.0


class ResolverBusy(LocalError):
    """
    Another pass is at work on the same database of call detail records.
    """


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
    """By how many seconds the clock of one host is ahead of another's, at least, by their events."""

    purged: int = 0
    """Records that were deleted for their age."""

    lost_gateways: dict[str, str] = field(default_factory=dict)
    """Why the addresses of a gateway are not known."""

    @property
    def is_complete(self) -> bool:
        """
        Whether every host was read to its end.
        """
        return not any(host.fault for host in self.hosts)


Progress = Callable[[HostReport], None]
"""Is told of a host each time something was read from it."""


def run_pass(
    reactor: IReactorTime,
    places: Places,
    window: Window | None = None,
    redo: bool = False,
    progress: Progress = lambda _: None,
    purges: bool = True,
) -> Deferred[PassReport]:
    """
    Run one pass.  It tells the log of events and calls that cannot be used, and
    leaves the rest of its report to others.

    @param window: Resolve only calls with an event in it, ended ones that have a record excepted.
    @param redo: Resolve those too; without a window, all calls of which there are events.
    @param purges: Whether to delete what is too old in the end, where the configuration says what
        is; a pass over a window never does.

    @raise sipxha.store.pool.DatabaseUnavailable: The database of records cannot be reached.
    @raise ResolverBusy: Another pass is at work.
    """
    if redo and window is None:
        window = Window()
    return Deferred.fromCoroutine(_run_pass(reactor, places, window, redo, progress, purges))


async def _run_pass(
    reactor: IReactorTime,
    places: Places,
    window: Window | None,
    redo: bool,
    progress: Progress,
    purges: bool,
) -> PassReport:
    config = places.config
    pool = Pool(reactor, places.dsn)
    work = None
    hosts = [Host(HostReport(name_of(host))) for host in config.cse_hosts]
    try:
        await prepare(reactor, places.dsn, pool, (CDR,))
        limits = Limits(config.max_call, config.max_ringing)
        store = CdrStore(pool)
        work = _Pass(reactor, store, hosts, limits, await places.gateways(), progress)
        await work.claim()
        asked = zip(hosts, config.cse_hosts, strict=True)
        await each_of([(host, Deferred.fromCoroutine(host.open(reactor, places, at))) for host, at in asked])
        if window is None:
            await work.follow_up()
            if purges:
                await work.purge(config.retain, reactor.seconds())
        else:
            await work.look_through(window, redo)
        await store.release()
    finally:
        if work is not None:
            work.close()
        pool.close()
        for host in hosts:
            host.close()
    return work.report


class _Pass:
    """
    A pass at work.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        store: CdrStore,
        hosts: list[Host],
        limits: Limits,
        gateways: GatewayHosts,
        progress: Progress,
    ) -> None:
        self._reactor = reactor
        self.report = PassReport([host.report for host in hosts], lost_gateways=gateways.lost)
        self._gateways = gateways.known
        self._store = store
        self._hosts = hosts
        self._limits = limits
        self._progress = progress
        self._positions: dict[str, Position] = {}
        self._letters: list[Letter] = []
        self._writing: Deferred[None] | None = None

    def close(self) -> None:
        """
        Wait for nothing any longer.
        """
        if self._writing is not None:
            self._writing.addErrback(Failure.trap, SipxhaError, CancelledError)

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
        ledger = Ledger(self._limits, self._gateways)
        for is_late in (True, False):
            ledger.restore(await self._store.kept_events(is_late), not is_late)
        for host in self._hosts:
            host.position = self._positions.get(host.name, host.position)
        await self._look_again(ledger)
        unread = self._live()
        fresh = unsaved = 0
        while unread:
            slowest = min(host.read_to for host in unread)
            near = [host for host in unread if host.read_to <= slowest + AHEAD]
            pages = await each_of([(host, host.page(PAGE)) for host in near])
            for host, rows in pages:
                is_last = len(rows) < PAGE
                host.position = host.position.after_page(rows, host.look.now, is_last)
                if is_last:
                    unread.remove(host)
                else:
                    host.ask_ahead(PAGE)
            for host, rows in pages:
                ledger.take(self._sound(host, rows))
                fresh += len(rows)
            unread = [host for host in unread if host.is_live]
            if fresh >= ROUND:
                unsaved += fresh
                fresh = 0
                if unsaved < SAVE:
                    await self._settle(ledger)
                else:
                    await self._save(ledger)
                    unsaved = 0
        await self._save(ledger)
        await self._written()
        self.report.open_calls = len(ledger)
        self._conclude(ledger)

    async def look_through(self, window: Window, redo: bool) -> None:
        """
        Resolve the calls of a window.
        """
        named = await each_of([(host, host.source.calls_in(window)) for host in self._live()])
        calls = sorted({call_id for _, call_ids in named for call_id in call_ids})
        for chosen in _slices(calls, CALLS):
            if not redo:
                held = await self._store.held(chosen)
                chosen = [each for each in chosen if each not in held or held[each] in UNDECIDED]
            ledger = Ledger(self._limits, self._gateways)
            await self._look_up(ledger, chosen)
            # What one host does not tell, time cannot decide.
            as_of = min(host.look.now for host in self._hosts) if self.report.is_complete else None
            await self._write(Batch(ledger.resolve(ledger.changed(as_of), as_of)))
            self._conclude(ledger)

    async def purge(self, retain: Retain, now: float) -> None:
        """
        Delete what is too old by every clock there is, and what all listed hosts have been read
        past.

        Until each has been, nothing is: what it holds may need what others do.
        """
        if -inf in (read_to := [host.read_to for host in self._hosts]):
            return
        today = min(now, *(host.look.now for host in self._live()))
        if retain.cse_days is not None:
            await self._purge_events(min(today - retain.cse_days * DAY, *read_to))
        if retain.cdr_days is not None:
            self.report.purged = await self._store.purge(min(today - retain.cdr_days * DAY, *read_to))

    async def _purge_events(self, before: float) -> None:
        for host in self._live():
            try:
                host.report.purged = await host.source.purge(before, host.position)
            except LocalError as error:
                _log.warn("old call events of {host} stay: {reason}", host=host.name, reason=error)

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
        for host, rows in await each_of(asked):
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
        for chosen in _slices(call_ids, CALLS):
            asked = [(host, host.source.of_calls(chosen)) for host in self._live()]
            for host, rows in await each_of(asked):
                ledger.take(self._sound(host, rows))

    async def _settle(self, ledger: Ledger) -> None:
        """
        Write the records of calls that are over, and drop these.

        Nothing else is written: a pass that dies reads again what it read since it saved, and
        makes the same records of it.
        """
        records = await self._resolve(ledger, is_last=False)
        await self._begin_to_write(Batch(records))

    async def _save(self, ledger: Ledger) -> None:
        """
        Write what the events read so far say, and that they were read.
        """
        records = await self._resolve(ledger, is_last=True)
        left = ledger.leftover()
        moved = {
            host.name: host.position
            for host in self._hosts
            if host.position != self._positions.get(host.name, Position())
        }
        await self._begin_to_write(Batch(records, left.keep, left.late, left.forget, (), moved))
        self._positions |= moved

    async def _resolve(self, ledger: Ledger, is_last: bool) -> list[Cdr]:
        read_to = [host.position.read_to for host in self._hosts]
        as_of = None if None in read_to else min(each for each in read_to if each is not None)
        # A host that is down must not make the memory grow.
        live_to = min((host.read_to for host in self._live()), default=-inf)
        chosen = ledger.changed(as_of) if is_last else ledger.settling(live_to)
        late = await self._complete(ledger, ledger.partial(chosen))
        records = []
        for some in _slices(chosen, SLICE):
            records += ledger.resolve(some, as_of)
            await deferLater(self._reactor, 0)
        ledger.settle(live_to, None if is_last else chosen)
        return [record for record in records if record.call_id not in late] if late else records

    async def _begin_to_write(self, batch: Batch) -> None:
        await self._written()
        # Hosts go on to be read while the database writes.
        self._writing = Deferred.fromCoroutine(self._write(batch))

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _complete(self, ledger: Ledger, partial: list[str]) -> set[str]:
        """
        Look up the other events of those calls that had been settled when more came.

        @return: The calls for which that has to wait, because a host is down.
        """
        late = []
        for some in _slices(partial, CALLS):
            held = await self._store.held(some)
            late += [call_id for call_id in some if call_id in held]
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

    def _live(self) -> list[Host]:
        return [host for host in self._hosts if host.is_live]

    def _sound(self, host: Host, rows: Collection[Logged]) -> list[CallStateEvent]:
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


def _slices(call_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (call_ids[begin : begin + size] for begin in range(0, len(call_ids), size))
