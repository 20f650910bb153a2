"""
Tests for L{sipxha.net.rpc_client} against peers that misbehave; with the
real server it is tested in C{test_rpc_server}.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

from sipxha.net.rpc_client import MOST_ANSWER, SILENCE, CallFailed, ReadRow, RpcClient
from sipxha.net.tls import MutualTls
from sipxha.sync import wire
from sipxha.sync.structs import MEMO
from tests.support.certs import Authority

reactor: Any = _reactor
NAME = "sipx1.example.com"


class _Server(Protocol):
    """
    Answers each request with what the test gave it, or not at all.
    """

    def __init__(self, peer: ScriptedPeer) -> None:
        self._peer = peer

    def connectionMade(self) -> None:
        self._peer.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self._peer.asked.append(data)
        waiting, self._peer.waiting = self._peer.waiting, None
        if self._peer.script:
            assert self.transport is not None
            self.transport.write(self._peer.script.pop(0))
        if waiting is not None:
            waiting.callback(None)

    def connectionLost(self, reason: Any = None) -> None:
        self._peer.lost.callback(None)
        self._peer.lost = Deferred()


class ScriptedPeer:
    """
    A peer that speaks TLS and then whatever it was told.
    """

    def __init__(self, tls: MutualTls) -> None:
        self.script: list[bytes] = []
        self.asked: list[bytes] = []
        self.connections: list[_Server] = []
        self.waiting: Deferred[None] | None = None
        self.lost: Deferred[None] = Deferred()
        secured = TLSMemoryBIOFactory(tls, False, Factory.forProtocol(lambda: _Server(self)))
        self.port: IListeningPort = reactor.listenTCP(0, secured, interface="127.0.0.1")

    def asks(self) -> Deferred[None]:
        """
        Fires at the next request.
        """
        self.waiting = Deferred()
        return self.waiting


class _TimedReactor:
    """
    The real reactor with a clock of the test's own.
    """

    def __init__(self) -> None:
        self.clock = Clock()

    def __getattr__(self, name: str) -> Any:
        owner = self.clock if name in ("callLater", "seconds") else reactor
        return getattr(owner, name)


def http(body: bytes, status: bytes = b"200 OK") -> bytes:
    """
    A whole HTTP response.
    """
    return b"HTTP/1.1 %s\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


class RpcClientTests(TestCase):
    """
    Tests for calls that do not go as they should.
    """

    def setUp(self) -> None:
        authority = Authority(Path(self.mktemp()))
        self.peer = ScriptedPeer(MutualTls(authority.issue(NAME)))
        self.addCleanup(self.peer.port.stopListening)
        self.timed = _TimedReactor()
        self.tls = MutualTls(authority.issue("sipx2.example.com"))
        self.client = self.make_client(lambda name: succeed(["127.0.0.1"]))

    def make_client(self, addresses: Callable[[str], Deferred[list[str]]]) -> RpcClient:
        port: Any = self.peer.port.getHost()
        client = RpcClient(self.timed, self.tls, port.port, addresses)
        self.addCleanup(client.close)
        return client

    def call(self, rows: ReadRow | None = None) -> Deferred[Any]:
        return self.client.call(NAME, "registrarSync.reset", ["sipx2.example.com", wire.I8(1)], rows)

    async def fails(self, call: Deferred[Any], because: str) -> None:
        failure = await self.assertFailure(call, CallFailed)
        self.assertIn(because, str(failure))

    async def test_a_call_carries_what_older_registrars_need(self) -> None:
        """
        Path, content length and a persistent connection.
        """
        self.peer.script.append(http(wire.encode_answer(wire.I8(7))))
        self.assertEqual(await self.call(), 7)
        self.assertTrue(self.peer.asked[0].startswith(b"POST /RPC2 HTTP/1.1\r\n"))
        self.assertIn(b"Content-Length: ", self.peer.asked[0])
        self.assertNotIn(b"Connection: close", self.peer.asked[0])

    async def test_a_silent_peer_fails_the_call_and_loses_the_connection(self) -> None:
        """
        A late answer cannot be taken for the next call's.
        """
        asked, lost = self.peer.asks(), self.peer.lost
        call = self.call()
        await asked
        self.timed.clock.advance(SILENCE)
        await self.fails(call, "no answer within 3 seconds")
        await lost
        self.peer.script.append(http(wire.encode_answer(wire.I8(8))))
        self.assertEqual(await self.call(), 8)
        self.assertEqual(len(self.peer.connections), 2)

    async def test_an_answer_that_stops_in_the_middle_fails_the_call(self) -> None:
        """
        Each byte counts, but not for ever.
        """
        asked, lost = self.peer.asks(), self.peer.lost
        self.peer.script.append(http(wire.encode_answer(wire.I8(7)))[:-20])
        call = self.call()
        await asked
        await self.pause()
        self.timed.clock.advance(SILENCE)
        await self.fails(call, "no answer")
        await lost

    async def test_a_slow_answer_is_waited_for_as_long_as_it_moves(self) -> None:
        """
        The time counts from the last byte.
        """
        answer = http(wire.encode_answer(wire.I8(7)))
        asked = self.peer.asks()
        call = self.call()
        await asked
        transport = self.peer.connections[0].transport
        assert transport is not None
        body = answer.index(b"\r\n\r\n") + 4
        transport.write(answer[:body])
        for start in range(body, len(answer), 60):
            self.timed.clock.advance(SILENCE * 0.6)
            transport.write(answer[start : start + 60])
            await self.heard()
        self.assertEqual(await call, 7)

    async def heard(self) -> None:
        """
        Wait until the client's patience begins anew, or is not needed any more.
        """
        clock = self.timed.clock
        while any(due.getTime() < clock.seconds() + SILENCE for due in clock.getDelayedCalls()):
            await self.pause()

    async def pause(self) -> None:
        """
        Let what was written arrive: TLS on loopback needs a few turns.
        """
        for _ in range(10):
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.001, turn.callback, None)
            await turn

    async def test_what_is_no_answer_fails_the_call(self) -> None:
        """
        Other statuses, and connections that end.
        """
        for body in (b"", b"<html/>"):
            self.peer.script.append(http(body, b"503 Service Unavailable"))
            await self.fails(self.call(), "HTTP 503 Service Unavailable")
        self.assertEqual(len(self.peer.connections), 1)
        lost = self.peer.lost
        asked = self.peer.asks()
        call = self.call()
        await asked
        transport = self.peer.connections[-1].transport
        assert transport is not None
        transport.loseConnection()
        await self.fails(call, "closed")
        await lost

    async def test_calls_need_not_wait_for_each_other(self) -> None:
        """
        The answers come in the order in which they were made.
        """
        self.peer.script.append(http(wire.encode_answer(wire.I8(7))))
        await self.call()
        asked = self.peer.asks()
        calls = [self.call() for _ in range(3)]
        await asked
        transport = self.peer.connections[0].transport
        assert transport is not None
        transport.write(b"".join(http(wire.encode_answer(wire.I8(number))) for number in range(3)))
        self.assertEqual([await call for call in calls], [0, 1, 2])
        self.assertEqual(len(self.peer.connections), 1)

    async def test_calls_fail_with_the_one_before(self) -> None:
        """
        It took their connection with it; the first one says why.
        """
        for answer, because in (
            (http(b" " * (MOST_ANSWER + 1)), "longer than"),
            (b"hello\r\n\r\n", "begins no answer"),
        ):
            asked, lost = self.peer.asks(), self.peer.lost
            calls = [self.call(), self.call()]
            self.peer.script.append(answer)
            await asked
            await self.fails(calls[0], because)
            await self.fails(calls[1], because)
            await lost

    async def test_a_peer_that_closes_after_an_answer_is_called_anew(self) -> None:
        """
        What it did not answer has failed.
        """
        answer = http(wire.encode_answer(wire.I8(7)))
        self.peer.script.append(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        calls = [self.call(), self.call()]
        self.assertEqual(await calls[0], 7)
        await self.fails(calls[1], "before it answered")
        self.peer.script.append(answer)
        self.assertEqual(await self.call(), 7)
        self.assertEqual(len(self.peer.connections), 2)

    async def test_an_answer_to_no_call_ends_the_connection(self) -> None:
        """
        It could be taken for the next one's.
        """
        answer = http(wire.encode_answer(wire.I8(7)))
        lost = self.peer.lost
        self.peer.script.append(answer + answer)
        self.assertEqual(await self.call(), 7)
        await lost

    async def test_an_answer_may_end_with_its_connection(self) -> None:
        """
        As those of old servers do; in the middle of one that has a length it fails the call.
        """
        answer = http(wire.encode_answer(wire.I8(7)))
        head, _, body = answer.partition(b"\r\n\r\n")
        for text, is_whole in ((b"HTTP/1.0 200 OK\r\n\r\n" + body, True), (head + b"\r\n\r\n", False)):
            asked = self.peer.asks()
            call = self.call()
            self.peer.script.append(text)
            await asked
            transport = self.peer.connections[-1].transport
            assert transport is not None
            transport.loseConnection()
            if is_whole:
                self.assertEqual(await call, 7)
            else:
                await self.fails(call, "closed")

    async def test_a_call_that_is_still_connecting_can_be_given_up(self) -> None:
        """
        When the node stops.
        """
        call = self.call()
        await self.client.close()
        await self.assertFailure(call, CallFailed)

    async def test_what_is_no_xml_is_a_fault(self) -> None:
        """
        Whatever stands in the body.
        """
        for body in (b"", b"<", b"hello", b"<methodResponse/>"):
            self.peer.script.append(http(body))
            await self.assertFailure(self.call(), wire.Fault)
            self.peer.script.append(http(body))
            await self.assertFailure(self.call(MEMO.read_row), wire.Fault)

    async def test_an_answer_that_is_too_long_is_not_read(self) -> None:
        """
        A number needs no megabyte.
        """
        lost = self.peer.lost
        self.peer.script.append(http(b" " * (MOST_ANSWER + 1)))
        await self.fails(self.call(), "longer than")
        await lost

    async def test_addresses_are_tried_in_turn(self) -> None:
        """
        One that refuses costs nothing.
        """
        self.client = self.make_client(lambda name: succeed(["127.0.0.2", "127.0.0.1"]))
        self.peer.script.append(http(wire.encode_answer(wire.I8(7))))
        self.assertEqual(await self.call(), 7)
        self.client = self.make_client(lambda name: succeed([]))
        await self.fails(self.call(), "no address")
        self.client = self.make_client(lambda name: succeed(["127.0.0.2"]))
        await self.fails(self.call(), "refused")
