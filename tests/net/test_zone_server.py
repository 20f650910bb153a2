"""
Tests for L{sipxha.net.zone_server}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IResolver
from twisted.names import dns
from twisted.names.error import DNSNameError, DomainError
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from sipxha.config.zone import ZoneUnreadable, parse_zone, zone_text
from sipxha.net.dns_client import Client
from sipxha.net.zone_server import Answer, Zone, serve_zone

PAIR = (("sipx1.example.com", "127.1.1.1"), ("sipx2.example.com", "127.1.1.2"))

MANY = "".join(
    f"_sip._tcp.many.example.com. 60 IN SRV {n} 0 5060 server{n}.many.example.com.\n" for n in range(40)
)


class ZoneTests(SynchronousTestCase):
    """
    Tests for L{Zone}.
    """

    def setUp(self) -> None:
        """
        Take the fragment of a pair, and some aliases.
        """
        aliases = (
            "pbx.example.com. IN CNAME sipx1.example.com.\n"
            "far.example.com. IN CNAME www.example.net.\n"
            "a.example.com. IN CNAME b.example.com.\n"
            "b.example.com. IN CNAME a.example.com.\n"
        )
        self.zone = Zone(parse_zone(zone_text("example.com", PAIR) + aliases))

    def ask(self, name: str, record_type: int) -> list[Any]:
        answers, _authority, _additional = self.successResultOf(self.zone.query(dns.Query(name, record_type)))
        return [(header.name.name.decode(), header.ttl, header.payload) for header in answers]

    def test_it_is_a_resolver(self) -> None:
        """
        As Twisted knows them.
        """
        verifyObject(IResolver, self.zone)

    def test_records_come_as_they_are_written(self) -> None:
        """
        Each type with its fields and its lifetime.
        """
        self.assertEqual(
            self.ask("SIPX1.example.com", dns.A),
            [("sipx1.example.com", 600, dns.Record_A("127.1.1.1", 600))],
        )
        self.assertEqual(
            [record for _name, _ttl, record in self.ask("_sip._tcp.rr.sipx1.example.com", dns.SRV)],
            [
                dns.Record_SRV(1, 0, 5070, "sipx1.example.com", 600),
                dns.Record_SRV(2, 100, 5070, "sipx2.example.com", 600),
            ],
        )
        self.assertEqual(
            self.ask("example.com", dns.NAPTR)[0][2],
            dns.Record_NAPTR(50, 50, b"s", b"SIP+D2T", b"", "_sip._tcp.example.com", 600),
        )

    def test_aliases_are_followed_as_far_as_we_know(self) -> None:
        """
        A circle has an end.
        """
        found = self.ask("pbx.example.com", dns.A)
        self.assertEqual([name for name, _ttl, _record in found], ["pbx.example.com", "sipx1.example.com"])
        self.assertEqual(len(self.ask("far.example.com", dns.A)), 1)
        self.assertLess(len(self.ask("a.example.com", dns.A)), 10)

    def test_of_what_it_knows_it_knows_all(self) -> None:
        """
        Other types of a host, and other services of one, do not exist.
        """
        for name, record_type in (
            ("sipx1.example.com", dns.AAAA),
            ("example.com", dns.A),
            ("rr.sipx1.example.com", dns.NAPTR),
            ("_sip._udp.rr.sipx1.example.com", dns.SRV),
            ("_sips._udp.example.com", dns.SRV),
        ):
            self.assertEqual(self.ask(name, record_type), [])

    def test_of_other_names_it_knows_nothing(self) -> None:
        """
        Also of other names in the domain: it is a fragment.
        """
        for name in ("www.example.com", "example.net", "com", "_sip._tcp.www.example.com"):
            self.failureResultOf(self.zone.query(dns.Query(name, dns.A)), DomainError)


class ServeZoneTests(TestCase):
    """
    Tests for L{serve_zone}, over the loopback.
    """

    def ask(self, port: int, name: str, record_type: int) -> Deferred[Answer]:
        answer: Deferred[Answer] = Client(reactor, [("127.0.0.1", port)]).query(dns.Query(name, record_type))
        return answer

    async def test_it_answers_over_udp_and_what_is_long_over_tcp(self) -> None:
        """
        As any DNS server does.
        """
        server = serve_zone(reactor, zone_text("example.com", PAIR) + MANY)
        self.addCleanup(server.stop)
        answers, _, _ = await self.ask(server.port, "sipx2.example.com", dns.A)
        self.assertEqual(answers[0].payload, dns.Record_A("127.1.1.2", 600))
        answers, _, _ = await self.ask(server.port, "_sip._tcp.many.example.com", dns.SRV)
        self.assertEqual(len(answers), 40)

    async def test_a_name_that_is_not_there_does_not_exist(self) -> None:
        """
        The answer is NXDOMAIN.
        """
        path = Path(self.mktemp())
        path.write_text(zone_text("example.com", PAIR))
        server = serve_zone(reactor, path)
        self.addCleanup(server.stop)
        with self.assertRaises(DNSNameError):
            await self.ask(server.port, "www.example.com", dns.A)

    async def test_a_port_that_is_taken_and_a_zone_that_is_wrong_are_said(self) -> None:
        """
        At once.
        """
        server = serve_zone(reactor, "")
        self.addCleanup(server.stop)
        self.assertRaises(CannotListenError, serve_zone, reactor, "", port=server.port)
        self.assertRaises(ZoneUnreadable, serve_zone, reactor, "x. IN A nonsense")
