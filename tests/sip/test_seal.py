"""
Tests for L{sipxha.sip.seal}.
"""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.seal import seal


class SealTests(SynchronousTestCase):
    """
    Tests for L{seal}.
    """

    @given(st.binary(min_size=1, max_size=100), st.lists(st.binary(max_size=200), max_size=3))
    def test_it_is_the_hmac_of_the_message(self, secret: bytes, messages: list[bytes]) -> None:
        """
        Whatever was sealed before with the same secret.
        """
        for message in messages:
            self.assertEqual(seal(secret, message), hmac.digest(secret, message, "sha256"))

    def test_a_known_seal(self) -> None:
        """
        RFC 4231 section 4.3.
        """
        expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        self.assertEqual(seal(b"Jefe", b"what do ya want for nothing?").hex(), expected)
