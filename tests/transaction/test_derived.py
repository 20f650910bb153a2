"""
Tests for L{sipxha.transaction.derived}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.message import Request
from sipxha.sip.response import response_to
from sipxha.transaction.derived import ack_for, cancel_for
from tests.support.fakes import a_request


def an_invite() -> Request:
    invite = a_request(
        fields=(("Route", "<sip:10.0.0.2;lr>"), ("Route", "<sip:10.0.0.3;lr>"), ("Require", "replaces")),
        body=b"v=0",
    )
    invite.prepend("via", "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK-ours")
    return invite


class DerivedTests(SynchronousTestCase):
    """
    Tests for the requests that a client transaction makes itself.
    """

    def test_T02_the_ack_of_a_failure_repeats_its_invite(self) -> None:
        """
        One Via, equal to the INVITE's top one; Request-URI, Route, From,
        Call-ID and CSeq number of the INVITE; To of the response (17.1.1.3).
        """
        invite = an_invite()
        ack = ack_for(invite, response_to(invite, 486, to_tag="bob-1"))
        self.assertEqual((ack.method, ack.uri), ("ACK", invite.uri))
        self.assertEqual(ack.rows("via"), ["SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK-ours"])
        self.assertEqual(ack.rows("route"), invite.rows("route"))
        self.assertEqual(ack.get("to"), "<sip:bob@example.com>;tag=bob-1")
        self.assertEqual(ack.get("cseq"), "1 ACK")
        for name in ("from", "call-id"):
            self.assertEqual(ack.get(name), invite.get(name))
        self.assertEqual((ack.body, ack.has("require")), (b"", False))

    def test_a_cancel_repeats_its_invite_too(self) -> None:
        """
        But To is the INVITE's own, and a reason may be given (9.1).
        """
        invite = an_invite()
        cancel = cancel_for(invite, 'SIP;cause=200;text="Call completed elsewhere"')
        self.assertEqual(cancel.rows("via"), ["SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK-ours"])
        self.assertEqual(cancel.rows("route"), invite.rows("route"))
        self.assertEqual((cancel.get("to"), cancel.get("cseq")), ("<sip:bob@example.com>", "1 CANCEL"))
        self.assertEqual(cancel.get("reason"), 'SIP;cause=200;text="Call completed elsewhere"')
        self.assertFalse(cancel_for(invite, None).has("reason"))
