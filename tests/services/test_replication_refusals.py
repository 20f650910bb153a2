"""
Tests for what L{sipxha.services.replication} refuses, over real HTTPS: the
caller has a good certificate and is a peer, and still may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol

from sipxha.net.rpc_client import RpcClient
from sipxha.net.rpc_server import MOST_BODY, Exchange, RpcServer
from sipxha.net.tls import MutualTls
from sipxha.sync import rpc, wire
from sipxha.sync.batch import BATCH, MOST_PUSHES, MOST_ROWS
from sipxha.sync.calling import CROWD
from sipxha.sync.structs import MEMO, SIPX
from sipxha.sync.wire import I8, Fault, Value
from tests.support.bindings import a_row
from tests.support.registrars import NAMES, PORT, RegistrarsCase

reactor: Any = _reactor
OTHER = "sipx3.example.com"


class _Raw(Protocol):
    """
    A connection that keeps what it hears, until it ends.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(self.heard)


class _Peer:
    """
    A peer that has no rows, and takes what it is sent: at once, or when it is told to.
    """

    def __init__(self, *, is_prompt: bool) -> None:
        self._is_prompt = is_prompt
        self.pushes: list[tuple[Exchange, list[Any]]] = []
        self.waiting = 0
        self.most_waiting = 0

    def call_received(self, exchange: Exchange, method: str, params: list[Value]) -> None:
        if method.endswith(".pushUpdates"):
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
            rows: Any = params[2]
            self.pushes.append((exchange, [BATCH.read_row(row) for row in rows]))
            if self._is_prompt:
                self.take()
        elif method.endswith(".digest"):
            exchange.answer(wire.encode_answer({"rows": 0, "digest": "0" * 32}))
        elif method.endswith(".pullUpdates"):
            answer = {"updates": [], "updateNumber": params[2], "more": False}
            exchange.answer(wire.encode_answer(answer))
        else:
            exchange.answer(wire.encode_answer(I8(0)))

    def take(self) -> int:
        """
        Answer the oldest push that waits.

        @return: how many rows it had.
        """
        exchange, rows = self.pushes[-self.waiting]
        self.waiting -= 1
        exchange.answer(wire.encode_answer(I8(rows[-1].update_number)))
        return len(rows)


class _OnlyOneCase(RegistrarsCase):
    """
    One registrar; its peer is a pretence.
    """

    def listen(self, peer: _Peer) -> Any:
        """
        @return: the port at which the pretence is called.
        """
        server = RpcServer(reactor, MutualTls(self.authority.issue(NAMES[1])), peer)
        port = server.listen(reactor, self.servers[1].config.node.listen, PORT)
        self.addCleanup(server.close)
        self.addCleanup(port.stopListening)
        return port


class _PeerCase(_OnlyOneCase):
    """
    One registrar that serves, and calls of its peer that the test makes.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        The registrar has met its peer.
        """
        super().setUp()
        self.tls = MutualTls(self.authority.issue(NAMES[1]))
        self.listen(_Peer(is_prompt=True))
        self.assertFalse(await self.start(0))
        self.one = self.servers[0]
        await self.one.register(1)
        self.client = self.make_client()

    def make_client(self) -> RpcClient:
        where = self.one.config.node.listen
        client = RpcClient(reactor, self.tls, PORT, lambda name: succeed([where]))
        self.addCleanup(client.close)
        return client

    async def call(self, method: str, *params: Value) -> Any:
        return await self.client.call(NAMES[0], method, [NAMES[1], *params])

    async def raw(self, text: bytes) -> bytes:
        """
        @return: all that is said to some bytes until the connection ends.
        """
        there = TCP4ClientEndpoint(reactor, self.one.config.node.listen, PORT)
        talk = await connectProtocol(wrapClientTLS(self.tls.client(NAMES[0]), there), _Raw())
        assert talk.transport is not None
        talk.transport.write(text)
        heard: bytes = await talk.ended
        return heard

    async def meet(self) -> None:
        """
        Be forgiven, and be Reachable.
        """
        peers = [self.one.config.registrar.replication.peers]  # type: ignore[union-attr]
        self.one.service.set_peers(())
        self.one.service.set_peers(*peers)
        await self.call("registrarSync2.reset", I8(0))
        self.assertEqual(self.one.peer()["state"], "Reachable")

    def held(self) -> tuple[Any, ...]:
        """
        What no refused call may change.
        """
        registry = self.one.registry
        return (
            list(registry.all_current(0.0)),
            registry.update_number,
            *(registry.largest_number(name) for name in (*NAMES, OTHER)),
            self.one.peer()["received"],
        )

    async def refused(self, code: int, method: str, *params: Value) -> None:
        """
        A call has a fault, which is counted and logged, and changes nothing.
        """
        await self.meet()
        before, refused, logged = self.held(), self.one.service.refused, len(self.log.lines)
        with self.assertRaises(Fault) as caught:
            await self.call(method, *params)
        self.assertEqual(caught.exception.code, code, (method, params))
        self.assertEqual(self.held(), before, (method, params))
        self.assertEqual(self.one.service.refused, refused + 1, (method, params))
        lines = [line for line in self.log.lines[logged:] if line.startswith("refused a call: ")]
        self.assertEqual(len(lines), 1, (method, params))


