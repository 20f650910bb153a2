"""
Tests for L{sipxha.routing.emergency}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.emergency import NO_NUMBERS, EmergencyNumbers
from sipxha.sip.message import Request

NUMBERS = EmergencyNumbers(
    ["112", "911"], "example.com", lambda uri: uri.host in ("example.com", "10.1.1.50", "alias.example.com")
)


def called(uri: str, method: str = "INVITE", to: str = "<sip:112@example.com>") -> str | None:
    """
    @return: what a request is taken for.
    """
    found = NUMBERS.called(Request(method, uri, [("to", to)]))
    return None if found is None else str(found)


class EmergencyNumbersTests(SynchronousTestCase):
    """
    What an emergency call is.
    """

    def test_a_number_of_ours_is_called_by_whatever_name_we_have(self) -> None:
        """
        What comes out is in the words of the rules.
        """
        for uri in ("sip:112@example.com", "sip:112@10.1.1.50:5070", "sip:112@alias.example.com;user=phone"):
            self.assertEqual(called(uri), "sip:112@example.com")
        self.assertEqual(called("sips:911@example.com"), "sips:911@example.com")

    def test_a_number_may_be_written_as_one_reads_it(self) -> None:
        """
        As a tel URI, or in a SIP URI that says that it holds one.
        """
        for uri in (
            "tel:112",
            "TEL:1-1-2;phone-context=+49",
            "tel:(112)",
            "sip:1-1-2@example.com;user=phone",
            "sip:112;phone-context=example.com@example.com;user=phone",
        ):
            self.assertEqual(called(uri), "sip:112@example.com", uri)
        self.assertEqual(called("tel:9.1.1"), "sip:911@example.com")

    def test_who_names_a_service_calls_the_first_number(self) -> None:
        """
        RFC 5031 section 4.2: sos and what is beneath it, in any spelling.
        """
        for uri in ("urn:service:sos", "URN:Service:SOS", "urn:service:sos.fire", "urn:service:sos.x-y.z"):
            self.assertEqual(called(uri, to=f"<{uri}>"), "sip:112@example.com", uri)
        for uri in ("urn:service:counseling", "urn:service:sosx", "urn:service:sos.", "urn:nena:service:sos"):
            self.assertIsNone(called(uri), uri)

    def test_all_else_is_no_emergency(self) -> None:
        """
        Other numbers, other hosts, other methods, and what goes on inside a
        call; nor what cannot be read.
        """
        self.assertIsNone(called("sip:1112@example.com"))
        self.assertIsNone(called("sip:112@elsewhere.net"))
        self.assertIsNone(called("tel:+112"))
        self.assertIsNone(called("sip:1-1-2@example.com"))
        self.assertIsNone(called("soap.beep:112"))
        self.assertIsNone(called("sip:112@example.com", "MESSAGE"))
        self.assertIsNone(called("sip:112@example.com", to="<sip:112@example.com>;tag=1"))
        self.assertIsNone(called("sip:112@example.com", to="<"))
        for uri in ("sip:112@example.com", "urn:service:sos"):
            self.assertIsNone(NO_NUMBERS.called(Request("INVITE", uri, [("to", "<sip:x@y>")])))
