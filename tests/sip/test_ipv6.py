"""
IPv6 addresses wherever the grammar has a host: RFC 3261 section 25.1, and
messages for the cases of RFC 5118.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.check import check
from sipxha.sip.grammar import MalformedField, ipv6_address
from sipxha.sip.message import MalformedMessage, Request
from sipxha.sip.parser import parse_message
from sipxha.sip.uri import Uri
from sipxha.sip.values import Message
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

    def test_spellings_of_one_address_are_equivalent(self) -> None:
        """
        19.1.4 compares hosts, not their text.
        """
        one = Uri.parse("sip:a@[2001:db8::1]")
        for host in ("[2001:DB8::1]", "[2001:db8:0:0:0:0:0:1]", "[2001:0db8::0001]"):
            self.assertTrue(one.equivalent(Uri.parse(f"sip:a@{host}")))
        self.assertFalse(one.equivalent(Uri.parse("sip:a@[2001:db8::2]")))


PLACES = ("Via", "Via below", "From", "To", "Contact", "Route", "Record-Route", "Request-URI")


def message(
    start: str, *fields: str, via: str = "[2001:db8::9:1]", contact: str = "", sdp: tuple[str, ...] = ()
) -> bytes:
    """
    A message as our phones on IPv6 write them.
    """
    method = start.partition(" ")[0]
    body = "".join(f"{line}\r\n" for line in sdp)
    lines = [
        f"{start} SIP/2.0",
        f"Via: SIP/2.0/UDP {via};branch=z9hG4bK-{method.lower()}-6",
        *fields,
        "Max-Forwards: 70",
        "From: Carol <sip:carol@example.com>;tag=c6",
        "To: <sip:dave@example.com>",
        "Call-ID: six@[2001:db8::9:1]",
        f"CSeq: 6 {method}",
    ]
    if contact:
        lines.append(f"Contact: {contact}")
    if sdp:
        lines.append("Content-Type: application/sdp")
    lines += [f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


CAROL = "<sip:carol@[2001:db8::9:1]>"
INVITE = "INVITE sip:dave@[2001:db8::10]"

RFC5118 = {
    "ipv6-good": message("REGISTER sip:[2001:db8::10]", contact=CAROL),
    "ipv6-bad": message("REGISTER sip:2001:db8::10", contact=CAROL),
    "port-ambiguous": message("REGISTER sip:[2001:db8::10:5070]", contact=CAROL),
    "port-unambiguous": message("REGISTER sip:[2001:db8::10]:5070", contact=CAROL),
    "via-received-param-with-delim": message(
        "BYE sip:[2001:db8::10]", via="[2001:db8::9:1];received=[2001:db8::9:255]"
    ),
    "via-received-param-no-delim": message(
        "BYE sip:[2001:db8::10]", via="[2001:db8::9:1];received=2001:db8::9:255"
    ),
    "ipv6-in-sdp": message(
        INVITE,
        contact=CAROL,
        sdp=("v=0", "o=carol 1 1 IN IP6 2001:db8::9:1", "s=-", "c=IN IP6 2001:db8::9:1", "t=0 0"),
    ),
    "mult-ip-in-header": message(
        "BYE sip:dave@[2001:db8::10]",
        "Via: SIP/2.0/UDP 192.0.2.1;received=2001:db8::9:255;branch=z9hG4bK-4",
        "Via: SIP/2.0/TCP [2001:db8::9:2]:5070;received=192.0.2.55;branch=z9hG4bK-5",
        "Route: <sip:[2001:db8::a];lr>, <sip:192.0.2.10;lr>",
    ),
    "mult-ip-in-sdp": message(
        INVITE,
        contact=CAROL,
        sdp=(
            "v=0",
            "o=carol 1 1 IN IP4 192.0.2.7",
            "s=-",
            "t=0 0",
            "m=audio 6000 RTP/AVP 0",
            "c=IN IP6 2001:db8::9:1",
            "m=video 6024 RTP/AVP 31",
            "c=IN IP4 192.0.2.7",
        ),
    ),
    "ipv4-mapped-ipv6": message(
        INVITE,
        via="[::ffff:192.0.2.2]:5070",
        contact="Carol <sip:carol@[::ffff:192.0.2.2]:5070>",
        sdp=("v=0", "o=carol 1 1 IN IP6 ::ffff:192.0.2.2", "s=-", "c=IN IP6 ::ffff:192.0.2.2", "t=0 0"),
    ),
    "ipv6-bug-abnf-3-colons": message("OPTIONS sip:dave@[2001:db8:::192.0.2.1]"),
    "ipv6-correct-abnf-2-colons": message("OPTIONS sip:dave@[2001:db8::192.0.2.1]"),
}
"""By the names that RFC 5118 gives its messages; these are not its own."""


class TortureTests(SynchronousTestCase):
    """
    Tests for messages like those of RFC 5118.
    """

    def read(self, name: str) -> Request:
        """
        A message that every element lets pass.
        """
        found = parse_message(RFC5118[name])
        check(found)
        assert isinstance(found, Request)
        return found

    def test_all_but_one_pass_and_leave_byte_for_byte(self) -> None:
        """
        The addresses in a body are nobody's business (4.6, 4.8).
        """
        for name in sorted(RFC5118.keys() - {"ipv6-bad"}):
            found = self.read(name)
            self.assertTrue(found.vias, name)
            self.assertEqual(len(found.contacts), found.count("contact"), name)
            self.assertEqual(found.encode(), RFC5118[name], name)
            # As one that was changed since.
            found.set("to", found.get("to") or "")
            self.assertEqual(found.encode(), RFC5118[name], name)

    def test_an_address_without_brackets_is_refused(self) -> None:
        """
        4.2: nobody knows what in it would be the port; 4.1 is clear.
        """
        self.assertEqual(self.read("ipv6-good").request_uri.host, "[2001:db8::10]")
        with self.assertRaises(MalformedMessage) as raised:
            self.read("ipv6-bad")
        self.assertEqual((raised.exception.status, raised.exception.reason), (400, "Bad Request-URI"))
        self.assertIsNotNone(raised.exception.request)

    def test_a_port_within_the_brackets_is_part_of_the_address(self) -> None:
        """
        4.3: then there is no other; 4.4: behind them it is one.
        """
        uri = self.read("port-ambiguous").request_uri
        self.assertEqual((uri.host, uri.port), ("[2001:db8::10:5070]", None))
        self.assertEqual(str(ipv6_address(uri.host)), "2001:db8::10:5070")
        uri = self.read("port-unambiguous").request_uri
        self.assertEqual((uri.host, uri.port), ("[2001:db8::10]", 5070))

    def test_received_is_read_with_and_without_brackets(self) -> None:
        """
        4.5.
        """
        for name, received in (("with", "[2001:db8::9:255]"), ("no", "2001:db8::9:255")):
            via = self.read(f"via-received-param-{name}-delim").via
            self.assertEqual((via.host, via.received), ("[2001:db8::9:1]", received))

    def test_both_families_can_be_in_one_message(self) -> None:
        """
        4.7.
        """
        found = self.read("mult-ip-in-header")
        self.assertEqual(
            [(via.host, via.port, via.received) for via in found.vias],
            [
                ("[2001:db8::9:1]", None, None),
                ("192.0.2.1", None, "2001:db8::9:255"),
                ("[2001:db8::9:2]", 5070, "192.0.2.55"),
            ],
        )
        self.assertEqual([route.uri.host for route in found.routes], ["[2001:db8::a]", "192.0.2.10"])

    def test_a_mapped_address_is_one_of_ipv6(self) -> None:
        """
        4.9: brackets and all; it does not become the address of IPv4 in it.
        """
        found = self.read("ipv4-mapped-ipv6")
        (contact,) = found.contacts
        for place in (found.via, contact.uri):
            self.assertEqual((place.host, place.port), ("[::ffff:192.0.2.2]", 5070))
        self.assertFalse(contact.uri.equivalent(Uri.parse("sip:carol@192.0.2.2:5070")))

    def test_a_third_colon_is_forgiven(self) -> None:
        """
        4.10: it means what two mean.
        """
        three, two = (
            self.read(name).request_uri for name in ("ipv6-bug-abnf-3-colons", "ipv6-correct-abnf-2-colons")
        )
        self.assertEqual(three.host, "[2001:db8:::192.0.2.1]")
        self.assertEqual(ipv6_address(three.host), ipv6_address(two.host))
        self.assertTrue(three.equivalent(two))
