"""
Tests for L{sipxha.sip.status}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.status import REASONS


class ReasonTests(SynchronousTestCase):
    """
    Tests for L{REASONS}.
    """

    def test_every_code_is_one_that_can_be_sent(self) -> None:
        """
        And every phrase says something, in one line.
        """
        for code, phrase in REASONS.items():
            self.assertTrue(100 <= code <= 699, code)
            self.assertTrue(phrase and phrase.isprintable() and phrase == phrase.strip(), code)
