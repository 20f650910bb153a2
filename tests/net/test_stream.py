"""
Tests for L{sipxha.net.stream}.
"""

from __future__ import annotations

import socket

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipxha.config.limits import ConnectionLimits
from sipxha.config.model import Ports
from sipxha.net.stream import UNACKNOWLEDGED, UNACKNOWLEDGED_BY_PHONE
from sipxha.net.transports import Transports
from sipxha.services.registrar import FLOW_TIMER
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.response import response_to
from sipxha.transaction.vocabulary import ClientKey, ServerKey
from tests.support.fakes import RecordingReceiver, SipReactor, a_request

DEFAULT = ConnectionLimits()


class SipStreamTests(SynchronousTestCase):
    """
    Tests for L{SipStream<sipxha.net.stream.SipStream>}.
    """

    def setUp(self) -> None:
        self.reactor = SipReactor()
        self.receiver = RecordingReceiver()
        self.transports = Transports(self.reactor, "10.0.0.1", Ports(None, 5060), self.receiver)
        self.transports.bind()
        self.wire = self.reactor.accept("10.0.0.9", 40000)
        self.stream = self.wire.stream

    def test_messages_come_out_however_the_bytes_come_in(self) -> None:
        """
        Two in one piece, one in many; all on the flow of this connection.
        """
        data = a_request(body=b"v=0\r\n").encode()
        self.wire.receive(data + data)
        for byte in data:
            self.wire.receive(bytes([byte]))
        self.assertEqual([message.body for message, _ in self.receiver.messages], [b"v=0\r\n"] * 3)
        self.assertEqual(
            {flow for _, flow in self.receiver.messages},
            {Flow("tcp", "10.0.0.9", 40000, "10.0.0.1", 5060, 1)},
        )

    def test_O08_a_ping_is_answered(self) -> None:
        """
        Two CRLFs with one (RFC 5626 section 3.5.1).
        """
        self.wire.receive(b"\r\n\r\n")
        self.assertEqual(self.wire.value(), b"\r\n")

    def test_a_connection_does_not_outlive_a_cut(self) -> None:
        """
        A new one of ours takes its place; a phone is given more time.
        """

        self.transports.send(b"1", Hop("tcp", "10.0.0.2", 5060, "10.0.0.2"), None)
        found = []
        for wire in (self.reactor.open(), self.wire):
            with socket.socket() as handle:
                wire.socket = handle  # type: ignore[attr-defined]
                wire.unregisterProducer()
                wire.stream.connectionMade()
                found.append(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        self.assertEqual(found, [UNACKNOWLEDGED * 1000, UNACKNOWLEDGED_BY_PHONE * 1000])

    def test_M04_a_stream_that_cannot_be_followed_is_closed(self) -> None:
        """
        After what could still be said about it.
        """
        self.wire.receive(b"OPTIONS sip:bob@example.com SIP/2.0\r\nContent-Length: many\r\n\r\n")
        self.assertEqual(len(self.receiver.malformed), 1)
        self.assertTrue(self.wire.disconnecting)

    def test_a_peer_that_does_not_read_is_cut_off(self) -> None:
        """
        Memory is ours, patience too.
        """
        verifyObject(IPushProducer, self.stream)
        self.stream.pauseProducing()
        self.stream.send(bytes(DEFAULT.unread))
        self.stream.resumeProducing()
        self.stream.pauseProducing()
        self.stream.send(bytes(DEFAULT.unread))
        self.assertFalse(self.wire.disconnecting)
        self.stream.send(b"x")
        self.assertTrue(self.wire.disconnecting)


class PatienceTests(SynchronousTestCase):
    """
    Tests for how long a far end may take.
    """

    def setUp(self) -> None:
        self.reactor = SipReactor()
        self.receiver = RecordingReceiver()
        self.transports = Transports(self.reactor, "10.0.0.1", Ports(None, 5060), self.receiver)
        self.transports.bind()
        self.wire = self.reactor.accept("10.0.0.9", 40000)
        self.head, self.body = a_request(body=b"v=0\r\n").encode().split(b"v=0")
        self.body = b"v=0" + self.body

    def lasts(self, seconds: float) -> None:
        """
        The connection is there just before, and is not just after.
        """
        self.reactor.advance(seconds - 0.5)
        self.assertFalse(self.wire.disconnecting)
        self.reactor.advance(1)
        self.assertTrue(self.wire.disconnecting)

    def test_header_fields_that_trickle_in_are_not_waited_for(self) -> None:
        """
        The time runs from the first byte; further ones do not prolong it.
        """
        self.reactor.advance(60)
        self.wire.receive(self.head[:10])
        self.reactor.advance(DEFAULT.head_time - 1)
        self.wire.receive(self.head[10:20])
        self.lasts(1)

    def test_a_body_has_a_time_of_its_own(self) -> None:
        """
        From the end of the header fields.
        """
        self.wire.receive(self.head[:-1])
        self.reactor.advance(DEFAULT.head_time - 1)
        self.wire.receive(self.head[-1:])
        self.reactor.advance(DEFAULT.body_time - 1)
        self.wire.receive(self.body[:2])
        self.lasts(1)

    def test_a_message_that_is_whole_in_time_starts_anew(self) -> None:
        """
        So does the time of the next one, which began in the same piece.
        """
        self.wire.receive(self.head)
        self.reactor.advance(DEFAULT.body_time - 1)
        self.wire.receive(self.body + self.head[:10])
        self.assertEqual(len(self.receiver.messages), 1)
        self.lasts(DEFAULT.head_time)

    def test_a_silent_connection_is_closed(self) -> None:
        """
        Each message or ping prolongs it.
        """
        for data in (self.head + self.body, b"\r\n\r\n"):
            self.reactor.advance(DEFAULT.idle_time - 1)
            self.wire.receive(data)
        self.lasts(DEFAULT.idle_time)

    def test_a_connection_that_transactions_wait_for_is_kept(self) -> None:
        """
        Ours, and those of the far end.
        """
        flow = self.wire.stream.flow
        ours, theirs = ClientKey("z9hG4bK-1", "INVITE"), ServerKey("z9hG4bK-2", "10.0.0.9:5060", "INVITE")
        self.transports.send(b"x", Hop("tcp", "10.0.0.9", 40000), ours)
        self.transports.connections.hold(flow, theirs)
        self.reactor.advance(DEFAULT.idle_time)
        self.transports.withdraw(flow, ours)
        self.reactor.advance(DEFAULT.idle_time)
        self.assertFalse(self.wire.disconnecting)
        self.transports.connections.let_go(flow, theirs)
        self.reactor.advance(DEFAULT.idle_time)
        self.assertTrue(self.wire.disconnecting)

    def test_a_phone_that_registered_may_be_silent(self) -> None:
        """
        Until it has to register again.
        """
        key = ServerKey("z9hG4bK-1", "10.0.0.9:5060", "REGISTER")
        self.transports.respond(response_to(a_request("REGISTER"), 200), self.wire.stream.flow, key)
        self.lasts(DEFAULT.registered_time)

    def test_O09_a_phone_that_was_told_to_ping_has_to(self) -> None:
        """
        It has more time than Flow-Timer says, and is gone when that has passed.
        """
        key = ServerKey("z9hG4bK-1", "10.0.0.9:5060", "REGISTER")
        response = response_to(a_request("REGISTER"), 200, fields=[("Flow-Timer", str(FLOW_TIMER))])
        self.transports.respond(response, self.wire.stream.flow, key)
        self.assertGreater(DEFAULT.flow_time, FLOW_TIMER)
        self.reactor.advance(FLOW_TIMER)
        self.wire.receive(b"\r\n\r\n")
        self.lasts(DEFAULT.flow_time)

    def test_a_far_end_that_does_not_let_go_is_cut_off(self) -> None:
        """
        When we have hung up, and what we said last is not read.  Nothing more
        goes that way meanwhile.
        """
        self.patch(self.wire, "loseConnection", lambda: None)
        self.patch(self.wire, "abortConnection", self.wire.stream.connectionLost)
        self.wire.stream.close()
        self.wire.receive(self.head + self.body)
        self.assertEqual(self.receiver.messages, [])
        self.transports.send(b"x", Hop("tcp", "10.0.0.9", 40000), None)
        self.assertEqual((self.wire.value(), len(self.reactor.tcpClients)), (b"", 1))
        self.reactor.advance(DEFAULT.closing_time)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
