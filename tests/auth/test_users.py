"""
Tests for L{sipxha.auth.users}.
"""

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.users import Credential, Users


class UsersTests(SynchronousTestCase):
    """
    Tests for what a snapshot of the users knows.
    """

    users = Users(
        [
            Credential("201@example.com", "example.com", "201", {"MD5": "m", "SHA-256": "s"}),
            Credential("ann@example.com", "example.com", "ann-b", {"MD5": "n"}),
        ],
        {"201@example.com": frozenset(["LocalDialing"])},
        {"info@example.com": ("<sip:201@example.com>;q=0.9",)},
    )

    def test_a_hash_is_found_by_user_name_realm_and_algorithm(self) -> None:
        """
        And by nothing less.
        """
        self.assertEqual(self.users.ha1("201", "example.com", "SHA-256"), "s")
        for username, realm, algorithm in (
            ("202", "example.com", "MD5"),
            ("201", "example.org", "MD5"),
            ("ann-b", "example.com", "SHA-256"),
        ):
            self.assertIsNone(self.users.ha1(username, realm, algorithm))

    def test_A19_a_hashed_name_is_found_where_it_may_be_used(self) -> None:
        """
        By who has a hash for SHA-256, for it is offered with that alone.
        """
        for username, found in (("201", True), ("ann-b", False), ("202", False)):
            hashed = sha256(f"{username}:example.com".encode()).hexdigest()
            self.assertEqual(self.users.hashed(hashed, "example.com") is not None, found)
            self.assertIsNone(self.users.hashed(hashed, "example.org"))

    def test_who_has_credentials_is_known(self) -> None:
        """
        An alias is not a user.
        """
        self.assertTrue(self.users.knows("ann@example.com"))
        self.assertFalse(self.users.knows("info@example.com"))
        self.assertEqual(self.users.identities(), ["201@example.com", "ann@example.com"])
        self.assertEqual(len(self.users), 2)

    def test_nothing_is_permitted_that_was_not_given(self) -> None:
        """
        Neither to known nor to unknown users.
        """
        self.assertEqual(self.users.permissions("201@example.com"), {"LocalDialing"})
        self.assertEqual(self.users.permissions("ann@example.com"), frozenset())

    def test_aliases_stand_for_contacts(self) -> None:
        """
        Or for none.
        """
        self.assertEqual(self.users.aliases("info@example.com"), ("<sip:201@example.com>;q=0.9",))
        self.assertEqual(self.users.aliases("201@example.com"), ())

    def test_who_lacks_a_hash_is_named(self) -> None:
        """
        For C{sipxha check}.
        """
        self.assertEqual(self.users.lacking(["SHA-256", "MD5"]), {"SHA-256": ["ann@example.com"], "MD5": []})
