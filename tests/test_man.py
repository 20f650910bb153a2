"""
Tests for L{tools.man}.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.main import VERBS, main
from tools.man import pages, write

MACROS = frozenset((".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".BR", ".I", ".br", ".nf", ".fi"))


class PageTests(SynchronousTestCase):
    """
    Tests for what the pages say.
    """

    def setUp(self) -> None:
        """
        Make them.
        """
        self.pages = dict(pages())

    def test_there_is_one_for_the_command_and_for_each_verb(self) -> None:
        """
        In the files that man looks for.
        """
        names = {"sipxha.1", *(f"sipxha-{verb}.1" for verb in VERBS)}
        self.assertEqual(set(self.pages), names)
        folder = Path(self.mktemp())
        self.assertEqual(write(folder), len(names))
        self.assertEqual({path.name for path in folder.iterdir()}, names)

    def test_every_option_of_every_verb_is_there(self) -> None:
        """
        And every verb within a verb.
        """
        with click.Context(main) as context:
            for verb in VERBS:
                page = self.pages[f"sipxha-{verb}.1"].replace("\\-", "-")
                command = main.get_command(context, verb)
                assert command is not None
                inner = list(command.commands.values()) if isinstance(command, click.Group) else [command]
                for each in inner:
                    self.assertIn(f".B sipxha {verb}{f' {each.name}' * (each is not command)}\n", page)
                    for parameter in each.params:
                        if isinstance(parameter, click.Option):
                            self.assertIn(parameter.opts[-1], page)

    def test_troff_takes_no_text_for_a_command(self) -> None:
        """
        Every line that begins with a stop is a macro, and no other thing does.
        """
        for name, page in self.pages.items():
            self.assertTrue(page.startswith(".TH "), name)
            for line in page.splitlines():
                if line.startswith((".", "'")):
                    self.assertIn(line.partition(" ")[0], MACROS, f"{name}: {line}")
                self.assertIsNone(re.search(r"(?<!\\)-", line), f"{name}: {line}")
