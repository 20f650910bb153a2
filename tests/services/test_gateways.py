"""
Tests for L{sipxha.services.gateways}.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.net.names import DNSFailed
from sipxha.services.gateways import Gateways
from sipxha.services.neighbours import INTERVAL
from sipxha.sip.hop import Hop
from sipxha.sip.uri import Uri


class GatewaysTests(SynchronousTestCase):
    """
    Tests for who is a gateway.
    """

    def setUp(self) -> None:
        """
        One has a name, two have an address.
        """
        self.clock = Clock()
        self.answer: Callable[[], Deferred[list[str]]] = lambda: succeed(["10.1.1.8"])
        self.asked: list[str] = []
        self.gateways = Gateways(
            self.clock,
            ["gw1.net", "10.1.1.9", "2001:db8::9"],
            self,
        )
        self.addCleanup(self.gateways.stopService)

    def addresses(self, name: str) -> Deferred[list[str]]:
        """
        DNS, which gives the answer of the moment; an address is its own.
        """
        if name != name.strip("0123456789.:") or ":" in name:
            return succeed([name])
        self.asked.append(name)
        return self.answer()

    def locate(self, uri: Uri) -> Deferred[list[Hop]]:
        """
        Nobody has servers beside.
        """
        return fail(DNSFailed(uri.host, "none"))

    def test_gateways_are_known_by_their_addresses(self) -> None:
        """
        Whichever way a socket writes them; only names are asked for.
        """
        self.gateways.startService()
        for address in ("10.1.1.8", "10.1.1.9", "2001:db8::9", "::ffff:10.1.1.9"):
            self.assertTrue(self.gateways.has_address(address), address)
        for address in ("10.1.1.7", "127.0.0.1", "::1", ""):
            self.assertFalse(self.gateways.has_address(address), address)
        self.assertEqual(self.asked, ["gw1.net"])

    def test_a_uri_leads_to_a_gateway_by_its_name_or_its_address(self) -> None:
        """
        At whatever port.
        """
        self.gateways.startService()
        for uri in (
            "sip:5551234@GW1.net",
            "sip:5551234@10.1.1.8:5070",
            "sips:1@[2001:db8::9]",
            "sip:10.1.1.9",
        ):
            self.assertTrue(self.gateways.leads_to(Uri.parse(uri)), uri)
        for uri in ("sip:5551234@gw2.net", "sip:gw1.net@example.com", "tel:112"):
            self.assertFalse(self.gateways.leads_to(Uri.parse(uri)), uri)

    def test_help_is_called_over_those_that_the_rules_leave_out_too(self) -> None:
        """
        After those that the rules want; where these say how a gateway is
        dialled, it is dialled no other way.
        """
        self.gateways.startService()
        uri = Uri.parse("sips:112@example.com")
        self.assertEqual(
            self.gateways.besides(["<sip:0112@gw1.net>;q=0.5", "what?"], uri),
            [
                "<sip:0112@gw1.net>;q=0.5",
                "what?",
                "<sips:112@10.1.1.9>;q=0",
                "<sips:112@[2001:db8::9]>;q=0",
            ],
        )
        self.assertNotIn("<sips:112@gw1.net>;q=0", self.gateways.besides(["<sip:0112@10.1.1.8>"], uri))

    def test_other_gateways_can_be_named_while_it_runs(self) -> None:
        """
        Of those that stay, what is known stays while DNS is silent.
        """
        self.gateways.startService()
        waiting: list[Deferred[list[str]]] = [Deferred(), Deferred()]
        self.answer = iter(waiting).__next__
        self.gateways.set_gateways(["gw1.net", "gw2.net"])
        self.assertEqual(self.asked[1:], ["gw1.net", "gw2.net"])
        self.assertTrue(self.gateways.has_address("10.1.1.8"))
        self.assertFalse(self.gateways.has_address("10.1.1.9"))
        waiting[1].callback(["10.1.1.10"])
        for address in ("10.1.1.8", "10.1.1.10"):
            self.assertTrue(self.gateways.has_address(address), address)

    def test_an_answer_for_one_that_left_is_forgotten(self) -> None:
        """
        It is let in no more.
        """
        waiting: Deferred[list[str]] = Deferred()
        self.answer = lambda: waiting
        self.gateways.startService()
        self.gateways.set_gateways([])
        waiting.callback(["10.1.1.8"])
        self.assertFalse(self.gateways.has_address("10.1.1.8"))

    def test_a_dead_dns_forgets_nobody(self) -> None:
        """
        And a gateway that moves is found again.
        """
        self.gateways.startService()
        self.answer = lambda: fail(DNSFailed("gw1.net", "nobody answers"))
        self.clock.advance(INTERVAL)
        self.assertTrue(self.gateways.has_address("10.1.1.8"))
        self.answer = lambda: succeed(["10.1.1.18"])
        self.clock.advance(INTERVAL)
        self.assertTrue(self.gateways.has_address("10.1.1.18"))
        self.assertFalse(self.gateways.has_address("10.1.1.8"))
