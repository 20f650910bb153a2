"""
Tests for L{sipxha.net.dns_client}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sipxha.net.dns_client import QUERY_LIMIT, Client, Server, system_servers
from sipxha.net.zone_server import Answer

FIRST, SECOND = ("10.0.0.1", 53), ("10.0.0.2", 53)


class Socket:
    """
    One UDP socket without a network.
    """

    def __init__(self, protocol: DatagramProtocol) -> None:
        self.protocol = protocol
        self.is_open = True
        self.is_cut_off = False
        self.questions: list[tuple[dns.Message, Server]] = []

    def write(self, datagram: bytes, address: Server) -> None:
        """
        Keep a question.
        """
        if self.is_cut_off:
            raise OSError("no route")
        question = dns.Message()
        question.fromStr(datagram)
        self.questions.append((question, address))

    def stopListening(self) -> Deferred[None]:
        """
        Be closed.
        """
        self.is_open = False
        return succeed(None)


class Network(MemoryReactorClock):
    """
    A reactor whose UDP sockets are kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[Socket] = []
        self.has_sockets = True
        self.cut_off = 0
        """How many of the next sockets have no way out."""

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 0
    ) -> Any:
        """
        Open a socket.
        """
        if not self.has_sockets:
            raise CannotListenError(interface, port, OSError("none left"))
        socket = Socket(protocol)
        self.sockets.append(socket)
        socket.is_cut_off, self.cut_off = self.cut_off > 0, self.cut_off - 1
        protocol.transport = socket  # type: ignore[assignment]
        protocol.startProtocol()
        return socket


def answer_to(question: dns.Message, **fields: Any) -> dns.Message:
    """
    An answer, right but for C{fields}.
    """
    message = dns.Message(id=question.id, answer=1, rCode=fields.pop("rCode", dns.OK))
    message.queries = question.queries
    message.answers = [dns.RRHeader(b"sipx1.example.com", dns.A, dns.IN, 60, dns.Record_A("10.1.1.50", 60))]
    for name, value in fields.items():
        setattr(message, name, value)
    return message


