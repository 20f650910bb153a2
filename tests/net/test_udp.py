"""
Tests for L{sipxha.net.udp}.
"""

from __future__ import annotations

import errno

from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IReactorUDP, IUDPTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipxha.net.stun import binding_answer
from sipxha.net.udp import MAX_DATAGRAM, SipDatagrams
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request
from tests.net.test_stun import a_binding_request
from tests.support.fakes import RecordingReceiver, SipReactor, a_request


class SipDatagramsTests(SynchronousTestCase):
    """
    Tests for L{SipDatagrams}.
    """

    def setUp(self) -> None:
        self.reactor = SipReactor()
        self.receiver = RecordingReceiver()
        self.datagrams = SipDatagrams(self.receiver)
        self.reactor.listenUDP(5060, self.datagrams, "10.0.0.1", MAX_DATAGRAM)

    def test_the_fakes_are_what_they_stand_for(self) -> None:
        """
        So that what passes here can be believed.
        """
        verifyObject(IReactorUDP, self.reactor)
        verifyObject(IUDPTransport, self.reactor.udp)

    def test_a_datagram_is_a_message_and_its_flow(self) -> None:
        """
        The flow tells where an answer must go.
        """
        self.reactor.udp.receive(a_request().encode(), "10.0.0.9", 5062)
        ((message, flow),) = self.receiver.messages
        assert isinstance(message, Request)
        self.assertEqual(message.method, "INVITE")
        self.assertEqual(flow, Flow("udp", "10.0.0.9", 5062, "10.0.0.1", 5060))

    def test_M19_a_datagram_may_be_as_large_as_udp_can(self) -> None:
        """
        65,507 bytes are.
        """
        request = a_request(body=bytes(65_000))
        self.reactor.udp.receive(request.encode())
        ((message, _),) = self.receiver.messages
        self.assertEqual(len(message.body), 65_000)

    def test_O10_stun_is_answered_to_where_it_came_from(self) -> None:
        """
        And what is damaged is dropped.
        """
        self.reactor.udp.receive(a_binding_request(), "10.0.0.9", 5062)
        ((answer, place),) = self.reactor.udp.written
        self.assertEqual(place, ("10.0.0.9", 5062))
        self.assertEqual(answer, binding_answer(a_binding_request(), "10.0.0.9", 5062))
        self.reactor.udp.receive(a_binding_request(length=8))
        self.assertEqual((len(self.reactor.udp.written), self.receiver.messages), (1, []))

    def test_a_keep_alive_is_no_message(self) -> None:
        """
        Nothing is heard of it, and nothing said.
        """
        for data in (b"", b"\r\n", b"\r\n\r\n", b"\0"):
            self.reactor.udp.receive(data)
        self.assertEqual(self.receiver.messages, [])
        self.assertEqual(self.reactor.udp.written, [])

    def test_what_is_no_message_is_reported(self) -> None:
        """
        And the next datagram is read as if nothing had been.
        """
        self.reactor.udp.receive(b"HELLO\r\n\r\n")
        self.reactor.udp.receive(a_request().encode())
        self.assertEqual((len(self.receiver.malformed), len(self.receiver.messages)), (1, 1))

    def test_sending_tells_whether_it_could(self) -> None:
        """
        A full buffer is a loss on the way; no route, or a message that UDP
        cannot carry, is a failure.
        """
        udp = self.reactor.udp
        self.assertTrue(self.datagrams.send(b"x", "10.0.0.9", 5060))
        self.assertEqual(udp.written, [(b"x", ("10.0.0.9", 5060))])
        for error, sent in (
            (OSError(errno.EAGAIN, "full"), True),
            (OSError(errno.ENETUNREACH, "no route"), False),
            (MessageLengthError("too long"), False),
        ):
            udp.error = error
            self.assertEqual(self.datagrams.send(b"x", "10.0.0.9", 5060), sent)
