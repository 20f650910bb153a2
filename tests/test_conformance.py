"""
Tests that docs/conformance.md names what exists.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tools.conformance import PAGE, with_verdicts

ROOT = Path(__file__).parent.parent
STATES = ("yes", "part", "no")

_CODE = re.compile(r"`([^`]+)`")


class Claim(NamedTuple):
    """
    One row of the page.
    """

    section: str
    what: str
    modules: list[str]
    """Below C{sipxha}, as C{sip.parser}."""

    tests: list[str]
    """As C{sip.test_parser M02}: the module below C{tests}, and how names of tests in it begin after C{test_}."""

    state: str


def claims() -> Iterator[Claim]:
    """
    The rows of all tables with five columns.
    """
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 5 or cells[4] not in STATES:
            continue
        section, what, modules, tests, state = cells
        yield Claim(section, what, _CODE.findall(modules), _CODE.findall(tests), state)


@cache
def tests_of(module: str) -> frozenset[str]:
    """
    The names of all tests of a module, without C{test_}; none if there is no such module.
    """
    path = ROOT.joinpath("tests", *module.split(".")).with_suffix(".py")
    if not path.is_file():
        return frozenset()
    return frozenset(
        node.name.removeprefix("test_")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def is_there(test: str) -> bool:
    """
    Whether a test that the page names exists.
    """
    module, _, name = test.partition(" ")
    found = tests_of(module)
    return bool(found) and (not name or any(each == name or each.startswith(f"{name}_") for each in found))


class ConformanceTests(SynchronousTestCase):
    """
    Tests for the page.
    """

    def test_every_module_exists(self) -> None:
        """
        A claim names who keeps it.
        """
        missing = [
            (claim.section, module)
            for claim in claims()
            for module in claim.modules
            if not ROOT.joinpath("sipxha", *module.split(".")).with_suffix(".py").is_file()
        ]
        self.assertEqual(missing, [])

    def test_every_test_exists(self) -> None:
        """
        And who holds it to that.
        """
        missing = [(claim.section, test) for claim in claims() for test in claim.tests if not is_there(test)]
        self.assertEqual(missing, [])

    def test_what_is_claimed_is_tested(self) -> None:
        """
        Only what is not there has neither module nor test.
        """
        bare = [claim for claim in claims() if claim.state != "no" and not (claim.modules and claim.tests)]
        self.assertEqual(bare, [])

    def test_nothing_is_claimed_twice(self) -> None:
        """
        And the page was found at all.
        """
        counted = Counter((claim.section, claim.what) for claim in claims())
        self.assertEqual([claim for claim, count in counted.items() if count > 1], [])
        self.assertGreater(len(counted), 50)

    def test_the_verdicts_of_rfc_4475_are_current(self) -> None:
        """
        Otherwise: python -m tools.conformance.
        """
        page = PAGE.read_text()
        self.assertEqual(page, with_verdicts(page))
