"""
One engine, with the test as all its peers; for the tests of its parts.

What several engines do together is in C{tests.simulation}.
"""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry
from sipxha.sync import effects as fx
from sipxha.sync.dialects import Spoken
from sipxha.sync.engine import Engine
from sipxha.sync.link import State
from sipxha.sync.mesh import Phase, Settings
from sipxha.sync.structs import MEMO
from sipxha.sync.wire import I8
from tests.support.bindings import a_row

NOW = 1_700_000_000.0
STEP = int(NOW) << 32
ME, PEER, THIRD = "sipx1.example.com", "sipx2.example.com", "sipx3.example.com"
PULL, RESET, PUSH = MEMO.pull, MEMO.reset, MEMO.push

E = TypeVar("E", bound=fx.Effect)


class EngineCase(SynchronousTestCase):
    """
    What all tests of an engine need.  It speaks the memo's dialect, for that shows one update at a time.
    """

    dialects: Spoken = (MEMO,)

    def setUp(self) -> None:
        self.now = NOW
        self.effects: list[fx.Effect] = []
        self.open_calls: dict[str, fx.Call] = {}
        self.has_disk = True

    def make(self, *peers: str, rows: tuple[Binding, ...] = (), limit: float = 20.0) -> None:
        self.registry = Registry(ME, 7200)
        self.registry.load(rows)
        self.engine = Engine(ME, [ME, *peers], self.registry, Settings(limit, dialects=self.dialects))
        self.take(self.engine.start(self.now))

    def operating(self, *peers: str, rows: tuple[Binding, ...] = ()) -> None:
        """
        An engine whose peers had nothing new at start.
        """
        self.make(*peers, rows=rows)
        while self.open_calls:
            for peer, call in list(self.open_calls.items()):
                if call.method == PULL:
                    self.answer(peer, [])
                else:
                    self.answer(peer, I8(0 if call.method == RESET else 1 << 62))
        self.assertIs(self.engine.phase, Phase.OPERATING)
        self.effects.clear()

    def take(self, effects: list[fx.Effect]) -> None:
        self.effects += effects
        for effect in effects:
            if isinstance(effect, fx.Store) and not effect.rows and self.has_disk:
                self.effects.remove(effect)
                self.take(self.engine.stored(effect.token, self.now))
            if isinstance(effect, fx.Call):
                self.assertNotIn(effect.peer, self.open_calls, "one call at a time")
                self.open_calls[effect.peer] = effect

    def only(self, kind: type[E]) -> E:
        """
        The one effect of a kind; it is taken.
        """
        found = self.all(kind)
        self.assertEqual(len(found), 1, self.effects)
        return found[0]

    def all(self, kind: type[E]) -> list[E]:
        found: list[E] = [effect for effect in self.effects if isinstance(effect, kind)]
        self.effects = [effect for effect in self.effects if not isinstance(effect, kind)]
        return found

    def answer(self, peer: str, value: Any) -> None:
        """
        Answer the peer's open call; rows stand for the answer that holds them.
        """
        if isinstance(value, list):
            value = {"numUpdates": len(value), "updates": value}
        self.take(self.engine.call_answered(self.open_calls.pop(peer).id, value, self.now))

    def fail_call(self, peer: str, reason: str = "connection refused") -> None:
        self.take(self.engine.call_failed(self.open_calls.pop(peer).id, reason, self.now))

    def receive(self, method: str, *params: Any) -> None:
        self.take(self.engine.call_received(1, method, params, self.now))

    def refused(self, code: int, method: str, *params: Any) -> None:
        self.receive(method, *params)
        self.assertEqual(self.only(fx.Refuse).fault.code, code)

    def pass_time(self, seconds: float) -> None:
        """
        Let time pass as a driver does: never late.
        """
        end = self.now + seconds
        while (deadline := self.engine.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.take(self.engine.deadline_passed(self.now))
        self.now = end

    def asked(self, peer: str) -> tuple[str, list[Any]]:
        call = self.open_calls[peer]
        return call.method, call.params[1:]

    def state(self, peer: str = PEER) -> State:
        return self.engine.links[peer].state

    def pushed(self, *rows: Binding) -> list[Any]:
        return [MEMO.write_row(row, self.now) for row in rows]

    def register(self, **columns: Any) -> Binding:
        """
        What a REGISTER does, and what the registrar says then.
        """
        row = a_row(primary=ME, update_number=self.registry.update_number + 1, **columns)
        self.registry.apply([row], self.now)
        self.take(self.engine.updated(self.now))
        return row
