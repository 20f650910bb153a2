"""
Tests for L{sipxha.services.parts}.
"""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.parts import STOP_LIMIT, Parts


class PartsTests(SynchronousTestCase):
    """
    Tests for what is closed, and in which order.
    """

    def setUp(self) -> None:
        """
        Nothing is open.
        """
        self.clock = Clock()
        self.parts = Parts(self.clock)
        self.closed: list[str] = []

    def close(self) -> Deferred[None]:
        """
        Close all parts.
        """
        return Deferred.fromCoroutine(self.parts.close())

    def test_the_last_is_closed_first(self) -> None:
        """
        Services and what else was opened, each once.
        """
        service = Service()
        self.parts.opened(lambda: self.closed.append(f"first, with the service {bool(service.running)}"))
        self.parts.run(service)
        self.assertTrue(service.running)
        self.parts.opened(lambda: self.closed.append(f"last, with the service {bool(service.running)}"))
        for _ in range(2):
            self.successResultOf(self.close())
        self.assertEqual(self.closed, ["last, with the service True", "first, with the service False"])

    def test_nothing_is_started_while_parts_close(self) -> None:
        """
        Whoever is late can see that.
        """
        self.parts.opened(lambda: self.closed.append(str(self.parts.is_closing)))
        self.assertFalse(self.parts.is_closing)
        self.successResultOf(self.close())
        self.assertEqual(self.closed, ["True"])

    def test_what_is_done_again_and_again_ends(self) -> None:
        """
        At once, then at intervals, then not any more.
        """
        self.parts.every(2.0, lambda: self.closed.append("done"))
        self.clock.pump([2.0, 2.0])
        self.assertEqual(len(self.closed), 3)
        self.successResultOf(self.close())
        self.clock.advance(10.0)
        self.assertEqual(len(self.closed), 3)

    def test_a_part_that_fails_or_hangs_keeps_nobody_open(self) -> None:
        """
        It is logged, and the others are closed.
        """

        def fail() -> None:
            raise ValueError("no")

        self.parts.opened(lambda: self.closed.append("first"))
        self.parts.opened(fail)
        self.parts.opened(Deferred[None])
        closing = self.close()
        self.assertNoResult(closing)
        self.clock.advance(STOP_LIMIT)
        self.successResultOf(closing)
        self.assertEqual(self.closed, ["first"])
        self.assertEqual(len(self.flushLoggedErrors()), 2)
