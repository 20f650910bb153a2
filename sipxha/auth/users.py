"""
The people of the domain, as one snapshot.

Holds hashes, never passwords.  A change of the users is a new L{Users}; nobody
who holds one sees it change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

_NONE: frozenset[str] = frozenset()


class Version(NamedTuple):
    """
    Which of two sets of users is to be had: the greater one, as a whole.
    """

    counter: int = 0
    """One more with each change."""

    node: str = ""
    """The name of the node that it was made on."""

    @classmethod
    def parse(cls, text: str) -> Version:
        """
        Read one, as C{str} writes it.

        @raise ValueError: This is none.
        """
        counter, _, node = text.partition(" ")
        if not (counter.isascii() and counter.isdigit() and len(counter) < 20):
            raise ValueError(text)
        return cls(int(counter), node)

    def __str__(self) -> str:
        return f"{self.counter} {self.node}".rstrip()


FIRST: Final = Version()
"""
Of users that nobody has changed since versions are counted.
"""


class Credential(NamedTuple):
    """
    What a user is known by in one realm.
    """

    identity: str
    """C{user@domain}."""

    realm: str
    username: str
    """The digest user name; mostly the user part of the identity."""

    ha1: Mapping[str, str]
    """From algorithm (C{"MD5"}, C{"SHA-256"}) to H(username:realm:password)."""


class Users:
    """
    All users, by identity and by digest user name.

    @ivar version: Which set of them this is.
    """

    def __init__(
        self,
        credentials: Iterable[Credential] = (),
        permissions: Mapping[str, frozenset[str]] | None = None,
        aliases: Mapping[str, tuple[str, ...]] | None = None,
        version: Version = FIRST,
    ) -> None:
        """
        @param permissions: By identity.
        @param aliases: By identity, the contacts as they stand in the file.
        """
        self.version = version
        self._credentials = {(each.username, each.realm): each for each in credentials}
        # Who proves himself by SHA-256 may keep his name to himself (RFC 7616 section 3.4.4).
        self._hashed = {
            (sha256(f"{each.username}:{each.realm}".encode()).hexdigest(), each.realm): each
            for each in self._credentials.values()
            if "SHA-256" in each.ha1
        }
        self._identities = frozenset(each.identity for each in self._credentials.values())
        self._permissions = dict(permissions or {})
        self._aliases = dict(aliases or {})

    def __len__(self) -> int:
        """
        How many identities have credentials.
        """
        return len(self._identities)

    def credential(self, username: str, realm: str) -> Credential | None:
        """
        What a digest user name stands for in a realm.
        """
        return self._credentials.get((username, realm))

    def hashed(self, userhash: str, realm: str) -> Credential | None:
        """
        What the SHA-256 of a user name and the realm stands for, in lower-case
        hexadecimal.
        """
        return self._hashed.get((userhash, realm))

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """
        The hash that proves the password, where one is kept.
        """
        credential = self._credentials.get((username, realm))
        return None if credential is None else credential.ha1.get(algorithm)

    def knows(self, identity: str) -> bool:
        """
        Whether somebody may register under this identity.
        """
        return identity in self._identities

    def permissions(self, identity: str) -> frozenset[str]:
        """
        What the identity may dial; nothing, unless it was permitted.
        """
        return self._permissions.get(identity, _NONE)

    def aliases(self, identity: str) -> tuple[str, ...]:
        """
        The contacts (name-addr with parameters) that the identity stands for.
        """
        return self._aliases.get(identity, ())

    def identities(self) -> list[str]:
        """
        Everybody who has credentials, in order.
        """
        return sorted(self._identities)

    def lines(self) -> Iterator[str]:
        """
        All that is known of all of them, a line for each thing and in no
        order.  As secret as they are.
        """
        for each in self._credentials.values():
            yield f"credential\t{each.identity}\t{each.realm}\t{each.username}\t{sorted(each.ha1.items())}"
        for identity, names in self._permissions.items():
            yield f"permission\t{identity}\t{sorted(names)}"
        for identity, contacts in self._aliases.items():
            yield f"alias\t{identity}\t{sorted(contacts)}"

    def lacking(self, algorithms: Iterable[str]) -> dict[str, list[str]]:
        """
        Who could not answer a challenge, by algorithm: users of whom no hash
        is kept for it.
        """
        return {
            algorithm: sorted(
                each.identity for each in self._credentials.values() if algorithm not in each.ha1
            )
            for algorithm in algorithms
        }
