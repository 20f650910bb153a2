"""
Tests for L{sipxha.cli.main}.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

import sipxha
from sipxha.cli.main import VERBS, main


class MainTests(SynchronousTestCase):
    """
    Tests for the command that holds the verbs.
    """

    def test_the_help_lists_every_verb(self) -> None:
        """
        With a line for each.
        """
        result = CliRunner().invoke(main, ["--help"])
        self.assertEqual(result.exit_code, 0)
        for verb in VERBS:
            self.assertIn(f"\n  {verb} ", result.stdout)

    def test_every_verb_is_a_command_and_has_help_of_its_own(self) -> None:
        """
        Whatever module it lives in.
        """
        with click.Context(main) as context:
            for verb in VERBS:
                command = main.get_command(context, verb)
                assert command is not None
                self.assertEqual(command.name, verb)
                self.assertTrue(command.help, verb)
            self.assertIsNone(main.get_command(context, "run"))

    def test_a_verb_that_is_none_leads_to_those_that_are_like_it(self) -> None:
        """
        Status 2, as any wrong usage.
        """
        for wrong, hint in (
            ("stat", "Did you mean status?"),
            ("regster", "Did you mean register"),
            ("reg", "Did you mean registrations or register?"),
            ("frobnicate", "There is no verb 'frobnicate'.\n"),
        ):
            result = CliRunner().invoke(main, [wrong])
            self.assertEqual(result.exit_code, 2)
            self.assertIn(hint, result.stderr)

    def test_the_help_imports_no_verb(self) -> None:
        """
        The command starts quickly.
        """
        program = (
            "import sys; from click.testing import CliRunner; from sipxha.cli.main import main\n"
            "CliRunner().invoke(main, ['--help'])\n"
            "print([name for name in ('lxml', 'rich', 'twisted', 'cryptography') if name in sys.modules])"
        )
        printed = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(sipxha.__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(printed.stdout, "[]\n")
