"""
Tests for L{sipxha.net.branch}, by way of L{Endpoint.request}.
"""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from sipxha.net.branch import Branch, IBranchObserver
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request
from sipxha.sip.response import response_to
from tests.net.test_endpoint import EndpointCase
from tests.support.fakes import RecordingObserver, a_request

ONE = Hop("udp", "10.0.0.2", 5060)
TWO = Hop("udp", "10.0.0.3", 5060)
TCP_ONE = Hop("tcp", "10.0.0.2", 5060)
TCP_TWO = Hop("tcp", "10.0.0.3", 5060)


class BranchCase(EndpointCase):
    """
    An endpoint that asks.
    """

    def setUp(self) -> None:
        super().setUp()
        self.observer = RecordingObserver()

    def ask(self, *hops: Hop | Flow, method: str = "INVITE", **options: Any) -> Branch:
        request = options.pop("request", None) or a_request(method)
        return self.endpoint.request(request, hops, self.observer, **options)

    def take(self) -> list[tuple[Request, str]]:
        """
        The requests that were sent since the last time, and where to.
        """
        taken = [(message, address[0]) for message, address in self.reactor.udp.take()]
        return [(message, address) for message, address in taken if isinstance(message, Request)]

    def answer(self, request: Request, status: int) -> None:
        self.reactor.udp.receive(response_to(request, status, to_tag="bob-1").encode(), "10.0.0.2")

    def heard_since(self) -> list[Any]:
        heard, self.observer.heard = self.observer.heard, []
        return heard


class AnswerTests(BranchCase):
    """
    What the observer hears of one hop.
    """

    def test_our_via_is_put_on_and_taken_off_again(self) -> None:
        """
        With our address, the port of the transport and the given suffix.
        """
        verifyObject(IBranchObserver, self.observer)
        self.ask(ONE, branch_suffix=".loop-1")
        ((request, _),) = self.take()
        via = request.via
        self.assertEqual((via.transport, via.host, via.port, via.rport), ("UDP", "10.0.0.1", 5060, ""))
        self.assertTrue((via.branch or "").endswith(".loop-1"))
        self.answer(request, 200)
        self.assertEqual(self.observer.responses[0].rows("via"), a_request().rows("via"))

    def test_who_has_left_an_answered_invite_leaves_further_2xx_to_the_user(self) -> None:
        """
        Who is told what was left of it; and nothing can be left while an
        answer is waited for, or when that was a failure.
        """
        branch = self.ask(ONE)
        ((request, _),) = self.take()
        branch.leave(("early",))
        self.answer(request, 180)
        self.answer(request, 200)
        branch.leave(("left",))
        self.answer(request, 200)
        self.answer(request, 202)
        self.assertEqual(self.heard_since(), [("answered", ONE), 180, 200])
        self.assertEqual(
            [(each[0], each[1]) for each in self.user.heard], [("late", ("left",)), ("late", ("left", 200))]
        )
        self.assertEqual(self.user.heard[0][2].rows("via"), a_request().rows("via"))
        refused = self.ask(ONE)
        ((request, _),) = self.take()
        self.answer(request, 486)
        refused.leave(("left",))
        self.assertEqual((self.endpoint._attempts, len(self.endpoint._left)), ({}, 1))
        self.reactor.advance(32)
        self.assertEqual((self.endpoint.transactions, self.endpoint._left), (0, {}))

    def test_provisional_answers_but_100_and_one_final_are_passed_on(self) -> None:
        """
        A sign of life is reported once; every 2xx is passed on.
        """
        self.ask(ONE)
        ((request, _),) = self.take()
        for status in (100, 180, 183, 200, 200, 486):
            self.answer(request, status)
        self.assertEqual(self.heard_since(), [("answered", ONE), 180, 183, 200, 200])

    def test_P36_a_response_for_another_address_is_dropped(self) -> None:
        """
        RFC 3261 section 18.1.2.
        """
        self.ask(ONE)
        ((request, _),) = self.take()
        data = response_to(request, 200).encode()
        for other in (b"10.0.0.7", b"255.255.255.255", b"0.0.0.0", b"224.2.127.254"):
            self.reactor.udp.receive(data.replace(b"10.0.0.1:5060", other + b":5060", 1))
        self.assertEqual(self.heard_since(), [])

    def test_no_answer_at_all_is_a_408_of_our_own(self) -> None:
        """
        After timer B, with a To tag.
        """
        self.ask(ONE)
        self.reactor.pump([1.0] * 33)
        self.assertEqual(self.heard_since(), [("failed", ONE), 408])
        self.assertTrue(self.observer.responses[0].to.tag)
        self.assertEqual(self.observer.responses[0].rows("via"), a_request().rows("via"))
        self.assertEqual(self.endpoint.transactions, 0)

    def test_no_hop_at_all_is_a_503_of_our_own(self) -> None:
        """
        But never before the caller has got its branch.
        """
        self.ask()
        self.assertEqual(self.heard_since(), [])
        self.reactor.advance(0)
        self.assertEqual(self.heard_since(), [503])

    def test_a_hop_whose_transport_we_do_not_speak_is_passed_over(self) -> None:
        """
        That is no fault of the hop.
        """
        tls = Hop("tls", "10.0.0.2", 5061)
        self.ask(tls, ONE)
        self.assertEqual([address for _, address in self.take()], ["10.0.0.2"])
        self.ask(tls)
        self.reactor.advance(0)
        self.assertEqual(self.heard_since(), [503])

    def test_a_connection_remembers_nothing_that_is_over(self) -> None:
        """
        Neither a request that was answered, nor a CANCEL.
        """
        branch = self.ask(TCP_ONE)
        wire = self.reactor.open()
        (request,) = wire.take()
        assert isinstance(request, Request)
        wire.receive(response_to(request, 180).encode())
        branch.cancel()
        (cancel,) = wire.take()
        assert isinstance(cancel, Request)
        wire.receive(response_to(cancel, 200).encode() + response_to(request, 487).encode())
        self.assertEqual(self.heard_since(), [("answered", TCP_ONE), 180, 487])
        self.assertEqual((wire.stream.unanswered, self.endpoint.transactions), (set(), 0))

    def test_an_ack_is_forwarded_without_a_transaction(self) -> None:
        """
        Over the first hop whose transport we speak.
        """
        ack = a_request("ACK", to_tag="bob-1")
        self.endpoint.send_ack(ack, [Hop("tls", "10.0.0.2", 5061), TWO])
        ((sent, address),) = self.take()
        self.assertEqual((sent.method, len(sent.vias), address), ("ACK", 2, "10.0.0.3"))
        self.assertEqual(self.endpoint.transactions, 0)


