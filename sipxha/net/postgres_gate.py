"""
A door to the node's database for its peers, as stunnel was for sipX.

A client of PostgreSQL asks a server whether it speaks TLS before it says
anything else.  The gate answers that it does, proves to be this node, demands
a certificate that names a configured peer, and only then connects to the local
server and passes bytes both ways.  It reads nothing of what it passes; a client
that wants no TLS, or comes under another name, never reaches the database.
"""

from __future__ import annotations

import struct
from collections.abc import Set
from typing import Any

from OpenSSL import SSL
from psycopg2.extensions import parse_dsn
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolNegotiationFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.auth.security_events import DATABASE, SecurityEvents
from sipxha.net.tls import peer_names

REQUEST = struct.Struct(">II")
SSL_REQUEST = REQUEST.pack(8, 80877103)
GSSENC_REQUEST = REQUEST.pack(8, 80877104)
"""What a client may ask before its start-up message (PostgreSQL, 55.2.10 and 55.2.11)."""

OPENING_LIMIT = 10.0
"""Seconds for a client to get through to the database."""

CONNECTIONS = 32
"""Of all peers together: each costs a process of the server."""

DEFAULT_SOCKETS = "/var/run/postgresql"


def database_endpoint(reactor: Any, dsn: str) -> IStreamClientEndpoint:
    """
    Find where the server of a DSN listens.
    """
    parts = parse_dsn(dsn)
    host = parts.get("hostaddr") or parts.get("host") or DEFAULT_SOCKETS
    port = int(parts.get("port") or 5432)
    if host.startswith("/"):
        return UNIXClientEndpoint(reactor, f"{host}/.s.PGSQL.{port}")
    return HostnameEndpoint(reactor, host, port)


@implementer(IProtocolNegotiationFactory)
class _Names:
    """
    What PostgreSQL calls its protocol within TLS (ALPN).
    """

    def acceptableProtocols(self) -> list[bytes]:
        """
        The only name that there is.
        """
        return [b"postgresql"]


@implementer(IOpenSSLServerConnectionCreator)
class _NamedTls:
    """
    The node's TLS for clients that name the protocol, as libpq does since 17:
    Twisted ends the handshake at a name that it has not been told of.
    """

    def __init__(self, tls: IOpenSSLServerConnectionCreator) -> None:
        self._tls = tls

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """
        Make a connection that knows the name.
        """
        # startTLS leaves empty the place where Twisted looks for names.
        tlsProtocol.factory.wrappedFactory = _Names()
        return self._tls.serverConnectionForTLS(tlsProtocol)


