"""
Calls peers by XML-RPC over HTTPS.

One persistent connection for each peer carries all calls; the answers come in
the order in which they were made, so that a call need not wait for the answer
to the one before it.  When nothing is heard for L{SILENCE} seconds, the oldest
call has failed and takes its connection and all later calls with it: a late
answer is never taken for the next one's.  Nothing is tried twice: when to call
again is the engine's to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from sipxha.errors import RemoteError, SipxhaError
from sipxha.net.http1 import END, Head, HttpMalformed, HttpReader
from sipxha.net.tls import MutualTls, PromptTlsFactory, tls_reason
from sipxha.sync import wire

SILENCE = 3.0
"""Seconds without a byte after which a call has failed, the connecting included."""

MOST_ANSWER = 1 << 20
"""Octets of an answer that is not one of rows."""

MOST_ROWS_ANSWER = 1 << 30
"""Octets of an answer of rows, which is never held as a whole."""

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
        self._tls = tls
        self._port = port
        self._addresses = addresses
        self._connections: dict[str, _Connection] = {}
        self._going: set[_Connection] = set()

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
        Call one method of a peer.  Those before are answered first.

        @param read_row: How to read each row of an answer of rows.
        @param patience: Seconds until the peer begins to answer.
        @param most: Octets of an answer of rows.

        @return: The value; fails with L{wire.Fault} or L{CallFailed}.
        """
        try:
            body = wire.encode_call(method, params)
        except SipxhaError:
            return fail(Failure())
        answer = _ShortAnswer() if read_row is None else _RowsAnswer(read_row, most)
        connection = self._connections.get(peer)
        if connection is not None and not connection.is_over:
            return connection.call(body, answer, patience)
        connection = self._connections[peer] = _Connection(self._reactor, peer, self._port)
        self._going.add(connection)
        connection.gone.addCallback(lambda _: self._going.discard(connection))
        value = connection.call(body, answer, patience)
        connection.connect(self._tls, self._addresses)
        return value

    def certificate_end(self, peer: str) -> datetime | None:
        """
        When the certificate that a peer showed last ends; C{None} while there is no connection.
        """
        connection = self._connections.get(peer)
        transport = None if connection is None or connection.is_over else connection.transport
        certificate = None if transport is None else transport.getPeerCertificate()
        return None if certificate is None else certificate.to_cryptography().not_valid_after_utc

    def close(self) -> Deferred[Any]:
        """
        Give up all calls and connections.
        """
        going = list(self._going)
        for each in going:
            each.give_up(CallFailed("given up"))
        return DeferredList([each.gone for each in going])


class _Answer:
    """
    What takes the body of an answer.
    """

    most = MOST_ANSWER

    def take(self, data: bytes) -> None:
        """
        A piece of it.

        @raise SipxhaError: It is nothing that could be an answer.
        """
        raise NotImplementedError

    def whole(self) -> Any:
        """
        That was all.

        @raise SipxhaError: It is no answer, or one that says no.
        """
        raise NotImplementedError


class _ShortAnswer(_Answer):
    """
    An answer that is read when it is there.
    """

    def __init__(self) -> None:
        self._text = b""

    def take(self, data: bytes) -> None:
        self._text = self._text + data if self._text else data

    def whole(self) -> Any:
        return wire.decode_answer(self._text)


class _RowsAnswer(_Answer):
    """
    An answer that is read as it comes.
    """

    def __init__(self, read_row: ReadRow, most: int) -> None:
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

    def __init__(self, head: Head) -> None:
        self._said = f"HTTP {head.status} {head.phrase}"

    def take(self, data: bytes) -> None:
        """
        It is read only so that the connection can be used again.
        """

    def whole(self) -> Any:
        raise CallFailed(self._said)


class _Call:
    """
    A call that is not answered yet.
    """

    __slots__ = ("answer", "length", "patience", "value")

    def __init__(self, answer: _Answer, patience: float, give_up: Callable[[Any], None]) -> None:
        self.answer = answer
        self.patience = patience
        self.length = 0
        self.value: Deferred[Any] = Deferred(give_up)


