"""
Tests for events on their way into real tables.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.store.cse_log import CseLog, encode_event, encode_reset, storable
from sipxha.store.journal import START, Position
from sipxha.store.pool import Pool, StatementRefused
from sipxha.store.schema import CSE, upgrade
from tests.support.postgres import PostgresForTests

COLUMNS = ", ".join(CallStateEvent._fields)


def an_event(**columns: Any) -> CallStateEvent:
    """
    Build an R event of which only some columns matter.
    """
    event = CallStateEvent(
        observer="10.1.1.50:5060",
        event_seq=1,
        event_time=1_700_000_000.125,
        event_type="R",
        cseq=1,
        call_id="call-1",
        from_tag="a",
        to_tag=None,
        from_url='"Alice" <sip:alice@example.com>;tag=a',
        to_url="<sip:bob@example.com>",
    )
    return event._replace(**columns)


class StorableTests(SynchronousTestCase):
    """
    Tests for text that PostgreSQL cannot store.
    """

    def test_it_is_shown_in_place_of_what_it_was(self) -> None:
        """
        A NUL, a byte that is not UTF-8, and half a surrogate pair.
        """
        text = b"a\0b\xff\x80c".decode("utf-8", "surrogateescape") + "\ud83d"
        self.assertEqual(storable(text), "a\\x00b\\xff\\x80c\\ud83d")

    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
    def test_any_other_text_is_left_alone(self, text: str) -> None:
        """
        Whatever its script.
        """
        self.assertEqual(storable(text), text)

    @given(st.text())
    def test_nothing_unstorable_is_left(self, text: str) -> None:
        """
        Every text can be stored.
        """
        self.assertNotIn("\0", storable(text).encode("utf-8").decode("utf-8"))


class CseLogTests(TestCase):
    """
    Tests against a real server.
    """

    async def log(self) -> CseLog:
        self.dsn = PostgresForTests.shared().fresh()
        self.pool = Pool(reactor, self.dsn)
        self.addCleanup(self.pool.close)
        await upgrade(self.pool, (CSE,))
        return CseLog(self.pool, "journal-1")

    async def rows(self) -> list[CallStateEvent]:
        rows = await self.pool.run(f"SELECT {COLUMNS} FROM call_state_events ORDER BY id")
        return [CallStateEvent(*row) for row in rows]

    async def test_all_columns_arrive(self) -> None:
        """
        Absent ones as NULL, times in UTC to the millisecond.
        """
        log = await self.log()
        full = CallStateEvent(
            "o", 2**40, 1_700_000_000.125, "T", 2**31 - 1, "c", "f", "t", "fu", "tu", "contact", "refer-to",
            "referred-by", 486, "Busy Here", "uri", "reference", True, "route", "branch", 3,
        )  # fmt: skip
        await log.write([encode_event(full), encode_event(an_event())], Position(1, 2))
        time = datetime(2023, 11, 14, 22, 13, 20, 125_000)  # noqa: DTZ001 (as the column is)
        expected = [full._replace(event_time=time), an_event(event_time=time)]  # type: ignore[arg-type]
        self.assertEqual(await self.rows(), expected)

    async def test_hostile_text_is_stored_exactly(self) -> None:
        """
        Quotes, backslashes, percent signs, SQL, control characters, emoji and
        what looks like our own escapes.
        """
        log = await self.log()
        texts = [
            "O'Brien", "\\'; DROP TABLE call_state_events; --", '{"a": [1]}', "%s %(x)s %", "\t\r\n\x01\x7f",
            "\N{GRINNING FACE}\N{SNOWMAN}", "\\u0000 \\ud83d \\x00", "", "NULL", "x" * 60_000,
        ]  # fmt: skip
        records = [encode_event(an_event(from_url=text, call_id=text)) for text in texts]
        await log.write(records, Position(1, 1))
        stored = await self.rows()
        self.assertEqual([row.from_url for row in stored], texts)
        self.assertEqual([row.call_id for row in stored], texts)
        self.assertEqual(log.refused, 0)

    async def test_bytes_that_are_not_utf8_are_shown(self) -> None:
        """
        The event is not lost for them.
        """
        log = await self.log()
        text = b"caf\xe9\0".decode("utf-8", "surrogateescape")
        await log.write([encode_event(an_event(from_url=text))], Position(1, 1))
        self.assertEqual((await self.rows())[0].from_url, "caf\\xe9\\x00")

    async def test_the_position_moves_with_the_rows(self) -> None:
        """
        Each journal has its own.
        """
        log = await self.log()
        self.assertEqual(await log.position(), START)
        await log.write([encode_event(an_event())], Position(7, 8))
        await log.write([], Position(7, 9))
        self.assertEqual(await log.position(), Position(7, 9))
        self.assertEqual(await CseLog(self.pool, "journal-2").position(), START)

    async def test_an_impossible_event_is_refused_alone(self) -> None:
        """
        Its cause is logged, the others of its batch are stored in order, and
        the position passes it.
        """
        log = await self.log()
        events = [an_event(event_seq=number) for number in range(10)]
        for bad in (3, 7):
            events[bad] = events[bad]._replace(cseq=2**31)
        await log.write([encode_event(event) for event in events], Position(1, 1))
        self.assertEqual([row.event_seq for row in await self.rows()], [0, 1, 2, 4, 5, 6, 8, 9])
        self.assertEqual(log.refused, 2)
        self.assertEqual(await log.position(), Position(1, 1))

    async def test_a_database_unfit_for_any_event_refuses_none(self) -> None:
        """
        Nothing is passed over when the table is not there.
        """
        log = await self.log()
        await self.pool.run("ALTER TABLE call_state_events RENAME TO elsewhere")
        await self.assertFailure(log.write([encode_event(an_event())], Position(1, 1)), StatementRefused)
        self.assertEqual((await log.position(), log.refused), (START, 0))

    async def test_an_observer_s_start_is_a_row_of_its_own(self) -> None:
        """
        In C{observer_state_events}, as event 0 with status 101.
        """
        log = await self.log()
        await log.write([encode_reset("o", 1.5, "AuthProxy"), encode_event(an_event())], Position(1, 1))
        rows = await self.pool.run("SELECT observer, event_seq, status, msg FROM observer_state_events")
        self.assertEqual(rows, [("o", 0, 101, "AuthProxy")])
        self.assertEqual(len(await self.rows()), 1)
