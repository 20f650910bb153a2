"""
The process of a client: what it says, and how it ended.

Knows nothing of what it does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure


class Client(ProcessProtocol):
    """
    The process of a client.
    """

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()
        """Fires with the exit status, or a number below zero for a signal."""

        self.is_running = True
        self.pid = 0
        self.output = ""

    def connectionMade(self) -> None:
        """
        Nobody types anything.
        """
        transport = cast(Any, self.transport)
        self.pid = transport.pid
        transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """
        Keep what it says.
        """
        self.output += data.decode(errors="replace")

    def errReceived(self, data: bytes) -> None:
        """
        Keep what it complains of.
        """
        self.outReceived(data)

    def processEnded(self, reason: Failure) -> None:
        """
        Tell who waits.
        """
        self.is_running = False
        ended: Any = reason.value
        if not self.ended.called:
            self.ended.callback(ended.exitCode if ended.exitCode is not None else -(ended.signal or 0))

    def end(self, signal: str = "KILL") -> None:
        """
        End it if it runs.
        """
        if self.is_running:
            with suppress(ProcessExitedAlready):
                cast(IProcessTransport, self.transport).signalProcess(signal)
