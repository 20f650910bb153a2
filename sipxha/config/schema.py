"""
The schema of sipxha.xml, and what to tell an operator whose file breaks it.

libxml2 decides whether a document is valid.  Its own messages are about its
automaton and point at the wrong places, so the same schema is read once more
as what it is: which element may hold which attributes, elements and text.
This reads the shape of L{SCHEMA}, in which each element and each kind of
value has a define of its own, and not RELAX NG in general.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from lxml import etree

SCHEMA = Path(__file__).with_name("sipxha.rng")

NAMESPACE = "urn:sipxha:config:1"

_RNG = "{http://relaxng.org/ns/structure/1.0}"
_DOCUMENTATION = "{http://relaxng.org/ns/compatibility/annotations/1.0}documentation"
_REPEATED = frozenset({_RNG + "zeroOrMore", _RNG + "oneOrMore"})
_NOT_REQUIRED = frozenset({_RNG + "optional", _RNG + "zeroOrMore", _RNG + "choice"})


class Problem(NamedTuple):
    """
    What is wrong with a document, and where.
    """

    line: int
    text: str


class _Attribute(NamedTuple):
    kind: str
    required: bool
    alternative: bool
    """Whether exactly one of the alternatives of this element must be there."""


class _Child(NamedTuple):
    define: str
    """Two elements may have one name, in different places."""

    required: bool
    repeated: bool


class _Shape(NamedTuple):
    attributes: dict[str, _Attribute]
    children: dict[str, _Child]
    text: str | None
    """The kind of value that the element holds as text."""


_ATTRIBUTES = 8
"""How many optional ones of an element are left to libxml2; this module looks at all."""


class Schema:
    """
    L{SCHEMA}, read once.
    """

    def __init__(self) -> None:
        self._tree = etree.parse(SCHEMA)
        self._relaxng = etree.RelaxNG(self._tree)
        self._kinds: dict[str, etree.RelaxNG] = {}

    def problems(self, root: etree._Element) -> list[Problem]:
        """
        All that the schema has against a document, in the order of its lines.
        """
        if root.tag != f"{{{NAMESPACE}}}sipxha":
            return [
                Problem(
                    line_of(root),
                    f'the outermost element must be <sipxha xmlns="{NAMESPACE}">, not <{root.tag!s}>',
                )
            ]
        found = sorted(self._of_element(root, "sipxha"))
        if found or self._relaxng.validate(self._spare(root)):
            return found
        # A schema that has outgrown this module still gets a message.
        return [Problem(entry.line, entry.message) for entry in self._relaxng.error_log]

    def _spare(self, root: etree._Element) -> etree._Element:
        """
        A copy of a document without problems of ours, in which no element has
        many attributes that it need not have: libxml2 tries all combinations
        of those, which takes minutes for some twenty.
        """
        copy = deepcopy(root)
        for element in copy.iter(f"{{{NAMESPACE}}}limits"):
            for attribute in list(element.keys())[_ATTRIBUTES:]:
                del element.attrib[attribute]
        return copy

    def _of_element(self, element: etree._Element, define: str) -> Iterator[Problem]:
        line, name = line_of(element), etree.QName(element).localname
        shape = self._shapes[define]
        yield from self._of_attributes(element, name, shape)

        seen: Counter[str] = Counter()
        for child in element:
            space, _, local = str(child.tag).rpartition("}")
            if space != "{" + NAMESPACE:
                yield Problem(line_of(child), f"<{local}> is not in the namespace {NAMESPACE}")
            elif local not in shape.children:
                yield Problem(
                    line_of(child), f"<{local}> is not known inside <{name}>{_known(shape.children)}"
                )
            else:
                seen[local] += 1
                if seen[local] == 2 and not shape.children[local].repeated:
                    yield Problem(line_of(child), f"<{name}> takes only one <{local}>")
                yield from self._of_element(child, shape.children[local].define)
        for local, rule in shape.children.items():
            if rule.required and not seen[local]:
                yield Problem(line, f"<{name}> lacks the element <{local}>")

        text = "".join([element.text or "", *(child.tail or "" for child in element)])
        if shape.text is None:
            if text.strip():
                yield Problem(line, f"<{name}> holds no text, but has {text.strip()[:40]!r}")
        elif not self._fits(shape.text, text):
            yield Problem(line, f"<{name}> must hold {self._meaning(shape.text)}, not {text.strip()!r}")

    def _of_attributes(self, element: etree._Element, name: str, shape: _Shape) -> Iterator[Problem]:
        line = line_of(element)
        for attribute, value in element.items():
            rule = shape.attributes.get(attribute)
            if rule is None:
                yield Problem(line, f"<{name}> has no attribute {attribute}{_known(shape.attributes)}")
            elif not self._fits(rule.kind, value):
                yield Problem(
                    line, f"<{name}>: {attribute} must be {self._meaning(rule.kind)}, not {value!r}"
                )
        for attribute, rule in shape.attributes.items():
            if rule.required and attribute not in element.attrib:
                yield Problem(line, f"<{name}> lacks the attribute {attribute}")
        alternatives = [attribute for attribute, rule in shape.attributes.items() if rule.alternative]
        if alternatives and sum(attribute in element.attrib for attribute in alternatives) != 1:
            yield Problem(line, f"<{name}> needs exactly one of the attributes {', '.join(alternatives)}")

    def _fits(self, kind: str, value: str) -> bool:
        """
        Ask libxml2 whether a value is of a kind.
        """
        if kind not in self._kinds:
            grammar = etree.Element(
                _RNG + "grammar", datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes"
            )
            start = etree.SubElement(grammar, _RNG + "start")
            holder = etree.SubElement(start, _RNG + "element", name="value")
            etree.SubElement(holder, _RNG + "ref", name=kind)
            grammar.append(deepcopy(self._defines[kind]))
            self._kinds[kind] = etree.RelaxNG(grammar)
        candidate = etree.Element("value")
        candidate.text = value
        return bool(self._kinds[kind].validate(candidate))

    def _meaning(self, kind: str) -> str:
        return self._defines[kind].findtext(_DOCUMENTATION, kind)

    @cached_property
    def _defines(self) -> dict[str, etree._Element]:
        return {str(define.get("name")): define for define in self._tree.getroot().iter(_RNG + "define")}

    @cached_property
    def _shapes(self) -> dict[str, _Shape]:
        shapes = {}
        for name, define in self._defines.items():
            element = define.find(_RNG + "element")
            if element is not None:
                shapes[name] = self._shape(element)
        return shapes

    def _shape(self, element: etree._Element) -> _Shape:
        attributes: dict[str, _Attribute] = {}
        children: dict[str, _Child] = {}
        text: str | None = None
        todo = [(part, frozenset[str]()) for part in reversed(element)]
        while todo:
            part, around = todo.pop()
            tag, name = str(part.tag), str(part.get("name"))
            required = not around & _NOT_REQUIRED
            if tag == _RNG + "attribute":
                attributes[name] = _Attribute(str(part[0].get("name")), required, _RNG + "choice" in around)
            elif tag != _RNG + "ref":
                todo.extend((inner, around | {tag}) for inner in reversed(part))
            elif (child := self._defines[name].find(_RNG + "element")) is not None:
                children[str(child.get("name"))] = _Child(name, required, bool(around & _REPEATED))
            elif self._defines[name].find(_DOCUMENTATION) is not None:
                text = name
            else:
                todo.extend((inner, around) for inner in reversed(self._defines[name]))
        return _Shape(attributes, children, text)


def line_of(element: etree._Element) -> int:
    """
    The line on which an element's start tag ends.
    """
    return element.sourceline or 0


def _known(names: dict[str, _Attribute] | dict[str, _Child]) -> str:
    return f" (known: {', '.join(names)})" if names else ""
