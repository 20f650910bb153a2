"""
N registrars in one process: the engines and registries are the real ones.

Clock, links and disks are not.  Every call travels as XML, may be late, lost
or delivered twice, and meets whatever its peer has become meanwhile.  All
chance comes from one seed, so that a run can be had again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from random import Random

from sipxha.registry.binding import Binding, Key
from sipxha.registry.register import Offer, Registration, RegistrationRefused
from sipxha.registry.table import Registry
from sipxha.sync import effects as fx
from sipxha.sync import wire
from sipxha.sync.batch import Batch
from sipxha.sync.dialects import DIALECTS, Spoken
from sipxha.sync.engine import Engine
from sipxha.sync.link import State
from sipxha.sync.mesh import Phase, Settings

START = 1_700_000_000.0
TIMEOUT = 3.0
MAX_EXPIRES = 7200
NEVER = float("inf")
NEAR = 3.0
"""Seconds by which nodes may differ on when a binding ends."""

Rank = tuple[int, int]


class _Small(Batch):
    """
    The newest dialect with pages so small that few rows fill several.
    """

    most_rows = 2


NEWEST: Spoken = (_Small(), *DIALECTS[1:])
"""What a node of our own age speaks here."""


def key_of(row: Binding) -> Key:
    """
    What nodes must agree on, whatever they think that it is.
    """
    return row.identity, row.callid, row.contact, row.reg_id


def rank(row: Binding) -> Rank:
    """
    What another row of the key must have at least, for nothing to be lost.
    """
    return row.cseq, -row.expires


class Node:
    """
    One server, up or down; its disk outlives it.
    """

    def __init__(self, cluster: Cluster, name: str, peers: Iterable[str]) -> None:
        self._cluster = cluster
        self.name = name
        self._peers = list(peers)
        self.disk: dict[Key, Binding] = {}
        self.skew = 0.0
        self.life = 0
        self.is_up = False
        self.is_open = False
        self.has_begun = False
        self.dialects: Spoken = NEWEST
        self.commit_time = 0.01
        self.acknowledged = 0
        self.registry = Registry(name, MAX_EXPIRES)
        self.engine = Engine(name, self._peers, self.registry, Settings())
        self.changes: list[str] = []
        self._exchanges: dict[int, Callable[[bytes], None]] = {}
        self._last_exchange = 0
        self._disk_free = 0.0

    def now(self) -> float:
        """
        The time by this node's clock.
        """
        return self._cluster.now + self.skew

    def start(self) -> None:
        """
        Begin a life with what the disk has.
        """
        self.is_up, self.is_open, self.has_begun = True, False, False
        self.acknowledged, self._disk_free = 0, 0.0
        self.life += 1
        self.registry = Registry(self.name, MAX_EXPIRES)
        self.registry.load(self.disk.values())
        self.engine = Engine(self.name, self._peers, self.registry, Settings(dialects=self.dialects))
        self._exchanges.clear()
        self.perform(self.engine.start(self.now()))

    def stop(self) -> None:
        """
        Die: memory, calls and what was not committed are gone.
        """
        self.is_up = self.is_open = self.has_begun = False
        self.life += 1

    def perform(self, effects: Iterable[fx.Effect]) -> None:
        """
        What the replication service does.
        """
        for effect in effects:
            if isinstance(effect, fx.Call):
                self._cluster.carry(self, effect)
            elif isinstance(effect, fx.Store):
                self.commit(effect.rows, lambda token=effect.token: self._stored(token))  # type: ignore[misc]
            elif isinstance(effect, fx.Answer):
                self._exchanges.pop(effect.exchange)(wire.encode_answer(effect.value))
            elif isinstance(effect, fx.AnswerPage):
                pieces = effect.dialect.write_page(effect.page, self.now())
                self._exchanges.pop(effect.exchange)(b"".join(pieces))
            elif isinstance(effect, fx.Refuse):
                self._exchanges.pop(effect.exchange)(wire.encode_fault(effect.fault))
            elif isinstance(effect, fx.Open):
                self.is_open = True
            elif isinstance(effect, fx.Acknowledged):
                self.acknowledged = max(self.acknowledged, effect.number)
                self._cluster.look_up(self, effect.peer, effect.number)
            elif isinstance(effect, fx.Diverged):
                self._cluster.repairs.append(f"{self.name} pulled all of {effect.primary} from {effect.peer}")
            elif isinstance(effect, fx.PeerChanged):
                self.changes.append(f"{effect.peer} is {effect.state.value}: {effect.reason}")
        self._arm()

    def commit(self, rows: list[Binding], done: Callable[[], None]) -> None:
        """
        Write rows after those that wait already.
        """
        self._disk_free = max(self._disk_free, self._cluster.now) + self._cluster.chance.uniform(
            0.0, self.commit_time
        )

        def written() -> None:
            for row in rows:
                self.disk[key_of(row)] = row
            done()

        self._cluster.later(self._disk_free, self.in_this_life(written))

    def in_this_life(self, act: Callable[[], None]) -> Callable[[], None]:
        """
        C{act}, unless the node has died by then.
        """
        life = self.life

        def guarded() -> None:
            if self.life == life:
                act()

        return guarded

    def receive(self, body: bytes, answer: Callable[[bytes], None]) -> None:
        """
        A call arrives.
        """
        method, params = wire.decode_call(body)
        self._last_exchange += 1
        self._exchanges[self._last_exchange] = answer
        self.perform(self.engine.call_received(self._last_exchange, method, params, self.now()))

    def register(self, registration: Registration) -> None:
        """
        A phone's REGISTER; what it was told is remembered by the cluster.
        """
        if not self.is_open:
            return
        try:
            rows = self.registry.register(registration, self.now()).rows
        except RegistrationRefused:
            return

        self.commit(rows, lambda: self._cluster.promise(rows))
        self.perform(self.engine.updated(self.now()))

    def _stored(self, token: int) -> None:
        self.perform(self.engine.stored(token, self.now()))

    def _arm(self) -> None:
        deadline = self.engine.next_deadline()
        if deadline is not None:
            self._cluster.wake(self, max(deadline - self.skew, self._cluster.now))


class Cluster:
    """
    All nodes, what is under way between them, and what phones were promised.
    """

    def __init__(self, size: int, seed: int = 0, skews: Sequence[float] = ()) -> None:
        """
        @param skews: By how much each node's clock is wrong.
        """
        self.now = START
        self.chance = Random(seed)
        names = [f"sipx{number}.example.com" for number in range(1, size + 1)]
        self.nodes = [Node(self, name, [other for other in names if other != name]) for name in names]
        for node, skew in zip(self.nodes, skews, strict=False):
            node.skew = skew
        self.has_stepped = False
        self.has_lost_disk = False
        self.repairs: list[str] = []
        self.broken: list[str] = []
        """What nodes told each other, and was not so."""

        self._by_name = {node.name: node for node in self.nodes}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._last_event = 0
        self._wakes: dict[str, float] = {}
        self.cut: set[tuple[str, str]] = set()
        self.loss = 0.0
        self.doubling = 0.0
        self.promised: dict[Key, Rank] = {}
        self.calls = 0
        self._lines: dict[tuple[str, str], Line] = {}

    # --- the world ----------------------------------------------------------

    def later(self, at: float, act: Callable[[], None]) -> None:
        """
        Let something happen at a time.
        """
        self._last_event += 1
        heapq.heappush(self._events, (at, self._last_event, act))

    def wake(self, node: Node, at: float) -> None:
        """
        Tell a node when its deadline passes; the earliest wish counts.
        """
        held = self._wakes.get(node.name)
        if held is not None and held <= at and held >= self.now:
            return
        self._wakes[node.name] = at

        def due() -> None:
            if self._wakes.get(node.name) == at:
                del self._wakes[node.name]
                if node.is_up:
                    node.perform(node.engine.deadline_passed(node.now()))

        self.later(at, due)

    def advance(self, seconds: float) -> None:
        """
        Let time pass.
        """
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            at, _, act = heapq.heappop(self._events)
            self.now = max(self.now, at)
            act()
        self.now = end

    def carry(self, caller: Node, call: fx.Call) -> None:
        """
        Take a call to its peer and the answer back, or fail it.
        """
        self.calls += 1
        place = caller.name, call.peer
        line = self._lines.get(place)
        if line is None or not line.may_carry():
            if line is not None:
                self.later(self.now, partial(line.fail, "connection lost"))
            line = self._lines[place] = Line(self, caller, self._by_name[call.peer])
        line.carry(call)

    def answered(self, caller: Node, call: fx.Call, text: bytes) -> None:
        """
        An answer has arrived.
        """
        try:
            if call.rows is None:
                value: object = wire.decode_answer(text)
            else:
                reader = wire.RowReader(call.rows.read_row)
                reader.feed(text)
                value = reader.close()
        except wire.Fault as fault:
            caller.perform(caller.engine.call_failed(call.id, str(fault), caller.now(), fault.code))
            return
        caller.perform(caller.engine.call_answered(call.id, value, caller.now()))

    def passes(self, source: Node, target: Node) -> bool:
        """
        Whether what is sent now arrives.
        """
        return (source.name, target.name) not in self.cut and self.chance.random() >= self.loss

    def arrival(self) -> float:
        """
        When it does.
        """
        return self.now + self.chance.uniform(0.0005, 0.05)

    # --- what happens to it -------------------------------------------------

    def start(self) -> None:
        """
        Start whatever is down.
        """
        for node in self.nodes:
            if not node.is_up:
                node.start()

    def partition(self, source: int, target: int, both: bool = True) -> None:
        """
        Let nothing pass from one node to another.
        """
        pair = self.nodes[source].name, self.nodes[target].name
        self.cut.add(pair)
        if both:
            self.cut.add((pair[1], pair[0]))

    def crash(self, place: int, disk: dict[Key, Binding] | None = None) -> None:
        """
        Kill a node.

        @param disk: What its disk is when it comes back; C{None}: what it has.
        """
        node = self.nodes[place]
        node.stop()
        if disk is not None:
            node.disk = dict(disk)
            self.has_lost_disk = True
            self._forget_lost()

    def restart(self, place: int, skew: float | None = None) -> None:
        """
        Start a node that is down, maybe with its clock set otherwise.
        """
        node = self.nodes[place]
        if node.is_up:
            return
        if skew is not None and skew != node.skew:
            self.has_stepped = self.has_stepped or bool(node.disk)
            node.skew = skew
        node.start()

    def heal(self, seconds: float = 45.0) -> None:
        """
        End all faults and give the cluster time.
        """
        self.cut.clear()
        self.loss = self.doubling = 0.0
        self.start()
        self.advance(seconds)

    def promise(self, rows: Iterable[Binding]) -> None:
        """
        A REGISTER was acknowledged: its rows are on its primary's disk.
        """
        for row in rows:
            self.promised[key_of(row)] = max(self.promised.get(key_of(row), (0, 0)), rank(row))

    def look_up(self, node: Node, peer: str, number: int) -> None:
        """
        A peer said that it has a node's updates up to a number: then they
        outlive that node, unless the disk of another was lost.

        They, or what replaced them: a peer that pulled the node's rows from a
        third one was not given those that had been replaced there.
        """
        if self.has_lost_disk:
            return
        others = [each.disk for each in self.nodes if each is not node]
        for row in node.registry.rows_after(node.name, 0):
            key = key_of(row)
            if row.update_number <= number and not any(
                key in disk and rank(disk[key]) >= rank(row) for disk in others
            ):
                self.broken.append(f"{peer} acknowledged {number:#x} to {node.name} without {key}")

    def _forget_lost(self) -> None:
        """
        What was on no other disk died with the one that was lost.
        """
        for key in list(self.promised):
            left = [rank(node.disk[key]) for node in self.nodes if key in node.disk]
            if not left:
                del self.promised[key]
            else:
                self.promised[key] = min(self.promised[key], max(left))

    # --- what must hold -----------------------------------------------------

    def differences(self) -> list[str]:
        """
        What is wrong with a cluster that was healed; nothing, if all is well.
        """
        wrong = []
        first = self._rows(self.nodes[0])
        identities = {key[0] for node in self.nodes for key in self._rows(node)}
        for node in self.nodes:
            rows = self._rows(node)
            if rows != first:
                differing = [key for key in {*rows, *first} if rows.get(key) != first.get(key)]
                wrong.append(f"{node.name} differs from {self.nodes[0].name} in {differing}")
            disk = {key: row._replace(deadline=0.0) for key, row in node.disk.items()}
            if disk != rows:
                wrong.append(f"the disk of {node.name} is not what it holds")
            for identity in sorted(identities):
                shown, there = (self._current(each, identity) for each in (self.nodes[0], node))
                if shown != there and self._tells(identity):
                    wrong.append(f"{node.name} shows other bindings of {identity}")
            for key, promised in self.promised.items():
                if key not in rows or rank(rows[key]) < promised:
                    wrong.append(f"{node.name} lost {key}")
            if node.engine.phase is not Phase.OPERATING or not node.is_open:
                wrong.append(f"{node.name} is not open")
            for link in node.engine.links.values():
                if link.state is not State.REACHABLE:
                    wrong.append(f"{node.name} holds {link.name} {link.state.value}: {link.last_fault}")
        return wrong + self.broken

    @staticmethod
    def _rows(node: Node) -> dict[Key, Binding]:
        return {key_of(row): row._replace(deadline=0.0) for row in Cluster._rows_of(node)}

    @staticmethod
    def _rows_of(node: Node) -> Iterator[Binding]:
        return (row for name in node.registry.primaries() for row in node.registry.rows_after(name, 0))

    @staticmethod
    def _current(node: Node, identity: str) -> set[Key]:
        return {row.key for row in node.registry.current(identity, node.now())}

    def _tells(self, identity: str) -> bool:
        """
        Whether all nodes must show the same bindings.

        No clock was set while its node held rows, or they were carried by
        what is left of them; and none ends about now, for what is left
        travels in whole seconds.
        """
        is_skewed = any(node.skew for node in self.nodes)
        if self.has_stepped or (is_skewed and any(not node.dialects[0].has_digests for node in self.nodes)):
            return False
        rows = ((node, row) for node in self.nodes for row in self._rows_of(node) if row.identity == identity)
        return all(abs(row.deadline - node.now()) > NEAR for node, row in rows)


class _Carried:
    """
    A call that is not over.
    """

    def __init__(self, call: fx.Call) -> None:
        self.call = call
        self.answer: bytes | None = None


class Line:
    """
    A connection, from one node to another: what is sent on it arrives in its
    order, calls are answered in theirs, and where something is lost nothing
    that follows gets through.
    """

    def __init__(self, cluster: Cluster, caller: Node, callee: Node) -> None:
        self._cluster = cluster
        self._caller, self._callee = caller, callee
        self._life, self._callee_life = caller.life, callee.life
        self._is_over = False
        self._open: list[_Carried] = []
        """What the caller waits for."""

        self._heard: list[_Carried] = []
        """What the callee has not answered."""

        # When what was sent last arrives; for ever where it was lost.
        self._there = self._back = 0.0

    def may_carry(self) -> bool:
        """
        Whether it is for one more call: each begins another where nothing is under way.
        """
        is_same = self._life == self._caller.life and self._callee_life == self._callee.life
        return is_same and bool(self._open) and not self._is_over

    def carry(self, call: fx.Call) -> None:
        """
        Send a call.
        """
        cluster, caller, callee = self._cluster, self._caller, self._callee
        carried = _Carried(call)
        body = wire.encode_call(call.method, call.params)
        self._open.append(carried)
        caller.has_begun = caller.has_begun or call.rows is None

        def arrive() -> None:
            if caller.life != self._life and caller.has_begun:
                # A dead process's last words may come between the pulls of its next life, not later.
                return
            if not callee.is_up:
                self.fail("connection refused")
                return
            self._heard.append(carried)
            callee.receive(body, answer)

        def answer(text: bytes) -> None:
            carried.answer = text
            while self._heard and self._heard[0].answer is not None:
                self._send_back(self._heard.pop(0))

        def silent() -> None:
            if carried in self._open:
                self.fail("no answer")

        cluster.later(cluster.now + TIMEOUT, silent)
        if not cluster.passes(caller, callee):
            self._there = NEVER
        self._there = max(self._there, cluster.arrival())
        if self._there < NEVER:
            cluster.later(self._there, arrive)
            if cluster.chance.random() < cluster.doubling:
                # At-least-once delivery: the second copy's answer is nobody's.
                cluster.later(
                    self._there + 0.02,
                    lambda: callee.receive(body, lambda _: None) if callee.is_up else None,
                )

    def _send_back(self, carried: _Carried) -> None:
        if not self._cluster.passes(self._callee, self._caller):
            self._back = NEVER
        self._back = max(self._back, self._cluster.arrival())
        if self._back < NEVER:
            self._cluster.later(self._back, lambda: self._arrived(carried))

    def _arrived(self, carried: _Carried) -> None:
        if carried in self._open and self._caller.life == self._life:
            self._open.remove(carried)
            assert carried.answer is not None
            self._cluster.answered(self._caller, carried.call, carried.answer)

    def fail(self, reason: str) -> None:
        """
        Give up all that is under way.
        """
        self._is_over = True
        carried, self._open = self._open, []
        for each in carried:
            if self._caller.life == self._life:
                caller = self._caller
                caller.perform(caller.engine.call_failed(each.call.id, reason, caller.now()))


class Phone:
    """
    Sends REGISTERs that are in order, from whatever node it is told.
    """

    def __init__(self, user: int) -> None:
        self._user = user
        self._cseq = 0
        self._boots = 0

    def registration(self, expires: int, line: int = 0, remove_all: bool = False) -> Registration:
        """
        The next REGISTER.

        @param line: Which of its contacts.
        """
        self._cseq += 1
        contacts = () if remove_all else (Offer(f"<sip:{self._user}@10.0.{line}.1>", None, "", expires),)
        return Registration(
            uri=f"<sip:{self._user}@example.com>",
            identity=f"{self._user}@example.com",
            callid=f"{self._user}-{self._boots}",
            cseq=self._cseq,
            contacts=contacts,
            remove_all=remove_all,
        )

    def reboot(self) -> None:
        """
        Forget the Call-ID.
        """
        self._boots += 1
        self._cseq = 0
