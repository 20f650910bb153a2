"""
Tests for L{sipxha.registry.register}: what a REGISTER asks for.
"""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.register import Registration, RegistrationRefused, Terms, read_register
from sipxha.sip.grammar import MalformedField
from sipxha.sip.message import Request
from tests.registry.rows import a_row

CONTACT = ("Contact", "<sip:201@10.1.1.7>")
FLOW = ("Contact", '<sip:201@10.1.1.7>;reg-id=7;+sip.instance="<urn:uuid:1>"')
SUPPORTED = ("Supported", "path, outbound")
VIA = ("Via", "SIP/2.0/UDP 10.1.1.9:5060;branch=z9hG4bK-2")
"""That of another hop."""

GRUUS = Gruus(b"a secret of the cluster", "example.com")
TERMS = Terms(
    ServedDomain("example.com"), min_expires=60, default_expires=3000, max_expires=7200, gruus=GRUUS
)


def a_register(
    *fields: tuple[str, str], uri: str = "sip:example.com", aor: str = "sip:201@example.com"
) -> Request:
    """
    A REGISTER with these fields besides the necessary ones.
    """
    return Request(
        "REGISTER",
        uri,
        [
            ("Via", "SIP/2.0/UDP 10.1.1.7:5060;branch=z9hG4bK-1"),
            ("From", f"<{aor}>;tag=1"),
            ("To", f'"Ann" <{aor}>'),
            ("Call-ID", "f00d@10.1.1.7"),
            ("CSeq", "17 REGISTER"),
            *fields,
        ],
    )


def read(*fields: tuple[str, str], **more: str) -> Registration:
    """
    What such a REGISTER asks for.
    """
    return read_register(a_register(*fields, **more), "201@example.com", "udp:10.1.1.7:5060", TERMS)


