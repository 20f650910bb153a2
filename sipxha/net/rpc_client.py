"""
Calls peers by XML-RPC over HTTPS.

One persistent connection for each peer carries all calls, one after the
other.  A call that hears nothing for L{SILENCE} seconds has failed and takes
its connection with it, so that a late answer is never taken for the next
one's.  Nothing is tried twice: when to call again is the engine's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from sipxha.errors import RemoteError, SipxhaError
from sipxha.net.tls import MutualTls, tls_reason
from sipxha.sync import wire

SILENCE = 3.0
"""Seconds without a byte after which a call has failed, the connecting included."""

MOST_ANSWER = 1 << 20
"""Octets of an answer that is not one of rows."""

MOST_ROWS_ANSWER = 1 << 30
"""Octets of an answer of rows, which is never held as a whole."""

_HEADERS = {"Content-Type": ["text/xml"], "Accept": ["text/xml"], "User-Agent": ["sipxha"]}

Addresses = Callable[[str], Deferred[list[str]]]
ReadRow = Callable[[dict[str, wire.Value]], Any]


class CallFailed(RemoteError):
    """
    A peer could not be called, or answered otherwise than by XML-RPC.
    """


class RpcClient:
    """
    The calls of this node to all its peers.
    """

    def __init__(self, reactor: Any, tls: MutualTls, port: int, addresses: Addresses) -> None:
        """
        @param port: Where every peer listens.
        @param addresses: Where a peer is.
        """
        self._reactor = reactor
        self._port = port
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = 1
        self._pool.retryAutomatically = False
        self._peers = _Peers(reactor, tls, addresses)
        self._agent = Agent.usingEndpointFactory(reactor, self._peers, self._pool)
        self._calls: set[Deferred[Any]] = set()

    def call(
        self,
        peer: str,
        method: str,
        params: Sequence[wire.Value],
        read_row: ReadRow | None = None,
        patience: float = SILENCE,
        most: int = MOST_ROWS_ANSWER,
    ) -> Deferred[Any]:
        """
        Call one method of a peer.  The one before must be over.

        @param read_row: How to read each row of an answer of rows.
        @param patience: Seconds until the peer begins to answer.
        @param most: Octets of an answer of rows.

        @return: The value; fails with L{wire.Fault} or L{CallFailed}.
        """
        begins: Callable[[_Silence, Callable[[], None]], _Answer] = _ShortAnswer
        if read_row is not None:
            begins = partial(_RowsAnswer, read_row, most)
        call = Deferred.fromCoroutine(self._call(peer, method, params, begins, patience))
        self._calls.add(call)

        def over(result: Any) -> Any:
            self._calls.discard(call)
            return result

        return call.addBoth(over)

    def certificate_end(self, peer: str) -> datetime | None:
        """
        When the certificate that a peer showed last ends; C{None} while there is no connection.
        """
        return self._peers.certificate_end(peer)

    def close(self) -> Deferred[Any]:
        """
        Give up all calls and connections.
        """
        for call in list(self._calls):
            call.cancel()
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed

    async def _call(
        self,
        peer: str,
        method: str,
        params: Sequence[wire.Value],
        begins: Callable[[_Silence, Callable[[], None]], _Answer],
        patience: float,
    ) -> Any:
        url = f"https://{peer}:{self._port}/RPC2".encode()
        body = _Body(wire.encode_call(method, params))
        request: Deferred[IResponse] = self._agent.request(b"POST", url, Headers(_HEADERS), body)
        silence = _Silence(self._reactor, request.cancel, patience)

        def abort() -> None:
            self._peers.abort(peer)

        try:
            response = await request
            silence.heard(abort)
            if response.code != 200:
                begins = partial(_NoAnswer, response)
            answer = begins(silence, abort)
            response.deliverBody(answer)
            return await answer.value
        except _FAILURES as failure:
            raise CallFailed(silence.reason or _said(failure)) from failure
        finally:
            silence.end()


class _Silence:
    """
    Gives up when nothing is heard for too long.
    """

    def __init__(self, reactor: Any, give_up: Callable[[], None], patience: float) -> None:
        self.reason = ""
        self._give_up = give_up
        self._patience = patience
        self._timer: IDelayedCall = reactor.callLater(patience, self._ended)

    def heard(self, give_up: Callable[[], None]) -> None:
        """
        There was something.

        @param give_up: What to do if there is nothing more.
        """
        self._give_up = give_up
        self._patience = SILENCE
        self._timer.reset(SILENCE)

    def end(self) -> None:
        """
        It does not matter any more.
        """
        if self._timer.active():
            self._timer.cancel()

    def _ended(self) -> None:
        self.reason = f"no answer within {self._patience:g} seconds"
        self._give_up()


class _Answer(Protocol):
    """
    Takes the body of an answer.
    """

    most = MOST_ANSWER

    def __init__(self, silence: _Silence, abort: Callable[[], None]) -> None:
        self.value: Deferred[Any] = Deferred(lambda _: abort())
        self._silence = silence
        self._abort = abort
        self._length = 0

    def dataReceived(self, data: bytes) -> None:
        if self.value.called:
            return
        self._silence.heard(self._abort)
        self._length += len(data)
        try:
            if self._length > self.most:
                raise CallFailed(f"the answer is longer than {self.most} octets")
            self.take(data)
        except SipxhaError:
            # What is left of it would have to be read to use the connection again.
            self._abort()
            self.value.errback(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.value.called:
            return
        if not reason.check(ResponseDone):
            self.value.errback(reason)
            return
        try:
            value = self.whole()
        except SipxhaError:
            self.value.errback(Failure())
        else:
            self.value.callback(value)

    def take(self, data: bytes) -> None:
        raise NotImplementedError

    def whole(self) -> Any:
        raise NotImplementedError


class _ShortAnswer(_Answer):
    """
    An answer that is read when it is there.
    """

    def __init__(self, silence: _Silence, abort: Callable[[], None]) -> None:
        super().__init__(silence, abort)
        self._parts: list[bytes] = []

    def take(self, data: bytes) -> None:
        self._parts.append(data)

    def whole(self) -> Any:
        return wire.decode_answer(b"".join(self._parts))


class _RowsAnswer(_Answer):
    """
    An answer that is read as it comes.
    """

    def __init__(self, read_row: ReadRow, most: int, silence: _Silence, abort: Callable[[], None]) -> None:
        super().__init__(silence, abort)
        self.most = most
        self._reader = wire.RowReader(read_row)

    def take(self, data: bytes) -> None:
        self._reader.feed(data)

    def whole(self) -> Any:
        return self._reader.close()


class _NoAnswer(_Answer):
    """
    What a peer sends that is not as far as XML-RPC.
    """

    def __init__(self, response: IResponse, silence: _Silence, abort: Callable[[], None]) -> None:
        super().__init__(silence, abort)
        self._said = f"HTTP {response.code} {response.phrase.decode('ascii', 'replace')}"

    def take(self, data: bytes) -> None:
        """
        It is read only so that the connection can be used again.
        """

    def whole(self) -> Any:
        raise CallFailed(self._said)


@implementer(IBodyProducer)
class _Body:
    """
    A body that is written at once: calls are short.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        All is written already.
        """

    def resumeProducing(self) -> None:
        """
        All is written already.
        """

    def stopProducing(self) -> None:
        """
        All is written already.
        """


@implementer(IAgentEndpointFactory)
class _Peers:
    """
    Where the Agent connects to.
    """

    def __init__(self, reactor: Any, tls: MutualTls, addresses: Addresses) -> None:
        self._reactor = reactor
        self._tls = tls
        self._addresses = addresses

        self._connections: dict[str, Any] = {}

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return _Peer(self, uri.host.decode("ascii"), uri.port)

    async def connect(self, name: str, port: int, factory: IProtocolFactory) -> IProtocol:
        """
        Connect to whichever address of a peer answers.
        """
        addresses = await self._addresses(name)
        # Each of them in turn, all within the silence that a call endures.
        timeout = SILENCE / max(1, len(addresses))
        failure: Exception = CallFailed(f"{name} has no address")
        for address in addresses:
            plain = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            there = plain(self._reactor, address, port, timeout)
            try:
                connection = await wrapClientTLS(self._tls.client(name), there).connect(factory)
            except error.ConnectError as refused:
                failure = refused
            else:
                self._connections[name] = connection
                return connection
        raise failure

    def certificate_end(self, name: str) -> datetime | None:
        """
        When the certificate that a peer showed ends.
        """
        connection = self._connections.get(name)
        if connection is None or connection.transport is None or not connection.transport.connected:
            return None
        certificate = connection.transport.getPeerCertificate()
        return None if certificate is None else certificate.to_cryptography().not_valid_after_utc

    def abort(self, name: str) -> None:
        """
        Drop the connection to a peer, which the Agent does not do in the middle of an answer.
        """
        connection = self._connections.pop(name, None)
        if connection is not None and connection.transport is not None:
            connection.transport.abortConnection()


@implementer(IStreamClientEndpoint)
class _Peer:
    """
    One peer.
    """

    def __init__(self, peers: _Peers, name: str, port: int) -> None:
        self._peers = peers
        self._name = name
        self._port = port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._peers.connect(self._name, self._port, protocolFactory))


_FAILURES = (
    error.ConnectError,
    error.ConnectingCancelledError,
    error.ConnectionClosed,
    error.ConnectionAborted,
    ResponseFailed,
    RequestTransmissionFailed,
    CancelledError,
    SSL.Error,
)


def _said(failure: Exception) -> str:
    """
    What is behind the Agent's wrappers, in words.
    """
    reasons: Iterable[Failure] = getattr(failure, "reasons", ())
    for reason in reasons:
        if not reason.check(ResponseDone):
            return _said(reason.value) if isinstance(reason.value, Exception) else str(reason.value)
    if isinstance(failure, SSL.Error):
        return tls_reason(failure)
    return str(failure) or type(failure).__name__
