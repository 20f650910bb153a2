"""
Tests for L{sipxha.cli.init}.
"""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.main import main
from sipxha.config.load import load


def run(*arguments: str) -> Result:
    """
    Run C{sipxha init}.
    """
    return CliRunner().invoke(main, ["init", *arguments])


class InitTests(SynchronousTestCase):
    """
    Tests for C{sipxha init}.
    """

    def setUp(self) -> None:
        """
        Choose a folder.
        """
        self.folder = Path(self.mktemp())
        self.asked = (str(self.folder), "--domain", "Example.com", "--node", "Sipx1.example.com=127.1.1.1")

    def test_it_says_what_it_made_and_what_comes_next(self) -> None:
        """
        The folders are there, and the commands can be copied.
        """
        result = run(*self.asked, "--node", "sipx2.example.com=127.1.1.2", "--embedded")
        self.assertEqual(result.exit_code, 0, result.output)
        for name in ("sipx1.example.com", "sipx2.example.com"):
            self.assertIn(f"{self.folder / name}  for the server {name}", result.stdout)
            self.assertEqual(load(self.folder / name / "sipxha.xml").domain.name, "example.com")
        one, two = self.folder / "sipx1.example.com", self.folder / "sipx2.example.com"
        for command in (
            f"sipxha user add --config {one}/sipxha.xml USER",
            f"twistd sipxha --config {one}/sipxha.xml",
            f"twistd sipxha --config {two}/sipxha.xml",
        ):
            self.assertIn(f"\n  {command}\n", result.stdout)
        self.assertIn("The other nodes take them over", result.stdout)

    def test_a_node_alone_has_nobody_to_share_its_users_with(self) -> None:
        """
        So nothing is said of copies.
        """
        result = run(*self.asked)
        self.assertIn("sipxha user add", result.stdout)
        self.assertNotIn("other nodes", result.stdout)

    def test_a_dns_server_is_written_down(self) -> None:
        """
        The demo has one.
        """
        self.assertEqual(run(*self.asked, "--dns", "127.1.1.3:53").exit_code, 0)
        self.assertEqual(load(self.folder / "sipx1.example.com" / "sipxha.xml").dns.server, ("127.1.1.3", 53))

    def test_an_existing_folder_is_one_line_and_status_1(self) -> None:
        """
        Nothing is overwritten.
        """
        self.folder.mkdir()
        result = run(*self.asked)
        said = f"sipxha: {self.folder} exists already; nothing is overwritten, so name another folder\n"
        self.assertEqual((result.exit_code, result.stderr), (1, said))

    def test_what_is_no_node_or_server_is_wrong_usage(self) -> None:
        """
        Status 2, and nothing is made.
        """
        for more in (["--node", "sipx2.example.com"], ["--node", "=127.1.1.1"], ["--dns", "127.0.0.1"]):
            self.assertEqual(run(*self.asked, *more).exit_code, 2)
        self.assertEqual(run(str(self.folder), "--domain", "example.com").exit_code, 2)
        self.assertEqual(run(str(self.folder), "--domain", "ex_ample.com", *self.asked[3:]).exit_code, 2)
        self.assertFalse(self.folder.exists())
