"""
Tests for L{sipxha.services.drain}.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.drain import LOOK, QUIET, Drain
from sipxha.sync.link import State


class DrainTests(SynchronousTestCase):
    """
    Tests for L{Drain}, with a node that has something to do.
    """

    def setUp(self) -> None:
        """
        Make one with a request, a peer that lags and one that is gone.
        """
        self.clock = Clock()
        self.endpoint = SimpleNamespace(unanswered=1, is_draining=False)
        self.lags = {"there": 2, "gone": 9}
        states = {"there": State.REACHABLE, "gone": State.UNREACHABLE}
        replication = SimpleNamespace(states=lambda: states, lag=lambda name: (self.lags[name], 0.0))
        self.overview: Any = SimpleNamespace(
            is_ready=True, is_draining=False, endpoints=[self.endpoint], replication=replication
        )

    def drain(self, limit: float) -> Deferred[dict[str, Any]]:
        """
        Begin.
        """
        return Deferred.fromCoroutine(Drain(self.clock, self.overview, limit).run())

    def advance(self, seconds: float) -> None:
        """
        Let time pass as it does.
        """
        self.clock.pump([LOOK] * int(seconds / LOOK))

    def test_what_has_begun_is_waited_for(self) -> None:
        """
        And peers that can be reached; then a moment without anything.
        """
        drained = self.drain(60)
        self.assertEqual(
            (self.overview.is_ready, self.overview.is_draining, self.endpoint.is_draining),
            (False, True, True),
        )
        self.advance(5)
        self.endpoint.unanswered = 0
        self.advance(5)
        self.lags["there"] = 0
        self.advance(QUIET)
        self.assertNoResult(drained)
        self.clock.advance(LOOK)
        summary = self.successResultOf(drained)
        self.assertEqual((summary["unanswered"], summary["behind"]), (0, 0))

    def test_it_takes_no_longer_than_it_may(self) -> None:
        """
        What is left then is told.
        """
        drained = self.drain(3)
        self.advance(3)
        self.assertEqual(self.successResultOf(drained), {"seconds": 3.0, "unanswered": 1, "behind": 2})
