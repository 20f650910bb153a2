"""
What becomes of a running node when its files are read again.

Knows which files those are, which parts of a configuration a running node can
take over, what differs, and how that reads.  To take over a configuration is
L{sipxha.services.node}'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from twisted.logger import Logger

from sipxha.auth.users import Users
from sipxha.config.model import Config, Peer
from sipxha.errors import LocalError

CHANGED = "changed"
UNCHANGED = "unchanged"
REFUSED = "refused"
"""It cannot be used, and what there was stays."""

RESTART = "needs a restart"


class Outcome(NamedTuple):
    """
    What became of one part.
    """

    what: str
    result: str
    detail: str = ""


class LiveFiles:
    """
    The files that a running node reads again, and what they were when it did.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._parts: dict[str, tuple[Callable[[], None], tuple[Path, ...]]] = {}
        self._fingerprints: dict[str, bytes] = {}

    def add(self, what: str, read: Callable[[], None], *paths: Path) -> None:
        """
        Let a part of the node be read again; it was just read.

        @param read: Takes over what the files hold now, or raises a
            L{LocalError} and leaves what there was.
        """
        self._parts[what] = read, paths
        self._fingerprints[what] = fingerprint(paths)

    def read_again(self) -> list[Outcome]:
        """
        Read every part.
        """
        return [self._read(what, read, paths) for what, (read, paths) in self._parts.items()]

    def _read(self, what: str, read: Callable[[], None], paths: tuple[Path, ...]) -> Outcome:
        # Before they are read: what is written meanwhile is news for the next time.
        now = fingerprint(paths)
        try:
            read()
        except LocalError as error:
            self._log.error("the {what} stay as they were: {reason}", what=what, reason=str(error))
            return Outcome(what, REFUSED, str(error))
        self._log.info("the {what} were read", what=what)
        before, self._fingerprints[what] = self._fingerprints[what], now
        return Outcome(what, UNCHANGED if now == before else CHANGED)


def with_live_parts(running: Config, read: Config) -> Config:
    """
    What runs, with those parts of what was read that can change while it does.
    """
    level = replace(running.log, level=read.log.level)
    domain = replace(running.domain, gateways=read.domain.gateways)
    config = replace(running, log=level, domain=domain)
    own, other = running.registrar, read.registrar
    if own is None or other is None or own.replication is None or other.replication is None:
        return config
    replication = replace(own.replication, peers=other.replication.peers)
    return replace(config, registrar=replace(own, replication=replication))


def need_restart(running: Config, read: Config) -> list[Outcome]:
    """
    The elements that differ and cannot change while a node runs.
    """
    live = with_live_parts(running, read)
    return [
        Outcome(f"<{field.name.replace('_', '-')}>", RESTART)
        for field in fields(Config)
        if getattr(live, field.name) != getattr(read, field.name)
    ]


def peers_outcome(before: Iterable[Peer], after: Iterable[Peer]) -> Outcome:
    """
    Which peers came and went.
    """
    old = {peer.name: peer.address for peer in before}
    new = {peer.name: peer.address for peer in after}
    parts = [f"{name} added" for name in new if name not in old]
    parts += [f"{name} removed" for name in old if name not in new]
    parts += [f"{name} moved" for name in new if name in old and new[name] != old[name]]
    return Outcome("peers", CHANGED if parts else UNCHANGED, ", ".join(parts))


def users_outcome(before: Users, after: Users, *, is_same: bool) -> Outcome:
    """
    How many users came and went.
    """
    old, new = set(before.identities()), set(after.identities())
    detail = f"{len(new)} users, {len(new - old)} added, {len(old - new)} removed"
    return Outcome("users", UNCHANGED if is_same else CHANGED, detail)


def fingerprint(paths: Iterable[Path]) -> bytes:
    """
    Of the contents of files, as far as they can be read.
    """
    found = blake2b(digest_size=16)
    for path in paths:
        try:
            found.update(blake2b(path.read_bytes()).digest())
        except OSError:
            found.update(b"-")
    return found.digest()
