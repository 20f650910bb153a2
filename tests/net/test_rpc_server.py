"""
Tests for L{sipxha.net.rpc_server} and the client together, over real HTTPS.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sipxha.auth.security_events import SecurityEvents
from sipxha.config.model import Tls
from sipxha.net.rpc_client import CallFailed, RpcClient
from sipxha.net.rpc_server import HANDSHAKE, IDLE, MOST_BODY, MOST_WAITING, Exchange, RpcServer
from sipxha.net.tls import MutualTls
from sipxha.sync import rpc, wire
from sipxha.sync.structs import MEMO
from tests.support.bindings import a_row
from tests.support.certs import Authority

reactor: Any = _reactor
SERVER, CLIENT = "sipx1.example.com", "sipx2.example.com"


class _Echo:
    """
    Answers with the last parameter, or with as many rows as it says.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.made = 0
        self.waiting: list[Exchange] = []

    def _endless(self) -> Iterator[bytes]:
        while True:
            self.made += 1
            yield b" " * (1 << 16)

    def call_received(self, exchange: Exchange, method: str, params: list[wire.Value]) -> None:
        self.heard.append(method)
        if method == "later":
            self.waiting.append(exchange)
            return
        if method == "endless":
            exchange.answer_pieces(self._endless())
            return
        if method != "rows":
            exchange.answer(wire.encode_answer(params[-1]))
            return
        rows = [a_row(update_number=number + 1) for number in range(int(str(params[-1])))]
        exchange.answer_pieces(MEMO.write_page(rpc.Page(rows, len(rows), False), 0.0))


