"""
Takes people and settings of sipXpbx into the files of a node.

Each item of the other's files is taken, is here already, or is left with a
reason; nothing that is here is changed.  Registrations are rows of the
registry, and are not taken here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from lxml import etree

from sipxha.auth.digest import ha1
from sipxha.auth.users import Credential
from sipxha.config import model, users
from sipxha.config.load import ConfigurationRefused, load
from sipxha.config.schema import NAMESPACE
from sipxha.config.sipx import Item, read_settings, read_table
from sipxha.config.whole_file import write_whole
from sipxha.errors import RemoteError
from sipxha.registry.domain import ServedDomain
from sipxha.sip.address import Address

TAKEN: Final = "taken"
KNOWN: Final = "known"
LEFT: Final = "left"


class Outcome(NamedTuple):
    """
    What became of an item.
    """

    file: Path
    line: int
    item: str
    outcome: str
    """L{TAKEN}, L{KNOWN} or L{LEFT}."""

    reason: str = ""


class _Left(Exception):
    """
    An item cannot be taken.
    """


_HASH = re.compile("[0-9a-fA-F]{32}")
_FIT_FOR_DIGEST = re.compile(r"[^\x00-\x20\x7f:\"\\]+")
_Row = TypeVar("_Row")

_OF_SIPX = "~~"
"""How the user parts begin that sipX keeps for itself."""


# -- people ------------------------------------------------------------------


def take_credentials(path: Path, config: model.Config) -> list[Outcome]:
    """
    Take who may register.

    A hash is taken as it is; where sipX had the password itself, it is hashed
    by every algorithm and not kept.
    """

    def read(item: Item) -> tuple[str, Credential]:
        identity = _identity(item.get("uri"), config.domain)
        username = item.get("userid") or identity.rpartition("@")[0]
        if username.startswith(_OF_SIPX):
            raise _Left("an account of sipX itself")
        if _FIT_FOR_DIGEST.fullmatch(username) is None:
            raise _Left(f"{username!r} cannot be a user name")
        token, realm = item.get("passtoken"), config.domain.realm
        if not token:
            raise _Left("it has no passtoken")
        if _HASH.fullmatch(token) is None:
            hashes = {algorithm: ha1(username, realm, token, algorithm) for algorithm in users.PASSTOKENS}
        elif item.get("realm") == realm:
            hashes = {"MD5": token.lower()}
        else:
            raise _Left(f"its hash is good in the realm {item.get('realm')!r} only, and here it is {realm!r}")
        return identity, Credential(identity, realm, username, hashes)

    def add(rows: list[Credential]) -> list[bool]:
        return users.import_credentials(config.users, config.domain.name, rows, config.node.name)

    return _take(path, "credential", "uri", read, add)


def take_permissions(path: Path, config: model.Config) -> list[Outcome]:
    """
    Take what people may dial.
    """

    def read(item: Item) -> tuple[str, tuple[str, str]]:
        identity, permission = _identity(item.get("identity"), config.domain), item.get("permission")
        if not permission:
            raise _Left("it names no permission")
        return f"{identity} {permission}", (identity, permission)

    return _take(path, "permission", "identity", read, _adder(config, "permission"))


def take_aliases(path: Path, config: model.Config) -> list[Outcome]:
    """
    Take what stands for other addresses.
    """

    def read(item: Item) -> tuple[str, tuple[str, str]]:
        identity, contact = _identity(item.get("identity"), config.domain), item.get("contact")
        Address.parse(contact)
        return f"{identity} {contact}", (identity, contact)

    return _take(path, "alias", "identity", read, _adder(config, "alias"))


def _adder(config: model.Config, kind: str) -> Callable[[list[tuple[str, str]]], list[bool]]:
    return lambda rows: users.import_rows(config.users, kind, config.domain.name, rows, config.node.name)


def _take(
    path: Path,
    kind: str,
    key: str,
    read: Callable[[Item], tuple[str, _Row]],
    add: Callable[[list[_Row]], list[bool]],
) -> list[Outcome]:
    """
    Read a table to its end, and add what can be taken.

    @param key: The column that names an item which cannot be read.

    @raise sipxha.config.sipx.SipxFileRefused: It is no such table; then
        nothing of it is taken.
    """
    outcomes: list[Outcome] = []
    rows: list[_Row] = []
    places: list[int] = []
    for item in read_table(path, kind):
        try:
            name, row = read(item)
        except (_Left, RemoteError) as left:
            outcomes.append(Outcome(path, item.line, item.get(key), LEFT, str(left)))
        else:
            places.append(len(outcomes))
            rows.append(row)
            outcomes.append(Outcome(path, item.line, name, TAKEN))
    for place, was_added in zip(places, add(rows), strict=True):
        if not was_added:
            outcomes[place] = outcomes[place]._replace(outcome=KNOWN)
    return outcomes


def _identity(text: str, domain: model.Domain) -> str:
    """
    C{user@domain}, however sipX wrote it.
    """
    if ":" not in text.partition("@")[0]:
        text = f"sip:{text}"
    identity = ServedDomain(domain.name, domain.aliases).identity(Address.parse(text).uri)
    if identity is None:
        raise _Left(f"no user of {domain.name}")
    return identity


# -- settings ----------------------------------------------------------------

_ATTRIBUTES: Final = {
    "SIP_REGISTRAR_MIN_EXPIRES": "min-expires",
    "SIP_REGISTRAR_MIN_EXPIRES_NORMAL": "min-expires",
    "SIP_REGISTRAR_MAX_EXPIRES": "max-expires",
    "SIP_REGISTRAR_MAX_EXPIRES_NORMAL": "max-expires",
}
"""Settings that are attributes of C{<registrar>}."""

_ALIASES: Final = ("SIP_DOMAIN_ALIASES", "SIP_REGISTRAR_DOMAIN_ALIASES")

_ELSEWHERE: Final = {
    "SIP_REGISTRAR_NAME": "the node's name came with its folder: <node name>",
    "SIP_REGISTRAR_SYNC_WITH": "the peers came with the node's folder: <peer>",
    "SIP_REGISTRAR_XMLRPC_PORT": "must be the same on all nodes: <replication port>",
    "SIP_CALLRESOLVER_CSE_HOSTS": "came with the node's folder: <cse-hosts>",
    "SIP_REGISTRAR_AUTHENTICATE_SCHEME": "REGISTER is challenged; <registrar authenticate> is where to change that",
}
"""Settings that are not taken from one server, and what to look at."""

_DOMAINS: Final = (
    "SIP_DOMAIN_NAME",
    "SIP_REGISTRAR_DOMAIN_NAME",
    "SIP_PROXY_DOMAIN_NAME",
    "SIP_AUTHPROXY_DOMAIN_NAME",
)
_REALMS: Final = ("SIP_REGISTRAR_AUTHENTICATE_REALM", "SIP_AUTHPROXY_AUTHENTICATE_REALM")

_PORT = re.compile(r"SIP_(PROXY|AUTHPROXY|REGISTRAR)_(UDP|TCP|TLS)_PORT")
_SPACES = re.compile(r"[\s,]+")


def take_settings(path: Path, file: Path, config: model.Config) -> list[Outcome]:
    """
    Take the settings that have their like here into sipxha.xml, which the
    node reads at its next start.

    @param path: The settings.
    @param file: The node's configuration, which C{config} was read from.

    @raise sipxha.config.sipx.SipxFileRefused: The settings cannot be read.
    """
    edited = _Edited(file)
    outcomes = []
    for line, name, value in read_settings(path):
        try:
            outcome = TAKEN if _set(edited, name, value, config) else KNOWN
        except _Left as left:
            outcomes.append(Outcome(path, line, name, LEFT, str(left)))
        else:
            outcomes.append(Outcome(path, line, name, outcome))
    if any(each.outcome == TAKEN for each in outcomes):
        problem = edited.write()
        if problem:
            outcomes = [
                each._replace(outcome=LEFT, reason=problem) if each.outcome == TAKEN else each
                for each in outcomes
            ]
    return outcomes


def _set(edited: _Edited, name: str, value: str, config: model.Config) -> bool:
    """
    Take one setting.

    @return: Whether anything had to be changed for it.
    """
    if "${" in value:
        raise _Left("a template: its value is made when sipX starts")
    if name in _ATTRIBUTES:
        return edited.set_number(_ATTRIBUTES[name], value)
    if name in _ALIASES:
        known = {config.domain.name, *config.domain.aliases}
        return edited.add_aliases(
            alias for alias in _SPACES.split(value.lower()) if alias and alias not in known
        )
    if name in _DOMAINS and value:
        return _expect(value.lower(), config.domain.name, "the domain")
    if name in _REALMS and value:
        return _expect(value, config.domain.realm, "the realm")
    if _PORT.fullmatch(name) and value.upper() in ("", "DEFAULT"):
        return False
    if _PORT.fullmatch(name):
        raise _Left("ports are also in the DNS: change both, on all nodes")
    raise _Left(_ELSEWHERE.get(name, "there is no such setting here"))


def _expect(theirs: str, ours: str, what: str) -> bool:
    if theirs != ours:
        raise _Left(f"{what} is {ours} here")
    return False


class _Edited:
    """
    sipxha.xml, with its comments, to be changed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        content = file.read_bytes()
        self._is_declared = content.startswith(b"<?xml")
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        self._root = etree.fromstring(content, parser)

    def set_number(self, attribute: str, value: str) -> bool:
        """
        Set an attribute of C{<registrar>}.
        """
        registrar = self._root.find(f"{{{NAMESPACE}}}registrar")
        if registrar is None:
            raise _Left("this node has no registrar")
        if not (value.isascii() and value.isdigit()):
            raise _Left(f"{value!r} is not a number")
        if registrar.get(attribute) == value:
            return False
        registrar.set(attribute, value)
        return True

    def add_aliases(self, names: Iterator[str]) -> bool:
        """
        Add names to C{<domain>}.
        """
        domain = self._root.find(f"{{{NAMESPACE}}}domain")
        assert domain is not None
        here = {child.text for child in domain}
        added = [name for name in names if name not in here]
        for place, name in enumerate(added):
            alias = etree.Element(f"{{{NAMESPACE}}}alias")
            alias.text = name
            domain.insert(place, alias)
        return bool(added)

    def write(self) -> str:
        """
        Put the new file in the old one's place, if a node could start with it.

        @return: Why not.
        """
        tree = self._root.getroottree()
        content = etree.tostring(tree, xml_declaration=self._is_declared, encoding="UTF-8") + b"\n"
        # Beside it, for the paths in it are relative to the file.
        trial = self._file.with_name(f".{self._file.name}.import")
        try:
            write_whole(trial, content, 0o600)
            load(trial)
        except ConfigurationRefused as refused:
            return refused.problems[0].replace(str(trial), str(self._file))
        finally:
            trial.unlink(missing_ok=True)
        write_whole(self._file, content, 0o644)
        return ""
