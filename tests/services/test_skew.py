"""
Tests for L{sipxha.services.skew}.
"""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.call_resolver import PassReport
from sipxha.services.cse_hosts import HostReport
from sipxha.services.skew import SkewLog, shown_time

NOW = 1_700_000_000.0


class SkewLogTests(SynchronousTestCase):
    """
    Tests for what the log hears, and when.
    """

    def setUp(self) -> None:
        """
        Listen.
        """
        self.log = SkewLog()
        self.lines: list[str] = []
        observer = cast(ILogObserver, self.note)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def note(self, event: LogEvent) -> None:
        """
        Keep a line.
        """
        self.lines.append(str(event["log_format"]).format(**event))

    def tell(self, seconds: float, ahead: float | None = None) -> None:
        """
        Tell of a pass that found a difference by events, and one by the clock.
        """
        report = PassReport([HostReport("sipx2", ahead=ahead)], skews={("a", "b"): seconds})
        self.log.tell(report, NOW)

    def test_a_change_is_told_once(self) -> None:
        """
        What differs by less than a tenth is no change.
        """
        for seconds in (40.0, 40.0, 43.0, 80.0, 80.5):
            self.tell(seconds)
        begin = "the clock of a is at least"
        self.assertEqual(
            self.lines, [f"{begin} 40.0 s ahead of that of b", f"{begin} 80.0 s ahead of that of b"]
        )

    def test_less_than_a_second_is_no_news(self) -> None:
        """
        By the clock it is shown all the same.
        """
        self.tell(0.4, -0.25)
        self.assertEqual(self.lines, [])
        self.assertEqual(self.log.shown(), {"by_clock": {"sipx2": -0.25}, "by_events": []})

    def test_a_host_s_own_clock_is_told_with_its_direction(self) -> None:
        """
        When it goes wrong, and when it is set right.
        """
        for ahead in (-40.0, -40.2, 0.0):
            self.tell(0.0, ahead)
        self.assertEqual(
            self.lines,
            [
                "the clock of sipx2 differs by -40.0 s from this node's",
                "the clock of sipx2 differs by +0.0 s from this node's",
            ],
        )

    def test_of_two_that_swap_the_last_is_shown(self) -> None:
        """
        A clock is not ahead and behind.
        """
        self.tell(40.0)
        self.log.tell(PassReport([], skews={("b", "a"): 3.0}), NOW + 1)
        self.assertEqual(
            self.log.shown()["by_events"],
            [{"ahead": "b", "behind": "a", "seconds": 3.0, "seen": shown_time(NOW + 1)}],
        )
