"""
Tests for L{sipxha.sip.via}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.grammar import MalformedField
from sipxha.sip.via import Via
from tests.sip.samples import hosts, params_texts, ports


class ViaTests(SynchronousTestCase):
    """
    Tests for L{Via}.
    """

    def test_every_part_is_found(self) -> None:
        """
        The transport in upper case, the rest as sent.
        """
        via = Via.parse("SIP/2.0/udp Host.example.com:5070;rport=99;received=192.0.2.7;branch=z9hG4bKa")
        self.assertEqual((via.transport, via.host, via.port), ("UDP", "Host.example.com", 5070))
        self.assertEqual((via.branch, via.received, via.rport), ("z9hG4bKa", "192.0.2.7", "99"))
        self.assertEqual(via.sent_by, "host.example.com:5070")

    def test_what_is_not_there_is_none(self) -> None:
        """
        An rport that asks for one is empty (RFC 3581).
        """
        via = Via.parse("SIP/2.0/TLS [2001:db8::9];rport")
        self.assertEqual((via.port, via.branch, via.received, via.rport), (None, None, None, ""))
        self.assertEqual(via.sent_by, "[2001:db8::9]:5061")
        self.assertEqual(Via.parse("SIP/2.0/TCP h").sent_by, "h:5060")

    def test_blanks_may_stand_around_every_sign(self) -> None:
        """
        RFC 4475 section 3.1.1.1.
        """
        via = Via.parse("SIP  / 2.0  / TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8  ")
        self.assertEqual(
            (via.transport, via.host, via.branch), ("TCP", "spindle.example.com", "z9hG4bK9ikj8")
        )

    def test_other_text_is_malformed(self) -> None:
        """
        Among it what once crashed other servers.
        """
        for text in (
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/UDP :]",
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "SIP/2.0 UDP h",
            "SIP/2.0/UDP h:0",
            "SIP/2.0/UDP h:65536",
            "SIP/2.0/UDP h;rport=x",
            "SIP/2.0/UDP h;rport=\u0663",
            "SIP/2.0/UDP h junk",
            "SIP/2.0/UDP <h>",
        ):
            with self.assertRaises(MalformedField, msg=text):
                Via.parse(text)

    def test_M14_received_and_rport_can_be_noted(self) -> None:
        """
        Where the sender asked for the port, there it is filled in.
        """
        via = Via.parse("SIP/2.0/UDP h:5060;rport;branch=z9hG4bKx")
        noted = via.with_param("rport", "1234").with_param("received", "2001:db8::5")
        self.assertEqual(str(noted), "SIP/2.0/UDP h:5060;rport=1234;branch=z9hG4bKx;received=2001:db8::5")
        self.assertEqual(Via.parse(str(noted)).received, "2001:db8::5")

    @given(st.sampled_from(["SIP/2.0/UDP", "sip / 2.0 /TLS", "SIP/2.0/X-y"]), hosts, ports, params_texts)
    def test_a_via_is_printed_as_it_came(self, protocol: str, host: str, port: str, params: str) -> None:
        """
        And when its text is composed anew, the same is read back.
        """
        text = f"{protocol} {host}{port}{params}"
        try:
            via = Via.parse(text)
        except MalformedField:
            self.assertIn("rport", text.lower())
            return
        self.assertEqual(str(via), text)
        self.assertEqual(Via.parse(str(via._replace(raw="")))._replace(raw=""), via._replace(raw=""))
