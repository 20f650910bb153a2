"""
Tests for L{sipxha.services.resolution}, with real databases.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC
from datetime import time as time_of_day
from typing import Any, cast

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from sipxha.cdr.daily import first_after
from sipxha.cdr.direction import Gateways
from sipxha.config.model import CallResolver, CseHost, Retain
from sipxha.services.call_resolver import run_pass
from sipxha.services.cse_hosts import Places
from sipxha.services.gateway_hosts import GatewayHosts
from sipxha.services.resolution import AGAIN, Resolution
from tests.cdr import calls
from tests.support.cse_host import Pair, execute, log_events, open_door

LONG_AGO = 1_700_000_000.0
DAY = 86400.0


class Waits(task.Clock):
    """
    A clock that tells when somebody begins to wait.

    @ivar begun: Fires with the seconds of the next wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = time.time()
        self.begun: Deferred[float] = Deferred()

    def callLater(self, delay: float, *args: Any, **kwargs: Any) -> Any:
        later = super().callLater(delay, *args, **kwargs)
        begun, self.begun = self.begun, Deferred()
        # Not while the service is still at it.
        cast(IReactorTime, reactor).callLater(0, begun.callback, delay)
        return later


class AheadOfTime:
    """
    The reactor, by a clock that is years ahead.
    """

    def seconds(self) -> float:
        """
        What time it seems to be.
        """
        return time.time() + 1000 * DAY

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class ResolutionCase(TestCase):
    """
    A node's passes over two hosts.
    """

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        """
        Make the tables, and a way to the second host.
        """
        self.pair = Pair()
        self.addCleanup(self.pair.bring_back)
        self.port = open_door(self, self.pair.other)
        self.clock = Waits()
        self.lines: list[str] = []
        observer = cast(ILogObserver, self.note)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return Deferred.fromCoroutine(self.pair.prepare())

    def note(self, event: LogEvent) -> None:
        """
        Keep what the service and its parts say.
        """
        if str(event.get("log_namespace", "")).startswith("sipxha.services."):
            self.lines.append(str(event["log_format"]).format(**event))

    def places(self, dsn: str | None = None, **changes: Any) -> Places:
        """
        Where a pass finds all.
        """
        hosts = CseHost("localhost", 5432), CseHost("sipx2.example.com", self.port)
        known: dict[str, Any] = {"dsn": self.pair.own, "cse_hosts": hosts, "ca": None, "follow": 10}
        return Places(
            CallResolver(**(known | changes)),
            dsn or self.pair.own,
            self.pair.own,
            None,
            lambda name: succeed(["127.0.0.1"]),
        )

    def follow(self, dsn: str | None = None, **changes: Any) -> Resolution:
        """
        Start the passes.
        """
        places = self.places(dsn, **changes)
        service = Resolution(cast(IReactorTime, reactor), places, self.clock, UTC)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    async def next_pass(self, seconds: float = 10.0) -> float:
        """
        Let time pass until the next wait.

        @return: Its length.
        """
        begun = self.clock.begun
        self.clock.advance(seconds)
        return await begun

    def records(self) -> list[tuple[Any, ...]]:
        """
        What has been written.
        """
        return execute(self.pair.own, "SELECT call_id, termination FROM cdrs ORDER BY call_id")


