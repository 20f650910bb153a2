"""
Tests for L{sipxha.net.traffic}.
"""

from __future__ import annotations

from sipxha.net.traffic import OTHER, count_request
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.response import response_to
from tests.net.test_transports import SERVER, UDP_FLOW, TransportsCase
from tests.support.fakes import a_request

VIA = "SIP/2.0/UDP 10.0.0.9:40000;branch=z9hG4bK-1;rport=40000"


class TrafficTests(TransportsCase):
    """
    What L{sipxha.net.transports} counts.
    """

    def counted(self) -> dict[str, dict[str | int, int]]:
        """
        What was sent, without zeros.
        """
        sent = self.transports.sent
        counts = {way: {kind: n for kind, n in kinds.items() if n} for way, kinds in sent.items()}
        return {way: kinds for way, kinds in counts.items() if kinds}

    def test_requests_are_counted_by_the_transport_that_they_took(self) -> None:
        """
        A method that nobody knows is one of the others.
        """
        self.transports.request(a_request("INVITE"), Hop("udp", "10.0.0.2", 5060), None)
        self.transports.request(a_request("SHOUT"), Hop("tcp", "10.0.0.2", 5060), None)
        self.assertEqual(self.counted(), {"udp": {"INVITE": 1}, "tcp": {OTHER: 1}})

    def test_answers_are_counted_by_their_first_digit(self) -> None:
        """
        A repetition, of which only the bytes are there, like the first one.
        """
        response = response_to(a_request(via=VIA), 486)
        self.transports.respond(response, UDP_FLOW, SERVER)
        self.assertTrue(self.transports.repeat(response.encode(), UDP_FLOW, SERVER))
        self.transports.respond(response_to(a_request(via=VIA), 200), UDP_FLOW, SERVER)
        self.transports.respond(response, Flow("tcp", "10.0.0.9", 4, "10.0.0.1", 5060, 7), SERVER)
        self.assertEqual(self.counted(), {"udp": {2: 1, 4: 2}, "tcp": {4: 1}})

    def test_counting_never_makes_a_new_kind(self) -> None:
        """
        However many names there are.
        """
        kinds: dict[str | int, int] = dict.fromkeys(("INVITE", OTHER), 0)
        for number in range(100):
            count_request(kinds, f"M{number}")
        self.assertEqual(kinds, {"INVITE": 0, OTHER: 100})
