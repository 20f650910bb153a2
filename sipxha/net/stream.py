"""
One TCP or TLS connection that carries SIP.

Frames what comes in, writes what goes out, answers pings (RFC 5626 section
3.5.1), and hangs up on who takes too long.  Which connection a message takes
is decided in L{sipxha.net.connections}.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.net.sip_tls import proved
from sipxha.sip.framing import KeepAlive, StreamFramer
from sipxha.sip.hop import Flow
from sipxha.sip.message import MalformedMessage
from sipxha.transaction.vocabulary import ClientKey

if TYPE_CHECKING:
    from sipxha.net.connections import Connections, Opening, Place

UNACKNOWLEDGED = 4.0
"""
Seconds after which a connection that we have opened is given up if the other
machine's kernel takes nothing.  After a cut in the network TCP alone waits
twice as long each time, and calls over it fail long after the cut has ended.
"""

UNACKNOWLEDGED_BY_PHONE = 10.0
"""
The same for one that was opened to us, by a phone as a rule: it cannot be
opened anew from here, and a radio may take seconds to wake.  Without it who
calls a phone that has lost its network hears nothing until timer B.
"""


class _ITransport(ITCPTransport, IConsumer):
    """
    What Twisted's TCP transports are: also told when to hold back.
    """


class _Gone:
    """
    What a transport is after its end: nothing can be written, closed or asked.
    """

    def write(self, data: bytes) -> None:
        """
        Nobody gets it.
        """

    def nothing(self) -> None:
        """
        There is nothing left to do.
        """

    loseConnection = abortConnection = unregisterProducer = pauseProducing = resumeProducing = nothing


_GONE: Any = _Gone()


@implementer(IPushProducer, IHandshakeListener)
class SipStream(Protocol):
    """
    One connection, opened by us or by the far end.

    @ivar flow: The path that messages on this connection come on.

    @ivar opening: What this connection was opened for, if by us.

    @ivar names: Who can be reached over this connection.  Over TCP nobody
        proves anything, so it is not looked at.

    @ivar proved: Whom of them the far end has shown a certificate for.

    @ivar unanswered: The client transactions that wait for this connection.

    @ivar held: The server transactions that must not lose it.

    @ivar is_open: Whether messages can be sent on it.

    @ivar is_closing: Whether we have hung up; what is written still goes out.

    @ivar places: Where it is looked for.

    @ivar source: Under which it counts as one of many, if it does.
    """

    transport: _ITransport
    flow: Flow

    def __init__(
        self, connections: Connections, transport: str, number: int, opening: Opening | None = None
    ) -> None:
        self.opening = opening
        self.names: frozenset[str] = frozenset()
        self.proved: frozenset[str] = frozenset()
        self.unanswered: set[ClientKey] = set()
        self.held: set[tuple[str, ...]] = set()
        self.is_open = False
        self.places: list[Place] = []
        self.source = ""
        self._connections = connections
        self._limits = connections.limits.connection
        self._kind = transport
        self._number = number
        self._framer = StreamFramer(connections.limits.message)
        self._full = False
        self._unread = 0
        self.is_closing = False
        self._heard = 0.0
        self._silence = self._limits.idle_time
        # When to give up on what the far end has begun, and has to finish.
        self._patience: float | None = None
        self._awaits_body = False
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        The connection is there; TLS has still to be agreed on.
        """
        transport = self.transport
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        handle = getattr(transport, "socket", None)
        if handle is not None:
            limit = UNACKNOWLEDGED_BY_PHONE if self.opening is None else UNACKNOWLEDGED
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limit * 1000))
        peer, host = transport.getPeer(), transport.getHost()
        self.flow = Flow(self._kind, peer.host, peer.port, host.host, host.port, self._number)
        if not self._connections.stream_connected(self):
            transport.abortConnection()
        elif self._kind == "tls":
            self._wait(self._limits.handshake_time)
        else:
            self._open()

    def handshakeCompleted(self) -> None:
        """
        TLS is agreed on.
        """
        self.proved = proved(self.transport)
        # A phone without a certificate can still be reached where it is.
        self.names = self.proved | {self.flow.address if self.opening is None else self.opening.wanted}
        self._open()

    def _open(self) -> None:
        self.is_open = True
        self._patience = None
        self._heard = self._connections.now()
        # To be told when the far end does not read what we write.
        self.transport.registerProducer(self, True)
        self._connections.stream_opened(self)
        self._arm(self._heard + self._limits.idle_time)

    def serves(self, name: str) -> bool:
        """
        Whether a request for C{name} may take this connection (RFC 5922
        section 7.3, RFC 5923 section 9.3).
        """
        return self._kind == "tcp" or name in self.names

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes came in.
        """
        if self.is_closing:
            return
        receiver, framer = self._connections.receiver, self._framer
        self._heard = self._connections.now()
        arrived = framer.receive_data(data)
        for each in arrived:
            if isinstance(each, KeepAlive):
                self.send(b"\r\n")
            elif isinstance(each, MalformedMessage):
                receiver.malformed_received(each, self.flow)
            else:
                if self._connections.mirror is not None:
                    self._connections.mirror.received(each.encode(), self.flow)
                receiver.message_received(each, self.flow)
        if framer.closed:
            self.close()
        elif not framer.pending:
            self._patience = None
        elif arrived or self._patience is None or self._awaits_body != framer.awaits_body:
            self._awaits_body = framer.awaits_body
            self._wait(self._limits.body_time if self._awaits_body else self._limits.head_time)

    def send(self, data: bytes) -> None:
        """
        Write to the connection.  A far end that leaves too much unread loses it.
        """
        if self._full:
            self._unread += len(data)
            if self._unread > self._limits.unread:
                self.transport.abortConnection()
                return
        if self._connections.mirror is not None and data[:1].isalpha():
            self._connections.mirror.left(data, self.flow)
        self.transport.write(data)

    def allow_silence(self, seconds: float) -> None:
        """
        From now on hang up when nothing has come for so long.
        """
        self._silence = seconds
        self._arm(self._heard + seconds)

    def close(self) -> None:
        """
        Close the connection once all is written.
        """
        self.is_closing = True
        self._connections.forget(self)
        self._wait(self._limits.closing_time)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """
        Close the connection now.
        """
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        The connection is gone.
        """
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._connections.stream_closed(self, reason)
        # Otherwise each connection over TLS refers to itself, and is kept with
        # the memory of OpenSSL until the garbage collector comes by.
        self.transport = _GONE

    # Time

    def _wait(self, seconds: float) -> None:
        """
        Hang up unless something is finished by then.
        """
        self._patience = self._connections.now() + seconds
        self._arm(self._patience)

    def _arm(self, deadline: float) -> None:
        # A call that comes too early only arms itself again, which is cheaper
        # than to move it with each message.
        if self._timer is None:
            self._timer = self._connections.call_at(deadline, self._due)
        elif deadline < self._timer.getTime():
            self._timer.reset(max(0.0, deadline - self._connections.now()))

    def _due(self) -> None:
        self._timer = None
        now = self._connections.now()
        if self._patience is not None:
            if now >= self._patience:
                self.abort()
            else:
                self._arm(self._patience)
            return
        silence = self._silence
        if now < self._heard + silence:
            self._arm(self._heard + silence)
        elif self.unanswered or self.held:
            self._arm(now + silence)
        else:
            self.close()

    # IPushProducer

    def pauseProducing(self) -> None:
        """
        The far end has stopped reading.
        """
        self._full = True

    def resumeProducing(self) -> None:
        """
        The far end reads again.
        """
        self._full = False
        self._unread = 0

    def stopProducing(self) -> None:
        """
        The connection is about to be lost.
        """
