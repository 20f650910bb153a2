"""
Tests for L{sipxha.registry.domain}.
"""

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.domain import ServedDomain
from sipxha.sip.uri import Uri


class ServedDomainTests(SynchronousTestCase):
    """
    Tests for whose address-of-record a URI is.
    """

    domain = ServedDomain("Example.com", ["sip.example.com"])

    def test_R07_an_aor_has_one_spelling(self) -> None:
        """
        Parameters, port, escapes and the case of the host do not matter; the
        case of the user does.
        """
        for text in (
            "sip:201@example.com",
            "sip:201@EXAMPLE.com:5070;transport=tcp",
            "sip:%32%301@example.com",
            "sip:201@sip.example.com",
        ):
            self.assertEqual(self.domain.identity(Uri.parse(text)), "201@example.com", text)
        self.assertEqual(self.domain.identity(Uri.parse("sip:Ann@example.com")), "Ann@example.com")

    def test_R08_sips_and_sip_are_one_aor(self) -> None:
        """
        RFC 5630 section 5.2.
        """
        self.assertEqual(self.domain.identity(Uri.parse("sips:201@example.com")), "201@example.com")

    def test_what_is_not_ours_has_no_identity(self) -> None:
        """
        Other domains, other schemes, and the domain itself.
        """
        for text in ("sip:201@example.org", "tel:201", "mailto:201@example.com", "sip:example.com"):
            self.assertIsNone(self.domain.identity(Uri.parse(text)), text)
        self.assertTrue(self.domain.serves(Uri.parse("sip:example.com")))
        self.assertFalse(self.domain.serves(Uri.parse("tel:201")))
