"""
The replication of one node: start-up and operation over all peers.

A pure state machine.  The service that drives it reports what happened and
performs the effects that come back; L{Engine.next_deadline} says when it
wants to be told that time has passed.  It holds the registry because applying
rows and numbering them is one act; it stores nothing, sends nothing and
never waits.

Its parts: L{answering<sipxha.sync.answering>} and L{calling<sipxha.sync.calling>},
each with the L{numbering<sipxha.sync.numbering>}, over one
L{mesh<sipxha.sync.mesh>} of links.  Here is what makes them one: the start-up
phase, and that every input ends with a look at what each idle link is to do.

SyncDesign 5.7, design 5.1 to 5.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sipxha.registry.table import Registry
from sipxha.sync import rpc
from sipxha.sync.answering import Answering
from sipxha.sync.calling import Calling
from sipxha.sync.effects import Answer, Effect, Open, Refuse
from sipxha.sync.link import Link, State
from sipxha.sync.mesh import Mesh, Phase, Settings
from sipxha.sync.numbering import Numbering
from sipxha.sync.wire import Fault, Value

PULSE = 1.0
"""How often the engine wants to be asked, so that it sees when nobody did."""


class Engine:
    """
    All links of one node, and its start-up.
    """

    def __init__(self, name: str, peers: Iterable[str], registry: Registry, settings: Settings) -> None:
        self._mesh = Mesh(name, peers, registry, settings)
        self._numbering = Numbering(self._mesh)
        self._answering = Answering(self._mesh, self._numbering)
        self._calling = Calling(self._mesh, self._numbering)
        self._limit: float | None = None
        self._pulse = 0.0

    @property
    def name(self) -> str:
        """
        This node.
        """
        return self._mesh.name

    @property
    def links(self) -> dict[str, Link]:
        """
        What this node thinks of each peer, by its name.
        """
        return self._mesh.links

    @property
    def phase(self) -> Phase:
        """
        Where the start-up stands.
        """
        return self._mesh.phase

    # --- what happens on this node ------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """
        The registry holds what the store had; pulls are answered from now on.
        """
        mesh = self._mesh
        mesh.now = now
        mesh.phase = Phase.PULLING
        self._numbering.begin()
        self._limit = now + mesh.settings.startup_limit
        self._pulse = now + PULSE
        for link in mesh.links.values():
            self._begin(link)
        return self._go_on()

    def _begin(self, link: Link) -> None:
        mesh = self._mesh
        link.received = mesh.registry.largest_number(link.name)
        link.pulls = {mesh.name: None, link.name: None}

    def set_peers(self, names: Iterable[str], now: float) -> list[Effect]:
        """
        Have these peers from now on, and no others; those that stay notice nothing.
        """
        mesh = self._mesh
        mesh.now = now
        wanted = [name for name in names if name != mesh.name]
        for name in [name for name in mesh.links if name not in wanted]:
            self._calling.forget(mesh.leave(name))
        for name in wanted:
            if name not in mesh.links:
                link = mesh.join(name)
                if self.phase > Phase.BEFORE:
                    self._begin(link)
                link.wants_reset = self.phase >= Phase.GREETING
        return self._go_on()

    def updated(self, now: float) -> list[Effect]:
        """
        A REGISTER changed the registry; its rows may still be on their way to the disk.
        """
        self._mesh.now = now
        return self._go_on()

    def stored(self, token: int, now: float) -> list[Effect]:
        """
        A commit is on disk: what waited for it may go on.
        """
        self._mesh.now = now
        self._mesh.stored(token)
        return self._go_on()

    def store_failed(self, token: int, now: float) -> list[Effect]:
        """
        A commit failed: a push that waited for it is to come again.

        All else goes on: what a disk that is full may lose at a crash is
        worth less than what peers are told meanwhile.
        """
        self._mesh.now = now
        waiting = self._mesh.waits(token)
        refuse = None
        if isinstance(waiting, Answer):
            refuse = Refuse(
                waiting.exchange, Fault(rpc.UPDATE_FAILED, "the update could not be stored"), is_ours=True
            )
        self._mesh.stored(token, refuse)
        return self._go_on()

    def next_deadline(self) -> float | None:
        """
        When L{deadline_passed} wants to be called.
        """
        if self.phase is Phase.BEFORE:
            return None
        deadline = self._pulse
        if self._limit is not None:
            deadline = min(deadline, self._limit)
        if self.phase >= Phase.GREETING:
            for link in self.links.values():
                at = link.next_deadline()
                if at is not None and at < deadline:
                    deadline = at
        return deadline

    def deadline_passed(self, now: float) -> list[Effect]:
        """
        Time went by.
        """
        if self.phase is Phase.BEFORE:
            return []
        mesh = self._mesh
        mesh.now = now
        if now >= self._pulse:
            if now > self._pulse + PULSE and self.phase is Phase.OPERATING:
                # We were stopped, and every peer may have given us up meanwhile.
                for link in mesh.links.values():
                    link.wants_reset = link.state is not State.INCOMPATIBLE
            self._pulse = now + PULSE
        if self.phase >= Phase.GREETING:
            for link in mesh.links.values():
                link.deadline_passed(now, not mesh.is_behind(link))
        if self._limit is not None and now >= self._limit:
            self._finish_start()
        return self._go_on()

    # --- what comes and goes ------------------------------------------------

    def call_received(self, exchange: int, method: str, params: Sequence[Value], now: float) -> list[Effect]:
        """
        A peer calls; that it is who it says was checked before.

        The answer is among the effects, now or after a commit.

        @param exchange: What the answer will name.
        """
        self._mesh.now = now
        self._answering.call_received(exchange, method, params)
        return self._go_on()

    def call_answered(self, id: int, value: object, now: float) -> list[Effect]:
        """
        A peer answered our call.

        @param value: As the wire had it, but rows of a streamed dialect as it has read them.
        """
        self._mesh.now = now
        self._calling.answered(id, value)
        return self._go_on()

    def call_failed(self, id: int, reason: str, now: float, code: int | None = None) -> list[Effect]:
        """
        A peer answered our call with a fault, or not at all, or with what is no answer.

        @param code: The fault's.
        """
        self._mesh.now = now
        self._calling.failed(id, reason, code)
        return self._go_on()

    # --- the start-up phase -------------------------------------------------

    def _go_on(self) -> list[Effect]:
        """
        Move the start-up on as far as it goes, and give every idle link its next call.
        """
        mesh = self._mesh
        if mesh.phase is Phase.PULLING and self._is_quiet():
            self._gather()
        if mesh.phase is Phase.GATHERING and self._is_quiet():
            self._step()
        for link in mesh.links.values():
            self._calling.next_call(link)
        if mesh.phase is Phase.GREETING and self._is_quiet():
            self._finish_start()
        return mesh.take()

    def _is_quiet(self) -> bool:
        """
        Whether no link has anything under way or left to do for the start-up.
        """
        for link in self._mesh.links.values():
            is_trying = link.wants_reset or link.state is State.UNINITIALIZED
            if is_trying and (link.pulls or self.phase is Phase.GREETING):
                return False
            if link.calls and self.phase < Phase.GREETING:
                return False
        return True

    def _gather(self) -> None:
        """
        Ask those that answered for the rows of those that did not.
        """
        self._mesh.phase = Phase.GATHERING
        there: list[Link] = []
        missed: list[Link] = []
        for link in self._mesh.links.values():
            is_missed = link.pulls or link.state is State.INCOMPATIBLE
            (missed if is_missed else there).append(link)
        for link in there:
            link.pulls.update((each.name, None) for each in missed)

    def _step(self) -> None:
        """
        Take the epoch step; from here on push and reset are answered.
        """
        self._numbering.step()
        self._mesh.phase = Phase.GREETING
        for link in self._mesh.links.values():
            link.wants_reset = link.wants_reset or link.state is State.UNINITIALIZED

    def _finish_start(self) -> None:
        """
        Open SIP, whether all is done or the time is up.
        """
        if self.phase < Phase.GREETING:
            self._step()
        self._limit = None
        self._mesh.phase = Phase.OPERATING
        is_degraded = any(link.state is not State.REACHABLE for link in self._mesh.links.values())
        self._mesh.emit(Open(is_degraded))
