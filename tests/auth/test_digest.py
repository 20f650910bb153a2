"""
Tests for L{sipxha.auth.digest}.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.digest import Authenticator, Verdict, ha1, response
from sipxha.auth.nonce import Nonces
from sipxha.auth.users import Credential, Users
from sipxha.sip.auth_fields import Challenge, Credentials

NOW = 1_140_817_000.0
REALM = "example.com"
SECRET = b"a secret of the cluster"
URI = "sip:example.com"
UNPROVED = Verdict(None)


def a_user(username: str, password: str, *algorithms: str) -> Credential:
    """
    Somebody with a hash for each algorithm.
    """
    hashes = {algorithm: ha1(username, REALM, password, algorithm) for algorithm in algorithms}
    return Credential(f"{username}@example.com", REALM, username, hashes)


class ResponseTests(SynchronousTestCase):
    """
    The arithmetic.
    """

    def test_the_example_of_the_standard(self) -> None:
        """
        RFC 7616 section 3.9.1, both algorithms.
        """
        for algorithm, expected in (
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ):
            computed = response(
                ha1("Mufasa", "http-auth@example.org", "Circle of Life", algorithm),
                "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                "00000001",
                "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                "GET",
                "/dir/index.html",
                algorithm,
            )
            self.assertEqual(computed, expected)


class AuthenticatorTests(SynchronousTestCase):
    """
    Tests for L{Authenticator}.
    """

    def setUp(self) -> None:
        numbers = count(1)
        self.mint = lambda: f"token-{next(numbers):012d}"
        self.users = Users([a_user("201", "secret", "MD5", "SHA-256"), a_user("202", "other", "MD5")])
        self.nonces = Nonces(SECRET, "sipx1")
        self.authenticator = self.an_authenticator("SHA-256", "MD5")

    def an_authenticator(self, *algorithms: str, node: str | None = None) -> Authenticator:
        """
        One of this node, or of another.
        """
        nonces = self.nonces if node is None else Nonces(SECRET, node)
        return Authenticator(REALM, algorithms, self.users, nonces, self.mint)

    def nonce(self, algorithm: str = "MD5", now: float = NOW) -> str:
        """
        The nonce of the challenge for an algorithm.
        """
        for value in self.authenticator.challenges(now):
            challenge = Challenge.parse(value)
            if challenge.params["algorithm"] == algorithm:
                return challenge.params["nonce"]
        raise AssertionError(algorithm)

    def answer(self, nonce: str | None = None, password: str = "secret", **changed: str | None) -> str:
        """
        What a phone would send.

        @param changed: Parameters after the computation; L{None} leaves out.
        """
        algorithm = changed.pop("with_", None) or "MD5"
        username = changed.pop("as_", None) or "201"
        params: dict[str, str | None] = {
            "username": username,
            "realm": REALM,
            "nonce": nonce or self.nonce(algorithm),
            "uri": changed.pop("for_", None) or URI,
            "qop": "auth",
            "nc": changed.pop("nc_", None) or "00000001",
            "cnonce": "c",
            "algorithm": algorithm,
        }
        params["response"] = response(
            ha1(username, REALM, password, algorithm),
            str(params["nonce"]),
            str(params["nc"]),
            "c",
            "REGISTER",
            str(params["uri"]),
            algorithm,
        )
        params.update(changed)
        return str(Credentials("Digest", {name: text for name, text in params.items() if text is not None}))

    def judge(self, *values: str, now: float = NOW, authenticator: Authenticator | None = None) -> Verdict:
        """
        Judge a REGISTER.
        """
        return (authenticator or self.authenticator).judge(values, "REGISTER", URI, now)

    def test_A07_a_challenge_for_each_algorithm_in_order(self) -> None:
        """
        Each with a nonce of its own.
        """
        challenges = [Challenge.parse(value).params for value in self.authenticator.challenges(NOW)]
        self.assertEqual([each["algorithm"] for each in challenges], ["SHA-256", "MD5"])
        self.assertEqual({each["realm"] for each in challenges}, {REALM})
        self.assertEqual({each["qop"] for each in challenges}, {"auth"})
        self.assertEqual(len({each["nonce"] for each in challenges}), 2)
        self.assertFalse(any("stale" in each for each in challenges))

    def test_A10_a_stale_challenge_says_so(self) -> None:
        """
        Then the phone need not ask for the password again.
        """
        for value in self.authenticator.challenges(NOW, stale=True):
            self.assertEqual(Challenge.parse(value).params["stale"], "true")

    def test_the_right_answer_proves_who_it_is(self) -> None:
        """
        By either algorithm; MD5 is what is meant when none is named.
        """
        for value in (self.answer(), self.answer(with_="SHA-256"), self.answer(algorithm=None)):
            self.assertEqual(self.judge(value), Verdict("201@example.com"))

    def test_A15_whatever_is_wrong_looks_the_same(self) -> None:
        """
        Password, user, realm, algorithm, a missing hash, a forged nonce.
        """
        for value in (
            self.answer(password="guess"),
            self.answer(as_="999"),
            self.answer(realm="example.org"),
            self.answer(as_="202", password="other", with_="SHA-256"),
            self.answer("forged"),
            self.answer(response=""),
        ):
            self.assertEqual(self.judge(value), UNPROVED, value)
        self.assertEqual(self.judge(), UNPROVED)

    def test_A15_nobody_costs_as_many_digests_as_somebody(self) -> None:
        """
        What is compared for an unknown user is computed too, and cannot be
        guessed.
        """
        self.assertEqual(set(self.authenticator._nobody), {"SHA-256", "MD5"})
        self.assertNotEqual(self.authenticator._nobody, self.an_authenticator("SHA-256", "MD5")._nobody)

    def test_A10_the_right_answer_to_an_old_nonce_is_stale(self) -> None:
        """
        A wrong one is just wrong.
        """
        nonce = self.nonce()
        self.assertEqual(self.judge(self.answer(nonce), now=NOW + 301), Verdict(None, stale=True))
        self.assertEqual(self.judge(self.answer(nonce, "guess"), now=NOW + 301), UNPROVED)

    def test_A11_a_replay_is_stale(self) -> None:
        """
        The next count is not.
        """
        nonce = self.nonce()
        value = self.answer(nonce)
        self.assertIsNotNone(self.judge(value).identity)
        self.assertEqual(self.judge(value), Verdict(None, stale=True))
        self.assertIsNotNone(self.judge(self.answer(nonce, nc_="00000002")).identity)

    def test_A11_a_wrong_answer_does_not_use_up_a_nonce(self) -> None:
        """
        Or a stranger could lock out a phone whose challenge he saw.
        """
        nonce = self.nonce()
        self.judge(self.answer(nonce, "guess", nc_="ffffffff"))
        self.assertIsNotNone(self.judge(self.answer(nonce)).identity)

    def test_A16_a_nonce_of_another_node_costs_one_challenge(self) -> None:
        """
        Never a bypass.
        """
        other = self.an_authenticator("MD5", node="sipx2")
        value = self.answer()
        self.assertEqual(self.judge(value, authenticator=other), Verdict(None, stale=True))
        self.assertIsNotNone(self.judge(value).identity)

    def test_A08_an_algorithm_that_is_not_offered_is_refused(self) -> None:
        """
        MD5 where only SHA-256 is.
        """
        strict = self.an_authenticator("SHA-256")
        self.assertEqual(self.judge(self.answer(), authenticator=strict), UNPROVED)

    def test_A09_session_algorithms_and_auth_int_are_refused(self) -> None:
        """
        Cleanly.
        """
        for changed in ({"algorithm": "MD5-sess"}, {"qop": "auth-int"}, {"algorithm": "x"}):
            self.assertEqual(self.judge(self.answer(**changed)), UNPROVED)

    def test_A12_qop_count_and_cnonce_are_required(self) -> None:
        """
        The old way without them has no protection against replay.
        """
        for name in ("qop", "nc", "cnonce", "username", "uri", "response"):
            without: dict[str, Any] = {name: None}
            self.assertEqual(self.judge(self.answer(**without)), UNPROVED, name)
        self.assertEqual(self.judge(self.answer(nc="1")), UNPROVED)

    def test_A13_the_digest_is_bound_to_where_it_goes(self) -> None:
        """
        To user and host at least; a proxy may have changed the rest.
        """
        self.assertIsNotNone(self.judge(self.answer(for_="sip:EXAMPLE.com:5060;transport=tcp")).identity)
        for uri in ("sip:example.org", "sip:202@example.com", "nonsense"):
            self.assertEqual(self.judge(self.answer(for_=uri)), UNPROVED)

    def test_A06_credentials_for_others_are_passed_over(self) -> None:
        """
        Other schemes, other realms and nonsense, before and after ours.
        """
        others = ["Basic dTpw", "NoOneKnowsThisScheme opaque-data=here", self.answer(realm="x"), "Digest", ""]
        self.assertIsNotNone(self.judge(*others, self.answer()).identity)
        self.assertIsNotNone(self.judge(self.answer(), *others).identity)
        self.assertEqual(self.judge(*others), UNPROVED)

    def test_new_users_count_at_once(self) -> None:
        """
        A snapshot is replaced as a whole.
        """
        value = self.answer(as_="203", password="x")
        self.assertEqual(self.judge(value), UNPROVED)
        self.authenticator.users = Users([a_user("203", "x", "MD5")])
        self.assertEqual(self.judge(value).identity, "203@example.com")
        self.assertEqual(self.judge(self.answer()), UNPROVED)
