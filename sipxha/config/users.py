"""
The tables of people: credential.xml, permission.xml, alias.xml.

They have sipX's formats; C{passtoken-sha256} beside C{passtoken} is ours.
Files are read as a whole or refused with the line at fault, and changed under
a lock by writing a new file and renaming it, so that whoever reads sees one
state or the other.  A password goes no further than this module: what is kept
are its digests.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lxml import etree

from sipxha.auth.digest import ha1
from sipxha.auth.users import Credential, Users
from sipxha.config import model
from sipxha.config.whole_file import write_whole
from sipxha.errors import LocalError
from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField
from sipxha.sip.uri import Uri

PASSTOKENS: Final = {"MD5": "passtoken", "SHA-256": "passtoken-sha256"}
"""
The element that holds H(userid:realm:password), by algorithm.
"""

_HASH = {"MD5": re.compile("[0-9a-fA-F]{32}"), "SHA-256": re.compile("[0-9a-fA-F]{64}")}

_USERNAME = re.compile(r"[^\x00-\x20\x7f:\"\\]+")


class UsersRefused(LocalError):
    """
    A table of people cannot be used; the text names file and line.
    """

    def __init__(self, path: Path, line: object, problem: object) -> None:
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")


class UserExists(LocalError):
    """
    There is a user of this name already.
    """

    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity} exists already")


class UserUnknown(LocalError):
    """
    There is no user of this name.
    """

    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity} is not a user")


class NotAUserName(LocalError):
    """
    This cannot be the name of a user.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} cannot be a user: expected NAME or NAME@DOMAIN")


def identity_of(name: str, domain: str) -> str:
    """
    The identity that an operator means: C{201} is C{201@domain}.

    @raise NotAUserName: It means none.
    """
    try:
        uri = Uri.parse(f"sip:{name}" if "@" in name else f"sip:{name}@{domain}")
    except MalformedField as found:
        raise NotAUserName(name) from found
    user, _, host = uri.identity().rpartition("@")
    if host != domain or uri.password is not None or _USERNAME.fullmatch(user) is None:
        raise NotAUserName(name)
    return f"{user}@{host}"


# -- reading -----------------------------------------------------------------


def load_users(files: model.Users, domain: str, realm: str) -> Users:
    """
    Read all three tables.

    Credentials of other realms are passed over.

    @raise UsersRefused: One of them cannot be read, or holds what cannot be.
    """
    credentials: dict[tuple[str, str], Credential] = {}
    for item in _items(files.credentials, _read(files.credentials, "credential")):
        credential = _credential(files.credentials, item, domain)
        if credential.realm != realm:
            continue
        key = (credential.username, realm)
        if key in credentials:
            raise UsersRefused(
                files.credentials, item.sourceline, f"userid {credential.username} is there twice"
            )
        credentials[key] = credential
    permissions: dict[str, set[str]] = {}
    for item in _items(files.permissions, _read(files.permissions, "permission")):
        identity = _identity(files.permissions, item, "identity", domain)
        permissions.setdefault(identity, set()).add(_text(files.permissions, item, "permission"))
    aliases: dict[str, list[str]] = {}
    for item in _items(files.aliases, _read(files.aliases, "alias")):
        contact = _text(files.aliases, item, "contact")
        try:
            Address.parse(contact)
        except MalformedField as found:
            raise UsersRefused(files.aliases, item.sourceline, found) from found
        aliases.setdefault(_identity(files.aliases, item, "identity", domain), []).append(contact)
    return Users(
        credentials.values(),
        {identity: frozenset(names) for identity, names in permissions.items()},
        {identity: tuple(contacts) for identity, contacts in aliases.items()},
    )


def _credential(path: Path, item: etree._Element, domain: str) -> Credential:
    identity = _identity(path, item, "uri", domain)
    hashes: dict[str, str] = {}
    for algorithm, name in PASSTOKENS.items():
        token = _find(item, name)
        if token is None:
            continue
        if _HASH[algorithm].fullmatch(token) is None:
            raise UsersRefused(path, item.sourceline, f"{name} is not a {algorithm} hash in hexadecimal")
        hashes[algorithm] = token.lower()
    username = _find(item, "userid") or identity.rpartition("@")[0]
    return Credential(identity, _text(path, item, "realm"), username, hashes)


