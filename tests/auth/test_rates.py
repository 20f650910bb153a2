"""
Tests for L{sipxha.auth.rates}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.rates import Rates

NOW = 1_700_000_000.0


class RatesTests(SynchronousTestCase):
    """
    Ten a second, twenty at once.
    """

    def setUp(self) -> None:
        """
        Nobody was heard yet.
        """
        self.rates = Rates(10, 20, remembered=3)

    def taken(self, source: str, count: int, now: float) -> int:
        """
        @return: how many of so many requests were not too many.
        """
        return sum(not self.rates.is_over(source, now) for _ in range(count))

    def test_a_burst_is_taken_and_then_what_drains(self) -> None:
        """
        What was refused counts for nothing; others are not concerned.
        """
        self.assertEqual(self.taken("a", 100, NOW), 20)
        self.assertEqual(self.taken("a", 100, NOW + 0.5), 5)
        self.assertEqual(self.taken("b", 100, NOW + 0.5), 20)
        self.assertEqual(self.taken("a", 100, NOW + 60), 20)

    def test_a_clock_that_was_set_back_shuts_nobody_out(self) -> None:
        """
        It begins anew.
        """
        self.taken("a", 20, NOW)
        self.assertEqual(self.taken("a", 100, NOW - 3600), 20)

    def test_only_the_latest_are_remembered(self) -> None:
        """
        Whoever comes from a million addresses takes no memory.
        """
        for number in range(10):
            self.taken(str(number), 20, NOW)
        self.assertEqual(len(self.rates), 3)
        self.assertEqual(self.taken("9", 1, NOW), 0)
        self.assertEqual(self.taken("0", 1, NOW), 1)
