"""
Tests for L{sipxha.routing.route}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.route import (
    OwnNames,
    adapt_to_strict_router,
    next_hop,
    push_route,
    take_own_maddr,
    take_own_routes,
)
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

NAMES = OwnNames([("10.1.1.50", 5080), ("ap.sipx1.example.com", None)])


def request(uri: str, *routes: str) -> Request:
    """
    @return: an INVITE with these Route rows.
    """
    return Request("INVITE", uri, [("route", route) for route in routes])


class TakeOwnRoutesTests(SynchronousTestCase):
    """
    Removing what upstream put there to reach us.
    """

    def test_P06_leading_routes_of_ours_go(self) -> None:
        """
        All of them, whatever name they use, out of a comma list too; a foreign
        one and what follows it stay.
        """
        made = request(
            "sip:201@10.1.1.9",
            "<sip:10.1.1.50:5080;lr;x=1>, <sip:AP.sipx1.example.com;lr>",
            "<sip:other.net;lr>, <sip:10.1.1.50:5080;lr>",
        )
        taken = take_own_routes(made, NAMES)
        self.assertEqual(
            [str(uri) for uri in taken], ["sip:10.1.1.50:5080;lr;x=1", "sip:AP.sipx1.example.com;lr"]
        )
        self.assertEqual(made.values("route"), ["<sip:other.net;lr>", "<sip:10.1.1.50:5080;lr>"])

    def test_P05_a_strict_router_upstream_is_undone(self) -> None:
        """
        Our own Record-Route in the Request-URI: the last Route is the target.
        """
        made = request("sip:10.1.1.50:5080;lr;x=1", "<sip:other.net;lr>", "<sip:201@10.1.1.9>")
        taken = take_own_routes(made, NAMES)
        self.assertEqual([str(uri) for uri in taken], ["sip:10.1.1.50:5080;lr;x=1"])
        self.assertEqual(made.uri, "sip:201@10.1.1.9")
        self.assertEqual(made.values("route"), ["<sip:other.net;lr>"])

    def test_another_port_is_somebody_else(self) -> None:
        """
        The proxies of one node differ in their ports.
        """
        made = request("sip:201@10.1.1.9", "<sip:10.1.1.50:5060;lr>")
        self.assertEqual(take_own_routes(made, NAMES), [])
        self.assertTrue(made.has("route"))

    def test_P07_an_own_maddr_is_taken_off(self) -> None:
        """
        With the port and the transport that came with it; another's stays.
        """
        for uri, left in (
            ("sip:201@example.com:5060;maddr=10.1.1.50;transport=tcp;x=y", "sip:201@example.com;x=y"),
            ("sip:201@example.com;maddr=10.1.1.9", "sip:201@example.com;maddr=10.1.1.9"),
            ("sip:201@example.com:5099;maddr=10.1.1.50", "sip:201@example.com:5099;maddr=10.1.1.50"),
            ("sip:maddr@example.com", "sip:maddr@example.com"),
        ):
            made = request(uri)
            take_own_maddr(made, OwnNames([("10.1.1.50", 5060)]))
            self.assertEqual(made.uri, left)


class NextHopTests(SynchronousTestCase):
    """
    Where a request goes first.
    """

    def test_the_first_route_comes_before_the_request_uri(self) -> None:
        """
        A pushed Route decides.
        """
        made = request("sip:201@10.1.1.9")
        self.assertEqual(str(next_hop(made)), "sip:201@10.1.1.9")
        push_route(made, Uri.parse("sip:a.net;lr"))
        push_route(made, Uri.parse("sip:b.net;lr"))
        self.assertEqual(str(next_hop(made)), "sip:b.net;lr")
        self.assertEqual(made.values("route"), ["<sip:b.net;lr>", "<sip:a.net;lr>"])

    def test_what_goes_to_sips_goes_safely_all_the_way(self) -> None:
        """
        Whatever the Route says (RFC 3261 section 16.6 step 7).
        """
        made = request("sips:201@example.com", "<sip:a.net:5061;lr>")
        self.assertEqual(str(next_hop(made)), "sips:a.net:5061;lr")
        made = request("sip:201@example.com", "<sips:a.net;lr>")
        self.assertEqual(str(next_hop(made)), "sips:a.net;lr")
        self.assertEqual(str(next_hop(request("tel:+1555"))), "tel:+1555")

    def test_P15_a_strict_router_downstream_gets_what_it_wants(self) -> None:
        """
        Its URI becomes the Request-URI, the target the last Route.
        """
        made = request("sip:201@10.1.1.9", "<sip:strict.net>", "<sip:loose.net;lr>")
        adapt_to_strict_router(made)
        self.assertEqual(made.uri, "sip:strict.net")
        self.assertEqual(made.values("route"), ["<sip:loose.net;lr>", "<sip:201@10.1.1.9>"])

    def test_P15_whatever_else_the_route_shows(self) -> None:
        """
        Only a parameter makes a loose router, and only of the first one.
        """
        for routes in (
            ["<sip:strict.net>, <sip:loose.net;lr>"],
            ["<sip:strict.net?Subject=;lr>"],
            ["<sip:user;lr@strict.net>"],
            ["Strict <sip:strict.net>;lr"],
            ['"<sip:loose.net;lr>" <sip:strict.net>'],
        ):
            made = request("sip:201@10.1.1.9", *routes)
            adapt_to_strict_router(made)
            self.assertEqual(made.request_uri.host, "strict.net", routes)
            self.assertEqual(made.values("route")[-1], "<sip:201@10.1.1.9>")
        for route in (
            "<sip:a.net;lr>, <sip:b.net>",
            "A <sip:a.net;lr>",
            "<sip:a.net;LR;x>",
            "<sip:a.net;lr=on>",
        ):
            made = request("sip:201@10.1.1.9", route)
            adapt_to_strict_router(made)
            self.assertEqual((made.uri, made.rows("route")), ("sip:201@10.1.1.9", [route]))

    def test_loose_routes_stay(self) -> None:
        """
        Nothing is rewritten that need not be.
        """
        made = request("sip:201@10.1.1.9", "<sip:loose.net;lr>")
        adapt_to_strict_router(made)
        self.assertEqual((made.uri, made.values("route")), ("sip:201@10.1.1.9", ["<sip:loose.net;lr>"]))
