"""
Tests for L{sipxha.net.dns}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import DNSServerError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.config.model import Dns
from sipxha.config.zone import ZoneUnreadable, parse_zone, zone_text
from sipxha.net.dns import PLAN_LIFE, PLANS, QUARANTINE, Locator, resolver_for, serve_zone
from sipxha.net.dns_client import QUERY_LIMIT
from sipxha.net.names import DNSFailed
from sipxha.net.zone_server import Answer, Zone
from sipxha.routing.location import TransportNotSpoken, Unlocatable
from sipxha.sip.hop import Hop
from sipxha.sip.uri import Uri

PAIR = (("sipx1.example.com", "10.1.1.50"), ("sipx2.example.com", "10.1.2.50"))
ONE, TWO = "10.1.1.50", "10.1.2.50"


class Counted(ResolverBase):
    """
    A zone that counts its questions, and fails or is silent about some.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.zone = Zone(parse_zone(text))
        self.asked: list[tuple[str, str]] = []
        self.failing: set[int] = set()
        self.silent: set[int] = set()

    def _lookup(self, name: bytes, cls: int, type: int, timeout: object) -> Deferred[Answer]:
        self.asked.append((name.decode(), dns.QUERY_TYPES[type]))
        if type in self.silent:
            return Deferred()
        if type in self.failing:
            return fail(DNSServerError())
        answer: Deferred[Answer] = self.zone.query(dns.Query(name, type))
        return answer


