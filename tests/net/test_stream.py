"""
Tests for L{sipxha.net.stream}.
"""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipxha.config.model import Ports
from sipxha.net.stream import MAX_UNSENT
from sipxha.net.transports import Transports
from sipxha.sip.hop import Flow
from tests.support.fakes import RecordingReceiver, SipReactor, a_request


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

    def test_a_ping_is_answered(self) -> None:
        """
        Two CRLFs with one (RFC 5626 section 3.5.1).
        """
        self.wire.receive(b"\r\n\r\n")
        self.assertEqual(self.wire.value(), b"\r\n")

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
        self.stream.send(bytes(MAX_UNSENT))
        self.stream.resumeProducing()
        self.stream.pauseProducing()
        self.stream.send(bytes(MAX_UNSENT))
        self.assertFalse(self.wire.disconnecting)
        self.stream.send(b"x")
        self.assertTrue(self.wire.disconnecting)
