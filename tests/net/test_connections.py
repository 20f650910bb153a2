"""
Tests for L{sipxha.net.connections}; what is particular to TLS is in L{test_sip_tls}.
"""

from __future__ import annotations

from sipxha.config.limits import ConnectionLimits
from sipxha.config.model import DEFAULT_LIMITS, Limits, Ports
from sipxha.net.connections import CONNECT_LIMIT
from sipxha.net.transports import Transports
from sipxha.sip.hop import Flow, Hop
from tests.net.test_transports import BOB, KEY, OTHER, TransportsCase


class RequestTests(TransportsCase):
    """
    Which connection a request takes.
    """

    def test_L14_a_connection_is_opened_once_and_kept(self) -> None:
        """
        What comes up while it is being opened waits, in order; within three
        seconds, and from the address that we listen on.
        """
        self.transports.send(b"1", BOB, KEY)
        self.transports.send(b"2", BOB, OTHER)
        ((address, port, _, limit, source),) = self.reactor.tcpClients
        self.assertEqual((address, port, limit), ("10.0.0.2", 5060, CONNECT_LIMIT))
        self.assertEqual(source, ("10.0.0.1", 0))
        wire = self.reactor.open()
        self.transports.send(b"3", BOB, KEY)
        self.assertEqual(wire.value(), b"123")
        self.assertEqual(self.reactor.tcpClients, [])

    def test_a_refused_connection_fails_all_that_waits_for_it(self) -> None:
        """
        And the next request tries again.
        """
        self.transports.send(b"1", BOB, KEY)
        self.transports.send(b"2", BOB, None)
        self.reactor.refuse()
        self.settle()
        self.assertEqual(self.receiver.failed, [KEY])
        self.transports.send(b"3", BOB, KEY)
        self.assertEqual(self.reactor.open().value(), b"3")

    def test_what_was_withdrawn_is_not_sent(self) -> None:
        """
        As long as it has not been.
        """
        self.transports.send(b"1", BOB, KEY)
        self.transports.send(b"2", BOB, OTHER)
        self.assertTrue(self.transports.withdraw(BOB, KEY))
        self.assertEqual(self.reactor.open().value(), b"2")
        self.assertFalse(self.transports.withdraw(BOB, OTHER))

    def test_a_lost_connection_fails_what_was_sent_on_it(self) -> None:
        """
        But for what needs no answer any more.
        """
        self.transports.send(b"1", BOB, KEY)
        wire = self.reactor.open()
        self.transports.send(b"2", BOB, OTHER)
        self.transports.withdraw(BOB, OTHER)
        wire.loseConnection()
        self.assertEqual(self.receiver.failed, [KEY])

    def test_a_place_that_has_connected_to_us_is_reached_that_way(self) -> None:
        """
        A phone behind a NAT can be reached in no other.
        """
        wire = self.reactor.accept("10.0.0.9", 40000)
        self.transports.send(b"1", Hop("tcp", "10.0.0.9", 40000), KEY)
        self.assertEqual(wire.value(), b"1")

    def test_a_flow_is_its_connection_and_no_other(self) -> None:
        """
        When that is gone, so is the way.
        """
        wire = self.reactor.accept("10.0.0.9", 40000)
        flow = wire.stream.flow
        self.transports.send(b"1", flow, KEY)
        self.assertEqual(wire.value(), b"1")
        wire.loseConnection()
        self.receiver.failed.clear()
        self.transports.send(b"2", flow, KEY)
        self.settle()
        self.assertEqual(self.receiver.failed, [KEY])
        self.assertEqual(self.reactor.tcpClients, [])

    def test_O07_whoever_watches_hears_of_a_lost_connection(self) -> None:
        """
        Of each, but not when it is we who close them all.
        """
        closed: list[Flow] = []
        connections = self.transports.connections
        connections.closed = closed.append
        wire, other = (self.reactor.accept("10.0.0.9", port) for port in (40000, 40001))
        flow = wire.stream.flow
        self.assertTrue(connections.is_alive(flow.connection))
        wire.loseConnection()
        self.assertEqual(closed, [flow])
        self.assertFalse(connections.is_alive(flow.connection))
        self.transports.unbind()
        other.loseConnection()
        self.assertEqual(closed, [flow])


class CapTests(TransportsCase):
    """
    How many connections one address may open.
    """

    def accepted(self, address: str) -> bool:
        return not self.reactor.accept(address, 40000).disconnecting

    def fill(self, address: str) -> None:
        for _ in range(DEFAULT_LIMITS.connection.per_source):
            self.assertTrue(self.accepted(address))

    def test_one_address_has_so_many_and_no_more(self) -> None:
        """
        Others are not concerned, and each that ends makes room.
        """
        last = self.reactor.accept("10.0.0.9", 39999)
        for _ in range(DEFAULT_LIMITS.connection.per_source - 1):
            self.assertTrue(self.accepted("10.0.0.9"))
        self.assertFalse(self.accepted("10.0.0.9"))
        self.assertTrue(self.accepted("10.0.0.8"))
        last.loseConnection()
        self.assertTrue(self.accepted("10.0.0.9"))
        self.assertFalse(self.accepted("10.0.0.9"))
        connections = self.transports.connections
        most = DEFAULT_LIMITS.connection.per_source
        self.assertEqual((connections.open, connections.refused), ({"tcp": most + 1, "tls": 0}, 2))

    def test_one_network_of_ipv6_counts_as_one(self) -> None:
        """
        Whoever has one address there has them all.
        """
        self.fill("2001:db8::9")
        self.assertFalse(self.accepted("2001:db8::8"))
        self.assertTrue(self.accepted("2001:db8:0:1::9"))

    def test_our_own_servers_are_not_counted(self) -> None:
        """
        Nor is what we have opened ourselves.
        """
        transports = Transports(
            self.reactor,
            "10.0.0.1",
            Ports(None, 5070),
            self.receiver,
            limits=Limits(connection=ConnectionLimits(per_source=1)),
            is_neighbour="10.0.0.2".__eq__,
        )
        transports.bind()
        self.assertEqual([self.accepted("10.0.0.2") for _ in range(3)], [True] * 3)
        transports.send(b"x", Hop("tcp", "10.0.0.3", 5060), KEY)
        self.reactor.open()
        self.assertEqual([self.accepted("10.0.0.3") for _ in range(2)], [True, False])
