"""
Tests for L{sipxha.auth.security_events}.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.security_events import (
    AUTH_FAILED,
    LINES,
    LINES_PER_SOURCE,
    MALFORMED,
    SecurityEvents,
    plain_address,
)

NOW = 1_795_324_440.0

LINE = re.compile(
    r"(?P<time>\S+) sipxha event=(?P<event>\S+) source=(?P<source>\S+) transport=(?P<transport>\S+)"
    r' service=(?P<service>\S+) method=(?P<method>\S+) detail="(?P<detail>[^"]*)"'
)


class SecurityEventsTests(SynchronousTestCase):
    """
    Tests for what becomes a line.
    """

    def setUp(self) -> None:
        """
        Keep the lines.
        """
        self.lines: list[str] = []
        self.events = SecurityEvents()
        self.events.write = self.lines.append

    def test_a_line_has_its_fixed_form(self) -> None:
        """
        The time in UTC, and a hyphen for what is not known.
        """
        self.events.saw(AUTH_FAILED, "192.0.2.7", NOW, method="REGISTER", detail="201")
        self.assertEqual(
            self.lines,
            [
                "2026-11-22T05:14:00Z sipxha event=auth-failed source=192.0.2.7 transport=- service=-"
                ' method=REGISTER detail="201"'
            ],
        )

    @given(st.text(), st.text())
    def test_nobody_can_write_a_line_about_somebody_else(self, method: str, detail: str) -> None:
        """
        Whatever was sent, there is one line, of ASCII, and its words are where they belong.
        """
        lines: list[str] = []
        events = SecurityEvents()
        events.write = lines.append
        events.saw(MALFORMED, "192.0.2.7", NOW, transport="udp", method=method, detail=detail)
        (line,) = lines
        match = LINE.fullmatch(line)
        assert match is not None, line
        self.assertTrue(line.isascii() and line.isprintable(), line)
        self.assertEqual(
            (match["event"], match["source"], match["transport"]), (MALFORMED, "192.0.2.7", "udp")
        )
        self.assertLess(len(line), 2500)

    def test_an_address_is_as_a_firewall_knows_it(self) -> None:
        """
        And what is none makes no line, for nobody could be locked out by it.
        """
        for text, address in (
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("[2001:DB8::0:7]", "2001:db8::7"),
            ("fe80::1%eth0", "fe80::1"),
            ("phone.example.com", ""),
            ("", ""),
        ):
            self.assertEqual(plain_address(text), address)
        self.events.saw(MALFORMED, "phone.example.com", NOW)
        self.assertEqual((self.lines, self.events.counts[MALFORMED]), ([], 0))

    def test_our_own_nodes_are_in_no_line(self) -> None:
        """
        They pass on what phones send.
        """
        self.events.is_ours = lambda address: address == "10.1.1.50"
        self.events.saw(MALFORMED, "::ffff:10.1.1.50", NOW)
        self.assertEqual((self.lines, self.events.counts[MALFORMED]), ([], 0))

    def test_a_flood_fills_no_disk(self) -> None:
        """
        Lines are limited for each source, and for all together; all is counted.
        """
        for _ in range(1000):
            self.events.saw(MALFORMED, "192.0.2.7", NOW)
        self.assertEqual(len(self.lines), LINES_PER_SOURCE[1])
        for number in range(3000):
            self.events.saw(MALFORMED, f"10.{number // 250}.0.{number % 250}", NOW)
        self.assertEqual(len(self.lines), LINES[1])
        self.assertEqual(self.events.counts[MALFORMED], 4000)
        self.events.saw(MALFORMED, "192.0.2.7", NOW + 10)
        self.assertEqual(len(self.lines), LINES[1] + 1)

    def test_where_nobody_reads_events_are_counted(self) -> None:
        """
        For the metrics.
        """
        self.events.write = None
        self.events.saw(AUTH_FAILED, "192.0.2.7", NOW)
        self.assertEqual(self.events.counts[AUTH_FAILED], 1)
