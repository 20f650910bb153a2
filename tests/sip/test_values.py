"""
Tests for L{sipxha.sip.values}.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.cseq import CSeq
from sipxha.sip.grammar import MalformedField
from sipxha.sip.message import Request
from sipxha.sip.parser import parse_message
from sipxha.sip.uri import Uri
from tests.sip.samples import a_request

_told = [
    attrgetter(name)
    for name in (
        *("outline", "via", "via_count", "from_tag", "to_tag"),
        *("call_id", "cseq", "max_forwards", "request_uri", "routes"),
    )
]

_CHANGES: list[Callable[[Request], object]] = [
    lambda message: message.prepend_via("SIP/2.0/TCP n:5080;branch=z9hG4bKn", "n", "n:5080", "z9hG4bKn"),
    lambda message: message.prepend("via", "SIP/2.0/UDP p, SIP/2.0/UDP q;branch=z9hG4bKq"),
    lambda message: message.remove_first("via") if message.via_count > 1 else None,
    lambda message: message.replace_first("via", "SIP/2.0/TLS r;branch=z9hG4bKr"),
    lambda message: message.set("from", "<sip:x@y>;tag=other"),
    lambda message: message.set("t", "sip:x@y;tag=%22;odd"),
    lambda message: message.set("call-id", "another"),
    lambda message: message.set("cseq", "7 OPTIONS"),
    lambda message: message.remove("max-forwards"),
    lambda message: message.set("max-forwards", "5"),
    lambda message: setattr(message, "max_forwards", 200),
    lambda message: setattr(message, "uri", "sip:elsewhere.example.com"),
    lambda message: setattr(message, "request_uri", Uri("sip", "there", host="h", port=5070)),
    lambda message: message.prepend("route", "<sip:r;lr>"),
    lambda message: message.remove_first("route"),
]


class KeptValueTests(SynchronousTestCase):
    """
    Tests for what is kept of the values that were read.
    """

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from(_CHANGES), st.sets(st.sampled_from(_told)))))
    def test_what_is_kept_is_what_would_be_read(
        self,
        steps: list[tuple[bool, Callable[[Request], object], set[Callable[[Request], object]]]],
    ) -> None:
        """
        Whatever was read before a change, and whatever was changed.
        """
        message = a_request("Via: SIP/2.0/TCP b")
        for is_copied, change, reads in steps:
            if is_copied:
                message = message.copy()
            for read in reads:
                read(message)
            change(message)
        fresh = parse_message(message.encode())
        for read in _told:
            self.assertEqual(read(message), read(fresh))


class ValueTests(SynchronousTestCase):
    """
    Tests for values that are read on demand.
    """

    def test_every_kind_of_value_is_read(self) -> None:
        """
        The fields that route a message.
        """
        message = a_request(
            "Via: SIP/2.0/TCP b, SIP/2.0/UDP c",
            "Route: <sip:r1;lr>, <sip:r2;lr>",
            "Record-Route: <sip:rr;lr>",
            "Contact: <sip:c1>, sip:c2;q=0.1",
            "Expires: 60",
        )
        self.assertEqual(message.via.branch, "z9hG4bK-1")
        self.assertEqual([via.host for via in message.vias], ["192.0.2.1", "b", "c"])
        self.assertEqual((message.from_.tag, message.to.tag), ("a", None))
        self.assertEqual((message.call_id, message.cseq), ("call-1", CSeq(1, "OPTIONS")))
        self.assertEqual([route.uri.host for route in message.routes], ["r1", "r2"])
        self.assertEqual([route.uri.host for route in message.record_routes], ["rr"])
        self.assertEqual([contact.params.get("q") for contact in message.contacts], [None, "0.1"])
        self.assertEqual((message.max_forwards, message.expires), (70, 60))
        self.assertEqual(message.request_uri.user, "bob")
        self.assertFalse(message.is_star_contact)

    def test_a_value_follows_its_field(self) -> None:
        """
        However the field is changed.
        """
        message = a_request("Route: <sip:r1>, <sip:r2>")
        for read in (lambda: message.via, lambda: message.vias, lambda: message.routes, lambda: message.to):
            read()
        message.prepend("via", "SIP/2.0/TCP new")
        self.assertEqual((message.via.host, len(message.vias)), ("new", 2))
        message.replace_first("via", "SIP/2.0/TCP newer")
        self.assertEqual((message.via.host, message.vias[0].host), ("newer", "newer"))
        message.remove_first("via")
        self.assertEqual(message.via.host, "192.0.2.1")
        message.remove_first("route")
        self.assertEqual([route.uri.host for route in message.routes], ["r2"])
        message.set("t", "<sip:x@y>;tag=1")
        self.assertEqual(message.to.tag, "1")
        message.uri = "sip:new@z"
        self.assertEqual(message.request_uri.host, "z")

    def test_a_list_that_was_handed_out_is_the_callers(self) -> None:
        """
        Changing it changes no message.
        """
        message = a_request("Route: <sip:r1>")
        message.routes.clear()
        message.vias.clear()
        self.assertEqual((len(message.routes), len(message.vias)), (1, 1))

    def test_the_star_is_no_address(self) -> None:
        """
        Those beside it are still seen, so that they can be refused (R11).
        """
        self.assertTrue(a_request("Contact: *").is_star_contact)
        self.assertEqual(a_request("Contact: *").contacts, [])
        both = a_request("Contact: *, <sip:a>", "Contact: sip:b")
        self.assertTrue(both.is_star_contact)
        self.assertEqual([contact.uri.host for contact in both.contacts], ["a", "b"])
        self.assertFalse(a_request("Contact: <sip:*72@a>, <sip:b>").is_star_contact)

    def test_M11_an_expires_that_cannot_be_read_is_an_hour(self) -> None:
        """
        RFC 3261 section 20.19.
        """
        for text, seconds in (
            ("0", 0),
            ("007", 7),
            ("4294967295", 4294967295),
            ("4294967296", 3600),
            ("9" * 5000, 3600),
            ("-1", 3600),
            ("soon", 3600),
            ("", 3600),
            ("\u0663", 3600),
        ):
            self.assertEqual(a_request(f"Expires: {text}").expires, seconds)
        self.assertIsNone(a_request().expires)

    def test_max_forwards_is_one_byte(self) -> None:
        """
        RFC 3261 section 20.22.
        """
        for text in ("256", "-1", "x", ""):
            with self.assertRaises(MalformedField):
                _ = a_request(f"Max-Forwards: {text}", without="Max-Forwards").max_forwards
        self.assertEqual(a_request("Max-Forwards: 0068", without="Max-Forwards").max_forwards, 68)
        self.assertIsNone(a_request(without="Max-Forwards").max_forwards)

    def test_a_bad_value_is_found_each_time_and_names_its_field(self) -> None:
        """
        Nothing bad is remembered as good.
        """
        message = a_request("To: <sip:a", "Call-ID: a b", "Route: junk", 'Via: "', without="To")
        message.remove("call-id")
        message.add("call-id", "a b")
        for _ in range(2):
            for name, read in (
                ("to", lambda: message.to),
                ("call-id", lambda: message.call_id),
                ("route", lambda: message.routes),
                ("via", lambda: message.vias),
                ("cseq", lambda: Request("X", "sip:a").cseq),
                ("via", lambda: Request("X", "sip:a").via),
            ):
                with self.assertRaises(MalformedField) as raised:
                    read()
                self.assertEqual(raised.exception.name, name)

    def test_there_are_limits_to_every_list(self) -> None:
        """
        32 values each (standards.md D.4).
        """
        message = a_request("Route: " + ", ".join(["<sip:r>"] * 32))
        self.assertEqual(len(message.routes), 32)
        message.add("route", "<sip:r>")
        with self.assertRaises(MalformedField):
            _ = message.routes
