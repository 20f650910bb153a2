"""
Tests for L{sipxha.transaction.layer}.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.transaction.key import client_key, server_key
from sipxha.transaction.layer import TransactionLayer
from sipxha.transaction.vocabulary import (
    AckArrived,
    ClientFailed,
    ClientSilent,
    ClientTimedOut,
    Effect,
    Finished,
    RepeatRequest,
    RepeatResponse,
    RequestArrived,
    ResponseArrived,
    SendRequest,
    SendResponse,
    ServerKey,
    ServerTimedOut,
)
from tests.support.fakes import a_request

UDP = Hop("udp", "10.0.0.2", 5060)
TCP = Hop("tcp", "10.0.0.2", 5060)
UDP_FLOW = Flow("udp", "10.0.0.9", 5060, "10.0.0.1", 5060)
TCP_FLOW = Flow("tcp", "10.0.0.9", 40000, "10.0.0.1", 5060, 1)


def sent(effects: Iterable[Effect]) -> list[Any]:
    """
    What went on the wire: methods and statuses.
    """
    return [
        effect.request.method if isinstance(effect, SendRequest | RepeatRequest) else effect.response.status
        for effect in effects
        if isinstance(effect, SendRequest | RepeatRequest | SendResponse | RepeatResponse)
    ]


def kinds(effects: Iterable[Effect]) -> list[type]:
    return [type(effect) for effect in effects]


class ClockedLayer(TransactionLayer):
    """
    A layer whose time is turned by hand.

    @ivar log: C{(time, method or status)} of all that was sent by timers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.log: list[tuple[float, Any]] = []

    def advance(self, seconds: float) -> list[Effect]:
        """
        Let time pass, stopping at each deadline.
        """
        end = self.now + seconds
        effects: list[Effect] = []
        while (deadline := self.next_deadline()) is not None and deadline <= end:
            self.now = deadline
            fired = self.deadline_passed(deadline)
            self.log += [(deadline - 1000.0, what) for what in sent(fired)]
            effects += fired
        self.now = end
        return effects


class LayerCase(SynchronousTestCase):
    """
    A layer at time 1000.
    """

    def setUp(self) -> None:
        self.layer = ClockedLayer()

    def assertEmpty(self) -> None:
        """
        No transaction is left, and no timer.
        """
        self.assertEqual((self.layer.live, self.layer.next_deadline()), (0, None))

    def client(self, method: str = "INVITE", hop: Hop = UDP) -> Request:
        request = a_request(method)
        self.assertEqual(sent(self.layer.send(request, hop, self.layer.now)), [method])
        return request

    def answer(self, request: Request, status: int) -> list[Effect]:
        response = response_to(request, status, to_tag="bob-1")
        return self.layer.response_received(response, self.layer.now)

    def server(self, method: str = "INVITE", flow: Flow = UDP_FLOW) -> tuple[Request, ServerKey]:
        request = a_request(method)
        (arrived,) = self.layer.request_received(request, flow, self.layer.now)
        assert isinstance(arrived, RequestArrived)
        return request, arrived.key

    def again(self, request: Request) -> list[Any]:
        return sent(self.layer.request_received(request.copy(), UDP_FLOW, self.layer.now))

    def respond(self, key: ServerKey, request: Request, status: int) -> list[Any]:
        response = response_to(request, status, to_tag="bob-1")
        return sent(self.layer.respond(key, response, self.layer.now))

    def ack(self, branch_of: Request) -> list[Effect]:
        return self.layer.request_received(a_request("ACK", to_tag="bob-1"), UDP_FLOW, self.layer.now)


