"""
The TCP and TLS connections of one endpoint: which of them a message takes.

Opens one where there is none to the place, and says when that cannot be done;
keeps few enough for each address.  Over TLS a connection serves only whom its
far end has proved to be (RFC 5922 section 7.3).  What goes over a connection
is its L{SipStream}'s business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IConnector, IDelayedCall, IProtocolFactory
from twisted.internet.protocol import ClientFactory, Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from sipxha.config.model import Limits
from sipxha.net.hep import Mirror
from sipxha.net.sip_tls import SipTls
from sipxha.net.stream import SipStream
from sipxha.sip.hop import Flow, Hop
from sipxha.transaction.vocabulary import ClientKey, ServerKey

if TYPE_CHECKING:
    from sipxha.net.transports import Receiver

CONNECT_LIMIT = 3.0
"""Seconds after which a connection that does not come about has failed."""

CLOSE_LIMIT = 1.0
"""Seconds that peers have, at the end, to take what is still to be sent."""


class Place(NamedTuple):
    """
    Where a connection leads.
    """

    transport: str
    address: str
    port: int


class _Accepting(Factory):
    """
    Makes the streams of those who connect to us.
    """

    noisy = False

    def __init__(self, connections: Connections, transport: str) -> None:
        self._connections = connections
        self._transport = transport

    def buildProtocol(self, addr: IAddress | None) -> SipStream:
        return self._connections.new_stream(self._transport)


class Opening(ClientFactory):
    """
    A connection that we wait for, and what is to be sent on it.

    @ivar places: Where it is looked for.

    @ivar wanted: Who has to be there; over TCP nobody has to prove it.

    @ivar connector: What stops it, until the connection is there.
    """

    noisy = False

    def __init__(self, connections: Connections, place: Place, wanted: str) -> None:
        self._connections = connections
        self.place = place
        self.places = (place,)
        self.wanted = wanted
        self.waiting: list[tuple[bytes, ClientKey | ServerKey | None]] = []
        self.connector: IConnector | None = None

    def serves(self, name: str) -> bool:
        """
        Whether a request for C{name} may wait here.
        """
        return self.place.transport == "tcp" or name == self.wanted

    def buildProtocol(self, addr: IAddress | None) -> SipStream:
        return self._connections.new_stream(self.place.transport, self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._connections.open_failed(self)


class Connections:
    """
    The connections of one endpoint.

    @ivar receiver: Who is told what comes in.

    @ivar limits: What a connection, and a message on it, may take.

    @ivar mirror: Sees what passes, if somebody is to.

    @ivar is_wanted: Whether connections are made and let in.

    @ivar open: How many there are, by transport.

    @ivar refused: How many were closed at once, for their address had too many.

    @ivar closed: Hears of the flow of each connection that is lost, but for
        those that we close at the end.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        source: str,
        receiver: Receiver,
        tls: SipTls | None,
        limits: Limits,
        is_neighbour: Callable[[str], bool],
        mirror: Mirror | None = None,
    ) -> None:
        """
        @param source: The address that they are made from, or a wildcard.
        """
        self.receiver = receiver
        self.limits = limits
        self.mirror = mirror
        self.is_wanted = False
        self.closed: Callable[[Flow], None] = lambda flow: None
        self.now: Callable[[], float] = reactor.seconds
        self._reactor = reactor
        self._source = None if source in ("", "0.0.0.0", "::") else (source, 0)
        self._tls = tls
        self._is_neighbour = is_neighbour
        self._streams: dict[int, SipStream] = {}
        self.open = {"tcp": 0, "tls": 0}
        self.refused = 0
        self._places: dict[Place, list[SipStream | Opening]] = {}
        self._accepted: Counter[str] = Counter()
        self._count = 0
        self._closed: Deferred[None] | None = None

    def accepting(self, transport: str) -> IProtocolFactory:
        """
        What a port for C{"tcp"} or C{"tls"} asks for streams.
        """
        accepting = _Accepting(self, transport)
        return accepting if transport == "tcp" else self._secured(False, accepting)

    def _secured(self, is_client: bool, inner: Factory, wanted: str = "") -> IProtocolFactory:
        """
        Put TLS between the wire and C{inner}.
        """
        assert self._tls is not None, "TLS without a certificate"
        creator = self._tls.client(wanted) if is_client else self._tls
        return TLSMemoryBIOFactory(creator, is_client, inner, self._reactor)

    def close(self) -> Deferred[None]:
        """
        Close all connections, and give up those that we wait for.
        """
        self.is_wanted = False
        for each in [each for place in self._places.values() for each in place]:
            if isinstance(each, Opening) and each.connector is not None:
                each.connector.stopConnecting()
        for stream in list(self._streams.values()):
            stream.close()
        if not self._streams:
            return succeed(None)
        closed = self._closed = Deferred()
        limit = self._reactor.callLater(CLOSE_LIMIT, self._abort_all)

        def done(_: None) -> None:
            if limit.active():
                limit.cancel()

        return closed.addCallback(done)

    def _abort_all(self) -> None:
        for stream in list(self._streams.values()):
            stream.abort()

    # Sending

    def send(self, data: bytes, hop: Hop | Flow, key: ClientKey | ServerKey | None) -> None:
        """
        Send on any connection to the place of a L{Hop} that serves its name;
        on that of a L{Flow} and no other.
        """
        if isinstance(hop, Hop):
            self._send_to_place(data, hop, key)
        elif (stream := self._streams.get(hop.connection)) is not None:
            self._send_on(stream, data, key)
        else:
            self.fail_later(key)

    def answer(
        self, data: bytes, flow: Flow, *, is_registered: bool = False, has_timer: bool = False
    ) -> bool:
        """
        Send a response on the connection of its request.

        @param is_registered: Whether somebody is registered with it.

        @param has_timer: Whether his phone is told to ping (RFC 5626 section 4.4).

        @return: Whether that connection is still there.
        """
        stream = self._streams.get(flow.connection)
        if stream is None:
            return False
        if is_registered:
            limits = self.limits.connection
            stream.allow_silence(limits.flow_time if has_timer else limits.registered_time)
        stream.send(data)
        return True

    def is_alive(self, connection: int) -> bool:
        """
        Whether requests can be sent on a connection.
        """
        stream = self._streams.get(connection)
        return stream is not None and stream.is_open and not stream.is_closing

    def withdraw(self, hop: Hop | Flow, key: ClientKey) -> bool:
        """
        This transaction waits for its connection no longer.

        @return: Whether its request had not been sent yet, and now never will.
        """
        if isinstance(hop, Flow):
            if (stream := self._streams.get(hop.connection)) is not None:
                stream.unanswered.discard(key)
            return False
        for each in self._places.get(Place(hop.transport, hop.address, hop.port), ()):
            if isinstance(each, SipStream):
                each.unanswered.discard(key)
                continue
            kept = [item for item in each.waiting if item[1] != key]
            if len(kept) < len(each.waiting):
                each.waiting = kept
                return True
        return False

    def hold(self, flow: Flow, key: tuple[str, ...]) -> None:
        """
        Keep the connection of this transaction, however silent it is, until
        L{let_go}.
        """
        if (stream := self._streams.get(flow.connection)) is not None:
            stream.held.add(key)

    def let_go(self, flow: Flow, key: tuple[str, ...]) -> None:
        """
        The transaction of L{hold} is over.
        """
        if (stream := self._streams.get(flow.connection)) is not None:
            stream.held.discard(key)

    def add_alias(self, flow: Flow, port: int) -> None:
        """
        Let requests to this port of the far end take its own connection, as it
        wishes (RFC 5923 section 5); ignored unless it has shown a certificate,
        and of use only for whom that is for.  One port is enough for anybody.
        """
        stream = self._streams.get(flow.connection)
        if stream is not None and stream.proved and len(stream.places) == 1:
            self._put(stream, Place(flow.transport, flow.address, port))

    def _send_to_place(self, data: bytes, hop: Hop, key: ClientKey | ServerKey | None) -> None:
        wanted = ""
        if hop.transport == "tls" and self._tls is not None:
            wanted = self._tls.wanted(hop.name or hop.address)
        place = Place(hop.transport, hop.address, hop.port)
        for each in self._places.get(place, ()):
            if each.serves(wanted):
                if isinstance(each, SipStream):
                    self._send_on(each, data, key)
                else:
                    each.waiting.append((data, key))
                return
        opening = Opening(self, place, wanted)
        opening.waiting.append((data, key))
        self._places.setdefault(place, []).append(opening)
        factory: IProtocolFactory = opening
        if hop.transport == "tls":
            factory = self._secured(True, opening, wanted)
        opening.connector = self._reactor.connectTCP(
            hop.address, hop.port, factory, CONNECT_LIMIT, self._source
        )

    def _send_on(self, stream: SipStream, data: bytes, key: ClientKey | ServerKey | None) -> None:
        if isinstance(key, ClientKey):
            stream.unanswered.add(key)
        stream.send(data)

    def fail_later(self, key: ClientKey | ServerKey | None) -> None:
        """
        Tell that a message could not be sent, but not while it is being sent.
        """
        if key is not None:
            self._reactor.callLater(0, self.receiver.send_failed, key)

    # For our streams

    def call_at(self, deadline: float, due: Callable[[], None]) -> IDelayedCall:
        """
        Have C{due} called when it is C{deadline}.
        """
        call: IDelayedCall = self._reactor.callLater(max(0.0, deadline - self.now()), due)
        return call

    def new_stream(self, transport: str, opening: Opening | None = None) -> SipStream:
        """
        A stream for a connection that is about to be.
        """
        self._count += 1
        return SipStream(self, transport, self._count, opening)

    def stream_connected(self, stream: SipStream) -> bool:
        """
        The stream is connected; nothing can be sent on it yet.

        @return: Whether we want it.
        """
        if not self.is_wanted:
            # It came about while we closed.
            return False
        flow = stream.flow
        if stream.opening is not None:
            stream.opening.connector = None
        elif not self._is_neighbour(flow.address):
            source = _source(flow.address)
            if self._accepted[source] >= self.limits.connection.per_source:
                self.refused += 1
                return False
            self._accepted[source] += 1
            stream.source = source
        self._streams[flow.connection] = stream
        self.open[flow.transport] += 1
        return True

    def stream_opened(self, stream: SipStream) -> None:
        """
        Messages can be sent on the stream; what waits for its place goes out.
        """
        flow, opening = stream.flow, stream.opening
        self._put(stream, Place(flow.transport, flow.address, flow.port))
        if opening is None:
            return
        self.forget(opening)
        for data, key in opening.waiting:
            self._send_on(stream, data, key)
        opening.waiting = []

    def stream_closed(self, stream: SipStream, reason: Failure | None) -> None:
        """
        The stream is lost, and with it whatever was sent on it and has had no
        answer.
        """
        if self._streams.pop(stream.flow.connection, None) is not None:
            self.open[stream.flow.transport] -= 1
        if stream.source:
            self._accepted[stream.source] -= 1
            if not self._accepted[stream.source]:
                del self._accepted[stream.source]
        self.forget(stream)
        if stream.opening is not None and not stream.is_open:
            if reason is not None and self.is_wanted:
                self._log.warn(
                    "no TLS with {name} at {address}: {reason}",
                    name=stream.opening.wanted,
                    address=stream.flow.address,
                    reason=reason.getErrorMessage(),
                )
            self.open_failed(stream.opening)
        if self.is_wanted:
            self.closed(stream.flow)
        for key in list(stream.unanswered):
            self.receiver.send_failed(key)
        if self._closed is not None and not self._streams:
            closed, self._closed = self._closed, None
            closed.callback(None)

    def open_failed(self, opening: Opening) -> None:
        """
        Nobody is there, or not who should be.
        """
        self.forget(opening)
        for _, key in opening.waiting:
            # connectTCP may fail before it returns.
            self.fail_later(key)

    def forget(self, gone: SipStream | Opening) -> None:
        """
        Send no request that way any more.
        """
        for place in gone.places:
            there = self._places.get(place, [])
            if gone in there:
                there.remove(gone)
            if not there:
                self._places.pop(place, None)

    def _put(self, stream: SipStream, place: Place) -> None:
        streams = self._places.setdefault(place, [])
        if stream not in streams:
            streams.append(stream)
            stream.places.append(place)


def _source(address: str) -> str:
    """
    Who is at an address, as far as can be told: one customer has all of a /64.
    """
    return str(ip_network((address.partition("%")[0], 64), strict=False)) if ":" in address else address
