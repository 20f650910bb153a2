"""
Tests for L{sipxha.services.gateway_hosts}.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.direction import Gateways
from sipxha.net.names import DNSFailed
from sipxha.routing.location import Unlocatable
from sipxha.services.gateway_hosts import GatewayHosts, find_gateways
from sipxha.sip.hop import Hop
from sipxha.sip.uri import Uri

Answers = Mapping[str, list[str] | Exception]


class Dns:
    """
    What DNS knows.
    """

    def __init__(self, hosts: Answers, services: Answers) -> None:
        self._hosts = hosts
        self._services = services

    def addresses(self, name: str) -> Deferred[list[str]]:
        """
        By A and AAAA.
        """
        return self._answer(self._hosts, name)

    def locate(self, uri: Uri) -> Deferred[list[Hop]]:
        """
        By SRV.
        """
        found = self._answer(self._services, uri.host)
        return found.addCallback(lambda addresses: [Hop("udp", address, 5060) for address in addresses])

    def _answer(self, answers: Answers, name: str) -> Deferred[list[str]]:
        known = answers.get(name, Unlocatable(f"{name} has no address"))
        return fail(known) if isinstance(known, Exception) else succeed(known)


class FindTests(SynchronousTestCase):
    """
    Tests for looking gateways up.
    """

    def find(self, names: list[str], hosts: Answers, services: Answers) -> GatewayHosts:
        """
        Wait for what is found.
        """
        return self.successResultOf(Deferred.fromCoroutine(find_gateways(names, Dns(hosts, services))))

    def test_a_name_counts_with_its_addresses_and_servers(self) -> None:
        """
        A Contact may hold any of them.
        """
        known, lost = self.find(
            ["gw", "10.1.1.9"], {"gw": ["1.1.1.1"], "10.1.1.9": ["10.1.1.9"]}, {"gw": ["2.2.2.2"]}
        )
        self.assertEqual(known, Gateways(frozenset({"gw", "10.1.1.9", "1.1.1.1", "2.2.2.2"})))
        self.assertEqual(lost, {})

    def test_servers_alone_are_enough(self) -> None:
        """
        A domain need not have an address.
        """
        self.assertEqual(self.find(["gw"], {}, {"gw": ["::1"]}), (Gateways(frozenset({"gw", "::1"})), {}))

    def test_what_is_not_found_is_named(self) -> None:
        """
        And its name still counts.
        """
        known, lost = self.find(
            ["gone", "dead", "gw"], {"dead": DNSFailed("dead", "no answer"), "gw": ["1.1.1.1"]}, {}
        )
        self.assertEqual(known, Gateways(frozenset({"gone", "dead", "gw", "1.1.1.1"}), False))
        self.assertEqual(
            lost, {"gone": "gone has no address", "dead": "DNS says nothing about dead: no answer"}
        )

    def test_without_gateways_there_are_none(self) -> None:
        """
        Then nobody asks for a direction.
        """
        self.assertEqual(self.find([], {}, {}), (None, {}))