class PushTests(_PeerCase):
    """
    Tests for rows that a peer may not push.
    """

    async def test_rows_of_third_registrars_are_refused(self) -> None:
        """
        Fault 304 in every dialect, also where some of the rows are its own;
        after that its own are taken.
        """
        mine = a_row(primary=NAMES[1], update_number=5)
        for dialect in (BATCH, MEMO, SIPX):
            for primary in (OTHER, NAMES[0]):
                theirs = a_row(identity="202@example.com", primary=primary, update_number=5)
                for rows in ([theirs], [mine, theirs], [theirs, mine]):
                    method, params = dialect.write_call(NAMES[1], rpc.Push(0, rows), reactor.seconds())
                    await self.refused(rpc.UPDATE_FAILED, method, *params[1:])
        await self.meet()
        method, params = BATCH.write_call(NAMES[1], rpc.Push(0, [mine]), reactor.seconds())
        self.assertEqual(await self.call(method, *params[1:]), 5)
        self.assertEqual(self.one.peer()["received"], 5)

    async def test_rows_that_are_none_are_refused(self) -> None:
        """
        Of other types, with other columns, of no number, none at all.
        """
        good = str(BATCH.write_row(a_row(primary=NAMES[1], update_number=5), 0.0))
        bad: list[tuple[int, Value]] = [
            (rpc.INVALID_PARAMETER, []),
            (rpc.INVALID_PARAMETER, "row"),
            (rpc.INVALID_PARAMETER, [17]),
            (rpc.INVALID_PARAMETER, [{"uri": "sip:201@example.com"}]),
            (rpc.INVALID_PARAMETER, [good, good + "\t1"]),
            (rpc.MIXED_NUMBERS, [good, good.replace("\t5\t", "\t4\t")]),
            (rpc.UPDATE_FAILED, [good.replace("\t5\t", "\t0\t")]),
            (rpc.UPDATE_FAILED, [good.replace("sip:", "x" * 9000)]),
        ]
        for code, rows in bad:
            await self.refused(code, "registrarSync2.pushUpdates", I8(0), rows)


class DigestTests(_PeerCase):
    """
    Tests for C{registrarSync2.digest}.
    """

    async def test_what_is_no_question_is_refused(self) -> None:
        """
        Parameters that are missing or of another type: 302, and the peer is Incompatible.
        """
        bad: Sequence[Sequence[Value]] = [
            (),
            (NAMES[0],),
            (I8(0), NAMES[0]),
            ("", I8(0)),
            (NAMES[0], ""),
            (NAMES[0], "0"),
            (NAMES[0], True),
            (NAMES[0], I8(-1)),
            (NAMES[0], I8(-(1 << 63))),
            (NAMES[0], [I8(0)]),
            ([NAMES[0]], I8(0)),
            ({"primary": NAMES[0]}, I8(0)),
        ]
        for params in bad:
            await self.refused(rpc.INVALID_PARAMETER, "registrarSync2.digest", *params)
            self.assertEqual(self.one.peer()["state"], "Incompatible")
            with self.assertRaises(Fault) as caught:
                await self.call("registrarSync2.digest", NAMES[0], I8(0))
            self.assertEqual(caught.exception.code, rpc.INCOMPATIBLE_PEER)

    async def test_strange_questions_have_answers(self) -> None:
        """
        Of nobody there are no rows, whatever the name and the horizon; and
        to ask for many names costs no memory.
        """
        await self.meet()
        nothing = {"rows": 0, "digest": "0" * 32}
        before = self.held()
        for name in (OTHER, "*", "%", "\t", "a" * 10_000, "\u2028"):
            for horizon in (0, 1, 1 << 62):
                answer = await self.call("registrarSync2.digest", name, I8(horizon))
                self.assertEqual(answer, nothing, (name, horizon))
        for horizon, rows in ((0, 1), (1 << 62, 0)):
            answer = await self.call("registrarSync2.digest", NAMES[0].upper(), I8(horizon))
            self.assertEqual(answer["rows"], rows, horizon)
        self.assertEqual((self.held(), self.one.service.refused), (before, 0))


