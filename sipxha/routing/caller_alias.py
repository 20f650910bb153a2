"""
Caller aliases: by which name a caller is shown to whom.

The values behind C{caller-alias.xml}, in the language of sipX: a gateway may
want a number of its own in From.  L{sipxha.config.rules} reads the file.
Nothing here rewrites a message, nor knows how the caller gets his name back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sipxha.routing.rules import host_key
from sipxha.sip.uri import Uri


class CallerAlias(NamedTuple):
    """
    One row.
    """

    identity: str
    """C{user@host} of the caller; empty for everybody of the domain."""

    host: tuple[str, int | None]
    """Where he calls, as L{host_key} has it."""

    alias: str
    """A name-addr."""


class CallerAliases:
    """
    All rows of a file.
    """

    __slots__ = ("_aliases",)

    def __init__(self, rows: Iterable[CallerAlias] = ()) -> None:
        self._aliases = {(row.identity, row.host): row.alias for row in rows}

    def __len__(self) -> int:
        """
        How many there are.
        """
        return len(self._aliases)

    def alias(self, caller: Uri, target: Uri, domain: str) -> str | None:
        """
        Find the name of a caller for a target.

        @param domain: Ours, of which anybody has the alias of everybody.
        """
        host = host_key(target)
        found = self._aliases.get((caller.identity(), host))
        if found is None and caller.host.lower() == domain:
            found = self._aliases.get(("", host))
        return found