class FollowTests(ResolutionCase):
    """
    Tests for C{follow}.
    """

    async def test_calls_are_resolved_as_they_go_on(self) -> None:
        """
        A pass at once, and the next ones after the given time.
        """
        now = time.time()
        log_events(self.pair.own, calls.requested(now - 60))
        service = self.follow()
        self.assertEqual(await self.clock.begun, 10.0)
        self.assertEqual(self.records(), [("call-1@10.1.1.7", "R")])
        log_events(self.pair.other, calls.set_up(now - 57), calls.ended(now - 2))
        await self.next_pass()
        self.assertEqual(self.records(), [("call-1@10.1.1.7", "C")])
        status: dict[str, Any] = service.status()
        self.assertEqual(sorted(status["read_to"]), ["localhost", f"sipx2.example.com:{self.port}"])
        self.assertEqual((status["open_calls"], status["missing"], service.trouble()), (1, {}, None))
        self.assertFalse(service.is_partial)
        self.assertEqual(self.lines[1:], [])

    async def test_a_host_that_goes_and_comes_is_told_once(self) -> None:
        """
        However many passes there are meanwhile; the status says it all the time.
        """
        service = self.follow()
        await self.clock.begun
        self.lines.clear()
        self.pair.lose()
        for _ in range(3):
            await self.next_pass()
        self.assertEqual(len(self.lines), 1, self.lines)
        self.assertIn("cannot be read", self.lines[0])
        self.assertIn(f"sipx2.example.com:{self.port}", service.trouble() or "")
        self.assertTrue(service.is_partial)
        self.pair.bring_back()
        await self.next_pass()
        self.assertEqual(self.lines[1:], [f"call events of sipx2.example.com:{self.port} are read again"])
        self.assertIsNone(service.trouble())

    async def test_without_its_database_it_tries_again(self) -> None:
        """
        And says so once.
        """
        begun = self.clock.begun
        service = self.follow("host=/nonexistent dbname=x")
        await begun
        await self.next_pass()
        self.assertEqual(len(self.lines), 1)
        self.assertIn("no call detail records are made", service.trouble() or "")
        self.assertTrue(service.is_partial)

    async def test_a_wrong_clock_is_told_when_it_changes(self) -> None:
        """
        By what the events prove.
        """
        service = self.follow()
        await self.clock.begun
        self.lines.clear()
        now = time.time()
        for number, skew in enumerate((40, 40.5, 60)):
            call = {"call_id": str(number)}
            log_events(self.pair.own, calls.requested(now, **call))
            log_events(self.pair.other, calls.set_up(now - skew, observer=calls.AUTH_2, **call))
            await self.next_pass()
        told = [line for line in self.lines if "ahead of that" in line]
        self.assertEqual([line.split()[7] for line in told], ["40.0", "60.0"])
        skews: Any = service.status()["skews"]
        (skew,) = skews["by_events"]
        self.assertEqual((skew["ahead"], skew["behind"], skew["seconds"]), ("10.1.1.50", "10.1.2.50", 60.0))
        self.assertEqual(set(skews["by_clock"]), {"localhost", f"sipx2.example.com:{self.port}"})

    async def test_stopping_ends_a_pass_that_is_at_work(self) -> None:
        """
        Nothing is left behind; what was not written is read again by the next one.
        """
        log_events(self.pair.own, calls.requested(LONG_AGO))
        self.follow().stopService()
        self.follow()
        await self.clock.begun
        self.assertEqual(len(self.records()), 1)


class DailyTests(ResolutionCase):
    """
    Tests for C{run-daily}.
    """

    async def test_a_day_has_one_pass(self) -> None:
        """
        Also when the node is started again after it, and one that was missed is made up for.
        """
        now = time.time()
        service = self.follow(follow=None, run_daily=time_of_day(3, 0))
        await self.clock.begun
        first = service.status()["last_pass"]
        self.assertIsNotNone(first)
        await self.next_pass(AGAIN)
        service.stopService()
        again = self.follow(follow=None, run_daily=time_of_day(3, 0))
        await self.clock.begun
        due = first_after(now, time_of_day(3, 0), UTC)
        self.clock.rightNow = due - AGAIN
        # The last of the waits that ends before it is over.
        await self.next_pass(0.0)
        self.assertIsNone(again.status()["last_pass"])
        await self.next_pass(due - self.clock.rightNow)
        self.assertIsNotNone(again.status()["last_pass"])

    async def test_a_pass_that_was_not_whole_is_run_again_soon(self) -> None:
        """
        Not a day later.
        """
        self.pair.lose()
        service = self.follow(follow=None, run_daily=time_of_day(3, 0))
        await self.clock.begun
        self.assertNotEqual(service.status()["missing"], {})
        self.pair.bring_back()
        await self.next_pass(AGAIN)
        self.assertEqual(service.status()["missing"], {})


