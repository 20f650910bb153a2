"""
The endpoints of one process, which hand each other requests without a socket.

What passes is what would have passed over TCP or UDP on this machine: in
order, later and never from within the sender, answered the same way back, and
only to ports that are bound at that moment.  A request is given as it is, so
that it is neither printed nor read again, nor copied; whose it is then, and
what may be answered to it, is said in L{sipxha.net.handover}.  TLS is left to
sockets: who it is for has to be proved.

Who can answer a request at once, and keeps nothing of it, is asked in place of
being handed it (RFC 3261 section 8.2.7).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from sipxha.net.handover import PATIENCE, Handover, Place, Remains, Sender, Taker, take_off_via
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.transaction.resting import Resting
from sipxha.transaction.vocabulary import AckArrived, ServerKey

HANDED = -1
"""The connection of a L{Flow} from a sibling; real ones count from 1."""

MOST = 64
"""Words that are passed on before the sockets have their turn again: who goes in circles blocks nobody."""


class Sibling(Sender, Taker, Protocol):
    """
    One of them.
    """

    at_once: Callable[[Request, Flow], Response | None] | None
    """What can answer a request at once, if anything can."""

    def answer_at_once(self, request: Request, flow: Flow) -> Response | None:
        """
        Answer a request that needs no transaction, if it is one.

        @param request: As it would be sent, without a Via of its sender;
            neither kept nor changed.
        """

    def ack_handed(self, arrived: AckArrived) -> None:
        """
        Take the ACK of a 2xx.
        """


class Siblings:
    """
    Who is there, what is on its way, and what is not answered yet.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._places: dict[Place, Sibling] = {}
        self._bound: frozenset[object] = frozenset()
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._is_held = False
        self._is_due = False
        """Whether the reactor will come back to what waits."""

        self._handovers: dict[ServerKey, Handover] = {}
        """Those that wait for an answer, and those with a 2xx that were not left yet."""

        self._resting = Resting()
        """What is left of the others with a 2xx: who sent the INVITE, and its remains."""

        self._expiry: IDelayedCall | None = None

    # Who is there

    def add(self, transport: str, address: str, port: int, sibling: Sibling) -> None:
        """
        A port was bound.
        """
        if transport != "tls":
            self._places[transport, address, port] = sibling
            self._bound = frozenset(self._places.values())

    def remove(self, sibling: Sibling) -> None:
        """
        All ports of somebody are given back: what it has not answered by now,
        it never will.
        """
        self._places = {place: each for place, each in self._places.items() if each is not sibling}
        self._bound = frozenset(self._places.values())
        for handover in list(self._handovers.values()):
            if handover.taker is sibling:
                handover.fail(503)
        if not self._places and self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def is_bound(self, sibling: object) -> bool:
        """
        Whether somebody has ports.
        """
        return sibling in self._bound

    def at(self, hop: Hop | Flow) -> Sibling | None:
        """
        Who of us a request to C{hop} would be for; a flow leads to a phone.
        """
        return self._places.get((hop.transport, hop.address, hop.port)) if isinstance(hop, Hop) else None

    def unanswered(self, sibling: Sibling) -> int:
        """
        How many requests somebody was handed and has not answered.
        """
        return sum(1 for each in self._handovers.values() if each.is_open and each.taker is sibling)

    # What is on its way

    def pass_on(self, act: Callable[[Any], None], what: Any) -> None:
        """
        Call C{act} with C{what}, later and after all that was passed on before.
        """
        if not self._is_held:
            self._see_later()
        self._waiting.append((act, what))

    def hold(self) -> bool:
        """
        Somebody begins with a message from a socket, and will L{release} what
        comes of it when he is done: a turn of the reactor for each message
        costs as much as some messages.

        @return: Whether he is to; if not, somebody else will.
        """
        if self._is_held:
            return False
        self._is_held = True
        return True

    def release(self) -> None:
        """
        Let everybody have what waits, and what comes of it.
        """
        self._deliver(MOST)

    def _see_later(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        # In a flood a turn is long, and what has gathered in it must not gather for ever.
        self._is_due = False
        self._deliver(max(len(self._waiting), MOST))

    def _deliver(self, most: int) -> None:
        self._is_held = True
        waiting = self._waiting
        while waiting and most:
            most -= 1
            act, what = waiting.popleft()
            try:
                act(what)
            except Exception:
                # As with what comes from a socket: the others are owed theirs.
                self._log.failure("a message of a sibling was not taken")
        self._is_held = False
        if waiting:
            self._see_later()

    # What is not answered yet

    def opened(self, handover: Handover) -> None:
        """
        An answer is waited for: to an INVITE for as long as it takes, which is
        the transaction user's to say (timer C).
        """
        self._handovers[handover] = handover
        if handover.method == "INVITE":
            handover.deadline = inf
        else:
            self._wait_for(handover)

    def accepted(self, handover: Handover) -> None:
        """
        Further 2xx of an INVITE may follow for a while.
        """
        self._wait_for(handover)

    def left(self, handover: Handover, sender: Place, remains: Remains) -> None:
        """
        Its sender wants no more of them than that his transaction user is told
        together with this.
        """
        del self._handovers[handover]
        self._resting.keep(handover, PATIENCE, self._reactor.seconds(), (sender, remains))

    def closed(self, handover: Handover) -> None:
        """
        Nothing more can come.
        """
        del self._handovers[handover]

    def respond_late(self, key: ServerKey, response: Response) -> Sender | None:
        """
        Answer an INVITE with a further 2xx, of which the taker has kept
        nothing but this key.

        @return: Who will hear of it, if anybody.
        """
        handover = self._handovers.get(key)
        if handover is not None:
            return handover.sender if handover.respond(response) else None
        kept = self._resting.find(key)
        sender = None if kept is None else self._places.get(kept[0])
        if sender is not None and 200 <= response.status < 300 and take_off_via(response, key):
            self.pass_on(self.answered_late, (key, response))
            return sender
        return None

    def answered_late(self, what: tuple[ServerKey, Response]) -> None:
        """
        A further 2xx comes to who had left its INVITE.
        """
        key, response = what
        kept = self._resting.find(key)
        if kept is not None:
            place, remains = kept
            sender = self._places.get(place)
            if sender is not None:
                self._resting.replace(key, (place, sender.answered_late(remains, response)))

    def _wait_for(self, handover: Handover) -> None:
        handover.deadline = self._reactor.seconds() + PATIENCE
        if self._expiry is None:
            self._expiry = self._reactor.callLater(PATIENCE, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now = self._reactor.seconds()
        for _ in self._resting.due(now):
            pass
        resting = self._resting.next_deadline()
        soonest = inf if resting is None else resting
        for handover in list(self._handovers.values()):
            if handover.deadline <= now:
                handover.expire()
            elif handover.deadline < soonest:
                soonest = handover.deadline
        if soonest != inf:
            self._expiry = self._reactor.callLater(soonest - now, self._expire)
