"""
The users of the domain as one value that travels between nodes, and how nodes
tell that they have the same of what must be the same on all of them.

Of two sets the one with the greater version wins, as a whole.  Who sends one
and when is not known here.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lxml import etree

from sipxha.auth.users import Users, Version
from sipxha.config import model
from sipxha.config.tables import KINDS, bound, changing, check_table, items, unbound
from sipxha.config.users import UsersRefused, users_of
from sipxha.errors import RemoteError


class UsersMalformed(RemoteError):
    """
    What another node sent as its users cannot be any.
    """


def snapshot(files: model.Users) -> bytes:
    """
    All tables as they are now, with their version: one XML document.  As
    secret as they are.

    @raise UsersRefused: They cannot be read.
    """
    with changing(files) as tables:
        return bound({kind: tables.root(kind) for kind in KINDS}, tables.version())


def take(files: model.Users, domain: str, realm: str, text: bytes) -> bool:
    """
    Put the users of another node in the place of ours, if theirs are newer.

    @param text: What L{snapshot} made there.

    @return: Whether they were.

    @raise UsersMalformed: Nobody could have such users.  Nothing has changed.
    @raise UsersRefused: Our files cannot be read or written.
    """
    roots, version = _checked(text, domain, realm)
    with changing(files) as tables:
        if version <= tables.version():
            return False
        tables.write(roots, version)
        return True


def agreement(secret: bytes, users: Users, own: Sequence[str], rules: Iterable[Path]) -> dict[str, str]:
    """
    What a node tells others about what should be the same on all, by name:
    keyed hashes, which reveal nothing to who has not the same.

    @param own: The name of the node and its address, which its own rules may name.
    @param rules: The files of its rules; what cannot be read is left out.
    """
    told = {
        "secret": _hash(secret, b"secret", b""),
        "users": _hash(secret, b"users", _sum(secret, users.lines())),
    }
    names = re.compile(
        b"(?<![0-9A-Za-z-])(%s)(?![0-9A-Za-z-])" % b"|".join(re.escape(each.encode()) for each in own)
    )
    for path in rules:
        try:
            content = path.read_bytes()
        except OSError:
            continue
        # Each node sends to its own registrar first.
        told[path.stem] = _hash(secret, b"rules", names.sub(b"{node}", content))
    return told


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """
    Name what two nodes should have the same of, and have not.  What only one
    of them has is no difference; with another secret nothing can be compared.
    """
    names = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    return ["secret"] if "secret" in names else names


def _checked(text: bytes, domain: str, realm: str) -> tuple[dict[str, etree._Element], Version]:
    roots, version = unbound(text, UsersMalformed)
    if len(roots) < len(KINDS):
        raise UsersMalformed("a table is missing")
    # What is wrong is named by the table that it stands in.
    named = model.Users(*(Path(kind) for kind in ("credential", "permission", "alias")))
    try:
        for kind, root in roots.items():
            check_table(Path(kind), root, kind)
        tables = {kind: items(Path(kind), root) for kind, root in roots.items()}
        users_of(named, tables, version, domain, realm)
    except UsersRefused as refused:
        raise UsersMalformed(str(refused)) from refused
    return roots, version


def _sum(secret: bytes, lines: Iterable[str]) -> bytes:
    # A sum, for to sort so many would hold up all threads at once.
    total = 0
    for line in lines:
        total += int.from_bytes(hmac.digest(secret, line.encode("utf-8", "surrogateescape"), "sha256"))
    return (total % (1 << 256)).to_bytes(32)


def _hash(secret: bytes, *parts: bytes) -> str:
    return hmac.digest(secret, b"\0".join((b"agreement", *parts)), "sha256")[:16].hex()
