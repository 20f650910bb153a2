"""
Tests for L{sipxha.config.users}.
"""

from __future__ import annotations

from pathlib import Path
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.digest import ha1
from sipxha.auth.users import Users
from sipxha.config import model, users

DOMAIN = REALM = "example.com"
AOR = "201@example.com"

SIPX = """<?xml version="1.0"?>
<items type="credential">
  <!-- as sipX wrote it -->
  <item>
    <uri>sip:201@example.com</uri><realm>example.com</realm><userid>201</userid>
    <passtoken>5f4dcc3b5aa765d61d8327deb882cf99</passtoken><pintoken>x</pintoken><authtype>DIGEST</authtype>
  </item>
  <item>
    <uri>ann@EXAMPLE.com</uri><realm>example.com</realm><userid>ann-b</userid>
    <passtoken>5F4DCC3B5AA765D61D8327DEB882CF99</passtoken>
  </item>
  <item><uri>sip:gw@example.com</uri><realm>elsewhere</realm><passtoken>5f4dcc3b5aa765d61d8327deb882cf99</passtoken></item>
</items>
"""

ALIASES = """<items type="alias" xmlns="http://www.sipfoundry.org/sipX/schema/xml/alias-00-00">
  <item><identity>info@example.com</identity><contact>&lt;sip:201@example.com&gt;;q=0.9</contact></item>
  <item><identity>201@example.com</identity><contact>"Bob" &lt;sip:202@example.com&gt;</contact></item>
</items>
"""


