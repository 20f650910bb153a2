"""
Tests for L{sipxha.cli.import_sipx}, on a node that does not run.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.import_sipx import COLUMNS
from sipxha.cli.main import main
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.registry.binding import Binding
from sipxha.store.registry_file import open_file
from tests.support.sipx import EXPIRES, FIRST, THIRD, table

DOMAIN = "example.com"
NODE = f"sipx1.{DOMAIN}"


class ImportTests(SynchronousTestCase):
    """
    Tests for the verb as a whole.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        make_cluster(folder, Cluster(DOMAIN, (Server(NODE, "127.0.0.1"),), embedded=True))
        self.config = folder / NODE / "sipxha.xml"
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.until = int(time.time()) + 1000

    def put(self, name: str, text: str) -> None:
        """
        A file of sipX, whose registrations have not ended.
        """
        (self.folder / name).write_text(text.replace(str(EXPIRES), str(self.until)))

    def run_(self, *options: str, status: int = 0) -> Result:
        """
        Run the verb.
        """
        arguments = ["import-sipx", str(self.folder), "--config", str(self.config), *options]
        result = CliRunner().invoke(main, arguments)
        self.assertEqual(result.exit_code, status, result.output)
        return result

    def outcomes(self) -> list[dict[str, Any]]:
        """
        What became of each item, as JSON.
        """
        rows: list[dict[str, Any]] = json.loads(self.run_("--json").output)
        for row in rows:
            self.assertEqual(tuple(row), COLUMNS)
        return rows

    def held(self) -> list[Binding]:
        """
        What the node will start with.
        """
        opened = open_file(self.config.parent / "data" / "registry.sqlite")
        with closing(opened.database):
            return opened.rows

    def test_registrations_are_rows_of_the_node(self) -> None:
        """
        With a number that no peer has heard of; a second time they are known.
        """
        for text in (FIRST, THIRD):
            self.setUp()
            self.put("registration.xml", text)
            self.assertEqual([row["outcome"] for row in self.outcomes()], ["taken"])
            self.assertEqual([row["outcome"] for row in self.outcomes()], ["known"])
            (row,) = self.held()
            self.assertEqual((row.identity, row.primary, row.cseq), (f"201@{DOMAIN}", NODE, 17))
            self.assertEqual((row.expires, row.deadline), (self.until, float(self.until)))
            self.assertGreater(row.update_number, self.until - 2000 << 32)

    def test_the_last_of_two_that_are_the_same_counts(self) -> None:
        """
        As in sipX; what has ended is left.
        """
        item = {"callid": "a", "cseq": "1", "uri": f"sip:201@{DOMAIN}", "contact": "sip:201@10.1.1.7"}
        live = {**item, "expires": str(EXPIRES)}
        self.put(
            "registration.xml", table("registration", live, {**live, "callid": "b"}, {**item, "expires": "5"})
        )
        first, second, third = self.outcomes()
        self.assertEqual((first["outcome"], first["reason"]), ("left", "line 3 has it again"))
        self.assertEqual(second["outcome"], "taken")
        self.assertEqual((third["outcome"], third["reason"]), ("left", "it has ended"))
        self.assertEqual([row.callid for row in self.held()], ["b"])

    def test_people_are_shown_what_was_left(self) -> None:
        """
        And the sums of each file.
        """
        self.put("permission.xml", table("permission", {"identity": "201@example.org", "permission": "x"}))
        self.put("registrar-config", "SIP_REGISTRAR_MIN_EXPIRES : 300\n")
        result = self.run_()
        self.assertRegex(result.output, r"registrar-config +1 +0 +0")
        self.assertRegex(result.output, r"permission.xml +2 +201@example.org +no user of")
        self.assertIn("Not there: credential.xml, alias.xml, registration.xml.", result.output)

    def test_a_broken_file_ends_it(self) -> None:
        """
        With its line, after what was taken before.
        """
        self.put("permission.xml", table("permission", {"identity": f"201@{DOMAIN}", "permission": "x"}))
        self.put("registration.xml", FIRST[:-20])
        result = self.run_(status=1)
        self.assertRegex(result.output, r"permission.xml +1 +0 +0")
        self.assertRegex(result.output, rf"sipxha: {self.folder}/registration.xml:\d+: ")
        self.assertEqual(list((self.config.parent / "data").iterdir()), [])

    def test_a_folder_without_any_of_it(self) -> None:
        """
        Is probably another.
        """
        self.assertIn("holds none of credential.xml", self.run_(status=1).output)

    def test_a_damaged_registry_is_left_as_it_is(self) -> None:
        """
        As at a start.
        """
        store = self.config.parent / "data" / "registry.sqlite"
        store.write_text("garbage" * 1000)
        self.put("registration.xml", FIRST)
        self.assertIn("is damaged", self.run_(status=1).output)
        self.assertEqual(store.read_text(), "garbage" * 1000)