class ClientTests(SynchronousTestCase):
    """
    Tests for L{Client}.
    """

    def setUp(self) -> None:
        """
        Ask one of two servers.
        """
        self.network = Network()
        self.client = Client(self.network, [FIRST, SECOND])
        self.answer = self.ask()
        self.socket = self.network.sockets[0]
        self.question, self.asked = self.socket.questions[0]

    def ask(self) -> Deferred[Answer]:
        answer: Deferred[Answer] = self.client.query(dns.Query("sipx1.example.com", dns.A))
        return answer

    def assert_answered(self) -> None:
        answers, _authority, _additional = self.successResultOf(self.answer)
        self.assertEqual(answers[0].payload, dns.Record_A("10.1.1.50", 60))
        self.assertFalse(any(socket.is_open for socket in self.network.sockets))
        self.assertEqual([call for call in self.network.getDelayedCalls() if call.active()], [])

    def receive(self, message: dns.Message, source: Server = FIRST) -> None:
        self.network.sockets[-1].protocol.datagramReceived(message.toStr(), source)

    def connecting_to(self, server: Server) -> Any:
        """
        The factory of the connection that is being opened.
        """
        host, port, factory, *_ = self.network.tcpClients[0]
        self.assertEqual((host, port), server)
        return factory

    def test_a_question_is_asked_and_the_answer_is_taken(self) -> None:
        """
        Nothing is left open.
        """
        self.assertEqual(self.asked, FIRST)
        self.receive(answer_to(self.question))
        self.assert_answered()

    def test_L12_only_the_answer_to_our_question_from_whom_we_asked_is_taken(self) -> None:
        """
        Whatever else arrives is passed over, and the right answer still counts.
        """
        other = [dns.Query("evil.example.net", dns.A)]
        self.receive(answer_to(self.question, queries=other))
        self.receive(answer_to(self.question, queries=[dns.Query("sipx1.example.com", dns.AAAA)]))
        self.receive(answer_to(self.question, queries=[]))
        self.receive(answer_to(self.question, id=self.question.id ^ 1))
        self.receive(answer_to(self.question, answer=0))
        self.receive(answer_to(self.question), SECOND)
        self.receive(answer_to(self.question), (FIRST[0], 5353))
        self.socket.protocol.datagramReceived(b"", FIRST)
        self.socket.protocol.datagramReceived(b"\xff" * 40, FIRST)
        self.assertNoResult(self.answer)
        self.receive(answer_to(self.question, queries=[dns.Query("SIPX1.EXAMPLE.COM", dns.A)]))
        self.assert_answered()
        self.socket.protocol.datagramReceived(answer_to(self.question).toStr(), FIRST)

    def test_a_silent_server_is_left_for_the_next(self) -> None:
        """
        Which gets a question of its own.
        """
        self.network.advance(QUERY_LIMIT / 6)
        second, asked = self.network.sockets[-1].questions[0]
        self.assertEqual(asked, SECOND)
        self.assertFalse(self.socket.is_open)
        self.receive(answer_to(second), SECOND)
        self.assert_answered()

    def test_silence_of_all_ends_in_time(self) -> None:
        """
        Each was asked twice, and then it is enough.
        """
        self.network.pump([QUERY_LIMIT / 12] * 13)
        self.failureResultOf(self.answer, TimeoutError)
        asked = [socket.questions[0][1] for socket in self.network.sockets]
        self.assertEqual(asked, [FIRST, SECOND, FIRST, SECOND])
        self.assertFalse(any(socket.is_open for socket in self.network.sockets))

    def test_a_server_that_fails_does_not_speak_for_the_next(self) -> None:
        """
        But its failure is the outcome when the next is no better.
        """
        self.receive(answer_to(self.question, rCode=dns.ESERVER))
        second, _asked = self.network.sockets[-1].questions[0]
        self.receive(answer_to(second, rCode=dns.EREFUSED), SECOND)
        self.failureResultOf(self.answer)
        self.answer = self.ask()
        self.receive(answer_to(self.network.sockets[-1].questions[0][0], rCode=dns.ESERVER))
        self.network.pump([QUERY_LIMIT / 6] * 2)
        self.failureResultOf(self.answer, DNSServerError)

    def test_L11_a_name_that_does_not_exist_is_an_answer(self) -> None:
        """
        No other server is asked.
        """
        self.receive(answer_to(self.question, rCode=dns.ENAME, answers=[]))
        self.failureResultOf(self.answer, DNSNameError)
        self.assertEqual(len(self.network.sockets), 1)

    def test_what_is_too_long_for_udp_comes_over_tcp(self) -> None:
        """
        From the same server, and checked in the same way.
        """
        self.receive(answer_to(self.question, trunc=1))
        factory = self.connecting_to(FIRST)
        stream = factory.buildProtocol(IPv4Address("TCP", *FIRST))
        transport = StringTransport()
        stream.makeConnection(transport)
        for message in (answer_to(self.question, queries=[]), answer_to(self.question)):
            data = message.toStr()
            stream.dataReceived(len(data).to_bytes(2, "big") + data)
        self.assertTrue(transport.disconnected)
        self.assert_answered()

    def test_a_refused_connection_is_as_no_answer(self) -> None:
        """
        The next server is asked.
        """
        self.receive(answer_to(self.question, trunc=1))
        factory = self.connecting_to(FIRST)
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        second, _asked = self.network.sockets[-1].questions[0]
        self.receive(answer_to(second), SECOND)
        self.assert_answered()

    def test_a_lost_connection_is_as_no_answer(self) -> None:
        """
        The next server is asked.
        """
        self.receive(answer_to(self.question, trunc=1))
        factory = self.connecting_to(FIRST)
        stream = factory.buildProtocol(IPv4Address("TCP", *FIRST))
        stream.makeConnection(StringTransport())
        stream.connectionLost(Failure(ConnectionRefusedError()))
        second, _asked = self.network.sockets[-1].questions[0]
        self.receive(answer_to(second), SECOND)
        self.assert_answered()

    def test_without_sockets_there_is_no_answer(self) -> None:
        """
        And nothing worse.
        """
        self.network.has_sockets = False
        self.failureResultOf(self.ask(), TimeoutError)

    def test_a_server_that_cannot_be_reached_is_left_for_the_next(self) -> None:
        """
        At once, and its socket is closed.
        """
        self.network.cut_off = 1
        self.answer.addErrback(lambda _: None).cancel()
        self.answer = self.ask()
        second, asked = self.network.sockets[-1].questions[0]
        self.assertEqual(asked, SECOND)
        self.receive(answer_to(second), SECOND)
        self.assert_answered()

    def test_who_gives_up_leaves_nothing_open(self) -> None:
        """
        The socket is closed.
        """
        self.answer.addErrback(lambda _: None)
        self.answer.cancel()
        self.assertFalse(self.socket.is_open)


class SystemServersTests(SynchronousTestCase):
    """
    Tests for L{system_servers}.
    """

    def test_they_are_those_of_the_file(self) -> None:
        """
        Three at most; this machine itself without any.
        """
        path = Path(self.mktemp())
        self.assertEqual(system_servers(path), [("127.0.0.1", 53)])
        path.write_text(
            "# mine\nsearch example.com\nnameserver 10.0.0.1\nnameserver\nnameserver fd00::1 # two\n"
        )
        self.assertEqual(system_servers(path), [("10.0.0.1", 53), ("fd00::1", 53)])
        path.write_text("nameserver 10.0.0.1\n" * 5)
        self.assertEqual(len(system_servers(path)), 3)
