"""
Tests for L{sipxha.net.siblings}; what they hand each other: L{test_handover}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.net.siblings import HANDED, MOST, Siblings
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from tests.support.fakes import (
    RecordingObserver,
    RecordingUser,
    SipReactor,
    a_request,
    a_sibling,
    counting_mint,
)

ADDRESS = "10.0.0.1"
PROXY, REGISTRAR = 5060, 5070
TO_REGISTRAR = Hop("tcp", ADDRESS, REGISTRAR, "sipx1.example.com")


class OrderTests(SynchronousTestCase):
    """
    What is on its way.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.siblings = Siblings(self.clock)
        self.heard: list[int] = []

    def say(self, number: int = 0) -> None:
        self.siblings.pass_on(self.heard.append, number)

    def test_nothing_is_heard_from_within_the_sender(self) -> None:
        """
        But in the next turn of the reactor, in order.
        """
        self.say(1)
        self.say(2)
        self.assertEqual((self.heard, len(self.clock.getDelayedCalls())), ([], 1))
        self.clock.advance(0)
        self.assertEqual((self.heard, self.clock.getDelayedCalls()), ([1, 2], []))

    def test_what_comes_of_a_socket_s_message_needs_no_turn_of_the_reactor(self) -> None:
        """
        It is delivered when that message is done with.
        """
        self.assertTrue(self.siblings.hold())
        self.assertFalse(self.siblings.hold())
        self.say()
        self.assertEqual(self.heard, [])
        self.siblings.release()
        self.assertEqual((len(self.heard), self.clock.getDelayedCalls()), (1, []))

    def test_what_goes_in_circles_gives_way_to_the_sockets(self) -> None:
        """
        After a number of messages; then it goes on.
        """
        self.assertTrue(self.siblings.hold())
        for _ in range(MOST + 1):
            self.say()
        self.siblings.release()
        self.assertEqual(len(self.heard), MOST)
        self.clock.advance(0)
        self.assertEqual(len(self.heard), MOST + 1)

    def test_what_has_gathered_in_a_long_turn_is_delivered_at_its_end(self) -> None:
        """
        However much it is; and each message from a socket makes room, too: a
        flood of them does not hold up for ever what waits.
        """
        for _ in range(3 * MOST):
            self.say()
        self.assertTrue(self.siblings.hold())
        self.siblings.release()
        self.assertEqual(len(self.heard), MOST)
        self.assertTrue(self.siblings.hold())
        self.assertFalse(self.siblings.hold())
        self.say()
        self.siblings.release()
        self.assertEqual(len(self.heard), 2 * MOST)
        self.clock.advance(0)
        self.assertEqual(len(self.heard), 3 * MOST + 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_fault_costs_one_message(self) -> None:
        """
        The order of the others stays.
        """

        def fail(number: int) -> None:
            raise ValueError("a fault of ours")

        self.say(1)
        self.siblings.pass_on(fail, 2)
        self.say(3)
        self.clock.advance(0)
        self.assertEqual(self.heard, [1, 3])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class PlaceTests(SynchronousTestCase):
    """
    Who is there.
    """

    def setUp(self) -> None:
        """
        A proxy and a registrar in one process.
        """
        self.reactor = SipReactor()
        self.siblings = Siblings(self.reactor)
        self.user = RecordingUser()
        mint = counting_mint()
        self.registrar = a_sibling(self.reactor, self.siblings, ADDRESS, REGISTRAR, self.user, mint)
        self.proxy = a_sibling(self.reactor, self.siblings, ADDRESS, PROXY, RecordingUser(), mint)

    def test_who_can_answer_at_once_is_sent_nothing(self) -> None:
        """
        But told who asks; others have to be sent the request.
        """
        asked: list[tuple[Request, Flow]] = []

        def answer(request: Request, flow: Flow) -> Response:
            asked.append((request, flow))
            return response_to(request, 302)

        request = a_request()
        self.assertIsNone(self.proxy.ask(request, TO_REGISTRAR))
        self.registrar.at_once = answer
        response = self.proxy.ask(request, TO_REGISTRAR)
        assert response is not None
        self.assertEqual(response.status, 302)
        self.assertEqual((self.proxy.sent["inside"]["INVITE"], self.registrar.sent["inside"][3]), (1, 1))
        self.assertEqual(
            (self.registrar.received["inside"]["INVITE"], self.proxy.received["inside"][3]), (1, 1)
        )
        self.assertEqual(asked, [(request, Flow("tcp", ADDRESS, PROXY, ADDRESS, REGISTRAR, HANDED))])
        self.assertIsNone(self.proxy.ask(request, TO_REGISTRAR._replace(transport="tls")))
        self.assertIsNone(self.proxy.ask(request, Flow("tcp", ADDRESS, REGISTRAR, ADDRESS, PROXY)))
        self.registrar.stopService()
        self.assertIsNone(self.proxy.ask(request, TO_REGISTRAR))

    def test_who_has_closed_is_no_sibling(self) -> None:
        """
        What follows goes over a socket.
        """
        self.assertIs(self.siblings.at(TO_REGISTRAR), self.registrar)
        self.assertTrue(self.siblings.is_bound(self.registrar))
        self.registrar.stopService()
        self.assertIsNone(self.siblings.at(TO_REGISTRAR))
        self.assertFalse(self.siblings.is_bound(self.registrar))
        self.proxy.request(a_request(), [TO_REGISTRAR], RecordingObserver())
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_other_machines_other_ports_and_tls_are_no_siblings(self) -> None:
        """
        Nor is a flow: it leads to a phone.
        """
        self.siblings.add("tls", ADDRESS, REGISTRAR, cast(Any, self.registrar))
        for hop in (
            Hop("tcp", "10.0.0.2", REGISTRAR),
            Hop("tcp", ADDRESS, 5071),
            Hop("tls", ADDRESS, REGISTRAR),
            Flow("udp", ADDRESS, REGISTRAR, ADDRESS, PROXY),
        ):
            self.assertIsNone(self.siblings.at(hop), hop)

    def test_each_counts_what_it_has_not_answered(self) -> None:
        """
        Not what others have.
        """
        for _ in range(2):
            self.proxy.request(a_request("OPTIONS"), [TO_REGISTRAR], RecordingObserver())
        self.reactor.advance(0)
        self.assertEqual(self.siblings.unanswered(self.registrar), 2)
        self.assertEqual(self.siblings.unanswered(self.proxy), 0)
        _, transaction, request, _ = self.user.heard[0]
        self.registrar.respond(transaction, response_to(request, 200))
        self.assertEqual(self.siblings.unanswered(self.registrar), 1)
