"""
Authorization rules: which permissions a target demands of its caller.

The values behind C{authrules.xml}, in the language of sipX (namespace
urlauth-00-00).  They are judged on the target that is really dialled.  Nothing
here knows who the caller is or how that was proven.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from sipxha.routing.rules import host_key
from sipxha.sip.uri import Uri

NO_ACCESS = "NoAccess"
"""The permission that nobody ever has."""

VALID_USER = "ValidUser"
"""The permission that every authenticated identity has."""


class UserMatch(NamedTuple):
    """
    User patterns, any one of which makes the permissions apply.
    """

    patterns: tuple[re.Pattern[str], ...]
    permissions: frozenset[str]
    """Any one suffices; none at all means that no login is needed."""


class HostMatch(NamedTuple):
    """
    The rules for some hosts, in the order of the file.
    """

    hosts: frozenset[tuple[str, int | None]]
    users: tuple[UserMatch, ...]


class AuthRules:
    """
    All rules of a file.
    """

    __slots__ = ("_by_host",)

    def __init__(self, matches: Iterable[HostMatch]) -> None:
        self._by_host: dict[tuple[str, int | None], list[UserMatch]] = {}
        for match in matches:
            for host in match.hosts:
                self._by_host.setdefault(host, []).extend(match.users)

    def required(self, uri: Uri) -> frozenset[str]:
        """
        @return: the permissions of which the caller needs any one to reach
            C{uri}; empty where none is needed.
        """
        user = uri.user or ""
        for match in self._by_host.get(host_key(uri), ()):
            if any(pattern.fullmatch(user) for pattern in match.patterns):
                return match.permissions
        return frozenset()


def is_permitted(required: frozenset[str], identity: str | None, held: frozenset[str]) -> bool:
    """
    Judge a caller against what a target demands.

    @param identity: who the caller proved to be, if anybody.
    @param held: the permissions of that identity.
    """
    if not required:
        return True
    if identity is None:
        return False
    return (VALID_USER in required) or bool((required - {NO_ACCESS}) & held)


def compile_user_pattern(pattern: str) -> re.Pattern[str]:
    r"""
    Read a pattern of the sipX dialling language: C{x} is any one character,
    C{.} any run of them, C{[...]} a class; a backslash takes the next
    character as it is; all others stand for themselves.

    @raise ValueError: for a class that does not end or a backslash at the end.
    """
    out: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "x":
            out.append(".")
        elif character == ".":
            out.append(".*")
        elif character == "[":
            end = pattern.find("]", position + 2)
            if end < 0:
                raise ValueError(f"class without ] in {pattern!r}")
            out.append("[" + re.sub(r"([\\\[&~|])", r"\\\1", pattern[position + 1 : end]) + "]")
            position = end
        elif character == "\\":
            position += 1
            if position == len(pattern):
                raise ValueError(f"backslash at the end of {pattern!r}")
            out.append(re.escape(pattern[position]))
        else:
            out.append(re.escape(character))
        position += 1
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error as error:
        raise ValueError(f"{error} in {pattern!r}") from error
