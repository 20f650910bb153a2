"""
Answers XML-RPC calls of peers over HTTPS.

One path, one HTTP method, persistent connections.  A caller is heard when it
stands in the verified certificate of its connection; what it may ask then is
the engine's to say.  It may call again before it is answered, and is answered
in the order of its calls.  A body that is too long is refused before it is
read, and an answer of many rows leaves as fast as it is taken, not faster.

Every outcome of a call, faults included, is C{200 OK} (registry.md 1.1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet import protocol as twisted_protocol
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IPullProducer,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from zope.interface import implementer

from sipxha.auth.security_events import REPLICATION, SecurityEvents
from sipxha.net.http1 import Head, HttpMalformed, HttpReader
from sipxha.net.tls import MutualTls, PromptTlsFactory, peer_names, tls_reason
from sipxha.sync import rpc, wire

MOST_BODY = 1 << 20
"""Octets of a call; only pull answers may be longer, and these we do not receive here."""

MOST_WAITING = 64
"""Calls of one connection that are not answered; no more are read until one is."""

HANDSHAKE = 15.0
"""Seconds that a connection may take until its first call, and in which it ends when it must."""

IDLE = 600.0
"""Seconds without a call; more than a client keeps a connection, so that no call meets a closing one."""

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"
_CLOSE = b"Connection: close\r\n"

_BACKLOG = 128


class Exchange:
    """
    One call that came, until it is answered.
    """

    def __init__(self, connection: _Connection, *, is_last: bool) -> None:
        """
        @param is_last: Nothing that comes after it is read.
        """
        self._connection = connection
        self.is_last = is_last
        self.text: bytes | None = None
        self.pieces: Iterator[bytes] | None = None

    @property
    def is_answered(self) -> bool:
        """
        Whether it can leave as soon as those before it have.
        """
        return self.text is not None or self.pieces is not None

    def answer(self, document: bytes) -> None:
        """
        Send a whole answer.
        """
        self._say(_OK, document)

    def answer_pieces(self, pieces: Iterator[bytes]) -> None:
        """
        Send an answer as it is made, when the caller has taken what was sent before.
        """
        if not self.is_answered:
            self.pieces = pieces
            self._connection.answered()

    def refuse(self, status: int) -> None:
        """
        Say that it is no call.
        """
        self._say(b"HTTP/1.1 %d %b\r\n" % (status, http.RESPONSES[status]), b"")

    def _say(self, start: bytes, document: bytes) -> None:
        if not self.is_answered:
            close = _CLOSE if self.is_last else b""
            date = self._connection.date()
            self.text = b"%bDate: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
                start,
                date,
                close,
                len(document),
                document,
            )
            self._connection.answered()


@implementer(IPullProducer)
class _Pieces:
    """
    An answer that is longer than what the connection takes at once.
    """

    def __init__(self, connection: _Connection, pieces: Iterator[bytes], *, is_chunked: bool) -> None:
        self._connection = connection
        self._pieces = pieces
        self._is_chunked = is_chunked

    def resumeProducing(self) -> None:
        piece = next(self._pieces, None)
        write = self._connection.write
        if piece is None:
            if self._is_chunked:
                write(b"0\r\n\r\n")
            self._connection.piecemeal_over()
        elif not self._is_chunked:
            write(piece)
        elif piece:
            write(b"%x\r\n%b\r\n" % (len(piece), piece))

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


class _Connection(twisted_protocol.Protocol):
    """
    One connection, which may end before anybody has proved who it is.
    """

    _log = Logger()
    transport: Any

    def __init__(self, server: RpcServer) -> None:
        self._server = server
        self._reader = HttpReader(are_answers=False)
        self._waiting: deque[Exchange] = deque()
        """What came, in its order, until it was answered."""

        self._head: Head | None = None
        self._status = 0
        """Why what comes is no call."""

        self._body: list[bytes] = []
        self._length = 0
        self._names: frozenset[str] | None = None
        self._is_last = False
        self._is_paused = False
        self._is_producing = False
        self._timer: IDelayedCall | None = None
        self._heard_at = 0.0

    # --- life ---------------------------------------------------------------

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._timer = self._server.reactor.callLater(HANDSHAKE, self._timed_out)

    def connectionLost(self, reason: Failure = twisted_protocol.connectionDone) -> None:
        self._is_last = True
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if reason.check(SSL.Error):
            address, why = self._address(), tls_reason(reason.value)
            self._log.warn("refused a connection from {address}: {reason}", address=address, reason=why)
            self._server.refuse(address, why)

    def _timed_out(self) -> None:
        """
        Nobody proved who it is, or nobody calls any more.
        """
        self._timer = None
        idle = self._server.reactor.seconds() - self._heard_at
        if self._waiting and not self._is_last:
            self._timer = self._server.reactor.callLater(IDLE, self._timed_out)
        elif self._heard_at and idle < IDLE and not self._is_last:
            self._timer = self._server.reactor.callLater(IDLE - idle, self._timed_out)
        else:
            self.transport.abortConnection()

    def _address(self) -> str:
        peer = self.transport.getPeer() if self.transport is not None else None
        return getattr(peer, "host", "somewhere")

    # --- what comes ---------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._is_last:
            # Read only so that what was said to it arrives.
            self._length += len(data)
            if self._length > MOST_BODY:
                self.transport.abortConnection()
            return
        self._reader.feed(data)
        self._read()

    def _read(self) -> None:
        try:
            while not self._is_last and len(self._waiting) < MOST_WAITING:
                if not self._reader.tell(self):
                    return
        except HttpMalformed as error:
            self._misread(str(error), http.BAD_REQUEST)
        if not self._is_last and not self._is_paused and len(self._waiting) >= MOST_WAITING:
            self._is_paused = True
            self.transport.pauseProducing()

    def began(self, head: Head) -> None:
        """
        A call begins (L{HttpReceiver<sipxha.net.http1.HttpReceiver>}).
        """
        self._head, self._length = head, 0
        self._status = _status(head)
        if head.length is not None and head.length > MOST_BODY:
            self._too_long()
        elif head.fields.get("expect", "").lower() == "100-continue" and head.version and not self._waiting:
            # Before an earlier call is answered it would be taken for the answer to that.
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def took(self, piece: bytes) -> None:
        """
        A piece of it.
        """
        self._length += len(piece)
        if self._length > MOST_BODY:
            self._too_long()
        else:
            self._body.append(piece)

    def _too_long(self) -> None:
        self._misread(f"a call is longer than {MOST_BODY} octets", http.REQUEST_ENTITY_TOO_LARGE)

    def _misread(self, reason: str, status: int) -> None:
        """
        Answer what cannot be read, and read nothing any more.
        """
        self._body.clear()
        self._length = 0
        self._server.misread(self._address(), reason)
        self._is_last = True
        self._set_timer(HANDSHAKE)
        exchange = Exchange(self, is_last=True)
        self._waiting.append(exchange)
        exchange.refuse(status)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.reset(seconds)

    def ended(self) -> None:
        """
        That was all of it.
        """
        assert self._head is not None
        body = b"".join(self._body)
        self._body.clear()
        if not self._heard_at:
            self._set_timer(IDLE)
        self._heard_at = self._server.reactor.seconds()
        self._is_last = self._head.is_last
        exchange = Exchange(self, is_last=self._head.is_last)
        self._waiting.append(exchange)
        if self._status:
            exchange.refuse(self._status)
            return
        try:
            try:
                method, params = wire.decode_call(body)
                caller = rpc.caller_of(params)
            except wire.Fault as fault:
                self._server.misread(self._address(), str(fault))
                raise
            self._verify(caller, method)
            self._server.callee.call_received(exchange, method, params)
        except wire.Fault as fault:
            exchange.answer(wire.encode_fault(fault))

    def _verify(self, caller: str, method: str) -> None:
        """
        @raise wire.Fault: The caller is not who it says.
        """
        names = self._names
        if names is None:
            names = self._names = peer_names(self.transport)
        if caller in names:
            return
        self._log.warn(
            "refused {method}: {caller!r} is none of {names}",
            method=method[:80],
            caller=caller[:80],
            names=sorted(names),
        )
        self._server.refuse(self._address(), f"{caller} for {method}")
        raise wire.Fault(rpc.AUTHENTICATION, "TLS Peer Authentication Failure")

    # --- what goes ----------------------------------------------------------

    def date(self) -> bytes:
        """
        The time, as the answer to a call tells it.
        """
        return self._server.date()

    def write(self, text: bytes) -> None:
        """
        Send what is ready.
        """
        self.transport.write(text)

    def answered(self) -> None:
        """
        Send what is answered, in the order of the calls.
        """
        waiting = self._waiting
        while waiting and not self._is_producing and waiting[0].is_answered:
            exchange = waiting[0]
            if exchange.text is None:
                self._send_pieces(exchange)
                return
            waiting.popleft()
            self.write(exchange.text)
            if exchange.is_last:
                self.transport.loseConnection()
        if self._is_paused and len(waiting) < MOST_WAITING:
            self._is_paused = False
            self.transport.resumeProducing()
            self._read()

    def _send_pieces(self, exchange: Exchange) -> None:
        assert exchange.pieces is not None
        # A caller of HTTP/1.0 is its connection's last, and knows no chunks.
        is_chunked = not exchange.is_last
        framing = b"Transfer-Encoding: chunked\r\n" if is_chunked else _CLOSE
        self._is_producing = True
        self.write(b"%bDate: %b\r\n%b\r\n" % (_OK, self.date(), framing))
        self.transport.registerProducer(_Pieces(self, exchange.pieces, is_chunked=is_chunked), False)

    def piecemeal_over(self) -> None:
        """
        The last piece has left.
        """
        self.transport.unregisterProducer()
        self._is_producing = False
        if self._waiting and self._waiting.popleft().is_last:
            self.transport.loseConnection()
        self.answered()


def _status(head: Head) -> int:
    """
    Why a request cannot be a call; 0 if it may be one.
    """
    path = head.target
    if not path.startswith("/"):
        # Whoever takes us for a proxy names us, too (RFC 9112 3.2.2).
        path = "/" + path.partition("://")[2].partition("/")[2]
    if path != "/RPC2":
        return http.NOT_FOUND
    if head.method != "POST":
        return http.NOT_ALLOWED
    return http.UNSUPPORTED_MEDIA_TYPE if "content-encoding" in head.fields else 0


class _Secured(PromptTlsFactory):
    """
    HTTPS, and all connections that are open.
    """

    noisy = False

    def __init__(self, tls: MutualTls, connections: IProtocolFactory) -> None:
        super().__init__(tls, False, connections)
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

    @ivar refused: How many connections and calls were refused because of who
        made them, and what was no call.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, tls: MutualTls, callee: Callee, security: SecurityEvents | None = None
    ) -> None:
        """
        @param security: Hears of who calls and is none of our nodes.
        """
        self.reactor = reactor
        self.callee = callee
        self.refused = 0
        self._security = security or SecurityEvents()
        self._date = (0, b"")
        factory = Factory.forProtocol(lambda: _Connection(self))
        factory.noisy = False
        self._secured = _Secured(tls, factory)

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

    # --- what connections share ---------------------------------------------

    def refuse(self, address: str, what: str) -> None:
        """
        Count somebody who is none of our nodes.
        """
        self.refused += 1
        self._security.saw(REPLICATION, address, self.reactor.seconds(), transport="tls", detail=what)

    def misread(self, address: str, reason: str) -> None:
        """
        Count what somebody sent that is no call.
        """
        self.refused += 1
        self._log.warn("refused a call from {address}: {reason}", address=address, reason=reason[:500])

    def date(self) -> bytes:
        """
        The time as HTTP has it, which is made once a second.
        """
        now = int(self.reactor.seconds())
        if now != self._date[0]:
            self._date = now, http.datetimeToString(now)
        return self._date[1]
