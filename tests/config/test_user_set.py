"""
Tests for L{sipxha.config.user_set}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.users import Users, Version
from sipxha.config import model
from sipxha.config.user_set import UsersMalformed, agreement, differing, snapshot, take
from sipxha.config.users import add_user, load_users, permit, remove_user

DOMAIN = "example.com"
ONE, TWO = "sipx1.example.com", "sipx2.example.com"


class UserSetCase(SynchronousTestCase):
    """
    Has the files of two nodes.
    """

    def setUp(self) -> None:
        self.one, self.two = self.files(), self.files()

    def files(self) -> model.Users:
        """
        Files without a user.
        """
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        files = model.Users(*(folder / f"{name}.xml" for name in ("credential", "permission", "alias")))
        for path in (files.credentials, files.permissions, files.aliases):
            path.write_text(f'<items type="{path.stem}" xmlns="urn:{path.stem}"/>\n')
        return files

    def users(self, files: model.Users) -> Users:
        """
        What they say.
        """
        return load_users(files, DOMAIN, DOMAIN)

    def take(self, files: model.Users, text: bytes) -> bool:
        """
        Take over what another node has.
        """
        return take(files, DOMAIN, DOMAIN, text)


class SnapshotTests(UserSetCase):
    """
    Tests for users that travel.
    """

    def test_what_was_changed_on_one_node_is_on_the_other(self) -> None:
        """
        With its version, all three tables, and what is none of our business.
        """
        add_user(self.one, "201@example.com", DOMAIN, "secret", ONE)
        permit(self.one, "201@example.com", ["A"], ONE)
        self.one.aliases.write_text(
            '<items type="alias"><!-- ours --><item><identity>sip:a@example.com</identity>'
            "<contact>&lt;sip:201@example.com&gt;</contact></item></items>"
        )
        self.assertTrue(self.take(self.two, snapshot(self.one)))
        self.assertEqual(sorted(self.users(self.two).lines()), sorted(self.users(self.one).lines()))
        self.assertEqual(self.users(self.two).version, Version(2, ONE))
        self.assertIn("<!-- ours -->", self.two.aliases.read_text())
        self.assertEqual(self.two.credentials.stat().st_mode & 0o777, 0o600)
        self.assertFalse(self.take(self.one, snapshot(self.two)))
        self.assertEqual(len(list(self.two.credentials.parent.iterdir())), 3)

    def test_the_greater_version_wins_as_a_whole(self) -> None:
        """
        Of equal counters that of the greater name, on both nodes alike.
        """
        for name in ("201", "202"):
            add_user(self.one, f"{name}@example.com", DOMAIN, "x", ONE)
        remove_user(self.one, "201@example.com", ONE)
        for name in ("203", "204", "205"):
            add_user(self.two, f"{name}@example.com", DOMAIN, "x", TWO)
        one, two = snapshot(self.one), snapshot(self.two)
        self.assertFalse(self.take(self.two, one))
        self.assertTrue(self.take(self.one, two))
        self.assertEqual(
            self.users(self.one).identities(), ["203@example.com", "204@example.com", "205@example.com"]
        )
        add_user(self.one, "206@example.com", DOMAIN, "x", ONE)
        self.assertTrue(self.take(self.two, snapshot(self.one)))
        self.assertEqual(len(self.users(self.two)), 4)

    def test_what_cannot_be_users_changes_nothing(self) -> None:
        """
        Whatever another node sends.
        """
        add_user(self.one, "201@example.com", DOMAIN, "secret", ONE)
        good = snapshot(self.one)
        entity = b'<!DOCTYPE users [<!ENTITY x SYSTEM "/etc/passwd">]>'
        for text in (
            b"",
            b"<users",
            b"\xff",
            b"<users/>",
            good[:-20],
            good.replace(b"1 sipx1", b"-1 sipx1"),
            good.replace(b"<passtoken>", b"<passtoken>x"),
            good.replace(b'type="alias"', b'type="credential"'),
            good.replace(b'type="alias"', b'type="x"'),
            good.replace(b"sip:201@", b"sip:2 1@"),
            good[: good.index(b"<users")] + entity + good[good.index(b"<users") :],
        ):
            self.assertRaises(UsersMalformed, self.take, self.two, text)
        self.assertEqual(self.users(self.two).version, Version())
        self.assertTrue(self.take(self.two, good))


class AgreementTests(UserSetCase):
    """
    Tests for telling whether nodes have the same.
    """

    def agreement(self, files: model.Users, node: str = ONE, secret: bytes = b"s" * 32) -> dict[str, str]:
        """
        What a node tells.
        """
        address = "10.1.1.5" if node == ONE else "10.1.1.6"
        rules = files.credentials.with_name("forwardingrules.xml")
        if not rules.exists():
            rules.write_text(f"<routes>rr.{node} {address} 10.1.1.50</routes>")
        return agreement(secret, self.users(files), (node, address), [rules, rules.with_name("none.xml")])

    def test_the_same_users_and_rules_agree(self) -> None:
        """
        However the files are written, and though each node names itself.
        """
        add_user(self.one, "201@example.com", DOMAIN, "x", ONE)
        permit(self.one, "201@example.com", ["A", "B"], ONE)
        permit(self.two, "201@example.com", ["B"], TWO)
        permit(self.two, "201@example.com", ["A"], TWO)
        add_user(self.two, "201@example.com", DOMAIN, "x", TWO)
        ours = self.agreement(self.one)
        self.assertEqual(differing(ours, self.agreement(self.two, TWO)), [])
        self.assertEqual(sorted(ours), ["forwardingrules", "secret", "users"])

    def test_what_differs_is_named(self) -> None:
        """
        What only one has is no difference, and with another secret nothing
        else can be said.
        """
        ours = self.agreement(self.one)
        add_user(self.two, "201@example.com", DOMAIN, "x", TWO)
        theirs = self.agreement(self.two, TWO)
        self.assertEqual(differing(ours, theirs), ["users"])
        self.two.credentials.with_name("forwardingrules.xml").write_text("<routes/>")
        theirs = self.agreement(self.two, TWO)
        self.assertEqual(differing(ours, theirs), ["users", "forwardingrules"])
        self.assertEqual(differing(ours, {"users": ours["users"], "other": "x"}), [])
        self.assertEqual(differing(ours, self.agreement(self.one, secret=b"t" * 32)), ["secret"])
