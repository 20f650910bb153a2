"""
The tables of people: credential.xml, permission.xml, alias.xml.

They have sipX's formats; C{passtoken-sha256} beside C{passtoken} is ours.
Here is what their items mean, to who reads and to who changes them; how they
are files is in L{sipxha.config.tables}.  A password goes no further than this
module: what is kept are its digests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from lxml import etree

from sipxha.auth.digest import ha1
from sipxha.auth.users import FIRST, Credential, Users, Version
from sipxha.config import model
from sipxha.config.tables import (
    KINDS,
    UsersRefused,
    changing,
    columns,
    items,
    local_name,
    path_of,
    stream_table,
    version_of,
)
from sipxha.errors import LocalError
from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField
from sipxha.sip.uri import Uri

__all__ = [
    "PASSTOKENS",
    "NotAUserName",
    "UserExists",
    "UserUnknown",
    "UsersRefused",
    "add_user",
    "forbid",
    "identity_of",
    "load_users",
    "permit",
    "remove_user",
    "set_password",
    "users_of",
]

PASSTOKENS: Final = {"MD5": "passtoken", "SHA-256": "passtoken-sha256"}
"""
The element that holds H(userid:realm:password), by algorithm.
"""

_HASH = {"MD5": re.compile("[0-9a-fA-F]{32}"), "SHA-256": re.compile("[0-9a-fA-F]{64}")}

_NOTHING: Final[frozenset[str]] = frozenset()

_USERNAME = re.compile(r"[^\x00-\x20\x7f:\"\\]+")

# Nearly all that stands in a table; anything else takes a slower way to the same.
_PLAIN = re.compile(r"<?(?:sips?:)?([A-Za-z0-9_.~-]+)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)>?")


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

    def __init__(self, name: str, domain: str) -> None:
        super().__init__(f"{name!r} cannot be a user: expected NAME or NAME@{domain}")


def identity_of(name: str, domain: str) -> str:
    """
    The identity that an operator means: C{201} is C{201@domain}.

    @raise NotAUserName: It means none.
    """
    try:
        uri = Uri.parse(f"sip:{name}" if "@" in name else f"sip:{name}@{domain}")
    except MalformedField as found:
        raise NotAUserName(name, domain) from found
    user, _, host = uri.identity().rpartition("@")
    if host != domain or uri.password is not None or _USERNAME.fullmatch(user) is None:
        raise NotAUserName(name, domain)
    return f"{user}@{host}"


# -- reading -----------------------------------------------------------------


def load_users(files: model.Users, domain: str, realm: str) -> Users:
    """
    Read all three tables.

    Credentials of other realms are passed over.

    @raise UsersRefused: One of them cannot be read, or holds what cannot be.
    """
    tables, version = {}, FIRST
    for kind in KINDS:
        tables[kind] = stream_table(path_of(files, kind), kind)
        version = max(version, version_of(next(tables[kind])))
    return users_of(files, tables, version, domain, realm)


def users_of(
    files: model.Users,
    tables: Mapping[str, Iterable[etree._Element]],
    version: Version,
    domain: str,
    realm: str,
) -> Users:
    """
    What tables say.

    @param files: Where they are, for what is wrong.
    @param tables: The items, by the type of their table.

    @raise UsersRefused: They hold what cannot be.
    """
    credentials: dict[str, Credential] = {}
    for item in tables["credential"]:
        credential = _credential(files.credentials, item, domain)
        if credential.realm != realm:
            continue
        if credential.username in credentials:
            raise UsersRefused(
                files.credentials, item.sourceline, f"userid {credential.username} is there twice"
            )
        # One text for all of them.
        credentials[credential.username] = credential._replace(realm=realm)
    permissions: dict[str, frozenset[str]] = {}
    # Most users are permitted the same.
    same: dict[frozenset[str], frozenset[str]] = {}
    for item in tables["permission"]:
        said = columns(item)
        identity = _identity(files.permissions, item, said, "identity", domain)
        held = permissions.get(identity, _NOTHING) | {_text(files.permissions, item, said, "permission")}
        permissions[identity] = same.setdefault(held, held)
    aliases: dict[str, list[str]] = {}
    for item in tables["alias"]:
        said = columns(item)
        contact = _text(files.aliases, item, said, "contact")
        try:
            Address.parse(contact)
        except MalformedField as found:
            raise UsersRefused(files.aliases, item.sourceline, found) from found
        aliases.setdefault(_identity(files.aliases, item, said, "identity", domain), []).append(contact)
    return Users(
        credentials.values(),
        permissions,
        {identity: tuple(contacts) for identity, contacts in aliases.items()},
        version,
    )


def _credential(path: Path, item: etree._Element, domain: str) -> Credential:
    said = columns(item)
    identity = _identity(path, item, said, "uri", domain)
    hashes: dict[str, str] = {}
    for algorithm, name in PASSTOKENS.items():
        token = said.get(name)
        if token is None:
            continue
        if _HASH[algorithm].fullmatch(token) is None:
            raise UsersRefused(path, item.sourceline, f"{name} is not a {algorithm} hash in hexadecimal")
        hashes[algorithm] = token.lower()
    username = said.get("userid") or identity.rpartition("@")[0]
    return Credential(identity, _text(path, item, said, "realm"), username, hashes)


def _text(path: Path, item: etree._Element, said: dict[str, str], name: str) -> str:
    text = said.get(name)
    if text is None:
        raise UsersRefused(path, item.sourceline, f"<{name}> is missing or empty")
    return text


def _identity(path: Path, item: etree._Element, said: dict[str, str], name: str, domain: str) -> str:
    """
    C{user@host}, whether it was written as a URI, with or without its scheme,
    or as a bare user of the domain.
    """
    text = _text(path, item, said, name)
    match = _PLAIN.fullmatch(text)
    if match is not None:
        return f"{match[1]}@{match[2].lower()}"
    text = text.strip("<>")
    scheme, _, rest = text.rpartition(":")
    if scheme.lower() not in ("sip", "sips"):
        rest = text
    try:
        return Uri.parse(f"sip:{rest}" if "@" in rest else f"sip:{rest}@{domain}").identity()
    except MalformedField as found:
        raise UsersRefused(path, item.sourceline, f"<{name}> {text!r} is not an identity") from found


# -- changing ----------------------------------------------------------------


def add_user(files: model.Users, identity: str, realm: str, password: str, node: str = "") -> Version:
    """
    Let somebody register.  A new user has no permissions.

    @param node: Where this is done.

    @return: The version of all users that comes of it, here and below.

    @raise UserExists: Somebody may already.
    """
    with changing(files) as tables:
        root = tables.root("credential")
        if _find_credential(files.credentials, root, identity, realm) is not None:
            raise UserExists(identity)
        item = _add(root, "item")
        username = identity.rpartition("@")[0]
        for name, text in (("uri", f"sip:{identity}"), ("realm", realm), ("userid", username)):
            _add(item, name, text)
        _set_tokens(item, username, realm, password)
        _add(item, "authtype", "DIGEST")
        tables.changed("credential")
        return tables.save(node)


def set_password(files: model.Users, identity: str, realm: str, password: str, node: str = "") -> Version:
    """
    Replace every hash of a user.

    @raise UserUnknown: There is none.
    """
    with changing(files) as tables:
        item = _find_credential(files.credentials, tables.root("credential"), identity, realm)
        if item is None:
            raise UserUnknown(identity)
        username = columns(item).get("userid") or identity.rpartition("@")[0]
        _set_tokens(item, username, realm, password)
        tables.changed("credential")
        return tables.save(node)


def remove_user(files: model.Users, identity: str, node: str = "") -> Version:
    """
    Forget a user's credentials, permissions and aliases.

    @raise UserUnknown: There is none.
    """
    domain = identity.rpartition("@")[2]
    with changing(files) as tables:
        for kind, column in (("credential", "uri"), ("permission", "identity"), ("alias", "identity")):
            path, root = path_of(files, kind), tables.root(kind)
            gone = [
                item
                for item in items(path, root)
                if _identity(path, item, columns(item), column, domain) == identity
            ]
            if gone:
                tables.changed(kind)
            elif kind == "credential":
                raise UserUnknown(identity)
            for item in gone:
                root.remove(item)
        return tables.save(node)


def permit(files: model.Users, identity: str, permissions: Iterable[str], node: str = "") -> Version:
    """
    Give permissions; those that are there already stay as they are.
    """
    with changing(files) as tables:
        root = tables.root("permission")
        held = _held(files.permissions, root, identity)
        for permission in permissions:
            if permission not in held:
                item = _add(root, "item")
                held[permission] = [item]
                _add(item, "identity", f"sip:{identity}")
                _add(item, "permission", permission)
                tables.changed("permission")
        return tables.save(node)


def forbid(files: model.Users, identity: str, permissions: Iterable[str], node: str = "") -> Version:
    """
    Take permissions away; those that are not there are no matter.
    """
    with changing(files) as tables:
        root = tables.root("permission")
        held = _held(files.permissions, root, identity)
        for permission in permissions:
            for item in held.pop(permission, ()):
                root.remove(item)
                tables.changed("permission")
        return tables.save(node)


def import_credentials(
    files: model.Users, domain: str, credentials: Iterable[Credential], node: str
) -> list[bool]:
    """
    Add credentials that come as hashes.  Whoever may register already keeps
    what is there.

    @return: Of each, whether it was added.
    """
    added = []
    with changing(files) as tables:
        root = tables.root("credential")
        known: set[tuple[str, str]] = set()
        for item in items(files.credentials, root):
            held = _credential(files.credentials, item, domain)
            known |= {(held.identity, held.realm), (held.username, held.realm)}
        for credential in credentials:
            keys = {(credential.identity, credential.realm), (credential.username, credential.realm)}
            added.append(not keys & known)
            if added[-1]:
                known |= keys
                item = _add(root, "item")
                _add(item, "uri", f"sip:{credential.identity}")
                _add(item, "realm", credential.realm)
                _add(item, "userid", credential.username)
                for algorithm, token in credential.ha1.items():
                    _add(item, PASSTOKENS[algorithm], token)
                _add(item, "authtype", "DIGEST")
                tables.changed("credential")
        tables.save(node)
    return added


def import_rows(
    files: model.Users, kind: str, domain: str, rows: Iterable[tuple[str, str]], node: str
) -> list[bool]:
    """
    Add permissions or aliases; those that are there already stay.

    @param kind: C{permission} or C{alias}.
    @param rows: Identity, and the permission or the contact.

    @return: Of each, whether it was added.
    """
    added = []
    path, column = path_of(files, kind), "contact" if kind == "alias" else kind
    with changing(files) as tables:
        root = tables.root(kind)
        known = set()
        for item in items(path, root):
            said = columns(item)
            known.add((_identity(path, item, said, "identity", domain), _text(path, item, said, column)))
        for identity, text in rows:
            added.append((identity, text) not in known)
            if added[-1]:
                known.add((identity, text))
                item = _add(root, "item")
                _add(item, "identity", f"sip:{identity}")
                _add(item, column, text)
                tables.changed(kind)
        tables.save(node)
    return added


def _held(path: Path, root: etree._Element, identity: str) -> dict[str, list[etree._Element]]:
    domain = identity.rpartition("@")[2]
    held: dict[str, list[etree._Element]] = {}
    for item in items(path, root):
        said = columns(item)
        if _identity(path, item, said, "identity", domain) == identity:
            held.setdefault(_text(path, item, said, "permission"), []).append(item)
    return held


def _find_credential(path: Path, root: etree._Element, identity: str, realm: str) -> etree._Element | None:
    domain = identity.rpartition("@")[2]
    for item in items(path, root):
        said = columns(item)
        if _identity(path, item, said, "uri", domain) == identity and said.get("realm") == realm:
            return item
    return None


def _set_tokens(item: etree._Element, username: str, realm: str, password: str) -> None:
    for child in list(item):
        # A pintoken is a hash of the same password, for sipX's web pages.
        if isinstance(child.tag, str) and local_name(child) in (*PASSTOKENS.values(), "pintoken"):
            item.remove(child)
    for algorithm, name in PASSTOKENS.items():
        _add(item, name, ha1(username, realm, password, algorithm))


def _add(parent: etree._Element, name: str, text: str | None = None) -> etree._Element:
    namespace = etree.QName(parent).namespace
    element = etree.SubElement(parent, f"{{{namespace}}}{name}" if namespace else name)
    element.text = text
    return element
