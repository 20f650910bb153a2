"""
Tests for L{sipxha.net.transports}.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTCP
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipxha.config.model import Limits, Ports
from sipxha.net.connections import CLOSE_LIMIT
from sipxha.net.transports import CannotBind, Transports
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.limits import MessageLimits
from sipxha.sip.message import Response
from sipxha.sip.response import response_to
from sipxha.transaction.vocabulary import ClientKey, ServerKey
from tests.support.fakes import RecordingReceiver, SipReactor, a_request

KEY = ClientKey("z9hG4bK-1", "OPTIONS")
OTHER = ClientKey("z9hG4bK-2", "OPTIONS")
SERVER = ServerKey("z9hG4bK-3", "10.0.0.9:5060", "INVITE")
BOB = Hop("tcp", "10.0.0.2", 5060)
UDP_FLOW = Flow("udp", "10.0.0.9", 40000, "10.0.0.1", 5060)


def answer(via: str) -> Response:
    return response_to(a_request(via=via), 200)


class TransportsCase(SynchronousTestCase):
    """
    Bound transports on both ports 5060.
    """

    def setUp(self) -> None:
        self.reactor = SipReactor()
        self.receiver = RecordingReceiver()
        self.transports = Transports(self.reactor, "10.0.0.1", Ports(5060, 5060), self.receiver)
        self.transports.bind()

    def settle(self) -> None:
        self.reactor.advance(0)


class BindTests(TransportsCase):
    """
    Ports, taken and given back.
    """

    def test_M17_both_transports_are_bound(self) -> None:
        """
        On the address that was asked for, and once only.
        """
        self.transports.bind()
        verifyObject(IReactorTCP, self.reactor)
        self.assertEqual(len(self.reactor.tcpServers), 1)
        self.assertEqual(self.reactor.tcpServers[0][3], "10.0.0.1")
        self.assertEqual((self.transports.port("udp"), self.transports.port("tcp")), (5060, 5060))

    def test_a_port_that_is_taken_is_an_error_that_names_it(self) -> None:
        """
        And no other port is kept.
        """
        self.reactor.taken.add(("tcp", 5070))
        transports = Transports(self.reactor, "10.0.0.1", Ports(5070, 5070), self.receiver)
        error = self.assertRaises(CannotBind, transports.bind)
        self.assertIn("10.0.0.1:5070/tcp", str(error))
        self.assertFalse(transports.speaks(Hop("udp", "10.0.0.2", 5060)))

    def test_a_transport_without_a_port_is_not_spoken(self) -> None:
        """
        Nor is one that nobody has heard of.
        """
        transports = Transports(self.reactor, "10.0.0.1", Ports(5070, None), self.receiver)
        transports.bind()
        spoken = [transports.speaks(Hop(name, "10.0.0.2", 5060)) for name in ("udp", "tcp", "sctp")]
        self.assertEqual(spoken, [True, False, False])
        transports.send(b"x", BOB, KEY)
        self.assertEqual(self.receiver.failed, [])
        self.settle()
        self.assertEqual(self.receiver.failed, [KEY])

    def test_messages_are_read_under_the_limits_that_were_given(self) -> None:
        """
        Over either transport.
        """
        limits = Limits(message=MessageLimits(vias=2))
        Transports(self.reactor, "10.0.0.1", Ports(5070, 5070), self.receiver, limits=limits).bind()
        data = a_request().encode()
        self.reactor.udp.receive(data)
        self.reactor.accept("10.0.0.9", 40000).receive(data)
        self.assertEqual([message.limits for message, _ in self.receiver.messages], [limits.message] * 2)

    def test_unbind_closes_every_connection(self) -> None:
        """
        Open ones and such as are only begun; then all is quiet.
        """
        accepted = self.reactor.accept()
        self.transports.send(b"x", BOB, KEY)
        self.successResultOf(self.transports.unbind())
        self.assertTrue(accepted.disconnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(self.transports.speaks(BOB))

    def test_a_peer_that_does_not_let_go_is_cut_off(self) -> None:
        """
        A little later.
        """
        wire = self.reactor.accept()
        self.patch(wire, "loseConnection", lambda: None)
        closed = self.transports.unbind()
        self.assertNoResult(closed)
        self.patch(wire, "abortConnection", wire.stream.connectionLost)
        self.reactor.advance(CLOSE_LIMIT)
        self.successResultOf(closed)


class RequestTests(TransportsCase):
    """
    Where requests go; over TCP: L{test_connections}.
    """

    def test_a_datagram_goes_to_its_hop_or_flow(self) -> None:
        """
        From the port that we listen on.
        """
        self.transports.send(b"1", Hop("udp", "10.0.0.2", 5060), KEY)
        self.transports.send(b"2", UDP_FLOW, KEY)
        self.assertEqual(self.reactor.udp.written, [(b"1", ("10.0.0.2", 5060)), (b"2", ("10.0.0.9", 40000))])

    def test_a_datagram_that_cannot_be_sent_has_failed(self) -> None:
        """
        But nobody is told while it is being sent.
        """
        self.reactor.udp.error = OSError(101, "no route")
        self.transports.send(b"1", Hop("udp", "10.0.0.2", 5060), KEY)
        self.assertEqual(self.receiver.failed, [])
        self.settle()
        self.assertEqual(self.receiver.failed, [KEY])


class ResponseTests(TransportsCase):
    """
    Where responses go.
    """

    def written_to(self, via: str) -> tuple[str, int]:
        response = answer(via)
        self.transports.respond(response, UDP_FLOW, SERVER)
        # A repetition goes the same way, or has to be read.
        is_repeated = self.transports.repeat(response.encode(), UDP_FLOW, SERVER)
        (_, address), *others = written = self.reactor.udp.take()
        self.assertEqual(len(written), 2 if is_repeated else 1)
        self.assertTrue(all(other == address for _, other in others))
        return address

    def test_N01_with_rport_it_goes_back_where_it_came_from(self) -> None:
        """
        RFC 3581 section 4.
        """
        via = "SIP/2.0/UDP 10.0.0.9:5062;branch=z9hG4bK-1;rport=40000;received=10.0.0.9"
        self.assertEqual(self.written_to(via), ("10.0.0.9", 40000))

    def test_N01_a_usual_answer_is_repeated_unread(self) -> None:
        """
        One whose top Via does not simply say where it goes is not, nor one
        over a connection.
        """
        usual = "SIP/2.0/UDP 10.0.0.9:5062;branch=z9hG4bK-1;rport=40000;received=10.0.0.9"
        for via, flow, is_repeated in (
            (usual, UDP_FLOW, True),
            (usual, UDP_FLOW._replace(transport="tcp"), False),
            (f"{usual};maddr=10.0.0.7", UDP_FLOW, False),
            (f"{usual}\r\n ;maddr=10.0.0.7", UDP_FLOW, False),
            ("SIP/2.0/UDP 10.0.0.9:5062;branch=z9hG4bK-1", UDP_FLOW, False),
        ):
            data = f"SIP/2.0 200 OK\r\nVia: {via}\r\nCSeq: 1 OPTIONS\r\n\r\n".encode()
            self.assertEqual(self.transports.repeat(data, flow, SERVER), is_repeated)
            self.assertEqual(self.reactor.udp.written, [(data, ("10.0.0.9", 40000))] if is_repeated else [])
            self.reactor.udp.take()

    def test_M16_N02_without_rport_it_goes_to_the_port_of_sent_by(self) -> None:
        """
        5060, if that names none; and to maddr, if there is one.
        """
        for via, address in (
            ("SIP/2.0/UDP phone.local:5062;branch=z9hG4bK-1;received=10.0.0.9", ("10.0.0.9", 5062)),
            ("SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK-1", ("10.0.0.9", 5060)),
            ("SIP/2.0/UDP 10.0.0.9;maddr=10.0.0.7;branch=z9hG4bK-1", ("10.0.0.7", 5060)),
            ("SIP/2.0/UDP 10.0.0.9;maddr=elsewhere.com;branch=z9hG4bK-1", ("10.0.0.9", 5060)),
        ):
            self.assertEqual(self.written_to(via), address)

    def test_M15_over_tcp_it_takes_the_connection_of_its_request(self) -> None:
        """
        Not another one to the same host.
        """
        first = self.reactor.accept("10.0.0.9", 40000)
        self.reactor.accept("10.0.0.9", 40001)
        response = answer("SIP/2.0/TCP 10.0.0.9;branch=z9hG4bK-1")
        self.transports.respond(response, first.stream.flow, SERVER)
        self.assertEqual(first.value(), response.encode())

    def test_M15_L10_when_that_is_gone_one_is_opened_to_sent_by(self) -> None:
        """
        To the address it came from, and the port that it says it listens on.
        """
        wire = self.reactor.accept("10.0.0.9", 40000)
        wire.loseConnection()
        response = answer("SIP/2.0/TCP phone.local:5062;branch=z9hG4bK-1;received=10.0.0.9")
        self.transports.respond(response, wire.stream.flow, SERVER)
        self.assertEqual(self.reactor.tcpClients[0][:2], ("10.0.0.9", 5062))
        self.reactor.refuse()
        self.settle()
        self.assertEqual(self.receiver.failed, [SERVER])