class BodyTests(_PeerCase):
    """
    Tests for what is no call.
    """

    async def test_what_is_no_call_is_counted_and_logged(self) -> None:
        """
        Too long, said or not; no XML; a document type; no caller.
        """
        before = self.held()
        head = b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        bodies = (
            b"\0",
            b"<methodCall/>",
            b'<!DOCTYPE a [<!ENTITY b "c">]><methodCall><methodName>&b;</methodName></methodCall>',
            wire.encode_call("registrarSync2.reset", []),
        )
        requests = [head + b"Content-Length: %d\r\n\r\n%s" % (len(each), each) for each in bodies]
        requests.append(head + b"Content-Length: %d\r\n\r\n" % (MOST_BODY + 1))
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        requests.append(head + b"Transfer-Encoding: chunked\r\n\r\n" + piece * (MOST_BODY // 0x10000 + 1))
        for count, request in enumerate(requests, 1):
            answer = await self.raw(request)
            self.assertIn(answer[:13], (b"HTTP/1.1 200 ", b"HTTP/1.1 413 "), request[:200])
            self.assertEqual(self.one.service.refused, count, request[:200])
        lines = [line for line in self.log.lines if line.startswith("refused a call from ")]
        self.assertEqual(len(lines), len(requests))
        self.assertEqual(self.held(), before)

    async def test_sixty_four_peers_are_served_while_one_says_nothing(self) -> None:
        """
        On as many connections, each of them kept; who does not even begin the
        handshake holds up nobody.
        """
        await self.meet()
        there = TCP4ClientEndpoint(reactor, self.one.config.node.listen, PORT)
        silent = await connectProtocol(there, _Raw())
        clients = [self.make_client() for _ in range(64)]
        for _ in range(2):
            answers = await gatherResults(
                [
                    client.call(NAMES[0], "registrarSync2.digest", [NAMES[1], NAMES[0], I8(0)])
                    for client in clients
                ]
            )
            self.assertEqual({answer["rows"] for answer in answers}, {1})
        assert silent.transport is not None
        silent.transport.loseConnection()
        await silent.ended


class SlowPeerTests(_OnlyOneCase):
    """
    Tests for a peer that takes its time.
    """

    USERS = 2500

    async def test_a_slow_peer_costs_a_few_pushes_and_then_gets_the_rest_by_number(self) -> None:
        """
        However much happens meanwhile, no more is under way than a few pushes of
        bounded size; there is no queue.  When the connection breaks, the peer
        says at the next reset from which number on it lacks rows.
        """
        peer = _Peer(is_prompt=False)
        port = self.listen(peer)
        await self.start(0)
        one = self.servers[0]
        await one.register(0)
        await self.until(lambda: peer.pushes)
        await gatherResults([Deferred.fromCoroutine(one.register(user)) for user in range(1, self.USERS)])
        await self.until(lambda: len(peer.pushes) >= CROWD)
        self.assertLessEqual(len(peer.pushes), MOST_PUSHES)
        self.assertEqual(one.peer()["behind"], self.USERS)
        for connection in list(port.factory.protocols):
            connection.abortConnection()
        peer.waiting, lost = 0, len(peer.pushes)
        await self.until(lambda: one.peer()["state"] == "UnReachable")
        await self.until(lambda: len(peer.pushes) > lost)
        sizes = []
        while one.peer()["behind"]:
            await self.until(lambda: peer.waiting)
            sent = one.peer()["sent"]
            sizes.append(peer.take())
            await self.until(lambda sent=sent: one.peer()["sent"] > sent)
        self.assertEqual((sum(sizes), max(sizes)), (self.USERS, MOST_ROWS))
        self.assertLessEqual(peer.most_waiting, MOST_PUSHES)

    async def test_who_stops_waits_for_no_answer(self) -> None:
        """
        What was under way is given up, and nothing is left to be said about it.
        """
        peer = _Peer(is_prompt=False)
        self.listen(peer)
        await self.start(0)
        one = self.servers[0]
        await one.register(0)
        await self.until(lambda: peer.pushes)
        await one.stop()
        self.assertEqual(self.flushLoggedErrors(), [])
