"""
Tests for L{sipxha.services.redirect}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.users import Credential, Users
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.table import Registry
from sipxha.routing.mapping import (
    HostMatch,
    MappingRules,
    PermissionMatch,
    Transform,
    UserMatch,
    read_template,
    read_user_pattern,
)
from sipxha.services.redirect import Answer, Redirect
from sipxha.sip.message import Request
from tests.registry.rows import NOW, a_row


def rules(pattern: str, url: str, *permissions: str, host: str = "example.com") -> MappingRules:
    """
    Rules of one line.
    """
    match = PermissionMatch(frozenset(permissions), (Transform(url=read_template(url, {})),))
    user = UserMatch((read_user_pattern(pattern),), (match,))
    return MappingRules([HostMatch(frozenset({(host, None)}), (), (), (user,))])


class RedirectTests(SynchronousTestCase):
    """
    Tests for L{Redirect}.
    """

    def setUp(self) -> None:
        self.registry = Registry("sipx1.example.com", 7200)
        self.users = Users(
            [Credential("201@example.com", "example.com", "201", {})],
            {"201@example.com": frozenset({"Voicemail"})},
            {
                "info@example.com": ("<sip:201@example.com>;q=0.9", '"Bob" <sip:202@example.com>'),
                "me@example.com": ("<sip:me@example.com>", "<sip:201@example.com>;q=loud"),
            },
        )
        domain = ServedDomain("example.com", ["sip.example.com"])
        self.gruus = Gruus(b"a secret of the cluster", "example.com")
        self.redirect = Redirect(domain, self.gruus, self.registry, lambda: self.users)

    def bind(self, contact: str, **columns: Any) -> None:
        """
        Bind a contact to 201.
        """
        self.registry.apply([a_row(contact=contact, **columns)], NOW)

    def ask(
        self, uri: str = "sip:201@example.com", method: str = "INVITE", *fields: tuple[str, str]
    ) -> Answer:
        """
        What a request is answered.
        """
        return self.redirect.answer(Request(method, uri, fields), NOW)

    def contacts(self, uri: str = "sip:201@example.com") -> list[str]:
        """
        The contacts of a 302.
        """
        answer = self.ask(uri)
        self.assertEqual(answer.status, 302)
        self.assertEqual({name for name, _ in answer.fields}, {"Contact"})
        return [value for _, value in answer.fields]

    def test_M25_numbers_and_services_are_not_looked_up(self) -> None:
        """
        416: the front door makes SIP URIs of those that lead somewhere.
        """
        for uri in ("tel:201", "urn:service:sos"):
            self.assertEqual(self.ask(uri).status, 416)

    def test_D01_a_bound_user_is_redirected_to(self) -> None:
        """
        With the seconds that are left.
        """
        self.bind("<sip:201@10.1.1.7:5060>;x=1")
        self.assertEqual(self.contacts(), ["<sip:201@10.1.1.7:5060>;x=1;expires=3600"])

    def test_D01_the_most_wanted_contact_comes_first(self) -> None:
        """
        By q, which is 1 where none was given.
        """
        for contact, qvalue in (("<sip:a@h>", "0.1"), ("<sip:b@h>", ""), ("<sip:c@h>", "0.5")):
            self.bind(contact, qvalue=qvalue)
        self.assertEqual(
            self.contacts(),
            ["<sip:b@h>;expires=3600", "<sip:c@h>;q=0.5;expires=3600", "<sip:a@h>;q=0.1;expires=3600"],
        )

    def test_PA3_the_path_goes_along(self) -> None:
        """
        As a Route header in the URI, beside headers that are there already.
        """
        self.bind("<sip:a@h>", path="<sip:p1;lr>,<sip:p2;lr>")
        self.bind("<sip:b@h?Subject=x>", path="<sip:p1;lr>", qvalue="0.5")
        self.assertEqual(
            self.contacts(),
            [
                "<sip:a@h?Route=%3Csip%3Ap1%3Blr%3E%2C%3Csip%3Ap2%3Blr%3E>;expires=3600",
                "<sip:b@h?Subject=x&Route=%3Csip%3Ap1%3Blr%3E>;q=0.5;expires=3600",
            ],
        )

    def test_O06_flows_tell_whose_they_are(self) -> None:
        """
        So that the proxy tries those of one phone one after the other.
        """
        self.bind("<sip:a@h>", instance_id="<urn:uuid:1>", reg_id=2)
        self.bind("<sip:b@h>", instance_id="<urn:uuid:1>")
        self.assertEqual(
            sorted(self.contacts()),
            ['<sip:a@h>;+sip.instance="<urn:uuid:1>";reg-id=2;expires=3600', "<sip:b@h>;expires=3600"],
        )

    def test_contacts_that_another_kind_of_registrar_kept_are_shown_alike(self) -> None:
        """
        With a display name, or without brackets; even what cannot be read
        does no harm.
        """
        for contact, qvalue in (
            ("sip:a@h", "0.9"),
            ('"x > y" <sip:b@h>;k=v', "0.8"),
            ("<<", "0.7"),
            ("a b", "0.6"),
        ):
            self.bind(contact, qvalue=qvalue, path="<sip:p>")
        self.assertEqual(
            self.contacts()[:2],
            [
                "<sip:a@h?Route=%3Csip%3Ap%3E>;q=0.9;expires=3600",
                "<sip:b@h?Route=%3Csip%3Ap%3E>;k=v;q=0.8;expires=3600",
            ],
        )

    def test_M22_D02_unknown_methods_and_extensions_change_nothing(self) -> None:
        """
        RFC 3261 section 8.3.
        """
        self.bind("<sip:a@h>")
        answer = self.ask("sip:201@example.com", "NEWMETHOD", ("Require", "nobody-knows"))
        self.assertEqual(answer.status, 302)

    def test_G05_a_gruu_leads_to_its_instance_only(self) -> None:
        """
        480 while it is away, 404 for what we never made or is no more.
        """
        row = a_row(contact="<sip:one@10.1.1.7>", instance_id="<urn:uuid:1>")
        public, temporary = self.gruus.public(row), self.gruus.temporary(row)
        self.assertEqual((self.ask(public).status, self.ask(temporary).status), (480, 404))
        self.bind("<sip:two@10.1.1.8>")
        self.assertEqual((self.ask(public).status, self.ask(temporary).status), (480, 404))
        self.registry.apply([row], NOW)
        for gruu in (public, temporary):
            self.assertEqual(self.contacts(gruu), ["<sip:one@10.1.1.7>;expires=3600"])
        for wrong in (
            "sip:201@example.com;gr",
            "sip:201@example.com;gr=1",
            "sip:999@example.com;gr=urn:uuid:1",
        ):
            self.assertEqual(self.ask(wrong).status, 404)

    def test_D03_never_back_to_itself(self) -> None:
        """
        Neither a binding nor an alias may loop; text that only looks alike
        may stay.
        """
        self.bind("<sip:201@EXAMPLE.com>")
        self.assertEqual(self.ask().status, 480)
        self.bind("<sip:201@phone.example.com>")
        self.assertEqual(self.contacts(), ["<sip:201@phone.example.com>;expires=3600"])
        self.assertEqual(self.contacts("sip:me@example.com"), ["<sip:201@example.com>;q=loud"])

    def test_D06_absent_users_and_strangers(self) -> None:
        """
        480 and 404.
        """
        self.assertEqual(self.ask("sip:201@example.com"), Answer(480))
        self.assertEqual(self.ask("sip:999@example.com"), Answer(404))
        self.assertEqual(self.ask("sip:201@example.org"), Answer(404))
        self.assertEqual(self.ask("sip:example.com"), Answer(404))

    def test_D06_an_ended_binding_is_none(self) -> None:
        """
        The user is still known.
        """
        self.bind("<sip:a@h>", expires=int(NOW))
        self.assertEqual(self.ask(), Answer(480))

    def test_D07_a_sips_request_gets_sips_contacts_only(self) -> None:
        """
        RFC 5630 section 5.3.
        """
        self.bind("<sip:a@h>")
        self.assertEqual(self.ask("sips:201@example.com"), Answer(480))
        self.bind("<sips:b@h>")
        self.assertEqual(self.contacts("sips:201@example.com"), ["<sips:b@h>;expires=3600"])

    def test_aliases_are_contacts(self) -> None:
        """
        As they stand in the file; whoever asked resolves them.
        """
        self.assertEqual(
            self.contacts("sip:info@sip.example.com"),
            ['"Bob" <sip:202@example.com>', "<sip:201@example.com>;q=0.9"],
        )

    def test_options_for_the_domain_are_answered_here(self) -> None:
        """
        For a user they are redirected.
        """
        answer = self.ask("sip:example.com", "OPTIONS")
        self.assertEqual(answer.status, 200)
        self.assertIn("REGISTER", dict(answer.fields)["Allow"])
        self.assertEqual(self.ask("sip:201@example.com", "OPTIONS").status, 480)

    def test_mapping_rules_add_to_what_is_registered(self) -> None:
        """
        In the order of q; for a user without a telephone they are all there is.
        """
        self.redirect.mapping = rules("2xx", "<sip:{digits}@vm.example.com>;q=0.1", "Voicemail")
        self.assertEqual(self.contacts(), ["<sip:201@vm.example.com>;q=0.1"])
        self.bind("<sip:a@h>")
        self.assertEqual(self.contacts(), ["<sip:a@h>;expires=3600", "<sip:201@vm.example.com>;q=0.1"])

    def test_mapping_rules_may_ask_for_a_permission_of_the_called(self) -> None:
        """
        Who does not have it is not known by the rule.
        """
        self.redirect.mapping = rules("2xx", "<sip:{digits}@vm.example.com>", "AutoAttendant")
        self.assertEqual(self.ask(), Answer(480))
        self.assertEqual(self.ask("sip:299@example.com"), Answer(404))

    def test_mapping_rules_know_hosts_that_are_not_of_the_domain(self) -> None:
        """
        As far as they name them.
        """
        self.redirect.mapping = rules("1xx", "<sip:{digits}@example.com>", host="sipx1.example.com")
        self.assertEqual(self.contacts("sip:101@sipx1.example.com"), ["<sip:101@example.com>"])
        self.assertEqual(self.ask("sip:101@sipx2.example.com"), Answer(404))

    def test_fallback_rules_are_asked_when_nothing_else_answered(self) -> None:
        """
        Neither a telephone nor an alias nor a mapping rule.
        """
        self.redirect.fallback = rules(".", "<sip:{digits}@gw1.example.com>")
        self.assertEqual(self.contacts(), ["<sip:201@gw1.example.com>"])
        self.assertEqual(self.contacts("sip:5551234@example.com"), ["<sip:5551234@gw1.example.com>"])
        self.assertNotIn("<sip:info@gw1.example.com>", self.contacts("sip:info@example.com"))
        self.redirect.mapping = rules("5.", "<sip:{vdigits}@vm.example.com>")
        self.assertEqual(self.contacts("sip:5551234@example.com"), ["<sip:551234@vm.example.com>"])
        self.bind("<sip:a@h>")
        self.assertEqual(self.contacts(), ["<sip:a@h>;expires=3600"])

    def test_D03_D07_rules_lead_neither_back_nor_out_of_sips(self) -> None:
        """
        As telephones and aliases.
        """
        self.redirect.mapping = rules("2xx", "<sip:{digits}@EXAMPLE.com>")
        self.redirect.fallback = rules("2xx", "<sip:{digits}@vm.example.com>")
        self.assertEqual(self.contacts(), ["<sip:201@vm.example.com>"])
        self.assertEqual(self.ask("sips:201@example.com"), Answer(480))

    def test_a_request_can_ask_for_no_forwarding(self) -> None:
        """
        The URI parameter sipx-userforward=false passes over the aliases.
        """
        self.assertEqual(self.ask("sip:info@example.com;sipx-userforward=false"), Answer(404))
        self.assertEqual(len(self.contacts("sip:info@example.com;sipx-userforward=true")), 2)
