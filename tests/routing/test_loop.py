"""
Tests for L{sipxha.routing.loop}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.loop import branch_suffix, is_loop, loop_key
from sipxha.sip.message import Request

SECRET = b"s" * 32
OURS = frozenset({("10.1.1.50", 5060)})


def request(uri: str, *vias: str, method: str = "INVITE", route: str = "") -> Request:
    """
    @return: a request that passed these servers.
    """
    fields = [("via", via) for via in vias]
    return Request(method, uri, fields + ([("route", route)] if route else []))


class LoopTests(SynchronousTestCase):
    """
    The same request twice, and what only looks like it.
    """

    def setUp(self) -> None:
        """
        A Via that we left when the request went to 201.
        """
        suffix = branch_suffix(loop_key(SECRET, request("sip:201@example.com")))
        self.via = f"SIP/2.0/UDP 10.1.1.50:5060;branch=z9hG4bKabc{suffix}"

    def _is_loop(self, made: Request) -> bool:
        return is_loop(made, OURS, loop_key(SECRET, made))

    def test_LA1_an_unchanged_request_is_a_loop(self) -> None:
        """
        It came back to where it was, however many servers lie between.
        """
        self.assertTrue(
            self._is_loop(request("sip:201@example.com", "SIP/2.0/UDP x;branch=z9hG4bK1", self.via))
        )

    def test_LA1_another_target_is_a_spiral(self) -> None:
        """
        A changed Request-URI passes, and so does a changed Route.
        """
        self.assertFalse(self._is_loop(request("sip:202@example.com", self.via)))
        self.assertFalse(self._is_loop(request("sip:201@example.com", self.via, route="<sip:a;lr>")))

    def test_LA1_the_method_does_not_matter(self) -> None:
        """
        CANCEL and ACK follow their INVITE, so the key must not differ.
        """
        self.assertTrue(self._is_loop(request("sip:201@example.com", self.via, method="OPTIONS")))

    def test_a_via_of_others_says_nothing(self) -> None:
        """
        Only our own sent-by counts, port included.
        """
        for sent_by in ("10.1.1.51:5060", "10.1.1.50:5080"):
            via = self.via.replace("10.1.1.50:5060", sent_by)
            self.assertFalse(self._is_loop(request("sip:201@example.com", via)))

    def test_another_secret_makes_another_key(self) -> None:
        """
        Nobody outside can make us see a loop.
        """
        made = request("sip:201@example.com", self.via)
        self.assertFalse(is_loop(made, OURS, loop_key(b"other", made)))
