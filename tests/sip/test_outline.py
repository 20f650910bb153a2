"""
Tests for L{sipxha.sip.outline}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.check import check_by_field
from sipxha.sip.grammar import MalformedField
from sipxha.sip.limits import MessageLimits
from sipxha.sip.message import MalformedMessage, Request, Response
from sipxha.sip.outline import USUAL_IDENTIFIER, USUAL_PARAMS, Outline
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from sipxha.sip.values import Message
from tests.sip.samples import a_request, datagram, mutated_messages

LONG = "x" * 200

VIAS = (
    "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK-1",
    "SIP/2.0/TLS Host.Example.com;branch=z9hG4bKa.b;rport=99;received=192.0.2.7;alias",
    "SIP/2.0/TCP h:65535;branch=z9hG4bKx",
    "SIP/2.0/TCP h:0;branch=z9hG4bKx",
    "SIP/2.0/UDP h:65536;branch=z9hG4bKx",
    "SIP/2.0/UDP a..b;branch=z9hG4bKx",
    "SIP/2.0/UDP h;branch=z9hG4bK",
    "SIP/2.0/UDP h;branch=1",
    "SIP/2.0/UDP h;rport=x;branch=z9hG4bKx",
    "SIP/2.0/UDP h;branch=z9hG4bKx, SIP/2.0/UDP i;branch=z9hG4bKy",
    "SIP/2.0/UDP h;branch=z9hG4bKx , <",
    "SIP/2.0/UDP h;branch=z9hG4bKx,",
    "SIP/2.0/UDP [2001:db8::1];branch=z9hG4bKx",
    f"SIP/2.0/UDP h;branch=z9hG4bK{LONG}",
)
ADDRESSES = (
    "<sip:alice@example.com>;tag=a",
    "<sips:example.com>",
    "Alice <sip:a@b:5070;lr;transport=tcp>;tag=a-1!",
    '"A. B" <sip:a@b>',
    '"A\r\n B" <sip:a@b>',
    "sip:alice@example.com;tag=b",
    "<sip:a@b>;tag=",
    "<sip:a@b>;tag=a;tag=b",
    "<sip:a@b;;x>",
    "<sip:a@b;a;b;c;d;e>",
    "<tel:+1>;tag=a",
    "<sip:a@b",
    f"<sip:a@b>;tag={LONG}",
)
START = "OPTIONS sip:bob@example.com SIP/2.0"


class OutlineTests(SynchronousTestCase):
    """
    Tests for L{Outline} and the pattern that reads it.
    """

    def agrees(self, message: Message) -> bool:
        """
        Whether a message is usual; if so, all of it is also well-formed for
        those who read field by field, and says the same to them.
        """
        usual = message.usual_outline()
        if usual is None:
            return False
        assert isinstance(message, Request | Response)
        again = message.copy()
        again._typed.clear()
        self.assertEqual(again._outline_by_field(), usual)
        try:
            check_by_field(again)
        except MalformedMessage as found:
            self.assertEqual(found.reason, "CSeq Does Not Match Method")
        return True

    def test_what_tells_messages_apart_is_read(self) -> None:
        """
        Of requests and responses alike.
        """
        expected = Outline("192.0.2.1", "192.0.2.1:5060", "z9hG4bK-1", "a", None, 1, "OPTIONS")
        self.assertEqual(a_request().usual_outline(), expected)
        answer = response_to(a_request(), 200, to_tag="t")
        self.assertEqual(answer.usual_outline(), expected._replace(to_tag="t"))
        self.assertEqual(a_request("v: SIP/2.0/UDP [::1]", without="Via").outline.sent_by, "[::1]:5060")

    def test_most_messages_are_usual(self) -> None:
        """
        What phones send is; this would be slow else, and nothing more.
        """
        for line in (
            "Via: " + VIAS[0],
            "v:" + VIAS[1],
            "Via: " + VIAS[9],
            "f: " + ADDRESSES[0],
            "To:" + ADDRESSES[2],
        ):
            name = {"v": "Via", "f": "From"}.get(line[0], line.partition(":")[0])
            self.assertTrue(self.agrees(a_request(line, without=name)), line)
        self.assertTrue(self.agrees(a_request(without="Max-Forwards")))

    def test_M09_a_field_that_is_there_twice_is_not_usual(self) -> None:
        """
        Nor is one that is missing.
        """
        for line in ("i: x", "cseq: 1 OPTIONS", "f: <sip:a>", "T: <sip:b>", "max-forwards: 70"):
            self.assertIsNone(a_request(line).usual_outline(), line)
        for name in ("Via", "From", "To", "Call-ID", "CSeq"):
            self.assertIsNone(a_request(without=name).usual_outline(), name)

    def test_a_via_of_our_own_needs_no_reading(self) -> None:
        """
        What the outline says of it is what reading finds, whether or not the
        rest was read before.
        """
        for is_read in (True, False):
            message = a_request()
            if is_read:
                message.usual_outline()
            message.prepend_via(
                "SIP/2.0/TCP 10.0.0.1:5080;branch=z9hG4bKown", "10.0.0.1", "10.0.0.1:5080", "z9hG4bKown"
            )
            self.assertEqual(message.outline, parse_message(message.encode()).outline)
            self.assertEqual(message.outline.branch, "z9hG4bKown")
            self.assertEqual(message.via.port, 5080)

    def test_vias_are_counted_unread(self) -> None:
        """
        However they are written; too many are an error all the same.
        """
        message = a_request("Via: SIP/2.0/UDP h;branch=z9hG4bKx, ???")
        self.assertEqual(message.via_count, 3)
        self.assertRaises(MalformedField, lambda: message.vias)
        message.set("via", "SIP/2.0/UDP h;branch=z9hG4bKx, SIP/2.0/UDP i")
        self.assertEqual((len(message.vias), message.via_count), (2, 2))
        many = parse_message(datagram(), MessageLimits(vias=0))
        self.assertRaises(MalformedField, lambda: many.via_count)

    def test_tags_are_known_with_and_without_an_outline(self) -> None:
        """
        From the fields where nothing was read yet.
        """
        for is_read in (True, False):
            message = a_request("To: <sip:b@h>;tag=2", without="To")
            if is_read:
                message.usual_outline()
            self.assertEqual((message.from_tag, message.to_tag), (message.from_.tag, "2"))

    def test_a_change_of_a_field_changes_the_outline(self) -> None:
        """
        Nothing stale is told.
        """
        message = a_request()
        self.assertEqual(message.outline.branch, "z9hG4bK-1")
        message.prepend("via", "SIP/2.0/TLS h;branch=z9hG4bKnew")
        self.assertEqual((message.outline.branch, message.outline.sent_by), ("z9hG4bKnew", "h:5061"))
        message.set("to", "<sip:a@b>;tag=2")
        message.set("cseq", "7 OPTIONS")
        self.assertEqual((message.outline.to_tag, message.outline.number), ("2", 7))
        self.assertEqual(message.cseq.number, 7)

    def test_narrow_limits_make_every_message_unusual(self) -> None:
        """
        The pattern has its own, and must not let more through.
        """
        for limits in (
            MessageLimits(identifier=USUAL_IDENTIFIER - 1),
            MessageLimits(uri_params=USUAL_PARAMS - 1),
        ):
            self.assertIsNone(parse_message(datagram(), limits).usual_outline())

    @given(
        st.sampled_from(VIAS),
        st.sampled_from(ADDRESSES),
        st.sampled_from(ADDRESSES),
        st.sampled_from(["c", "a@b", "a b", LONG, "\u00e4"]),
        st.sampled_from(
            ["1 OPTIONS", "0001 INVITE", "2147483648 OPTIONS", "999999999 OPTIONS", "1  OPTIONS"]
        ),
        st.sampled_from(["70", "255", "256", "x", ""]),
        st.sampled_from([START, "OPTIONS sip:b?x=y SIP/2.0", "OPTIONS tel:1 SIP/2.0", "SIP/2.0 200 OK"]),
    )
    def test_what_is_usual_is_well_formed(
        self, via: str, from_: str, to: str, call_id: str, cseq: str, forwards: str, start: str
    ) -> None:
        """
        Whatever stands in each of the fields.
        """
        lines = [f"Via: {via}", f"From: {from_}", f"To: {to}", f"Call-ID: {call_id}"]
        lines += [f"CSeq: {cseq}", f"Max-Forwards: {forwards}"]
        self.agrees(parse_message("\r\n".join([start, *lines, "", ""]).encode()))

    @given(mutated_messages())
    def test_what_is_usual_of_any_bytes_is_well_formed(self, data: bytes) -> None:
        """
        No byte makes the pattern see what the others do not.
        """
        try:
            message = parse_message(data)
        except MalformedMessage:
            return
        self.agrees(message)
