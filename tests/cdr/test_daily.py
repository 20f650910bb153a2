"""
Tests for L{sipxha.cdr.daily}.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.daily import first_after

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Tehran", "UTC"])
TIMES = st.builds(time, st.integers(0, 23), st.integers(0, 59))
MOMENTS = st.floats(1_500_000_000, 1_900_000_000)


class DailyTests(SynchronousTestCase):
    """
    Tests for days of 23, 24 and 25 hours.
    """

    def moments(self, first: datetime, at: time, count: int) -> list[str]:
        """
        The next moments after one, in UTC.
        """
        told = []
        moment = first.timestamp()
        for _ in range(count):
            moment = first_after(moment, at, BERLIN)
            told.append(datetime.fromtimestamp(moment, UTC).strftime("%d %H:%M"))
        return told

    def test_an_hour_that_comes_twice_counts_once(self) -> None:
        """
        The first of the two.
        """
        self.assertEqual(
            self.moments(datetime(2026, 10, 24, 12, tzinfo=UTC), time(2, 30), 3),
            ["25 00:30", "26 01:30", "27 01:30"],
        )

    def test_an_hour_that_is_skipped_counts_all_the_same(self) -> None:
        """
        Once, and on that day.
        """
        self.assertEqual(
            self.moments(datetime(2026, 3, 28, 12, tzinfo=UTC), time(2, 30), 3),
            ["29 01:30", "30 00:30", "31 00:30"],
        )

    @given(MOMENTS, TIMES, ZONES)
    def test_each_date_has_one_moment(self, moment: float, at: time, name: str) -> None:
        """
        They follow each other by a day, give or take what a clock is changed by.
        """
        zone = ZoneInfo(name)
        one = first_after(moment, at, zone)
        two = first_after(one, at, zone)
        self.assertGreater(one, moment)
        self.assertLessEqual(one - moment, 25.01 * 3600)
        self.assertTrue(22.9 * 3600 <= two - one <= 25.1 * 3600)
        dates = [datetime.fromtimestamp(each, zone).date() for each in (one, two)]
        self.assertEqual(dates[1] - dates[0], timedelta(days=1))
