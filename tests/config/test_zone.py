"""
Tests for L{sipxha.config.zone}.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from dns.name import from_text as name_of
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.model import Ports
from sipxha.config.zone import (
    NotAHostName,
    ZonePorts,
    ZoneUnreadable,
    host_name,
    parse_zone,
    read_zone,
    zone_text,
)

PAIR = (("sipx1.example.com", "10.1.1.50"), ("sipx2.example.com", "10.1.2.50"))


def records(text: str, owner: str) -> list[str]:
    """
    What a fragment says about a name.
    """
    return [str(record.rdata) for record in parse_zone(text) if record.owner == name_of(owner)]


class ZoneTextTests(SynchronousTestCase):
    """
    Tests for L{zone_text}.
    """

    def setUp(self) -> None:
        """
        Write the fragment of a pair.
        """
        self.text = zone_text("example.com", PAIR)

    def test_the_domain_prefers_tcp(self) -> None:
        """
        Order 50 for TCP, 90 for UDP, 100 for TLS, and no address of the bare domain.
        """
        self.assertEqual(
            records(self.text, "example.com"),
            [
                '50 50 "s" "SIP+D2T" "" _sip._tcp.example.com.',
                '90 50 "s" "SIP+D2U" "" _sip._udp.example.com.',
                '100 50 "s" "SIPS+D2T" "" _sips._tcp.example.com.',
            ],
        )

    def test_both_nodes_share_the_front_door(self) -> None:
        """
        Over each transport.
        """
        for service, port in (("_sip._tcp", 5060), ("_sip._udp", 5060), ("_sips._tcp", 5061)):
            self.assertEqual(
                records(self.text, f"{service}.example.com"),
                [f"1 100 {port} sipx1.example.com.", f"1 100 {port} sipx2.example.com."],
            )

    def test_a_node_prefers_its_own_registrar_and_never_asks_over_udp(self) -> None:
        """
        A dead one is then noticed at once.
        """
        self.assertEqual(
            records(self.text, "_sips._tcp.rr.sipx2.example.com"),
            ["1 0 5071 sipx2.example.com.", "2 100 5071 sipx1.example.com."],
        )
        self.assertEqual(
            records(self.text, "_sip._tcp.rr.sipx2.example.com"),
            ["1 0 5070 sipx2.example.com.", "2 100 5070 sipx1.example.com."],
        )
        self.assertEqual(records(self.text, "_sip._udp.rr.sipx2.example.com"), [])

    def test_a_node_prefers_its_own_authproxy_and_tcp(self) -> None:
        """
        Priorities 1 and 2 over TCP and TLS, 3 and 4 over UDP.
        """
        self.assertEqual(
            records(self.text, "_sips._tcp.ap.sipx1.example.com"),
            ["1 0 5081 sipx1.example.com.", "2 100 5081 sipx2.example.com."],
        )
        self.assertEqual(
            records(self.text, "_sip._tcp.ap.sipx1.example.com"),
            ["1 0 5080 sipx1.example.com.", "2 100 5080 sipx2.example.com."],
        )
        self.assertEqual(
            records(self.text, "_sip._udp.ap.sipx1.example.com"),
            ["3 0 5080 sipx1.example.com.", "4 100 5080 sipx2.example.com."],
        )

    def test_nodes_have_addresses_of_their_family(self) -> None:
        """
        A or AAAA.
        """
        text = zone_text("example.com", [PAIR[0], ("sipx2.example.com", "2001:DB8::2")])
        self.assertEqual(records(text, "sipx1.example.com"), ["10.1.1.50"])
        self.assertIn("AAAA  2001:db8::2", text)

    def test_the_bare_domain_has_addresses_only_when_asked_for(self) -> None:
        """
        Mostly they belong to a web server.
        """
        self.assertNotIn(
            " A ", "".join(line for line in self.text.splitlines() if line.startswith("example.com"))
        )
        apex = records(zone_text("example.com", PAIR, apex=True), "example.com")
        self.assertEqual(apex[3:], ["10.1.1.50", "10.1.2.50"])

    def test_an_unknown_address_is_said_and_not_made_up(self) -> None:
        """
        The record may stand in another zone.
        """
        text = zone_text("example.com", [PAIR[0], ("sipx2.example.com", None)], apex=True)
        self.assertEqual(records(text, "sipx2.example.com"), [])
        self.assertIn("must exist elsewhere: sipx2.example.com\n", text)

    def test_only_what_listens_is_announced(self) -> None:
        """
        Ports and transports are those of the configuration.
        """
        text = zone_text(
            "example.com",
            PAIR,
            ZonePorts(proxy=Ports(None, 15060), registrar=None, authproxy=Ports(5080, None)),
        )
        self.assertEqual(len(records(text, "example.com")), 1)
        self.assertEqual(records(text, "_sip._udp.example.com"), [])
        self.assertEqual(records(text, "_sip._tcp.example.com")[0], "1 100 15060 sipx1.example.com.")
        self.assertEqual(records(text, "_sip._tcp.rr.sipx1.example.com"), [])
        self.assertEqual(records(text, "_sip._tcp.ap.sipx1.example.com"), [])
        self.assertEqual(len(records(text, "_sip._udp.ap.sipx1.example.com")), 2)
        self.assertNotIn("_sip._udp.example.com", zone_text("example.com", PAIR, ZonePorts(proxy=None)))

    def test_names_are_complete_in_whatever_spelling_they_came(self) -> None:
        """
        One final dot, never two.
        """
        self.assertEqual(zone_text("Example.com.", [("SIPX1.example.com.", "10.1.1.50"), PAIR[1]]), self.text)

    def test_what_is_no_host_name_is_refused(self) -> None:
        """
        Nothing can be smuggled into the file.
        """
        for name in (
            "",
            "a b",
            "a..b",
            "-a.example",
            "a.example\n",
            "a;b",
            "ä.example",
            "a" * 64,
            "a." * 127 + "a",
        ):
            self.assertRaises(NotAHostName, zone_text, name, PAIR)
            self.assertRaises(NotAHostName, zone_text, "example.com", [(name, "10.1.1.50")])
            self.assertRaises(NotAHostName, host_name, name)


class ReadZoneTests(SynchronousTestCase):
    """
    Tests for L{read_zone} and L{parse_zone}.
    """

    def test_origin_and_lifetime_are_understood(self) -> None:
        """
        As people write them by hand.
        """
        zone = parse_zone(
            "a.example.net. IN A 10.1.1.1\n"
            "$ORIGIN example.com.\n$TTL 60\n@ IN NS ns\nns 5 IN TXT (\n one\n two )\n   A 10.1.1.1\n"
        )
        self.assertEqual(
            [(str(record.owner), record.ttl) for record in zone],
            [("a.example.net.", 3600), ("example.com.", 60), ("ns.example.com.", 5), ("ns.example.com.", 60)],
        )

    def test_a_wrong_line_is_named(self) -> None:
        """
        Also when it is what ends the line that is wrong.
        """
        path = Path(self.mktemp())
        for text, line in (
            ("; nothing\nx. IN A 10.0.0.1\nx. IN A 10.0.0.256\ny. IN A 10.0.0.1\n", 3),
            ("a b c d e\n", 1),
            ("; one\n\nx. IN SRV 1 2 3", 3),
            ("x. IN TXT (\n one\n two )\nx. IN SRV 1 2 3\n", 4),
            ("$INCLUDE /etc/passwd\n", 1),
            ('x. IN TXT "open\n', 1),
        ):
            path.write_text(text, encoding="utf-8")
            failure = self.assertRaises(ZoneUnreadable, read_zone, path)
            self.assertTrue(str(failure).startswith(f"{path}:{line}: "), f"{failure} in {text!r}")

    def test_a_file_that_cannot_be_read_is_named(self) -> None:
        """
        With the reason.
        """
        path = Path(self.mktemp())
        missing = self.assertRaises(ZoneUnreadable, read_zone, path)
        self.assertEqual(str(missing), f"{path}: the zone file cannot be read: No such file or directory")
        path.write_bytes(b"\xff\xfe")
        self.assertIn("it is not text", str(self.assertRaises(ZoneUnreadable, read_zone, path)))

    def test_records_that_exclude_each_other_are_refused(self) -> None:
        """
        An alias has no other records, and a fragment is no zone.
        """
        self.assertRaises(ZoneUnreadable, parse_zone, "x. IN SOA y. z. 1 2 3 4 5\n")
        self.assertRaises(ZoneUnreadable, parse_zone, "x. IN A 10.0.0.1\nx. IN CNAME y.\n")

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, 800), st.text('\n\t"()\\$9x;.@ é\x00', min_size=1, max_size=3))
    def test_a_damaged_file_is_read_or_refused(self, place: int, damage: str) -> None:
        """
        And nothing else.
        """
        text = zone_text("example.com", PAIR)
        with contextlib.suppress(ZoneUnreadable):
            parse_zone(text[:place] + damage + text[place + len(damage) :])
