"""
The call event log: what the proxies saw, kept and written.

L{CallLog.record} puts an event into the journal before the message that it is
about leaves; a writer moves the journal into the node's database whenever that
can be reached.  Signalling waits for neither: a database that is down costs
nothing, and a journal that is full costs events, which are counted.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.live import LiveCalls
from sipxha.cdr.resolve import LIMITS
from sipxha.store.cse_log import CseLog, encode_event, encode_reset
from sipxha.store.journal import Journal, JournalFull, Position
from sipxha.store.pool import DatabaseUnavailable, Pool, PoolClosed, StatementRefused
from sipxha.store.schema import CSE, prepare

BATCH = 500
LINGER = 0.1
"""
Seconds from an event to its write, and from one write to the next, in which
others join it: a write costs as much as a dozen events.
"""

SYNC_INTERVAL = 0.5
"""An event is on the disk itself within a second."""

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0

COMPLAINT_INTERVAL = 60.0
"""Seconds between two lines about lost events."""

FLUSH_LIMIT = 2.0
"""Seconds that a stop gives the database to take what is left."""


class CallLog(Service):
    """
    The journal of a node's observers, and the writer behind it.

    @ivar lost: How many events the journal could not keep.
    @ivar is_writing: Whether the database took what it was last given.
    @ivar live: The calls that are not over.
    @ivar written: How many records of the journal the database took, since the start.
    @ivar waiting: How many records wait for the database; those of an earlier life are known
        when the database was reached once.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, journal: Journal, dsn: str) -> None:
        """
        @param dsn: The node's database; it is created when it is missing and
            may be.
        """
        self._reactor = reactor
        self._journal = journal
        self._dsn = dsn
        self._pool = Pool(reactor, dsn)
        self._rows = CseLog(self._pool, journal.identity)
        self._next_seq: dict[str, int] = {}
        self._sync = LoopingCall(self._make_durable)
        self._sync.clock = reactor
        self._writer: Deferred[None] | None = None
        self._idle: Deferred[None] | None = None
        self._trouble: str | None = None
        self._complained = float("-inf")
        self._unreported = 0
        self.live = LiveCalls()
        self._knows_earlier = False
        self.lost = 0
        self.written = 0
        self.waiting = 0
        self.is_writing = False

    def observer_started(self, observer: str, msg: str = "") -> None:
        """
        Begin a new life of an observer: a row of C{observer_state_events},
        and its events count from 1 again.

        @param msg: What it is, for people.
        """
        self._next_seq[observer] = 1
        self._append(encode_reset(observer, self._reactor.seconds(), msg))

    def next_seq(self, observer: str) -> int:
        """
        Take the next C{event_seq} of an observer.
        """
        if observer not in self._next_seq:
            self.observer_started(observer)
        number = self._next_seq[observer]
        self._next_seq[observer] = number + 1
        return number

    def record(self, event: CallStateEvent) -> None:
        """
        Keep an event: when this returns it outlives this process.

        Never raises and never waits.  An event that cannot be kept is counted
        in L{lost}, and the log says so once in a minute.
        """
        self._append(encode_event(event))
        self.live.take(event)

    def trouble(self) -> str | None:
        """
        Say what an operator should look at; C{None} when all is well.
        """
        return f"{self.lost} call events were lost" if self.lost else self._trouble

    @property
    def refused(self) -> int:
        """
        How many events the database would not have.
        """
        return self._rows.refused

    @property
    def journal_bytes(self) -> int:
        """
        How much the journal holds.
        """
        return self._journal.size

    def status(self) -> dict[str, object]:
        """
        Describe the log for operators.
        """
        return {
            "database": str(self._pool),
            "trouble": self.trouble(),
            "journal_bytes": self._journal.size,
            "lost": self.lost,
            "refused": self._rows.refused,
            "damaged": self._journal.damaged,
        }

    def startService(self) -> None:
        """
        Begin to write.
        """
        super().startService()
        self._sync.start(SYNC_INTERVAL, now=False).addErrback(self._failed)
        self._writer = Deferred.fromCoroutine(self._write_for_ever())
        self._writer.addErrback(self._failed)

    def stopService(self) -> Deferred[None]:
        """
        Give the database a moment to take what is left; what it does not
        take stays in the journal for the next start.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._end())

    def _append(self, record: bytes) -> None:
        try:
            self._journal.append(record)
        except JournalFull as full:
            self._count_lost(full)
            return
        self.waiting += 1
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _count_lost(self, reason: JournalFull) -> None:
        self.lost += 1
        self._unreported += 1
        now = self._reactor.seconds()
        if now - self._complained >= COMPLAINT_INTERVAL:
            self._log.error("{count} call events lost: {reason}", count=self._unreported, reason=reason)
            self._complained = now
            self._unreported = 0

    async def _write_for_ever(self) -> None:
        delay = FIRST_DELAY
        position: Position | None = None
        earlier = 0
        while True:
            try:
                if position is None:
                    await prepare(self._reactor, self._dsn, self._pool, (CSE,))
                    position = await self._rows.position()
                    if not self._knows_earlier:
                        self.waiting = earlier = self._journal.count_from(position)
                    self._recovered()
                    delay = FIRST_DELAY
                records, after = self._journal.read_from(position, BATCH)
                if records:
                    await self._rows.write(records, after)
                    self.written += len(records)
                    self.waiting -= len(records)
                    position = after
                    self._journal.forget(position)
                    earlier -= len(records)
                    if earlier <= 0 and not self._knows_earlier:
                        await self._recall()
                    if len(records) < BATCH and self.running:
                        await deferLater(self._reactor, LINGER)
                    continue
                # Also what is damaged waits for nothing any more.
                self.waiting = 0
                if not self.running:
                    return
                if not self._knows_earlier:
                    await self._recall()
                else:
                    await self._next_event()
            except PoolClosed:
                return
            except (DatabaseUnavailable, StatementRefused) as error:
                # Whether it was committed or not, only the database knows.
                position = None
                self._failing(error)
                await deferLater(self._reactor, delay)
                delay = min(2 * delay, LONGEST_DELAY)

    async def _recall(self) -> None:
        """
        Hear of the calls that were set up in an earlier life of this node, once the database has all of
        them.
        """
        self._knows_earlier = True
        try:
            earlier = await self._rows.open_calls(self._reactor.seconds() - LIMITS.max_call)
        except StatementRefused as refused:
            # A user that may only write.
            self._log.debug("calls of earlier are not known: {reason}", reason=refused)
            return
        for event in earlier:
            self.live.take(event)

    async def _next_event(self) -> None:
        self._idle = Deferred(self._forget_idle)
        await self._idle
        if self.running:
            await deferLater(self._reactor, LINGER)

    def _forget_idle(self, idle: Deferred[None]) -> None:
        self._idle = None

    def _failing(self, error: Exception) -> None:
        self.is_writing = False
        if self._trouble is None:
            self._log.warn(
                "call events are kept in the journal: {dsn}: {reason}", dsn=str(self._pool), reason=error
            )
        self._trouble = f"call events wait for {self._pool}: {error}"

    def _recovered(self) -> None:
        self.is_writing = True
        if self._trouble is not None:
            self._log.info("call events are written to {dsn} again", dsn=str(self._pool))
        self._trouble = None

    def _make_durable(self) -> Deferred[Any] | None:
        sync = self._journal.unsynced()
        if sync is None:
            return None
        reactor = cast(IReactorThreads, self._reactor)
        # Returned, so that the next one waits for this one.
        return deferToThreadPool(reactor, reactor.getThreadPool(), sync).addErrback(self._not_durable)

    def _not_durable(self, failure: Failure) -> None:
        failure.trap(OSError)
        self._log.error("the journal is not durable: {reason}", reason=failure.getErrorMessage())

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("the call event log has ended", failure)

    async def _end(self) -> None:
        if self._writer is not None:
            if self._trouble is not None:
                self._writer.cancel()
            elif self._idle is not None:
                idle, self._idle = self._idle, None
                idle.callback(None)
            overdue = self._reactor.callLater(FLUSH_LIMIT, self._writer.cancel)
            await self._writer
            if overdue.active():
                overdue.cancel()
        self._pool.close()
        if self._sync.running:
            self._sync.stop()
        self._journal.close()
