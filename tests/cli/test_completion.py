"""
Tests for L{sipxha.cli.completion}.
"""

from __future__ import annotations

from pathlib import Path

from click.shell_completion import ShellComplete
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.completion import SHELLS
from sipxha.cli.main import VERBS, main
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.users import add_user


class CompletionTests(SynchronousTestCase):
    """
    Tests for what is offered.
    """

    def setUp(self) -> None:
        """
        A node with three users.
        """
        folder = Path(self.mktemp())
        make_cluster(
            folder, Cluster("example.com", [Server("sipx1.example.com", "127.1.1.1")], embedded=True)
        )
        self.config = folder / "sipx1.example.com" / "sipxha.xml"
        settings = load(self.config)
        for name in ("201", "202", "anna"):
            add_user(settings.users, f"{name}@example.com", "example.com", "x", settings.node.name)

    def offered(self, *words: str) -> list[str]:
        """
        For the last of these words.
        """
        shell = ShellComplete(main, {}, "sipxha", "_SIPXHA_COMPLETE")
        return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]

    def test_verbs_and_options(self) -> None:
        """
        By how they begin.
        """
        self.assertEqual(self.offered("reg"), ["registrations", "register"])
        self.assertEqual(self.offered(""), [*VERBS])
        self.assertEqual(self.offered("user", "p"), ["passwd", "permit"])
        self.assertEqual(self.offered("drain", "--l"), ["--limit"])
        self.assertEqual(self.offered("completion", "z"), ["zsh"])

    def test_users_of_the_configuration(self) -> None:
        """
        For verbs that take one who is there; none where it cannot be read.
        """
        there = ("--config", str(self.config))
        for verb in (("user", "passwd"), ("user", "permit"), ("registrations",), ("unregister",)):
            self.assertEqual(self.offered(*verb, *there, "20"), ["201", "202"], verb)
        self.assertEqual(self.offered("user", "add", *there, "20"), [])
        self.assertEqual(self.offered("registrations", "--config", "/nowhere", "20"), [])

    def test_every_shell_gets_its_script(self) -> None:
        """
        Which asks the command itself.
        """
        for shell in SHELLS:
            result = CliRunner().invoke(main, ["completion", shell])
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertIn(f"_SIPXHA_COMPLETE={shell}_complete", result.stdout)
