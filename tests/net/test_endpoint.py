"""
Tests for L{sipxha.net.endpoint} as a server; as a client: L{test_branch}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from sipxha.auth.security_events import SecurityEvents
from sipxha.config.model import Ports
from sipxha.errors import LocalError
from sipxha.net.endpoint import Endpoint, ITransactionUser
from sipxha.net.siblings import HANDED
from sipxha.net.transports import CannotBind
from sipxha.sip.grammar import MalformedField
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.transaction.vocabulary import ServerKey
from tests.support.fakes import RecordingObserver, RecordingUser, SipReactor, a_request, counting_mint


class EndpointCase(SynchronousTestCase):
    """
    An endpoint on a network of the test's making.
    """

    def setUp(self) -> None:
        self.reactor = SipReactor()
        self.user = RecordingUser()
        self.security = SecurityEvents()
        self.endpoint = Endpoint(
            self.reactor,
            "test",
            Ports(5060, 5060),
            "10.0.0.1",
            "10.0.0.1",
            self.user,
            counting_mint(),
            security=self.security,
        )
        self.endpoint.startService()

    def received(self) -> list[Any]:
        """
        What came over UDP to the far end since the last time: methods and
        statuses.
        """
        return [
            message.method if isinstance(message, Request) else getattr(message, "status", None)
            for message, _ in self.reactor.udp.take()
        ]

    def heard(self) -> list[str]:
        """
        What the user was told since the last time, in short.
        """
        heard, self.user.heard = self.user.heard, []
        return [item[0] for item in heard]


class ServerTests(EndpointCase):
    """
    Requests that come in.
    """

    def test_a_request_is_told_once_and_answered_as_often_as_asked(self) -> None:
        """
        Retransmissions never reach the user.
        """
        verifyObject(ITransactionUser, self.user)
        self.reactor.udp.receive(a_request("OPTIONS").encode())
        ((_, transaction, request, flow),) = self.user.heard
        self.assertEqual(flow, Flow("udp", "10.0.0.9", 5060, "10.0.0.1", 5060))
        self.endpoint.respond(transaction, response_to(request, 200))
        self.reactor.udp.receive(a_request("OPTIONS").encode())
        self.assertEqual(self.received(), [200, 200])
        self.assertEqual(self.heard(), ["request"])

    def test_M14_the_top_via_notes_where_the_request_came_from(self) -> None:
        """
        When sent-by does not say so itself; always with rport (N01), and
        never a port that was not asked for (N02).
        """
        for via, noted in (
            ("SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-1", ""),
            ("SIP/2.0/UDP phone.local;branch=z9hG4bK-2", ";received=10.0.0.9"),
            ("SIP/2.0/UDP 192.168.0.2;branch=z9hG4bK-3", ";received=10.0.0.9"),
            ("SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK-4;received=1.2.3.4", None),
            ("SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK-5;rport", "=40000;received=10.0.0.9"),
            ("SIP/2.0/UDP 10.0.0.9;rport;received=1.2.3.4;branch=z9hG4bK-6", None),
        ):
            self.reactor.udp.receive(a_request("OPTIONS", via=via).encode(), port=40000)
            if noted is None:
                expected = via.replace("1.2.3.4", "10.0.0.9").replace("rport", "rport=40000")
            else:
                expected = via + noted
            self.assertEqual(self.user.heard[-1][2].get("via"), expected)

    def test_an_ipv6_address_is_noted_without_brackets(self) -> None:
        """
        RFC 5118 section 4.5; brackets that came are not kept.
        """
        via = "SIP/2.0/UDP [2001:db8::9:2];branch=z9hG4bK-1"
        for number, received in enumerate(("", ";received=[2001:db8::9]", ";received=2001:db8::9")):
            data = a_request("OPTIONS", via=f"{via}{number}{received}").encode()
            self.reactor.udp.receive(data, "2001:db8::9:1")
            self.assertEqual(self.user.heard[-1][2].get("via"), f"{via}{number};received=2001:db8::9:1")

    def test_the_ack_of_a_2xx_is_repeated_with_the_same_branch(self) -> None:
        """
        So that whoever gets it twice knows it again (RFC 3261 section 16.11);
        the ACK of another call has another one.
        """
        hops = [Hop("udp", "10.0.0.9", 5060)]
        for via in (
            "SIP/2.0/UDP a;branch=z9hG4bK-1",
            "SIP/2.0/UDP a;branch=z9hG4bK-1",
            "SIP/2.0/UDP a;branch=z9hG4bK-2",
        ):
            self.endpoint.send_ack(a_request("ACK", via=via), hops)
        branches = [
            message.via.branch for message, _ in self.reactor.udp.take() if isinstance(message, Request)
        ]
        self.assertEqual(branches[0], branches[1])
        self.assertNotEqual(branches[0], branches[2])

    def test_a_malformed_request_costs_its_own_answer(self) -> None:
        """
        With what is wrong as reason; its neighbours do not notice.
        """
        data = a_request("OPTIONS", cseq_method="BYE").encode()
        self.reactor.udp.receive(data)
        self.reactor.udp.receive(b"OPTIONS sip:bob@example.com SIP/3.0" + data[data.index(b"\r\n") :])
        self.reactor.udp.receive(b"\x00\xff rubbish \r\n\r\n")
        self.reactor.udp.receive(a_request("ACK", cseq_method="BYE").encode())
        self.reactor.udp.receive(a_request("OPTIONS").encode())
        answers = [message for message, _ in self.reactor.udp.take()]
        self.assertEqual([answer.status for answer in answers if isinstance(answer, Response)], [400, 505])
        self.assertEqual(self.heard(), ["request"])
        sent = self.endpoint.sent["udp"]
        self.assertEqual((self.endpoint.malformed, sent[4], sent[5]), (4, 1, 1))
        self.assertEqual(self.security.counts["malformed"], 4)

    def test_a_node_that_drains_takes_nothing_new(self) -> None:
        """
        What belongs to a dialog is served, and so is what has begun.
        """
        self.reactor.udp.receive(a_request("INVITE").encode())
        ((_, transaction, request, _),) = self.user.heard
        self.endpoint.is_draining = True
        self.assertEqual((self.heard(), self.endpoint.unanswered), (["request"], 1))
        via = "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-phone-"
        self.reactor.udp.receive(a_request("OPTIONS", via=f"{via}2").encode())
        ((answer, _),) = self.reactor.udp.take()
        assert isinstance(answer, Response)
        self.assertEqual((answer.status, answer.get("retry-after")), (503, "60"))
        self.reactor.udp.receive(a_request("BYE", via=f"{via}3", to_tag="bob-1").encode())
        self.assertEqual(self.heard(), ["request"])
        self.endpoint.respond(transaction, response_to(request, 200))
        self.assertEqual((self.received(), self.endpoint.unanswered), ([200], 1))

    def test_a_node_that_drains_takes_a_call_for_help(self) -> None:
        """
        There may be no other node.
        """
        self.endpoint.is_draining = True
        self.endpoint.spares = lambda request: request.request_uri.user == "112"
        self.reactor.udp.receive(a_request("INVITE", uri="sip:112@10.0.0.1").encode())
        self.assertEqual(self.heard(), ["request"])

    def test_methods_that_strangers_invent_are_counted_as_one(self) -> None:
        """
        Nobody makes us remember every name there is.
        """
        for method in ("OPTIONS", "SHOUT", "WHISPER"):
            self.reactor.udp.receive(a_request(method).encode())
        counted = {kind: count for kind, count in self.endpoint.received["udp"].items() if count}
        self.assertEqual(counted, {"OPTIONS": 1, "other": 2})

    def test_what_a_sibling_is_told_at_once_is_counted(self) -> None:
        """
        As if it had come over a socket; without a transaction.
        """
        flow = Flow("tcp", "10.0.0.1", 5070, "10.0.0.1", 5060, HANDED)
        self.assertIsNone(self.endpoint.answer_at_once(a_request(), flow))
        self.endpoint.at_once = lambda request, flow: response_to(request, 302)
        self.assertIsNotNone(self.endpoint.answer_at_once(a_request("INVITE"), flow))
        received, sent = self.endpoint.received["inside"], self.endpoint.sent["inside"]
        self.assertEqual((received["INVITE"], received["OPTIONS"], sent[3]), (1, 0, 1))
        self.assertEqual(self.endpoint.transactions, 0)

    def test_M08_what_cannot_be_answered_is_dropped(self) -> None:
        """
        Without a Via that can be read there is no way back.
        """
        for data in (
            a_request("OPTIONS", via=None).encode(),
            a_request("OPTIONS", via="SIP/2.0/UDP").encode(),
            a_request("OPTIONS", via=None, cseq_method="BYE").encode(),
            response_to(a_request(via=None), 200).encode(),
        ):
            self.reactor.udp.receive(data)
        self.assertEqual((self.received(), self.heard()), ([], []))

    def test_a_user_that_raises_costs_that_request_only(self) -> None:
        """
        A fault of ours is logged and answered 500, one of the far end with
        its own status.
        """

        class Busy(LocalError):
            status = 503

        for error, status in (
            (ValueError("bug"), 500),
            (Busy("try later"), 503),
            (MalformedField("contact", "?"), 400),
        ):
            logged = not isinstance(error, MalformedField)

            def fail(transaction: ServerKey, request: Request, flow: Flow, error: Exception = error) -> None:
                raise error

            self.user.answer = fail
            via = f"SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-{status}"
            self.reactor.udp.receive(a_request("OPTIONS", via=via).encode())
            self.assertEqual(self.received(), [status])
            self.assertEqual(len(self.flushLoggedErrors(type(error))), int(logged))

    def test_a_user_that_raises_after_its_answer_says_no_more(self) -> None:
        """
        One final answer is all there is.
        """

        def fail(transaction: ServerKey, request: Request, flow: Flow) -> None:
            self.endpoint.respond(transaction, response_to(request, 200))
            raise ValueError("too late")

        self.user.answer = fail
        self.reactor.udp.receive(a_request("OPTIONS").encode())
        self.assertEqual(self.received(), [200])
        self.flushLoggedErrors(ValueError)

    def test_P29_a_cancel_is_answered_at_once_and_told(self) -> None:
        """
        With the INVITE's transaction, and while that is open.
        """
        self.reactor.udp.receive(a_request().encode())
        transaction, request = self.user.heard[0][1:3]
        self.reactor.udp.receive(a_request("CANCEL").encode())
        self.assertEqual(self.received(), [200])
        self.assertEqual(self.user.heard[1:], [("cancelled", transaction)])
        self.endpoint.respond(transaction, response_to(request, 487))
        self.assertEqual(self.received(), [487])

    def test_M23_what_a_cancel_requires_is_ignored(self) -> None:
        """
        It is answered, and has its effect.
        """
        self.reactor.udp.receive(a_request().encode())
        cancel = a_request("CANCEL")
        cancel.add("require", "nobody-knows")
        cancel.add("proxy-require", "nobody-knows")
        self.reactor.udp.receive(cancel.encode())
        self.assertEqual(self.received(), [200])
        self.assertEqual(self.heard(), ["request", "cancelled"])

    def test_P29_D04_a_cancel_after_the_answer_has_no_effect(self) -> None:
        """
        It is answered 200 all the same.
        """
        self.reactor.udp.receive(a_request().encode())
        transaction, request = self.user.heard[0][1:3]
        self.endpoint.respond(transaction, response_to(request, 200))
        self.reactor.udp.receive(a_request("CANCEL").encode())
        self.assertEqual(self.received(), [200, 200])
        self.assertEqual(self.heard(), ["request"])

    def test_H04_what_the_gate_turns_away_leaves_nothing_behind(self) -> None:
        """
        503 with Retry-After, without a transaction; nobody is asked about what
        was let in before, an ACK or a CANCEL.
        """
        asked: list[str] = []

        def gate(request: Request, flow: Flow) -> int | None:
            asked.append(request.method)
            return 17

        self.endpoint.gate = gate
        self.reactor.udp.receive(a_request("INVITE").encode())
        ((response, _),) = self.reactor.udp.take()
        assert isinstance(response, Response)
        self.assertEqual((response.status, response.get("retry-after")), (503, "17"))
        self.assertEqual((self.endpoint.transactions, self.heard(), asked), (0, [], ["INVITE"]))
        self.endpoint.gate = None
        self.reactor.udp.receive(a_request("INVITE").encode())
        self.endpoint.gate = gate
        for method in ("INVITE", "ACK", "CANCEL"):
            self.reactor.udp.receive(a_request(method).encode())
        self.assertEqual(asked, ["INVITE"])

    def test_a_cancel_of_nothing_is_answered_481(self) -> None:
        """
        And the user hears nothing of it.
        """
        self.reactor.udp.receive(a_request("CANCEL").encode())
        self.assertEqual((self.received(), self.heard()), ([481], []))

    def test_D05_an_ack_of_a_2xx_is_told_and_one_of_a_failure_is_not(self) -> None:
        """
        That one belongs to the transaction.
        """
        self.reactor.udp.receive(a_request().encode())
        transaction, request = self.user.heard[0][1:3]
        self.endpoint.respond(transaction, response_to(request, 486, to_tag="bob-1"))
        self.reactor.udp.receive(a_request("ACK", to_tag="bob-1").encode())
        self.assertEqual(self.heard(), ["request"])
        other = a_request("ACK", via="SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK-other", to_tag="bob-1")
        self.reactor.udp.receive(other.encode())
        self.assertEqual(self.heard(), ["ack"])

    def test_a_failure_that_nobody_acknowledges_is_told(self) -> None:
        """
        Timer H.
        """
        self.reactor.udp.receive(a_request().encode())
        transaction, request = self.user.heard[0][1:3]
        self.endpoint.respond(transaction, response_to(request, 486))
        self.reactor.pump([1.0] * 33)
        self.assertEqual(self.heard(), ["request", "server failed"])
        self.assertEqual(self.endpoint.transactions, 0)

    def test_M15_an_answer_takes_the_connection_of_its_request(self) -> None:
        """
        Over TCP, and is sent once.
        """
        wire = self.reactor.accept()
        wire.receive(a_request("OPTIONS", via="SIP/2.0/TCP 10.0.0.9;branch=z9hG4bK-1").encode())
        _, transaction, request, _ = self.user.heard[0]
        self.endpoint.respond(transaction, response_to(request, 200))
        (answer,) = wire.take()
        assert isinstance(answer, Response)
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.endpoint.transactions, 0)

    def test_a_stateless_answer_leaves_nothing_behind(self) -> None:
        """
        It takes the same way.
        """
        flow = Flow("udp", "10.0.0.9", 5060, "10.0.0.1", 5060)
        self.endpoint.send_stateless_response(response_to(a_request(), 403), flow)
        self.assertEqual(self.received(), [403])
        self.assertEqual(self.endpoint.transactions, 0)

    def test_ports_can_be_tried_before_the_service_starts(self) -> None:
        """
        Starting then keeps what is bound; a port that is taken is an error.
        """
        self.endpoint.bind()
        self.assertEqual(len(self.reactor.tcpServers), 1)
        self.reactor.taken.add(("udp", 5070))
        other = Endpoint(
            self.reactor, "other", Ports(5070, None), "10.0.0.1", "10.0.0.1", self.user, counting_mint()
        )
        self.assertRaises(CannotBind, other.bind)

    def test_a_stopped_endpoint_is_silent(self) -> None:
        """
        No timer and no port is left.
        """
        self.reactor.udp.receive(a_request().encode())
        self.successResultOf(self.endpoint.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class LoopbackTests(TestCase):
    """
    The same, over real sockets.
    """

    timeout = 10

    def setUp(self) -> None:
        self.user = RecordingUser()
        self.user.answer = self.answer
        self.endpoint = Endpoint(
            real_reactor, "server", Ports(0, 0), "127.0.0.1", "127.0.0.1", self.user, counting_mint()
        )
        self.endpoint.startService()
        self.addCleanup(self.endpoint.stopService)

    def answer(self, transaction: ServerKey, request: Request, flow: Flow) -> None:
        self.endpoint.respond(transaction, response_to(request, 200, to_tag="bob-1"))

    async def exchange(self, transport: str) -> None:
        """
        A second endpoint asks, the first one answers.
        """
        client = Endpoint(
            real_reactor, "client", Ports(0, 0), "127.0.0.1", "127.0.0.1", RecordingUser(), counting_mint()
        )
        client.startService()
        self.addCleanup(client.stopService)
        done: Deferred[Response] = Deferred()

        class Waiting(RecordingObserver):
            def response_received(self, branch: Any, response: Response) -> None:
                done.callback(response)

        port = self.endpoint.port(transport)
        assert port is not None
        client.request(a_request("OPTIONS", via=None), [Hop(transport, "127.0.0.1", port)], Waiting())
        response = await done
        self.assertEqual((response.status, response.vias), (200, []))

    def test_a_request_over_udp_is_answered(self) -> None:
        """
        By a real datagram.
        """
        return Deferred.fromCoroutine(self.exchange("udp"))  # type: ignore[return-value]

    def test_a_request_over_tcp_is_answered(self) -> None:
        """
        On the connection that was opened for it.
        """
        return Deferred.fromCoroutine(self.exchange("tcp"))  # type: ignore[return-value]
