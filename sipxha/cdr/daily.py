"""
The moments of something that happens once a day, by the clock on the wall.

Each date has one such moment, also when the clock is changed: a time that the
date has twice means the first, and one that it has not means as long after
midnight as if nothing had been changed.  What time it is, nobody here knows.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo


def first_after(moment: float, at: time, zone: tzinfo | None = None) -> float:
    """
    Find the next of the moments.

    @param moment: UTC seconds; the answer is greater.
    @param zone: Where the wall is; C{None} for the system's own zone.
    """
    today = datetime.fromtimestamp(moment, zone).date()
    # Zones have skipped whole days.
    days = (today + timedelta(days=number) for number in range(-1, 4))
    return min(due for due in (_due(day, at, zone) for day in days) if due > moment)


def _due(day: date, at: time, zone: tzinfo | None) -> float:
    return datetime.combine(day, at, zone).timestamp()
