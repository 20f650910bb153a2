"""
Tests for L{sipxha.auth.digest}.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from itertools import count
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.digest import Authenticator, UriNotQuoted, Verdict, digest, ha1, response
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

    def judge(
        self, *values: str, now: float = NOW, authenticator: Authenticator | None = None, source: str = ""
    ) -> Verdict:
        """
        Judge a REGISTER.
        """
        return (authenticator or self.authenticator).judge(values, "REGISTER", URI, now, source)

    def challenge(self, algorithm: str = "MD5", source: str = "") -> dict[str, str]:
        """
        The parameters of the challenge for an algorithm.
        """
        for value in self.authenticator.challenges(NOW, source=source):
            params = Challenge.parse(value).params
            if params["algorithm"] == algorithm:
                return params
        raise AssertionError(algorithm)

    def test_A02_the_realm_is_ours_alone(self) -> None:
        """
        The right password of a user in another realm proves nothing here.
        """
        self.assertEqual(self.challenge()["realm"], REALM)
        hashes = {"MD5": ha1("201", "example.org", "secret", "MD5")}
        self.authenticator.users = Users([Credential("201@example.com", "example.org", "201", hashes)])
        for realm in (REALM, "example.org", "EXAMPLE.COM"):
            self.assertIsNone(self.judge(self.answer(realm=realm)).identity)

    def test_A03_qop_is_always_asked_for(self) -> None:
        """
        Credentials without it get a new challenge, which does not call them
        stale.
        """
        for value in self.authenticator.challenges(NOW):
            self.assertEqual(Challenge.parse(value).params["qop"], "auth")
        self.assertEqual(self.judge(self.answer(qop=None)), UNPROVED)

    def test_wrong_passwords_are_security_events_of_whoever_was_challenged(self) -> None:
        """
        A forged nonce, which anybody can send under any address, makes none;
        what is not looked at does.
        """
        lines: list[str] = []
        self.authenticator.security.write = lines.append
        here = "192.0.2.7"
        self.judge(self.answer(nonce="forged", password="wrong"), source=here)
        self.judge(
            self.answer(nonce=self.challenge(source="192.0.2.8")["nonce"], password="wrong"), source=here
        )
        self.assertEqual(lines, [])
        for _ in range(6):
            nonce = self.challenge(source=here)["nonce"]
            self.judge(self.answer(nonce=nonce, password="wrong"), source=here)
        rest = 'source=192.0.2.7 transport=- service=- method=REGISTER detail="201"'
        failed, held = (f"event={name} {rest}" for name in ("auth-failed", "auth-held"))
        self.assertEqual([line.partition(" sipxha ")[2] for line in lines], [*[failed] * 5, held])

    def test_A05_basic_is_neither_offered_nor_accepted(self) -> None:
        """
        Not even with the right password.
        """
        self.assertEqual(
            {Challenge.parse(value).scheme for value in self.authenticator.challenges(NOW)}, {"Digest"}
        )
        plain = b64encode(b"201:secret").decode()
        for value in (f"Basic {plain}", f'Basic realm="{REALM}", credentials="{plain}"'):
            self.assertEqual(self.judge(value), UNPROVED)

    def test_A14_a_uri_without_quotation_marks_is_malformed(self) -> None:
        """
        To us; to others it is not ours to say.
        """
        value = self.answer().replace(f'uri="{URI}"', f"uri={URI}")
        refused = self.assertRaises(UriNotQuoted, self.judge, value)
        self.assertEqual(refused.status, 400)
        self.assertEqual(self.judge(value.replace(f'"{REALM}"', '"example.org"')), UNPROVED)

    def test_A19_a_hashed_name_is_accepted_where_it_was_offered(self) -> None:
        """
        With SHA-256; RFC 7616 section 3.4.4.
        """
        self.assertEqual(self.challenge("SHA-256")["userhash"], "true")
        self.assertEqual(self.challenge("SHA-256")["charset"], "UTF-8")
        self.assertNotIn("userhash", self.challenge("MD5"))
        hashed = digest("SHA-256", f"201:{REALM}")
        value = self.answer(with_="SHA-256", username=hashed, userhash="true")
        self.assertEqual(self.judge(value).identity, "201@example.com")
        for changed in (
            {"with_": "SHA-256", "username": hashed, "userhash": "false"},
            {"with_": "SHA-256", "username": "201", "userhash": "true"},
            {"with_": "MD5", "username": digest("MD5", f"201:{REALM}"), "userhash": "true"},
            {"with_": "MD5", "username": hashed, "userhash": "true"},
        ):
            self.assertIsNone(self.judge(self.answer(**changed)).identity, changed)

    def test_A19_a_name_beyond_ascii(self) -> None:
        """
        As UTF-8, in either notation, hashed or not.
        """
        name = "J\u00e4s\u00f8n Doe"
        hashes = {"SHA-256": ha1(name, REALM, "secret", "SHA-256")}
        self.authenticator.users = Users([Credential("203@example.com", REALM, name, hashes)])
        extended = "UTF-8''J%C3%A4s%C3%B8n%20Doe"
        for changed in (
            {},
            {"username": None, "username*": extended},
            {"username": digest("SHA-256", f"{name}:{REALM}"), "userhash": "true"},
        ):
            value = self.answer(as_=name, with_="SHA-256", **changed)
            self.assertEqual(self.judge(value).identity, "203@example.com", changed)
        for changed in (
            {"username*": extended},
            {"username": None, "username*": extended, "userhash": "true"},
            {"username": None, "username*": "ISO-8859-1''J%E4s%F8n%20Doe"},
            {"username": None, "username*": "203"},
        ):
            value = self.answer(as_=name, with_="SHA-256", **changed)
            self.assertEqual(self.judge(value), UNPROVED, changed)

    def test_after_too_many_wrong_passwords_the_right_one_is_wrong_too(self) -> None:
        """
        From that address, for a while; so whoever guesses does not learn it.
        """
        here, there = "192.0.2.1", "192.0.2.2"
        for _ in range(5):
            self.assertTrue(self.judge(self.answer(password="guess"), source=here).is_wrong)
        self.assertEqual(self.judge(self.answer(), source=here), UNPROVED)
        self.assertIsNotNone(self.judge(self.answer(), source=there).identity)
        value = self.answer(self.nonce(now=NOW + 13))
        self.assertIsNotNone(self.judge(value, source=here, now=NOW + 13).identity)

    def test_who_goes_on_with_a_nonce_is_not_held_up(self) -> None:
        """
        By others who guess at the same user at the same address.
        """
        nonce = self.nonce()
        self.assertIsNotNone(self.judge(self.answer(nonce), source="192.0.2.1").identity)
        for _ in range(8):
            self.judge(self.answer(password="guess"), source="192.0.2.1")
        self.assertIsNone(self.judge(self.answer(), source="192.0.2.1").identity)
        self.assertIsNotNone(self.judge(self.answer(nonce, nc_="00000002"), source="192.0.2.1").identity)

    def test_both_answers_of_one_request_are_one_failure(self) -> None:
        """
        Some phones answer every challenge at once.
        """
        for _ in range(5):
            values = self.answer(password="old"), self.answer(password="old", with_="SHA-256")
            self.assertTrue(self.judge(*values, source="192.0.2.1").is_wrong)
        self.assertFalse(self.judge(self.answer(password="old"), source="192.0.2.1").is_wrong)

    def test_nobody_answers_in_the_name_of_another_address(self) -> None:
        """
        Or wrong answers with a forged sender would lock out whoever is there.
        Right and wrong are asked again, and neither counts.
        """
        nonce = self.challenge(source="192.0.2.1")["nonce"]
        for password in ("secret", "guess"):
            for _ in range(8):
                value = self.answer(nonce, password)
                self.assertEqual(self.judge(value, source="192.0.2.2"), Verdict(None, stale=True))
        self.assertIsNotNone(self.judge(self.answer(), source="192.0.2.2").identity)
        self.assertIsNotNone(self.judge(self.answer(nonce), source="192.0.2.1").identity)

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
            self.assertEqual(self.judge(value)[:2], UNPROVED[:2], value)
            self.assertEqual(self.judge(value, now=NOW + 400)[:2], UNPROVED[:2], value)
        self.assertEqual(self.judge(), UNPROVED)

    def digests(self, value: str) -> list[str]:
        """
        What is computed to judge credentials, by name.
        """
        computed = []

        def look(frame: object, event: str, argument: object) -> None:
            name = getattr(argument, "__name__", "")
            if event == "c_call" and name.startswith(("openssl_", "hmac_digest", "_compare_digest")):
                computed.append(name)

        sys.setprofile(look)
        try:
            self.judge(value, source="192.0.2.1")
        finally:
            sys.setprofile(None)
        return computed

    def test_A15_nobody_costs_as_many_digests_as_somebody(self) -> None:
        """
        The same ones in the same order, whoever it is and whatever is wrong
        with the answer, also when nobody looks at it any more.
        """
        value = self.answer(password="guess", with_="SHA-256")
        expected = self.digests(value)
        self.assertEqual(expected.count("openssl_sha256"), 2)
        for other in (
            self.answer(as_="999", with_="SHA-256"),
            self.answer(as_="202", password="other", with_="SHA-256"),
            self.answer(nonce="forged", with_="SHA-256"),
        ):
            self.assertEqual(self.digests(other), expected)
        for name in ("201", "999"):
            value = self.answer(as_=name, password="guess")
            costs = [tuple(self.digests(value)) for _ in range(8)]
            self.assertEqual(len(set(costs[:4])), 1)
            self.assertEqual(costs[-1], ())

    def test_A15_what_nobody_knows_cannot_be_guessed(self) -> None:
        """
        What is compared for an unknown user is a new secret in each life.
        """
        self.assertEqual(set(self.authenticator._nobody), {"SHA-256", "MD5"})
        self.assertNotEqual(self.authenticator._nobody, self.an_authenticator("SHA-256", "MD5")._nobody)

    def test_A10_the_right_answer_to_an_old_nonce_is_stale(self) -> None:
        """
        A wrong one is just wrong.
        """
        nonce = self.nonce()
        self.assertEqual(self.judge(self.answer(nonce), now=NOW + 301), Verdict(None, stale=True))
        wrong = self.judge(self.answer(nonce, "guess"), now=NOW + 301)
        self.assertEqual((wrong.identity, wrong.stale), (None, False))

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
        self.assertIsNone(self.judge(value).identity)
        self.authenticator.users = Users([a_user("203", "x", "MD5")])
        self.assertEqual(self.judge(value).identity, "203@example.com")
        self.assertIsNone(self.judge(self.answer()).identity)
