"""
Tests for L{sipxha.net.siblings}, and for the transports that use it.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.model import Ports
from sipxha.net.siblings import HANDED, MOST, Siblings
from sipxha.net.transports import Transports
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Message, Request, Response
from sipxha.sip.response import response_to
from sipxha.transaction.vocabulary import ClientKey
from tests.support.fakes import RecordingReceiver, SipReactor, a_request

ADDRESS = "10.0.0.1"
PROXY, REGISTRAR = 5060, 5070
TO_REGISTRAR = Hop("tcp", ADDRESS, REGISTRAR, "sipx1.example.com")


class _Knowing(RecordingReceiver):
    """
    Answers at once.
    """

    def answer_at_once(self, request: Request, flow: Flow) -> Response | None:
        super().message_received(request, flow)
        return response_to(request, 302)


class _Broken(RecordingReceiver):
    """
    Raises at the first message, if it is to.
    """

    is_broken = False

    def message_received(self, message: Message, flow: Flow) -> None:
        super().message_received(message, flow)
        if self.is_broken and len(self.messages) == 1:
            raise ValueError("a fault of ours")


class SiblingsTests(SynchronousTestCase):
    """
    A proxy and a registrar in one process.
    """

    def setUp(self) -> None:
        """
        Both have bound UDP and TCP.
        """
        self.reactor = SipReactor()
        self.siblings = Siblings(self.reactor)
        self.at_proxy, self.at_registrar = RecordingReceiver(), _Broken()
        self.proxy = self.transports(PROXY, self.at_proxy)
        self.registrar = self.transports(REGISTRAR, self.at_registrar)

    def transports(self, port: int, receiver: RecordingReceiver) -> Transports:
        """
        Bound ports of one endpoint, which are known by another address.
        """
        made = Transports(
            self.reactor, "0.0.0.0", Ports(port, port), receiver, siblings=self.siblings, advertised=ADDRESS
        )
        made.bind()
        return made

    def send(self, cseq: int = 1) -> Request:
        """
        Send a request from the proxy.
        """
        request = a_request(cseq=cseq)
        self.proxy.request(request, TO_REGISTRAR, ClientKey("z9hG4bK-1", "OPTIONS"))
        return request

    def test_a_request_arrives_as_a_copy_and_not_at_once(self) -> None:
        """
        Whatever its receiver does with it; no connection is opened.
        """
        request = self.send()
        self.assertEqual(self.at_registrar.messages, [])
        self.reactor.advance(0)
        ((message, flow),) = self.at_registrar.messages
        self.assertEqual(flow, Flow("tcp", ADDRESS, PROXY, ADDRESS, REGISTRAR, HANDED))
        self.assertEqual(message.encode(), request.encode())
        message.prepend("route", "<sip:h;lr>")
        self.assertFalse(request.has("route"))
        self.assertEqual(self.reactor.tcpClients, [])

    def test_an_answer_comes_back_the_same_way(self) -> None:
        """
        From the port that was asked to the one that asked.
        """
        request = self.send()
        self.reactor.advance(0)
        ((_, flow),) = self.at_registrar.messages
        answer = response_to(request, 200)
        self.registrar.respond(answer, flow, None)
        self.reactor.advance(0)
        ((message, back),) = self.at_proxy.messages
        assert isinstance(message, Response)
        self.assertEqual(message.status, 200)
        self.assertIsNot(message, answer)
        self.assertEqual(back, Flow("tcp", ADDRESS, REGISTRAR, ADDRESS, PROXY, HANDED))
        self.assertEqual((self.proxy.sent["inside"]["INVITE"], self.registrar.sent["inside"][2]), (1, 1))
        self.assertFalse(any(self.proxy.sent["tcp"].values()))

    def test_what_comes_of_a_socket_s_message_needs_no_turn_of_the_reactor(self) -> None:
        """
        It is delivered when that message is done with.
        """
        self.assertTrue(self.siblings.hold())
        self.assertFalse(self.siblings.hold())
        self.send()
        self.assertEqual(self.at_registrar.messages, [])
        self.siblings.release()
        self.assertEqual(len(self.at_registrar.messages), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_what_goes_in_circles_gives_way_to_the_sockets(self) -> None:
        """
        After a number of messages; then it goes on.
        """
        self.assertTrue(self.siblings.hold())
        for cseq in range(MOST + 1):
            self.send(cseq)
        self.siblings.release()
        self.assertEqual(len(self.at_registrar.messages), MOST)
        self.reactor.advance(0)
        self.assertEqual(len(self.at_registrar.messages), MOST + 1)

    def test_what_has_gathered_in_a_long_turn_is_delivered_at_its_end(self) -> None:
        """
        However much it is; and each message from a socket makes room, too: a
        flood of them does not hold up for ever what waits.
        """
        for _ in range(3 * MOST):
            self.proxy.request(a_request(), TO_REGISTRAR, None)
        self.assertTrue(self.siblings.hold())
        self.siblings.release()
        self.assertEqual(len(self.at_registrar.messages), MOST)
        self.assertTrue(self.siblings.hold())
        self.assertFalse(self.siblings.hold())
        self.proxy.request(a_request(), TO_REGISTRAR, None)
        self.siblings.release()
        self.assertEqual(len(self.at_registrar.messages), 2 * MOST)
        self.reactor.advance(0)
        self.assertEqual(len(self.at_registrar.messages), 3 * MOST + 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_fault_costs_one_message(self) -> None:
        """
        The order of the others stays.
        """
        self.at_registrar.is_broken = True
        for cseq in (1, 2, 3):
            self.send(cseq)
        self.reactor.advance(0)
        self.assertEqual([message.cseq.number for message, _ in self.at_registrar.messages], [1, 2, 3])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_who_can_answer_at_once_is_sent_nothing(self) -> None:
        """
        But told who asks; others have to be sent the request.
        """
        knowing = _Knowing()
        redirect = self.transports(5072, knowing)
        hop = TO_REGISTRAR._replace(port=5072)
        request = a_request()
        response = self.proxy.ask(request, hop)
        assert response is not None
        self.assertEqual(response.status, 302)
        self.assertEqual(knowing.messages, [(request, Flow("tcp", ADDRESS, PROXY, ADDRESS, 5072, HANDED))])
        self.assertIsNone(self.proxy.ask(request, TO_REGISTRAR))
        self.assertIsNone(self.proxy.ask(request, hop._replace(transport="tls")))
        self.assertIsNone(self.proxy.ask(request, Flow("tcp", ADDRESS, 5072, ADDRESS, PROXY)))
        redirect.unbind()
        self.assertIsNone(self.proxy.ask(request, hop))

    def test_who_has_closed_is_no_sibling(self) -> None:
        """
        What waits for it is lost, as in a socket; what follows goes over one.
        """
        self.assertTrue(self.proxy.is_sibling(TO_REGISTRAR))
        self.send()
        self.registrar.unbind()
        self.reactor.advance(0)
        self.assertEqual(self.at_registrar.messages, [])
        self.assertFalse(self.proxy.is_sibling(TO_REGISTRAR))
        self.send()
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_other_machines_other_ports_and_tls_are_no_siblings(self) -> None:
        """
        Nor is a flow: it leads to a phone.
        """
        for hop in (
            Hop("tcp", "10.0.0.2", REGISTRAR),
            Hop("tcp", ADDRESS, 5071),
            Hop("tls", ADDRESS, REGISTRAR),
            Flow("udp", ADDRESS, REGISTRAR, ADDRESS, PROXY),
        ):
            self.assertFalse(self.proxy.is_sibling(hop), hop)
