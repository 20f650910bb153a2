"""
Tests for L{sipxha.routing.mapping}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.mapping import (
    HostMatch,
    MappingRules,
    PermissionMatch,
    Template,
    Transform,
    UserMatch,
    read_template,
    read_user_pattern,
)
from sipxha.sip.address import Address
from sipxha.sip.uri import Uri

HOME = frozenset({("example.com", None)})
NOBODY: frozenset[str] = frozenset()


def t(text: str) -> Template:
    """
    A template without other symbols than those of the request.
    """
    return read_template(text, {})


def user_match(patterns: str, *transforms: Transform, needs: tuple[str, ...] = ()) -> UserMatch:
    """
    A rule for patterns with blanks between.
    """
    return UserMatch(
        tuple(read_user_pattern(pattern) for pattern in patterns.split()),
        (PermissionMatch(frozenset(needs), transforms),),
    )


def contacts(*users: UserMatch, uri: str, held: frozenset[str] = NOBODY) -> list[str]:
    """
    What rules for the domain make of a request.
    """
    return MappingRules([HostMatch(HOME, (), (), users)]).contacts(Uri.parse(uri), held)


class UserPatternTests(SynchronousTestCase):
    """
    Where the variable digits of a pattern begin.
    """

    def test_constants_at_the_front_do_not_vary(self) -> None:
        """
        Those behind the first thing that varies belong to it.
        """
        for pattern, constant in (
            ("9xxx", 1),
            (".", 0),
            ("[12]34", 0),
            ("91[2-9]x3", 2),
            (r"\x1x", 2),
            ("911", None),
            (r"\.", None),
            ("+1.", 2),
        ):
            self.assertEqual(read_user_pattern(pattern).constant, constant, pattern)

    def test_a_pattern_that_does_not_end_is_refused(self) -> None:
        """
        Before anything is dialled.
        """
        for pattern in ("[1", "1\\"):
            with self.assertRaises(ValueError):
                read_user_pattern(pattern)


class TemplateTests(SynchronousTestCase):
    """
    Texts with symbols.
    """

    def test_symbols_are_filled_in(self) -> None:
        """
        Those that are known beforehand, and those of the request; other braces
        stay.
        """
        template = read_template("{a}-{user}{} {b}{host}!", {"a": "1", "b": "2"})
        self.assertEqual(template.filled({"user": "U", "host": "H"}), "1-U{} 2H!")

    def test_a_symbol_that_nothing_stands_for_is_refused(self) -> None:
        """
        A contact with braces in it helps nobody.
        """
        with self.assertRaises(ValueError) as caught:
            read_template("{User}", {})
        self.assertEqual(str(caught.exception), "{User} stands for nothing here")


class MappingRulesTests(SynchronousTestCase):
    """
    What rules make of a request.
    """

    def test_the_first_match_decides(self) -> None:
        """
        Even if nothing comes out of it.
        """
        users = (
            user_match("2xx", Transform(url=t("<sip:one@h>")), needs=("Voicemail",)),
            user_match(". 2xx", Transform(url=t("<sip:two@h>"))),
        )
        self.assertEqual(contacts(*users, uri="sip:3@example.com"), ["<sip:two@h>"])
        self.assertEqual(contacts(*users, uri="sip:201@example.com"), [])
        self.assertEqual(
            contacts(*users, uri="sip:201@example.com", held=frozenset({"Voicemail"})), ["<sip:one@h>"]
        )

    def test_symbols_stand_for_parts_of_the_request(self) -> None:
        """
        Escaped where the text around them asks for it.
        """
        for text, expected in (
            ("<sip:{user}@h>", "<sip:9a;b@h>"),
            ("<sip:1@h;k={digits-escaped}>", "<sip:1@h;k=9a%3Bb>"),
            ("<sip:{vdigits}@h>", "<sip:a;b@h>"),
            ("<sip:1@h;k={vdigits-escaped}>", "<sip:1@h;k=a%3Bb>"),
            ("<sip:1@{host}>", "<sip:1@example.com>"),
            ("<{uri}>;q=0.5", "<sip:9a;b@example.com;x=y>;q=0.5"),
            ("<sip:1@h;{urlparams}>", "<sip:1@h;x=y>"),
        ):
            rule = user_match("9.", Transform(url=t(text)))
            self.assertEqual(contacts(rule, uri="sip:9a;b@example.com;x=y"), [expected])

    def test_a_pattern_without_variable_digits_has_none(self) -> None:
        """
        They are empty, and the digits are not.
        """
        rule = user_match("100", Transform(url=t("<sip:x@h;d={digits};v={vdigits}>")))
        self.assertEqual(contacts(rule, uri="sip:100@example.com"), ["<sip:x@h;d=100;v=>"])

    def test_parts_of_the_request_are_changed(self) -> None:
        """
        With another host the transport of the old one is forgotten.
        """
        uri = "sip:9201@example.com;transport=tcp;k=v"
        for transform, expected in (
            (Transform(user=t("{vdigits}")), "<sip:201@example.com;transport=tcp;k=v>"),
            (Transform(host=t("gw1.example.com:5080")), "<sip:9201@gw1.example.com:5080;k=v>"),
            (Transform(urlparams=(t("a=1"), t("b"))), "<sip:9201@example.com;transport=tcp;k=v;a=1;b>"),
            (
                Transform(user=t("x"), headerparams=(t("A=1"), t("B=2"))),
                "<sip:x@example.com;transport=tcp;k=v?A=1&B=2>",
            ),
            (
                Transform(user=t("x"), fieldparams=(t("q=0.1"), t("e"))),
                "<sip:x@example.com;transport=tcp;k=v>;q=0.1;e",
            ),
        ):
            self.assertEqual(contacts(user_match("9.", transform), uri=uri), [expected])

    def test_a_contact_without_brackets_gets_them(self) -> None:
        """
        What follows its semicolon is the contact's, not the URI's.
        """
        rule = user_match(".", Transform(url=t("sip:1@h;q=0.5")))
        self.assertEqual(contacts(rule, uri="sip:1@example.com"), ["<sip:1@h>;q=0.5"])

    def test_equal_contacts_are_one(self) -> None:
        """
        In the order of the file.
        """
        one, two = Transform(url=t("<sip:1@h>")), Transform(url=t("<sip:2@h>"))
        self.assertEqual(
            contacts(user_match(".", two, one, two), uri="sip:1@example.com"), ["<sip:2@h>", "<sip:1@h>"]
        )

    def test_a_permission_can_be_left_out_of_account(self) -> None:
        """
        The intermediate of a call that was forwarded gives no voicemail; and
        the word is not passed on.
        """
        rule = user_match(".", Transform(user=t("vm")), needs=("Voicemail", "Other"))
        uri = "sip:1@example.com;sipx-noroute=VoiceMail"
        self.assertEqual(contacts(rule, uri=uri, held=frozenset({"Voicemail"})), [])
        self.assertEqual(
            contacts(rule, uri=uri, held=frozenset({"Voicemail", "Other"})), ["<sip:vm@example.com>"]
        )

    def test_what_does_not_fit_costs_only_itself(self) -> None:
        """
        A user part that cannot stand where the rule puts it.
        """
        rule = user_match(".", Transform(url=t("<sip:1@{user}>")), Transform(url=t("<sip:2@h>")))
        self.assertEqual(contacts(rule, uri="sip:a+b@example.com"), ["<sip:2@h>"])
        self.assertEqual(contacts(rule, uri="sip:example.com"), ["<sip:2@h>"])

    @given(
        st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='@%:<>"'), min_size=1)
    )
    def test_whatever_is_dialled_makes_one_address_or_none(self, user: str) -> None:
        """
        Nobody can add a contact, or a parameter to that of an escaped symbol.
        """
        rule = user_match(".", Transform(url=t("<sip:vm@h;mb={digits-escaped}>;q=0.1")))
        uri = Uri("sip", user, host="example.com")
        (contact,) = MappingRules([HostMatch(HOME, (), (), (rule,))]).contacts(uri, NOBODY)
        address = Address.parse(contact)
        self.assertEqual([name for name, _ in address.uri.params], ["mb"])
        self.assertEqual((address.uri.host, str(address.params)), ("h", ";q=0.1"))

    def test_no_rules_lead_nowhere(self) -> None:
        """
        As for a node without the file.
        """
        self.assertEqual(MappingRules().contacts(Uri.parse("sip:1@example.com"), NOBODY), [])
