"""
Tests for L{sipxha.services.acknowledgement}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.acknowledgement import PATIENCE, Acknowledgement


class AcknowledgementTests(SynchronousTestCase):
    """
    Tests for answers that wait for a peer.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.waiting = Acknowledgement(self.clock)

    def wait(self, number: int) -> Deferred[None]:
        answer = self.waiting.wait(number, True)
        assert answer is not None
        return answer

    def test_an_answer_waits_until_a_peer_has_it(self) -> None:
        """
        One that has more has this too.
        """
        first, second, third = (self.wait(number) for number in (5, 6, 7))
        self.waiting.acknowledged(6)
        self.assertTrue(first.called and second.called and not third.called)
        self.waiting.acknowledged(7)
        self.assertTrue(third.called)
        self.clock.advance(2 * PATIENCE)
        self.assertEqual((self.waiting.missed, self.clock.getDelayedCalls()), (0, []))

    def test_what_a_peer_has_already_does_not_wait(self) -> None:
        """
        The push overlaps the commit, and may be sooner.
        """
        self.waiting.acknowledged(6)
        self.waiting.acknowledged(3)
        self.assertIsNone(self.waiting.wait(6, True))
        self.assertEqual(self.waiting.missed, 0)

    def test_without_a_peer_the_own_disk_is_enough(self) -> None:
        """
        At once, and it is counted.
        """
        self.assertIsNone(self.waiting.wait(6, False))
        self.assertEqual(self.waiting.missed, 1)

    def test_no_answer_waits_long(self) -> None:
        """
        Each has its own time.
        """
        first = self.wait(5)
        self.clock.advance(PATIENCE / 2)
        second = self.wait(6)
        self.clock.advance(PATIENCE / 2)
        self.assertEqual((first.called, second.called, self.waiting.missed), (True, False, 1))
        self.clock.advance(PATIENCE / 2)
        self.assertEqual((second.called, self.waiting.missed), (True, 2))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_none_is_left_at_the_end(self) -> None:
        """
        The disk has it.
        """
        answer = self.wait(5)
        self.waiting.stop()
        self.assertTrue(answer.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
