"""
The endpoints of one process, which hand each other messages without a socket.

What passes is what would have passed over TCP or UDP on this machine: in
order, later and never from within the sender, answered the same way back, and
only to ports that are bound at that moment.  A message is given as it is, a
copy, so that it is neither printed nor read again.  TLS is left to sockets:
who it is for has to be proved.

Who can answer a request at once, and keeps nothing of it, is asked in place of
being sent a message (RFC 3261 section 8.2.7).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Message, Request, Response

if TYPE_CHECKING:
    from sipxha.net.transports import Receiver

HANDED = -1
"""The connection of a L{Flow} from a sibling; real ones count from 1."""

MOST = 64
"""Messages that are delivered before the sockets have their turn again: who goes in circles blocks nobody."""


class Siblings:
    """
    Who is there, and what is on its way.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._places: dict[tuple[str, str, int], Receiver] = {}
        self._waiting: deque[tuple[tuple[str, str, int], Message, Flow]] = deque()
        self._is_held = False
        self._is_due = False
        """Whether the reactor will come back to what waits."""

    def add(self, transport: str, address: str, port: int, receiver: Receiver) -> None:
        """
        A port was bound.
        """
        if transport != "tls":
            self._places[transport, address, port] = receiver

    def remove(self, receiver: Receiver) -> None:
        """
        All ports of somebody are given back.
        """
        self._places = {place: each for place, each in self._places.items() if each is not receiver}

    def has(self, hop: Hop | Flow) -> bool:
        """
        Whether a request to C{hop} would be for one of us.
        """
        return isinstance(hop, Hop) and (hop.transport, hop.address, hop.port) in self._places

    def ask(self, request: Request, hop: Hop | Flow, sender: tuple[str, int]) -> Response | None:
        """
        Let whoever a request is for answer it at once, if he can.

        @param request: Neither kept nor changed.
        """
        if not isinstance(hop, Hop):
            return None
        receiver = self._places.get((hop.transport, hop.address, hop.port))
        if receiver is None:
            return None
        return receiver.answer_at_once(request, Flow(hop.transport, *sender, hop.address, hop.port, HANDED))

    def hand(self, message: Message, transport: str, to: tuple[str, int], sender: tuple[str, int]) -> bool:
        """
        Give a message to whoever has bound a port.

        @param sender: The port that an answer is to come to.

        @return: Whether there is somebody.
        """
        place = (transport, *to)
        if place not in self._places:
            return False
        if not self._is_held:
            self._see_later()
        self._waiting.append((place, message, Flow(transport, *sender, *to, HANDED)))
        return True

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
        while self._waiting and most:
            most -= 1
            place, message, flow = self._waiting.popleft()
            receiver = self._places.get(place)
            if receiver is None:
                continue
            try:
                receiver.message_received(message, flow)
            except Exception:
                # As with what comes from a socket: the others are owed theirs.
                self._log.failure("a message of a sibling was not taken")
        self._is_held = False
        if self._waiting:
            self._see_later()