class ReadRegisterTests(SynchronousTestCase):
    """
    Tests for L{read_register}.
    """

    def assertRefused(self, status: int, *fields: tuple[str, str], **more: str) -> RegistrationRefused:
        """
        Check the status of the refusal.
        """
        refused: RegistrationRefused = self.assertRaises(RegistrationRefused, read, *fields, **more)
        self.assertEqual(refused.status, status)
        return refused

    def test_one_contact(self) -> None:
        """
        Everything that becomes a column.
        """
        registration = read(
            ("Contact", '"Ann" <sip:201@10.1.1.7:5060;transport=tcp>;q=0.5;expires=600'),
            ("Path", "<sip:p1;lr>, <sip:p2;lr>"),
        )
        self.assertEqual(registration.uri, "<sip:201@example.com>")
        self.assertEqual((registration.callid, registration.cseq), ("f00d@10.1.1.7", 17))
        self.assertEqual(registration.path, "<sip:p1;lr>,<sip:p2;lr>")
        self.assertEqual(registration.received, "udp:10.1.1.7:5060")
        (offer,) = registration.contacts
        self.assertEqual(offer.contact, "<sip:201@10.1.1.7:5060;transport=tcp>")
        self.assertEqual((offer.qvalue, offer.expires), ("0.5", 600))

    def test_R10_no_contact_is_a_query(self) -> None:
        """
        Nothing is asked to change.
        """
        self.assertTrue(read().is_query)
        self.assertFalse(read(("Contact", "<sip:201@10.1.1.7>")).is_query)

    def test_R11_a_star_stands_alone_and_expires_at_once(self) -> None:
        """
        RFC 3261 section 10.3 step 6.
        """
        self.assertTrue(read(("Contact", "*"), ("Expires", "0")).remove_all)
        self.assertRefused(400, ("Contact", "*"))
        self.assertRefused(400, ("Contact", "*"), ("Expires", "60"))
        self.assertRefused(400, ("Contact", "*"), ("Contact", "<sip:201@10.1.1.7>"), ("Expires", "0"))

    def test_R13_the_parameter_counts_before_the_field_before_the_default(self) -> None:
        """
        RFC 3261 section 10.3 step 7.
        """
        contact = "<sip:201@10.1.1.7>"
        for fields, expires in (
            ([("Contact", f"{contact};expires=100"), ("Expires", "200")], 100),
            ([("Contact", contact), ("Expires", "200")], 200),
            ([("Contact", contact)], 3000),
            ([("Contact", f"{contact};expires=0"), ("Expires", "200")], 0),
        ):
            self.assertEqual(read(*fields).contacts[0].expires, expires, fields)

    def test_R14_too_short_is_refused_and_too_long_is_shortened(self) -> None:
        """
        The least that is granted is said in Min-Expires.
        """
        contact = "<sip:201@10.1.1.7>"
        refused = self.assertRefused(423, ("Contact", contact), ("Expires", "59"))
        self.assertEqual(refused.fields, (("Min-Expires", "60"),))
        self.assertEqual(read(("Contact", contact), ("Expires", "60")).contacts[0].expires, 60)
        self.assertEqual(read(("Contact", contact), ("Expires", "9999999999")).contacts[0].expires, 3600)
        self.assertEqual(read(("Contact", f"{contact};expires=99999999999")).contacts[0].expires, 7200)

    def test_R14_an_hour_is_never_too_short(self) -> None:
        """
        Whatever the least is otherwise.
        """
        strict = replace(TERMS, min_expires=7200, default_expires=7200)
        request = a_register(("Contact", "<sip:201@10.1.1.7>"), ("Expires", "3600"))
        self.assertEqual(read_register(request, "201@example.com", "", strict).contacts[0].expires, 3600)

    def test_refreshes_are_spread_where_the_operator_wants_it(self) -> None:
        """
        Of many that ask for the same at once, each is granted something else,
        within bounds; both contacts of one REGISTER are granted the same, and
        so is a retry.
        """
        contacts = ("Contact", "<sip:a@10.1.1.7>, <sip:b@10.1.1.7>, <sip:c@10.1.1.7>;expires=0")
        spread = replace(TERMS, spread=20)

        def granted(callid: str, asked: str, terms: Terms = spread) -> list[int]:
            request = a_register(contacts, ("Expires", asked))
            request.set("call-id", callid)
            return [offer.expires for offer in read_register(request, "201@example.com", "", terms).contacts]

        found = [granted(f"call-{number}", "1000") for number in range(200)]
        self.assertEqual(found, [granted(f"call-{number}", "1000") for number in range(200)])
        self.assertTrue(all(one == other and removed == 0 for one, other, removed in found))
        lengths = [one for one, _, _ in found]
        self.assertTrue(800 <= min(lengths) < 830 and 970 < max(lengths) <= 1000, lengths)
        self.assertEqual(granted("call", "60"), [60, 60, 0])
        self.assertGreaterEqual(granted("call", "61")[0], 60)
        self.assertEqual(granted("call", "1000", TERMS), [1000, 1000, 0])

    def test_R18_one_bad_contact_spoils_all(self) -> None:
        """
        Expires that are no number, and a q that is none.
        """
        for bad in ("expires=soon", "expires=-1", "expires", "q=2", "q=0.5555", "q"):
            self.assertRefused(400, ("Contact", f"<sip:a@10.1.1.7>, <sip:b@10.1.1.7>;{bad}"))

    def test_R15_of_equal_contacts_the_last_counts(self) -> None:
        """
        As if they had come one after the other.
        """
        registration = read(("Contact", "<sip:a@h>;expires=100, <sip:a@H>;expires=0, <sip:b@h>"))
        self.assertEqual([offer.contact for offer in registration.contacts], ["<sip:a@H>", "<sip:b@h>"])

    def test_R22_other_schemes_are_contacts_too(self) -> None:
        """
        They are compared by their text.
        """
        registration = read(("Contact", "<tel:+4930123>, <mailto:a@example.com>, <tel:+4930123>"))
        self.assertEqual(
            [offer.contact for offer in registration.contacts], ["<mailto:a@example.com>", "<tel:+4930123>"]
        )

    def test_R23_unknown_parameters_stay_where_they_were(self) -> None:
        """
        Those of the URI in the URI, those of the field behind it.
        """
        contact = '<sip:201@10.1.1.7;x=1?Replaces=abc>;unknown;methods="INVITE, BYE"'
        (offer,) = read(("Contact", f"{contact};q=1.0;expires=60")).contacts
        self.assertEqual(offer.contact, contact)

    def test_G06_a_phone_does_not_set_its_own_gruu(self) -> None:
        """
        The parameters are dropped; the instance is kept.
        """
        value = '<sip:201@10.1.1.7>;pub-gruu="sip:x@y";temp-gruu="sip:z@y";+sip.instance="<urn:uuid:1>"'
        (offer,) = read(("Contact", value)).contacts
        self.assertEqual((offer.contact, offer.instance_id), ("<sip:201@10.1.1.7>", "<urn:uuid:1>"))

    def test_G01_a_phone_that_knows_gruus_gets_one_for_each_instance(self) -> None:
        """
        The column of the row; others get none, nor does what ends.
        """
        first = ("Contact", '<sip:201@10.1.1.7>;+sip.instance="<urn:uuid:1>"')
        second = ("Contact", '<sip:x@10.1.1.7>;+sip.instance="<urn:uuid:2>";expires=0')
        third = ("Contact", f'<sip:y@10.1.1.7>;+sip.instance="<urn:x:{"é" * 200}>"')
        knows = ("Supported", "path, GRUU")
        offers = read(first, second, third, ("Contact", "<sip:z@10.1.1.7>"), knows).contacts
        self.assertEqual([offer.gruu for offer in offers], ["201@example.com;gr=urn:uuid:1", "", "", ""])
        self.assertEqual(read(first).contacts[0].gruu, "")

    def test_G04_an_instance_does_not_lead_back_to_its_user(self) -> None:
        """
        Neither by the address-of-record nor by a GRUU of it; to end such a
        contact is no harm.
        """
        row = a_row(instance_id="<urn:uuid:1>")
        theirs = a_row(identity="202@example.com", instance_id="<urn:uuid:1>")
        uris = ("sip:201@example.com", "sip:%3201@EXAMPLE.com;x=1", GRUUS.public(row), GRUUS.temporary(row))
        for uri in uris:
            contact = f'<{uri}>;+sip.instance="<urn:uuid:1>"'
            self.assertRefused(403, ("Contact", contact))
            self.assertTrue(read(("Contact", f"{contact};expires=0")).contacts)
        for uri in (GRUUS.temporary(theirs), GRUUS.public(theirs)):
            contact = f'<{uri}>;+sip.instance="<urn:uuid:1>"'
            self.assertTrue(read(("Contact", contact)).contacts)

    def test_G04_R22_an_instance_is_reached_by_sip(self) -> None:
        """
        What is no SIP URI may be a contact, but of no instance.
        """
        self.assertRefused(403, ("Contact", '<tel:+15551234>;+sip.instance="<urn:uuid:1>"'))

    def test_O01_a_flow_that_the_edge_keeps_counts(self) -> None:
        """
        By C{ob} in the Path of the proxy next to the phone, the last one; or
        there is no proxy at all.
        """
        edge = ("Path", "<sip:p1;lr>, <sip:token@p2;transport=tcp;lr;ob>")
        for fields in ((edge, VIA), ()):
            registration = read(FLOW, SUPPORTED, *fields)
            (offer,) = registration.contacts
            self.assertEqual((offer.reg_id, offer.instance_id), (7, "<urn:uuid:1>"))
            self.assertTrue(registration.is_outbound)
        self.assertFalse(read(FLOW).is_outbound)

    def test_O02_a_flow_that_nobody_keeps_is_refused(self) -> None:
        """
        Another proxy's C{ob} says nothing about the flow to the phone.
        """
        paths = ((), (("Path", "<sip:p2;lr>"),), (("Path", "<sip:p1;lr;ob>, <sip:p2;lr>"),))
        for path in paths:
            self.assertRefused(439, FLOW, SUPPORTED, VIA, *path)

    def test_O02_without_outbound_the_reg_id_is_ignored(self) -> None:
        """
        RFC 5626 section 6.
        """
        registration = read(FLOW, VIA)
        (offer,) = registration.contacts
        self.assertEqual((offer.contact, offer.reg_id), ("<sip:201@10.1.1.7>", 0))
        self.assertFalse(registration.is_outbound)

    def test_O02_without_an_instance_the_reg_id_is_ignored(self) -> None:
        """
        There is nothing that it could number.
        """
        (offer,) = read(("Contact", "<sip:201@10.1.1.7>;reg-id=7"), SUPPORTED).contacts
        self.assertEqual(offer.reg_id, 0)

    def test_O03_a_reg_id_is_a_positive_number_of_31_bits(self) -> None:
        """
        The star has none.
        """
        for value in ("0", "2147483648", "99999999999999", "-1", "one", '""'):
            contact = f'<sip:201@10.1.1.7>;reg-id={value};+sip.instance="<urn:uuid:1>"'
            self.assertRefused(400, ("Contact", contact))
        self.assertRefused(400, ("Contact", "<sip:201@10.1.1.7>;reg-id"))
        self.assertRaises(MalformedField, read, ("Contact", "*;reg-id=1"), ("Expires", "0"))
        contact = '<sip:201@10.1.1.7>;reg-id=2147483647;+sip.instance="<urn:uuid:1>"'
        self.assertEqual(read(("Contact", contact)).contacts[0].reg_id, 2147483647)

    def test_O04_one_flow_at_a_time(self) -> None:
        """
        Others may end with the same request.
        """
        self.assertRefused(400, FLOW, ("Contact", "<sip:x@10.1.1.8>"))
        other = ("Contact", '<sip:201@10.1.1.7>;reg-id=8;+sip.instance="<urn:uuid:1>";expires=0')
        self.assertEqual([offer.reg_id for offer in read(FLOW, other).contacts], [7, 8])

    def test_PA5_a_path_leads_through_loose_routers(self) -> None:
        """
        RFC 3327 section 4.
        """
        self.assertRefused(400, CONTACT, ("Path", "<sip:p1;lr>, <sip:p2>"))
        self.assertRaises(MalformedField, read, CONTACT, ("Path", "<sip:p1;lr"))

    def test_R09_a_sips_contact_needs_a_sips_request(self) -> None:
        """
        RFC 5630 section 5.2.
        """
        contact = ("Contact", "<sips:201@10.1.1.7>")
        self.assertRefused(400, contact)
        self.assertRefused(400, contact, uri="sips:example.com")
        self.assertTrue(read(contact, uri="sips:example.com", aor="sips:201@example.com").contacts)
