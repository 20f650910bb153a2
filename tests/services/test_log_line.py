"""
Tests for L{sipxha.services.log_line}.
"""

from __future__ import annotations

from twisted.logger import LogEvent, Logger
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.log_line import log_line


class LogLineTests(SynchronousTestCase):
    """
    Tests for the text of an event.
    """

    def setUp(self) -> None:
        """
        Make a log that is kept as text.
        """
        self.lines: list[str] = []

        def keep(event: LogEvent) -> None:
            self.lines.append(log_line(event))

        self.log = Logger(observer=keep)  # type: ignore[arg-type]

    def test_what_strangers_send_stays_in_its_line(self) -> None:
        """
        Control characters and broken text are shown, not obeyed.
        """
        self.log.info("from {who}", who="a\r\n\x1b[2J\x85\u2028\udcff")
        self.assertEqual(self.lines, [r"from a\x0d\x0a\x1b[2J\x85\x2028\udcff"])

    def test_a_traceback_is_indented_below_its_event(self) -> None:
        """
        So that every event begins where lines begin.
        """
        try:
            raise ValueError("no\nvalue")
        except ValueError:
            self.log.failure("a call failed")
        first, *others = self.lines[0].splitlines()
        self.assertEqual(first, "a call failed")
        self.assertTrue(all(line.startswith("\t") for line in others), others)
        self.assertIn("ValueError", others[-2] + others[-1])
