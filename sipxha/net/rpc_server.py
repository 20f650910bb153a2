"""
Answers XML-RPC calls of peers over HTTPS.

One path, one HTTP method, persistent connections.  A caller is heard when it
stands in the verified certificate of its connection; what it may ask then is
the engine's to say.  A body that is too long is refused before it is read,
and an answer of many rows leaves as fast as it is taken, not faster.

Every outcome of a call, faults included, is C{200 OK} (registry.md 1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IPullProducer, IReactorTCP, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import Resource
from zope.interface import implementer

from sipxha.auth.security_events import REPLICATION, SecurityEvents
from sipxha.net.tls import MutualTls, peer_names, tls_reason
from sipxha.sync import rpc, wire

MOST_BODY = 1 << 20
"""Octets of a call; only pull answers may be longer, and these we do not receive here."""

_HANDSHAKE = 15.0
"""Seconds that a connection may take until its first call."""

_IDLE = 600.0
"""Seconds without a call; more than a client keeps a connection, so that no call meets a closing one."""

_BACKLOG = 128


class Exchange:
    """
    One call that came, until it is answered.
    """

    def __init__(self, request: server.Request) -> None:
        self._request = request
        self._is_over = False
        request.notifyFinish().addErrback(self._gone)

    def answer(self, document: bytes) -> None:
        """
        Send a whole answer.
        """
        if not self._is_over:
            self._is_over = True
            self._request.setHeader(b"Content-Length", b"%d" % len(document))
            self._request.write(document)
            self._request.finish()

    def answer_pieces(self, pieces: Iterator[bytes]) -> None:
        """
        Send an answer as it is made, when the caller has taken what was sent before.
        """
        if not self._is_over:
            self._is_over = True
            self._request.registerProducer(_Pieces(self._request, pieces), False)

    def _gone(self, _: object) -> None:
        self._is_over = True


@implementer(IPullProducer)
class _Pieces:
    """
    An answer that is longer than what the connection takes at once.
    """

    def __init__(self, request: server.Request, pieces: Iterator[bytes]) -> None:
        self._request = request
        self._pieces = pieces

    def resumeProducing(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._request.write(piece)

    def stopProducing(self) -> None:
        self._pieces = iter(())


class Callee(Protocol):
    """
    Who answers calls.
    """

    def call_received(self, exchange: Exchange, method: str, params: list[wire.Value]) -> None:
        """
        A call from the peer that C{params} names first, which is who it says.
        """


class _Request(server.Request):
    """
    A request whose body is kept in memory, and is not read at all when it is too long.
    """

    _refused = False
    _unread = 0

    def gotLength(self, length: int | None) -> None:
        self._body = self.content = BytesIO()
        self.channel.setTimeout(_IDLE)
        if length is not None and length > MOST_BODY:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        if self._refused:
            self._unread += len(data)
            if self._unread > MOST_BODY:
                self._connection.abortConnection()
        elif self._body.tell() + len(data) > MOST_BODY:
            self._refuse()
        else:
            self._body.write(data)

    def process(self) -> None:
        if not self._refused:
            super().process()

    @property
    def _connection(self) -> Any:
        return self.channel.transport

    def _refuse(self) -> None:
        # There is no request yet that could be answered in the usual way.
        self._refused = True
        self._body = self.content = BytesIO()
        # Twisted sets it on a channel that it makes, which the interface does not say.
        site: Any = self.channel.site  # type: ignore[attr-defined]
        site.misread(self._connection, f"a call is longer than {MOST_BODY} octets")
        status = http.REQUEST_ENTITY_TOO_LARGE
        self._connection.write(
            b"HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            % (status, http.RESPONSES[status])
        )
        # The transport's own would wait for the channel, which goes on producing.
        self.channel.loseConnection()


class _Rpc2(Resource):
    """
    C{/RPC2}.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, callee: Callee, told: Callable[[str, str], None]) -> None:
        super().__init__()
        self._callee = callee
        self._told = told
        self.refused = 0

    def render_POST(self, request: server.Request) -> bytes | int:
        if request.postpath:
            return self._plain(request, http.NOT_FOUND)
        if request.requestHeaders.hasHeader(b"Content-Encoding"):
            return self._plain(request, http.UNSUPPORTED_MEDIA_TYPE)
        request.setHeader(b"Content-Type", b"text/xml")
        exchange = Exchange(request)
        try:
            try:
                method, params = wire.decode_call(request.content.read() if request.content else b"")
                caller = rpc.caller_of(params)
            except wire.Fault as fault:
                site: Any = request.site
                site.misread(request.channel.transport, str(fault))
                raise
            names = peer_names(request.channel.transport)
            if caller not in names:
                self.refused += 1
                self._log.warn(
                    "refused {method}: {caller!r} is none of {names}",
                    method=method[:80],
                    caller=caller[:80],
                    names=sorted(names),
                )
                self._told(getattr(request.getClientAddress(), "host", ""), f"{caller} for {method}")
                raise wire.Fault(rpc.AUTHENTICATION, "TLS Peer Authentication Failure")
            self._callee.call_received(exchange, method, params)
        except wire.Fault as fault:
            exchange.answer(wire.encode_fault(fault))
        return server.NOT_DONE_YET

    @staticmethod
    def _plain(request: server.Request, status: int) -> bytes:
        request.setResponseCode(status)
        return b""