class FailoverTests(BranchCase):
    """
    From hop to hop: RFC 3263 section 4.3.
    """

    def test_L05_P16_a_503_moves_on_with_a_new_branch(self) -> None:
        """
        And the answer of the next hop is the answer.
        """
        self.ask(ONE, TWO)
        ((first, _),) = self.take()
        self.answer(first, 503)
        (_, (second, address)) = self.take()
        self.assertEqual(address, "10.0.0.3")
        self.assertNotEqual(first.via.branch, second.via.branch)
        self.assertEqual([len(first.vias), len(second.vias)], [2, 2])
        self.answer(second, 200)
        self.assertEqual(self.heard_since(), [("failed", ONE), ("answered", TWO), 200])
        self.assertEqual(self.endpoint.failovers, {"silent": 0, "unreachable": 0, "unavailable": 1})

    def test_L05_other_refusals_are_answers(self) -> None:
        """
        4xx and 6xx are about the request, not about the hop.
        """
        for status in (404, 486, 603):
            self.ask(ONE, TWO)
            ((request, _),) = self.take()
            self.answer(request, status)
            self.assertEqual([sent.method for sent, _ in self.take()], ["ACK"])
            self.assertEqual(self.heard_since(), [("answered", ONE), status])

    def test_L06_L07_a_503_is_acknowledged_there_before_the_next_hop_is_tried(self) -> None:
        """
        The ACK follows its INVITE, under the same branch.
        """
        self.ask(ONE, TWO)
        ((first, _),) = self.take()
        self.answer(first, 503)
        ((ack, acknowledged), (second, asked)) = self.take()
        self.assertEqual((ack.method, acknowledged, ack.via.branch), ("ACK", "10.0.0.2", first.via.branch))
        self.assertEqual((second.method, asked), ("INVITE", "10.0.0.3"))

    def test_the_last_503_is_the_answer(self) -> None:
        """
        As the far end sent it.
        """
        self.ask(ONE)
        ((request, _),) = self.take()
        self.answer(request, 503)
        self.assertEqual(self.heard_since(), [("failed", ONE), 503])

    def test_a_refused_connection_moves_on_at_once(self) -> None:
        """
        Without any time passing; when all refuse, that is a 503.
        """
        self.ask(TCP_ONE, TCP_TWO)
        self.reactor.refuse()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.tcpClients[0][0], "10.0.0.3")
        self.reactor.refuse()
        self.reactor.advance(0)
        self.assertEqual(self.heard_since(), [("failed", TCP_ONE), ("failed", TCP_TWO), 503])
        self.assertEqual(self.endpoint.failovers["unreachable"], 1)

    def test_a_connection_that_breaks_before_the_answer_moves_on(self) -> None:
        """
        Whoever was asked is dead.
        """
        self.ask(TCP_ONE, TWO)
        self.reactor.open().loseConnection()
        self.assertEqual([address for _, address in self.take()], ["10.0.0.3"])
        self.assertEqual(self.heard_since(), [("failed", TCP_ONE)])

    def test_a_silent_hop_is_left_when_patience_ends(self) -> None:
        """
        The last is waited for, unless there is a limit to that, too.
        """
        self.ask(ONE, TWO, first_answer=0.8)
        self.reactor.advance(0.5)
        self.take()
        self.reactor.advance(0.3)
        self.assertEqual([address for _, address in self.take()], ["10.0.0.3"])
        self.assertEqual(self.heard_since(), [("failed", ONE)])
        self.assertEqual(self.endpoint.failovers["silent"], 1)
        self.reactor.pump([0.5] * 4)
        self.assertEqual({address for _, address in self.take()}, {"10.0.0.3"})
        self.assertEqual(self.heard_since(), [])
        self.ask(ONE, first_answer=0.8, last_answer=1.5)
        self.reactor.pump([0.5] * 2)
        self.assertEqual(self.heard_since(), [])
        self.reactor.pump([0.5])
        self.assertEqual(self.heard_since(), [("failed", ONE), 408])

    def test_a_service_of_our_own_process_is_waited_for(self) -> None:
        """
        It cannot be dead while we live; and when it is late, so are we.
        """
        self.ask(Hop("udp", "10.0.0.1", 5060), TWO, first_answer=0.8)
        self.reactor.pump([0.4] * 5)
        self.assertEqual(self.take(), [])
        self.assertEqual(self.heard_since(), [])

    def test_a_request_that_still_waits_for_its_connection_is_not_sent_late(self) -> None:
        """
        The call has gone elsewhere.
        """
        self.ask(TCP_ONE, TWO, first_answer=0.8)
        self.reactor.advance(0.8)
        self.assertEqual(self.reactor.open().value(), b"")
        self.assertEqual(len(self.take()), 1)

    def test_a_hop_that_rings_too_late_is_cancelled(self) -> None:
        """
        One phone is enough; its failure is nobody's business then.
        """
        self.ask(ONE, TWO, first_answer=0.8)
        ((late, _),) = self.take()
        self.reactor.advance(0.8)
        self.take()
        self.answer(late, 180)
        ((cancel, address),) = self.take()
        self.assertEqual((cancel.method, address), ("CANCEL", "10.0.0.2"))
        self.assertEqual(cancel.via.branch, late.via.branch)
        self.answer(late, 487)
        self.assertEqual(self.heard_since(), [("failed", ONE)])

    def test_a_hop_that_accepts_too_late_is_heard(self) -> None:
        """
        There is a dialog now; the hop that was asked instead is cancelled as
        soon as it rings.
        """
        self.ask(ONE, TWO, first_answer=0.8)
        ((late, _),) = self.take()
        self.reactor.advance(0.8)
        second = self.take()[-1][0]
        self.answer(late, 200)
        self.assertEqual(self.heard_since(), [("failed", ONE), 200])
        self.answer(second, 180)
        self.assertEqual([request.method for request, _ in self.take()], ["CANCEL"])
        self.answer(second, 487)
        self.assertEqual([item for item in self.heard_since() if isinstance(item, int)], [])

    def test_a_late_answer_to_another_request_is_as_good(self) -> None:
        """
        The first final answer counts, and nothing is cancelled: there is no
        CANCEL but for INVITE.
        """
        self.ask(ONE, TWO, method="OPTIONS", first_answer=0.8)
        ((late, _),) = self.take()
        self.reactor.advance(0.8)
        second = self.take()[-1][0]
        self.answer(late, 200)
        self.answer(second, 100)
        self.answer(second, 404)
        self.assertEqual(self.heard_since(), [("failed", ONE), 200, ("answered", TWO)])
        self.assertEqual(self.take(), [])

    def test_M18_a_large_request_goes_over_tcp(self) -> None:
        """
        Its Via says so.
        """
        self.ask(ONE, request=a_request(body=bytes(1300)))
        self.assertEqual(self.take(), [])
        (sent,) = self.reactor.open().take()
        self.assertEqual(sent.via.transport, "TCP")

    def test_M18_refused_there_it_goes_over_udp_all_the_same(self) -> None:
        """
        And the refusal is not held against the hop that was asked for.
        """
        self.ask(ONE, TWO, request=a_request(body=bytes(1300)))
        self.reactor.refuse()
        self.reactor.advance(0)
        ((request, address),) = self.take()
        self.assertEqual((request.via.transport, address), ("UDP", "10.0.0.2"))
        self.answer(request, 200)
        self.assertEqual(self.heard_since(), [("answered", ONE), 200])

    def test_O11_a_flow_that_is_gone_is_told_from_a_server_that_is(self) -> None:
        """
        430: there is no other way to this phone.
        """
        flow = Flow("tcp", "10.0.0.9", 40000, "10.0.0.1", 5060, 7)
        self.ask(flow)
        self.reactor.advance(0)
        self.assertEqual(self.heard_since(), [("failed", flow), 430])

    def test_a_large_request_on_a_flow_keeps_to_it(self) -> None:
        """
        There is no other way to whoever is behind it.
        """
        self.ask(Flow("udp", "10.0.0.9", 40000, "10.0.0.1", 5060), request=a_request(body=bytes(1300)))
        self.assertEqual([address for _, address in self.take()], ["10.0.0.9"])


