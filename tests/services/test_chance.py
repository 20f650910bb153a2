"""
Tests for L{sipxha.services.chance}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.chance import mint


class MintTests(SynchronousTestCase):
    """
    Branches, tags and nonces are made of this.
    """

    def test_no_token_comes_twice(self) -> None:
        """
        Each is 12 octets of chance, however many are wanted.
        """
        tokens = {mint() for _ in range(2000)}
        self.assertEqual(len(tokens), 2000)
        self.assertTrue(all(len(bytes.fromhex(token)) == 12 for token in tokens))
