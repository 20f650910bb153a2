"""
Tests for C{sipxha resolve} and C{sipxha cdr}, as processes of their own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase, TestCase

import sipxha
from sipxha.cli.main import main
from sipxha.cli.resolve import BUSY_LIMIT, alone
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.net.postgres_gate import PostgresGate
from sipxha.net.tls import MutualTls
from sipxha.services.call_resolver import PassReport, ResolverBusy
from tests.cdr import calls
from tests.support.cse_host import Pair, execute, log_events

LONG_AGO = 1_700_000_000.0
MAIN = "from sipxha.cli.main import main; main()"


class ResolveTests(TestCase):
    """
    Tests for one pass from the shell.
    """

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        """
        A node whose databases are real, and a second host.
        """
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        self.pair = Pair()
        servers = [Server("sipx1.example.com", "127.0.0.1"), Server("sipx2.example.com", "127.0.0.2")]
        make_cluster(folder / "c", Cluster("example.com", servers, False))
        self.config = folder / "c" / "sipx1.example.com" / "sipxha.xml"
        # The calls of these tests are old.
        self.original = self.config.read_text().replace(
            '<retain cdr-days="35" cse-days="7"/>', '<retain cdr-days="forever" cse-days="forever"/>'
        )
        second = load(folder / "c" / "sipx2.example.com" / "sipxha.xml")
        assert second.tls is not None
        gate = PostgresGate(
            reactor, MutualTls(second.tls), {"sipx1.example.com"}, "127.0.0.2", 0, self.pair.other
        )
        gate.startService()
        self.addCleanup(gate.stopService)
        self.port = gate.port
        self.configure(f"localhost, sipx2.example.com:{self.port}")
        return Deferred.fromCoroutine(self.pair.prepare())

    def configure(self, hosts: str) -> None:
        """
        Name the hosts of call events.
        """
        text = self.original.replace("host=/run/postgresql dbname=SIPXCDR", self.pair.own)
        self.config.write_text(text.replace("localhost, sipx2.example.com:5433", hosts))

    async def run_verb(self, *arguments: str) -> tuple[str, str, int]:
        """
        Run a verb; give what it printed, what it complained of, and its status.
        """
        environment = {**os.environ, "PYTHONPATH": str(Path(sipxha.__file__).parent.parent)}
        command = ["-c", MAIN, *arguments, "--config", str(self.config)]
        out, err, status = await getProcessOutputAndValue(
            sys.executable, command, environment, reactor=reactor
        )
        return out.decode(), err.decode(), status

    async def test_a_call_on_two_hosts_is_resolved_and_listed(self) -> None:
        """
        The second host is found by its name in the zone, and read through its gate.
        """
        log_events(self.pair.own, calls.requested(LONG_AGO))
        log_events(self.pair.other, calls.set_up(LONG_AGO + 3), calls.ended(LONG_AGO + 63))
        out, err, status = await self.run_verb("resolve")
        self.assertEqual((err, status), ("", 0))
        self.assertIn("1 records written", out)
        self.assertIn(f"sipx2.example.com:{self.port}", out)
        out, err, status = await self.run_verb("cdr", "list", "--json")
        self.assertEqual((err, status), ("", 0))
        (row,) = json.loads(out)
        self.assertEqual(
            (row["termination"], row["duration"], row["call_id"]), ("C", 60.0, "call-1@10.1.1.7")
        )
        self.assertEqual(row["start_time"], "2023-11-14T22:13:20.000Z")
        out, _, _ = await self.run_verb("cdr", "list")
        self.assertIn("<sip:bob@example.com>", out)

    async def test_a_host_that_is_down_makes_it_partial(self) -> None:
        """
        Exit status 3, and the host is named with what is wrong.
        """
        self.configure("localhost, sipx2.example.com:1")
        log_events(self.pair.own, calls.requested(time.time()))
        out, _, status = await self.run_verb("resolve")
        self.assertEqual(status, 3)
        line = next(line for line in out.splitlines() if line.startswith("sipx2.example.com:1"))
        self.assertIn("127.0.0.2 port 1: Connection refused", line)

    async def test_what_a_pipe_gets_is_not_folded(self) -> None:
        """
        Titles and cells are whole.
        """
        self.configure("localhost, sipx2.example.com:1")
        out, _, _ = await self.run_verb("resolve")
        self.assertIn("\nCalls: 0 records written, 0 may change\n", out)
        self.assertEqual(sum("Connection refused" in line for line in out.splitlines()), 1)

    async def test_programs_get_one_array(self) -> None:
        """
        Hosts, terminations, and the outcome of the pass at its end.
        """
        log_events(self.pair.own, calls.requested(LONG_AGO))
        log_events(self.pair.other, calls.set_up(LONG_AGO + 3), calls.ended(LONG_AGO + 63))
        out, err, status = await self.run_verb("resolve", "--json")
        self.assertEqual((err, status), ("", 0))
        own, other, code, outcome = json.loads(out)
        self.assertEqual((own["host"], own["events"], own["missing"]), ("localhost", 1, None))
        self.assertEqual((other["host"], other["events"]), (f"sipx2.example.com:{self.port}", 2))
        self.assertTrue(other["read_to"].endswith("Z"))
        self.assertEqual(code, {"termination": "C", "meaning": "completed", "calls": 1})
        self.assertEqual(
            outcome, {"complete": True, "written": 1, "open_calls": 0, "dead_letters": 0, "unresolved": 0}
        )

    async def test_what_the_pass_logs_is_on_standard_error(self) -> None:
        """
        A line for each event that cannot be used, for clocks, and for a host that was made anew.
        """
        log_events(
            self.pair.own,
            calls.requested(LONG_AGO),
            calls.requested(LONG_AGO)._replace(event_type="?", event_seq=2),
        )
        log_events(
            self.pair.other, calls.set_up(LONG_AGO - 5, observer=calls.AUTH_2), calls.ended(LONG_AGO + 63)
        )
        _, err, status = await self.run_verb("resolve")
        self.assertEqual(status, 0)
        lines = err.splitlines()
        self.assertIn("sipxha: event 2 of localhost: event_type '?' is none of R S F T E", lines)
        self.assertIn("sipxha: 1 events cannot be used; they are in resolver_dead_letters", lines)
        self.assertEqual(sum("the clock of" in line for line in lines), 1)
        self.assertEqual(len(lines), 3, err)
        execute(self.pair.own, "TRUNCATE call_state_events RESTART IDENTITY")
        log_events(self.pair.own, calls.requested(LONG_AGO + 100, call_id="another"))
        _, err, _ = await self.run_verb("resolve")
        self.assertEqual(err, "sipxha: localhost was restored or made anew: it is read from the start\n")

    async def test_nothing_to_read_is_a_failure(self) -> None:
        """
        Exit status 1.
        """
        self.configure("sipx2.example.com:1")
        _, err, status = await self.run_verb("resolve")
        self.assertEqual((err, status), ("sipxha: no host could be read\n", 1))

    async def test_a_database_that_is_down_is_one_line(self) -> None:
        """
        Exit status 1.
        """
        self.config.write_text(self.original.replace("/run/postgresql", "/nonexistent"))
        for verb in (["resolve"], ["cdr", "list"]):
            out, err, status = await self.run_verb(*verb)
            self.assertEqual((out, status, err.count("\n")), ("", 1, 1))
            self.assertIn("/nonexistent", err)

    async def test_an_embedded_server_has_to_run(self) -> None:
        """
        Nothing is started behind the node's back.
        """
        self.config.write_text(
            self.original.replace(
                'call-events dsn="host=/run/postgresql dbname=SIPXCDR"', 'call-events embedded="true"'
            ).replace(' dsn="host=/run/postgresql dbname=SIPXCDR"', "")
        )
        _, err, status = await self.run_verb("resolve")
        self.assertEqual(
            (err, status), ("sipxha: the embedded database is not running: start the node first\n", 1)
        )


class UsageTests(SynchronousTestCase):
    """
    Tests for what is wrong before anything is read.
    """

    def test_a_time_that_is_none_is_a_usage_error(self) -> None:
        """
        So is a window that ends before it starts.
        """
        for options in (["--start", "soon"], ["--start", "2024-01-02", "--end", "2024-01-01"]):
            result = CliRunner().invoke(main, ["resolve", *options])
            self.assertEqual(result.exit_code, 2)
            self.assertIn(options[-1], result.stderr)


class AloneTests(SynchronousTestCase):
    """
    Tests for L{alone}.
    """

    def setUp(self) -> None:
        """
        The node's own pass is at work, for two seconds.
        """
        self.clock = Clock()
        self.ends = 0.0
        self.report: Any = object()

    async def run_pass(self) -> PassReport:
        """
        A pass that has to be alone.
        """
        if self.clock.seconds() < self.ends:
            raise ResolverBusy("another pass is at work on this database")
        return cast(PassReport, self.report)

    def test_a_pass_of_the_node_is_waited_for(self) -> None:
        """
        It is short.
        """
        self.ends = 2.0
        done = Deferred.fromCoroutine(alone(self.clock, self.run_pass))
        self.assertNoResult(done)
        self.clock.pump([1.0, 1.0])
        self.assertIs(self.successResultOf(done), self.report)

    def test_not_for_ever(self) -> None:
        """
        Somebody should look at it then.
        """
        self.ends = BUSY_LIMIT + 1.0
        done = Deferred.fromCoroutine(alone(self.clock, self.run_pass))
        self.clock.pump([1.0] * BUSY_LIMIT)
        self.failureResultOf(done, ResolverBusy)
