"""
Tests for L{sipxha.routing.caller_alias}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.caller_alias import CallerAlias, CallerAliases
from sipxha.sip.uri import Uri

ALIASES = CallerAliases(
    [
        CallerAlias("201@example.com", ("gw1.net", None), "<sip:555@example.com>"),
        CallerAlias("", ("gw1.net", None), "<sip:main@example.com>"),
        CallerAlias("", ("gw1.net", 5070), "<sip:other@example.com>"),
    ]
)


def alias(caller: str, target: str) -> str | None:
    """
    @return: the name of a caller at a target.
    """
    return ALIASES.alias(Uri.parse(caller), Uri.parse(target), "example.com")


class CallerAliasesTests(SynchronousTestCase):
    """
    Who is shown by which name.
    """

    def test_a_row_of_the_caller_comes_before_that_of_everybody(self) -> None:
        """
        Everybody is whoever is of our domain; the port counts.
        """
        self.assertEqual(alias("sips:201@EXAMPLE.com", "sip:9@gw1.net:5060"), "<sip:555@example.com>")
        self.assertEqual(alias("sip:202@example.com", "sip:9@gw1.net"), "<sip:main@example.com>")
        self.assertEqual(alias("sip:201@example.com", "sip:9@gw1.net:5070"), "<sip:other@example.com>")
        self.assertIsNone(alias("sip:202@elsewhere.net", "sip:9@gw1.net"))
        self.assertIsNone(alias("sip:201@example.com", "sip:9@gw2.net"))
