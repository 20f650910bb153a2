"""
Tests for L{sipxha.sip.address}.
"""

from __future__ import annotations

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField, UnsafeValue
from sipxha.sip.uri import Uri
from tests.sip.samples import addresses


class AddressTests(SynchronousTestCase):
    """
    Tests for L{Address}.
    """

    def test_parameters_in_brackets_are_the_uris(self) -> None:
        """
        Those after them are the field's.
        """
        address = Address.parse('"A. \\"B\\"" <sip:a@b;lr;x=1>;tag=7 ; q=0.5')
        self.assertEqual((address.display, address.name), ('"A. \\"B\\""', 'A. "B"'))
        self.assertEqual((str(address.uri), str(address.params)), ("sip:a@b;lr;x=1", ";tag=7 ; q=0.5"))
        self.assertEqual(address.tag, "7")

    def test_M27_parameters_of_a_bare_uri_are_the_fields(self) -> None:
        """
        RFC 3261 section 20.10; a question mark or comma makes it malformed.
        """
        address = Address.parse("sip:+1@gw1.example.net;unknownparam")
        self.assertEqual((str(address.uri), str(address.params)), ("sip:+1@gw1.example.net", ";unknownparam"))
        for text in ("sip:a@b?Route=x", "sip:a,b@c"):
            with self.assertRaises(MalformedField):
                Address.parse(text)

    def test_M27_we_always_write_brackets(self) -> None:
        """
        So that nobody has to guess.
        """
        self.assertEqual(str(Address("", Uri.parse("sip:a@b;lr"))), "<sip:a@b;lr>")
        self.assertEqual(str(Address.parse("sip:a@b;q=1").with_param("tag", "x")), "<sip:a@b>;q=1;tag=x")

    def test_display_names_need_no_blank_and_may_be_tokens(self) -> None:
        """
        As telephones send them, beyond the grammar too.
        """
        for text, name in (
            ("caller<sip:a@b>", "caller"),
            ("two  words <sip:a@b>", "two  words"),
            ("101 (desk) <sip:a@b>", "101 (desk)"),
            ("Andr\u00e9 <sip:a@b>", "Andr\u00e9"),
            ('""<sip:a@b>', ""),
            ("  <sip:a@b>", ""),
        ):
            self.assertEqual(Address.parse(text).name, name)

    def test_other_text_is_malformed(self) -> None:
        """
        RFC 4475 has most of these.
        """
        for text in (
            "",
            "*",
            "<>",
            '"Mr. J. User <sip:j.user@example.com>',
            "Bell, Alexander <sip:a@b>",
            "< sip:a@b >",
            "<sip:a@b",
            "sip:a@b>",
            "<sip:a@b> junk",
            "<sip:a@b>;;",
            "a;b <sip:a@b>",
            '"a" "b" <sip:a@b>',
            '"a" b <sip:a@b>',
            "alice@example.com",
        ):
            with self.assertRaises(MalformedField, msg=text):
                Address.parse(text)

    def test_other_schemes_are_addresses_too(self) -> None:
        """
        RFC 4475 section 3.3.5.
        """
        self.assertEqual(Address.parse("isbn:2983792873").uri.opaque, "2983792873")
        self.assertEqual(Address.parse("<http://www.example.com>;tag=1").tag, "1")

    def test_a_list_is_taken_apart(self) -> None:
        """
        One bad element spoils it.
        """
        self.assertEqual(
            [str(each) for each in Address.parse_list("<sip:a>, b <sip:c,d@e>")], ["<sip:a>", "b <sip:c,d@e>"]
        )
        with self.assertRaises(MalformedField):
            Address.parse_list("<sip:a>, b")

    def test_parts_can_be_replaced(self) -> None:
        """
        The display name keeps its spelling.
        """
        address = Address.parse('"A"<sip:a@b>;tag=1')
        self.assertEqual(str(address.replace(uri=Uri.parse("sip:c@d"))), '"A" <sip:c@d>;tag=1')
        with self.assertRaises(UnsafeValue):
            address.replace(display='"')

    @given(addresses)
    def test_an_address_is_printed_as_it_came(self, text: str) -> None:
        """
        And when its text is composed anew, the same is read back.
        """
        address = Address.parse(text)
        self.assertEqual(str(address), text)
        again = Address.parse(str(address._replace(raw="")))
        self.assertEqual(
            (again.display, again.uri, again.params), (address.display, address.uri, address.params)
        )
