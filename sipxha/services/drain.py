"""
Letting a node go without cutting anything off.

What is new is sent to the other nodes, and so is whoever asks whether the node
is ready; what has begun is waited for, and that peers have all that this node
knows.  Ending the node is for others.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import Logger

from sipxha.services.overview import Overview
from sipxha.sync.link import State

LOOK = 0.25
"""Seconds between two looks at what is left."""

QUIET = 1.0
"""Seconds without anything left, in which an ACK may still be on its way."""

LIMIT = 60.0
"""Seconds, unless the operator says otherwise: a phone rings for about as long."""

MOST_LIMIT = 3600


class Drain:
    """
    The end of one node's service.
    """

    _log = Logger()

    def __init__(self, reactor: Any, overview: Overview, limit: float = LIMIT) -> None:
        self._reactor = reactor
        self._overview = overview
        self._limit = limit

    async def run(self) -> dict[str, Any]:
        """
        Begin, and wait for what there is.

        @return: C{seconds} that it took, C{unanswered} requests that are cut
            off and C{behind}: the updates that Reachable peers still lack.
        """
        overview, reactor = self._overview, self._reactor
        began = reactor.seconds()
        overview.is_ready = False
        overview.is_draining = True
        for endpoint in overview.endpoints:
            endpoint.is_draining = True
        self._log.info("drains: what is new is answered 503, for {limit} s at most", limit=self._limit)
        quiet_since = None
        while True:
            now = reactor.seconds()
            unanswered, behind = self._unanswered(), self._behind()
            if unanswered or behind:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            is_quiet = quiet_since is not None and now - quiet_since >= QUIET
            if is_quiet or now - began >= self._limit:
                break
            await deferLater(reactor, LOOK)
        self._log.info(
            "drained: {unanswered} requests are cut off, peers lack {behind} updates",
            unanswered=unanswered,
            behind=behind,
        )
        return {"seconds": round(now - began, 1), "unanswered": unanswered, "behind": behind}

    def _unanswered(self) -> int:
        return sum(endpoint.unanswered for endpoint in self._overview.endpoints)

    def _behind(self) -> int:
        replication = self._overview.replication
        if replication is None:
            return 0
        states = replication.states()
        return sum(replication.lag(name)[0] for name, state in states.items() if state is State.REACHABLE)
