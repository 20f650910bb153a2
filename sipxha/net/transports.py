"""
The sockets of one endpoint: RFC 3261 section 18.

Chooses the connection that a message takes, opens it if there is none, and
says when that cannot be done.  It changes no message and looks into none but
for the address in a response's top Via.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IConnector, IListeningPort
from twisted.internet.protocol import ClientFactory, Factory
from twisted.python.failure import Failure

from sipxha.config.model import Ports
from sipxha.errors import LocalError
from sipxha.net.stream import SipStream
from sipxha.net.udp import MAX_DATAGRAM, SipDatagrams
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import MalformedMessage, Message, Response
from sipxha.transaction.vocabulary import ClientKey, ServerKey

CONNECT_LIMIT = 3.0
"""Seconds after which a connection that does not come about has failed."""

CLOSE_LIMIT = 1.0
"""Seconds that peers have, at the end, to take what is still to be sent."""

BACKLOG = 512
"""Connections that may wait to be accepted: phones come back all at once."""

DEFAULT_PORT = 5060


class Receiver(Protocol):
    """
    Who is told what the sockets bring.
    """

    def message_received(self, message: Message, flow: Flow) -> None:
        """
        A message came in.
        """

    def malformed_received(self, error: MalformedMessage, flow: Flow) -> None:
        """
        Something came in that is no message.
        """

    def send_failed(self, key: ClientKey | ServerKey) -> None:
        """
        What was to be sent with this key could not be, or was lost with the
        connection that it took.  Never called while it is being sent.
        """


class CannotBind(LocalError):
    """
    A port is taken, or not ours to take.

    @ivar transport: C{"udp"} or C{"tcp"}.
    """

    def __init__(self, transport: str, address: str, port: int, why: str) -> None:
        super().__init__(f"cannot listen on {address}:{port}/{transport}: {why}")
        self.transport = transport
        self.address = address
        self.port = port


class _Accepting(Factory):
    """
    Makes the streams of those who connect to us.
    """

    noisy = False

    def __init__(self, transports: Transports) -> None:
        self._transports = transports

    def buildProtocol(self, addr: IAddress | None) -> SipStream:
        return self._transports.new_stream()


class _Opening(ClientFactory):
    """
    A connection that we wait for, and what is to be sent on it.
    """

    noisy = False

    def __init__(self, transports: Transports, address: str, port: int) -> None:
        self._transports = transports
        self.place = (address, port)
        self.waiting: list[tuple[bytes, ClientKey | ServerKey | None]] = []
        self.connector: IConnector | None = None

    def buildProtocol(self, addr: IAddress | None) -> SipStream:
        return self._transports.new_stream()

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._transports.open_failed(self)


class Transports:
    """
    The UDP port, the TCP port and the connections of one endpoint.

    @ivar receiver: Who is told what comes in.
    """

    def __init__(self, reactor: Any, listen: str, ports: Ports, receiver: Receiver) -> None:
        self.receiver = receiver
        self._reactor = reactor
        self._listen = listen
        self._ports = ports
        self._datagrams: SipDatagrams | None = None
        self._listening: list[IListeningPort] = []
        self._bound: dict[str, int] = {}
        self._streams: dict[int, SipStream] = {}
        self._by_place: dict[tuple[str, int], SipStream | _Opening] = {}
        self._connections = 0
        self._closed: Deferred[None] | None = None

    def bind(self) -> None:
        """
        Take all ports, unless they are taken already.

        @raise CannotBind: One of them is not to be had; then none is kept.
        """
        if self._listening:
            return
        udp, tcp = self._ports.udp, self._ports.tcp
        try:
            if udp is not None:
                transport, port = "udp", udp
                datagrams = SipDatagrams(self.receiver)
                self._keep("udp", self._reactor.listenUDP(udp, datagrams, self._listen, MAX_DATAGRAM))
                self._datagrams = datagrams
            if tcp is not None:
                transport, port = "tcp", tcp
                self._keep("tcp", self._reactor.listenTCP(tcp, _Accepting(self), BACKLOG, self._listen))
        except CannotListenError as error:
            self._release()
            raise CannotBind(transport, self._listen, port, str(error.socketError)) from error

    def _keep(self, transport: str, listening: IListeningPort) -> None:
        self._listening.append(listening)
        address: Any = listening.getHost()
        self._bound[transport] = address.port

    def _release(self) -> Deferred[Any]:
        listening, self._listening = self._listening, []
        self._bound.clear()
        self._datagrams = None
        return gatherResults([maybeDeferred(port.stopListening) for port in listening])

    def unbind(self) -> Deferred[None]:
        """
        Give back all ports and close all connections.
        """
        released = self._release()
        for place in list(self._by_place.values()):
            if isinstance(place, _Opening) and place.connector is not None:
                place.connector.stopConnecting()
        for stream in list(self._streams.values()):
            stream.close()
        if not self._streams:
            return released.addCallback(lambda _: None)
        closed = self._closed = Deferred()
        limit = self._reactor.callLater(CLOSE_LIMIT, self._abort_all)

        def done(_: object) -> Deferred[Any]:
            if limit.active():
                limit.cancel()
            return released

        return closed.addCallback(done).addCallback(lambda _: None)

    def _abort_all(self) -> None:
        for stream in list(self._streams.values()):
            stream.abort()

    def port(self, transport: str) -> int | None:
        """
        The port for C{"udp"} or C{"tcp"}: the bound one, if it is.
        """
        bound = self._bound.get(transport)
        if bound is not None:
            return bound
        return {"udp": self._ports.udp, "tcp": self._ports.tcp}.get(transport)

    def speaks(self, hop: Hop | Flow) -> bool:
        """
        Whether we have the transport that this hop needs.
        """
        return hop.transport in self._bound

    # Sending

    def send(self, data: bytes, hop: Hop | Flow, key: ClientKey | ServerKey | None) -> None:
        """
        Send a request.  A L{Hop} over TCP uses any connection to its place; a
        L{Flow} only its own.

        @param key: Whom L{Receiver.send_failed} is told of, if anyone.
        """
        transport = hop.transport
        if transport == "udp" and self._datagrams is not None:
            if not self._datagrams.send(data, hop.address, hop.port):
                self._fail_later(key)
        elif transport == "tcp" and "tcp" in self._bound:
            if isinstance(hop, Hop):
                self._send_to_place(data, hop.address, hop.port, key)
            elif (stream := self._streams.get(hop.connection)) is not None:
                self._send_on(stream, data, key)
            else:
                self._fail_later(key)
        else:
            self._fail_later(key)

    def respond(self, response: Response, flow: Flow, key: ServerKey | None) -> None:
        """
        Send a response the way that its request came, or as near as can be
        (RFC 3261 section 18.2.2, RFC 3581 section 4).
        """
        data = response.encode()
        if flow.transport == "udp":
            address, port = flow.address, flow.port
            top = response.get("via") or ""
            # The usual case is not worth parsing.
            if ";rport=" not in top or "maddr" in top:
                address, port = _reply_address(response, flow)
            if self._datagrams is None or not self._datagrams.send(data, address, port):
                self._fail_later(key)
        elif (stream := self._streams.get(flow.connection)) is not None:
            stream.send(data)
        elif flow.transport == "tcp" and "tcp" in self._bound:
            self._send_to_place(data, flow.address, response.via.port or DEFAULT_PORT, key)
        else:
            self._fail_later(key)

    def withdraw(self, hop: Hop | Flow, key: ClientKey) -> bool:
        """
        This transaction waits for its connection no longer.

        @return: Whether its request had not been sent yet, and now never will.
        """
        if hop.transport != "tcp":
            return False
        if isinstance(hop, Hop):
            place = self._by_place.get((hop.address, hop.port))
        else:
            place = self._streams.get(hop.connection)
        if isinstance(place, SipStream):
            place.unanswered.discard(key)
        elif place is not None:
            kept = [item for item in place.waiting if item[1] != key]
            if len(kept) < len(place.waiting):
                place.waiting = kept
                return True
        return False

    def _send_to_place(self, data: bytes, address: str, port: int, key: ClientKey | ServerKey | None) -> None:
        place = self._by_place.get((address, port))
        if isinstance(place, SipStream):
            self._send_on(place, data, key)
            return
        if place is not None:
            place.waiting.append((data, key))
            return
        opening = self._by_place[address, port] = _Opening(self, address, port)
        opening.waiting.append((data, key))
        source = None if self._listen in ("", "0.0.0.0", "::") else (self._listen, 0)
        opening.connector = self._reactor.connectTCP(address, port, opening, CONNECT_LIMIT, source)

    def _send_on(self, stream: SipStream, data: bytes, key: ClientKey | ServerKey | None) -> None:
        if isinstance(key, ClientKey):
            stream.unanswered.add(key)
        stream.send(data)

    def _fail_later(self, key: ClientKey | ServerKey | None) -> None:
        if key is not None:
            self._reactor.callLater(0, self.receiver.send_failed, key)

    # For our connections

    def new_stream(self) -> SipStream:
        """
        A stream for a connection that is about to be.
        """
        self._connections += 1
        return SipStream(self, self._connections)

    def stream_opened(self, stream: SipStream) -> None:
        """
        The stream is connected; what waits for its place goes out.
        """
        flow = stream.flow
        if not self._listening:
            # It came about while we closed.
            stream.abort()
            return
        self._streams[flow.connection] = stream
        opening = self._by_place.get((flow.address, flow.port))
        self._by_place[flow.address, flow.port] = stream
        if isinstance(opening, _Opening):
            for data, key in opening.waiting:
                self._send_on(stream, data, key)
            opening.waiting = []

    def stream_closed(self, stream: SipStream) -> None:
        """
        The stream is lost, and with it whatever was sent on it and has had no
        answer.
        """
        flow = stream.flow
        self._streams.pop(flow.connection, None)
        if self._by_place.get((flow.address, flow.port)) is stream:
            del self._by_place[flow.address, flow.port]
        for key in list(stream.unanswered):
            self.receiver.send_failed(key)
        if self._closed is not None and not self._streams:
            closed, self._closed = self._closed, None
            closed.callback(None)

    def open_failed(self, opening: _Opening) -> None:
        """
        Nobody is there.
        """
        if self._by_place.get(opening.place) is opening:
            del self._by_place[opening.place]
        for _, key in opening.waiting:
            # connectTCP may fail before it returns.
            self._fail_later(key)


def _reply_address(response: Response, flow: Flow) -> tuple[str, int]:
    """
    Where an answer over UDP goes when the sender did not ask for its own port.
    """
    via = response.via
    maddr = (via.params.get("maddr") or "").strip("[]")
    if isIPAddress(maddr) or isIPv6Address(maddr):
        return maddr, via.port or DEFAULT_PORT
    if via.rport:
        return flow.address, flow.port
    return flow.address, via.port or DEFAULT_PORT
