"""
Tests of where things are: what every module and package of sipxha owes its
next reader.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sipxha"

WITHOUT_MIRROR = {
    "errors.py": "bases without behaviour",
    "cdr/event.py": "a row without behaviour",
    "config/model.py": "values; tests/config/test_load.py makes and compares them",
    "net/transaction_user.py": "an interface",
    "services/call_records.py": "a part of the node, which tests/services/test_node.py drives",
    "services/cluster.py": "values and interfaces",
    "services/proxy.py": "what both proxies share: the tests of the two are its tests",
    "services/sip_services.py": "the same",
    "sync/effects.py": "values; tests/sync/test_engine.py compares them",
}
"""
Modules that have no test module of their own, each with the reason.
"""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """
    Every module below the package, by its path there, read but not imported.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


class ModuleTests(SynchronousTestCase):
    """
    Tests for single modules.
    """

    def test_every_module_says_what_it_is_for(self) -> None:
        """
        In its docstring, before anything else.
        """
        silent = [name for name, tree in modules() if not ast.get_docstring(tree)]
        self.assertEqual(silent, [])

    def test_every_module_has_its_test_module(self) -> None:
        """
        C{sipxha/sip/uri.py} is tested in C{tests/sip/test_uri.py}; the
        exceptions are listed, and none is listed that is none.
        """
        alone = set()
        for name, _ in modules():
            path = Path(name)
            if (
                path.name != "__init__.py"
                and not (ROOT / "tests" / path.parent / f"test_{path.name}").exists()
            ):
                alone.add(name)
        self.assertEqual(alone, set(WITHOUT_MIRROR))


class PackageTests(SynchronousTestCase):
    """
    Tests for packages.
    """

    def test_a_package_holds_a_map_and_nothing_else(self) -> None:
        """
        The docstring of C{__init__.py} names each module; no code runs on the
        way to one.
        """
        findings = []
        for name, tree in modules():
            if not name.endswith("__init__.py"):
                continue
            if len(tree.body) != 1:
                findings.append(f"{name} holds code")
            words = set(re.findall(r"[\w.]+", ast.get_docstring(tree) or ""))
            folder = (PACKAGE / name).parent
            inside = [path.stem for path in folder.glob("*.py") if path.name != "__init__.py"]
            inside += [path.parent.name for path in folder.glob("*/__init__.py")]
            findings += [
                f"{name} does not name {each}" for each in inside if not {each, f"{each}.py"} & words
            ]
        self.assertEqual(findings, [])
