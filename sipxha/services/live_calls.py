"""
The calls of the whole cluster at this moment, for whoever asks this node.

Each node tells from memory what its own proxies have seen, so no database need
be up; a node that does not answer, or is too old to, is named as missing.  An
answer is kept for a second: however often somebody asks, peers are asked once
in that time.  What a live call is, L{sipxha.cdr.live} knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.live import LiveCall, LiveCalls, live_calls
from sipxha.errors import SipxhaError
from sipxha.sync import rpc, wire

PATIENCE = 2.0
"""Seconds for the answer of a peer."""

LIFE = 1.0
"""Seconds for which an answer is good."""

Ask = Callable[[str], "Deferred[list[CallStateEvent]]"]
"""Asks a peer, by its name."""


class ClusterCalls:
    """
    What all nodes have seen of calls that are not over.
    """

    def __init__(
        self, reactor: IReactorTime, own: LiveCalls | None, peers: Callable[[], Iterable[str]], ask: Ask
    ) -> None:
        """
        @param own: C{None} on a node that logs no calls.
        """
        self._reactor = reactor
        self._own = own
        self._peers = peers
        self._ask = ask
        self._asking: Deferred[None] | None = None
        self._waiting: list[Deferred[dict[str, Any]]] = []
        self._answer: dict[str, Any] = {}
        self._good_until = float("-inf")

    def tell(self) -> Deferred[dict[str, Any]]:
        """
        Tell the calls.

        @return: C{calls}, a row for each, and C{missing}: why a node's are not among them, by its name.
        """
        told: Deferred[dict[str, Any]] = Deferred()
        if self._reactor.seconds() < self._good_until:
            told.callback(self._answer)
            return told
        self._waiting.append(told)
        if self._asking is None:
            self._asking = Deferred.fromCoroutine(self._gather())
            self._asking.addBoth(self._told)
        return told

    async def _gather(self) -> None:
        names = list(self._peers())
        asked = [self._ask(name).addTimeout(PATIENCE, self._reactor) for name in names]
        events: list[CallStateEvent] = []
        missing: dict[str, str] = {}
        answers: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
        for name, (is_good, answer) in zip(names, answers, strict=True):
            if is_good:
                events += answer
            else:
                missing[name] = _reason(answer)
        now = self._reactor.seconds()
        if self._own is not None:
            events += self._own.told(now)
        self._answer = {"calls": [_row(call, now) for call in live_calls(events, now)], "missing": missing}
        self._good_until = now + LIFE

    def _told(self, result: Failure | None) -> None:
        self._asking = None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if isinstance(result, Failure):
                each.errback(result)
            else:
                each.callback(self._answer)


def _reason(failure: Failure) -> str:
    failure.trap(SipxhaError, TimeoutError)
    if isinstance(failure.value, wire.Fault) and failure.value.code == rpc.UNKNOWN_METHOD:
        return "it is older than this node"
    if failure.check(TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    return failure.getErrorMessage()[:500]


def _row(call: LiveCall, now: float) -> dict[str, Any]:
    row = call._asdict()
    since = call.connect_time
    return row | {
        "start_time": _time(call.start_time),
        "connect_time": _time(since),
        "duration": None if since is None else round(max(0.0, now - since), 3),
        "observers": list(call.observers),
    }


def _time(moment: float | None) -> str | None:
    if moment is None:
        return None
    told = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")
