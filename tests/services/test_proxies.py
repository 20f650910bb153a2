"""
Tests for L{sipxha.services.proxies}.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.rules import RulesRefused
from sipxha.routing.route import take_own_routes
from sipxha.services.proxies import (
    make_auth_proxy,
    make_fork_proxy,
    read_auth_rules,
    read_forwarding_rules,
)
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

NOBODY: Any = cast(Any, None)
"""What the proxies share plays no part here."""


class MakeTests(SynchronousTestCase):
    """
    Tests for the proxies of a node that C{sipxha init} made.
    """

    def setUp(self) -> None:
        """
        Make a pair, and take the first.
        """
        folder = Path(self.mktemp())
        servers = [Server("sipx1.example.com", "2001:db8::1"), Server("sipx2.example.com", "2001:db8::2")]
        make_cluster(folder, Cluster("example.com", servers, embedded=True))
        self.config = load(folder / "sipx1.example.com" / "sipxha.xml")
        assert self.config.proxy is not None and self.config.authproxy is not None
        self.proxy, self.authproxy = self.config.proxy, self.config.authproxy

    def test_each_is_an_observer_with_an_address_of_its_own(self) -> None:
        """
        By the UDP port, or TCP where there is none.
        """
        fork_proxy = make_fork_proxy(Clock(), self.config, self.proxy, NOBODY, 1)
        self.assertEqual(fork_proxy.observer, "2001:db8::1:5060")
        own = replace(self.authproxy, ports=replace(self.authproxy.ports, udp=None, tcp=5081))
        auth_proxy = make_auth_proxy(Clock(), self.config, own, NOBODY)
        self.assertEqual(auth_proxy.observer, "2001:db8::1:5081")

    def test_each_finds_itself_under_its_tls_port(self) -> None:
        """
        In a Via and in a Route.
        """
        fork_proxy = make_fork_proxy(Clock(), self.config, self.proxy, NOBODY, 1)
        auth_proxy = make_auth_proxy(Clock(), self.config, self.authproxy, NOBODY)
        for proxy, uri in (
            (fork_proxy, "sips:example.com:5061"),
            (fork_proxy, "sips:sipx1.example.com:5061"),
            (auth_proxy, "sips:sipx1.example.com:5081;lr"),
            (auth_proxy, "sips:ap.sipx2.example.com;lr"),
        ):
            request = Request("OPTIONS", "sip:x", [("route", f"<{uri};lr>")])
            self.assertEqual(len(take_own_routes(request, proxy.names)), 1, uri)

    def test_wrong_rules_leave_the_old_ones(self) -> None:
        """
        And nothing is made with them.
        """
        fork_proxy = make_fork_proxy(Clock(), self.config, self.proxy, NOBODY, 1)
        auth_proxy = make_auth_proxy(Clock(), self.config, self.authproxy, NOBODY)
        before = fork_proxy.rules, auth_proxy.rules
        read_forwarding_rules(fork_proxy, self.proxy)
        read_auth_rules(auth_proxy, self.authproxy)
        after = fork_proxy.rules, auth_proxy.rules
        self.assertTrue(all(old is not new for old, new in zip(before, after, strict=True)))
        self.assertTrue(fork_proxy.rules.serves(Uri.parse("sip:200@example.com")))
        for path in (self.proxy.forwarding_rules, self.authproxy.auth_rules):
            path.write_text("<html/>")
        self.assertRaises(RulesRefused, read_forwarding_rules, fork_proxy, self.proxy)
        self.assertRaises(RulesRefused, read_auth_rules, auth_proxy, self.authproxy)
        self.assertEqual((fork_proxy.rules, auth_proxy.rules), after)
        self.assertRaises(RulesRefused, make_auth_proxy, Clock(), self.config, self.authproxy, NOBODY)
