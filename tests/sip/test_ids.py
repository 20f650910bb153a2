"""
Tests for L{sipxha.sip.ids}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.ids import MAGIC_COOKIE, branch, call_id, tag


def mint() -> str:
    return "0123456789abcdef"


class IdTests(SynchronousTestCase):
    """
    Tests for L{branch}, L{tag} and L{call_id}.
    """

    def test_all_chance_comes_from_the_mint(self) -> None:
        """
        A branch begins with the cookie of RFC 3261.
        """
        self.assertEqual(branch(mint), "z9hG4bK-0123456789abcdef")
        self.assertTrue(branch(mint).startswith(MAGIC_COOKIE))
        self.assertEqual(tag(mint), "0123456789abcdef")
        self.assertEqual(call_id(mint, "192.0.2.1"), "0123456789abcdef@192.0.2.1")
