"""
Tests for passes of the call resolver, with real databases.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.python.filepath import FilePath
from twisted.trial.unittest import TestCase

from sipxha.cdr.direction import Gateways
from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.window import Window
from sipxha.config.model import CallResolver, CseHost
from sipxha.net.postgres_gate import PostgresGate
from sipxha.net.tls import MutualTls
from sipxha.services import call_resolver
from sipxha.services.call_resolver import PassReport, ResolverBusy, run_pass
from sipxha.services.cse_hosts import HostReport, Places
from sipxha.services.gateway_hosts import GatewayHosts
from sipxha.store.cdr_store import CdrStore
from sipxha.store.pool import DatabaseUnavailable, Pool
from tests.cdr import calls
from tests.support.certs import Authority
from tests.support.cse_host import Pair, execute, log_events, open_door

NOW = time.time()
LONG_AGO = 1_700_000_000.0

RECORDS = """
SELECT call_id, termination, extract(epoch FROM start_time)::float8, extract(epoch FROM connect_time)::float8,
       extract(epoch FROM end_time)::float8, events
  FROM cdrs ORDER BY call_id
"""


def whole_call(call_id: str, at: float = LONG_AGO) -> tuple[CallStateEvent, ...]:
    """
    A call of a minute that rang for three seconds.
    """
    return (
        calls.requested(at, call_id=call_id),
        calls.set_up(at + 3, call_id=call_id),
        calls.ended_by_callee(at + 63, call_id=call_id),
    )


def completed(call_id: str, at: float = LONG_AGO) -> tuple[Any, ...]:
    """
    Its record.
    """
    return (call_id, "C", at, at + 3, at + 63, 3)


class PassCase(TestCase):
    """
    Two hosts, the second reached over TCP.
    """

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        """
        Make the tables, and a way to the second host.
        """
        self.pair = Pair()
        self.hosts: tuple[CseHost, ...] = (
            CseHost("localhost", 5432),
            CseHost("sipx2.example.com", open_door(self, self.pair.other)),
        )
        return Deferred.fromCoroutine(self.pair.prepare())

    def places(self, **changes: Any) -> Places:
        """
        Where this test's pass finds all.
        """

        def addresses(name: str) -> Deferred[list[str]]:
            return succeed(["127.0.0.1"])

        known: dict[str, Any] = {
            "config": CallResolver(self.pair.own, self.hosts, None),
            "dsn": self.pair.own,
            "own_dsn": self.pair.own,
            "tls": None,
            "addresses": addresses,
        }
        return Places(**(known | changes))

    def run_pass(self, *args: Any, **kwargs: Any) -> Deferred[PassReport]:
        """
        Run one.
        """
        return run_pass(reactor, self.places(), *args, **kwargs)

    def records(self) -> list[tuple[Any, ...]]:
        """
        What it has written.
        """
        return execute(self.pair.own, RECORDS)

    def kept(self) -> int:
        """
        How many events wait for others.
        """
        return int(execute(self.pair.own, "SELECT count(*) FROM resolver_events")[0][0])


class DirectionTests(PassCase):
    """
    Tests for calls from and to gateways.
    """

    async def test_a_direction_that_was_known_stays_when_a_gateway_is_not_found(self) -> None:
        """
        The record is written again all the same, for what is new in it.
        """
        directions = "SELECT call_direction, call_type, hung_up_by, ring_time::text FROM view_calls"
        gateways = GatewayHosts(Gateways(frozenset({"10.1.1.7"})), {})
        log_events(self.pair.own, *whole_call("a"))
        await run_pass(reactor, self.places(gateways=lambda: succeed(gateways)))
        self.assertEqual(execute(self.pair.own, directions), [("I", "incoming", "callee", "00:00:03")])
        lost = GatewayHosts(Gateways(frozenset(), False), {"gw.example.com": "nobody knows"})
        log_events(self.pair.own, calls.ended_by_callee(LONG_AGO + 70, call_id="a", cseq=2))
        report = await run_pass(reactor, self.places(gateways=lambda: succeed(lost)))
        self.assertEqual((report.written, report.lost_gateways), (1, {"gw.example.com": "nobody knows"}))
        self.assertEqual(execute(self.pair.own, directions), [("I", "incoming", "callee", "00:00:03")])
        report = await run_pass(reactor, self.places(gateways=lambda: succeed(lost)), redo=True)
        self.assertEqual(report.written, 0)


class FollowUpTests(PassCase):
    """
    Tests for passes that read on from where the last one ended.
    """

    async def test_a_call_on_two_nodes_becomes_one_record(self) -> None:
        """
        Whichever event lies on which.
        """
        first, second, third = whole_call("a"), whole_call("b"), whole_call("c")
        log_events(self.pair.own, first[0], second[1], second[2], *third)
        log_events(self.pair.other, first[1], first[2], second[0])
        report = await self.run_pass()
        self.assertTrue(report.is_complete)
        self.assertEqual(self.records(), [completed("a"), completed("b"), completed("c")])
        self.assertEqual((report.written, report.terminations["C"], report.open_calls), (3, 3, 0))  # type: ignore[index]
        self.assertEqual([host.events for host in report.hosts], [6, 3])

    async def test_running_twice_changes_nothing(self) -> None:
        """
        Not even a row's physical version.
        """
        log_events(self.pair.own, *whole_call("a"), *whole_call("b", NOW - 64)[:2])
        await self.run_pass()
        before = execute(self.pair.own, "SELECT id, ctid::text FROM cdrs ORDER BY id")
        report = await self.run_pass()
        self.assertEqual(execute(self.pair.own, "SELECT id, ctid::text FROM cdrs ORDER BY id"), before)
        self.assertEqual((report.written, [host.events for host in report.hosts]), (0, [0, 0]))

    async def test_an_open_call_is_finished_by_a_later_pass(self) -> None:
        """
        Its row is the same row, and its earlier events are kept until then.
        """
        requested, set_up, ended = whole_call("a", NOW - 64)
        log_events(self.pair.own, requested)
        log_events(self.pair.other, set_up)
        await self.run_pass()
        self.assertEqual([row[1] for row in self.records()], ["I"])
        self.assertEqual(self.kept(), 2)
        self.assertEqual(execute(self.pair.own, "SELECT * FROM view_cdrs"), [])
        log_events(self.pair.other, ended)
        await self.run_pass()
        self.assertEqual([row[1] for row in self.records()], ["C"])
        self.assertEqual(execute(self.pair.own, "SELECT id FROM view_cdrs"), [(1,)])

    async def test_pages_and_commits_do_not_show(self) -> None:
        """
        Whatever their size, nothing is left over.
        """
        self.patch(call_resolver, "PAGE", 7)
        self.patch(call_resolver, "ROUND", 20)
        for number in range(40):
            events = whole_call(f"{number:03}", LONG_AGO + 10 * number)
            log_events(self.pair.own, *events[: number % 4])
            log_events(self.pair.other, *events[number % 4 :])
        told: list[int] = []

        def note(host: HostReport) -> None:
            told.append(host.events)

        await self.run_pass(progress=note)
        self.assertEqual(self.records(), [completed(f"{n:03}", LONG_AGO + 10 * n) for n in range(40)])
        self.assertEqual(self.kept(), 0)
        self.assertGreater(len(told), 10)

    async def test_a_pass_that_dies_is_made_good_by_the_next(self) -> None:
        """
        It has written records of calls that were over, and moved no host.
        """
        self.patch(call_resolver, "PAGE", 7)
        self.patch(call_resolver, "ROUND", 20)
        for number in range(40):
            log_events(self.pair.own, *whole_call(f"{number:03}", LONG_AGO + 100 * number))

        def die(host: HostReport) -> None:
            if host.events > 100:
                raise RuntimeError("power is gone")

        with self.assertRaisesRegex(RuntimeError, "power is gone"):
            await self.run_pass(progress=die)
        self.assertTrue(0 < len(self.records()) < 40)
        self.assertEqual(execute(self.pair.own, "SELECT * FROM resolver_positions"), [])
        self.patch(call_resolver, "SAVE", 40)
        report = await self.run_pass()
        self.assertEqual(self.records(), [completed(f"{n:03}", LONG_AGO + 100 * n) for n in range(40)])
        self.assertTrue(0 < report.written < 40)

    async def test_a_row_that_was_committed_late_is_read(self) -> None:
        """
        Although greater ids were read before.
        """
        requested, set_up, ended = whole_call("a")
        log_events(self.pair.own, requested)
        execute(self.pair.own, "SELECT nextval('call_state_events_id_seq')")
        log_events(self.pair.own, ended)
        await self.run_pass()
        log_events(self.pair.own, set_up)
        execute(self.pair.own, "UPDATE call_state_events SET id = 2 WHERE event_type = 'S'")
        await self.run_pass()
        self.assertEqual(self.records(), [completed("a")])

    async def test_a_late_event_corrects_a_settled_record(self) -> None:
        """
        The others of its call are looked up, wherever they are.
        """
        requested, set_up, ended = whole_call("a")
        log_events(self.pair.own, requested, ended)
        await self.run_pass()
        self.assertEqual(self.kept(), 0)
        log_events(self.pair.other, set_up)
        await self.run_pass()
        self.assertEqual(self.records(), [completed("a")])

    async def test_a_host_made_anew_is_read_from_the_start(self) -> None:
        """
        Also when its new ids have overtaken the old ones.
        """
        log_events(self.pair.other, *whole_call("a"))
        await self.run_pass()
        execute(self.pair.other, "TRUNCATE call_state_events RESTART IDENTITY")
        log_events(self.pair.other, *whole_call("b"), *whole_call("c"))
        await self.run_pass()
        self.assertEqual([row[0] for row in self.records()], ["a", "b", "c"])

    async def test_a_host_listed_twice_counts_once(self) -> None:
        """
        Under another name it gives the same events.
        """
        self.hosts += (CseHost("also.example.com", self.hosts[1].port),)
        log_events(self.pair.other, *whole_call("a"))
        await self.run_pass()
        self.assertEqual(self.records(), [completed("a")])

    async def test_time_decides_what_no_event_did(self) -> None:
        """
        Ringing for ever is a failure, set up for ever is unknown.
        """
        log_events(self.pair.own, whole_call("a")[0], *whole_call("b")[:2])
        await self.run_pass()
        self.assertEqual([row[1] for row in self.records()], ["F", "U"])
        self.assertEqual(execute(self.pair.own, "SELECT count(as_of) FROM cdrs"), [(2,)])

    async def test_clock_skew_is_reported(self) -> None:
        """
        Times are stored as they were observed.
        """
        requested, _, _ = whole_call("a")
        log_events(self.pair.own, requested)
        log_events(self.pair.other, calls.set_up(LONG_AGO - 40, call_id="a", observer=calls.AUTH_2))
        report = await self.run_pass()
        self.assertEqual(report.skews, {("10.1.1.50", "10.1.2.50"): 40.0})
        self.assertEqual(self.records()[0][2:4], (LONG_AGO, LONG_AGO - 40))


class LostHostTests(PassCase):
    """
    Tests for hosts that cannot be read.
    """

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        """
        Other tests want the second host, too.
        """
        ready = super().setUp()
        self.addCleanup(self.pair.bring_back)
        return ready

    async def test_its_calls_are_completed_when_it_is_back(self) -> None:
        """
        Until then each has the record that the other host's events allow.
        """
        await self.run_pass()
        first, second, third = whole_call("a"), whole_call("b"), whole_call("c")
        log_events(self.pair.own, first[0], second[2], *third)
        log_events(self.pair.other, *first[1:], *second[:2])
        self.pair.lose()
        report = await self.run_pass()
        self.assertFalse(report.is_complete)
        self.assertIsNone(report.hosts[0].fault)
        self.assertTrue(
            (report.hosts[1].fault or "").startswith(f"127.0.0.1 port {self.hosts[1].port}: "), report
        )
        self.assertEqual([row[1] for row in self.records()], ["F", "C", "C"])
        self.pair.bring_back()
        report = await self.run_pass()
        self.assertTrue(report.is_complete)
        self.assertEqual(self.records(), [completed("a"), completed("b"), completed("c")])

    async def test_a_host_that_dies_while_it_is_read_is_read_on_later(self) -> None:
        """
        What it gave until then is written, and nothing twice.
        """
        self.patch(call_resolver, "PAGE", 7)
        numbers = range(20)
        for number in numbers:
            first, second, third = whole_call(f"{number:03}", LONG_AGO + 10 * number)
            log_events(self.pair.own, first)
            log_events(self.pair.other, second, third)

        def stop(host: HostReport) -> None:
            if host.events == 14 and host.name != "localhost":
                self.pair.lose(signal.SIGQUIT)

        report = await self.run_pass(progress=stop)
        self.assertEqual(report.hosts[1].events, 14)
        self.assertIsNotNone(report.hosts[1].fault)
        self.assertEqual(sum(row[5] for row in self.records()), 20 + 14)
        self.pair.bring_back()
        report = await self.run_pass()
        self.assertEqual(report.hosts[1].events, 26)
        self.assertEqual(self.records(), [completed(f"{n:03}", LONG_AGO + 10 * n) for n in numbers])

    async def test_a_host_that_was_never_read_leaves_all_open(self) -> None:
        """
        Time decides nothing without it.
        """
        self.pair.lose()
        log_events(self.pair.own, whole_call("a")[0])
        await self.run_pass()
        self.assertEqual([row[1] for row in self.records()], ["R"])
        self.assertEqual(self.kept(), 1)

    async def test_what_is_decided_without_it_is_not_kept(self) -> None:
        """
        However long it is down; what it has comes as late events.
        """
        self.pair.lose()
        requested, set_up, ended = whole_call("a")
        log_events(self.pair.own, set_up, ended, *whole_call("b"), whole_call("c")[0])
        report = await self.run_pass()
        self.assertEqual((self.kept(), report.open_calls), (1, 1))
        self.pair.bring_back()
        log_events(self.pair.other, requested)
        await self.run_pass()
        self.assertEqual(self.records()[:2], [completed("a"), completed("b")])

    async def test_a_late_event_waits_for_the_host_that_has_the_others(self) -> None:
        """
        Meanwhile the record stays as it is.
        """
        requested, set_up, ended = whole_call("a")
        log_events(self.pair.other, requested, ended)
        await self.run_pass()
        before = self.records()
        self.pair.lose()
        log_events(self.pair.own, set_up)
        for _ in range(2):
            await self.run_pass()
            self.assertEqual(self.records(), before)
        self.assertEqual(self.kept(), 1)
        self.pair.bring_back()
        await self.run_pass()
        self.assertEqual(self.records(), [completed("a")])

    async def test_a_redo_without_it_unsets_nothing(self) -> None:
        """
        A record made of more events stays.
        """
        requested, set_up, ended = whole_call("a")
        log_events(self.pair.own, requested)
        log_events(self.pair.other, set_up, ended)
        await self.run_pass()
        self.pair.lose()
        report = await self.run_pass(redo=True)
        self.assertFalse(report.is_complete)
        self.assertEqual(self.records(), [completed("a")])

    async def test_another_machine_is_not_spoken_to_in_the_clear(self) -> None:
        """
        The others are read all the same.
        """
        log_events(self.pair.own, *whole_call("a"))
        places = self.places(addresses=lambda name: succeed(["192.0.2.1"]))
        report = await run_pass(reactor, places)
        self.assertIn("needs ca", report.hosts[1].fault or "")
        self.assertEqual(self.records(), [completed("a")])


class EncryptedHostTests(PassCase):
    """
    Tests for a host behind its gate.
    """

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        """
        The second host's gate lets the first node in.
        """
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        self.authority = Authority(folder)
        self.tls = self.authority.issue("sipx1.example.com")
        # libpq refuses a key that others may read.
        self.tls.key.chmod(0o600)
        return super().setUp()

    def open_gate(self, name: str) -> None:
        """
        Open the gate of the node of that name.
        """
        gate = PostgresGate(
            reactor,
            MutualTls(self.authority.issue(name)),
            {"sipx1.example.com"},
            "127.0.0.1",
            0,
            self.pair.other,
        )
        gate.startService()
        self.addCleanup(gate.stopService)
        self.hosts = (CseHost("localhost", 5432), CseHost("sipx2.example.com", gate.port))

    def run_encrypted(self) -> Deferred[PassReport]:
        """
        Run a pass that trusts the authority.
        """
        config = CallResolver(self.pair.own, self.hosts, self.authority.path)
        return run_pass(reactor, self.places(config=config, tls=self.tls))

    async def test_it_is_read_over_mutual_tls(self) -> None:
        """
        With the node's own certificate.
        """
        self.open_gate("sipx2.example.com")
        log_events(self.pair.other, *whole_call("a"))
        report = await self.run_encrypted()
        self.assertTrue(report.is_complete, report)
        self.assertEqual(self.records(), [completed("a")])

    async def test_a_host_that_proves_to_be_another_is_not_read(self) -> None:
        """
        Whatever it would say.
        """
        self.open_gate("sipx3.example.com")
        log_events(self.pair.other, *whole_call("a"))
        report = await self.run_encrypted()
        self.assertIn("sipx2.example.com", report.hosts[1].fault or "")
        self.assertEqual(self.records(), [])


class HostileRowTests(PassCase):
    """
    Tests for rows that nobody should have written.
    """

    async def test_rows_of_old_writers(self) -> None:
        """
        Empty text and zeros are absent values.
        """
        execute(
            self.pair.own,
            "INSERT INTO call_state_events VALUES"
            " (DEFAULT, 'sipx:5060', 1, '2023-11-14 22:13:20', 'R', 1, 'a', 'x', '',"
            "  '\"O''Brien; x\" <sip:o@d>;tag=x', '<sip:b@d>', '', '', '', 0, '', '', '', NULL, '', '', 0),"
            " (DEFAULT, 'sipx:5080', 1, '2023-11-14 22:13:23', 'F', 1, 'a', 'x', 'y',"
            "  '\"O''Brien; x\" <sip:o@d>; tag=x', '<sip:b@d>;tag=y', '', '', '', 486, 'Busy', '', '', "
            "  NULL, '', '', 0)",
        )
        await self.run_pass()
        rows = execute(
            self.pair.own,
            "SELECT caller_aor, callee_aor, caller_contact, reference, callee_route, failure_status"
            "  FROM cdrs",
        )
        self.assertEqual(rows, [('"O\'Brien; x" <sip:o@d>', "<sip:b@d>", None, None, None, 486)])

    async def test_an_event_that_cannot_be_used_costs_only_itself(self) -> None:
        """
        It is put aside for people to look at, once.
        """
        first, second, third = whole_call("a")
        bad = second._replace(event_type="?"), second._replace(call_id="")
        log_events(self.pair.own, first, *bad, second, third, second._replace(event_time=float("inf")))
        report = await self.run_pass()
        self.assertEqual(self.records(), [completed("a")])
        self.assertEqual(report.dead_letters, 3)
        letters = execute(
            self.pair.own, "SELECT host, event_id, reason FROM resolver_dead_letters ORDER BY 2"
        )
        self.assertEqual(
            [(host, event_id) for host, event_id, _ in letters], [("localhost", n) for n in (2, 3, 6)]
        )
        await self.run_pass(redo=True)
        self.assertEqual(execute(self.pair.own, "SELECT count(*) FROM resolver_dead_letters"), [(3,)])


class WindowTests(PassCase):
    """
    Tests for passes over a window of time.
    """

    async def test_a_call_that_crosses_an_edge_is_completed_from_outside(self) -> None:
        """
        Calls without an event in the window are left alone.
        """
        log_events(self.pair.own, *whole_call("a"), *whole_call("b", LONG_AGO + 90)[:1])
        log_events(self.pair.other, *whole_call("b", LONG_AGO + 90)[1:], *whole_call("c", LONG_AGO + 500))
        report = await self.run_pass(Window(LONG_AGO + 60, LONG_AGO + 100))
        self.assertEqual(self.records(), [completed("a"), completed("b", LONG_AGO + 90)])
        self.assertEqual(report.terminations["C"], 2)  # type: ignore[index]
        await self.run_pass()
        self.assertEqual([row[0] for row in self.records()], ["a", "b", "c"])

    async def test_what_has_a_record_is_resolved_again_only_when_asked(self) -> None:
        """
        With C{redo} all is what the events say.
        """
        log_events(self.pair.own, *whole_call("a"))
        await self.run_pass()
        execute(self.pair.own, "UPDATE cdrs SET callee_aor = 'wrong'")
        await self.run_pass(Window(LONG_AGO, None))
        self.assertEqual(execute(self.pair.own, "SELECT callee_aor FROM cdrs"), [("wrong",)])
        await self.run_pass(Window(LONG_AGO, None), redo=True)
        self.assertEqual(execute(self.pair.own, "SELECT callee_aor FROM cdrs"), [(calls.BOB,)])

    async def test_all_events_are_resolved_again_without_a_window(self) -> None:
        """
        As if the database of records were new.
        """
        log_events(self.pair.own, *whole_call("a"))
        log_events(self.pair.other, *whole_call("b"))
        await self.run_pass()
        execute(self.pair.own, "TRUNCATE cdrs")
        await self.run_pass(redo=True)
        self.assertEqual(self.records(), [completed("a"), completed("b")])


class RefusedPassTests(PassCase):
    """
    Tests for passes that cannot be run.
    """

    async def test_two_at_once_are_refused(self) -> None:
        """
        Each would take the other's events for settled.
        """
        await self.run_pass()
        other = Pool(reactor, self.pair.own)
        self.addCleanup(other.close)
        store = CdrStore(other)
        self.assertTrue(await store.claim())
        with self.assertRaises(ResolverBusy):
            await self.run_pass()
        await store.release()
        self.assertTrue((await self.run_pass()).is_complete)

    async def test_without_its_database_nothing_is_done(self) -> None:
        """
        The finding says so.
        """
        nowhere = "host=/nonexistent dbname=x"
        with self.assertRaises(DatabaseUnavailable):
            await run_pass(reactor, self.places(dsn=nowhere))