class PurgeTests(ResolutionCase):
    """
    Tests for what grows too old.
    """

    def left(self, dsn: str) -> int:
        """
        How many events a host has.
        """
        return int(execute(dsn, "SELECT count(*) FROM call_state_events")[0][0])

    def log_call(self, dsn: str, days: float, call_id: str) -> None:
        """
        Log a call of so many days ago.
        """
        at = time.time() - days * DAY
        events = calls.requested(at), calls.set_up(at + 3), calls.ended(at + 60)
        log_events(dsn, *(event._replace(call_id=call_id) for event in events))

    async def test_old_rows_go_and_young_ones_stay(self) -> None:
        """
        On all hosts, on both sides of the age, and only after they were resolved.
        """
        for dsn, names in ((self.pair.own, "abc"), (self.pair.other, "def")):
            for days, name in zip((40, 8, 6), names, strict=True):
                self.log_call(dsn, days, name)
        self.follow(retain=Retain(35, 7))
        await self.clock.begun
        self.assertEqual([row[0] for row in self.records()], ["b", "c", "e", "f"])
        self.assertEqual((self.left(self.pair.own), self.left(self.pair.other)), (3, 3))
        await self.next_pass()
        self.assertEqual([row[0] for row in self.records()], ["b", "c", "e", "f"])
        self.assertEqual([line for line in self.lines if "made anew" in line], [])

    async def test_a_gateway_that_is_not_found_is_told_of_once(self) -> None:
        """
        Until it has been found again.
        """
        found = [GatewayHosts(Gateways(frozenset(), False), {"gw": "no address"})] * 2
        found += [GatewayHosts(Gateways(frozenset()), {}), found[0]]
        places = replace(self.places(), gateways=lambda: succeed(found.pop(0)))
        service = Resolution(cast(IReactorTime, reactor), places, self.clock, UTC)
        service.startService()
        self.addCleanup(service.stopService)
        await self.clock.begun
        for count in (1, 1, 2):
            await self.next_pass()
            lines = [line for line in self.lines if "gateway" in line]
            self.assertEqual(lines, ["gateway gw is not found: no address"] * count)

    async def test_what_is_kept_for_ever_stays_whatever_else_goes(self) -> None:
        """
        Each of the two by itself.
        """
        for dsn, name in ((self.pair.own, "a"), (self.pair.other, "b")):
            self.log_call(dsn, 40, name)
            self.log_call(dsn, 6, f"young {name}")
        service = self.follow(retain=Retain(None, 7))
        await self.clock.begun
        self.assertEqual(
            (len(self.records()), self.left(self.pair.own), self.left(self.pair.other)), (4, 3, 3)
        )
        service.stopService()
        self.clock.begun = Deferred()
        self.log_call(self.pair.own, 8, "old")
        self.follow(retain=Retain(35, None))
        await self.clock.begun
        self.assertEqual(
            (len(self.records()), self.left(self.pair.own), self.left(self.pair.other)), (3, 6, 3)
        )

    async def test_a_host_that_was_purged_empty_is_still_the_same(self) -> None:
        """
        The row that was read last stays.
        """
        self.log_call(self.pair.own, 8, "a")
        self.follow(retain=Retain(35, 7))
        await self.clock.begun
        self.assertEqual(self.left(self.pair.own), 1)
        self.log_call(self.pair.own, 0.1, "b")
        await self.next_pass()
        self.assertEqual([row[0] for row in self.records()], ["a", "b"])
        self.assertEqual([line for line in self.lines if "made anew" in line], [])

    async def test_nothing_goes_that_a_lost_host_may_need(self) -> None:
        """
        Until it has been read.
        """
        self.log_call(self.pair.own, 8, "a")
        self.pair.lose()
        self.follow(retain=Retain(35, 7))
        await self.clock.begun
        self.assertEqual(self.left(self.pair.own), 3)
        self.pair.bring_back()
        await self.next_pass(3600)
        self.assertEqual(self.left(self.pair.own), 1)

    async def test_a_clock_that_is_far_ahead_deletes_nothing(self) -> None:
        """
        The earliest of all clocks counts.
        """
        self.log_call(self.pair.own, 1, "a")
        await run_pass(cast(IReactorTime, AheadOfTime()), self.places(retain=Retain(35, 7)))
        self.assertEqual((self.left(self.pair.own), len(self.records())), (3, 1))

    async def test_an_open_call_is_finished_after_its_events_are_gone(self) -> None:
        """
        The resolver keeps what it needs.
        """
        at = time.time() - 8 * DAY
        log_events(self.pair.own, calls.requested(at), calls.set_up(at + 3))
        self.log_call(self.pair.own, 0.1, "b")
        self.follow(retain=Retain(35, 7), max_call=20 * 86400)
        await self.clock.begun
        self.assertEqual(self.left(self.pair.own), 3)
        log_events(self.pair.own, calls.ended(time.time()))
        await self.next_pass()
        self.assertIn(("call-1@10.1.1.7", "C"), self.records())
        ((start,),) = execute(
            self.pair.own,
            "SELECT extract(epoch FROM start_time)::float8 FROM cdrs WHERE call_id LIKE 'call%'",
        )
        self.assertAlmostEqual(start, at, 3)

    async def test_a_host_that_may_not_be_deleted_from_is_told_of(self) -> None:
        """
        And costs nothing else.
        """
        self.log_call(self.pair.other, 8, "a")
        execute(
            self.pair.other,
            "CREATE RULE keep AS ON DELETE TO observer_state_events DO INSTEAD"
            " INSERT INTO observer_state_events VALUES (DEFAULT, NULL, 0, now(), 0)",
        )
        execute(
            self.pair.other,
            "INSERT INTO observer_state_events VALUES (DEFAULT, 'x', 0, '2020-01-01', 101, '')",
        )
        service = self.follow(retain=Retain(35, 7))
        await self.clock.begun
        self.assertEqual(sum("stay" in line for line in self.lines), 1, self.lines)
        self.assertIsNone(service.trouble())
