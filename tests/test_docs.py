"""
Tests that the documents say what the program has: the configuration, the log,
the wire and the tables.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.record import Cdr, Termination
from sipxha.cli.main import VERBS
from sipxha.store.roles import REPORTS, RESOLVER, WRITER
from sipxha.store.schema import steps
from sipxha.sync import rpc
from sipxha.sync.dialects import DIALECTS
from sipxha.sync.link import TABLE, Input, State
from sipxha.sync.structs import MEMO, SIPX

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

_RNG = "{http://relaxng.org/ns/structure/1.0}"
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_LETTERS = {"info": "i", "warn": "w", "error": "e", "critical": "c", "failure": "c"}
"""What the levels are called in docs/operations.md; a failure is critical."""

_LEVELS = frozenset(_LETTERS)


def page(name: str) -> str:
    """
    The text of one document.
    """
    return (DOCS / name).read_text()


def codes(text: str) -> frozenset[str]:
    """
    All that a document sets in code, within its text.
    """
    return frozenset(re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text)))


class LinkTests(SynchronousTestCase):
    """
    Tests for links between files.
    """

    def test_every_relative_link_leads_somewhere(self) -> None:
        """
        To a file, and where it names a heading, to that; in every document of
        the repository.
        """
        broken = []
        for document in self.documents():
            for target in _LINK.findall(document.read_text()):
                name, _, anchor = target.partition("#")
                path = document.parent / name if name else document
                if "://" in target or (path.exists() and (not anchor or anchor in self.anchors(path))):
                    continue
                broken.append(f"{document.relative_to(ROOT)}: {target}")
        self.assertEqual(broken, [])

    def anchors(self, document: Path) -> set[str]:
        """
        The headings of a document, as links name them.
        """
        headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
        return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def documents(self) -> list[Path]:
        found = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("newsfragments/*.md")]
        self.assertIn(ROOT / "README.md", found)
        return found


class ConfigurationTests(SynchronousTestCase):
    """
    Tests for docs/configuration.md.
    """

    def test_every_element_and_attribute_has_its_place(self) -> None:
        """
        An element is a heading, its attributes begin the rows of the table
        below; and the page has no other.
        """
        self.assertEqual(self.documented(), self.elements())

    def elements(self) -> dict[str, set[str]]:
        """
        The attributes of each element of the schema.
        """
        root = etree.parse(ROOT / "sipxha" / "config" / "sipxha.rng").getroot()
        defines = {define.get("name"): define for define in root.iter(f"{_RNG}define")}

        def attributes(part: etree._Element) -> Iterator[str]:
            for child in part:
                if child.tag == f"{_RNG}attribute":
                    yield str(child.get("name"))
                elif child.tag == f"{_RNG}ref":
                    # An element within has attributes of its own.
                    define = defines[child.get("name")]
                    if define.find(f"{_RNG}element") is None:
                        yield from attributes(define)
                else:
                    yield from attributes(child)

        return {str(element.get("name")): set(attributes(element)) for element in root.iter(f"{_RNG}element")}

    def documented(self) -> dict[str, set[str]]:
        """
        What the page has of both.
        """
        found: dict[str, set[str]] = {}
        attributes: set[str] = set()
        for line in page("configuration.md").splitlines():
            if line.startswith("#"):
                attributes = set()
                heading = re.fullmatch(r"#+ `<([\w-]+)>`", line)
                if heading is not None:
                    found[heading[1]] = attributes
            elif row := re.match(r"\| `([\w-]+)` \|", line):
                attributes.add(row[1])
        return found


class LogTests(SynchronousTestCase):
    """
    Tests for the lines of the log in docs/operations.md.
    """

    def test_every_line_that_can_be_logged_is_explained(self) -> None:
        """
        By its exact text, fields in braces; and no other line is.
        """
        section = page("operations.md").partition("## The log")[2].partition("\n## ")[0]
        explained = {row[1] for row in re.finditer(r"^\| `([^`]+)` \|", section, re.MULTILINE)}
        self.assertEqual(explained, self.lines())

    def test_every_line_has_its_level_and_says_what_to_do_or_to_think(self) -> None:
        """
        The level is that of the call.
        """
        section = page("operations.md").partition("## The log")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| `([^`]+)` \| (\w) \|(.*)\|$", section, re.MULTILINE)
        told = {line: level for line, level, _ in rows}
        self.assertEqual(told, {line: _LETTERS[level] for line, level in self.levels().items()})
        self.assertEqual([line for line, _, meaning in rows if len(meaning.split()) < 2], [])

    def lines(self) -> set[str]:
        """
        The format strings of all log calls from C{info} up.
        """
        return set(self.levels())

    def levels(self) -> dict[str, str]:
        """
        The same, each with its level.
        """
        found = {}
        for path in (ROOT / "sipxha").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in _LEVELS
                    and ast.unparse(node.func.value).endswith("_log")
                ):
                    line = node.args[0]
                    assert isinstance(line, ast.Constant) and isinstance(line.value, str), path
                    found[line.value] = node.func.attr
        return found


class MetricTests(SynchronousTestCase):
    """
    Tests for the metrics in docs/operations.md.
    """

    def test_every_metric_is_explained(self) -> None:
        """
        By its whole name; and no other one is.
        """
        section = page("operations.md").partition("## Metrics")[2].partition("\n## ")[0]
        explained = re.findall(r"^\| `(sipxha_\w+)", section, re.MULTILINE)
        tree = ast.parse((ROOT / "sipxha" / "services" / "metrics.py").read_text())
        told = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("_gauge", "_counter", "_histogram"):
                name = node.args[0]
                assert isinstance(name, ast.Constant) and isinstance(name.value, str)
                suffix = "_total" if ast.unparse(node.func) == "_counter" else ""
                told.append(f"sipxha_{name.value}{suffix}")
        self.assertEqual(sorted(explained), sorted(told))


class NamesTests(SynchronousTestCase):
    """
    Tests for the pages that name commands and metrics in passing.
    """

    def test_every_metric_that_is_named_exists(self) -> None:
        """
        On whatever page.
        """
        explained = set(re.findall(r"^\| `(sipxha_\w+)", page("operations.md"), re.MULTILINE))
        for path in (*DOCS.glob("*.md"), *DOCS.glob("howto/*.md")):
            named = set(re.findall(r"`(sipxha_\w+)(?:\{[^`]*)?`", path.read_text()))
            # Roles and a table of the databases have such names, too.
            named -= {WRITER, RESOLVER, REPORTS, "sipxha_schema"}
            self.assertEqual(named - explained, set(), path)

    def test_every_command_that_is_named_exists(self) -> None:
        """
        With all its words, options left alone.
        """
        for path in (ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("howto/*.md")):
            for words in re.findall(r"(?<![\w/.-])sipxha((?: [a-z][a-z-]*)+)", self.commands(path)):
                verb, *rest = words.split()
                self.assertIn(verb, VERBS, path)
                module, _, name = VERBS[verb][0].partition(":")
                command = getattr(import_module(module), name)
                if isinstance(command, click.Group) and rest:
                    self.assertIn(rest[0], command.commands, path)

    def commands(self, path: Path) -> str:
        """
        What a document sets in code and begins with our name, or stands behind a prompt.
        """
        text = path.read_text()
        inline = re.findall(r"`(sipxha [^`\n]+)`", text)
        typed = re.findall(r"(?m)^(?:    |\w+@\w+:[^#$]*[#$] )(sipxha .*)$", text)
        return "\n".join((*inline, *typed))


class CommandTests(SynchronousTestCase):
    """
    Tests for the verbs of the command in docs/operations.md.
    """

    def test_every_verb_is_there(self) -> None:
        """
        As C{sipxha VERB}.
        """
        text = page("operations.md")
        self.assertEqual([verb for verb in VERBS if f"`sipxha {verb}" not in text], [])


class ProtocolTests(SynchronousTestCase):
    """
    Tests for docs/protocol-registrar-sync.md and docs/protocol-call-events.md.
    """

    def test_the_wire_is_described_whole(self) -> None:
        """
        Methods, members, faults and states.
        """
        faults = [
            value
            for name, value in vars(rpc).items()
            if name.isupper() and isinstance(value, int) and name[0] != "_"
        ]
        members = [
            member
            for dialect in (MEMO, SIPX)
            for member, _ in (*dialect.texts, *dialect.integers, *dialect.extra)
        ]
        methods = [method for dialect in DIALECTS for method in dialect.methods]
        names = [*methods, *members, *(str(fault) for fault in faults), *(state.value for state in State)]
        said = codes(page("protocol-registrar-sync.md"))
        self.assertEqual([name for name in names if name not in said], [])

    def test_every_change_of_state_is_told(self) -> None:
        """
        The table of the page is the engine's.
        """
        rows = re.findall(r"^\| (.+) \|$", page("protocol-registrar-sync.md"), re.MULTILINE)
        told = {cells[0]: cells[1:] for cells in (row.split(" | ") for row in rows) if len(cells) == 5}
        for event in Input:
            self.assertEqual(told[event.value], [self.cell(state, event) for state in State], event)

    def cell(self, state: State, event: Input) -> str:
        """
        What becomes of a state, in the words of the page.
        """
        found = TABLE[state, event]
        if found is None:
            return "impossible"
        after, todo = found
        return "; ".join(
            [
                "stays" if after is state else after.value,
                *(each.name.lower().replace("_", " ") for each in todo),
            ]
        )

    def test_the_tables_are_described_whole(self) -> None:
        """
        Every table, every column and every termination code.
        """
        names = {*CallStateEvent._fields, *Cdr._fields, *(code.value for code in Termination)}
        for part in steps().values():
            for sql in part:
                names |= set(re.findall(r"(?:TABLE|VIEW) (?:IF NOT EXISTS )?(\w+)", sql))
                names |= set(
                    re.findall(
                        r"^    (\w+) +(?:text|int|bigserial|timestamp|char|json|bool)", sql, re.MULTILINE
                    )
                )
        said = codes(page("protocol-call-events.md"))
        self.assertEqual(sorted(name for name in names if name not in said), [])
