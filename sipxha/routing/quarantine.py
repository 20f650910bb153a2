"""
Which places have failed of late, so that a dead one costs only the first call.

A place that failed is tried last while its quarantine lasts; it is never left
out, for it may be the only one.  Nothing here decides what a failure is.
"""

from __future__ import annotations

from collections.abc import Sequence

from sipxha.sip.hop import Hop

LIMIT = 10_000
"""How many places are remembered; the oldest failure is forgotten first."""


class Quarantine:
    """
    The places that failed, each until some time.

    When the time is over one request tries the place as its first choice; the
    others go on avoiding it until that one was answered.  So a place that
    stays dead costs one request per quarantine, however many there are.
    """

    __slots__ = ("_seconds", "_until")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order of the failures, so that the first is the oldest.
        self._until: dict[tuple[str, str, int], float] = {}

    def failed(self, hop: Hop, now: float) -> None:
        """
        Nothing came back from C{hop}, or only that it cannot serve.
        """
        self._until.pop(hop[:3], None)
        self._until[hop[:3]] = now + self._seconds
        if len(self._until) > LIMIT:
            del self._until[next(iter(self._until))]

    def answered(self, hop: Hop) -> None:
        """
        C{hop} is alive.
        """
        if self._until:
            self._until.pop(hop[:3], None)

    def order(self, hops: Sequence[Hop], now: float) -> list[Hop]:
        """
        Put the places that are in quarantine last; otherwise the order stays.
        """
        if not self._until:
            return list(hops)
        good = [hop for hop in hops if self._until.get(hop[:3], 0.0) <= now]
        if good and good[0][:3] in self._until:
            # This request finds out for all others.
            self.failed(good[0], now)
        avoided = [hop for hop in hops if hop not in good]
        return good + avoided
