"""
Tests for L{sipxha.auth.users}.
"""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.users import Credential, Users, Version


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


class VersionTests(SynchronousTestCase):
    """
    Tests for which of two sets of users is to be had.
    """

    @given(st.integers(0, 10**18), st.from_regex(r"[a-z0-9.-]*", fullmatch=True))
    def test_it_reads_what_it_writes(self, counter: int, node: str) -> None:
        """
        With a node or without.
        """
        version = Version(counter, node)
        self.assertEqual(Version.parse(str(version)), version)

    def test_the_counter_comes_first(self) -> None:
        """
        Then the name of the node: no two of different nodes are equal.
        """
        self.assertGreater(Version(10, "a"), Version(9, "b"))
        self.assertGreater(Version(9, "b"), Version(9, "a"))

    def test_anything_else_is_none(self) -> None:
        """
        No signs, no blanks, and no more digits than fit.
        """
        for text in ("", "x", "-1 a", " 1", "1" * 20, "\u0661 a"):
            self.assertRaises(ValueError, Version.parse, text)


class LinesTests(SynchronousTestCase):
    """
    Tests for telling whether two sets are the same.
    """

    def test_order_does_not_matter_and_all_else_does(self) -> None:
        """
        Hashes, permissions and aliases.
        """
        one = Credential("1@e", "e", "1", {"MD5": "m", "SHA-256": "s"})
        two = Credential("2@e", "e", "2", {"MD5": "m"})
        held = frozenset("AB")
        lines = sorted(Users([one, two], {"1@e": held, "2@e": held}, {"i@e": ("a", "b")}).lines())
        same = Users([two, one], {"2@e": held, "1@e": held}, {"i@e": ("b", "a")}, Version(2))
        self.assertEqual(sorted(same.lines()), lines)
        for other in (
            Users([one], {"1@e": held, "2@e": held}, {"i@e": ("a", "b")}),
            Users([one, two._replace(ha1={"MD5": "x"})], {"1@e": held, "2@e": held}, {"i@e": ("a", "b")}),
            Users([one, two], {"1@e": held}, {"i@e": ("a", "b")}),
            Users([one, two], {"1@e": held, "2@e": held}, {"i@e": ("a",)}),
        ):
            self.assertNotEqual(sorted(other.lines()), lines)
