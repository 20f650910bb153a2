"""
The replication of one node: start-up and operation over all peers.

A pure state machine.  The service that drives it reports what happened and
performs the effects that come back; L{Engine.next_deadline} says when it
wants to be told that time has passed.  It holds the registry because applying
rows and numbering them is one act; it stores nothing, sends nothing and
never waits.

SyncDesign 5.7, design 5.1 to 5.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry
from sipxha.sync import rpc
from sipxha.sync.effects import (
    Answer,
    AnswerRows,
    Call,
    Effect,
    NumberRaised,
    Open,
    PeerChanged,
    Pulled,
    Refuse,
    Store,
    Synchronized,
)
from sipxha.sync.link import FIRST_DELAY, MOST_DELAY, Do, Input, Link, Pending, State
from sipxha.sync.numbers import above, epoch_step
from sipxha.sync.updates import newest_of_pull, number_of_push
from sipxha.sync.wire import I8, Fault, Value

PULSE = 1.0
"""How often the engine wants to be asked, so that it sees when nobody did."""


class Settings(NamedTuple):
    """
    What an operator chose.
    """

    startup_limit: float = 20.0
    max_expires: int = 7200


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


_FAILED: dict[type[rpc.Call], Input] = {
    rpc.Pull: Input.PULL_FAILED,
    rpc.Reset: Input.RESET_FAILED,
    rpc.Push: Input.PUSH_FAILED,
}


class Engine:
    """
    All links of one node, and its start-up.

    @ivar phase: Where the start-up stands.
    """

    def __init__(self, name: str, peers: Iterable[str], registry: Registry, settings: Settings) -> None:
        self.name = name
        self.phase = Phase.BEFORE
        self._registry = registry
        self._settings = settings
        most = max(FIRST_DELAY, min(settings.max_expires / 8, MOST_DELAY))
        self.links = {peer: Link(peer, most) for peer in peers if peer != name}
        self._calls: dict[int, Link] = {}
        self._last_id = 0
        self._waiting: dict[int, Answer | AnswerRows | Link] = {}
        """What waits for a commit, by its token: an answer, or a link to go on."""

        self._floor = 0
        """The greatest own number that the store had at start."""

        self._stepped = 0
        """The number from which this life counts."""

        self._pulled = 0
        """The greatest number of earlier lives that is known: between it and C{_stepped} there was none."""

        self._limit: float | None = None
        self._pulse = 0.0

    # --- what happens on this node ------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """
        The registry holds what the store had; pulls are answered from now on.
        """
        effects: list[Effect] = []
        self._floor = self._registry.largest_number(self.name)
        self._registry.raise_update_number(self._floor)
        self.phase = Phase.PULLING
        self._limit = now + self._settings.startup_limit
        self._pulse = now + PULSE
        for link in self.links.values():
            link.received = self._registry.largest_number(link.name)
            link.pulls = {self.name: None, link.name: None}
        self._advance(now, effects)
        return effects

    def updated(self, now: float) -> list[Effect]:
        """
        A REGISTER changed the registry.
        """
        effects: list[Effect] = []
        self._advance(now, effects)
        return effects

    def stored(self, token: int, now: float) -> list[Effect]:
        """
        A commit is on disk: what waited for it may go on.
        """
        effects: list[Effect] = []
        waiting = self._waiting.pop(token, None)
        if isinstance(waiting, Link):
            waiting.is_waiting = False
            self._advance(now, effects)
        elif waiting is not None:
            effects.append(waiting)
        return effects

    def store_failed(self, token: int, now: float) -> list[Effect]:
        """
        A commit failed: a push that waited for it is to come again.

        All else goes on: what a disk that is full may lose at a crash is
        worth less than what peers are told meanwhile.
        """
        waiting = self._waiting.get(token)
        if not isinstance(waiting, Answer):
            return self.stored(token, now)
        del self._waiting[token]
        return [Refuse(waiting.exchange, Fault(rpc.UPDATE_FAILED, "the update could not be stored"))]

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
        effects: list[Effect] = []
        if self.phase is Phase.BEFORE:
            return effects
        if now >= self._pulse:
            if now > self._pulse + PULSE and self.phase is Phase.OPERATING:
                # We were stopped, and every peer may have given us up meanwhile.
                for link in self.links.values():
                    link.wants_reset = link.state is not State.INCOMPATIBLE
            self._pulse = now + PULSE
        if self.phase >= Phase.GREETING:
            for link in self.links.values():
                link.deadline_passed(now, not self._is_behind(link))
        if self._limit is not None and now >= self._limit:
            self._finish_start(now, effects)
        self._advance(now, effects)
        return effects

    # --- what peers ask of us -----------------------------------------------

    def call_received(self, exchange: int, method: str, params: Sequence[Value], now: float) -> list[Effect]:
        """
        A peer calls; that it is who it says was checked before.

        The answer is among the effects, now or after a commit.

        @param exchange: What the answer will name.
        """
        effects: list[Effect] = []
        try:
            rpc.is_known(method)
            link = self._caller(params)
            try:
                call = rpc.read_call(method, params)
                if isinstance(call, rpc.Pull):
                    self._pull_received(exchange, link, method, call, now, effects)
                elif isinstance(call, rpc.Reset):
                    self._reset_received(exchange, link, call, now, effects)
                else:
                    self._push_received(exchange, link, call, now, effects)
            except Fault as fault:
                self._blame(link, fault, now, effects)
                raise
        except Fault as fault:
            effects.append(Refuse(exchange, fault))
        self._advance(now, effects)
        return effects

    def _caller(self, params: Sequence[Value]) -> Link:
        name = rpc.caller_of(params)
        link = self.links.get(name)
        if link is None:
            raise Fault(rpc.UNCONFIGURED_PEER, f"Unconfigured peer '{name[:255]}'")
        if link.state is State.INCOMPATIBLE:
            raise Fault(rpc.INCOMPATIBLE_PEER, f"RegistrarPeer state for '{name}' is Incompatible")
        return link

    def _blame(self, link: Link, fault: Fault, now: float, effects: list[Effect]) -> None:
        if fault.code in (rpc.INVALID_PARAMETER, rpc.MIXED_NUMBERS):
            self._feed(link, Input.BROKEN, now, effects, str(fault))
        elif fault.code in (rpc.UPDATE_FAILED, rpc.OUT_OF_ORDER):
            self._feed(link, Input.PUSH_REFUSED, now, effects, str(fault))

    def _pull_received(
        self, exchange: int, link: Link, method: str, call: rpc.Pull, now: float, effects: list[Effect]
    ) -> None:
        rows = self._registry.rows_after(call.primary, call.number)
        # Rows that are missing were replaced, maybe by some that a crash would take back (see _is_whole).
        self._store([], effects, AnswerRows(exchange, rpc.METHODS[method][0], rows))
        self._feed(link, Input.PULL_CAME, now, effects)

    def _reset_received(
        self, exchange: int, link: Link, call: rpc.Reset, now: float, effects: list[Effect]
    ) -> None:
        self._require_offered(link)
        self._peer_holds(link, call.number, effects)
        link.sent = call.number
        link.generation += 1
        self._feed(link, Input.RESET_CAME, now, effects)
        link.wants_reset = False
        effects.append(Synchronized(link.name, True, call.number))
        effects.append(Answer(exchange, I8(link.received)))

    def _push_received(
        self, exchange: int, link: Link, call: rpc.Push, now: float, effects: list[Effect]
    ) -> None:
        self._require_offered(link)
        is_resetting = link.pending is not None and isinstance(link.pending.call, rpc.Reset)
        if link.state is not State.REACHABLE and not is_resetting:
            self._feed(link, Input.PUSH_UNWELCOME, now, effects)
            raise Fault(rpc.UNREACHABLE_PEER, f"push from UnReachable peer '{link.name}'")
        if call.last_sent > link.received:
            raise Fault(
                rpc.OUT_OF_ORDER, f"last sent is {call.last_sent:#x}, but last received is {link.received:#x}"
            )
        number = number_of_push(link.name, call.rows)
        link.received = max(link.received, number)
        self._feed(link, Input.PUSH_CAME, now, effects)
        changed = self._registry.apply(call.rows, now)
        # Also where nothing changed: the first copy may not be on disk yet.
        self._store(changed, effects, Answer(exchange, I8(link.received)))

    def _require_offered(self, link: Link) -> None:
        if self.phase < Phase.GREETING:
            raise Fault(rpc.UNREACHABLE_PEER, f"'{self.name}' is still starting up for '{link.name}'")

    # --- what became of our calls -------------------------------------------

    def call_answered(self, id: int, value: object, now: float) -> list[Effect]:
        """
        A peer answered our call.

        @param value: As the wire had it; the rows of a pull as L{rpc.row_reader} made them.
        """
        effects: list[Effect] = []
        link = self._calls.pop(id, None)
        if link is None or link.pending is None:
            return effects
        pending, link.pending = link.pending, None
        call = pending.call
        try:
            if isinstance(call, rpc.Pull):
                self._pull_answered(link, call, rpc.rows_answered(link.dialect, value), now, effects)
            elif isinstance(call, rpc.Reset):
                self._reset_answered(link, pending, rpc.number_answered(value), now, effects)
            else:
                self._push_answered(link, pending, call, rpc.number_answered(value), now, effects)
        except rpc.Malformed as error:
            self._feed(link, Input.BROKEN, now, effects, str(error))
        except Fault as fault:
            self._feed(link, _FAILED[type(call)], now, effects, str(fault))
        self._advance(now, effects)
        return effects

    def call_failed(self, id: int, reason: str, now: float) -> list[Effect]:
        """
        A peer answered our call with a fault, or not at all, or with what is no answer.
        """
        effects: list[Effect] = []
        link = self._calls.pop(id, None)
        if link is None or link.pending is None:
            return effects
        pending, link.pending = link.pending, None
        # The peer has reset us since: what it did in an earlier life says nothing.
        if pending.generation == link.generation:
            self._feed(link, _FAILED[type(pending.call)], now, effects, reason)
        self._advance(now, effects)
        return effects

    def _pull_answered(
        self, link: Link, call: rpc.Pull, rows: list[Binding], now: float, effects: list[Effect]
    ) -> None:
        newest = newest_of_pull(call.primary, call.number, rows)
        link.pulls.pop(call.primary, None)
        is_late_own = call.primary == self.name and self.phase >= Phase.GREETING
        if call.primary == self.name:
            link.returned = newest
        if is_late_own:
            self._peer_holds(link, newest, effects)
        changed = self._registry.apply(rows, now)
        effects.append(Pulled(link.name, call.primary, len(rows), len(changed)))
        if is_late_own:
            # Others may lack these too, and have been told of greater numbers since.
            changed = self._registry.renumber(changed)
        elif call.primary in self.links:
            owner = self.links[call.primary]
            owner.received = max(owner.received, newest)
        if changed:
            self._store(changed, effects)
        self._feed(link, Input.PULLED, now, effects)

    def _reset_answered(
        self, link: Link, pending: Pending, number: int, now: float, effects: list[Effect]
    ) -> None:
        self._peer_holds(link, number, effects)
        # Of two resets that cross, neither is known to be the later: to push twice is harmless.
        link.sent = number if pending.generation == link.generation else min(link.sent, number)
        self._feed(link, Input.RESET_TAKEN, now, effects)
        link.wants_reset = False
        effects.append(Synchronized(link.name, False, number))

    def _push_answered(
        self, link: Link, pending: Pending, call: rpc.Push, number: int, now: float, effects: list[Effect]
    ) -> None:
        if number < call.rows[0].update_number:
            raise Fault(rpc.UPDATE_FAILED, f"update {call.rows[0].update_number} answered by {number}")
        if pending.generation == link.generation:
            self._peer_holds(link, number, effects)
            link.sent = number
        self._feed(link, Input.PUSH_TAKEN, now, effects)

    # --- numbers ------------------------------------------------------------

    def _peer_holds(self, link: Link, number: int, effects: list[Effect]) -> None:
        """
        A peer has our updates up to C{number}.

        That may be one that this life has not given: then our numbers must
        not stay below it (design 5.1), and the peer holds rows of an earlier
        life that no start-up pull has seen.
        """
        if number > self._registry.update_number:
            own = self._registry.rows_after(self.name, self._stepped)
            self._stepped = above(number)
            self._registry.raise_update_number(self._stepped)
            effects.append(NumberRaised(link.name, number))
            renumbered = self._registry.renumber(own)
            if renumbered:
                self._store(renumbered, effects)
        if max(self._pulled, link.returned) < number <= self._stepped:
            link.pulls[self.name] = None

    def _store(
        self, rows: list[Binding], effects: list[Effect], waiting: Answer | AnswerRows | Link | None = None
    ) -> None:
        self._last_id += 1
        if waiting is not None:
            self._waiting[self._last_id] = waiting
        effects.append(Store(self._last_id, rows))

    # --- states -------------------------------------------------------------

    def _feed(self, link: Link, event: Input, now: float, effects: list[Effect], reason: str = "") -> None:
        """
        Let something happen to a link, and see to what it means for the others.
        """
        before = link.state
        todo = link.feed(event, now)
        if reason:
            link.last_fault = reason
        if link.state is not before:
            effects.append(PeerChanged(link.name, link.state, reason or event.value))
        if Do.FAREWELL in todo:
            # The survivors of a half-sent update must agree.
            for other in self.links.values():
                if other.state is State.REACHABLE:
                    other.pulls[link.name] = None
        if Do.WELCOME in todo:
            for lost in self._lost():
                link.pulls[lost.name] = None

    def _lost(self) -> Iterator[Link]:
        return (link for link in self.links.values() if link.state in (State.UNREACHABLE, State.INCOMPATIBLE))

    def _is_behind(self, link: Link) -> bool:
        # Numbers are consumed by rows that are overwritten since, so the index decides.
        return link.sent < self._registry.largest_number(self.name)

    # --- what to do next ----------------------------------------------------

    def _advance(self, now: float, effects: list[Effect]) -> None:
        """
        Move the start-up on as far as it goes, and give every idle link its next call.
        """
        if self.phase is Phase.PULLING and self._is_quiet():
            self.phase = Phase.GATHERING
            missed = [
                link.name for link in self.links.values() if link.pulls or link.state is State.INCOMPATIBLE
            ]
            for link in self.links.values():
                if not link.pulls and link.state is not State.INCOMPATIBLE:
                    link.pulls.update((name, None) for name in missed if name != link.name)
        if self.phase is Phase.GATHERING and self._is_quiet():
            self._step(now)
        for link in self.links.values():
            self._next_call(link, effects)
        if self.phase is Phase.GREETING and self._is_quiet():
            self._finish_start(now, effects)

    def _is_quiet(self) -> bool:
        """
        Whether no link has anything under way or left to do for the start-up.
        """
        for link in self.links.values():
            is_trying = link.wants_reset or link.state is State.UNINITIALIZED
            if is_trying and (link.pulls or self.phase is Phase.GREETING):
                return False
            if link.pending is not None and self.phase < Phase.GREETING:
                return False
        return True

    def _step(self, now: float) -> None:
        """
        Take the epoch step; from here on push and reset are answered.
        """
        self._pulled = self._registry.update_number
        self._stepped = epoch_step(self._registry.update_number, now)
        self._registry.raise_update_number(self._stepped)
        self.phase = Phase.GREETING
        for link in self.links.values():
            link.wants_reset = link.wants_reset or link.state is State.UNINITIALIZED

    def _finish_start(self, now: float, effects: list[Effect]) -> None:
        """
        Open SIP, whether all is done or the time is up.
        """
        if self.phase < Phase.GREETING:
            self._step(now)
        self._limit = None
        self.phase = Phase.OPERATING
        is_degraded = any(link.state is not State.REACHABLE for link in self.links.values())
        effects.append(Open(is_degraded))

    def _next_call(self, link: Link, effects: list[Effect]) -> None:
        if link.pending is not None or link.is_waiting or link.state is State.INCOMPATIBLE:
            return
        if link.state is State.UNREACHABLE and not link.wants_reset:
            return
        if link.pulls:
            primary = next(iter(link.pulls))
            self._call(link, rpc.Pull(primary, self._known(primary)), effects)
        elif self.phase < Phase.GREETING:
            return
        elif link.wants_reset:
            self._call(link, rpc.Reset(link.received), effects)
        elif link.state is State.REACHABLE and self._is_behind(link):
            rows = self._registry.next_update(self.name, link.sent)
            if self._is_whole(link, rows[0].update_number, effects):
                self._call(link, rpc.Push(link.sent, rows), effects)

    def _is_whole(self, link: Link, number: int, effects: list[Effect]) -> bool:
        """
        Whether the numbers between the last push and the next were given up for good.

        Their rows were replaced.  A crash would bring those back whose
        replacement is not on disk yet, and a peer that has been told a
        greater number would never be sent them: so the disk comes first.
        """
        if number <= max(link.sent + 1, link.cleared):
            return True
        link.cleared, link.is_waiting = number, True
        self._store([], effects, link)
        return False

    def _known(self, primary: str) -> int:
        """
        From which number on we lack rows of a registrar.
        """
        return self._floor if primary == self.name else self.links[primary].received

    def _call(self, link: Link, call: rpc.Call, effects: list[Effect]) -> None:
        self._last_id += 1
        link.pending = Pending(self._last_id, call, link.generation)
        self._calls[self._last_id] = link
        method, params = rpc.write_call(link.dialect, self.name, call)
        rows = link.dialect if isinstance(call, rpc.Pull) else None
        effects.append(Call(self._last_id, link.name, method, params, rows))
