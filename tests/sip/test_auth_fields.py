"""
Tests for L{sipxha.sip.auth_fields}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.auth_fields import Challenge, Credentials
from sipxha.sip.grammar import MalformedField, UnsafeValue
from tests.sip.samples import quoted_texts


class ChallengeTests(SynchronousTestCase):
    """
    Tests for L{Challenge}.
    """

    def test_a_challenge_is_read_and_printed(self) -> None:
        """
        Quotes where RFC 7616 wants them.
        """
        text = 'Digest realm="a \\"b\\"", nonce="n=", qop="auth,auth-int", algorithm=SHA-256, stale=true'
        challenge = Challenge.parse(text)
        self.assertEqual(challenge.scheme, "Digest")
        self.assertEqual(challenge.params["realm"], 'a "b"')
        self.assertEqual(challenge.params["qop"], "auth,auth-int")
        self.assertEqual(str(challenge), text)

    def test_blanks_may_stand_around_every_sign(self) -> None:
        """
        Names are case-blind.
        """
        challenge = Challenge.parse(' Digest  Realm = "r" ,nonce="n" ')
        self.assertEqual(challenge.params, {"realm": "r", "nonce": "n"})

    def test_an_unknown_scheme_is_still_a_challenge(self) -> None:
        """
        RFC 4475 section 3.3.9.
        """
        self.assertEqual(Challenge.parse("NoOneKnows opaque-data=here").params, {"opaque-data": "here"})


class CredentialsTests(SynchronousTestCase):
    """
    Tests for L{Credentials}.
    """

    def test_credentials_are_read_and_printed(self) -> None:
        """
        Quotes where RFC 7616 wants them.
        """
        text = 'Digest username="bob", realm="r", uri="sip:x,y", response="0a", algorithm=MD5, nc=00000001'
        self.assertEqual(Credentials.parse(text).params["uri"], "sip:x,y")
        self.assertEqual(str(Credentials.parse(text)), text)

    def test_other_text_is_malformed(self) -> None:
        """
        A name that stands there twice has no one meaning.
        """
        for text in (
            "",
            "Digest",
            "Digest ",
            "Digest a",
            'Digest a="b',
            'Digest a="b" c="d"',
            "Digest a=b,,c=d",
            'Digest a="b", A="c"',
            'Digest username="x"y',
        ):
            with self.assertRaises(MalformedField, msg=text):
                Credentials.parse(text)

    def test_M29_a_bare_value_must_be_a_token(self) -> None:
        """
        What stands in quotes is escaped.
        """
        with self.assertRaises(UnsafeValue):
            str(Credentials("Digest", {"nc": '1, realm="x"'}))
        self.assertEqual(str(Credentials("Digest", {"realm": 'a"b'})), 'Digest realm="a\\"b"')

    @given(
        st.dictionaries(st.sampled_from(["realm", "nonce", "uri", "opaque", "x"]), quoted_texts, min_size=1)
    )
    def test_what_was_printed_is_read_back(self, params: dict[str, str]) -> None:
        """
        Whatever the values hold.
        """
        self.assertEqual(Credentials.parse(str(Credentials("Digest", params))), Credentials("Digest", params))