class _Channel(http.HTTPChannel):
    """
    One connection, which may end before anybody has proved who it is.
    """

    _log = Logger()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(SSL.Error):
            self.site.refused += 1  # type: ignore[attr-defined]
            peer: Any = self.transport.getPeer() if self.transport is not None else None
            address, why = getattr(peer, "host", "somewhere"), tls_reason(reason.value)
            self._log.warn("refused a connection from {address}: {reason}", address=address, reason=why)
            self.site.told(address, why)  # type: ignore[attr-defined]
        super().connectionLost(reason)


class _Site(server.Site):
    """
    What is served, and how many were refused.
    """

    protocol = _Channel  # type: ignore[assignment]
    noisy = False
    displayTracebacks = False
    refused = 0
    told: Callable[[str, str], None]
    _log = Logger()

    def misread(self, connection: Any, reason: str) -> None:
        """
        Count what somebody sent that is no call.
        """
        self.refused += 1
        address = getattr(connection.getPeer(), "host", "somewhere")
        self._log.warn("refused a call from {address}: {reason}", address=address, reason=reason[:500])


class _Secured(TLSMemoryBIOFactory):
    """
    HTTPS, and all connections that are open.
    """

    noisy = False

    def __init__(self, tls: MutualTls, site: server.Site) -> None:
        super().__init__(tls, False, site)
        self._closed: Deferred[None] | None = None

    def unregisterProtocol(self, protocol: Any) -> None:
        super().unregisterProtocol(protocol)
        if self._closed is not None and not self.protocols:
            self._closed.callback(None)

    def close(self) -> Deferred[None]:
        """
        End every connection; fires when all have ended.
        """
        if not self.protocols:
            return succeed(None)
        self._closed = Deferred()
        for protocol in list(self.protocols):
            protocol.abortConnection()
        return self._closed


class RpcServer:
    """
    The port at which peers call.
    """

    def __init__(
        self, reactor: IReactorTime, tls: MutualTls, callee: Callee, security: SecurityEvents | None = None
    ) -> None:
        """
        @param security: Hears of who calls and is none of our nodes.
        """
        events = security or SecurityEvents()

        def told(source: str, what: str) -> None:
            events.saw(REPLICATION, source, reactor.seconds(), transport="tls", detail=what)

        root = Resource()
        rpc2 = _Rpc2(callee, told)
        root.putChild(b"RPC2", rpc2)
        self._site = _Site(root, requestFactory=_Request, timeout=_HANDSHAKE, reactor=reactor)
        self._site.told = told
        self._rpc2 = rpc2
        self._secured = _Secured(tls, self._site)

    @property
    def refused(self) -> int:
        """
        How many connections and calls were refused because of who made them, and what was no call.
        """
        return self._site.refused + self._rpc2.refused

    def listen(self, reactor: IReactorTCP, address: str, port: int) -> IListeningPort:
        """
        Answer from now on.

        @raise twisted.internet.error.CannotListenError: The port is taken.
        """
        return reactor.listenTCP(port, self._secured, backlog=_BACKLOG, interface=address)  # type: ignore[arg-type]

    def close(self) -> Deferred[None]:
        """
        End all connections, calls that are not answered included.
        """
        return self._secured.close()
