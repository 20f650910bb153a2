"""
Tests for L{sipxha.store.cdr_export}, against a real database.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.cdr.record import Termination
from sipxha.cdr.resolve import resolve
from sipxha.cdr.window import Window
from sipxha.store.cdr_export import (
    COLUMNS,
    PAGE,
    NotUpToDate,
    Selection,
    address_pattern,
    query_of,
    read_calls,
)
from sipxha.store.cdr_store import Batch, CdrStore
from sipxha.store.pool import DatabaseUnavailable, Pool, StatementRefused
from sipxha.store.schema import CDR, upgrade
from tests.cdr import calls
from tests.support.cse_host import execute
from tests.support.postgres import PostgresForTests

BEGAN = 1_700_000_000.0
RECORD = resolve([calls.requested(BEGAN), calls.set_up(BEGAN + 3), calls.ended_by_callee(BEGAN + 63.5)])


class ReadTests(TestCase):
    """
    Tests for what is read.
    """

    def setUp(self) -> Deferred[Any]:  # type: ignore[override]
        """
        An empty database of records.
        """
        self.dsn = PostgresForTests.shared().fresh()
        self.pool = Pool(reactor, self.dsn)
        self.addCleanup(self.pool.close)
        return upgrade(self.pool, (CDR,))

    async def write(self, **records: dict[str, Any]) -> None:
        """
        Write records that differ so from L{RECORD}, by Call-ID.
        """
        batch = [RECORD._replace(call_id=call_id, **changes) for call_id, changes in records.items()]
        await CdrStore(self.pool).write(Batch(batch))

    def chosen(self, **selection: Any) -> list[str]:
        """
        The Call-IDs of those that are chosen.
        """
        pages = read_calls(self.dsn, Selection(**selection))
        return [row[COLUMNS.index("call_id")] for page in pages for row in page]

    async def test_a_call_has_all_that_a_report_may_show(self) -> None:
        """
        Times with their zone, durations in seconds.
        """
        await self.write(a={})
        ((row,),) = read_calls(self.dsn, Selection())
        told = dict(zip(COLUMNS, row, strict=True))
        self.assertEqual(told["start_time"], datetime.fromtimestamp(BEGAN, UTC))
        self.assertEqual((told["ring_time"], told["duration"], told["hung_up_by"]), (3.0, 60.5, "callee"))
        self.assertEqual((told["caller_transport"], told["termination"]), ("tcp", "C"))

    async def test_calls_that_ended_come_in_order(self) -> None:
        """
        By the first time that is known of them, in pages.
        """
        await self.write(
            b={},
            open={"termination": Termination.IN_PROGRESS},
            a={"start_time": None, "connect_time": BEGAN - 10},
            c={"start_time": BEGAN + 1},
        )
        self.assertEqual(self.chosen(), ["a", "b", "c"])
        self.assertEqual(self.chosen(latest=2), ["b", "c"])
        execute(
            self.dsn,
            "INSERT INTO cdrs (call_id, from_tag, to_tag, caller_aor, callee_aor, start_time, termination)"
            " SELECT g, 'a', 'b', 'x', 'y', to_timestamp(g), 'F' FROM generate_series(1, %s) g",
            2 * PAGE,
        )
        self.assertEqual([len(page) for page in read_calls(self.dsn, Selection())], [PAGE, PAGE, 3])

    async def test_by_time(self) -> None:
        """
        The edge belongs to what begins there.
        """
        await self.write(
            a={}, b={"start_time": BEGAN + 10}, c={"start_time": None, "connect_time": BEGAN + 20}
        )
        for start, end, expected in (
            (BEGAN, BEGAN + 10, ["a"]),
            (BEGAN + 10, None, ["b", "c"]),
            (None, BEGAN + 20, ["a", "b"]),
            (BEGAN + 21, None, []),
        ):
            self.assertEqual(self.chosen(window=Window(start, end)), expected)

    async def test_by_user_on_either_side(self) -> None:
        """
        As a whole name at a whole domain, in whatever it is wrapped.
        """
        await self.write(
            a={"caller_aor": '"Bob" <sip:ann.b@Example.com:5060;x=1>', "callee_aor": "<sip:x@y>"},
            b={"caller_aor": "sip:x@y", "callee_aor": "sips:ann.b@example.com"},
            c={"caller_aor": "<sip:annxb@example.com>", "callee_aor": "<sip:joann.b@example.com>"},
            d={"caller_aor": "<sip:ann.b@example.com.au>", "callee_aor": '"ann.b@example.com" <sip:q@y>'},
        )
        self.assertEqual(self.chosen(user="ann.b@example.com"), ["a", "b"])

    async def test_by_how_it_ended(self) -> None:
        """
        By codes, by SIP statuses, or by both.
        """
        busy = {"termination": Termination.FAILED, "failure_status": 486, "connect_time": None}
        gone = {"termination": Termination.ABANDONED, "failure_status": 487, "connect_time": None}
        await self.write(a={}, b=busy, c=gone)
        self.assertEqual(self.chosen(terminations=("C", "A")), ["a", "c"])
        self.assertEqual(self.chosen(failures=(486,)), ["b"])
        self.assertEqual(self.chosen(terminations=("C",), failures=(486,)), ["a", "b"])

    async def test_by_duration(self) -> None:
        """
        What nobody answered lasted for no time.
        """
        await self.write(a={"connect_time": None}, b={}, c={"connect_time": BEGAN + 53.5})
        self.assertEqual(self.chosen(shortest=10), ["b", "c"])
        self.assertEqual(self.chosen(longest=10), ["a", "c"])
        self.assertEqual(self.chosen(shortest=5, longest=60), ["c"])

    async def test_everything_at_once(self) -> None:
        """
        All that is said must hold.
        """
        await self.write(a={}, b={"start_time": BEGAN + 100})
        chosen = self.chosen(
            window=Window(BEGAN, BEGAN + 50),
            user="alice@example.com",
            terminations=("C",),
            shortest=1,
            longest=100,
            latest=5,
        )
        self.assertEqual(chosen, ["a"])

    async def test_a_window_is_found_by_index(self) -> None:
        """
        A day among years.
        """
        execute(
            self.dsn,
            "INSERT INTO cdrs (call_id, from_tag, to_tag, caller_aor, callee_aor, start_time, termination)"
            " SELECT g, 'a', 'b', 'x', 'y', to_timestamp(g * 1000), 'F' FROM generate_series(1, 20000) g",
        )
        execute(self.dsn, "ANALYZE cdrs")
        day = Selection(Window(10_000, 90_000))
        sql, values = query_of(day)
        self.assertIn("cdrs_start_time_idx", str(execute(self.dsn, f"EXPLAIN {sql}", *values)))
        self.assertEqual(len(self.chosen(window=day.window)), 80)

    async def test_what_cannot_be_read_says_why(self) -> None:
        """
        And what to do about it.
        """
        empty = PostgresForTests.shared().fresh()
        self.assertIn(
            "sipxha db upgrade", str(self.assertRaises(NotUpToDate, list, read_calls(empty, Selection())))
        )
        nowhere = "host=/nowhere dbname=SIPXCDR password=secret"
        error = self.assertRaises(DatabaseUnavailable, list, read_calls(nowhere, Selection()))
        self.assertNotIn("secret", str(error))
        execute(self.dsn, "DROP ROLE IF EXISTS nobody_at_all")
        execute(self.dsn, "CREATE ROLE nobody_at_all LOGIN")
        stranger = self.dsn.replace("user=postgres", "user=nobody_at_all")
        self.assertRaises(StatementRefused, list, read_calls(stranger, Selection()))


class PatternTests(SynchronousTestCase):
    """
    Tests for finding an address in a From value.
    """

    @given(st.text(min_size=1, max_size=20), st.text(max_size=5))
    def test_it_finds_what_it_was_made_of_and_nothing_else(self, user: str, more: str) -> None:
        """
        Whatever the characters; PostgreSQL and Python agree on those that are used.
        """
        pattern = re.compile(address_pattern(f"{user}@h"))
        self.assertTrue(pattern.search(f"<sip:{user}@h>"))
        self.assertFalse(pattern.search(f"<sip:{user}@h{more}x>") and not re.match("[:;>?\\s]", more))
