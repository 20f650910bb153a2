"""
The parts of a node that are open, closed in the opposite order.

What they are, and which needs which, is the business of whoever opens them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

STOP_LIMIT = 20.0
"""Seconds that each part has to flush and close."""


class Parts:
    """
    Those of one node.

    @ivar is_closing: Whether nothing is to be started any more.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self.is_closing = False
        self._reactor = reactor
        self._closers: list[Callable[[], Any]] = []

    def run(self, service: Service) -> None:
        """
        Start a part, and see to it that it is stopped.
        """
        self._closers.append(service.stopService)
        service.startService()

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """
        Have a part that only does one thing, at once and again and again.
        """
        timer = TimerService(seconds, call)
        timer.clock = self._reactor
        self.run(timer)

    def opened(self, close: Callable[[], Any]) -> None:
        """
        Remember how to close what was just opened.
        """
        self._closers.append(close)

    async def close(self) -> None:
        """
        Close all parts, the last opened first; each has L{STOP_LIMIT}.
        """
        self.is_closing = True
        while self._closers:
            closing = maybeDeferred(self._closers.pop())
            closing.addTimeout(STOP_LIMIT, self._reactor)
            closing.addErrback(self._not_closed)
            await closing

    def _not_closed(self, failure: Failure) -> None:
        # The others have something to flush, too.
        self._log.failure("a part of the node did not stop as it should", failure)
