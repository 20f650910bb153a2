"""
Tests with the torture messages of RFC 4475.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.check import check
from sipxha.sip.grammar import MalformedField
from sipxha.sip.message import MalformedMessage, Request
from sipxha.sip.parser import parse_message
from sipxha.sip.values import Message
from tests.sip.samples import corpus
from tests.sip.verdicts import VERDICTS


def outcome(data: bytes) -> tuple[str, int]:
    """
    What becomes of a datagram, in the words of L{Verdict}.
    """
    try:
        message = parse_message(data)
        check(message)
        _ = message.contacts
    except MalformedMessage as found:
        return ("dropped", 0) if found.request is None else ("answered", found.status)
    except MalformedField as found:
        return "field", found.status
    return "accepted", 0


class VerdictTests(SynchronousTestCase):
    """
    Tests for all files at once.
    """

    def test_every_file_has_its_verdict(self) -> None:
        """
        And every verdict a file.
        """
        found = {name: outcome(data) for name, data in corpus().items()}
        self.assertEqual(
            found, {name: (verdict.outcome, verdict.status) for name, verdict in VERDICTS.items()}
        )

    def test_what_is_accepted_leaves_byte_for_byte(self) -> None:
        """
        Only inv2543 has no Content-Length, and gets one.
        """
        for name, data in corpus().items():
            if VERDICTS[name].outcome == "accepted":
                encoded = (
                    parse_message(data).encode().replace(b"\r\nContent-Length: 134\r\n\r\n", b"\r\n\r\n")
                )
                self.assertTrue(data.startswith(encoded) or name == "inv2543.dat", name)


class MeaningTests(SynchronousTestCase):
    """
    Tests for what the RFC says of single messages.
    """

    def message(self, name: str) -> Message:
        return parse_message(corpus()[name])

    def request(self, name: str) -> Request:
        message = self.message(name)
        assert isinstance(message, Request)
        return message

    def test_wsinv_is_an_invite_like_any_other(self) -> None:
        """
        3.1.1.1: blanks, folds, compact forms and odd case.
        """
        message = self.request("wsinv.dat")
        self.assertEqual(
            (message.to.tag, message.from_.tag, message.from_.name),
            ("1918181833n", "98asjd8", 'J Rosenberg \\"'),
        )
        self.assertEqual([via.transport for via in message.vias], ["UDP", "TCP", "UDP"])
        self.assertEqual([via.branch for via in message.vias], ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"])
        self.assertEqual((message.max_forwards, str(message.cseq)), (68, "9 INVITE"))
        self.assertEqual(message.get("newfangledheader"), "newfangled value continued newfangled value")
        self.assertEqual(message.contacts[0].params.get("q"), "0.33")
        self.assertEqual(message.contacts[0].name, 'Quoted string ""')
        self.assertEqual(message.routes[0].uri.params.get("unknown-no-value"), "")

    def test_intmeth_may_use_every_character(self) -> None:
        """
        3.1.1.2: of a token, a user and a Call-ID.
        """
        message = self.request("intmeth.dat")
        self.assertEqual(message.method, message.cseq.method)
        self.assertEqual(message.request_uri.password, "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)")
        self.assertEqual(message.to.name, "BEL:\x07 NUL:\0 DEL:\x7f")

    def test_esc01_has_a_user_that_looks_like_a_uri(self) -> None:
        """
        3.1.1.3: escapes are data.
        """
        message = self.request("esc01.dat")
        self.assertEqual(message.request_uri.identity(), "sips%3Auser%40example.com@example.net")
        self.assertEqual(message.to.uri.identity(), "user@example.com")
        self.assertEqual(message.contacts[0].uri.params.get("n%61me"), "v%61lue%25%34%31")

    def test_escnull_has_different_users(self) -> None:
        """
        3.1.1.4: an escaped NUL ends nothing.
        """
        message = self.request("escnull.dat")
        self.assertEqual([contact.uri.user for contact in message.contacts], ["%00", "%00%00"])

    def test_esc02_is_no_register(self) -> None:
        """
        3.1.1.5: escapes mean nothing in a method or a name.
        """
        message = self.request("esc02.dat")
        self.assertEqual((message.method, message.to.name), ("RE%47IST%45R", "%Z%45"))
        self.assertEqual(len(message.contacts), 2)

    def test_longreq_has_more_vias_than_most(self) -> None:
        """
        3.1.1.7: a request may come a long way.
        """
        self.assertEqual(len(self.message("longreq.dat").vias), 34)

    def test_dblreq_is_one_message(self) -> None:
        """
        3.1.1.8: the INVITE behind it is not there.
        """
        message = self.request("dblreq.dat")
        self.assertEqual((message.method, message.body), ("REGISTER", b""))

    def test_semiuri_has_a_user_with_a_semicolon(self) -> None:
        """
        3.1.1.9: it has no parameters.
        """
        uri = self.request("semiuri.dat").request_uri
        self.assertEqual((uri.user, len(uri.params)), ("user;par=u%40example.net", 0))

    def test_transports_need_not_be_known(self) -> None:
        """
        3.1.1.10: a proxy passes Vias of any transport.
        """
        vias = self.message("transports.dat").vias
        self.assertEqual([via.transport for via in vias], ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"])

    def test_mpart01_keeps_its_bytes(self) -> None:
        """
        3.1.1.11: the body is binary.
        """
        self.assertEqual(len(self.message("mpart01.dat").body), 553)

    def test_parameters_stay_on_their_side(self) -> None:
        """
        3.3.12 and 3.3.13: of the field without brackets, of the URI within.
        """
        bare, bracketed = self.message("cparam01.dat").contacts[0], self.message("cparam02.dat").contacts[0]
        self.assertEqual((str(bare.params), str(bare.uri.params)), (";unknownparam", ""))
        self.assertEqual((str(bracketed.params), str(bracketed.uri.params)), ("", ";unknownparam"))

    def test_regescrt_keeps_its_escaped_header(self) -> None:
        """
        3.3.14: within the Contact.
        """
        self.assertEqual(
            self.message("regescrt.dat").contacts[0].uri.headers, "Route=%3Csip:sip.example.com%3E"
        )

    def test_inv2543_needs_neither_tag_nor_branch(self) -> None:
        """
        3.4.1: it comes from an RFC 2543 element.
        """
        message = self.message("inv2543.dat")
        self.assertEqual((message.from_.tag, message.via.branch, message.max_forwards), (None, None, None))
