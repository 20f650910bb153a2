"""
What the parts of one node's replication share: its links, its registry, and
the effects of the input in hand.

It knows what a change of one link's state means for the others, and nothing
of when calls are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry
from sipxha.sync.dialects import DIALECTS, Spoken
from sipxha.sync.effects import Answer, AnswerPage, Effect, PeerChanged, Refuse, Store
from sipxha.sync.link import FIRST_DELAY, MOST_DELAY, Do, Input, Link, State

Waiting: TypeAlias = Answer | AnswerPage | Link


class Settings(NamedTuple):
    """
    What an operator chose.
    """

    startup_limit: float = 20.0
    max_expires: int = 7200
    dialects: Spoken = DIALECTS
    """What is spoken here; all of them, but in tests of nodes of another age."""


class Phase(IntEnum):
    """
    How far the start-up has come (SyncDesign 5.7.1).
    """

    BEFORE = 0
    PULLING = 1
    """Own rows and each peer's rows from that peer."""

    GATHERING = 2
    """The rows of lost peers from those that answered."""

    GREETING = 3
    """Numbers are stepped, push and reset are offered, resets go out."""

    OPERATING = 4


class Mesh:
    """
    One node and its peers.

    @ivar now: The time of the input in hand.
    @ivar phase: Where the start-up stands.
    """

    def __init__(self, name: str, peers: Iterable[str], registry: Registry, settings: Settings) -> None:
        self.name = name
        self.registry = registry
        self.settings = settings
        self.now = 0.0
        self.phase = Phase.BEFORE
        self.links = {peer: self._new_link(peer) for peer in peers if peer != name}
        self._effects: list[Effect] = []
        self._last_id = 0
        self._waiting: dict[int, Waiting] = {}
        """What waits for a commit, by its token: an answer, or a link to go on."""

    def _new_link(self, peer: str) -> Link:
        most = max(FIRST_DELAY, min(self.settings.max_expires / 8, MOST_DELAY))
        newest = self.settings.dialects[0]
        return Link(peer, most, newest, newest)

    def join(self, peer: str) -> Link:
        """
        Have another peer.
        """
        link = self.links[peer] = self._new_link(peer)
        return link

    def leave(self, peer: str) -> Link:
        """
        Have a peer no more; what it has told stays until it ends.
        """
        link = self.links.pop(peer)
        for other in self.links.values():
            other.pulls.pop(peer, None)
            other.checks = [primary for primary in other.checks if primary != peer]
        return link

    # --- effects ------------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        """
        Let something be done.
        """
        self._effects.append(effect)

    def take(self) -> list[Effect]:
        """
        All that is to be done for the input in hand.
        """
        effects, self._effects = self._effects, []
        return effects

    def next_id(self) -> int:
        """
        A name for a call or a commit.
        """
        self._last_id += 1
        return self._last_id

    def store(self, rows: list[Binding], waiting: Waiting | None = None) -> None:
        """
        Commit rows, and all that was handed over before.

        @param waiting: What goes on when that is done.
        """
        token = self.next_id()
        if waiting is not None:
            self._waiting[token] = waiting
        self.emit(Store(token, rows))

    def stored(self, token: int, refuse: Refuse | None = None) -> None:
        """
        Let go on what waited for a commit.
        """
        waiting = self._waiting.pop(token, None)
        if isinstance(waiting, Link):
            waiting.is_waiting = False
        elif waiting is not None:
            self.emit(refuse or waiting)

    def waits(self, token: int) -> Waiting | None:
        """
        What waits for a commit.
        """
        return self._waiting.get(token)

    # --- states -------------------------------------------------------------

    def feed(self, link: Link, event: Input, reason: str = "") -> None:
        """
        Let something happen to a link, and see to what it means for the others.
        """
        before = link.state
        todo = link.feed(event, self.now)
        if reason:
            link.last_fault = reason
        if link.state is not before:
            self.emit(PeerChanged(link.name, link.state, reason or event.value))
        if Do.FAREWELL in todo:
            # The survivors of a half-sent update must agree.
            for other in self.links.values():
                if other.state is State.REACHABLE:
                    other.pulls[link.name] = None
        if Do.WELCOME in todo:
            for lost in self.lost():
                link.pulls[lost.name] = None

    def lost(self) -> Iterator[Link]:
        """
        The peers that cannot speak for their own rows.
        """
        return (link for link in self.links.values() if link.state in (State.UNREACHABLE, State.INCOMPATIBLE))

    def is_behind(self, link: Link) -> bool:
        """
        Whether there is something to push.
        """
        # Numbers are consumed by rows that are overwritten since, so the index decides.
        return link.sent < self.registry.largest_number(self.name)