def _read(path: Path, kind: str) -> etree._Element:
    """
    The root of a table.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_blank_text=True,
        remove_comments=False,
    )
    try:
        tree = etree.parse(str(path), parser)
    except OSError as error:
        raise UsersRefused(path, None, error.strerror or "cannot be read") from error
    except etree.XMLSyntaxError as error:
        raise UsersRefused(path, error.lineno, error.msg) from error
    root = tree.getroot()
    if tree.docinfo.internalDTD is not None:
        raise UsersRefused(path, 1, "a document type is not allowed")
    if _name(root) != "items" or root.get("type") != kind:
        raise UsersRefused(path, root.sourceline, f'expected <items type="{kind}">')
    return root


def _items(path: Path, root: etree._Element) -> Iterator[etree._Element]:
    for item in root:
        if not isinstance(item.tag, str):
            continue
        if _name(item) != "item":
            raise UsersRefused(path, item.sourceline, f"<{_name(item)}> is not expected here")
        yield item


def _name(element: etree._Element) -> str:
    # Old tables have no namespace, newer ones have one each.
    return etree.QName(element).localname


def _find(item: etree._Element, name: str) -> str | None:
    for child in item:
        if isinstance(child.tag, str) and _name(child) == name:
            return (child.text or "").strip() or None
    return None


def _text(path: Path, item: etree._Element, name: str) -> str:
    text = _find(item, name)
    if text is None:
        raise UsersRefused(path, item.sourceline, f"<{name}> is missing or empty")
    return text


def _identity(path: Path, item: etree._Element, name: str, domain: str) -> str:
    """
    C{user@host}, whether it was written as a URI, with or without its scheme,
    or as a bare user of the domain.
    """
    text = _text(path, item, name).strip("<>")
    scheme, _, rest = text.rpartition(":")
    if scheme.lower() not in ("sip", "sips"):
        rest = text
    try:
        return Uri.parse(f"sip:{rest}" if "@" in rest else f"sip:{rest}@{domain}").identity()
    except MalformedField as found:
        raise UsersRefused(path, item.sourceline, f"<{name}> {text!r} is not an identity") from found


# -- changing ----------------------------------------------------------------


def add_user(files: model.Users, identity: str, realm: str, password: str) -> None:
    """
    Let somebody register.  A new user has no permissions.

    @raise UserExists: Somebody may already.
    """
    domain = identity.rpartition("@")[2]
    with _edited(files.credentials, "credential") as root:
        if _find_credential(files.credentials, root, identity, realm, domain) is not None:
            raise UserExists(identity)
        item = _add(root, "item")
        username = identity.rpartition("@")[0]
        for name, text in (("uri", f"sip:{identity}"), ("realm", realm), ("userid", username)):
            _add(item, name, text)
        _set_tokens(item, username, realm, password)
        _add(item, "authtype", "DIGEST")


def set_password(files: model.Users, identity: str, realm: str, password: str) -> None:
    """
    Replace every hash of a user.

    @raise UserUnknown: There is none.
    """
    domain = identity.rpartition("@")[2]
    with _edited(files.credentials, "credential") as root:
        item = _find_credential(files.credentials, root, identity, realm, domain)
        if item is None:
            raise UserUnknown(identity)
        username = _find(item, "userid") or identity.rpartition("@")[0]
        _set_tokens(item, username, realm, password)


def remove_user(files: model.Users, identity: str) -> None:
    """
    Forget a user's credentials, permissions and aliases.

    @raise UserUnknown: There is none.
    """
    # Credentials first: whatever happens then, nobody can use them any more.
    if not _drop(files.credentials, "credential", "uri", identity):
        raise UserUnknown(identity)
    _drop(files.permissions, "permission", "identity", identity)
    _drop(files.aliases, "alias", "identity", identity)


def permit(files: model.Users, identity: str, permissions: Iterable[str]) -> None:
    """
    Give permissions; those that are there already stay as they are.
    """
    domain = identity.rpartition("@")[2]
    with _edited(files.permissions, "permission") as root:
        held = {
            _text(files.permissions, item, "permission")
            for item in _items(files.permissions, root)
            if _identity(files.permissions, item, "identity", domain) == identity
        }
        for permission in permissions:
            if permission not in held:
                held.add(permission)
                item = _add(root, "item")
                _add(item, "identity", f"sip:{identity}")
                _add(item, "permission", permission)


def forbid(files: model.Users, identity: str, permissions: Iterable[str]) -> None:
    """
    Take permissions away; those that are not there are no matter.
    """
    for permission in permissions:
        _drop(files.permissions, "permission", "identity", identity, permission)


def _find_credential(
    path: Path, root: etree._Element, identity: str, realm: str, domain: str
) -> etree._Element | None:
    for item in _items(path, root):
        if _identity(path, item, "uri", domain) == identity and _find(item, "realm") == realm:
            return item
    return None


def _drop(path: Path, kind: str, column: str, identity: str, permission: str | None = None) -> bool:
    """
    @return: Whether there was such an item.
    """
    domain = identity.rpartition("@")[2]
    with _edited(path, kind) as root:
        gone = [
            item
            for item in _items(path, root)
            if _identity(path, item, column, domain) == identity
            and (permission is None or _find(item, "permission") == permission)
        ]
        for item in gone:
            root.remove(item)
    return bool(gone)


def _set_tokens(item: etree._Element, username: str, realm: str, password: str) -> None:
    for child in list(item):
        # A pintoken is a hash of the same password, for sipX's web pages.
        if isinstance(child.tag, str) and _name(child) in (*PASSTOKENS.values(), "pintoken"):
            item.remove(child)
    for algorithm, name in PASSTOKENS.items():
        _add(item, name, ha1(username, realm, password, algorithm))


def _add(parent: etree._Element, name: str, text: str | None = None) -> etree._Element:
    namespace = etree.QName(parent).namespace
    element = etree.SubElement(parent, f"{{{namespace}}}{name}" if namespace else name)
    element.text = text
    return element


@contextmanager
def _edited(path: Path, kind: str) -> Iterator[etree._Element]:
    """
    Give the root of a table to be changed, and then put the new file in the
    old one's place.  An exception leaves the old one.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsersRefused(path, None, error.strerror) from error
    try:
        # On the folder, for the file itself is replaced; gone when it is closed.
        fcntl.flock(folder, fcntl.LOCK_EX)
        root = _read(path, kind)
        yield root
        etree.indent(root)
        document = etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"
        # A hash is as good as the password.
        write_whole(path, document, 0o600, keeps_mode=False)
        os.fsync(folder)
    except OSError as error:
        raise UsersRefused(path, None, error.strerror) from error
    finally:
        os.close(folder)
