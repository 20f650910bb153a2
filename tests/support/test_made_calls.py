"""
Tests for L{tests.support.made_calls}.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.scrutiny import fault_of
from tests.support.made_calls import PAIR, in_order, made_calls


class MadeCallTests(SynchronousTestCase):
    """
    Tests for made-up calls.
    """

    def setUp(self) -> None:
        """
        Enough for all kinds.
        """
        self.calls = list(made_calls(Random(1), 3000))

    def test_all_sorts_of_calls_are_made(self) -> None:
        """
        Every outcome, and one in ten on both hosts.
        """
        outcomes = Counter(call.truth.termination.value for call in self.calls)
        self.assertEqual(set(outcomes), set("RICFTA"))
        self.assertEqual({call.judged.termination.value for call in self.calls}, set("CFTAU"))
        split = sum(len({seen.host for seen in call.seen}) == 2 for call in self.calls)
        self.assertTrue(240 < split < 480, split)

    def test_all_events_are_sound(self) -> None:
        """
        And the same seed gives the same.
        """
        again = [seen.event for call in made_calls(Random(1), 3000) for seen in call.seen]
        self.assertEqual(again, [seen.event for call in self.calls for seen in call.seen])
        self.assertEqual([event for event in again if fault_of(event)], [])

    def test_rows_come_in_order(self) -> None:
        """
        All of them, and each on its host.
        """
        rows = list(in_order(iter(self.calls)))
        self.assertEqual(len(rows), sum(len(call.seen) for call in self.calls))
        self.assertEqual(rows, sorted(rows, key=lambda seen: seen.logged))
        self.assertEqual({seen.host for seen in rows}, set(range(len(PAIR))))
