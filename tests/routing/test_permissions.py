"""
Tests for L{sipxha.routing.permissions}.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.permissions import (
    AuthRules,
    HostMatch,
    UserMatch,
    compile_user_pattern,
    is_permitted,
)
from sipxha.sip.uri import Uri

GATEWAY = frozenset({("gw1.example.com", None)})


def user_match(*patterns: str, needs: tuple[str, ...] = ()) -> UserMatch:
    """
    @return: a rule for these patterns.
    """
    return UserMatch(tuple(compile_user_pattern(pattern) for pattern in patterns), frozenset(needs))


RULES = AuthRules(
    [
        HostMatch(
            GATEWAY,
            (
                user_match("911"),
                user_match("1[2-9]xxxxxxxxx", needs=("LongDistanceDialing", "InternationalDialing")),
                user_match(".", needs=("NoAccess",)),
            ),
        )
    ]
)


class AuthRulesTests(SynchronousTestCase):
    """
    What a target demands.
    """

    def test_the_first_match_decides(self) -> None:
        """
        An empty permissionMatch lets everybody pass, also before NoAccess.
        """
        self.assertEqual(RULES.required(Uri.parse("sip:911@gw1.example.com")), frozenset())
        self.assertEqual(
            RULES.required(Uri.parse("sip:16175550100@GW1.example.com:5060")),
            frozenset({"LongDistanceDialing", "InternationalDialing"}),
        )
        self.assertEqual(RULES.required(Uri.parse("sip:555@gw1.example.com")), frozenset({"NoAccess"}))

    def test_other_hosts_demand_nothing(self) -> None:
        """
        A phone's contact has no rule.
        """
        self.assertEqual(RULES.required(Uri.parse("sip:555@10.1.1.7")), frozenset())


class IsPermittedTests(SynchronousTestCase):
    """
    Whether a caller may.
    """

    def test_any_one_permission_suffices(self) -> None:
        """
        As sipX has it.
        """
        self.assertTrue(is_permitted(frozenset({"A", "B"}), "201@example.com", frozenset({"B"})))
        self.assertFalse(is_permitted(frozenset({"A", "B"}), "201@example.com", frozenset({"C"})))

    def test_valid_user_is_anybody_with_a_name(self) -> None:
        """
        But not nobody.
        """
        self.assertTrue(is_permitted(frozenset({"ValidUser"}), "201@example.com", frozenset()))
        self.assertFalse(is_permitted(frozenset({"ValidUser"}), None, frozenset()))

    def test_no_access_is_held_by_nobody(self) -> None:
        """
        Even if a file gives it to somebody.
        """
        self.assertFalse(is_permitted(frozenset({"NoAccess"}), "201@example.com", frozenset({"NoAccess"})))

    def test_nothing_required_is_open_to_all(self) -> None:
        """
        Emergency calls, for one.
        """
        self.assertTrue(is_permitted(frozenset(), None, frozenset()))


class UserPatternTests(SynchronousTestCase):
    """
    The dialling language.
    """

    def test_wildcards(self) -> None:
        """
        x is one character, a full stop any run, brackets a class.
        """
        for pattern, matching, other in (
            ("2xx", ("201", "2ab"), ("20", "2011", "301")),
            ("9.", ("9", "911"), ("8",)),
            ("[2-4]1", ("21", "41"), ("51", "1")),
            ("a.b", ("ab", "axxb"), ("ba",)),
        ):
            compiled = compile_user_pattern(pattern)
            for text in matching:
                self.assertTrue(compiled.fullmatch(text), (pattern, text))
            for text in other:
                self.assertIsNone(compiled.fullmatch(text), (pattern, text))

    @given(st.text(max_size=20))
    def test_escaped_text_stands_for_itself(self, text: str) -> None:
        """
        A backslash before each character takes all magic away.
        """
        compiled = compile_user_pattern("".join("\\" + character for character in text))
        self.assertTrue(compiled.fullmatch(text))

    @given(st.text(st.characters(exclude_characters="x.[\\"), max_size=20))
    def test_regular_expressions_have_no_magic(self, text: str) -> None:
        """
        + ? ( ) $ * and the rest are what they look like.
        """
        self.assertEqual(compile_user_pattern(text).pattern, re.escape(text))

    @given(st.text(max_size=20))
    def test_any_pattern_is_compiled_or_refused(self, text: str) -> None:
        """
        With L{ValueError}, never anything else.
        """
        try:
            compile_user_pattern(text)
        except ValueError:
            pass
