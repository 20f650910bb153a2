"""
Tests for L{sipxha.sync.numbers}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sync.numbers import LARGEST, above, epoch_step, is_number


class EpochStepTests(SynchronousTestCase):
    """
    Tests for the numbers of a new life.
    """

    def test_seconds_fill_the_upper_half(self) -> None:
        """
        A number tells when its life began.
        """
        self.assertEqual(epoch_step(5, 1_700_000_000.9), 1_700_000_000 << 32)

    def test_a_clock_that_was_set_back_still_steps(self) -> None:
        """
        Numbers never go down, and the step is never nothing.
        """
        known = (1_700_000_000 << 32) + 7
        step = epoch_step(known, 1_600_000_000)
        self.assertEqual(step, (1_700_000_001 << 32) + (1 << 31))

    def test_a_step_meets_no_number_of_an_earlier_life(self) -> None:
        """
        Not the next one of the life that is known, nor the first ones of one that began a second later.
        """
        known = (1_700_000_000 << 32) + 7
        given = {known + 1, *((1_700_000_001 << 32) + count for count in range(100))}
        self.assertFalse(given & {above(known) + count for count in range(100)})

    @given(st.integers(0, LARGEST), st.floats(0, 1e12))
    def test_every_step_is_upwards_and_has_64_bits(self, current: int, now: float) -> None:
        """
        Also after 2038.
        """
        step = epoch_step(current, now)
        self.assertGreater(step, current)
        self.assertLess(step, 1 << 63)

    def test_what_a_peer_may_tell(self) -> None:
        """
        Nothing that could bring our numbering to its end.
        """
        for good in (0, 1, LARGEST):
            self.assertTrue(is_number(good))
        for bad in (-1, LARGEST + 1, True, "1", None, 1.0):
            self.assertFalse(is_number(bad))
