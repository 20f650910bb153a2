"""
Tests for L{sipxha.services.change_log}.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.change_log import ChangeLog
from sipxha.services.log_line import log_line
from tests.registry.rows import NOW, a_row


class ChangeLogTests(SynchronousTestCase):
    """
    Tests for L{ChangeLog}.
    """

    def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def lines(self) -> list[tuple[LogLevel, str]]:
        """
        What was written.
        """
        return [(event["log_level"], log_line(event)) for event in self.events]

    def test_a_line_says_what_became_of_whom(self) -> None:
        """
        And nothing about who it is that may.
        """
        row = a_row()
        ChangeLog().registered([row], [None], NOW)
        line = "registered: <sip:201@10.1.1.7:5060> of 201@example.com for 3600 s, Call-ID f00d@10.1.1.7"
        self.assertEqual(self.lines(), [(LogLevel.info, line)])

    def test_causes_are_told_apart_and_counted(self) -> None:
        """
        What was not there before is not removed.
        """
        log, live = ChangeLog("debug"), a_row()
        ended = a_row(expires=int(NOW) - 1)
        log.registered([live, live, live, ended, ended], [None, ended, live, live, None], NOW)
        log.changed([ended, ended._replace(contact="*")], "flow closed", NOW)
        counts = {cause: count for cause, count in log.changes.items() if count}
        self.assertEqual(counts, {"registered": 2, "refreshed": 1, "removed": 1, "flow closed": 1})
        causes = [(level.name, line.partition(":")[0]) for level, line in self.lines()]
        self.assertEqual(
            causes,
            [
                ("info", "registered"),
                ("info", "registered"),
                ("debug", "refreshed"),
                ("info", "removed"),
                ("info", "flow closed"),
            ],
        )

    def test_what_nobody_will_read_is_not_written(self) -> None:
        """
        But it is counted.
        """
        row = a_row()
        for level, refreshed, registered in (("debug", 1, 1), ("info", 0, 1), ("warn", 0, 0)):
            log = ChangeLog(level)
            self.events.clear()
            log.registered([row], [row], NOW)
            self.assertEqual(len(self.events), refreshed)
            self.events.clear()
            log.registered([row], [None], NOW)
            self.assertEqual(len(self.events), registered)
            self.assertEqual(sum(log.changes.values()), 2)
