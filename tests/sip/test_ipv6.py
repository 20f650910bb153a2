"""
IPv6 addresses wherever the grammar has a host: RFC 5118, and RFC 3261 section
25.1.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.check import check
from sipxha.sip.grammar import MalformedField, ipv6_address
from sipxha.sip.message import MalformedMessage, Message
from sipxha.sip.uri import Uri
from sipxha.sip.via import Via
from tests.sip.samples import a_request

GOOD = (
    "[2001:db8::9:1]",
    "[::1]",
    "[::]",
    "[::ffff:192.0.2.1]",
    "[2001:DB8:0:0:0:0:9:255]",
    # RFC 5118 section 4.10: what the grammar of RFC 3261 asked for by mistake.
    "[2001:db8:::192.0.2.1]",
)
BAD = (
    "2001:db8::9:1",
    "[2001:db8::9:1",
    "2001:db8::9:1]",
    "[2001:db8:::9:1]",
    "[:::1]",
    "[1::2::3]",
    "[1:2:3]",
    "[1:2:3:4:5:6:7:8:9]",
    "[12345::1]",
    "[::g]",
    "[192.0.2.1]",
    "[::192.0.2.256]",
    "[fe80::1%eth0]",
    "[]",
    "[[::1]]",
    "[::1]x",
)


class ReferenceTests(SynchronousTestCase):
    """
    Tests for L{ipv6_address} and the hosts it is asked about.
    """

    def read(self, message: Message) -> None:
        """
        Read every field that holds a host.
        """
        check(message)
        for values in (message.vias, message.contacts, message.routes, message.record_routes):
            self.assertTrue(values)

    def lines(self, place: str, host: str) -> tuple[list[str], str]:
        """
        The fields of a request with this host at one place, and its start line.
        """
        at = {name: host if name == place else "h" for name in (*PLACES, "start")}
        return [
            f"Via: SIP/2.0/UDP {at['Via']}:5060;branch=z9hG4bKx",
            f"Via: SIP/2.0/UDP {at['Via below']};branch=z9hG4bKy",
            f"From: <sip:a@{at['From']}>;tag=a",
            f"To: sip:{at['To']}:5070",
            f"Contact: <sip:a@{at['Contact']}:5060;lr>, <sip:{at['Contact']}>",
            f"Route: <sip:{at['Route']};lr>",
            f"Record-Route: <sip:{at['Record-Route']};lr>",
        ], f"OPTIONS sip:a:b@{at['Request-URI']}:5060;x SIP/2.0"

    def request(self, place: str, host: str) -> Message:
        lines, start = self.lines(place, host)
        message = a_request(*lines[1:], start=start, without="Via")
        for name in ("from", "to"):
            message.remove(name)
        message.prepend("via", lines[0].partition(": ")[2])
        message.add("from", lines[2].partition(": ")[2])
        message.add("to", lines[3].partition(": ")[2])
        return message

    def test_a_good_reference_is_read_everywhere(self) -> None:
        """
        As sent, brackets and all.
        """
        for place in PLACES:
            for host in GOOD:
                self.read(self.request(place, host))
        uri = Uri.parse("sip:a@[2001:db8::9:1]:5070;maddr=[::1]?h=x")
        self.assertEqual((uri.host, uri.port, uri.params.get("maddr")), ("[2001:db8::9:1]", 5070, "[::1]"))

    def test_a_bad_one_is_refused_everywhere(self) -> None:
        """
        Nothing is guessed.
        """
        for place in PLACES:
            for host in BAD:
                with self.assertRaises((MalformedMessage, MalformedField), msg=(place, host)):
                    self.read(self.request(place, host))

    def test_a_port_within_the_brackets_is_part_of_the_address(self) -> None:
        """
        RFC 5118 section 4.3: then there is no other.
        """
        uri = Uri.parse("sip:[2001:db8::10:5070]")
        self.assertEqual((uri.host, uri.port), ("[2001:db8::10:5070]", None))
        self.assertEqual(str(ipv6_address(uri.host)), "2001:db8::10:5070")

    def test_received_is_read_with_and_without_brackets(self) -> None:
        """
        RFC 5118 section 4.5.
        """
        for received in ("[2001:db8::9:255]", "2001:db8::9:255"):
            via = Via.parse(f"SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKx")
            self.assertEqual(via.received, received)

    def test_spellings_of_one_address_are_equivalent(self) -> None:
        """
        19.1.4 compares hosts, not their text.
        """
        one = Uri.parse("sip:a@[2001:db8::1]")
        for host in ("[2001:DB8::1]", "[2001:db8:0:0:0:0:0:1]", "[2001:0db8::0001]"):
            self.assertTrue(one.equivalent(Uri.parse(f"sip:a@{host}")))
        self.assertFalse(one.equivalent(Uri.parse("sip:a@[2001:db8::2]")))


PLACES = ("Via", "Via below", "From", "To", "Contact", "Route", "Record-Route", "Request-URI")
