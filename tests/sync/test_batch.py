"""
Tests for L{sipxha.sync.batch}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.net.rpc_server import MOST_BODY
from sipxha.registry.binding import Binding
from sipxha.registry.validate import LIMITS
from sipxha.sync import rpc, wire
from sipxha.sync.batch import BATCH, MOST_ROWS, whole
from sipxha.sync.wire import I8, Fault
from tests.support.bindings import a_row
from tests.sync.rows import ROWS

NOW = 1_700_000_000.0
PEER = "sipx1.example.com"


def numbered(*numbers: int, **columns: Any) -> list[Binding]:
    """
    Rows of these updates.
    """
    return [
        a_row(update_number=number, callid=str(place), deadline=NOW, **columns)
        for place, number in enumerate(numbers)
    ]


class RowTests(SynchronousTestCase):
    """
    Tests for rows as text.
    """

    @given(ROWS, st.integers(-7200, 7200))
    def test_every_row_that_may_be_stored_travels(self, row: Binding, left: int) -> None:
        """
        Over the real text, and ends there as much later as here, whatever the clocks say.
        """
        row = row._replace(deadline=NOW + left)
        text = wire.decode_answer(wire.encode_answer(BATCH.write_row(row, NOW)))
        self.assertEqual(BATCH.read_row(text, NOW), row)
        self.assertEqual(BATCH.read_row(text, 5.0), row._replace(deadline=5.0 + left))

    def test_the_columns_are_those_of_the_registry(self) -> None:
        """
        In its order, and what is left in place of the deadline.
        """
        row = a_row(reg_id=2, instance_id="x", deadline=NOW + 59.6)
        self.assertEqual(BATCH.write_row(row, NOW).split("\t"), [*map(str, row[:-1]), "60"])

    def test_a_bad_row_is_a_fault(self) -> None:
        """
        302 for what has not the form of a row, 304 for what is no row.
        """
        good = BATCH.write_row(a_row(), NOW).split("\t")
        values: list[Any] = [5, {}, [], "", "\t".join(good[:-1]), "\t".join([*good, ""])]
        for value in values:
            self.refused(rpc.INVALID_PARAMETER, value)
        for place in (5, 6, 8, 13, 14):
            for text in ("", "x", "1_0", " 1", "+1", "1.5", "--1", "\u0663", "9" * 30):
                self.refused(rpc.INVALID_PARAMETER, "\t".join([*good[:place], text, *good[place + 1 :]]))
        for place, text in (
            (5, str(1 << 31)),
            (13, "0"),
            (13, str((1 << 63) - 1)),
            (2, ""),
            (4, "x" * 10_000),
            (12, ""),
            (8, "1"),
        ):
            self.refused(rpc.UPDATE_FAILED, "\t".join([*good[:place], text, *good[place + 1 :]]))

    def refused(self, code: int, value: Any) -> None:
        self.assertEqual(self.assertRaises(Fault, BATCH.read_row, value, NOW).code, code, value)


class PageTests(SynchronousTestCase):
    """
    Tests for what travels together.
    """

    def page(self, page: rpc.Page) -> rpc.Page:
        text = b"".join(BATCH.write_page(page, NOW))
        return BATCH.read_page(wire.decode_answer(text), 3, NOW)

    def test_a_page_comes_back_as_it_went(self) -> None:
        """
        Empty ones too.
        """
        for page in (rpc.Page(numbered(4, 4, 9), 9, True), rpc.Page([], 3, False)):
            self.assertEqual(self.page(page), page)

    def test_a_page_that_contradicts_itself_is_malformed(self) -> None:
        """
        One that says that there is more and has nothing would be asked for again for ever.
        """
        good: dict[str, Any] = {"updates": [], "updateNumber": I8(3), "more": False}
        bad: list[Any] = [
            None,
            5,
            {**good, "updates": 5},
            {**good, "updateNumber": "3"},
            {**good, "updateNumber": I8(4)},
            {**good, "more": 0},
            {**good, "more": True},
        ]
        for value in bad:
            self.assertRaises(rpc.Malformed, BATCH.read_page, value, 3, NOW)

    def test_an_update_is_never_cut(self) -> None:
        """
        However long its rows are; and what is whole is not too long.
        """
        short = numbered(*range(500))
        self.assertEqual(whole(short), short)
        long = numbered(*(number // 5 for number in range(300)), path="&" * LIMITS["path"])
        first = whole(long)
        self.assertTrue(5 < len(first) < 300)
        self.assertNotEqual(first[-1].update_number, long[len(first)].update_number)
        self.assertTrue(len(b"".join(BATCH.write_page(rpc.Page(first, 1, False), NOW))) < MOST_BODY)
        one = numbered(*[7] * 60, path="x" * LIMITS["path"])
        self.assertEqual(whole(one), one)

    def test_a_peer_gets_no_more_than_it_asks_for_nor_than_we_give(self) -> None:
        """
        At least one.
        """
        for limit, granted in ((0, 1), (5, 5), (1 << 30, MOST_ROWS)):
            call = BATCH.read_call(BATCH.pull, [PEER, PEER, I8(0), limit], NOW)
            assert isinstance(call, rpc.Pull)
            self.assertEqual(call.limit, granted)
