"""
Tests for L{sipxha.sync.dialect}: what all dialects have in common.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sync import rpc
from sipxha.sync.batch import BATCH, MOST_ROWS
from sipxha.sync.dialects import DIALECTS, spoken_in
from sipxha.sync.numbers import LARGEST
from sipxha.sync.structs import MEMO, SIPX
from sipxha.sync.wire import I8, Fault
from tests.support.bindings import a_row

NOW = 1_700_000_000.0
ME, PEER = "sipx2.example.com", "sipx1.example.com"


class CallTests(SynchronousTestCase):
    """
    Tests for calls in each dialect.
    """

    def test_every_call_comes_back_as_it_went(self) -> None:
        """
        With the caller first.
        """
        row = a_row(update_number=7)
        for dialect in DIALECTS:
            row = row._replace(deadline=NOW + 60 if dialect is BATCH else 0.0)
            limit = MOST_ROWS if dialect is BATCH else 0
            calls: list[rpc.Call] = [rpc.Pull(PEER, 7, limit), rpc.Reset(7), rpc.Push(6, [row])]
            if dialect.has_digests:
                calls.append(rpc.Ask(PEER, 1024))
            for call in calls:
                method, params = dialect.write_call(ME, call, NOW)
                self.assertIs(spoken_in(DIALECTS, method), dialect)
                self.assertEqual(rpc.caller_of(params), ME)
                self.assertEqual(dialect.read_call(method, params, NOW), call)

    def test_parameters_that_are_missing_or_mistyped_are_302(self) -> None:
        """
        For each method and place.
        """
        number: list[list[Any]] = [[], ["1"], [I8(-1)], [I8(LARGEST + 1)], [True]]
        no_rows: list[Any] = ["", [], {}, [5], [[]]]
        for dialect in DIALECTS:
            row = dialect.write_row(a_row(), NOW)
            cases: dict[str, list[list[Any]]] = {
                dialect.pull: [["", I8(1), 5], [5, I8(1), 5], *([PEER, *bad] for bad in number)],
                dialect.reset: number,
                dialect.push: [
                    *([*bad, [row]] for bad in number),
                    *([I8(1), bad] for bad in no_rows),
                ],
            }
            if dialect is BATCH:
                cases[dialect.pull] += [[PEER, I8(1)], [PEER, I8(1), "5"]]
                cases[BATCH.digest] = [[], [5, I8(0)], *([PEER, *bad] for bad in number)]
            for method, lists in cases.items():
                for params in lists:
                    fault = self.assertRaises(Fault, dialect.read_call, method, [ME, *params], NOW)
                    self.assertEqual(fault.code, rpc.INVALID_PARAMETER, (method, params))

    def test_rows_that_are_not_what_was_counted_are_malformed(self) -> None:
        """
        Where a dialect counts them.
        """
        for dialect, count in ((MEMO, "numUpdates"), (SIPX, "num_updates")):
            bad: list[Any] = [
                None,
                1,
                {},
                {"updates": []},
                {count: 1, "updates": []},
                {count: 1, "updates": [{}]},
            ]
            for value in bad:
                self.assertRaises(rpc.Malformed, dialect.read_page, value, 0, NOW)
            page = dialect.read_page({count: 1, "updates": [a_row(update_number=7)]}, 3, NOW)
            self.assertEqual((page.number, page.more), (7, False))