class _Connection(Protocol):
    """
    The connection to one peer, from its first call on, and all that is under way on it.

    @ivar is_over: It takes no more calls.
    @ivar gone: Fires when nothing is left of it.
    """

    transport: Any

    def __init__(self, reactor: Any, peer: str, port: int) -> None:
        self.is_over = False
        self.gone: Deferred[None] = Deferred()
        self._reactor = reactor
        self._peer = peer
        self._port = port
        self._head = (
            f"POST /RPC2 HTTP/1.1\r\nHost: {peer}:{port}\r\nUser-Agent: sipxha\r\n"
            "Accept: text/xml\r\nContent-Type: text/xml\r\nContent-Length: "
        ).encode()
        self._reader = HttpReader(are_answers=True)
        self._calls: deque[_Call] = deque()
        self._unsent: list[bytes] = []
        self._connecting: Deferred[None] | None = None
        self._is_last = False
        self._timer: IDelayedCall | None = None
        self._patience = SILENCE

    # --- calls --------------------------------------------------------------

    def call(self, body: bytes, answer: _Answer, patience: float) -> Deferred[Any]:
        """
        Send a call, at once or when there is a connection.
        """
        call = _Call(answer, patience, self._cancelled)
        self._calls.append(call)
        if len(self._calls) == 1:
            self._wait(patience)
        text = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        if self.transport is None:
            self._unsent.append(text)
        else:
            self.transport.write(text)
        return call.value

    def _cancelled(self, _: Any) -> None:
        self.give_up(CallFailed("given up"))

    def give_up(self, reason: BaseException) -> None:
        """
        All that is under way has failed; nothing that comes is read any more.
        """
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        if self.transport is not None:
            self.transport.abortConnection()
        elif not self.gone.called:
            self.gone.callback(None)
        # Who hears of it may make calls, but not here.
        calls, self._calls = self._calls, deque()
        for call in calls:
            if not call.value.called:
                call.value.errback(reason)

    # --- the connection -----------------------------------------------------

    def connect(self, tls: MutualTls, addresses: Addresses) -> None:
        """
        Find the peer.
        """
        self._connecting = Deferred.fromCoroutine(self._connect(tls, addresses))
        self._connecting.addErrback(self._not_connected)

    async def _connect(self, tls: MutualTls, addresses: Addresses) -> None:
        """
        Connect to whichever address of a peer answers.
        """
        factory = PromptTlsFactory(tls.client(self._peer), True, Factory.forProtocol(lambda: self))
        found = await addresses(self._peer)
        # Each of them in turn, all within the silence that a call endures.
        timeout = SILENCE / max(1, len(found))
        failure: Exception = CallFailed(f"{self._peer} has no address")
        for address in found:
            plain = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            try:
                await plain(self._reactor, address, self._port, timeout).connect(factory)
            except error.ConnectError as refused:
                failure = refused
            else:
                return
        raise failure

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        if not self.is_over:
            self.give_up(_failed(failure))

    def connectionMade(self) -> None:
        self._connecting = None
        self.transport.setTcpNoDelay(True)
        if self.is_over:
            self.transport.abortConnection()
            return
        unsent, self._unsent = self._unsent, []
        for each in unsent:
            self.transport.write(each)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport = None
        if not self.is_over and self._calls and self._reader.close() is END:
            self.ended()
        self.give_up(_failed(reason))

    # --- answers ------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self.is_over:
            return
        try:
            self._reader.feed(data)
            if self._calls:
                self._wait(SILENCE)
            while not self.is_over and self._reader.tell(self):
                pass
        except HttpMalformed as malformed:
            self._refuse(CallFailed(str(malformed)))
        except SipxhaError as failure:
            # What is left of it would have to be read to use the connection again.
            self._refuse(failure)

    def began(self, head: Head) -> None:
        """
        The answer to the oldest call begins (L{HttpReceiver<sipxha.net.http1.HttpReceiver>}).
        """
        if not self._calls:
            raise CallFailed("an answer came to no call")
        self._is_last = head.is_last
        if head.status != 200:
            self._calls[0].answer = _NoAnswer(head)

    def took(self, data: bytes) -> None:
        """
        A piece of it.
        """
        call = self._calls[0]
        call.length += len(data)
        if call.length > call.answer.most:
            raise CallFailed(f"the answer is longer than {call.answer.most} octets")
        call.answer.take(data)

    def ended(self) -> None:
        """
        That was all of it.
        """
        call = self._calls.popleft()
        if self._is_last:
            self.is_over = True
        elif self._calls:
            self._wait(self._calls[0].patience)
        try:
            value = call.answer.whole()
        except SipxhaError:
            call.value.errback(Failure())
        else:
            call.value.callback(value)
        if self._is_last:
            self.give_up(CallFailed("the peer closed the connection before it answered"))

    def _refuse(self, failure: SipxhaError) -> None:
        """
        The oldest call has failed by what came, and the others with its connection.
        """
        self.is_over = True
        if self._calls:
            self._calls.popleft().value.errback(failure)
        self.give_up(CallFailed(f"given up with the call before: {failure}"))

    # --- silence ------------------------------------------------------------

    def _wait(self, patience: float) -> None:
        self._patience = patience
        # The timer outlives the calls: to move it is cheaper than to make it.
        if self._timer is None:
            self._timer = self._reactor.callLater(patience, self._silent)
        else:
            self._timer.reset(patience)

    def _silent(self) -> None:
        self._timer = None
        if self._calls:
            self.give_up(CallFailed(f"no answer within {self._patience:g} seconds"))


def _failed(failure: Failure) -> BaseException:
    """
    What a call fails with.
    """
    reason = failure.value
    if not isinstance(reason, _EXPECTED):
        # Whatever it was, it is ours, and the one who called is to log it.
        assert reason is not None
        return reason
    said = tls_reason(reason) if isinstance(reason, SSL.Error) else str(reason) or type(reason).__name__
    wrapped = CallFailed(said)
    wrapped.__cause__ = reason
    return wrapped


_EXPECTED = (
    error.ConnectError,
    error.ConnectingCancelledError,
    error.ConnectionClosed,
    error.ConnectionAborted,
    CancelledError,
    SSL.Error,
    SipxhaError,
)