class LocatorTests(SynchronousTestCase):
    """
    Tests for L{Locator}.
    """

    def setUp(self) -> None:
        """
        Find places by the fragment of a pair.
        """
        self.clock = Clock()
        self.use(zone_text("example.com", PAIR))

    def use(self, text: str, **settings: Any) -> None:
        self.dns = Counted(text)
        names = [*(value for server in PAIR for value in server), "fd00::1"]
        self.locator = Locator(self.clock, self.dns, lambda: 0.0, names, **settings)

    def locate(self, uri: str) -> Deferred[list[Hop]]:
        return self.locator.locate(Uri.parse(uri))

    def places(self, uri: str) -> list[tuple[str, str, int]]:
        return [hop[:3] for hop in self.successResultOf(self.locate(uri))]

    def test_L01_an_address_needs_no_dns(self) -> None:
        """
        Nor does a port that comes with it.
        """
        self.assertEqual(self.places("sip:bob@10.1.1.9"), [("udp", "10.1.1.9", 5060)])
        self.assertEqual(self.places("sip:[::1]:5070;transport=tcp"), [("tcp", "::1", 5070)])
        self.assertEqual(self.dns.asked, [])

    def test_L01_a_port_means_that_only_addresses_are_asked_for(self) -> None:
        """
        No NAPTR and no SRV.
        """
        self.assertEqual(self.places("sip:sipx1.example.com:5080"), [("udp", ONE, 5080)])
        self.assertEqual({kind for _name, kind in self.dns.asked}, {"A", "AAAA"})

    def test_L01_the_transport_of_the_uri_chooses_the_service(self) -> None:
        """
        NAPTR is not asked.
        """
        self.assertEqual(
            self.places("sip:example.com;transport=udp"), [("udp", ONE, 5060), ("udp", TWO, 5060)]
        )
        self.assertNotIn("NAPTR", [kind for _name, kind in self.dns.asked])

    def test_L02_a_domain_is_found_by_naptr_srv_and_address(self) -> None:
        """
        TCP first, as the domain wants it; the name that was asked for is kept.
        """
        hops = self.successResultOf(self.locate("sip:bob@Example.com"))
        self.assertEqual(
            hops,
            [
                Hop("tcp", ONE, 5060, "example.com"),
                Hop("tcp", TWO, 5060, "example.com"),
                Hop("udp", ONE, 5060, "example.com"),
                Hop("udp", TWO, 5060, "example.com"),
            ],
        )

    def test_L02_without_naptr_and_srv_it_is_udp_to_the_address(self) -> None:
        """
        As to any host.
        """
        self.use("gw.example.net. IN A 10.9.9.9\n")
        self.assertEqual(self.places("sip:gw.example.net"), [("udp", "10.9.9.9", 5060)])
        self.assertEqual(self.places("sip:gw.example.net;transport=tcp"), [("tcp", "10.9.9.9", 5060)])

    def test_the_services_of_a_node_are_found_own_first(self) -> None:
        """
        The registrar over TCP; the authproxy over TCP, then UDP.
        """
        self.assertEqual(self.places("sip:rr.sipx2.example.com"), [("tcp", TWO, 5070), ("tcp", ONE, 5070)])
        self.assertEqual(
            self.places("sip:ap.sipx2.example.com"),
            [("tcp", TWO, 5080), ("tcp", ONE, 5080), ("udp", TWO, 5080), ("udp", ONE, 5080)],
        )

    def test_L04_a_server_without_address_is_left_out(self) -> None:
        """
        The others are tried.
        """
        self.use(
            "_sip._tcp.x. IN SRV 1 0 5060 gone.x.\n_sip._tcp.x. IN SRV 2 0 5060 a.x.\na.x. IN A 10.9.9.9\n"
        )
        self.assertEqual(self.places("sip:x"), [("tcp", "10.9.9.9", 5060)])

    def test_L04_an_alias_leads_to_srv_records(self) -> None:
        """
        Some hosters of domains do it so.
        """
        self.use(
            "_sip._tcp.x. IN CNAME _sip._tcp.y.\n_sip._tcp.y. IN SRV 1 0 5070 a.y.\n"
            "a.y. IN A 10.9.9.9\nx. IN A 10.1.1.1\n"
        )
        self.assertEqual(self.places("sip:x"), [("tcp", "10.9.9.9", 5070)])

    def test_L04_a_service_that_is_decidedly_absent_is_nowhere(self) -> None:
        """
        Its address is not tried.
        """
        self.use("_sip._tcp.x. IN SRV 0 0 0 .\nx. IN A 10.9.9.9\n")
        self.assertEqual(self.failureResultOf(self.locate("sip:x"), Unlocatable).value.status, 404)

    def test_what_leads_nowhere_is_said(self) -> None:
        """
        A name that is not there, a target that is none, a transport that we lack.
        """
        self.use("_sip._tcp.x. IN SRV 1 0 5060 a\\032b.x.\n")
        for uri in ("sip:www.example.net", "sip:x", "sip:www.example.net:5060"):
            self.failureResultOf(self.locate(uri), Unlocatable)
        self.failureResultOf(self.locate("sips:example.com"), TransportNotSpoken)

    def test_L13_both_families_are_found_and_the_preferred_is_first(self) -> None:
        """
        Unless our sockets can send to one only.
        """
        text = "x. IN AAAA 2001:db8::9\nx. IN A 10.9.9.9\n"
        self.use(text)
        self.assertEqual(
            [address for _transport, address, _port in self.places("sip:x:5060")], ["10.9.9.9", "2001:db8::9"]
        )
        self.use(text, families=(dns.A,))
        self.assertEqual(self.places("sip:x:5060"), [("udp", "10.9.9.9", 5060)])

    def test_the_second_time_dns_is_not_asked(self) -> None:
        """
        Neither for what is there nor for what is not.
        """
        self.places("sip:example.com")
        asked = len(self.dns.asked)
        for _ in range(3):
            self.places("sip:example.com")
            self.clock.advance(PLAN_LIFE)
        self.assertEqual(len(self.dns.asked), asked)
        self.assertEqual(len(set(self.dns.asked)), asked)

    def test_what_is_known_is_told_without_waiting(self) -> None:
        """
        Addresses always, names for as long as their answers are kept together.
        """
        name = Uri.parse("sip:example.com")
        self.assertIsNone(self.locator.known(name))
        found = self.successResultOf(self.locate("sip:example.com"))
        self.assertEqual(self.locator.known(name), found)
        self.clock.advance(PLAN_LIFE)
        self.assertIsNone(self.locator.known(name))
        self.assertEqual(
            self.locator.known(Uri.parse("sip:10.1.1.9")), [Hop("udp", "10.1.1.9", 5060, "10.1.1.9")]
        )
        self.assertRaises(Unlocatable, self.locator.known, Uri.parse("tel:201"))

    def test_L04_the_order_is_by_chance_for_each_request(self) -> None:
        """
        Also while nothing is asked.
        """
        chance = iter([0.0, 0.999])
        self.locator = Locator(self.clock, self.dns, lambda: next(chance))
        uri = "sip:example.com;transport=tcp"
        self.assertEqual([address for _transport, address, _port in self.places(uri)], [ONE, TWO])
        self.assertEqual([address for _transport, address, _port in self.places(uri)], [TWO, ONE])

    def test_memory_is_bounded(self) -> None:
        """
        However many names are asked for.
        """
        self.use("".join(f"h{number}. IN A 10.9.9.9\n" for number in range(PLANS + 1)))
        for number in range(PLANS + 1):
            self.assertEqual(self.places(f"sip:h{number}:5060"), [("udp", "10.9.9.9", 5060)])
        self.assertLessEqual(len(self.locator._plans), PLANS)

    def test_L08_a_place_that_failed_is_tried_last_for_a_while(self) -> None:
        """
        Until it answers or its time is over.
        """
        good = self.places("sip:rr.sipx1.example.com")
        dead = self.successResultOf(self.locate("sip:rr.sipx1.example.com"))[0]
        self.locator.failed(dead)
        self.assertEqual(self.places("sip:rr.sipx1.example.com"), good[::-1])
        self.assertEqual(self.places("sip:rr.sipx2.example.com"), good[::-1])
        self.clock.advance(QUARANTINE)
        self.assertEqual(self.places("sip:rr.sipx1.example.com"), good)
        self.assertEqual(self.places("sip:rr.sipx1.example.com"), good[::-1])
        self.locator.answered(dead)
        self.assertEqual(self.places("sip:rr.sipx1.example.com"), good)

    def test_L11_a_dns_server_that_is_dead_is_waited_for_once_and_not_long(self) -> None:
        """
        And it is not taken for an absence.
        """
        self.dns.silent = {dns.NAPTR, dns.SRV, dns.A, dns.AAAA}
        answer = self.locate("sip:example.com")
        self.clock.advance(QUERY_LIMIT)
        self.assertEqual(self.failureResultOf(answer, DNSFailed).value.status, 503)
        self.failureResultOf(self.locate("sip:example.com"), DNSFailed)

    def test_a_server_that_knows_no_naptr_does_not_hide_the_rest(self) -> None:
        """
        There are some that answer it with an error.
        """
        self.dns.failing = {dns.NAPTR}
        self.assertEqual(self.places("sip:rr.sipx1.example.com")[0], ("tcp", ONE, 5070))

    def test_without_srv_for_a_failure_the_address_is_not_guessed(self) -> None:
        """
        It might be quite another service.
        """
        self.dns.failing = {dns.NAPTR, dns.SRV}
        self.failureResultOf(self.locate("sip:example.com"), DNSFailed)

    def test_one_family_that_fails_does_not_hide_the_other(self) -> None:
        """
        But when there is no address the failure is said.
        """
        self.dns.failing = {dns.AAAA}
        self.assertEqual(self.successResultOf(self.locator.addresses("sipx1.example.com")), [ONE])
        self.dns.failing = {dns.A}
        self.failureResultOf(self.locator.addresses("sipx2.example.com"), DNSFailed)

    def test_addresses_of_a_host_are_found(self) -> None:
        """
        As peers and database hosts are.
        """
        self.assertEqual(self.successResultOf(self.locator.addresses("Sipx1.example.com.")), [ONE])
        self.assertEqual(self.successResultOf(self.locator.addresses("10.1.1.9")), ["10.1.1.9"])
        self.failureResultOf(self.locator.addresses("www.example.net"), Unlocatable)
        self.failureResultOf(self.locator.addresses("a b"), Unlocatable)

    def test_L03_sips_leads_to_tls_of_every_server(self) -> None:
        """
        Of a domain, of a node's own services, and of an address.
        """
        self.use(zone_text("example.com", PAIR), transports=("tcp", "udp", "tls"))
        for uri, places in (
            ("sips:bob@example.com", [("tls", ONE, 5061), ("tls", TWO, 5061)]),
            ("sip:example.com;transport=tls", [("tls", ONE, 5061), ("tls", TWO, 5061)]),
            ("sips:rr.sipx2.example.com;transport=tcp", [("tls", TWO, 5071), ("tls", ONE, 5071)]),
            ("sips:ap.sipx1.example.com", [("tls", ONE, 5081), ("tls", TWO, 5081)]),
            ("sips:10.1.1.9", [("tls", "10.1.1.9", 5061)]),
        ):
            self.assertEqual(self.places(uri), places)
        transports = [place[0] for place in self.places("sip:bob@example.com")]
        self.assertEqual(transports, ["tcp", "tcp", "udp", "udp", "tls", "tls"])

    def test_own_nodes_are_known_by_name_service_and_address(self) -> None:
        """
        They answer at once or are dead.
        """
        for text, is_own in (
            ("sip:sipx1.example.com", True),
            ("sip:rr.SIPX2.example.com.", True),
            ("sip:10.1.2.50:5080;lr", True),
            ("sip:[FD00::1]", True),
            ("sip:example.com", False),
            ("sip:bob@10.1.1.9", False),
        ):
            self.assertEqual(self.locator.is_own(Uri.parse(text)), is_own, text)
        self.assertTrue(self.locator.is_own_name("fd00::1"))


