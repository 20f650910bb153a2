"""
Tests for L{sipxha.cli.cdr}, over a real database.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import psycopg2
from pyarrow import parquet
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.filepath import FilePath
from twisted.trial.unittest import TestCase

import sipxha
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.store.cdr_export import COLUMNS
from sipxha.store.pool import Pool
from sipxha.store.schema import CDR, upgrade
from tests.support.cse_host import execute
from tests.support.postgres import PostgresForTests

MAIN = "from sipxha.cli.main import main; main(prog_name='sipxha')"

MAKE_CALLS = """
INSERT INTO cdrs (call_id, from_tag, to_tag, caller_aor, callee_aor, start_time, connect_time, end_time, termination)
SELECT 'call-' || g, 'a', 'b', '<sip:u' || g %% 10 || '@example.com>', '<sip:bob@example.com>',
       timestamp '2026-01-01' + g * interval '1 s', timestamp '2026-01-01' + (g + 3) * interval '1 s',
       timestamp '2026-01-01' + (g + 3 + g %% 100) * interval '1 s', 'C'
  FROM generate_series(1, %s) g
"""

STUCK = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class CdrCase(TestCase):
    """
    A node that writes its records to a real database.
    """

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        """
        Make the node's folder and the tables.
        """
        self.folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(self.folder)).remove)
        servers = [Server("sipx1.example.com", "127.0.0.1")]
        make_cluster(self.folder / "c", Cluster("example.com", servers, False))
        self.config = self.folder / "c" / "sipx1.example.com" / "sipxha.xml"
        self.dsn = PostgresForTests.shared().fresh()
        text = self.config.read_text()
        self.config.write_text(text.replace("host=/run/postgresql dbname=SIPXCDR", self.dsn))
        pool = Pool(reactor, self.dsn)
        return upgrade(pool, (CDR,)).addBoth(lambda _: pool.close())

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """
        Start a verb.
        """
        environment = {**os.environ, "PYTHONPATH": str(Path(sipxha.__file__).parent.parent), "TZ": "UTC"}
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "cdr", *arguments, "--config", str(self.config)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def run_verb(self, *arguments: str) -> tuple[bytes, str, int]:
        """
        Run a verb to its end.
        """
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return out, err.decode(), process.returncode

    def exported(self, *arguments: str) -> bytes:
        """
        What an export that goes well prints.
        """
        out, err, status = self.run_verb("export", *arguments)
        self.assertEqual((err, status), ("", 0))
        return out


class ListTests(CdrCase):
    """
    Tests for C{sipxha cdr list}.
    """

    def test_calls_are_chosen_by_all_that_may_be_said(self) -> None:
        """
        Users without a domain are the domain's; times without a zone are local.
        """
        execute(self.dsn, MAKE_CALLS, 300)
        out, err, status = self.run_verb(
            "list", "--json", "--user", "u7", "--start", "2026-01-01T00:00:10", "--end", "2026-01-01T00:03:00Z",
            "--shortest", "20", "--longest", "40", "--status", "completed", "--status", "486",
        )  # fmt: skip
        self.assertEqual((err, status), ("", 0))
        rows = json.loads(out)
        self.assertEqual([row["call_id"] for row in rows], ["call-27", "call-37", "call-127", "call-137"])
        self.assertEqual(tuple(rows[0]), COLUMNS)
        self.assertEqual((rows[0]["start_time"], rows[0]["duration"]), ("2026-01-01T00:00:27.000Z", 27.0))

    def test_nothing_is_an_empty_list(self) -> None:
        """
        Which is JSON all the same.
        """
        self.assertEqual(json.loads(self.run_verb("list", "--json")[0]), [])

    def test_a_table_has_the_last_calls_and_says_so(self) -> None:
        """
        Unless more are asked for.
        """
        execute(self.dsn, MAKE_CALLS, 1010)
        out = self.run_verb("list")[0].decode()
        self.assertIn("the last 1000, there are more", out)
        self.assertEqual(out.count("<sip:bob@example.com>"), 1000)
        out = self.run_verb("list", "--limit", "1010")[0].decode()
        self.assertNotIn("there are more", out)
        self.assertEqual(out.count("<sip:bob@example.com>"), 1010)
        out = self.run_verb("list", "--limit", "2", "--json")[0].decode()
        self.assertEqual([row["call_id"] for row in json.loads(out)], ["call-1009", "call-1010"])

    def test_what_cannot_be_chosen_by_is_wrong_usage(self) -> None:
        """
        With what can be.
        """
        for option, value, part in (
            ("--status", "busy", "none of completed, failed"),
            ("--status", "200", "a status from 300 to 699"),
            ("--start", "soon", "neither an ISO 8601"),
            ("--shortest", "-1", "-1"),
        ):
            _, err, status = self.run_verb("list", option, value)
            self.assertEqual(status, 2)
            self.assertIn(part, err)

    def test_a_database_without_tables_is_one_line(self) -> None:
        """
        Which says what to do.
        """
        execute(self.dsn, "DROP VIEW view_calls")
        _, err, status = self.run_verb("list")
        self.assertEqual((status, err.count("\n")), (1, 1))
        self.assertIn("sipxha db upgrade", err)


class ExportTests(CdrCase):
    """
    Tests for C{sipxha cdr export}.
    """

    def test_every_format_has_every_call(self) -> None:
        """
        Also more than are read at a time.
        """
        execute(self.dsn, MAKE_CALLS, 4100)
        expected = [f"call-{number}" for number in range(1, 4101)]
        table = list(csv.reader(io.StringIO(self.exported("--format", "csv").decode(), newline="")))
        self.assertEqual(tuple(table[0]), COLUMNS)
        self.assertEqual([row[1] for row in table[1:]], expected)
        lines = self.exported("--format", "jsonl").splitlines()
        self.assertEqual([json.loads(line)["call_id"] for line in lines], expected)
        file = self.folder / "calls.parquet"
        self.assertEqual(self.exported("--format", "parquet", "--output", str(file)), b"")
        self.assertEqual(parquet.read_table(file).column("call_id").to_pylist(), expected)
        piped = parquet.read_table(io.BytesIO(self.exported("--format", "parquet", "--user", "u3")))
        self.assertEqual(piped.num_rows, 410)

    def test_a_reader_that_has_enough_is_no_error(self) -> None:
        """
        As with C{head}.
        """
        execute(self.dsn, MAKE_CALLS, 20_000)
        process = self.start("export", "--format", "jsonl")
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual((process.stderr.read(), process.wait(60)), (b"", 1))

    def test_ctrl_c_leaves_no_half_of_a_file(self) -> None:
        """
        Also while the database lets it wait.
        """
        holder = psycopg2.connect(self.dsn)
        self.addCleanup(holder.close)
        holder.cursor().execute("LOCK TABLE cdrs IN ACCESS EXCLUSIVE MODE")
        target = self.folder / "out"
        target.mkdir()
        process = self.start("export", "--format", "csv", "--output", str(target / "calls.csv"))
        while process.poll() is None and not execute(self.dsn, STUCK):
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, err)
        self.assertNotIn(b"Traceback", err)
        self.assertEqual(list(target.iterdir()), [])

    def test_a_folder_that_is_not_there_is_one_line(self) -> None:
        """
        With its name.
        """
        _, err, status = self.run_verb(
            "export", "--format", "csv", "--output", str(self.folder / "no" / "a.csv")
        )
        self.assertEqual((status, err.count("\n")), (1, 1))
        self.assertIn("No such file or directory", err)