class UsersCase(SynchronousTestCase):
    """
    Has the three files, empty.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.files = model.Users(folder / "credential.xml", folder / "permission.xml", folder / "alias.xml")
        for kind, path in self.paths():
            path.write_text(f'<items type="{kind}"/>\n')

    def paths(self) -> list[tuple[str, Path]]:
        """
        The kinds of tables, and their files.
        """
        files = self.files
        return [
            ("credential", files.credentials),
            ("permission", files.permissions),
            ("alias", files.aliases),
        ]

    def load(self) -> Users:
        """
        What they say.
        """
        return users.load_users(self.files, DOMAIN, REALM)


class LoadTests(UsersCase):
    """
    Tests for reading.
    """

    def test_empty_tables_are_nobody(self) -> None:
        """
        As C{sipxha init} leaves them.
        """
        self.assertEqual(self.load().identities(), [])

    def test_tables_of_sipx(self) -> None:
        """
        Identities with and without scheme, user names of their own, other
        realms passed over, with and without namespaces.
        """
        self.files.credentials.write_text(SIPX)
        self.files.aliases.write_text(ALIASES)
        self.files.permissions.write_text(
            '<items type="permission"><item><identity>sip:201@example.com</identity>'
            "<permission>LocalDialing</permission></item></items>"
        )
        known = self.load()
        self.assertEqual(known.identities(), [AOR, "ann@example.com"])
        self.assertEqual(known.ha1("ann-b", REALM, "MD5"), "5f4dcc3b5aa765d61d8327deb882cf99")
        self.assertEqual(known.permissions(AOR), {"LocalDialing"})
        self.assertEqual(known.aliases("info@example.com"), ("<sip:201@example.com>;q=0.9",))
        self.assertEqual(known.lacking(["SHA-256"])["SHA-256"], [AOR, "ann@example.com"])

    def assertRefused(self, path: Path, text: str, line: int | None, finding: str) -> None:
        """
        Check that file and line are named.
        """
        path.write_text(text)
        refused = self.assertRaises(users.UsersRefused, self.load)
        self.assertTrue(str(refused).startswith(f"{path}:{line}: " if line else f"{path}: "), str(refused))
        self.assertIn(finding, str(refused))

    def test_what_is_wrong_is_named_with_its_line(self) -> None:
        """
        In any of the three.
        """
        path = self.files.credentials
        self.assertRefused(path, "<items", 1, "")
        self.assertRefused(path, "<rows/>", 1, "expected <items")
        self.assertRefused(path, "\n<items type='alias'/>", 2, "credential")
        self.assertRefused(path, "<items type='credential'>\n<row/></items>", 2, "<row>")
        self.assertRefused(path, "<items type='credential'>\n<item/></items>", 2, "<uri>")
        self.assertRefused(path, SIPX.replace("5f4dcc3b", "password", 1), 4, "passtoken")
        self.assertRefused(path, SIPX.replace("ann-b", "201"), 8, "twice")
        self.assertRefused(path, SIPX.replace("sip:201@", "sip:2 1@"), 4, "identity")
        path.write_text("<items type='credential'/>")
        self.assertRefused(self.files.aliases, ALIASES.replace("&lt;sip:201", "&lt;sip:"), 2, "not valid")

    def test_entities_are_not_resolved(self) -> None:
        """
        A document type is refused before anything is read from elsewhere.
        """
        text = '<!DOCTYPE items [<!ENTITY x SYSTEM "/etc/passwd">]><items type="credential"/>'
        self.assertRefused(self.files.credentials, text, 1, "document type")

    def test_a_missing_file_is_an_error(self) -> None:
        """
        Nobody is locked out silently.
        """
        self.files.permissions.unlink()
        refused = self.assertRaises(users.UsersRefused, self.load)
        self.assertIn(str(self.files.permissions), str(refused))


class ChangeTests(UsersCase):
    """
    Tests for changing.
    """

    def test_a_user_is_added_with_a_hash_for_each_algorithm(self) -> None:
        """
        And nothing else: no permission, and no password in the file.
        """
        users.add_user(self.files, AOR, REALM, "secret")
        known = self.load()
        for algorithm in ("MD5", "SHA-256"):
            self.assertEqual(known.ha1("201", REALM, algorithm), ha1("201", REALM, "secret", algorithm))
        self.assertEqual(known.permissions(AOR), frozenset())
        text = self.files.credentials.read_text()
        self.assertNotIn("secret", text)
        self.assertIn("<uri>sip:201@example.com</uri>", text)
        self.assertRaises(users.UserExists, users.add_user, self.files, AOR, REALM, "x")

    def test_the_file_is_its_owners_and_nothing_is_left_beside_it(self) -> None:
        """
        It is replaced as a whole.
        """
        before = self.files.credentials.stat().st_ino
        users.add_user(self.files, AOR, REALM, "secret")
        after = self.files.credentials.stat()
        self.assertNotEqual(after.st_ino, before)
        self.assertEqual(after.st_mode & 0o777, 0o600)
        self.assertEqual(len(list(self.files.credentials.parent.iterdir())), 3)

    def test_a_new_password_replaces_every_hash(self) -> None:
        """
        For the user name that the file has; the rest of it stays.
        """
        self.files.credentials.write_text(SIPX)
        users.set_password(self.files, "ann@example.com", REALM, "new")
        known = self.load()
        self.assertEqual(known.ha1("ann-b", REALM, "SHA-256"), ha1("ann-b", REALM, "new", "SHA-256"))
        self.assertEqual(known.ha1("201", REALM, "MD5"), "5f4dcc3b5aa765d61d8327deb882cf99")
        text = self.files.credentials.read_text()
        self.assertIn("<!-- as sipX wrote it -->", text)
        self.assertIn("<realm>elsewhere</realm>", text)
        self.assertEqual(text.count("<passtoken-sha256>"), 1)
        self.assertRaises(users.UserUnknown, users.set_password, self.files, "x@example.com", REALM, "x")

    def test_permissions_come_and_go(self) -> None:
        """
        Twice is once, and what is not there need not go.
        """
        users.permit(self.files, AOR, ["LocalDialing", "Voicemail", "LocalDialing"])
        users.permit(self.files, AOR, ["Voicemail"])
        self.assertEqual(self.load().permissions(AOR), {"LocalDialing", "Voicemail"})
        self.assertEqual(self.files.permissions.read_text().count("<item>"), 2)
        users.permit(self.files, "202@example.com", ["Voicemail"])
        users.forbid(self.files, AOR, ["Voicemail", "Roaming"])
        self.assertEqual(self.load().permissions(AOR), {"LocalDialing"})
        self.assertEqual(self.load().permissions("202@example.com"), {"Voicemail"})

    def test_a_removed_user_leaves_nothing(self) -> None:
        """
        Nor do others lose anything.
        """
        self.files.credentials.write_text(SIPX)
        self.files.aliases.write_text(ALIASES)
        users.permit(self.files, AOR, ["Voicemail"])
        users.remove_user(self.files, AOR)
        known = self.load()
        self.assertEqual(known.identities(), ["ann@example.com"])
        self.assertEqual((known.permissions(AOR), known.aliases(AOR)), (frozenset(), ()))
        self.assertEqual(len(known.aliases("info@example.com")), 1)
        self.assertRaises(users.UserUnknown, users.remove_user, self.files, AOR)

    def test_elements_keep_the_namespace_of_their_table(self) -> None:
        """
        Newer tables have one.
        """
        self.files.permissions.write_text('<items type="permission" xmlns="urn:x"/>')
        users.permit(self.files, AOR, ["Voicemail"])
        self.assertNotIn("ns0", self.files.permissions.read_text())
        self.assertEqual(self.load().permissions(AOR), {"Voicemail"})

    def test_a_broken_file_is_not_overwritten(self) -> None:
        """
        Somebody may still mend it.
        """
        self.files.credentials.write_text("<items")
        self.assertRaises(users.UsersRefused, users.add_user, self.files, AOR, REALM, "secret")
        self.assertEqual(self.files.credentials.read_text(), "<items")

    def test_changes_at_the_same_time_are_all_made(self) -> None:
        """
        Each waits for the one before.
        """
        threads = [
            Thread(target=users.add_user, args=(self.files, f"{number}@example.com", REALM, "secret"))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(self.load()), 8)


class IdentityTests(SynchronousTestCase):
    """
    Tests for L{users.identity_of}.
    """

    def test_a_name_is_a_user_of_the_domain(self) -> None:
        """
        With and without the domain.
        """
        for name in ("201", "201@example.com", "201@EXAMPLE.com"):
            self.assertEqual(users.identity_of(name, DOMAIN), AOR)

    def test_what_cannot_be_one_is_refused(self) -> None:
        """
        Other domains, passwords, and what no phone could send.
        """
        for name in ("", "201@example.org", "201:x", "a b", "@example.com", "201@", "é"):
            self.assertRaises(users.NotAUserName, users.identity_of, name, DOMAIN)
