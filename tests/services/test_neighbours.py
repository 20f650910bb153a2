"""
Tests for L{sipxha.services.neighbours}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.model import Peer
from sipxha.errors import LocalError
from sipxha.services.neighbours import INTERVAL, Neighbours, origin
from sipxha.sip.via import Via


class NeighboursTests(SynchronousTestCase):
    """
    Tests for who is one of us.
    """

    def setUp(self) -> None:
        """
        Two peers: one has a fixed address, the other is asked for.
        """
        self.clock = Clock()
        self.answer: Deferred[list[str]] = succeed(["10.1.2.50"])
        self.asked: list[str] = []
        self.neighbours = Neighbours(
            self.clock,
            ["10.1.1.50"],
            [Peer("sipx2.example.com"), Peer("sipx3.example.com", "10.1.3.50")],
            self.addresses,
        )
        self.addCleanup(self.neighbours.stopService)

    def addresses(self, name: str) -> Deferred[list[str]]:
        """
        DNS, which gives the answer of the moment.
        """
        self.asked.append(name)
        return self.answer

    def test_our_nodes_and_loopback_are_known_and_nobody_else(self) -> None:
        """
        Whichever way a socket writes an address.
        """
        self.neighbours.startService()
        for address in ("10.1.1.50", "10.1.2.50", "10.1.3.50", "127.9.9.9", "::1", "::ffff:10.1.2.50"):
            self.assertTrue(self.neighbours.knows(address), address)
        for address in ("10.1.1.51", "2001:db8::1", "::ffff:10.1.1.51", "example.com", ""):
            self.assertFalse(self.neighbours.knows(address), address)

    def test_a_peer_with_an_address_is_not_asked_for(self) -> None:
        """
        That is what the attribute is for.
        """
        self.neighbours.startService()
        self.assertEqual(self.asked, ["sipx2.example.com"])

    def test_a_peer_that_moves_is_found_again(self) -> None:
        """
        After a minute at most, and its old address is a stranger's.
        """
        self.neighbours.startService()
        self.assertTrue(self.neighbours.knows("10.1.2.50"))
        self.answer = succeed(["10.1.2.51"])
        self.clock.advance(INTERVAL)
        self.assertTrue(self.neighbours.knows("10.1.2.51"))
        self.assertFalse(self.neighbours.knows("10.1.2.50"))

    def test_a_dead_dns_forgets_nobody(self) -> None:
        """
        What was known stays, also through several failures.
        """
        self.neighbours.startService()
        for _ in range(3):
            self.answer = fail(LocalError("nobody answers"))
            self.clock.advance(INTERVAL)
        self.assertTrue(self.neighbours.knows("10.1.2.50"))

    def test_it_asks_no_more_when_stopped(self) -> None:
        """
        Nothing is left to run.
        """
        self.neighbours.startService()
        self.neighbours.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OriginTests(SynchronousTestCase):
    """
    Tests for L{origin}.
    """

    def origin(self, *vias: str) -> str:
        """
        Where a request with these Vias came from; 10.1.1.50 is ours.
        """
        return origin(
            [Via.parse(f"SIP/2.0/UDP {via}") for via in vias], lambda address: address == "10.1.1.50"
        )

    def test_it_is_the_first_address_that_is_not_ours(self) -> None:
        """
        As its receiver stamped it; what stands below is its own word.
        """
        self.assertEqual(self.origin("192.168.1.7;received=192.0.2.1", "192.0.2.9"), "192.0.2.1")
        self.assertEqual(self.origin("10.1.1.50", "192.0.2.1:5062", "192.0.2.9"), "192.0.2.1")
        self.assertEqual(self.origin("[2001:db8::1]:5060"), "2001:db8::1")

    def test_what_is_all_ours_is_the_first_of_us(self) -> None:
        """
        And nobody where there are no Vias.
        """
        self.assertEqual(self.origin("10.1.1.50", "10.1.1.50:5070"), "10.1.1.50")
        self.assertEqual(self.origin(), "")