class _Raw(Protocol):
    """
    A client that writes what a test wants and keeps what it hears.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.done: Deferred[bytes] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if b"\r\n\r\n" in self.heard and not self.done.called:
            self.done.callback(self.heard)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)


@implementer(IOpenSSLClientConnectionCreator)
class _Bare:
    """
    A client of TLS that shows nothing.
    """

    def __init__(self, options: CertificateOptions) -> None:
        self._options = options

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self._options.getContext(), None)


class RpcTests(TestCase):
    """
    Tests for calls between two nodes.
    """

    def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()))
        self.echo = _Echo()
        self.security = SecurityEvents()
        tls = MutualTls(self.authority.issue(SERVER))
        self.timed = Clock()
        server = self.server = RpcServer(self.timed, tls, self.echo, self.security)
        self.port = server.listen(reactor, "127.0.0.1", 0)
        self.addCleanup(server.close)
        self.addCleanup(self.port.stopListening)
        self.client = self.make_client(self.authority.issue(CLIENT))

    def make_client(self, tls: Tls) -> RpcClient:
        host: Any = self.port.getHost()
        client = RpcClient(reactor, MutualTls(tls), host.port, lambda name: succeed(["127.0.0.1"]))
        self.addCleanup(client.close)
        return client

    async def raw(self, text: bytes) -> tuple[bytes, _Raw]:
        talk = await self.connect(text)
        return await talk.done, talk

    async def connect(self, text: bytes) -> _Raw:
        host: Any = self.port.getHost()
        plain = TCP4ClientEndpoint(reactor, "127.0.0.1", host.port)
        secured = wrapClientTLS(MutualTls(self.authority.issue(CLIENT)).client(SERVER), plain)
        talk: _Raw = await secured.connect(Factory.forProtocol(_Raw))  # type: ignore[assignment]
        assert talk.transport is not None
        self.addCleanup(lambda: talk.lost)
        self.addCleanup(lambda: None if talk.lost.called else talk.transport.abortConnection())  # type: ignore
        talk.transport.write(text)
        accepted: Any = self.port
        while len(accepted.factory.protocols) < 1:
            await deferLater(reactor, 0.001)
        return talk

    async def test_values_come_back_as_they_went(self) -> None:
        """
        Numbers of 64 bits included.
        """
        values: list[wire.Value] = [wire.I8(1 << 62), "ä & <b>", ["x", {"y": 1}], {}]
        for value in values:
            self.assertEqual(await self.client.call(SERVER, "echo", [CLIENT, value]), value)

    async def test_one_connection_carries_a_thousand_calls(self) -> None:
        """
        And a call whose caller is refused does not end it.
        """
        with self.assertRaises(wire.Fault):
            await self.client.call(SERVER, "echo", ["sipx9.example.com", 1])
        for number in range(1000):
            self.assertEqual(await self.client.call(SERVER, "echo", [CLIENT, number]), number)
        port: Any = self.port
        self.assertEqual(len(port.factory.protocols), 1)

    async def test_sixty_four_connections_at_once(self) -> None:
        """
        A mesh of many nodes is served.
        """
        tls = self.authority.issue(CLIENT)
        clients = [self.make_client(tls) for _ in range(64)]
        answers = await gatherResults([each.call(SERVER, "echo", [CLIENT, 5]) for each in clients])
        self.assertEqual(answers, [5] * 64)

    async def test_a_caller_must_stand_in_its_certificate(self) -> None:
        """
        Anything else is fault -4, and is not heard.
        """
        for caller in ("sipx1.example.com", "example.com", f"{CLIENT}.", "*"):
            failure = await self.assertFailure(self.client.call(SERVER, "echo", [caller, 1]), wire.Fault)
            self.assertEqual(failure.code, rpc.AUTHENTICATION)
        self.assertEqual(self.echo.heard, [])
        self.flushLoggedErrors()

    async def test_a_caller_is_known_in_any_case_of_letters(self) -> None:
        """
        Names are folded.
        """
        self.assertEqual(await self.client.call(SERVER, "echo", [CLIENT.upper(), 1]), 1)

    async def test_a_call_without_a_caller_is_a_fault(self) -> None:
        """
        302, as older registrars say.
        """
        nobody: list[list[wire.Value]] = [[], [5], [""]]
        for params in nobody:
            failure = await self.assertFailure(self.client.call(SERVER, "echo", params), wire.Fault)
            self.assertEqual(failure.code, rpc.INVALID_PARAMETER)

    async def test_other_authorities_and_names_fail_the_call(self) -> None:
        """
        The engine is told why.
        """
        other = Authority(Path(self.mktemp()))
        stranger = self.make_client(other.issue(CLIENT))
        await self.assertFailure(stranger.call(SERVER, "echo", [CLIENT, 1]), CallFailed)
        await self.refusals(1)
        failure = await self.assertFailure(
            self.client.call("sipx3.example.com", "echo", [CLIENT, 1]), CallFailed
        )
        self.assertIn("answered with a certificate for sipx1.example.com", str(failure))
        self.assertEqual(self.echo.heard, [])

    async def refusals(self, count: int) -> None:
        """
        Wait until the server has seen so many: it hears of a refusal after its client.
        """
        while self.server.refused < count:
            await deferLater(reactor, 0.005)
        self.assertEqual(self.server.refused, count)
        self.assertEqual(self.security.counts["replication-refused"], count)

    async def test_whoever_cannot_prove_its_name_is_refused_and_counted(self) -> None:
        """
        Certificates that have ended, of nobody, with a common name, a wildcard
        or a NUL in place of a name; and nothing of it is heard.
        """
        ended = self.make_client(self.authority.issue(CLIENT, days=-1))
        await self.assertFailure(ended.call(SERVER, "echo", [CLIENT, 1]), CallFailed)
        await self.refusals(1)
        for count, tls in enumerate(
            (
                self.authority.issue(common_name=CLIENT),
                self.authority.issue("*.example.com"),
                self.authority.issue(f"{CLIENT}\0.example.org"),
            ),
            2,
        ):
            nobody = self.make_client(tls)
            failure = await self.assertFailure(nobody.call(SERVER, "echo", [CLIENT, 1]), wire.Fault)
            self.assertEqual(failure.code, rpc.AUTHENTICATION)
            await self.refusals(count)
        self.assertEqual(self.echo.heard, [])

    async def test_a_client_without_a_certificate_is_refused(self) -> None:
        """
        Before it has said a word.
        """
        host: Any = self.port.getHost()
        bare = CertificateOptions(verify=False)
        plain = TCP4ClientEndpoint(reactor, "127.0.0.1", host.port)
        talk: _Raw = await wrapClientTLS(_Bare(bare), plain).connect(Factory.forProtocol(_Raw))  # type: ignore[assignment]
        assert talk.transport is not None
        talk.transport.write(b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        await talk.lost
        self.assertEqual(talk.heard, b"")
        await self.refusals(1)

    async def test_the_end_of_the_certificate_of_a_peer_is_known(self) -> None:
        """
        While there is a connection.
        """
        self.assertIsNone(self.client.certificate_end(SERVER))
        await self.client.call(SERVER, "echo", [CLIENT, 1])
        end = self.client.certificate_end(SERVER)
        assert end is not None
        self.assertAlmostEqual((end - datetime.now(UTC)) / timedelta(days=5), 1.0, 2)

    async def test_a_caller_who_does_not_read_costs_little(self) -> None:
        """
        No more of an answer is made than the connection takes.
        """
        call = wire.encode_call("endless", [CLIENT])
        answer, talk = await self.raw(
            b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(call), call)
        )
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "))
        transport: Any = talk.transport
        transport.pauseProducing()
        made = -1
        while made != self.echo.made:
            made = self.echo.made
            # Another caller is served meanwhile, and as long as that takes.
            for number in range(20):
                self.assertEqual(await self.client.call(SERVER, "echo", [CLIENT, number]), number)
        self.assertLess(self.echo.made << 16, 64 << 20)

    async def test_calls_are_answered_in_their_order(self) -> None:
        """
        Whichever is ready first.
        """
        slow = self.client.call(SERVER, "later", [CLIENT, 1])
        rows = self.client.call(SERVER, "rows", [CLIENT, 300], MEMO.read_row)
        quick = self.client.call(SERVER, "echo", [CLIENT, 3])
        while len(self.echo.heard) < 3:
            await deferLater(reactor, 0.001)
        self.assertFalse(slow.called or rows.called or quick.called)
        self.echo.waiting.pop().answer(wire.encode_answer(1))
        self.assertEqual(await slow, 1)
        self.assertEqual(len((await rows)["updates"]), 300)
        self.assertEqual(await quick, 3)

    async def test_who_calls_without_waiting_is_heard_up_to_a_bound(self) -> None:
        """
        What is beyond it is read when something was answered.
        """
        calls = [self.client.call(SERVER, "later", [CLIENT, number]) for number in range(2 * MOST_WAITING)]
        answered = 0
        while answered < len(calls):
            while not self.echo.waiting:
                await deferLater(reactor, 0.001)
            self.assertLessEqual(len(self.echo.waiting), MOST_WAITING)
            self.echo.waiting.pop(0).answer(wire.encode_answer(answered))
            answered += 1
        self.assertEqual([await call for call in calls], list(range(answered)))

    async def test_connections_end_as_http_has_it(self) -> None:
        """
        After the last answer, which comes first; a body that is announced is asked for.
        """
        call = wire.encode_call("rows", [CLIENT, 1])
        for version, field in ((b"1.0", b""), (b"1.1", b"Connection: close\r\n")):
            head = b"POST /RPC2 HTTP/%b\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n"
            _, talk = await self.raw(head % (version, field, len(call)) + call)
            await talk.lost
            start, _, body = talk.heard.partition(b"\r\n\r\n")
            self.assertTrue(start.startswith(b"HTTP/1.1 200 OK\r\n"))
            self.assertIn(b"Connection: close", start)
            reader = wire.RowReader(MEMO.read_row)
            reader.feed(body)
            self.assertEqual(len(reader.close()["updates"]), 1)
        head = b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        answer, _ = await self.raw(head)
        self.assertEqual(answer, b"HTTP/1.1 100 Continue\r\n\r\n")

    async def test_nobody_is_asked_for_a_body_before_his_last_call_is_answered(self) -> None:
        """
        He would take the 100 for a part of that answer.
        """
        later = wire.encode_call("later", [CLIENT, 1])
        echo = wire.encode_call("echo", [CLIENT, 2])
        head = b"POST /RPC2 HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b"
        talk = await self.connect(
            head % (b"", len(later), later) + head % (b"Expect: 100-continue\r\n", len(echo), echo)
        )
        while self.echo.heard != ["later", "echo"]:
            await deferLater(reactor, 0.001)
        self.echo.waiting.pop().answer(wire.encode_answer(1))
        while talk.heard.count(b"HTTP/1.1 200 OK") < 2:
            await deferLater(reactor, 0.001)
        self.assertNotIn(b"100 Continue", talk.heard)

    async def test_what_is_no_http_is_refused_and_counted(self) -> None:
        """
        After the answers to what came before it, and nothing is read any more.
        """
        call = wire.encode_call("echo", [CLIENT, 5])
        good = b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(call), call)
        _, talk = await self.raw(good + b"hello\r\n\r\n" + good)
        await talk.lost
        self.assertEqual(talk.heard.count(b"HTTP/1.1 200 OK"), 1)
        self.assertLess(talk.heard.index(b"HTTP/1.1 200 OK"), talk.heard.index(b"HTTP/1.1 400 Bad Request"))
        self.assertEqual((self.server.refused, self.echo.heard), (1, ["echo"]))

    async def test_a_connection_at_which_nobody_calls_ends(self) -> None:
        """
        Soon before the first call, late after one; one with a call that is not answered does not.
        """
        for words in (b"", b"POST /RPC2 HTTP/1.1\r\nHost: a\r\n"):
            talk = await self.connect(words)
            self.timed.advance(HANDSHAKE)
            await talk.lost
        await self.client.call(SERVER, "echo", [CLIENT, 5])
        later = self.client.call(SERVER, "later", [CLIENT, 5])
        while not self.echo.waiting:
            await deferLater(reactor, 0.001)
        self.timed.advance(IDLE)
        self.echo.waiting.pop().answer(wire.encode_answer(6))
        self.assertEqual(await later, 6)
        self.timed.advance(IDLE)
        port: Any = self.port
        while port.factory.protocols:
            await deferLater(reactor, 0.001)

    async def test_many_rows_come_as_rows(self) -> None:
        """
        In pieces on the way, and none is missing.
        """
        answer = await self.client.call(SERVER, "rows", [CLIENT, 1000], MEMO.read_row)
        rows = MEMO.read_page(answer, 0, 0.0).rows
        self.assertEqual([row.update_number for row in rows], list(range(1, 1001)))
        self.assertEqual(rows[0], a_row(update_number=1))
        answer = await self.client.call(SERVER, "rows", [CLIENT, 0], MEMO.read_row)
        self.assertEqual(MEMO.read_page(answer, 0, 0.0).rows, [])

    async def test_a_body_that_is_too_long_is_not_read(self) -> None:
        """
        Whether its length was told or not.
        """
        head = b"POST /RPC2 HTTP/1.1\r\nHost: a\r\n"
        answer, _ = await self.raw(head + b"Content-Length: %d\r\n\r\n" % (MOST_BODY + 1))
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)
        chunk = b"%x\r\n%s\r\n" % (1 << 16, b" " * (1 << 16))
        answer, _ = await self.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 17)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)
        self.assertEqual(self.echo.heard, [])

    async def test_other_paths_and_methods_have_their_statuses(self) -> None:
        """
        Only POST of /RPC2 is a call.
        """
        for text, status in (
            (b"POST /RPC3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"404"),
            (b"POST /RPC2/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"404"),
            (b"GET /RPC2 HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
            (
                b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
                b"415",
            ),
        ):
            answer, _ = await self.raw(text)
            self.assertEqual(answer.split(b" ")[1], status)

    async def test_a_body_that_is_no_call_is_a_fault(self) -> None:
        """
        With 200 OK, as XML-RPC has it, and the connection goes on.
        """
        text = b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        answer, talk = await self.raw(text)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"<int>-1</int>", answer)
        self.assertIn(b"Content-Length: ", answer)
        self.assertFalse(talk.lost.called)