class ResolverForTests(TestCase):
    """
    Tests for L{resolver_for}.
    """

    async def test_the_zone_file_is_asked_first_and_the_server_for_the_rest(self) -> None:
        """
        Through real DNS.
        """
        path = Path(self.mktemp())
        path.write_text(zone_text("example.com", PAIR))
        server = serve_zone(reactor, "gw.example.com. IN A 10.9.9.9\nsipx1.example.com. IN A 10.9.9.1\n")
        self.addCleanup(server.stop)
        resolver = resolver_for(reactor, Dns(path, ("127.0.0.1", server.port)))
        locator = Locator(reactor, resolver, lambda: 0.0)
        self.assertEqual(await locator.addresses("sipx1.example.com"), [ONE])
        self.assertEqual(await locator.addresses("gw.example.com"), ["10.9.9.9"])
        with self.assertRaises(Unlocatable):
            await locator.addresses("www.example.com")

    def test_a_wrong_zone_file_is_said_with_its_line(self) -> None:
        """
        Before anything starts.
        """
        path = Path(self.mktemp())
        path.write_text("\nnonsense here\n")
        failure = self.assertRaises(ZoneUnreadable, resolver_for, reactor, Dns(path))
        self.assertIn(f"{path}:2: ", str(failure))

    async def test_without_a_server_the_hosts_of_this_machine_are_known(self) -> None:
        """
        As to every program.
        """
        locator = Locator(Clock(), resolver_for(reactor, Dns()), lambda: 0.0, families=(dns.A,))
        self.assertIn("127.0.0.1", await locator.addresses("localhost"))
