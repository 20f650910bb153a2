"""
One TCP connection that carries SIP.

Frames what comes in, writes what goes out, answers pings (RFC 5626 section
3.5.1).  Which connection a message takes is decided in
L{sipxha.net.transports}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.sip.framing import KeepAlive, StreamFramer
from sipxha.sip.hop import Flow
from sipxha.sip.message import MalformedMessage
from sipxha.transaction.vocabulary import ClientKey

if TYPE_CHECKING:
    from sipxha.net.transports import Transports

MAX_UNSENT = 1024 * 1024
"""Bytes that may wait for a peer that does not read."""


class _ITransport(ITCPTransport, IConsumer):
    """
    What Twisted's TCP transports are: also told when to hold back.
    """


@implementer(IPushProducer)
class SipStream(Protocol):
    """
    One connection, opened by us or by the far end.

    @ivar flow: The path that messages on this connection come on.

    @ivar unanswered: The client transactions that wait for this connection.
    """

    transport: _ITransport
    flow: Flow

    def __init__(self, transports: Transports, number: int) -> None:
        self._transports = transports
        self._number = number
        self._framer = StreamFramer()
        self._full = False
        self._unsent = 0
        self.unanswered: set[ClientKey] = set()

    def connectionMade(self) -> None:
        """
        The connection is there.
        """
        transport = self.transport
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        peer, host = transport.getPeer(), transport.getHost()
        self.flow = Flow("tcp", peer.host, peer.port, host.host, host.port, self._number)
        # To be told when the peer does not read what we write.
        transport.registerProducer(self, True)
        self._transports.stream_opened(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes came in.
        """
        receiver = self._transports.receiver
        for arrived in self._framer.receive_data(data):
            if isinstance(arrived, KeepAlive):
                self.send(b"\r\n")
            elif isinstance(arrived, MalformedMessage):
                receiver.malformed_received(arrived, self.flow)
            else:
                receiver.message_received(arrived, self.flow)
        if self._framer.closed:
            self.close()

    def send(self, data: bytes) -> None:
        """
        Write to the connection.  A peer that leaves L{MAX_UNSENT} bytes unread
        loses it.
        """
        if self._full:
            self._unsent += len(data)
            if self._unsent > MAX_UNSENT:
                self.transport.abortConnection()
                return
        self.transport.write(data)

    def close(self) -> None:
        """
        Close the connection once all is written.
        """
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
        self._transports.stream_closed(self)

    def pauseProducing(self) -> None:
        """
        The peer has stopped reading.
        """
        self._full = True

    def resumeProducing(self) -> None:
        """
        The peer reads again.
        """
        self._full = False
        self._unsent = 0

    def stopProducing(self) -> None:
        """
        The connection is about to be lost.
        """