class CancelTests(BranchCase):
    """
    L{Branch.cancel}: RFC 3261 section 9.1.
    """

    def test_P28_L06_a_cancel_waits_for_the_first_provisional_answer(self) -> None:
        """
        It goes to the same hop, under the same branch, once.
        """
        branch = self.ask(ONE, TWO)
        ((request, _),) = self.take()
        branch.cancel('SIP;cause=200;text="Call completed elsewhere"')
        self.assertEqual(self.take(), [])
        self.answer(request, 100)
        ((cancel, address),) = self.take()
        self.assertEqual((cancel.method, address), ("CANCEL", "10.0.0.2"))
        self.assertEqual(cancel.get("reason"), 'SIP;cause=200;text="Call completed elsewhere"')
        self.answer(request, 180)
        branch.cancel()
        self.assertEqual(self.take(), [])
        self.answer(request, 487)
        self.assertEqual(self.heard_since(), [("answered", ONE), 180, 487])

    def test_a_cancel_during_ringing_leaves_at_once(self) -> None:
        """
        Nothing is to be waited for.
        """
        branch = self.ask(ONE)
        ((request, _),) = self.take()
        self.answer(request, 180)
        branch.cancel()
        self.assertEqual([sent.method for sent, _ in self.take()], ["CANCEL"])

    def test_a_cancelled_branch_tries_no_other_hop(self) -> None:
        """
        Nobody wants its answer any more; it ends with 487.
        """
        branch = self.ask(ONE, TWO, first_answer=0.8)
        branch.cancel()
        self.reactor.advance(0.8)
        self.assertEqual({address for _, address in self.take()}, {"10.0.0.2"})
        self.assertEqual(self.heard_since(), [("failed", ONE), 487])

    def test_a_cancelled_branch_that_is_never_answered_ends(self) -> None:
        """
        32 seconds after its CANCEL.
        """
        branch = self.ask(ONE)
        ((request, _),) = self.take()
        self.answer(request, 180)
        branch.cancel()
        self.reactor.pump([1.0] * 33)
        self.assertEqual(self.heard_since(), [("answered", ONE), 180, 487])
        self.assertEqual(self.endpoint.transactions, 0)

    def test_after_the_final_answer_there_is_nothing_to_cancel(self) -> None:
        """
        And nothing is sent.
        """
        branch = self.ask(ONE)
        ((request, _),) = self.take()
        self.answer(request, 200)
        branch.cancel()
        self.assertEqual(self.take(), [])
