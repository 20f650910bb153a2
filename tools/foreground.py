"""
Runs the main function of a tool that starts nodes and clients, so that Ctrl-C
and SIGTERM let it clean up as any other end does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

reactor: Any = _reactor

INTERRUPTED = 130
"""The exit status of what was ended by Ctrl-C, as shells have it."""


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """
    Run C{main} in the reactor until it returns or is interrupted.

    An interrupted main function gets a L{CancelledError} where it waits, and the
    reactor turns until its C{finally} is through.

    @return: the exit status.
    """
    statuses: list[int] = []
    running: list[Deferred[None]] = []
    stopping = False

    def ended(result: int | Failure) -> None:
        if not isinstance(result, Failure):
            statuses.append(result)
        elif result.check(CancelledError) and stopping:
            statuses.append(INTERRUPTED)
        else:
            result.printTraceback()
            statuses.append(1)
        if not stopping:
            reactor.stop()

    def begin() -> None:
        running.append(Deferred.fromCoroutine(main()).addBoth(ended))

    def interrupted() -> Deferred[None] | None:
        nonlocal stopping
        stopping = True
        if not running or statuses:
            return None
        running[0].cancel()
        return running[0]

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", interrupted)
    reactor.run()
    return statuses[0] if statuses else INTERRUPTED
