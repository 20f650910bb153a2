"""
Tests for L{sipxha.services.loop_lag}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.loop_lag import REMEMBERED, LoopLag


class LoopLagTests(SynchronousTestCase):
    """
    Tests for L{LoopLag}.
    """

    def test_the_longest_of_the_last_minute_is_told(self) -> None:
        """
        A tick that comes early, after one that was late, is none.
        """
        clock = Clock()
        lag = LoopLag(clock.seconds)
        for seconds in (0, 1, 1.5, 0.5, 1.25):
            clock.advance(seconds)
            lag.tick()
        self.assertEqual(lag.longest, 0.5)

    def test_it_is_forgotten_after_a_minute(self) -> None:
        """
        So that an alarm ends.
        """
        clock = Clock()
        lag = LoopLag(clock.seconds)
        self.assertEqual(lag.longest, 0)
        lag.tick()
        clock.advance(5)
        lag.tick()
        for _ in range(REMEMBERED):
            self.assertEqual(lag.longest, 4)
            clock.advance(1)
            lag.tick()
        self.assertEqual(lag.longest, 0)
