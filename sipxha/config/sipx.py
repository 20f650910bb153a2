"""
The files of sipXpbx, as they come from its servers.

Its database is XML tables of items; its services have settings in lines of
C{NAME : value}.  Both are only read here, with their line numbers, as
strangers' files: no entities, no document types, nothing from the network.
What a column or a setting means is the reader's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from lxml import etree

from sipxha.errors import LocalError

TABLES: Final = ("registration", "credential", "permission", "alias")

SETTINGS: Final = (
    "domain-config",
    "registrar-config",
    "sipregistrar-config",
    "proxy-config",
    "sipproxy-config",
    "authproxy-config",
    "callresolver-config",
)
"""Files of settings, by the names that they had over the years."""

_TABLE_PLACES = ("", "sipdb", "var/sipxdata/sipdb")
_SETTING_PLACES = ("", "etc/sipxpbx")

_SETTING = re.compile(r"(SIP\w*(?:\.[\w.-]+)?)\s*:\s*(.*)")

_PIECE = 1 << 16


class SipxFileRefused(LocalError):
    """
    A file cannot be read, or is not what it should be; the text names file
    and line.
    """

    def __init__(self, path: Path, line: object, problem: object) -> None:
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")


class Item(NamedTuple):
    """
    A row of a table.
    """

    line: int
    columns: dict[str, str]
    """Texts by column; a null, which sipX writes C{%} or as an empty element, is empty."""

    def get(self, name: str) -> str:
        """
        The text of a column, empty when it is not there.
        """
        return self.columns.get(name, "")


class Setting(NamedTuple):
    """
    A line of a file of settings.
    """

    line: int
    name: str
    value: str


def table_file(folder: Path, kind: str) -> Path | None:
    """
    Where a table is below a folder: in it, or in the place that it had on the
    server.
    """
    return _first(folder / place / f"{kind}.xml" for place in _TABLE_PLACES)


def setting_files(folder: Path) -> list[Path]:
    """
    The files of settings below a folder.
    """
    found = (_first(folder / place / name for place in _SETTING_PLACES) for name in SETTINGS)
    return [path for path in found if path is not None]


def _first(candidates: Iterator[Path]) -> Path | None:
    return next((path for path in candidates if path.is_file()), None)


def read_table(path: Path, kind: str) -> Iterator[Item]:
    """
    Read a table item by item, however large it is.

    @raise SipxFileRefused: Where it stops to be one; the items before were
        given.
    """
    parser = etree.XMLPullParser(
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    items = _Items(path, kind)
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE):
                parser.feed(piece)
                yield from items.of(parser.read_events())
        parser.close()
        yield from items.of(parser.read_events())
    except OSError as error:
        raise SipxFileRefused(path, None, error.strerror or "cannot be read") from error
    except etree.XMLSyntaxError as error:
        # What stopped it may be known before it is told.
        entry = parser.feed_error_log.last_error
        line, message = (entry.line, entry.message) if entry else (error.lineno or 1, error.msg)
        raise SipxFileRefused(path, line, message) from error


class _Items:
    """
    The items in the events of a parser.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind
        self._open: list[etree._Element] = []

    def of(self, events: Iterator[tuple[str, etree._Element]]) -> Iterator[Item]:
        """
        Take what the parser has found so far.
        """
        for event, element in events:
            if event == "start":
                self._started(element)
                self._open.append(element)
                continue
            self._open.pop()
            if len(self._open) == 1:
                columns = {_name(child): (child.text or "").strip() for child in element}
                yield Item(
                    element.sourceline or 0,
                    {name: "" if text == "%" else text for name, text in columns.items()},
                )
                # What was read is not kept.
                self._open[0].remove(element)

    def _started(self, element: etree._Element) -> None:
        depth, name = len(self._open), _name(element)
        if depth == 0:
            if element.getroottree().docinfo.internalDTD is not None:
                raise SipxFileRefused(self._path, 1, "a document type is not allowed")
            if name != "items" or element.get("type") != self._kind:
                raise SipxFileRefused(self._path, element.sourceline, f'expected <items type="{self._kind}">')
        elif (depth == 1 and name != "item") or depth > 2:
            raise SipxFileRefused(self._path, element.sourceline, f"<{name}> is not expected here")


def _name(element: etree._Element) -> str:
    # Old tables have no namespace, newer ones have one each.
    return etree.QName(element).localname


def read_settings(path: Path) -> list[Setting]:
    """
    Read a file of settings; lines that are none are comments.

    @raise SipxFileRefused: It cannot be read.
    """
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise SipxFileRefused(path, None, error.strerror) from error
    settings = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _SETTING.fullmatch(line.strip())
        if match is not None:
            settings.append(Setting(number, match[1], match[2].strip()))
    return settings
