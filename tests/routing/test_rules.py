"""
Tests for L{sipxha.routing.rules}.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network

from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.rules import BY_AUTHPROXY, DIRECT, FieldMatch, ForwardingRules, MethodMatch, Route
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

HOME = frozenset({("example.com", None), ("10.1.1.50", None)})
RULES = ForwardingRules(
    [
        Route(
            HOME,
            (
                MethodMatch(
                    frozenset({"SUBSCRIBE"}),
                    (
                        FieldMatch("event", (re.compile("message-summary"),), "sip:mwi;lr"),
                        FieldMatch("x-any", (), "sip:any;lr"),
                    ),
                    None,
                ),
                MethodMatch(frozenset({"PUBLISH"}), (), "sip:publish;lr"),
            ),
            None,
        ),
        Route(HOME, (), "sip:rr;lr"),
        Route(frozenset({("pbx.example.com", 5070)}), (), "sip:other;lr"),
    ]
)


def target(uri: str, method: str = "INVITE", **fields: str) -> str | None:
    """
    @return: where such a request goes.
    """
    made = Request(method, uri, [(name.replace("_", "-"), value) for name, value in fields.items()])
    return RULES.route(Uri.parse(uri), made)


class ForwardingRulesTests(SynchronousTestCase):
    """
    The sipX language of routes.
    """

    def test_hosts_are_case_blind_and_5060_is_no_port(self) -> None:
        """
        As sipX compares them; any other port must be equal.
        """
        for uri in ("sip:201@example.com", "sip:201@EXAMPLE.com:5060", "sip:10.1.1.50"):
            self.assertEqual(target(uri), "sip:rr;lr")
        self.assertIsNone(target("sip:201@example.com:5070"))
        self.assertEqual(target("sip:201@pbx.example.com:5070"), "sip:other;lr")
        self.assertIsNone(target("sip:201@pbx.example.com"))

    def test_a_method_wins_over_the_route(self) -> None:
        """
        In the order of the file.
        """
        self.assertEqual(target("sip:201@example.com", "PUBLISH"), "sip:publish;lr")

    def test_fields_are_anchored_at_the_start_only(self) -> None:
        """
        message-summary matches message-summary;x too, but not in the middle.
        """
        self.assertEqual(target("sip:201@example.com", "SUBSCRIBE", event="message-summary;x"), "sip:mwi;lr")
        self.assertEqual(target("sip:201@example.com", "SUBSCRIBE", event="x-message-summary"), "sip:rr;lr")

    def test_a_field_without_pattern_needs_only_to_be_there(self) -> None:
        """
        Any value will do.
        """
        self.assertEqual(target("sip:201@example.com", "SUBSCRIBE", x_any=""), "sip:any;lr")

    def test_a_route_that_yields_nothing_leaves_the_search_going(self) -> None:
        """
        The first route names the host, but only the second has a target.
        """
        self.assertEqual(target("sip:201@example.com", "SUBSCRIBE"), "sip:rr;lr")

    def test_networks_and_wildcards_name_hosts(self) -> None:
        """
        In the order of the file, beside those that are written out.
        """
        rules = ForwardingRules(
            [
                Route(frozenset(), (), "sip:branch;lr", domains=(".branch.example.com",)),
                Route(frozenset({("a.branch.example.com", None), ("10.1.2.9", None)}), (), "sip:a;lr"),
                Route(frozenset(), (), "sip:net;lr", networks=(IPv4Network("10.1.2.0/24"),)),
            ]
        )
        request = Request("INVITE", "sip:x@y", [])
        for host, goes_to in (
            ("A.branch.example.com", "sip:branch;lr"),
            ("branch.example.com", None),
            ("10.1.2.9", "sip:a;lr"),
            ("10.1.2.8:5080", "sip:net;lr"),
            ("10.1.3.8", None),
            ("10.1.2.999", None),
        ):
            uri = Uri.parse(f"sip:201@{host}")
            self.assertEqual(rules.route(uri, request), goes_to, host)
            self.assertEqual(rules.serves(uri), goes_to is not None, host)

    def test_what_has_no_server_says_whether_the_authproxy_is_asked(self) -> None:
        """
        Such hosts are not ours to open to strangers.
        """
        rules = ForwardingRules(
            [
                Route(frozenset({("free.net", None)}), (), DIRECT),
                Route(frozenset({("paid.net", None)}), (), BY_AUTHPROXY),
                Route(frozenset(), (), "sip:x;lr", domains=(".net", "paid.net")),
            ]
        )
        request = Request("INVITE", "sip:x@y", [])
        self.assertEqual(rules.route(Uri.parse("sip:1@free.net"), request), DIRECT)
        self.assertIsNone(rules.route(Uri.parse("sip:1@paid.net"), request))
        self.assertFalse(rules.serves(Uri.parse("sip:1@free.net")))

    def test_what_a_method_or_field_leads_somewhere_is_singled_out(self) -> None:
        """
        All else goes where its host goes.
        """
        uri = Uri.parse("sip:201@example.com")
        for event, expected in (("message-summary", True), ("presence", False)):
            request = Request("SUBSCRIBE", str(uri), [("event", event)])
            self.assertEqual(RULES.singles_out(uri, request), expected, event)
        self.assertTrue(RULES.singles_out(uri, Request("PUBLISH", str(uri), [])))
        self.assertFalse(RULES.singles_out(Uri.parse("sip:1@elsewhere.net"), request))

    def test_foreign_hosts_have_no_rule(self) -> None:
        """
        They go to the authproxy.
        """
        self.assertIsNone(target("sip:201@elsewhere.net"))
        self.assertFalse(RULES.serves(Uri.parse("sip:201@elsewhere.net")))
        self.assertTrue(RULES.serves(Uri.parse("sip:201@example.com")))
