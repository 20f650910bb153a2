"""
Tests for L{sipxha.services.durations}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.durations import BOUNDS, Durations


class DurationsTests(SynchronousTestCase):
    """
    Tests for L{Durations}.
    """

    def test_a_time_on_a_bound_is_below_it(self) -> None:
        """
        As Prometheus wants it: C{le} is less or equal.
        """
        durations = Durations()
        for bound in BOUNDS:
            durations.took(bound)
        self.assertEqual(durations.counts, [1] * len(BOUNDS) + [0])

    def test_a_clock_that_was_set_back_takes_nothing_away(self) -> None:
        """
        It was done all the same, and a sum never falls.
        """
        durations = Durations()
        durations.took(2.0)
        durations.took(-5.0)
        self.assertEqual((sum(durations.counts), durations.counts[0], durations.total), (2, 1, 2.0))

    @given(st.lists(st.floats(0, 1e6)))
    def test_no_time_is_lost(self, times: list[float]) -> None:
        """
        Each is counted once, below the first bound that is not less.
        """
        durations = Durations()
        for each in times:
            durations.took(each)
        for place, bound in enumerate(BOUNDS):
            self.assertEqual(sum(durations.counts[: place + 1]), sum(each <= bound for each in times))
        self.assertEqual(sum(durations.counts), len(times))
