"""
Tests for L{sipxha.net.handover}: two endpoints of one process.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.trial.unittest import SynchronousTestCase

from sipxha.errors import LocalError
from sipxha.net.branch import Branch
from sipxha.net.siblings import HANDED, Siblings
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.transaction.vocabulary import ServerKey
from tests.support.fakes import (
    RecordingObserver,
    RecordingUser,
    SipReactor,
    a_request,
    a_sibling,
    counting_mint,
)

ADDRESS = "10.0.0.1"
FRONT, BACK = 5060, 5080
TO_BACK = Hop("tcp", ADDRESS, BACK, "sipx1.example.com")
OVER_UDP = TO_BACK._replace(transport="udp")
ELSEWHERE = Hop("udp", "10.0.0.2", BACK, "sipx2.example.com")


class _User(RecordingUser):
    """
    Keeps why an INVITE was cancelled, too.
    """

    def cancelled(self, transaction: ServerKey, reason: str | None = None) -> None:
        self.heard.append(("cancelled", transaction, reason))


class HandoverCase(SynchronousTestCase):
    """
    A front door that hands requests to the service behind it.
    """

    def setUp(self) -> None:
        self.reactor = SipReactor()
        self.siblings = Siblings(self.reactor)
        self.mint = counting_mint()
        self.observer = RecordingObserver()
        self.user = _User()
        # The UDP port that is bound last is that of the front.
        self.back = a_sibling(self.reactor, self.siblings, ADDRESS, BACK, self.user, self.mint)
        self.front_user = RecordingUser()
        self.front = a_sibling(self.reactor, self.siblings, ADDRESS, FRONT, self.front_user, self.mint)
        self.addCleanup(self.back.stopService)
        self.addCleanup(self.front.stopService)

    def ask(self, *hops: Hop | Flow, method: str = "INVITE", **options: Any) -> Branch:
        """
        Send a request from the front, and let it arrive.
        """
        request = options.pop("request", None) or a_request(method)
        branch = self.front.request(request, hops or (TO_BACK,), self.observer, **options)
        self.reactor.advance(0)
        return branch

    def taken(self) -> tuple[ServerKey, Request, Flow]:
        """
        What the service behind was asked last.
        """
        name, transaction, request, flow = self.user.heard[-1]
        self.assertEqual(name, "request")
        return transaction, request, flow

    def answer(self, *statuses: int, to_tag: str = "bob-1") -> None:
        """
        Have the service behind answer what it was asked first.
        """
        transaction, request = self.user.heard[0][1:3]
        for status in statuses:
            self.back.respond(transaction, response_to(request, status, to_tag=to_tag))
        self.reactor.advance(0)

    def heard(self) -> list[Any]:
        """
        What the front was told since the last time.
        """
        heard, self.observer.heard = self.observer.heard, []
        return heard

    def answered(self) -> dict[Any, int]:
        """
        How often the service behind gave what kind of answer.
        """
        return {kind: count for kind, count in self.back.sent["inside"].items() if count and kind in range(7)}

    def timers(self) -> list[IDelayedCall]:
        """
        What the reactor is to do later.
        """
        return list(self.reactor.getDelayedCalls())


class RequestTests(HandoverCase):
    """
    What arrives.
    """

    def test_a_request_arrives_later_and_as_over_a_socket(self) -> None:
        """
        With a Via of the sender, from its port; no connection is opened, no
        transaction is made and no timer runs for an INVITE.
        """
        self.front.request(a_request(), [TO_BACK], self.observer, branch_suffix=".loop-1")
        self.assertEqual(self.user.heard, [])
        self.reactor.advance(0)
        transaction, request, flow = self.taken()
        self.assertEqual(flow, Flow("tcp", ADDRESS, FRONT, ADDRESS, BACK, HANDED))
        via = request.via
        self.assertEqual((via.transport, via.host, via.port, via.rport), ("TCP", ADDRESS, FRONT, ""))
        self.assertTrue((via.branch or "").endswith(".loop-1"))
        self.assertEqual(transaction, (via.branch, f"{ADDRESS}:{FRONT}", "INVITE"))
        self.assertEqual(len(request.vias), 2)
        self.assertEqual((self.reactor.tcpClients, self.timers()), ([], []))
        self.assertEqual((self.front.transactions, self.back.transactions), (0, 1))

    def test_over_udp_it_is_handed_too_however_large(self) -> None:
        """
        No datagram is sent, and nothing goes over TCP in its place.
        """
        self.ask(OVER_UDP, request=a_request(body=bytes(2000)))
        _, request, flow = self.taken()
        self.assertEqual((request.via.transport, flow.transport, len(request.body)), ("UDP", "udp", 2000))
        self.assertEqual(self.reactor.udp.take(), [])

    def test_it_is_counted_by_both(self) -> None:
        """
        With its answers, as over a socket, but as what goes on inside.
        """
        self.ask()
        self.answer(180, 200)
        for endpoint, counts in ((self.back, self.back.received), (self.front, self.front.sent)):
            self.assertEqual(counts["inside"]["INVITE"], 1, endpoint)
        for endpoint, counts in ((self.back, self.back.sent), (self.front, self.front.received)):
            self.assertEqual((counts["inside"][1], counts["inside"][2]), (1, 1), endpoint)
        self.assertFalse(any(self.front.sent["tcp"].values()))

    def test_the_ack_of_a_2xx_is_handed(self) -> None:
        """
        With a branch of its own.
        """
        self.front.send_ack(a_request("ACK", to_tag="bob-1"), [TO_BACK])
        self.assertEqual(self.user.heard, [])
        self.reactor.advance(0)
        ((name, request, flow),) = self.user.heard
        self.assertEqual((name, len(request.vias), flow.connection), ("ack", 2, HANDED))
        self.assertEqual((self.front.sent["inside"]["ACK"], self.back.received["inside"]["ACK"]), (1, 1))

    def test_a_node_that_drains_takes_what_its_own_services_ask(self) -> None:
        """
        That belongs to something that was let in.  It waits for the answer.
        """
        self.back.is_draining = True
        self.ask()
        self.taken()
        self.assertEqual((self.back.unanswered, self.front.unanswered), (1, 0))
        self.answer(200)
        self.assertEqual(self.back.unanswered, 0)

    def test_no_gate_is_asked(self) -> None:
        """
        It stands at the front door.
        """
        self.back.gate = lambda request, flow: 5
        self.ask()
        self.taken()


class AnswerTests(HandoverCase):
    """
    What comes back.
    """

    def test_answers_come_as_over_a_socket(self) -> None:
        """
        Later, without the sender's Via; a sign of life is told once.
        """
        self.ask()
        transaction, request, _ = self.taken()
        self.back.trying(transaction, request)
        self.back.respond(transaction, response_to(request, 180, to_tag="bob-1"))
        self.assertEqual(self.heard(), [])
        self.reactor.advance(0)
        self.answer(183, 200)
        self.assertEqual(self.heard(), [("answered", TO_BACK), 180, 183, 200])
        for response in self.observer.responses:
            self.assertEqual(response.rows("via"), a_request().rows("via"))
        self.assertEqual(self.answered(), {1: 3, 2: 1})
        self.assertEqual(self.back.transactions, 0)

    def test_a_100_is_a_sign_of_life_and_no_more(self) -> None:
        """
        Whoever makes one.
        """
        self.ask()
        self.answer(100)
        self.assertEqual(self.heard(), [("answered", TO_BACK)])

    def test_after_the_final_answer_only_2xx_of_an_invite_pass(self) -> None:
        """
        One that comes again until its ACK does, and those of other forks.
        """
        self.ask()
        self.answer(200)
        self.answer(180, 486, 200)
        self.answer(200, to_tag="bob-2")
        self.assertEqual(self.heard(), [("answered", TO_BACK), 200, 200, 200])
        self.assertEqual(self.answered(), {2: 3})
        # Nobody says that it takes its time any more.
        transaction, request = self.user.heard[0][1:3]
        self.back.trying(transaction, request)
        self.assertEqual(self.answered(), {2: 3})

    def test_after_a_failure_nothing_passes(self) -> None:
        """
        It was the answer, and it needs no ACK.
        """
        self.ask()
        self.answer(486)
        self.answer(200)
        self.assertEqual(self.heard(), [("answered", TO_BACK), 486])
        self.assertEqual([item[0] for item in self.user.heard], ["request"])

    def test_nothing_but_an_invite_has_provisional_answers_or_408(self) -> None:
        """
        RFC 4320.
        """
        self.ask(method="OPTIONS")
        self.answer(180, 408)
        self.assertEqual(self.heard(), [])
        self.answer(200, 200)
        self.assertEqual(self.heard(), [("answered", TO_BACK), 200])

    def test_L05_a_503_moves_on(self) -> None:
        """
        To a server of another node.
        """
        self.ask(TO_BACK, ELSEWHERE)
        self.answer(503)
        ((request, address),) = self.reactor.udp.take()
        assert isinstance(request, Request)
        self.assertEqual((request.method, address, len(request.vias)), ("INVITE", ("10.0.0.2", BACK), 2))
        self.assertEqual(self.heard(), [("failed", TO_BACK)])

    def test_from_a_server_that_is_gone_it_comes_back_to_a_sibling(self) -> None:
        """
        In a new transaction, for which what came late is nobody's.
        """
        self.ask(ELSEWHERE, TO_BACK, first_answer=0.8)
        ((first, _),) = self.reactor.udp.take()
        self.reactor.advance(0.8)
        self.reactor.advance(0)
        _, second, _ = self.taken()
        self.assertEqual(len(second.vias), 2)
        self.assertNotEqual(second.via.branch, first.via.branch)
        self.answer(200)
        self.assertEqual(self.heard(), [("failed", ELSEWHERE), ("answered", TO_BACK), 200])

    def test_a_hop_that_accepts_too_late_has_the_sibling_cancelled(self) -> None:
        """
        As soon as that gives a sign of life.
        """
        self.ask(ELSEWHERE, TO_BACK, first_answer=0.8)
        ((first, _),) = self.reactor.udp.take()
        assert isinstance(first, Request)
        self.reactor.advance(0.8)
        self.reactor.advance(0)
        self.reactor.udp.receive(response_to(first, 200, to_tag="late").encode(), "10.0.0.2", BACK)
        self.assertEqual(self.heard(), [("failed", ELSEWHERE), 200])
        self.answer(180)
        self.assertEqual(self.user.heard[-1][0], "cancelled")
        self.answer(487)
        self.assertEqual(self.heard(), [("answered", TO_BACK)])

    def test_an_answer_finds_its_way_in_other_words(self) -> None:
        """
        A phone may write the Vias on one line, or compact.
        """
        self.ask()
        transaction, request, _ = self.taken()
        vias = ", ".join(request.rows("via"))
        for status, name in ((180, "v"), (200, "Via")):
            response = response_to(request, status, to_tag="bob-1")
            response.remove("via")
            response.prepend(name, vias)
            self.back.respond(transaction, response)
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [("answered", TO_BACK), 180, 200])
        self.assertEqual(self.observer.responses[-1].rows("via"), a_request().rows("via"))

    def test_an_answer_with_another_s_via_is_none(self) -> None:
        """
        Over a socket it would come to nobody: if final, it ends there.
        """
        self.ask()
        transaction, request, _ = self.taken()
        for status, via in (
            (180, None),
            (183, "SIP/2.0/TCP 10.0.0.66:5060;branch=z9hG4bK-evil"),
            (200, "SIP/2.0/TCP"),
        ):
            response = response_to(request, status, to_tag="bob-1")
            response.remove("via")
            if via is not None:
                response.prepend("via", via)
            self.back.respond(transaction, response)
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [("failed", TO_BACK), 408])
        self.assertEqual((self.answered(), self.back.transactions), ({}, 0))

    def test_what_nobody_answers_ends_with_408(self) -> None:
        """
        After as long as timer F takes, for both; an INVITE takes as long as
        its user lets it.
        """
        self.ask()
        self.ask(method="OPTIONS", request=a_request("OPTIONS"))
        self.reactor.advance(16)
        self.ask(method="MESSAGE", request=a_request("MESSAGE"))
        self.reactor.advance(16)
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [("failed", TO_BACK), 408])
        self.assertEqual(self.user.heard[-1], ("server failed", self.user.heard[1][1]))
        self.assertEqual(self.back.transactions, 2)
        self.reactor.advance(16)
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [("failed", TO_BACK), 408])
        self.assertEqual((self.back.transactions, self.timers()), (1, []))

    def test_an_answer_that_comes_too_late_is_dropped(self) -> None:
        """
        As in a transaction that is over.
        """
        self.ask(method="OPTIONS")
        self.reactor.advance(32)
        self.reactor.advance(0)
        self.heard()
        self.answer(200)
        self.assertEqual((self.heard(), self.answered()), ([], {}))


class LateTests(HandoverCase):
    """
    Further 2xx of an INVITE of which its sender, its taker or both have kept
    no more than they need for these.
    """

    def setUp(self) -> None:
        super().setUp()
        self.branch = self.ask()
        self.answer(200)
        self.heard()
        self.transaction, self.invite = self.user.heard[0][1:3]

    def answer_late(self, to_tag: str = "bob-1", status: int = 200) -> None:
        """
        As a taker does that has kept the key alone.
        """
        key = ServerKey._make(tuple(self.transaction))
        self.back.respond(key, response_to(self.invite, status, to_tag=to_tag))
        self.reactor.advance(0)

    def told(self) -> list[Any]:
        """
        What the user of the front was told: what was left, and the tag.
        """
        return [(item[0], item[1], item[2].to_tag) for item in self.front_user.heard]

    def test_a_taker_that_has_kept_its_key_alone_finds_the_sender(self) -> None:
        """
        Who hears of it as before.
        """
        self.answer_late()
        self.answer_late("bob-2")
        self.answer_late(status=486)
        self.assertEqual(self.heard(), [200, 200])
        self.assertEqual(self.answered(), {2: 3})
        self.assertEqual(self.observer.responses[-1].rows("via"), a_request().rows("via"))

    def test_who_has_left_it_is_told_what_he_said(self) -> None:
        """
        Each time what was left the last time; by a taker that has kept all,
        and by one that has not.
        """
        self.branch.leave(("mine",))
        self.answer_late()
        self.answer(200, to_tag="bob-2")
        self.assertEqual(self.told(), [("late", ("mine",), "bob-1"), ("late", ("mine", 200), "bob-2")])
        self.assertEqual(self.front_user.heard[0][2].rows("via"), a_request().rows("via"))
        self.assertEqual((self.heard(), self.answered()), ([], {2: 3}))

    def test_what_is_under_way_when_it_is_left_arrives(self) -> None:
        """
        As what comes later does.
        """
        self.back.respond(self.transaction, response_to(self.invite, 200, to_tag="bob-2"))
        self.branch.leave(())
        self.reactor.advance(0)
        self.assertEqual(self.told(), [("late", (), "bob-2")])

    def test_nothing_else_arrives(self) -> None:
        """
        No failure, nothing with another's Via, and nothing for who has ended.
        """
        self.branch.leave(())
        self.answer_late(status=486)
        other = response_to(self.invite, 200, to_tag="bob-2")
        other.remove_first("via")
        self.back.respond(ServerKey._make(tuple(self.transaction)), other)
        self.reactor.advance(0)
        self.front.stopService()
        self.answer_late()
        self.assertEqual((self.told(), self.answered()), ([], {2: 1}))

    def test_after_as_long_as_timer_M_takes_it_is_forgotten(self) -> None:
        """
        Whether it was left or not; no timer runs on.
        """
        for left in (False, True):
            self.reactor.advance(32)
            self.answer_late()
            self.assertEqual((self.heard(), self.told(), self.timers()), ([], [], []))
            if not left:
                branch = self.ask()
                self.transaction, self.invite, _ = self.taken()
                self.back.respond(self.transaction, response_to(self.invite, 200))
                self.reactor.advance(0)
                branch.leave(())
                self.heard()

    def test_who_leaves_before_the_answer_hears_it_all_the_same(self) -> None:
        """
        There is something to be heard yet.
        """
        branch = self.ask()
        self.transaction, self.invite, _ = self.taken()
        branch.leave(())
        self.back.respond(self.transaction, response_to(self.invite, 200))
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [("answered", TO_BACK), 200])


class CancelTests(HandoverCase):
    """
    L{Branch.cancel} of what a sibling was handed.
    """

    REASON = 'SIP;cause=200;text="Call completed elsewhere"'

    def test_P28_a_cancel_waits_for_a_sign_of_life_and_tells_why(self) -> None:
        """
        Once, and it is counted with its 200; the answer is the INVITE's own.
        """
        branch = self.ask()
        transaction, request, _ = self.taken()
        branch.cancel(self.REASON)
        self.reactor.advance(0)
        self.taken()
        self.back.trying(transaction, request)
        self.reactor.advance(0)
        self.answer(180)
        branch.cancel()
        self.reactor.advance(0)
        self.assertEqual(self.user.heard[1:], [("cancelled", transaction, self.REASON)])
        self.assertEqual(
            (self.front.sent["inside"]["CANCEL"], self.back.received["inside"]["CANCEL"]), (1, 1)
        )
        self.assertEqual(self.answered(), {1: 2, 2: 1})
        self.answer(487)
        self.assertEqual(self.heard(), [("answered", TO_BACK), 180, 487])

    def test_P29_a_cancel_that_meets_the_answer_has_no_effect(self) -> None:
        """
        RFC 3261 section 9.2.
        """
        branch = self.ask()
        self.answer(180)
        transaction, request, _ = self.taken()
        branch.cancel()
        self.back.respond(transaction, response_to(request, 200, to_tag="bob-1"))
        self.reactor.advance(0)
        branch.cancel()
        self.reactor.advance(0)
        self.assertEqual([item[0] for item in self.user.heard], ["request"])
        self.assertEqual(self.heard(), [("answered", TO_BACK), 180, 200])

    def test_nothing_but_an_invite_is_cancelled(self) -> None:
        """
        RFC 3261 section 9.1.
        """
        branch = self.ask(method="OPTIONS")
        branch.cancel()
        self.answer(200)
        self.assertEqual([item[0] for item in self.user.heard], ["request"])


class FailureTests(HandoverCase):
    """
    Faults, and services that end.
    """

    def test_a_user_that_raises_costs_that_request_only(self) -> None:
        """
        It is answered as over a socket.
        """

        class Busy(LocalError):
            status = 503

        for error, status in ((ValueError("bug"), 500), (Busy("try later"), 503)):

            def fail(transaction: ServerKey, request: Request, flow: Flow, error: Exception = error) -> None:
                raise error

            self.user.answer = fail
            self.ask()
            self.assertEqual(self.heard()[-1], status)
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)
        self.assertEqual(self.back.transactions, 0)

    def test_an_observer_that_raises_keeps_nothing_from_others(self) -> None:
        """
        It is logged.
        """
        self.ask()
        self.ask(method="OPTIONS", request=a_request("OPTIONS"))
        (_, first, invite, _), (_, second, options, _) = self.user.heard
        heard = self.observer.response_received

        def fail(branch: Branch, response: Response) -> None:
            heard(branch, response)
            if response.status == 486:
                raise ValueError("a fault of ours")

        self.observer.response_received = fail  # type: ignore[method-assign]
        self.back.respond(first, response_to(invite, 486))
        self.back.respond(second, response_to(options, 200))
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [("answered", TO_BACK), 486, ("answered", TO_BACK), 200])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_a_service_that_ends_has_not_answered_moves_on(self) -> None:
        """
        And so does what had not arrived yet.
        """
        self.ask(TO_BACK, ELSEWHERE)
        self.front.request(a_request("OPTIONS"), [TO_BACK, ELSEWHERE], self.observer)
        self.back.stopService()
        self.reactor.advance(0)
        methods = [message.method for message, _ in self.reactor.udp.take() if isinstance(message, Request)]
        self.assertEqual(methods, ["INVITE", "OPTIONS"])
        self.assertEqual([item[0] for item in self.user.heard], ["request"])
        self.assertEqual(self.heard(), [("failed", TO_BACK)] * 2)

    def test_what_a_service_asked_that_has_ended_is_answered_to_nobody(self) -> None:
        """
        And is told nobody; what follows goes over a socket.
        """
        branch = self.ask()
        self.answer(180)
        self.heard()
        branch.cancel()
        self.front.stopService()
        self.answer(200)
        self.assertEqual(self.heard(), [])
        self.assertEqual(self.back.transactions, 0)

    def test_nothing_is_left_of_a_process_that_ends(self) -> None:
        """
        Nor is it called back.
        """
        self.ask(method="OPTIONS")
        self.back.stopService()
        self.front.stopService()
        self.reactor.advance(0)
        self.assertEqual(self.timers(), [])

    def test_a_loop_of_siblings_is_no_recursion(self) -> None:
        """
        Each hop has its turn, and others theirs in between.
        """
        depth = 0

        def send_back(transaction: ServerKey, request: Request, flow: Flow) -> None:
            nonlocal depth
            self.assertEqual(depth, 0)
            depth += 1
            if request.count("via") < 100:
                self.back.request(request.copy(), [TO_BACK], self.observer)
            depth -= 1

        self.user.answer = send_back
        self.ask()
        self.reactor.pump([0, 0])
        self.assertEqual(len(self.user.heard), 99)
