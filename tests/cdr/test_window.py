"""
Tests for L{sipxha.cdr.window}.
"""

from datetime import timedelta, timezone
from zoneinfo import ZoneInfo

from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.window import EmptyWindow, NotAMoment, Window, moment, window

_NEW_YEAR = 1704067200.0  # 2024-01-01T00:00:00Z


class MomentTests(SynchronousTestCase):
    """
    Tests for moments as people write them.
    """

    def test_a_zone_in_the_text_counts(self) -> None:
        """
        In ISO 8601, RFC 2822 and HTTP dates.
        """
        elsewhere = timezone(timedelta(hours=5))
        for text in (
            "2024-01-01T00:00Z",
            "2024-01-01T01:00:00.000+01:00",
            "20240101T000000Z",
            "Mon, 01 Jan 2024 00:00:00 GMT",
            "1 Jan 2024 02:00:00 +0200",
            "Mon, 01 Jan 2024 00:00:00 -0000",
        ):
            self.assertEqual(moment(text, elsewhere), _NEW_YEAR, text)

    def test_local_time_without_one(self) -> None:
        """
        Summer and winter.
        """
        berlin = ZoneInfo("Europe/Berlin")
        self.assertEqual(moment("2024-01-01", berlin), _NEW_YEAR - 3600)
        self.assertEqual(moment("1 Jan 2024 01:00", berlin), _NEW_YEAR)
        self.assertEqual(moment("2024-07-01 02:00", berlin), 1719792000.0)

    def test_what_is_no_moment_is_refused(self) -> None:
        """
        With the text that was given.
        """
        for text in ("", "yesterday", "2024-13-01", "24:00", "Mon, 42 Jan 2024 00:00:00 GMT"):
            self.assertIn(repr(text), str(self.assertRaises(NotAMoment, moment, text)))


class WindowTests(SynchronousTestCase):
    """
    Tests for windows of time.
    """

    def test_either_edge_may_be_open(self) -> None:
        """
        Or both.
        """
        self.assertEqual(window("2024-01-01T00:00Z", None), Window(_NEW_YEAR, None))
        self.assertEqual(window(None, "2024-01-01T00:00Z"), Window(None, _NEW_YEAR))
        self.assertEqual(window(None, None), Window())

    def test_it_must_not_end_before_it_starts(self) -> None:
        """
        A slip that would resolve nothing and say that all is done.
        """
        self.assertRaises(EmptyWindow, window, "2024-01-02T00:00Z", "2024-01-01T00:00Z")
