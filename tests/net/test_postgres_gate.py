"""
Tests for the door to the database: libpq itself comes in over real TLS.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from psycopg2.extensions import make_dsn
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.auth.security_events import SecurityEvents
from sipxha.config.model import Tls
from sipxha.net.postgres_gate import (
    CONNECTIONS,
    GSSENC_REQUEST,
    OPENING_LIMIT,
    SSL_REQUEST,
    GateProtocol,
    PostgresGate,
    database_endpoint,
)
from sipxha.net.tls import MutualTls
from sipxha.store.pool import DatabaseUnavailable, Pool
from tests.support.certs import Authority
from tests.support.postgres import PostgresForTests

PEER = "sipx2.example.com"


class _Transport(StringTransport):
    """
    A transport that notes the start of TLS.
    """

    is_secure = False
    aborted = False

    def startTLS(self, context: object, normal: bool = True) -> None:
        self.is_secure = True

    def abortConnection(self) -> None:
        self.aborted = True


class OpeningTests(SynchronousTestCase):
    """
    Tests for what a client may say before it is let in.
    """

    def client(self) -> tuple[GateProtocol, _Transport]:
        self.clock = Clock()
        self.security = SecurityEvents()
        self.gate = PostgresGate(
            self.clock,
            None,  # type: ignore[arg-type]
            {PEER},
            "127.0.0.1",
            0,
            "host=/nowhere",
            self.security,
        )
        return self.another()

    def another(self) -> tuple[GateProtocol, _Transport]:
        client = GateProtocol(self.gate, IPv4Address("TCP", "192.0.2.7", 40000))
        transport = _Transport()
        client.makeConnection(transport)
        return client, transport

    def test_a_question_for_tls_is_answered_with_yes(self) -> None:
        """
        Also when it comes a byte at a time.
        """
        client, transport = self.client()
        for byte in SSL_REQUEST:
            client.dataReceived(bytes([byte]))
        self.assertEqual(transport.value(), b"S")
        self.assertTrue(transport.is_secure)

    def test_a_question_for_gssapi_is_answered_with_no(self) -> None:
        """
        The client asks for TLS next.
        """
        client, transport = self.client()
        client.dataReceived(GSSENC_REQUEST)
        self.assertFalse(transport.is_secure)
        client.dataReceived(SSL_REQUEST)
        self.assertEqual(transport.value(), b"NS")

    def test_anything_else_is_refused(self) -> None:
        """
        A start-up message without TLS, bytes behind the question, HTTP.
        """
        start_up = b"\x00\x00\x00\x10\x00\x03\x00\x00user\0x\0\0"
        for data in (start_up, SSL_REQUEST + b"x", GSSENC_REQUEST + SSL_REQUEST, b"GET / HTTP/1.1\r\n"):
            client, transport = self.client()
            client.dataReceived(data)
            self.assertTrue(transport.aborted, data)
            self.assertEqual(transport.value(), b"")
            self.assertEqual(self.security.counts["database-refused"], 1)

    def test_silence_is_ended(self) -> None:
        """
        A connection that asks for nothing costs nothing for long.
        """
        _, transport = self.client()
        self.clock.advance(OPENING_LIMIT)
        self.assertTrue(transport.aborted)

    def test_there_are_only_so_many(self) -> None:
        """
        One more is refused until another has gone.
        """
        first, _ = self.client()
        for _ in range(CONNECTIONS - 1):
            self.another()
        self.assertTrue(self.another()[1].aborted)
        first.connectionLost()
        self.assertFalse(self.another()[1].aborted)

    def test_the_database_is_found_by_its_dsn(self) -> None:
        """
        A folder of sockets, or an address.
        """
        here: Any = database_endpoint(reactor, "host=/run/postgresql port=5433 dbname=x")
        self.assertIsInstance(here, UNIXClientEndpoint)
        self.assertEqual(here._path, "/run/postgresql/.s.PGSQL.5433")
        self.assertIsInstance(database_endpoint(reactor, "host=127.0.0.1"), HostnameEndpoint)


class GateTests(TestCase):
    """
    Tests with a real database behind the gate.
    """

    def setUp(self) -> None:
        """
        A gate of sipx1 that lets sipx2 in.
        """
        folder = Path(tempfile.mkdtemp(prefix="sipxha-gate-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.authority = Authority(folder / "ca")
        self.stranger = Authority(folder / "other")
        self.dsn = PostgresForTests.shared().fresh()

    def gate(self, dsn: str | None = None) -> PostgresGate:
        tls = MutualTls(self.authority.issue("sipx1.example.com"))
        gate = PostgresGate(reactor, tls, {PEER}, "127.0.0.1", 0, dsn or self.dsn)
        gate.startService()
        self.addCleanup(gate.stopService)
        return gate

    def pool(self, gate: PostgresGate, tls: Tls, **parameters: object) -> Pool:
        chosen: dict[str, object] = {
            "host": "sipx1.example.com",
            "hostaddr": "127.0.0.1",
            "port": gate.port,
            "sslmode": "verify-full",
            "sslrootcert": tls.authority,
            "sslcert": tls.certificate,
            "sslkey": tls.key,
            "gssencmode": "disable",
        }
        # libpq wants the key to be its owner's only.
        tls.key.chmod(0o600)
        pool = Pool(reactor, make_dsn(self.dsn, **(chosen | parameters)))
        self.addCleanup(pool.close)
        return pool

    async def test_a_peer_gets_through_to_the_database(self) -> None:
        """
        As if it sat beside it: the server itself speaks no TLS.
        """
        pool = self.pool(self.gate(), self.authority.issue(PEER))
        self.assertEqual(await pool.run("SELECT current_database()"), [(self.dsn.rpartition("=")[2],)])

    async def test_much_passes_both_ways(self) -> None:
        """
        More than any buffer holds.
        """
        pool = self.pool(self.gate(), self.authority.issue(PEER))
        text = "x" * 3_000_000
        self.assertEqual((await pool.run("SELECT %s || %s", (text, text)))[0][0], text + text)

    async def test_another_name_is_refused(self) -> None:
        """
        Even with a certificate of the right authority.
        """
        gate = self.gate()
        pool = self.pool(gate, self.authority.issue("sipx3.example.com"))
        await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)

    async def test_another_authority_is_refused(self) -> None:
        """
        Whatever name it gives.
        """
        tls = self.stranger.issue(PEER)
        pool = self.pool(self.gate(), tls, sslrootcert=self.authority.path)
        await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)

    async def test_no_certificate_is_refused(self) -> None:
        """
        The client may verify us as it likes.
        """
        pool = self.pool(self.gate(), self.authority.issue(PEER), sslcert="/nowhere", sslkey="/nowhere")
        await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)

    async def test_no_tls_is_refused(self) -> None:
        """
        The database is never asked.
        """
        pool = self.pool(self.gate(), self.authority.issue(PEER), sslmode="disable")
        await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)

    async def test_the_gate_proves_its_name(self) -> None:
        """
        A client that wants another node is not content with this one.
        """
        pool = self.pool(self.gate(), self.authority.issue(PEER), host="sipx9.example.com")
        await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)

    async def test_a_database_that_is_down_ends_the_connection(self) -> None:
        """
        The client hears of it at once.
        """
        gate = self.gate("host=/nowhere")
        await self.assertFailure(
            self.pool(gate, self.authority.issue(PEER)).run("SELECT 1"), DatabaseUnavailable
        )

    async def test_stopping_drops_who_is_connected(self) -> None:
        """
        And the port is free again.
        """
        gate = self.gate()
        pool = self.pool(gate, self.authority.issue(PEER))
        await pool.run("SELECT 1")
        port = gate.port
        await gate.stopService()
        await self.assertFailure(pool.run("SELECT 1"), DatabaseUnavailable)
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))

    async def test_both_halves_end_together(self) -> None:
        """
        When the client goes the server's process goes too.
        """
        gate = self.gate()
        pool = self.pool(gate, self.authority.issue(PEER))
        pid = (await pool.run("SELECT pg_backend_pid()"))[0][0]
        pool.close()
        local = Pool(reactor, self.dsn)
        self.addCleanup(local.close)
        while await local.run("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)):
            pass
        self.assertEqual(gate.clients, set())

    async def test_a_plain_client_hears_nothing_of_the_database(self) -> None:
        """
        Its connection just ends.
        """
        heard = _Heard()
        await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", self.gate().port), heard)
        assert heard.transport is not None
        heard.transport.write(b"\x00\x00\x00\x10\x00\x03\x00\x00user\0x\0\0")
        await heard.ended
        self.assertEqual(heard.received, b"")


class _Heard(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)
