"""
The call resolver of a node: passes, when they are due.

One pass is over before the next begins; the first begins at once, one that
was missed while the node was down included.  What a pass finds is told to the
log when it changes, not each time, and shown by L{Resolution.status}.  A pass
that fails is tried again; calls are not concerned.
"""

from __future__ import annotations

from datetime import tzinfo
from math import inf

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipxha.cdr.daily import first_after
from sipxha.errors import LocalError
from sipxha.services.call_resolver import PassReport, ResolverBusy, run_pass
from sipxha.services.cse_hosts import Places
from sipxha.services.skew import SkewLog, shown_time
from sipxha.store.cdr_store import CdrStore
from sipxha.store.pool import Pool
from sipxha.store.schema import CDR, prepare

AGAIN = 300.0
"""Seconds until a daily pass is run again that could not read all."""

PURGE_INTERVAL = 3600.0
"""Seconds between two looks at what is too old, where no time of day is given for them."""

LONGEST_DAY = 2 * 86400.0

BUSY = 10.0
"""Seconds to wait for somebody else's pass."""


class Resolution(Service):
    """
    Runs passes for as long as the node runs.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, places: Places, clock: IReactorTime, zone: tzinfo | None = None
    ) -> None:
        """
        @param clock: Tells when the next pass is due; C{reactor}, but in tests.
        @param zone: Where the time of day is that of the configuration; C{None} for the system's own.
        """
        self._reactor = reactor
        self._places = places
        self._clock = clock
        self._zone = zone
        self._work: Deferred[None] | None = None
        self._purged = -inf
        self._faults: dict[str, str] = {}
        self._lost: set[str] = set()
        """Those that could not be read twice in a row."""

        self._trouble: str | None = None
        self._skews = SkewLog()
        self._lost_gateways: dict[str, str] = {}
        self._last: PassReport | None = None
        self._ended: float | None = None

    def startService(self) -> None:
        """
        Begin with the first pass.
        """
        super().startService()
        self._work = Deferred.fromCoroutine(self._run_for_ever())
        self._work.addErrback(Failure.trap, CancelledError)

    def stopService(self) -> None:
        """
        End; what a pass that is at work has not written is read again after the next start.
        """
        super().stopService()
        if self._work is not None:
            self._work.cancel()

    def trouble(self) -> str | None:
        """
        Say what an operator should look at; C{None} when all is well.
        """
        if self._trouble is not None:
            return self._trouble
        missing = [f"{host} ({fault})" for host, fault in self._faults.items() if host in self._lost]
        return f"call events cannot be read from {', '.join(missing)}" if missing else None

    @property
    def is_partial(self) -> bool:
        """
        Whether the last pass lacked a host, or was none at all.
        """
        return self._trouble is not None or bool(self._faults)

    def status(self) -> dict[str, object]:
        """
        Describe the last pass: how far each host has been read, and by whose clock.
        """
        last = self._last
        return {
            "last_pass": None if self._ended is None else shown_time(self._ended),
            "open_calls": None if last is None else last.open_calls,
            "read_to": {
                host.name: None if host.read_to is None else shown_time(host.read_to)
                for host in ([] if last is None else last.hosts)
            },
            "missing": dict(self._faults),
            "skews": self._skews.shown(),
        }

    async def _run_for_ever(self) -> None:
        config = self._places.config
        daily = await self._next_daily()
        while True:
            now = self._clock.seconds()
            if daily is not None and daily > now + LONGEST_DAY:
                # The clock was far ahead when that was found.
                daily = await self._next_daily()
            is_daily = daily is not None and now >= daily
            if is_daily or config.follow is not None:
                purges = is_daily if daily is not None else now >= self._purged + PURGE_INTERVAL
                is_whole = await self._pass(purges)
                if is_daily and config.run_daily is not None:
                    daily = first_after(now, config.run_daily, self._zone) if is_whole else now + AGAIN
            waits = [] if daily is None else [daily - self._clock.seconds()]
            if config.follow is not None:
                waits.append(float(config.follow))
            # Not all at once, since clocks are changed and set.
            await deferLater(self._clock, min(max(0.0, min(waits)), AGAIN))

    async def _next_daily(self) -> float | None:
        """
        Find the first daily moment of which no pass is known.
        """
        at = self._places.config.run_daily
        if at is None:
            return None
        now = self._clock.seconds()
        pool = Pool(self._reactor, self._places.dsn)
        try:
            await prepare(self._reactor, self._places.dsn, pool, (CDR,))
            last = await CdrStore(pool).last_pass()
        except LocalError:
            # The pass will tell.
            return now
        finally:
            pool.close()
        return now if last is None else first_after(min(last, now), at, self._zone)

    async def _pass(self, purges: bool) -> bool:
        """
        Run a pass.

        @return: Whether it read all there was.
        """
        try:
            report = await run_pass(self._reactor, self._places, purges=purges)
        except ResolverBusy:
            await deferLater(self._clock, BUSY)
            return False
        except LocalError as error:
            self._failing(str(error))
            return False
        except CancelledError:
            raise
        except Exception as error:
            # A fault of ours must not end the passes: nobody would see that bills stay away.
            self._log.failure("a pass of the call resolver broke", Failure(error))
            self._failing(f"{type(error).__name__}: see the log")
            return False
        if self._trouble is not None:
            self._log.info("call detail records are made again")
            self._trouble = None
        if purges:
            self._purged = self._clock.seconds()
        self._last, self._ended = report, self._clock.seconds()
        self._tell_hosts(report)
        self._tell_gateways(report.lost_gateways)
        self._skews.tell(report, self._ended)
        return report.is_complete

    def _failing(self, reason: str) -> None:
        if self._trouble is None:
            self._log.warn("no call detail records are made: {reason}", reason=reason)
        self._trouble = f"no call detail records are made: {reason}"

    def _tell_gateways(self, lost: dict[str, str]) -> None:
        for name in lost.keys() - self._lost_gateways.keys():
            self._log.warn("gateway {name} is not found: {reason}", name=name, reason=lost[name])
        self._lost_gateways = lost

    def _tell_hosts(self, report: PassReport) -> None:
        before = self._faults
        self._faults = {host.name: host.fault for host in report.hosts if host.fault is not None}
        # A node that is only started again is no news.
        for host in (self._faults.keys() & before.keys()) - self._lost:
            self._lost.add(host)
            reason = self._faults[host]
            self._log.warn("call events of {host} cannot be read: {reason}", host=host, reason=reason)
        for host in self._lost - self._faults.keys():
            self._lost.remove(host)
            self._log.info("call events of {host} are read again", host=host)
