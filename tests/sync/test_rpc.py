"""
Tests for L{sipxha.sync.rpc}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sync import rpc
from sipxha.sync.wire import I8, Fault


class AnswerTests(SynchronousTestCase):
    """
    Tests for what all dialects share.
    """

    def test_the_caller_is_in_lower_case(self) -> None:
        """
        And must be there.
        """
        self.assertEqual(rpc.caller_of(["SIPX1.example.com", 5]), "sipx1.example.com")
        missing: list[list[Any]] = [[], [""], [5], [[]]]
        for params in missing:
            fault = self.assertRaises(Fault, rpc.caller_of, params)
            self.assertEqual(fault.code, rpc.INVALID_PARAMETER)

    def test_answers_that_are_no_number_are_malformed(self) -> None:
        """
        The peer is of another kind.
        """
        self.assertEqual(rpc.number_answered(I8(7)), 7)
        numbers: list[Any] = [None, "1", True, -1, [], {}]
        for value in numbers:
            self.assertRaises(rpc.Malformed, rpc.number_answered, value)
