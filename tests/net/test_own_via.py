"""
Tests for L{sipxha.net.own_via}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.net.own_via import OwnVia
from sipxha.sip.check import check
from sipxha.sip.message import Request
from sipxha.sip.parser import parse_message
from tests.support.fakes import a_request


class OwnViaTests(SynchronousTestCase):
    """
    Tests for L{OwnVia}.
    """

    def test_what_is_put_on_is_what_is_read(self) -> None:
        """
        Also where the request was read before.
        """
        for transport, host, port in (("udp", "10.0.0.1", 5060), ("tcp", "[2001:db8::1]", 5080)):
            for is_read in (False, True):
                request = a_request()
                if is_read:
                    check(request)
                via = OwnVia(transport, host, port)
                via.put_on(request, "z9hG4bK-7.key")
                again = parse_message(request.encode())
                assert isinstance(again, Request)
                self.assertEqual(again.outline, request.outline)
                self.assertEqual((request.outline.host, request.outline.sent_by), (host, via.sent_by))
                self.assertEqual(again.via.branch, "z9hG4bK-7.key")
                self.assertEqual((again.via.rport, "alias" in again.via.params), ("", False))
                self.assertEqual(len(request.vias), 2)

    def test_over_tls_requests_may_come_back_on_the_connection(self) -> None:
        """
        RFC 5923.
        """
        value = OwnVia("tls", "sipx1.example.com", 5061).value("z9hG4bK-1")
        self.assertEqual(value, "SIP/2.0/TLS sipx1.example.com:5061;branch=z9hG4bK-1;alias;rport")
