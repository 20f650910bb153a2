"""
Answers that wait until a peer has what they tell of.

With C{acknowledge="peer"} a REGISTER is answered when a second node has it on
its disk, so that what was answered survives the loss of a whole server.  A
phone never waits long for that: after L{PATIENCE}, or when no peer is
Reachable, the own disk is enough, and it is counted (design 5.6).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

PATIENCE = 0.15
"""Seconds after the own commit."""


class _Waiting(NamedTuple):
    number: int
    until: float
    answer: Deferred[None]


class Acknowledgement:
    """
    What waits, in the order of update numbers.

    @ivar missed: How many answers left although no peer had acknowledged.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self.missed = 0
        self._reactor = reactor
        self._last = 0
        self._waiting: deque[_Waiting] = deque()
        self._timer: IDelayedCall | None = None

    def wait(self, number: int, is_any_reachable: bool) -> Deferred[None] | None:
        """
        The update is on the own disk.

        @return: Fires when it is on another, or when it takes too long;
            C{None} when there is nothing to wait for.
        """
        if number <= self._last:
            return None
        if not is_any_reachable:
            self.missed += 1
            return None
        waiting = _Waiting(number, self._reactor.seconds() + PATIENCE, Deferred())
        self._waiting.append(waiting)
        if self._timer is None:
            self._timer = self._reactor.callLater(PATIENCE, self._give_up)
        return waiting.answer

    def acknowledged(self, number: int) -> None:
        """
        A peer has all updates up to C{number}.
        """
        self._last = max(self._last, number)
        waiting = self._waiting
        # Commits end in the order of their numbers, but for those that failed.
        while waiting and waiting[0].number <= self._last:
            waiting.popleft().answer.callback(None)

    def stop(self) -> None:
        """
        Let all go.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            self._waiting.popleft().answer.callback(None)

    def _give_up(self) -> None:
        """
        The oldest has waited long enough.
        """
        self._timer = None
        now = self._reactor.seconds()
        while self._waiting and self._waiting[0].until <= now:
            self.missed += 1
            self._waiting.popleft().answer.callback(None)
        if self._waiting:
            self._timer = self._reactor.callLater(self._waiting[0].until - now, self._give_up)
