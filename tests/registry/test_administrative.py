"""
Tests for L{sipxha.registry.administrative}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.administrative import binding, find_user, removal
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.register import RegistrationRefused, Terms
from sipxha.registry.table import Registry
from sipxha.sip.grammar import MalformedField
from tests.registry.rows import NOW, a_registration, an_offer

TERMS = Terms(ServedDomain("example.com", ["sip.example.com"]), 60, 3600, 7200, Gruus(b"s", "example.com"))
AOR = "201@example.com"


class AdministrativeTests(SynchronousTestCase):
    """
    Tests for what an operator may bind and end.
    """

    def setUp(self) -> None:
        self.registry = Registry("sipx1.example.com", 7200)

    def bind(self, contact: str) -> None:
        """
        Do what the verb does.
        """
        self.registry.register(binding(self.registry, AOR, contact, TERMS), NOW)

    def unbind(self, contact: str) -> None:
        """
        The same.
        """
        self.registry.register(removal(self.registry, AOR, contact, TERMS, NOW), NOW)

    def bound(self) -> list[tuple[str, float]]:
        """
        What is current, and for how long.
        """
        rows = sorted(self.registry.current(AOR, NOW))
        return [(row.contact, row.deadline - NOW) for row in rows]

    def test_a_user_is_called_as_operators_call_one(self) -> None:
        """
        With or without the domain, under any of its names.
        """
        for user in ("201", "201@example.com", "201@SIP.example.com", "sip:201@example.com", "sips:201"):
            self.assertEqual(find_user(user, TERMS), AOR)
        self.assertRaises(RegistrationRefused, find_user, "201@example.org", TERMS)
        self.assertRaises(MalformedField, find_user, "20 1", TERMS)

    def test_a_contact_is_bound_for_as_long_as_any_is(self) -> None:
        """
        Beside those of phones; and again, as often as one likes.
        """
        self.registry.register(a_registration(an_offer()), NOW)
        self.bind("sip:gw@10.9.9.9")
        self.bind("sip:gw@10.9.9.9")
        self.bind("<sip:x@10.9.9.9>;expires=600")
        self.assertEqual(
            self.bound(),
            [("<sip:201@10.1.1.7:5060>", 3600), ("<sip:gw@10.9.9.9>", 7200), ("<sip:x@10.9.9.9>", 600)],
        )
        callids = {row.callid for row in self.registry.current(AOR, NOW)}
        self.assertEqual(callids, {"f00d@10.1.1.7", f"administrative-{AOR}"})
        self.assertEqual(self.registry.last_cseq(AOR, f"administrative-{AOR}"), 3)

    def test_any_contact_can_be_ended(self) -> None:
        """
        However it was bound, and however it is written.
        """
        self.registry.register(a_registration(an_offer("<sip:a@pc.example.com>"), cseq=9), NOW)
        self.bind("sip:gw@10.9.9.9")
        self.unbind("sip:a@PC.example.com")
        self.assertEqual(self.bound(), [("<sip:gw@10.9.9.9>", 7200)])
        self.unbind("sip:gw@10.9.9.9")
        self.assertEqual(self.bound(), [])
        self.bind("sip:gw@10.9.9.9")
        self.assertEqual(self.bound(), [("<sip:gw@10.9.9.9>", 7200)])

    def test_all_of_them_can(self) -> None:
        """
        By the star.
        """
        self.registry.register(a_registration(an_offer(), an_offer("<sip:b@10.1.1.8>")), NOW)
        self.unbind("*")
        self.assertEqual(self.bound(), [])
        self.registry.register(a_registration(an_offer(), cseq=2), NOW)
        self.assertEqual(len(self.bound()), 1)

    def test_what_is_not_bound_cannot_be_ended(self) -> None:
        """
        An operator wants to know.
        """
        for contact in ("sip:a@10.1.1.7", "*"):
            refused = self.assertRaises(RegistrationRefused, removal, self.registry, AOR, contact, TERMS, NOW)
            self.assertEqual(refused.status, 404)

    def test_what_is_no_contact_is_refused(self) -> None:
        """
        Nor is one with wrong parameters.
        """
        self.assertRaises(MalformedField, self.bind, "over there")
        self.assertRaises(RegistrationRefused, self.bind, "<sip:a@h>;q=2")
