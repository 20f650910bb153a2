"""
How calls fare: what RFC 6076 makes its ratios and delays of.

Hears of each INVITE that the forking proxy lets in, and of each answer that
it sends back; decides nothing, and forgets a call with its final answer.
"""

from __future__ import annotations

from sipxha.services.durations import Durations
from sipxha.sip.message import Request

MOST = 10_000
"""Calls that are followed at a time; of more than that the oldest are not counted."""

ESTABLISHED, DECLINED, REDIRECTED, ABANDONED, FAILED = OUTCOMES = (
    *("established", "declined", "redirected"),
    *("abandoned", "failed"),
)
"""
How attempts end: with a 2xx; as the person who is called, or the phone, wants
it (RFC 6076 section 4.7); with a 3xx; by the caller, who gave up; otherwise.
"""

_DECLINED = frozenset((480, 486, 600, 603))

_CHALLENGES = frozenset((401, 407))
"""Whose answer is another attempt."""


class CallAttempts:
    """
    The attempts at calls of one proxy.

    @ivar outcomes: How many ended how.
    @ivar delays: From each INVITE to the first sign of the far end, ringing
        or a 2xx: the session request delay (RFC 6076 section 4.3.1).
    """

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.delays = Durations()
        # When each was let in; None when its far end was heard of.
        self._open: dict[Request, float | None] = {}

    def begun(self, request: Request, now: float) -> None:
        """
        An INVITE was let in.
        """
        calls = self._open
        calls[request] = now
        if len(calls) > MOST:
            del calls[next(iter(calls))]

    def answered(self, request: Request, status: int, now: float) -> None:
        """
        An answer goes back; after a final one there is nothing more to say.
        """
        calls = self._open
        if request not in calls:
            return
        if status < 200:
            began = calls[request]
            if status > 100 and began is not None:
                calls[request] = None
                self.delays.took(now - began)
            return
        began = calls.pop(request)
        if status < 300:
            if began is not None:
                self.delays.took(now - began)
            self.outcomes[ESTABLISHED] += 1
        elif status not in _CHALLENGES:
            self.outcomes[_outcome(status)] += 1


def _outcome(status: int) -> str:
    if status in _DECLINED:
        return DECLINED
    if status < 400:
        return REDIRECTED
    return ABANDONED if status == 487 else FAILED
