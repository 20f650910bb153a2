"""
Tests for L{sipxha.config.sipx}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.sipx import (
    Item,
    Setting,
    SipxFileRefused,
    read_settings,
    read_table,
    setting_files,
    table_file,
)
from tests.support.sipx import FIRST, SECOND, THIRD, table


class TableTests(SynchronousTestCase):
    """
    Tests for the tables of its database.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def read(self, text: str, kind: str = "alias") -> list[Item]:
        """
        The items of a table.
        """
        self.path.write_text(text)
        return list(read_table(self.path, kind))

    def test_items_have_lines_and_columns(self) -> None:
        """
        With a namespace or without; a null is empty.
        """
        for text in (FIRST, SECOND, THIRD):
            (item,) = self.read(text, "registration")
            self.assertEqual((item.line, item.get("callid"), item.get("cseq")), (3, "f00d@10.1.1.7", "17"))
        self.assertEqual(self.read(SECOND, "registration")[0].get("qvalue"), "")
        self.assertEqual(item.get("qvalue"), "")
        self.assertEqual(item.get("none"), "")

    def test_a_table_may_be_empty(self) -> None:
        """
        As sipX leaves it when there is nothing.
        """
        self.assertEqual(self.read('<items type="alias"/>'), [])

    def test_a_table_may_be_large(self) -> None:
        """
        Larger than what is read at once.
        """
        rows = [{"identity": f"{number}@example.com", "contact": "x" * 100} for number in range(5000)]
        items = self.read(table("alias", *rows))
        self.assertEqual([item.columns for item in items], rows)
        self.assertEqual([item.line for item in items], list(range(2, 5002)))

    def test_what_is_no_such_table_is_refused_with_its_line(self) -> None:
        """
        Nor is one that would have us read other files, or all memory.
        """
        for line, text in (
            (1, ""),
            (1, "no xml"),
            (2, '<items type="alias">\n<item>'),
            (2, '<items type="alias">\n<item></items>'),
            (1, '<items type="permission"/>'),
            (1, "<things/>"),
            (2, '<items type="alias">\n<thing/></items>'),
            (3, '<items type="alias"><item>\n<contact>\n<b/></contact></item></items>'),
            (1, '<!DOCTYPE items><items type="alias"/>'),
            (
                1,
                '<!DOCTYPE items [<!ENTITY e SYSTEM "/etc/passwd">]><items type="alias"><item>&e;</item></items>',
            ),
            (2, '<items type="alias"><item>\n<contact>&e;</contact></item></items>'),
            (1, '<items type="alias">' + "<item>" * 1000),
        ):
            error = self.assertRaises(SipxFileRefused, self.read, text)
            self.assertTrue(str(error).startswith(f"{self.path}:{line}: "), (text[:80], str(error)))

    def test_a_file_that_is_not_there(self) -> None:
        """
        Its name and the reason.
        """
        error = self.assertRaises(SipxFileRefused, list, read_table(self.path, "alias"))
        self.assertEqual(str(error), f"{self.path}: No such file or directory")


class SettingTests(SynchronousTestCase):
    """
    Tests for its settings.
    """

    def test_names_and_values(self) -> None:
        """
        The first colon splits; comments and what is ours no setting are left out.
        """
        path = Path(self.mktemp())
        path.write_text(
            "# SIP_A : 1\n\n SIP_REGISTRAR_UDP_PORT :  5070 \nSIP_A.130-MAPPING:a:b\nLOG : x\nSIP_EMPTY :\n"
        )
        self.assertEqual(
            read_settings(path),
            [
                Setting(3, "SIP_REGISTRAR_UDP_PORT", "5070"),
                Setting(4, "SIP_A.130-MAPPING", "a:b"),
                Setting(6, "SIP_EMPTY", ""),
            ],
        )
        path.unlink()
        self.assertRaises(SipxFileRefused, read_settings, path)


class PlaceTests(SynchronousTestCase):
    """
    Tests for where files are looked for.
    """

    def test_in_a_folder_or_where_the_server_had_them(self) -> None:
        """
        The folder itself comes first.
        """
        folder = Path(self.mktemp())
        self.assertIsNone(table_file(folder, "alias"))
        self.assertEqual(setting_files(folder), [])
        for name in ("var/sipxdata/sipdb/alias.xml", "etc/sipxpbx/proxy-config"):
            path = folder / name
            path.parent.mkdir(parents=True)
            path.touch()
        self.assertEqual(table_file(folder, "alias"), folder / "var/sipxdata/sipdb/alias.xml")
        (folder / "alias.xml").touch()
        (folder / "registrar-config").touch()
        self.assertEqual(table_file(folder, "alias"), folder / "alias.xml")
        self.assertEqual(
            setting_files(folder), [folder / "registrar-config", folder / "etc/sipxpbx/proxy-config"]
        )
