"""
The XML tables of people as files: read as a whole or refused with the line at
fault, and changed together, one change at a time.

Whoever changes them holds a lock; each file is replaced at once, and what
must change in several of them is written down first, so that a crash in the
middle is made good by the next who comes.  Each change raises the version of
the whole set, which stands in the root of the files that it wrote; a set
whose files name none has version 0.  What the items mean is not known here.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Final

from lxml import etree

from sipxha.auth.users import FIRST, Version
from sipxha.config import model
from sipxha.config.whole_file import write_whole
from sipxha.errors import LocalError

KINDS: Final = ("alias", "permission", "credential")
"""
The types of the tables, in the order in which a set of them is written: who
there is comes last.
"""

_VERSION = "version"


class UsersRefused(LocalError):
    """
    A table of people cannot be used; the text names file and line.
    """

    def __init__(self, path: Path, line: object, problem: object) -> None:
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")


def path_of(files: model.Users, kind: str) -> Path:
    """
    Where a table is.
    """
    return {"alias": files.aliases, "permission": files.permissions, "credential": files.credentials}[kind]


# -- reading -----------------------------------------------------------------


def read_table(path: Path, kind: str) -> etree._Element:
    """
    The root of a table.

    @raise UsersRefused: It cannot be read, or is another.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_blank_text=True
    )
    try:
        tree = etree.parse(str(path), parser)
    except OSError as error:
        raise UsersRefused(path, None, error.strerror or "cannot be read") from error
    except etree.XMLSyntaxError as error:
        raise UsersRefused(path, error.lineno, error.msg) from error
    if tree.docinfo.internalDTD is not None:
        raise UsersRefused(path, 1, "a document type is not allowed")
    root = tree.getroot()
    check_table(path, root, kind)
    return root


def stream_table(path: Path, kind: str) -> Iterator[etree._Element]:
    """
    The root of a table, still empty, and then its items one by one, each for
    as long as nobody asks for the next: a table of thousands takes little
    memory, and holds up no other thread when it goes.

    @raise UsersRefused: It cannot be read, or is another.
    """
    try:
        with open(path, "rb") as stream:
            parsing = etree.iterparse(
                stream,
                events=("start", "end"),
                resolve_entities=False,
                no_network=True,
                load_dtd=False,
                huge_tree=False,
            )
            depth = 0
            for event, element in parsing:
                depth += 1 if event == "start" else -1
                if event == "start":
                    if depth == 1:
                        if element.getroottree().docinfo.internalDTD is not None:
                            raise UsersRefused(path, 1, "a document type is not allowed")
                        check_table(path, element, kind)
                        yield element
                elif depth == 1:
                    check_item(path, element)
                    yield element
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]  # type: ignore[union-attr]
    except OSError as error:
        raise UsersRefused(path, None, error.strerror or "cannot be read") from error
    except etree.XMLSyntaxError as error:
        raise UsersRefused(path, error.lineno, error.msg) from error


def check_table(path: Path, root: etree._Element, kind: str) -> None:
    """
    See that this is a table of a kind, with a version that is one.

    @raise UsersRefused: It is not.
    """
    if local_name(root) != "items" or root.get("type") != kind:
        raise UsersRefused(path, root.sourceline, f'expected <items type="{kind}">')
    try:
        version_of(root)
    except ValueError:
        raise UsersRefused(path, root.sourceline, f"{root.get(_VERSION)!r} is not a version") from None


def version_of(root: etree._Element) -> Version:
    """
    The version that a table names.

    @raise ValueError: What it names is none.
    """
    text = root.get(_VERSION)
    return FIRST if text is None else Version.parse(text)


def items(path: Path, root: etree._Element) -> Iterator[etree._Element]:
    """
    The items of a table.

    @raise UsersRefused: There is something else in it.
    """
    for item in root:
        if isinstance(item.tag, str):
            check_item(path, item)
            yield item


def check_item(path: Path, item: etree._Element) -> None:
    """
    See that this is an item.

    @raise UsersRefused: It is not.
    """
    if item.tag != "item" and local_name(item) != "item":
        raise UsersRefused(path, item.sourceline, f"<{local_name(item)}> is not expected here")


def columns(item: etree._Element) -> dict[str, str]:
    """
    What an item says, by column; what is empty is left out, and of what is
    there twice the first counts.
    """
    found: dict[str, str] = {}
    for child in item:
        tag = child.tag
        if not isinstance(tag, str):
            continue
        text = child.text
        if text and (text := text.strip()):
            found.setdefault(tag.rpartition("}")[2], text)
    return found


