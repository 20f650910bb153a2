"""
Tests for L{sipxha.services.forwarding}: what is left of a request.  What
becomes of it while it lasts is in L{test_fork_proxy} and L{test_auth_proxy}.
"""

from __future__ import annotations

import gc
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth import identity as signed_identity
from sipxha.config.model import Ports
from sipxha.net.endpoint import Endpoint
from sipxha.routing.permissions import AuthRules
from sipxha.routing.route import OwnNames
from sipxha.services.auth_proxy import AuthProxy
from sipxha.services.proxy import IDENTITY
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.sip.values import Message
from tests.services.proxies import SECRET, Surroundings, a_request
from tests.services.test_auth_proxy import PHONE, ROUTES
from tests.support.fakes import SipReactor, counting_mint

CALLS = 100
WARM = 300
"""Calls after which those caches are full that keep the latest few."""


class MemoryTests(SynchronousTestCase):
    """
    An authproxy with its endpoint, between two phones.
    """

    def setUp(self) -> None:
        around = Surroundings()
        self.reactor = SipReactor()
        self.proxy = AuthProxy(
            self.reactor,
            replace(around.cluster, call_log=None, hop_answered=lambda hop: None),
            "10.1.1.50",
            5080,
            OwnNames([("10.1.1.50", 5080)]),
            routes=ROUTES,
            rules=AuthRules([]),
        )
        mint = counting_mint()
        self.endpoint = Endpoint(
            self.reactor, "test", Ports(5080, None), "10.1.1.50", "10.1.1.50", self.proxy, mint
        )
        self.proxy.endpoint = self.endpoint
        self.endpoint.startService()

    def exchange(self, message: Message, address: str) -> list[Message]:
        """
        @return: what was sent because of it.
        """
        self.reactor.udp.receive(message.encode(), address)
        return [sent for sent, _ in self.reactor.udp.take()]

    def request(self, method: str, number: int, **fields: str) -> Request:
        """
        Let the caller ask for something, and the phone get it.
        """
        request = a_request(method, PHONE, **fields)
        request.set("call-id", f"{number}@10.1.1.7")
        request.set("via", f"SIP/2.0/UDP 10.1.1.7;branch=z9hG4bK{method}{number};rport")
        if method == "INVITE":
            now = self.reactor.seconds()
            signed = signed_identity.sign(SECRET, "201@example.com", request.call_id, "caller", now)
            request.set(IDENTITY, signed)
        sent = self.exchange(request, "10.1.1.7")[-1]
        assert isinstance(sent, Request)
        return sent

    def answer(self, request: Request, status: int, to_tag: str = "phone") -> list[Message]:
        """
        @return: what was sent because of the phone's answer.
        """
        answer = response_to(request, status, to_tag=to_tag)
        answer.add("contact", f"<{PHONE}>")
        return self.exchange(answer, "10.1.1.9")

    def call(self, number: int) -> Request:
        """
        A call from beginning to end.

        @return: its INVITE, as the phone got it.
        """
        invite = self.request("INVITE", number)
        self.answer(invite, 180)
        self.answer(invite, 200)
        (record,) = invite.values("record-route")
        self.request("ACK", number, to_tag="phone", route=record)
        self.answer(self.request("BYE", number, to_tag="phone", route=record), 200)
        return invite

    def test_a_call_that_was_set_up_leaves_the_collector_nothing(self) -> None:
        """
        Half a minute of calls is kept: of each of them who comes by does
        nothing but find it alive, and the calls wait meanwhile.
        """
        for number in range(WARM):
            self.call(number)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = len(gc.get_objects())
        for number in range(WARM, WARM + CALLS):
            self.call(number)
        # What it has to look at once, or twice where one is in another.
        self.assertLess(len(gc.get_objects()) - before, 20 * CALLS)
        gc.collect()
        gc.collect()
        self.assertLess(len(gc.get_objects()) - before, CALLS // 10)
        self.assertEqual((self.proxy.live, self.endpoint.transactions), (0, 4 * (WARM + CALLS)))
        self.reactor.advance(32)
        self.assertEqual(self.endpoint.transactions, 0)
        self.assertEqual((self.endpoint._attempts, self.endpoint._left), ({}, {}))

    def test_a_call_that_failed_leaves_the_collector_nothing(self) -> None:
        """
        As soon as both sides have acknowledged that.
        """
        for number in range(1 + CALLS):
            if number == 1:
                gc.collect()
                before = len(gc.get_objects())
            invite = self.request("INVITE", number)
            self.answer(invite, 486)
            ack = a_request("ACK", PHONE, "phone")
            ack.set("via", f"SIP/2.0/UDP 10.1.1.7;branch=z9hG4bKINVITE{number};rport")
            self.assertEqual(self.exchange(ack, "10.1.1.7"), [])
        gc.collect()
        self.assertLess(len(gc.get_objects()) - before, CALLS // 10)

    def test_a_2xx_that_comes_again_or_late_still_goes_upstream(self) -> None:
        """
        For as long as the phone may send it (RFC 6026).
        """
        invite = self.call(0)
        self.reactor.advance(31)
        for tag in ("phone", "phone", "fork"):
            (sent,) = self.answer(invite, 200, tag)
            assert isinstance(sent, Response)
            self.assertEqual((sent.status, sent.to_tag, sent.via_count), (200, tag, 1))
            self.assertEqual(sent.via.branch, "z9hG4bKINVITE0")
        self.assertEqual(self.answer(invite, 486), [])
        self.reactor.advance(1)
        self.assertEqual(self.answer(invite, 200), [])
