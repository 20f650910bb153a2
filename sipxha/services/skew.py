"""
What passes of the call resolver tell of the clocks of the hosts.

There are two sources: the events of calls that two hosts saw, whose causes
seem to follow their effects, and what each host says of the time when it is
asked.  The log hears of a pair of clocks when they are found to differ, and
again when the difference changes.
"""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.logger import Logger

from sipxha.services.call_resolver import PassReport

WORTH_TELLING = 1.0
"""Seconds; what is less is no news."""


class SkewLog:
    """
    The differences that are known.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], tuple[float, float]] = {}
        """By how much the first one's clock is ahead at least, as far as worth telling; and when that was seen."""

        self._clocks: dict[str, float] = {}
        """By how much each host's clock is ahead of this node's; less than 0: behind."""

        self._told: dict[str, float] = {}

    def tell(self, report: PassReport, now: float) -> None:
        """
        Take what a pass found that ended C{now}.
        """
        for host in report.hosts:
            if host.ahead is None:
                continue
            self._clocks[host.name] = host.ahead
            if self._is_news(host.name, host.ahead):
                self._log.warn(
                    "the clock of {host} differs by {seconds:+.1f} s from this node's",
                    host=host.name,
                    seconds=host.ahead,
                )
        for (ahead, behind), seconds in report.skews.items():
            if seconds < WORTH_TELLING:
                continue
            self._events.pop((behind, ahead), None)
            self._events[ahead, behind] = seconds, now
            if self._is_news(f"{ahead} {behind}", seconds):
                self._log.warn(
                    "the clock of {ahead} is at least {seconds:.1f} s ahead of that of {behind}",
                    ahead=ahead,
                    behind=behind,
                    seconds=seconds,
                )

    def shown(self) -> dict[str, object]:
        """
        Describe them for operators.
        """
        return {
            "by_clock": {host: round(seconds, 3) for host, seconds in self._clocks.items()},
            "by_events": [
                {"ahead": ahead, "behind": behind, "seconds": round(seconds, 3), "seen": shown_time(seen)}
                for (ahead, behind), (seconds, seen) in self._events.items()
            ],
        }

    def _is_news(self, pair: str, seconds: float) -> bool:
        """
        Whether a difference is another one than was told last, by more than a tenth.
        """
        told = self._told.get(pair, 0.0)
        if abs(seconds - told) < max(WORTH_TELLING, abs(told) / 10):
            return False
        self._told[pair] = seconds
        return True


def shown_time(seconds: float) -> str:
    """
    Write a moment as the console does.
    """
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