def local_name(element: etree._Element) -> str:
    """
    Its name.  Old tables have no namespace, newer ones have one each.
    """
    return str(element.tag).rpartition("}")[2]


# -- changing ----------------------------------------------------------------


class Tables:
    """
    The three tables in the hands of who changes them.
    """

    def __init__(self, files: model.Users) -> None:
        self._files = files
        self._roots: dict[str, etree._Element] = {}
        self._changed: set[str] = set()

    def root(self, kind: str) -> etree._Element:
        """
        A table, to be looked at.
        """
        root = self._roots.get(kind)
        if root is None:
            root = self._roots[kind] = read_table(path_of(self._files, kind), kind)
        return root

    def changed(self, kind: str) -> None:
        """
        Tell that a table is no more what it was.
        """
        self._changed.add(kind)

    def version(self) -> Version:
        """
        Of the whole set.
        """
        return max(
            version_of(self._roots[kind])
            if kind in self._roots
            else _glance(path_of(self._files, kind), kind)
            for kind in KINDS
        )

    def save(self, node: str) -> Version:
        """
        Write what has changed, as a new version made by C{node}.

        @return: The version that is there now.
        """
        version = self.version()
        if self._changed:
            version = Version(version.counter + 1, node)
            self.write({kind: self._roots[kind] for kind in KINDS if kind in self._changed}, version)
        return version

    def write(self, roots: dict[str, etree._Element], version: Version) -> None:
        """
        Put tables in the place of those that are there.
        """
        if len(roots) > 1:
            # A hash is as good as the password.
            write_whole(intent(self._files), bound(roots, version), 0o600, keeps_mode=False)
        _write(self._files, roots, version)
        intent(self._files).unlink(missing_ok=True)


@contextmanager
def changing(files: model.Users) -> Iterator[Tables]:
    """
    Hold the tables, for as long as they are changed.  What was begun and not
    finished is finished first.

    @raise UsersRefused: A file cannot be read or written.
    """
    path = files.credentials
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsersRefused(path, None, error.strerror) from error
    try:
        # On the folder, for the files themselves are replaced; gone when it is closed.
        fcntl.flock(folder, fcntl.LOCK_EX)
        _finish(files)
        yield Tables(files)
        os.fsync(folder)
    except OSError as error:
        raise UsersRefused(path, None, error.strerror) from error
    finally:
        os.close(folder)


def intent(files: model.Users) -> Path:
    """
    Where a change of several tables is written down first.
    """
    return files.credentials.with_name(f".{files.credentials.name}.intent")


def finish_change(files: model.Users) -> None:
    """
    Finish what somebody began who died.

    @raise UsersRefused: It cannot be.
    """
    if intent(files).exists():
        with changing(files):
            pass


# -- several tables as one text ----------------------------------------------


def bound(roots: dict[str, etree._Element], version: Version) -> bytes:
    """
    Tables as one document.
    """
    users = etree.Element("users", {_VERSION: str(version)})
    users.extend(deepcopy(root) for root in roots.values())
    return etree.tostring(users, encoding="UTF-8")


def unbound(text: bytes, refused: Callable[[object], Exception]) -> tuple[dict[str, etree._Element], Version]:
    """
    The tables of such a document.

    @param refused: Makes an exception of what is wrong.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        users = etree.fromstring(text, parser)
        if users.getroottree().docinfo.internalDTD is not None:
            raise refused("a document type is not allowed")
        version = version_of(users)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise refused(error) from error
    # Each a table of its own, with its own namespaces and nothing around it.
    roots = {root.get("type", ""): deepcopy(root) for root in users if isinstance(root.tag, str)}
    if local_name(users) != "users" or len(roots) < len(users) or not roots.keys() <= set(KINDS):
        raise refused("expected <users> with tables")
    return roots, version


def _finish(files: model.Users) -> None:
    path = intent(files)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    roots, version = unbound(text, lambda problem: UsersRefused(path, None, problem))
    _write(files, roots, version)
    path.unlink()


def _write(files: model.Users, roots: dict[str, etree._Element], version: Version) -> None:
    for kind in KINDS:
        root = roots.get(kind)
        if root is None:
            continue
        root.set(_VERSION, str(version))
        etree.indent(root)
        document = etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"
        write_whole(path_of(files, kind), document, 0o600, keeps_mode=False)


def _glance(path: Path, kind: str) -> Version:
    """
    The version of a table of which nothing else is asked.
    """
    return version_of(next(stream_table(path, kind)))
