"""
Tests for L{sipxha.auth.identity}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.identity import sign, verify

NOW = 1_140_817_000.0
SECRET = b"a secret of the cluster"


class IdentityTests(SynchronousTestCase):
    """
    Tests for L{sign} and L{verify}.
    """

    value = sign(SECRET, "201@example.com", "call", "tag", NOW)

    def test_what_we_signed_is_believed(self) -> None:
        """
        For a while; clocks of nodes may differ.
        """
        for now in (NOW, NOW + 299, NOW - 299):
            self.assertEqual(verify(SECRET, self.value, "call", "tag", now), "201@example.com")

    def test_it_holds_for_one_call_of_one_caller_for_a_while(self) -> None:
        """
        It cannot be lifted into another request.
        """
        self.assertIsNone(verify(SECRET, self.value, "other", "tag", NOW))
        self.assertIsNone(verify(SECRET, self.value, "call", "other", NOW))
        self.assertIsNone(verify(SECRET, self.value, "call", "tag", NOW + 302))
        self.assertIsNone(verify(b"another", self.value, "call", "tag", NOW))
        self.assertIsNone(verify(SECRET, self.value.replace("201", "202"), "call", "tag", NOW))

    @given(st.text(max_size=100))
    def test_anything_else_is_not(self, text: str) -> None:
        """
        Whatever a stranger sends.
        """
        self.assertIsNone(verify(SECRET, text, "call", "tag", NOW))
