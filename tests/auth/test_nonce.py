"""
Tests for L{sipxha.auth.nonce}.
"""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.nonce import Nonces, Standing

NOW = 1_140_817_000.0
SECRET = b"a secret of the cluster"


class NoncesTests(SynchronousTestCase):
    """
    Tests for what a nonce is worth, and to whom.
    """

    def setUp(self) -> None:
        numbers = count(1)
        self.mint = lambda: f"token-{next(numbers):012d}"
        self.nonces = Nonces(SECRET, "sipx1")

    def issue(self, now: float = NOW) -> str:
        """
        A nonce for MD5.
        """
        return self.nonces.issue("example.com", "MD5", now, self.mint)

    def judge(self, nonce: str, nc: int = 1, now: float = NOW, nonces: Nonces | None = None) -> Standing:
        """
        What it is worth.
        """
        return (nonces or self.nonces).judge(nonce, "example.com", "MD5", nc, now)

    def test_our_own_nonce_is_good(self) -> None:
        """
        And no two are alike.
        """
        self.assertIs(self.judge(self.issue()), Standing.GOOD)
        self.assertNotEqual(self.issue(), self.issue())

    def test_a_challenge_costs_no_memory(self) -> None:
        """
        Neither does judging.
        """
        for _ in range(100):
            self.judge(self.issue())
        self.assertEqual(len(self.nonces._used), 0)

    def test_it_becomes_stale(self) -> None:
        """
        After 300 seconds.
        """
        nonce = self.issue()
        self.assertIs(self.judge(nonce, now=NOW + 299.9), Standing.GOOD)
        self.assertIs(self.judge(nonce, now=NOW + 300), Standing.STALE)

    def test_A11_its_count_must_grow(self) -> None:
        """
        Gaps are allowed, repetitions are not.
        """
        nonce = self.issue()
        self.nonces.accept(nonce, 3, NOW)
        self.assertIs(self.judge(nonce, 3), Standing.STALE)
        self.assertIs(self.judge(nonce, 2), Standing.STALE)
        self.assertIs(self.judge(nonce, 5), Standing.GOOD)

    def test_A07_it_holds_for_one_realm_and_algorithm(self) -> None:
        """
        RFC 8760 section 2.3.
        """
        nonce = self.issue()
        self.assertIs(self.nonces.judge(nonce, "example.com", "SHA-256", 1, NOW), Standing.FORGED)
        self.assertIs(self.nonces.judge(nonce, "example.org", "MD5", 1, NOW), Standing.FORGED)

    def test_A16_another_node_knows_it_but_calls_it_stale(self) -> None:
        """
        It cannot know whether it was answered.
        """
        other = Nonces(SECRET, "sipx2")
        self.assertIs(self.judge(self.issue(), nonces=other), Standing.STALE)
        self.assertIs(self.judge(self.issue(), nonces=Nonces(b"another", "sipx1")), Standing.FORGED)

    def test_A16_so_does_the_same_node_after_a_restart(self) -> None:
        """
        Its memory of answers is gone.
        """
        nonce = self.issue()
        again = Nonces(SECRET, "sipx1")
        again.issue("example.com", "MD5", NOW, self.mint)
        self.assertIs(self.judge(nonce, nonces=again), Standing.STALE)

    def test_bounded_memory_never_lets_a_replay_pass(self) -> None:
        """
        What is forgotten takes all older nonces with it.
        """
        self.nonces = Nonces(SECRET, "sipx1", remembered=2)
        issued = [self.issue(NOW + second) for second in range(4)]
        for nonce in issued[1:]:
            self.nonces.accept(nonce, 1, NOW + 4)
        self.assertEqual(len(self.nonces._used), 2)
        for nonce in issued:
            self.assertIs(self.judge(nonce, now=NOW + 4), Standing.STALE)
        self.assertIs(self.judge(issued[3], 2, now=NOW + 4), Standing.GOOD)
        self.assertIs(self.judge(self.issue(NOW + 4), now=NOW + 4), Standing.GOOD)

    def test_old_answers_are_forgotten(self) -> None:
        """
        They are stale by their age.
        """
        self.nonces.accept(self.issue(), 1, NOW)
        self.nonces.accept(self.issue(NOW + 400), 1, NOW + 400)
        self.assertEqual(len(self.nonces._used), 1)

    def test_a_clock_that_was_set_back_does_not_lock_anybody_out(self) -> None:
        """
        New nonces are good, old ones may be used up.
        """
        self.nonces.accept(self.issue(), 1, NOW)
        self.nonces.accept(self.issue(NOW + 400), 1, NOW + 400)
        nonce = self.issue(NOW - 3600)
        self.assertIs(self.judge(nonce, now=NOW - 3600), Standing.GOOD)

    @given(st.text(max_size=200))
    def test_anything_else_is_forged(self, text: str) -> None:
        """
        Whatever a stranger sends.
        """
        self.assertIs(self.judge(text), Standing.FORGED)

    @given(st.integers(0, 200), st.characters(min_codepoint=33, max_codepoint=126))
    def test_no_character_of_it_can_be_changed(self, place: int, character: str) -> None:
        """
        The seal covers all of it.
        """
        nonce = self.issue()
        place %= len(nonce)
        changed = nonce[:place] + character + nonce[place + 1 :]
        if changed != nonce:
            self.assertIs(self.judge(changed), Standing.FORGED)
