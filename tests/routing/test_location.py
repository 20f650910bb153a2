"""
Tests for L{sipxha.routing.location}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.location import (
    Naptr,
    Offer,
    Service,
    Srv,
    Target,
    TransportNotSpoken,
    Unlocatable,
    direct,
    is_left_to_chance,
    is_name,
    offers_of,
    services_by_default,
    services_named,
    shuffled,
    target_of,
)
from sipxha.sip.uri import Uri

SPOKEN = ("tcp", "udp")
WITH_TLS = ("tls", "tcp", "udp")


def target(text: str, spoken: tuple[str, ...] = SPOKEN) -> Target:
    return target_of(Uri.parse(text), spoken)


def numbers(*values: float) -> Callable[[], float]:
    """
    Chance that gives these numbers.
    """
    waiting = iter(values)
    return lambda: next(waiting)


def evenly(count: int) -> Iterator[float]:
    """
    Numbers from 0 up to 1 at equal distances.
    """
    return (number / count for number in range(count))


class TargetTests(SynchronousTestCase):
    """
    Tests for what a URI says by itself.
    """

    def test_L01_a_numeric_host_is_udp_at_the_default_port(self) -> None:
        """
        DNS is not asked about an address.
        """
        for text, host in (("sip:10.1.1.9", "10.1.1.9"), ("sip:bob@[2001:DB8::1]", "2001:db8::1")):
            found = target(text)
            self.assertTrue(found.is_numeric)
            self.assertEqual(direct(found), Offer("udp", 5060, host))

    def test_L01_port_and_transport_of_the_uri_are_honoured(self) -> None:
        """
        Both stand above every default.
        """
        self.assertEqual(direct(target("sip:10.1.1.9:5070;transport=TCP")), Offer("tcp", 5070, "10.1.1.9"))
        self.assertEqual(
            direct(target("sip:sipx1.example.com:5080")), Offer("udp", 5080, "sipx1.example.com")
        )

    def test_L01_sips_is_tls(self) -> None:
        """
        Also with transport=tcp, which then means TLS over TCP.
        """
        for text in ("sips:10.1.1.9", "sips:10.1.1.9;transport=tcp", "sip:10.1.1.9;transport=tls"):
            self.assertEqual(direct(target(text, WITH_TLS)), Offer("tls", 5061, "10.1.1.9"))

    def test_a_transport_that_we_do_not_speak_is_refused(self) -> None:
        """
        Nothing secure is sent in the clear, and nothing is guessed.
        """
        for text in (
            "sips:bob@example.com",
            "sip:bob@example.com;transport=tls",
            "sip:bob@example.com;transport=sctp",
            "tel:+15551234",
        ):
            self.assertEqual(self.assertRaises(TransportNotSpoken, target, text).status, 416)
        self.assertRaises(TransportNotSpoken, target, "sips:example.com;transport=udp", WITH_TLS)

    def test_maddr_stands_for_the_host(self) -> None:
        """
        RFC 3263 section 4.
        """
        self.assertEqual(target("sip:bob@example.com;maddr=10.1.1.9").host, "10.1.1.9")

    def test_a_name_is_asked_for_in_one_spelling(self) -> None:
        """
        So that it is remembered once.
        """
        self.assertEqual(target("sip:Bob@Example.COM.").host, "example.com")

    def test_what_dns_could_not_carry_is_nowhere(self) -> None:
        """
        Such a host comes from outside, and must not reach the resolver.
        """
        long_label = "a" * 64
        for host in (f"{long_label}.example.com", ".".join(["abcdefg"] * 40)):
            self.assertRaises(Unlocatable, target, f"sip:{host}")
        self.assertRaises(Unlocatable, target_of, Uri("sip", host="a b"), SPOKEN)
        self.assertRaises(Unlocatable, target_of, Uri("sip", host="[fe80::1%eth0]"), SPOKEN)
        self.assertFalse(is_name("exämple.com"))
        self.assertFalse(is_name("example.com\n"))


class ServiceTests(SynchronousTestCase):
    """
    Tests for which SRV names are asked for.
    """

    RECORDS = (
        Naptr(90, 50, "s", "SIP+D2U", "_sip._udp.example.com"),
        Naptr(50, 60, "S", "sip+d2t", "_sip._tcp.example.com"),
        Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com"),
        Naptr(10, 10, "s", "SIP+D2S", "_sip._sctp.example.com"),
        Naptr(10, 10, "u", "E2U+sip", ""),
        Naptr(10, 10, "s", "SIP+D2T", ""),
        Naptr(10, 10, "s", "SIP+D2T", "_sip._tcp.b\ufffd.example"),
    )

    def test_L02_naptr_is_taken_by_order_then_preference(self) -> None:
        """
        What we do not speak, and what is no SRV name, is left out.
        """
        self.assertEqual(
            services_named(target("sip:example.com", WITH_TLS), self.RECORDS),
            [
                Service("tls", "_sips._tcp.example.com"),
                Service("tcp", "_sip._tcp.example.com"),
                Service("udp", "_sip._udp.example.com"),
            ],
        )
        named = services_named(target("sip:example.com"), self.RECORDS)
        self.assertEqual([service.transport for service in named], ["tcp", "udp"])

    def test_L02_without_naptr_the_usual_names_are_asked_for(self) -> None:
        """
        One for each transport that suits, best liked first.
        """
        self.assertEqual(
            services_by_default(target("sip:example.com")),
            [Service("tcp", "_sip._tcp.example.com"), Service("udp", "_sip._udp.example.com")],
        )
        self.assertEqual(
            services_by_default(target("sip:example.com;transport=udp")),
            [Service("udp", "_sip._udp.example.com")],
        )

    def test_L03_sips_keeps_only_what_is_secure(self) -> None:
        """
        All other NAPTR records are discarded.
        """
        secure = target("sips:example.com", WITH_TLS)
        self.assertEqual(services_named(secure, self.RECORDS), [Service("tls", "_sips._tcp.example.com")])
        self.assertEqual(services_by_default(secure), [Service("tls", "_sips._tcp.example.com")])
        decided = target("sip:example.com;transport=tls", WITH_TLS)
        self.assertEqual(services_by_default(decided), [Service("tls", "_sips._tcp.example.com")])

    def test_L03_sip_asks_for_tls_only_where_naptr_offers_it(self) -> None:
        """
        RFC 3263 section 4.1: the names by default are those of the scheme.
        """
        names = [service.name for service in services_by_default(target("sip:example.com", WITH_TLS))]
        self.assertEqual(names, ["_sip._tcp.example.com", "_sip._udp.example.com"])


class OfferTests(SynchronousTestCase):
    """
    Tests for the order of servers.
    """

    TCP = Service("tcp", "_sip._tcp.example.com")
    UDP = Service("udp", "_sip._udp.example.com")

    def hosts(self, *answers: tuple[Service, list[Srv]], ranked: bool = False) -> list[tuple[str, str]]:
        offers = offers_of(answers, ranked, lambda: 0.0)
        return [(offer.transport, offer.host) for offer in offers]

    def test_L04_lower_priorities_come_first(self) -> None:
        """
        Whatever the weights.
        """
        records = [Srv(2, 900, 5060, "c"), Srv(0, 0, 5060, "a"), Srv(1, 5, 5060, "b")]
        self.assertEqual(self.hosts((self.TCP, records)), [("tcp", "a"), ("tcp", "b"), ("tcp", "c")])

    def test_L04_a_service_that_is_decidedly_absent_is_nowhere(self) -> None:
        """
        A dot as target is an answer; the address of the domain is then not tried.
        """
        self.assertRaises(Unlocatable, self.hosts, (self.TCP, [Srv(0, 0, 0, "")]), (self.UDP, []))
        self.assertEqual(
            self.hosts((self.TCP, [Srv(0, 0, 0, "")]), (self.UDP, [Srv(0, 0, 5060, "a")])), [("udp", "a")]
        )

    def test_without_records_there_is_no_offer(self) -> None:
        """
        Then the address of the domain itself is asked for.
        """
        self.assertEqual(self.hosts((self.TCP, []), (self.UDP, [])), [])

    def test_priorities_count_across_transports_where_the_domain_did_not_rank_them(self) -> None:
        """
        The names of a node's own services are written so: TCP 1 and 2, UDP 3 and 4.
        """
        tcp = (self.TCP, [Srv(1, 0, 5080, "own"), Srv(2, 100, 5080, "other")])
        udp = (self.UDP, [Srv(3, 0, 5080, "own"), Srv(4, 100, 5080, "other")])
        expected = [("tcp", "own"), ("tcp", "other"), ("udp", "own"), ("udp", "other")]
        self.assertEqual(self.hosts(tcp, udp), expected)
        self.assertEqual(self.hosts(udp, tcp), expected)

    def test_the_order_of_naptr_stands_above_priorities(self) -> None:
        """
        All servers of the first transport come before any of the second.
        """
        udp = (self.UDP, [Srv(9, 0, 5060, "a")])
        tcp = (self.TCP, [Srv(1, 0, 5060, "b")])
        self.assertEqual(self.hosts(udp, tcp, ranked=True), [("udp", "a"), ("tcp", "b")])

    def test_ports_are_those_of_the_records(self) -> None:
        """
        An SRV record names its own port.
        """
        offers = offers_of([(self.TCP, [Srv(1, 0, 5070, "a")])], False, lambda: 0.0)
        self.assertEqual(offers, [Offer("tcp", 5070, "a")])

    @given(
        st.lists(
            st.lists(
                st.builds(Srv, st.integers(0, 2), st.integers(0, 9), st.just(5060), st.sampled_from("abc"))
            ),
            max_size=2,
        ),
        st.booleans(),
        st.floats(0.0, 1.0, exclude_max=True),
    )
    def test_where_chance_has_no_say_the_order_is_always_the_same(
        self, records: list[list[Srv]], ranked: bool, chance: float
    ) -> None:
        """
        It has none where all have a place of their own.
        """
        answers = list(zip((self.TCP, self.UDP), records, strict=False))
        if not is_left_to_chance(answers, ranked):
            self.assertEqual(
                offers_of(answers, ranked, lambda: 0.0), offers_of(answers, ranked, lambda: chance)
            )

    def test_chance_has_a_say_where_servers_are_wanted_alike(self) -> None:
        """
        Across transports that the domain did not rank, too, each has a place of its own.
        """
        alike = [(self.TCP, [Srv(1, 0, 5060, "a"), Srv(1, 0, 5060, "b")])]
        apart = [(self.TCP, [Srv(1, 0, 5060, "a")]), (self.UDP, [Srv(1, 0, 5060, "a")])]
        for ranked in (True, False):
            self.assertTrue(is_left_to_chance(alike, ranked))
            self.assertFalse(is_left_to_chance(apart, ranked))


class ShuffledTests(SynchronousTestCase):
    """
    Tests for weighted chance (RFC 2782).
    """

    def test_L04_a_heavier_record_is_first_more_often(self) -> None:
        """
        In proportion to the weights.
        """
        light, heavy = Srv(1, 100, 5060, "light"), Srv(1, 300, 5060, "heavy")
        firsts = Counter(shuffled([light, heavy], numbers(number))[0].target for number in evenly(4000))
        self.assertEqual(round(firsts["heavy"] / 4000, 2), 0.75)

    def test_L04_weight_0_is_hardly_ever_first_but_never_lost(self) -> None:
        """
        It has the smallest chance that there is.
        """
        none, some = Srv(1, 0, 5060, "none"), Srv(1, 99, 5060, "some")
        firsts = Counter(shuffled([some, none], numbers(number))[0].target for number in evenly(1000))
        self.assertEqual(firsts, {"none": 10, "some": 990})

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.builds(Srv, st.just(1), st.integers(0, 65535), st.just(5060), st.text("ab", max_size=3))),
        st.data(),
    )
    def test_nothing_is_lost_or_made_up(self, records: list[Srv], data: st.DataObject) -> None:
        """
        Every order is one of the same records.
        """
        order = shuffled(records, lambda: data.draw(st.floats(0, 1, exclude_max=True)))
        self.assertEqual(Counter(order), Counter(records))
