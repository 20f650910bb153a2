"""
Tests for L{sipxha.services.log_line}.
"""

from __future__ import annotations

import json

from twisted.logger import LogEvent, Logger
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.log_line import json_entry, log_line


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


class JsonEntryTests(SynchronousTestCase):
    """
    Tests for an event as JSON.
    """

    def setUp(self) -> None:
        """
        Make a log that is kept as JSON.
        """
        self.entries: list[str] = []

        def keep(event: LogEvent) -> None:
            self.entries.append(json_entry(event))

        self.log = Logger("sipxha.test", observer=keep)  # type: ignore[arg-type]

    def test_fields_have_one_name_in_all_lines(self) -> None:
        """
        Beside the text, which says the same.
        """
        self.log.warn(
            "{peer}: {identity}, {callid}, {lag:.1f}", peer="sipx2", identity="201@x", callid="a@b", lag=1.25
        )
        entry = json.loads(self.entries[0])
        self.assertRegex(entry.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            entry,
            {
                "level": "warn",
                "logger": "sipxha.test",
                "message": "sipx2: 201@x, a@b, 1.2",
                "peer": "sipx2",
                "aor": "201@x",
                "call_id": "a@b",
                "lag": 1.25,
            },
        )

    def test_an_entry_is_one_line_of_ascii_whatever_strangers_send(self) -> None:
        """
        And what they send is in it as it came.
        """
        text = "a\r\n\x1b[2J\x85\u2028\udcff\u00e9"
        self.log.info("from {who}", who=text)
        (entry,) = self.entries
        self.assertEqual(entry.count("\n"), 1)
        self.assertTrue(entry.isascii() and entry[:-1].isprintable(), entry)
        self.assertEqual(json.loads(entry)["who"], text.replace("\udcff", "\\udcff"))

    def test_a_traceback_is_a_field(self) -> None:
        """
        Of many lines in one.
        """
        try:
            raise ValueError("no value")
        except ValueError:
            self.log.failure("a call failed")
        entry = json.loads(self.entries[0])
        self.assertEqual((entry["level"], entry["message"]), ("critical", "a call failed"))
        self.assertTrue(entry["traceback"].endswith("no value"), entry)
