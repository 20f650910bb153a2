"""
Tests for L{sipxha.config.tables}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.users import Version
from sipxha.config import model, tables
from sipxha.config.users import add_user, load_users, permit, remove_user, set_password

AOR = "201@example.com"


class TablesTests(SynchronousTestCase):
    """
    Tests for changes of several files as one.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.files = model.Users(*(folder / f"{name}.xml" for name in ("credential", "permission", "alias")))
        for kind in tables.KINDS:
            tables.path_of(self.files, kind).write_text(f'<items type="{kind}"/>\n')

    def version(self) -> Version:
        """
        Of the set.
        """
        return load_users(self.files, "example.com", "example.com").version

    def test_each_change_raises_the_version_of_the_set(self) -> None:
        """
        By one, whichever file it is in; what changes nothing does not.
        """
        self.assertEqual(self.version(), Version())
        node = "sipx1.example.com"
        self.assertEqual(add_user(self.files, AOR, "example.com", "x", node), Version(1, node))
        self.assertEqual(permit(self.files, AOR, ["A", "B"], "sipx2"), Version(2, "sipx2"))
        self.assertEqual(permit(self.files, AOR, ["A"], node), Version(2, "sipx2"))
        self.assertEqual(set_password(self.files, AOR, "example.com", "y", node), Version(3, node))
        self.assertEqual(self.version(), Version(3, node))
        self.assertEqual(remove_user(self.files, AOR, node), Version(4, node))
        self.assertEqual(self.version(), Version(4, node))
        self.assertIn('version="4 sipx1.example.com"', self.files.permissions.read_text())
        self.assertNotIn("version", self.files.aliases.read_text())

    def test_a_change_of_several_files_is_finished_after_a_crash(self) -> None:
        """
        By whoever comes next; nothing is left beside the files.
        """
        add_user(self.files, AOR, "example.com", "x")
        permit(self.files, AOR, ["A"])
        before = {path: path.read_bytes() for path in self.files.credentials.parent.iterdir()}
        remove_user(self.files, AOR)
        gone = {path: path.read_bytes() for path in before}
        for died_after in range(4):
            for path, content in before.items():
                path.write_bytes(content)
            roots = {
                kind: tables.read_table(tables.path_of(self.files, kind), kind)
                for kind in ("permission", "credential")
            }
            for root in roots.values():
                del root[:]
            tables.intent(self.files).write_bytes(tables.bound(roots, Version(3)))
            for path in (self.files.permissions, self.files.credentials)[:died_after]:
                path.write_bytes(gone[path])
            tables.finish_change(self.files)
            self.assertEqual({path: path.read_bytes() for path in before}, gone)
            self.assertEqual(len(list(self.files.credentials.parent.iterdir())), 3)

    def test_an_intent_that_cannot_be_read_stops_everybody(self) -> None:
        """
        It is put in place as a whole, so somebody meddled with it.
        """
        tables.intent(self.files).write_text("<users")
        refused = self.assertRaises(tables.UsersRefused, add_user, self.files, AOR, "example.com", "x")
        self.assertIn(".credential.xml.intent", str(refused))

    def test_a_version_that_is_none_is_refused_with_its_line(self) -> None:
        """
        Nobody could say what is newer.
        """
        self.files.aliases.write_text('<items type="alias" version="new"/>')
        refused = self.assertRaises(tables.UsersRefused, self.version)
        self.assertIn("alias.xml:1: 'new' is not a version", str(refused))
        self.assertRaises(tables.UsersRefused, add_user, self.files, AOR, "example.com", "x")
        self.assertNotIn("201", self.files.credentials.read_text())

    def test_a_table_is_read_item_by_item(self) -> None:
        """
        First its root; nothing stays of what was looked at.
        """
        self.files.permissions.write_text(
            '<items type="permission" version="7"><!-- a --><item><identity>a</identity></item>\n'
            "<item><identity>b</identity></item><?x y?></items>"
        )
        stream = tables.stream_table(self.files.permissions, "permission")
        root = next(stream)
        self.assertEqual(tables.version_of(root), Version(7))
        self.assertEqual([tables.columns(item)["identity"] for item in stream], ["a", "b"])
        self.assertLess(len(root.findall("item")), 2)
