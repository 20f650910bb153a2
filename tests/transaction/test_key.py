"""
Tests for L{sipxha.transaction.key}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.response import response_to
from sipxha.transaction.key import client_key, server_key
from sipxha.transaction.vocabulary import ClientKey
from tests.support.fakes import a_request

OLD = "SIP/2.0/UDP 10.0.0.9:5060;branch=1"


class ServerKeyTests(SynchronousTestCase):
    """
    Tests for L{server_key}: RFC 3261 section 17.2.3.
    """

    def test_T11_branch_sent_by_and_method_tell_transactions_apart(self) -> None:
        """
        Each of the three makes another transaction; nothing else does.
        """
        key = server_key(a_request())
        self.assertEqual(server_key(a_request(cseq=7, call_id="other")), key)
        for other in (
            a_request("MESSAGE"),
            a_request(via="SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-phone-2"),
            a_request(via="SIP/2.0/UDP 10.0.0.9:5062;branch=z9hG4bK-phone-1"),
        ):
            self.assertNotEqual(server_key(other), key)

    def test_T13_the_same_branch_from_two_senders_is_two_transactions(self) -> None:
        """
        Sent-by is part of the rule.
        """
        key = server_key(a_request())
        other = server_key(a_request(via="SIP/2.0/UDP 10.0.0.8:5060;branch=z9hG4bK-phone-1"))
        self.assertNotEqual(other, key)

    def test_an_ack_belongs_to_its_invite(self) -> None:
        """
        The method of an ACK counts as INVITE.
        """
        self.assertEqual(server_key(a_request("ACK", to_tag="bob-1")), server_key(a_request()))

    def test_T11_without_the_cookie_what_rfc_2543_compares_decides(self) -> None:
        """
        Request-URI, From tag, Call-ID, CSeq number and Via stand for the
        branch, and the ACK still finds its INVITE.
        """
        key = server_key(a_request(via=OLD))
        self.assertEqual(server_key(a_request(via=OLD)), key)
        self.assertEqual(server_key(a_request("ACK", via=OLD, to_tag="bob-1")), key)
        for other in (
            a_request(via=OLD, uri="sip:carol@example.com"),
            a_request(via=OLD, call_id="call-2"),
            a_request(via=OLD, cseq=2),
            a_request(via="SIP/2.0/UDP 10.0.0.9:5060"),
            a_request("BYE", via=OLD),
        ):
            self.assertNotEqual(server_key(other), key)

    def test_T11_a_bare_cookie_is_no_branch(self) -> None:
        """
        C{z9hG4bK} alone says nothing, so two calls with it stay apart.
        """
        bare = "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK"
        self.assertNotEqual(
            server_key(a_request(via=bare)), server_key(a_request(via=bare, call_id="call-2"))
        )


class ClientKeyTests(SynchronousTestCase):
    """
    Tests for L{client_key}: RFC 3261 section 17.1.3.
    """

    def test_T12_a_response_is_matched_by_branch_and_cseq_method(self) -> None:
        """
        So the answer to a CANCEL is not taken for one to its INVITE.
        """
        invite, cancel = a_request(), a_request("CANCEL")
        self.assertEqual(client_key(response_to(invite, 200)), client_key(invite))
        self.assertEqual(client_key(invite), ClientKey("z9hG4bK-phone-1", "INVITE"))
        self.assertNotEqual(client_key(response_to(cancel, 200)), client_key(invite))