class InviteClientTests(LayerCase):
    """
    INVITE client transactions: RFC 3261 section 17.1.1, RFC 6026.
    """

    def test_T01_an_invite_over_udp_is_repeated_until_timer_b(self) -> None:
        """
        After 0.5, 1, 2, 4, 8 and 16 seconds, and given up after 32.
        """
        self.client()
        effects = self.layer.advance(31.9)
        self.assertEqual([at for at, _ in self.layer.log], [0.5, 1.5, 3.5, 7.5, 15.5, 31.5])
        self.assertEqual(kinds(self.layer.advance(0.1)), [ClientTimedOut, Finished])
        self.assertEqual(set(kinds(effects)), {SendRequest})
        self.assertEmpty()

    def test_T01_an_invite_over_tcp_is_sent_once(self) -> None:
        """
        Timer B alone runs.
        """
        self.client(hop=TCP)
        self.assertEqual(kinds(self.layer.advance(32)), [ClientTimedOut, Finished])
        self.assertEmpty()

    def test_T02_a_provisional_answer_ends_the_repetition(self) -> None:
        """
        Then the phone may ring for as long as the user of the transaction likes.
        """
        request = self.client()
        self.assertEqual(kinds(self.answer(request, 180)), [ResponseArrived])
        self.assertEqual(self.layer.advance(3600), [])
        self.assertEqual(kinds(self.answer(request, 180)), [ResponseArrived])
        self.assertEqual(self.layer.live, 1)

    def test_T02_each_failure_is_acknowledged_but_only_the_first_is_told(self) -> None:
        """
        The ACK goes to the hop of the INVITE; timer D keeps the transaction
        for 32 seconds over UDP.
        """
        request = self.client()
        effects = self.answer(request, 486)
        self.assertEqual(kinds(effects), [SendRequest, ResponseArrived])
        assert isinstance(effects[0], SendRequest)
        self.assertEqual((effects[0].request.method, effects[0].hop), ("ACK", UDP))
        acknowledged = effects[0].request.encode()
        self.layer.advance(31.9)
        (again,) = self.answer(request, 486)
        assert isinstance(again, RepeatRequest)
        self.assertEqual((again.data, again.request.encode(), again.hop), (acknowledged, acknowledged, UDP))
        self.assertEqual(kinds(self.layer.advance(0.1)), [Finished])
        self.assertEmpty()

    def test_T02_a_failure_over_tcp_ends_it_at_once(self) -> None:
        """
        Timer D is zero there; the user hears the answer before the end.
        """
        request = self.client(hop=TCP)
        self.assertEqual(kinds(self.answer(request, 486)), [SendRequest, ResponseArrived, Finished])
        self.assertEmpty()

    def test_T03_every_2xx_is_passed_up_and_none_acknowledged(self) -> None:
        """
        For 32 seconds after the first, on any transport.
        """
        for hop in (UDP, TCP):
            request = self.client(hop=hop)
            self.assertEqual(kinds(self.answer(request, 200)), [ResponseArrived])
            self.layer.advance(31)
            self.assertEqual(kinds(self.answer(request, 200)), [ResponseArrived])
            self.assertEqual(self.answer(request, 486), [])
            self.assertEqual(kinds(self.layer.advance(1)), [Finished])
            self.assertEmpty()

    def test_T06_a_stray_response_is_dropped(self) -> None:
        """
        Even a 2xx, when no transaction waits for it.
        """
        self.assertEqual(self.answer(a_request(), 200), [])
        self.assertEmpty()

    def test_a_request_that_cannot_be_sent_has_failed(self) -> None:
        """
        Only while it waits for its first answer.
        """
        key = client_key(self.client())
        self.assertEqual(kinds(self.layer.transport_failed(key, self.layer.now)), [ClientFailed, Finished])
        self.assertEqual(self.layer.transport_failed(key, self.layer.now), [])
        request = self.client()
        self.answer(request, 180)
        self.assertEqual(self.layer.transport_failed(client_key(request), self.layer.now), [])

    def test_a_silent_hop_is_reported_and_asked_no_more(self) -> None:
        """
        The INVITE is not repeated after the sender's patience has ended, but
        what the hop then says is still heard.
        """
        request = a_request()
        self.layer.send(request, UDP, self.layer.now, 0.8)
        self.assertEqual(kinds(self.layer.advance(0.9)), [SendRequest, ClientSilent])
        self.assertEqual(self.layer.advance(10), [])
        self.assertEqual(kinds(self.answer(request, 180)), [ResponseArrived])

    def test_nobody_is_silent_while_we_stand_still(self) -> None:
        """
        Who comes late to a timer reads first what has come meanwhile, and asks
        again a little later.
        """
        request = a_request()
        self.layer.send(request, UDP, 1000.0, 0.8)
        self.assertNotIn(ClientSilent, kinds(self.layer.deadline_passed(1002.0)))
        self.layer.now = 1002.0
        self.assertIn(ClientSilent, kinds(self.layer.advance(0.2)))
        request = a_request()
        self.layer.send(request, UDP, 1002.2, 0.8)
        self.layer.deadline_passed(1010.0)
        self.layer.now = 1010.0
        self.answer(request, 100)
        self.assertEqual(self.layer.advance(5), [])

    def test_patience_is_over_with_the_first_answer(self) -> None:
        """
        A hop that has answered is not silent.
        """
        request = a_request()
        self.layer.send(request, UDP, self.layer.now, 0.8)
        self.answer(request, 100)
        self.assertEqual(self.layer.advance(5), [])

    def test_a_cancelled_invite_is_not_waited_for_for_ever(self) -> None:
        """
        Its CANCEL is a transaction of its own; 32 seconds later the INVITE is
        given up (9.1).
        """
        request = self.client()
        key = client_key(request)
        self.assertEqual(self.layer.cancel(key, None, self.layer.now), [])
        self.answer(request, 180)
        self.assertEqual(sent(self.layer.cancel(key, None, self.layer.now)), ["CANCEL"])
        self.assertEqual(self.layer.cancel(key, None, self.layer.now), [])
        self.answer(a_request("CANCEL"), 200)
        self.assertIn(ClientTimedOut(key), self.layer.advance(32))
        self.assertEmpty()

    def test_a_cancelled_invite_that_is_answered_ends_as_any_other(self) -> None:
        """
        Whatever the answer.
        """
        for status in (200, 487):
            request = self.client()
            self.answer(request, 180)
            self.layer.cancel(client_key(request), None, self.layer.now)
            self.answer(a_request("CANCEL"), 200)
            self.assertIn(ResponseArrived, kinds(self.answer(request, status)))
            self.assertNotIn(ClientTimedOut, kinds(self.layer.advance(64)))
            self.assertEmpty()


