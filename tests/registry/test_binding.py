"""
Tests for L{sipxha.registry.binding}.
"""

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import flow_token
from tests.registry.rows import a_row


class BindingTests(SynchronousTestCase):
    """
    Tests for the key and the slot of a row.
    """

    def test_the_key_tells_call_contact_and_flow(self) -> None:
        """
        Rows that differ in any of these are never merged.
        """
        row = a_row(reg_id=2)
        self.assertEqual(row.key, (row.identity, row.callid, row.contact, 2))

    def test_the_slot_is_the_contact_under_any_call_id(self) -> None:
        """
        A contact that is registered again under another Call-ID is the same
        binding (R17).
        """
        self.assertEqual(a_row(callid="one").slot, a_row(callid="two").slot)

    def test_an_outbound_flow_is_told_by_instance_and_reg_id(self) -> None:
        """
        RFC 5626: the contact does not matter then.
        """
        one = a_row(instance_id="<urn:uuid:1>", reg_id=1)
        self.assertEqual(one.slot, one._replace(contact="<sip:x@10.9.9.9>").slot)
        self.assertNotEqual(one.slot, one._replace(reg_id=2).slot)

    def test_O07_the_flow_is_that_of_the_proxy_next_to_the_phone(self) -> None:
        """
        The last URI of the Path; most rows have none.
        """
        for path, token in (
            ("", ""),
            ("<sip:p1;lr>", ""),
            ("<sip:token@p1:5060;lr;ob>", "token"),
            ("<sips:one@p1;lr>,<sip:two@p2;lr>", "two"),
            ("<sip:one@p1;lr>,<sip:p2;lr>", ""),
            ("<sip:p1;lr>;x=a@b", ""),
            ("sip:one@p1;lr", ""),
        ):
            self.assertEqual(flow_token(path), token, path)