class _Database(Protocol):
    """
    The inner half of a connection.
    """

    def __init__(self, client: GateProtocol) -> None:
        self._client = client

    def dataReceived(self, data: bytes) -> None:
        """
        Pass the server's bytes on.
        """
        assert self._client.transport is not None
        self._client.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        End the outer half when all has been passed on.
        """
        self._client.database_lost()


@implementer(IHandshakeListener)
class GateProtocol(Protocol):
    """
    The outer half of a connection: a client, a peer, then a pipe.
    """

    _log = Logger()
    transport: Any

    def __init__(self, gate: PostgresGate, address: IAddress | None) -> None:
        self._gate = gate
        self._address = address
        self._received = b""
        self._is_secure = False
        self._database: _Database | None = None
        self._connecting: Deferred[Any] | None = None
        self._limit: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Take a client, unless there are too many.
        """
        if len(self._gate.clients) >= CONNECTIONS:
            self._refuse("too many connections")
            return
        self._gate.clients.add(self)
        self._limit = self._gate.reactor.callLater(OPENING_LIMIT, self._refuse, "it took too long")

    def dataReceived(self, data: bytes) -> None:
        """
        Answer the client's first question, or pass its bytes on.
        """
        if self._database is not None:
            self._database.transport.write(data)  # type: ignore[union-attr]
            return
        self._received += data
        if self._is_secure:
            # Until the database is connected.  Reading is paused, so that
            # this is what one read brought.
            return
        if len(self._received) < REQUEST.size:
            return
        question, rest = self._received[: REQUEST.size], self._received[REQUEST.size :]
        self._received = b""
        # Bytes behind the question are not protected, and must not be taken
        # for what comes through TLS (CVE-2021-23214).
        if question == GSSENC_REQUEST and not rest:
            self.transport.write(b"N")
        elif question == SSL_REQUEST and not rest:
            self.transport.write(b"S")
            self._is_secure = True
            self.transport.startTLS(self._gate.tls)
        else:
            self._refuse("it asks for no TLS")

    def handshakeCompleted(self) -> None:
        """
        Look at who it is, and connect to the database for a peer.
        """
        names = peer_names(self.transport)
        if not names & self._gate.peers:
            self._refuse(f"{', '.join(sorted(names)) or 'nobody'} is no peer")
            return
        self.transport.pauseProducing()
        self._connecting = connectProtocol(self._gate.database, _Database(self))
        self._connecting.addCallbacks(self._connected, self._not_connected)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        End the inner half as well.
        """
        self._gate.clients.discard(self)
        self._stop_limit()
        if self._connecting is not None:
            self._connecting.cancel()
        database, self._database = self._database, None
        if database is not None:
            inner: Any = database.transport
            inner.unregisterProducer()
            inner.loseConnection()

    def database_lost(self) -> None:
        """
        The server ended the connection, unless we did.
        """
        if self._database is None:
            return
        self._database = None
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _connected(self, database: _Database) -> None:
        self._connecting = None
        self._stop_limit()
        self._database = database
        inner: Any = database.transport
        # Each side is read only as fast as the other one takes it.
        inner.registerProducer(self.transport, True)
        self.transport.registerProducer(inner, True)
        received, self._received = self._received, b""
        if received:
            inner.write(received)
        self.transport.resumeProducing()

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        if failure.check(CancelledError) is None:
            failure.trap(ConnectError, OSError)
            self._end(f"the database is not there: {failure.getErrorMessage()}")

    def _refuse(self, reason: str) -> None:
        source, now = getattr(self._address, "host", ""), self._gate.reactor.seconds()
        self._gate.security.saw(DATABASE, source, now, transport="tls", detail=reason)
        self._end(reason)

    def _end(self, reason: str) -> None:
        self._log.warn("{address} was refused the database: {reason}", address=self._address, reason=reason)
        self.transport.abortConnection()

    def _stop_limit(self) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()


class PostgresGate(Service):
    """
    The listening port of C{call-events/@listen}.
    """

    def __init__(
        self,
        reactor: Any,
        tls: IOpenSSLServerConnectionCreator,
        peers: Set[str],
        address: str,
        port: int,
        dsn: str,
        security: SecurityEvents | None = None,
    ) -> None:
        """
        @param tls: The node's own certificate and the authority of its peers.
        @param peers: The lower-case names that may come in.
        @param dsn: The local database; only its host and port matter here,
            since every client logs in by itself.
        @param security: Hears of who is refused.
        """
        self.reactor = reactor
        self.tls = _NamedTls(tls)
        self.peers = peers
        self.security = security or SecurityEvents()
        self.database = database_endpoint(reactor, dsn)
        self.clients: set[GateProtocol] = set()
        self._address = address
        self._port = port
        self._listening: IListeningPort | None = None

    @property
    def port(self) -> int:
        """
        The port that is bound.
        """
        assert self._listening is not None
        return int(self._listening.getHost().port)  # type: ignore[attr-defined]

    def startService(self) -> None:
        """
        Open the port.

        @raise CannotListenError: It is in use.
        """
        super().startService()
        self._listening = self.reactor.listenTCP(self._port, _Clients(self), interface=self._address)

    def stopService(self) -> Deferred[None]:
        """
        Close the port, and drop who is connected.
        """
        super().stopService()
        for client in tuple(self.clients):
            client.transport.abortConnection()
        return Deferred.fromCoroutine(self._close_port())

    async def _close_port(self) -> None:
        listening, self._listening = self._listening, None
        closing = None if listening is None else listening.stopListening()
        if closing is not None:
            await closing


class _Clients(Factory):
    noisy = False

    def __init__(self, gate: PostgresGate) -> None:
        self._gate = gate

    def buildProtocol(self, addr: IAddress | None) -> GateProtocol:
        """
        One protocol for each client.
        """
        return GateProtocol(self._gate, addr)