class NonInviteClientTests(LayerCase):
    """
    Other client transactions: RFC 3261 section 17.1.2.
    """

    def test_T09_timer_e_doubles_up_to_t2_until_timer_f(self) -> None:
        """
        Ten repetitions, none more than 4 seconds after the one before.
        """
        self.client("OPTIONS")
        effects = self.layer.advance(32)
        self.assertEqual(
            [at for at, _ in self.layer.log], [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
        )
        self.assertEqual(kinds(effects)[-2:], [ClientTimedOut, Finished])
        self.assertEmpty()

    def test_T09_after_a_provisional_answer_timer_e_is_t2(self) -> None:
        """
        From its next firing on.
        """
        request = self.client("OPTIONS")
        self.assertEqual(kinds(self.answer(request, 100)), [ResponseArrived])
        self.layer.advance(9)
        self.assertEqual([at for at, _ in self.layer.log], [0.5, 4.5, 8.5])

    def test_T09_the_final_answer_is_told_once_and_timer_k_absorbs_others(self) -> None:
        """
        5 seconds over UDP, none over TCP.
        """
        request = self.client("OPTIONS")
        self.assertEqual(kinds(self.answer(request, 200)), [ResponseArrived])
        self.assertEqual(self.answer(request, 200), [])
        self.assertEqual(kinds(self.layer.advance(5)), [Finished])
        request = self.client("OPTIONS", TCP)
        self.assertEqual(kinds(self.answer(request, 404)), [ResponseArrived, Finished])
        self.assertEmpty()

    def test_a_connection_that_is_lost_fails_it_even_after_a_100(self) -> None:
        """
        Figure 6: in Trying and Proceeding alike.
        """
        for status in (None, 100):
            request = self.client("OPTIONS", TCP)
            if status is not None:
                self.answer(request, status)
            effects = self.layer.transport_failed(client_key(request), self.layer.now)
            self.assertEqual(kinds(effects), [ClientFailed, Finished])


class InviteServerTests(LayerCase):
    """
    INVITE server transactions: RFC 3261 section 17.2.1, RFC 6026.
    """

    def test_T08_a_retransmission_gets_the_last_provisional_answer_again(self) -> None:
        """
        None before there is one.
        """
        request, key = self.server()
        self.assertEqual(self.again(request), [])
        self.respond(key, request, 100)
        self.respond(key, request, 180)
        self.assertEqual(self.again(request), [180])

    def test_T04_a_2xx_is_sent_once_and_acks_are_the_users(self) -> None:
        """
        For 32 seconds retransmissions of the INVITE are absorbed, and further
        2xx go through.
        """
        for flow in (UDP_FLOW, TCP_FLOW):
            request, key = self.server(flow=flow)
            self.assertEqual(self.respond(key, request, 200), [200])
            self.assertEqual(self.again(request), [])
            self.assertEqual(kinds(self.ack(request)), [AckArrived])
            self.assertEqual(self.respond(key, request, 200), [200])
            self.assertEqual(self.respond(key, request, 500), [])
            self.assertEqual(kinds(self.layer.advance(32)), [Finished])
            self.assertEmpty()

    def test_T05_a_transport_error_leaves_the_transaction_as_it_is(self) -> None:
        """
        In every state (RFC 6026 section 7.1).
        """
        request, key = self.server()
        for status in (180, 200):
            self.respond(key, request, status)
            self.assertEqual(self.layer.transport_failed(key, self.layer.now), [])
        self.assertEqual(self.layer.live, 1)

    def test_T07_a_failure_is_repeated_until_it_is_acknowledged(self) -> None:
        """
        Timer G doubles up to T2; the ACK is absorbed and so are others for 5
        seconds more.
        """
        request, key = self.server()
        self.assertEqual(self.respond(key, request, 486), [486])
        self.layer.advance(8)
        self.assertEqual(self.layer.log, [(0.5, 486), (1.5, 486), (3.5, 486), (7.5, 486)])
        self.assertEqual(self.again(request), [486])
        self.assertEqual(self.ack(request), [])
        self.assertEqual(self.ack(request), [])
        self.assertEqual(self.again(request), [])
        self.assertEqual(kinds(self.layer.advance(5)), [Finished])
        self.assertEmpty()

    def test_T07_a_failure_that_nobody_acknowledges_ends_by_timer_h(self) -> None:
        """
        Over TCP too, where it is not repeated; there the ACK ends it at once.
        """
        request, key = self.server()
        self.respond(key, request, 486)
        self.assertEqual(kinds(self.layer.advance(32))[-2:], [ServerTimedOut, Finished])
        request, key = self.server(flow=TCP_FLOW)
        self.respond(key, request, 486)
        self.assertEqual(kinds(self.layer.advance(32)), [ServerTimedOut, Finished])
        request, key = self.server(flow=TCP_FLOW)
        self.respond(key, request, 486)
        self.assertEqual(kinds(self.ack(request)), [Finished])
        self.assertEmpty()

    def test_an_ack_that_belongs_to_nothing_is_the_users(self) -> None:
        """
        It acknowledges a 2xx: a transaction of its own.
        """
        self.assertEqual(kinds(self.ack(a_request())), [AckArrived])
        self.assertEmpty()

    def test_a_cancel_finds_its_invite(self) -> None:
        """
        And can tell whether that still waits for an answer.
        """
        request, key = self.server()
        _, cancel = self.server("CANCEL")
        self.assertEqual(self.layer.invite_of(cancel), key)
        self.assertTrue(self.layer.is_open(key))
        self.respond(key, request, 487)
        self.assertFalse(self.layer.is_open(key))
        self.assertIsNone(self.layer.invite_of(cancel._replace(branch="z9hG4bK-other")))


class NonInviteServerTests(LayerCase):
    """
    Other server transactions: RFC 3261 section 17.2.2, RFC 4320.
    """

    def test_T10_retransmissions_get_the_final_answer_and_nothing_before(self) -> None:
        """
        For 32 seconds over UDP; over TCP there are none to come.
        """
        request, key = self.server("OPTIONS")
        self.assertEqual(self.again(request), [])
        self.assertEqual(self.respond(key, request, 200), [200])
        self.assertEqual(self.again(request), [200])
        self.assertEqual(self.respond(key, request, 404), [])
        self.assertEqual(self.again(request), [200])
        self.assertEqual(kinds(self.layer.advance(32)), [Finished])
        request, key = self.server("OPTIONS", TCP_FLOW)
        self.respond(key, request, 200)
        self.assertEmpty()

    def test_T14_no_provisional_answer_is_sent_for_the_user(self) -> None:
        """
        Neither a 100 nor any other.
        """
        request, key = self.server("OPTIONS")
        self.assertEqual(self.respond(key, request, 100) + self.respond(key, request, 183), [])

    def test_T14_a_100_is_sent_when_timer_e_would_have_reached_t2(self) -> None:
        """
        And repeated on retransmissions from then on.
        """
        request, _ = self.server("OPTIONS")
        self.layer.advance(4)
        self.assertEqual(self.layer.log, [(3.5, 100)])
        self.assertEqual(self.again(request), [100])

    def test_T15_a_408_is_never_sent(self) -> None:
        """
        The transaction is answered by it all the same, and absorbs
        retransmissions.
        """
        request, key = self.server("OPTIONS")
        self.assertEqual(self.respond(key, request, 408), [])
        self.assertFalse(self.layer.is_open(key))
        self.assertEqual(self.again(request), [])
        self.assertEqual(kinds(self.layer.advance(32)), [Finished])
        request, key = self.server("INVITE")
        self.assertEqual(self.respond(key, request, 408), [408])

    def test_T15_a_late_answer_is_dropped(self) -> None:
        """
        Whom nobody answered in time has stopped to wait.
        """
        request, key = self.server("OPTIONS")
        self.assertEqual(kinds(self.layer.advance(36))[-2:], [ServerTimedOut, Finished])
        self.assertEqual(self.respond(key, request, 200), [])
        self.assertEmpty()

    def test_an_answer_that_cannot_be_sent_ends_it(self) -> None:
        """
        Figure 8.
        """
        request, key = self.server("OPTIONS")
        self.respond(key, request, 200)
        effects = self.layer.transport_failed(key, self.layer.now)
        self.assertEqual(kinds(effects), [ServerTimedOut, Finished])
        self.assertEmpty()


class MemoryTests(SynchronousTestCase):
    """
    What is kept is what is needed.
    """

    def test_an_answered_transaction_costs_the_collector_nothing(self) -> None:
        """
        Whatever it was and however it was answered: what is kept are values
        that are looked at once and never again.  The queues alone are objects.
        """
        for method, status in (("OPTIONS", 200), ("OPTIONS", 408), ("INVITE", 200), ("INVITE", 486)):
            for is_client in (True, False):
                layer = TransactionLayer()
                gc.collect()
                before = len(gc.get_objects())
                for number in range(500):
                    via = f"SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-{number:06}"
                    request = a_request(method, via=via)
                    if is_client:
                        layer.send(request, UDP, 1000.0, 0.8)
                        layer.response_received(response_to(request, status), 1000.0)
                        continue
                    layer.request_received(request, Flow(*UDP_FLOW), 1000.0)
                    layer.respond(server_key(request), response_to(request, status), 1000.0)
                    layer.request_received(a_request("ACK", via=via), UDP_FLOW, 1000.0)
                gc.collect()
                self.assertEqual((layer.live, layer._alarms.running), (500, 0))
                self.assertLess(len(gc.get_objects()) - before, 20, (method, status, is_client))
                layer.deadline_passed(1032.0)
                self.assertEqual((layer.live, layer.next_deadline()), (0, None))

    def test_a_key_that_comes_again_lasts_as_long_as_any(self) -> None:
        """
        Though the transaction that had it before broke off while it rested.
        """
        layer = TransactionLayer()
        for now in (1000.0, 1010.0):
            request = a_request("OPTIONS")
            key = server_key(request)
            layer.request_received(request, UDP_FLOW, now)
            layer.respond(key, response_to(request, 200), now)
            if now == 1000.0:
                layer.transport_failed(key, 1001.0)
        self.assertEqual((layer.deadline_passed(1041.9), layer.live), ([], 1))
        self.assertEqual(layer.deadline_passed(1042.0), [Finished(key)])

    def test_a_final_answer_is_repeated_byte_for_byte(self) -> None:
        """
        Whatever is in it, and however much.
        """
        layer = TransactionLayer()
        request = a_request("OPTIONS")
        (arrived,) = layer.request_received(request, UDP_FLOW, 1000.0)
        assert isinstance(arrived, RequestArrived)
        fields = [("X", f"\udcff {number}") for number in range(500)]
        response = response_to(request, 200, "\u00e4", to_tag="t", fields=fields)
        response.body = bytes(70000)
        layer.respond(arrived.key, response, 1000.0)
        (repeated,) = layer.request_received(request.copy(), UDP_FLOW, 1001.0)
        assert isinstance(repeated, RepeatResponse)
        self.assertEqual(repeated.answer, response.encode())
        self.assertEqual(repeated.response.encode(), response.encode())

    def test_an_answer_that_cannot_be_printed_answers_nothing(self) -> None:
        """
        Another one can.
        """
        layer = TransactionLayer()
        request = a_request("OPTIONS")
        (arrived,) = layer.request_received(request, UDP_FLOW, 1000.0)
        assert isinstance(arrived, RequestArrived)
        with self.assertRaises(UnicodeEncodeError):
            layer.respond(arrived.key, response_to(request, 200, "\ud800"), 1000.0)
        self.assertEqual(sent(layer.respond(arrived.key, response_to(request, 500), 1000.0)), [500])


class ClockTests(LayerCase):
    """
    What a clock that is set does to timers.
    """

    def test_new_timers_do_not_wait_for_old_ones(self) -> None:
        """
        After the clock was set back by an hour, new transactions last as long
        as any other.
        """
        old = self.client("OPTIONS")
        self.layer.now -= 3600
        new = a_request("OPTIONS", via="SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-new")
        self.layer.send(new, UDP, self.layer.now)
        self.assertEqual(self.layer.next_deadline(), self.layer.now + 0.5)
        effects = self.layer.advance(32)
        self.assertEqual(sent(effects), ["OPTIONS"] * 10)
        self.assertEqual(effects[-2:], [ClientTimedOut(client_key(new)), Finished(client_key(new))])
        self.assertEqual(self.layer.live, 1)
        self.assertIn(ClientTimedOut(client_key(old)), self.layer.advance(3600))
        self.assertEmpty()

    def test_all_that_is_due_fires_at_once(self) -> None:
        """
        After the clock was set ahead, or the process was stopped.
        """
        for number in range(100):
            via = f"SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-{number:06}"
            self.layer.send(a_request("OPTIONS", via=via), UDP, self.layer.now)
        self.layer.deadline_passed(self.layer.now + 3600)
        effects = self.layer.deadline_passed(self.layer.now + 7200)
        self.assertEmpty()
        self.assertEqual(kinds(effects).count(Finished), 0)


class LossyLink:
    """
    Two layers, a link that loses, doubles and delays between them, and users
    on both sides; all of it decided by one seed.

    @ivar ends: For each request how often its sender heard of the end.
    @ivar most: The most server transactions at a time.
    """

    def __init__(self, seed: int, loss: float, breaks: float = 0.0) -> None:
        """
        @param breaks: How probable it is that a message is followed by the end
            of what carried it, within the time that a call takes.
        """
        self.random = Random(seed)
        self.loss = loss
        self.breaks = breaks
        self.client = TransactionLayer()
        self.server = TransactionLayer()
        self.now = 1000.0
        self.order = count()
        self.events: list[tuple[float, int, Any, tuple[Any, ...]]] = []
        self.ends: dict[Any, int] = {}
        self.hop: Hop = UDP if seed % 2 else TCP
        self.most = 0

    def later(self, seconds: float, call: Any, *args: Any) -> None:
        """
        Have something happen.
        """
        heappush(self.events, (self.now + seconds, next(self.order), call, args))

    def transmit(self, receive: Any, message: Request | Response) -> None:
        """
        Put a message on the link.
        """
        reliable = self.hop.transport == "tcp"
        if not reliable and self.random.random() < self.loss:
            return
        for _ in range(1 if reliable or self.random.random() > 0.1 else 2):
            self.later(0.01 if reliable else self.random.random(), receive, message.copy())

    def perform(self, effects: list[Effect]) -> None:
        """
        Be both drivers and both users.
        """
        for effect in effects:
            if isinstance(effect, SendRequest):
                self.transmit(self.arrive_at_server, effect.request)
                self.perhaps_break(self.client, effect.key)
            elif isinstance(effect, SendResponse | RepeatResponse):
                self.transmit(self.arrive_at_client, effect.response)
                self.perhaps_break(self.server, effect.key)
            elif isinstance(effect, RequestArrived):
                self.answer(effect)
            elif isinstance(effect, ResponseArrived) and effect.key in self.ends:
                if effect.response.status >= 200:
                    self.ends[effect.key] += effect.response.status >= 300 or effect.key.method != "INVITE"
                elif effect.key.method == "INVITE":
                    self.later(self.random.random() * 20, self.cancel, effect.key)
            elif isinstance(effect, ClientTimedOut | ClientFailed) and effect.key in self.ends:
                self.ends[effect.key] += 1

    def perhaps_break(self, layer: TransactionLayer, key: Any) -> None:
        """
        Let the connection of a transaction end now or later, if chance will have it.
        """
        if self.random.random() < self.breaks:
            delay = self.random.choice([0.0, 0.005, 0.02, 1.0, 20.0, 41.0])
            self.later(delay, lambda: self.perform(layer.transport_failed(key, self.now)))

    def arrive_at_server(self, request: Request) -> None:
        self.perform(self.server.request_received(request, Flow(*self.hop[:3], "10.0.0.1", 5060), self.now))

    def arrive_at_client(self, response: Response) -> None:
        self.perform(self.client.response_received(response, self.now))

    def cancel(self, key: Any) -> None:
        self.perform(self.client.cancel(key, None, self.now))

    def respond(self, key: ServerKey, request: Request, status: int) -> None:
        self.perform(self.server.respond(key, response_to(request, status, to_tag="t"), self.now))

    def answer(self, arrived: RequestArrived) -> None:
        """
        Answer now or later, perhaps with a 180 before.
        """
        key, request, _ = arrived
        if key.method == "CANCEL":
            invite = self.server.invite_of(key)
            self.respond(key, request, 200 if invite else 481)
            if invite is not None:
                self.respond(invite, a_request(via=request.get("via")), 487)
            return
        if key.method == "INVITE" and self.random.random() < 0.7:
            self.respond(key, request, 180)
        delay = self.random.choice([0.0, 0.3, 5.0, 40.0])
        self.later(delay, self.respond, key, request, self.random.choice([200, 302, 486, 603]))

    def run(self, requests: int, seconds: float = 20.0) -> None:
        """
        Send so many in that time, and go on until nothing happens any more.
        """
        for number in range(requests):
            self.later(self.random.random() * seconds, self.send, number)
        while self.events or self.client.live or self.server.live:
            deadlines = [
                deadline
                for deadline in (
                    self.events[0][0] if self.events else None,
                    self.client.next_deadline(),
                    self.server.next_deadline(),
                )
                if deadline is not None
            ]
            if not deadlines:
                return
            self.now = min(deadlines)
            self.most = max(self.most, self.server.live)
            self.perform(self.client.deadline_passed(self.now))
            self.perform(self.server.deadline_passed(self.now))
            while self.events and self.events[0][0] <= self.now:
                _, _, call, args = heappop(self.events)
                call(*args)

    def send(self, number: int) -> None:
        method = self.random.choice(["INVITE", "OPTIONS"])
        request = a_request(method, via=f"SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-{number:06}")
        self.ends[client_key(request)] = 0
        self.perform(self.client.send(request, self.hop, self.now))


class LeakTests(SynchronousTestCase):
    """
    Whatever the network does, everything ends.
    """

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    def test_T16_nothing_is_left_when_all_is_over(self, seed: int, loss: float) -> None:
        """
        With messages lost, doubled and late, no transaction and no timer
        outlives its time, and no sender hears of two failures, or of none
        where there was no 2xx.
        """
        link = LossyLink(seed, loss)
        link.run(15)
        self.assertOver(link)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32), st.sampled_from([0.1, 0.5, 1.0]))
    def test_T16_connections_that_break_at_any_moment_leave_nothing(self, seed: int, breaks: float) -> None:
        """
        Of either side and in every state: before an answer, while it rings,
        after the end, and once more when all is over (AST-2020-001).
        """
        link = LossyLink(seed, 0.0, breaks)
        link.run(15)
        self.assertOver(link)

    def test_T16_a_long_soak_with_loss_leaves_nothing(self) -> None:
        """
        2,000 transactions within 200 seconds, a tenth of all messages lost.
        """
        link = LossyLink(2027, 0.1)
        link.run(2000, 200.0)
        self.assertGreater(link.most, 200)
        self.assertOver(link)

    def assertOver(self, link: LossyLink) -> None:
        """
        Nothing lives and everybody knows how it ended.
        """
        for layer in (link.client, link.server):
            self.assertEqual((layer.live, layer.next_deadline()), (0, None))
            self.assertEqual(layer._alarms.running, 0)
        for key, ends in link.ends.items():
            self.assertLessEqual(ends, 1, key)
            if key.method != "INVITE":
                self.assertEqual(ends, 1, key)
