"""
Tests for L{sipxha.services.pauses}.
"""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.pauses import LONG, THRESHOLDS, Pauses


class PausesTests(SynchronousTestCase):
    """
    Tests for L{Pauses}.
    """

    def setUp(self) -> None:
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        self.addCleanup(gc.enable)
        self.now = 0.0
        self.lasts = 0.0
        self.pauses = Pauses(self.clock)
        self.pauses.begin()
        self.addCleanup(self.pauses.end)

    def clock(self) -> float:
        """
        Each time that it is asked so much has passed.
        """
        self.now += self.lasts
        return self.now

    def test_it_comes_often_and_for_little(self) -> None:
        """
        As soon as the node has started, and not while it reads its rows.
        """
        self.assertFalse(gc.isenabled())
        self.pauses.settle()
        self.assertEqual((gc.isenabled(), gc.get_threshold()), (True, THRESHOLDS))

    def test_a_look_at_everything_that_took_long_was_the_last_at_that(self) -> None:
        """
        A short one is not, nor is one at what is new.
        """
        gc.collect()
        self.assertEqual(gc.get_freeze_count(), 0)
        self.lasts = 2 * LONG
        gc.collect(0)
        gc.collect(1)
        self.assertEqual(gc.get_freeze_count(), 0)
        kept = [[number] for number in range(100)]
        gc.collect()
        frozen = gc.get_freeze_count()
        self.assertGreater(frozen, len(kept))
        # It is freed as ever.
        kept.clear()
        self.assertLessEqual(gc.get_freeze_count(), frozen - 100)

    def test_what_is_there_when_it_settles_stays(self) -> None:
        """
        Whatever it takes.
        """
        self.pauses.settle()
        self.assertGreater(gc.get_freeze_count(), 10_000)
        self.assertLess(len(gc.get_objects()), 1000)
