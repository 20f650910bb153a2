"""
Tests for L{sipxha.sync.engine}: one engine, with the test as all its peers.

What several engines do together is in C{tests.simulation}.
"""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry
from sipxha.sync import effects as fx
from sipxha.sync import rpc, wire
from sipxha.sync.engine import PULSE, Engine, Phase, Settings
from sipxha.sync.link import State
from sipxha.sync.numbers import above
from sipxha.sync.wire import I8, Fault
from tests.support.bindings import a_row

NOW = 1_700_000_000.0
STEP = int(NOW) << 32
ME, PEER, THIRD = "sipx1.example.com", "sipx2.example.com", "sipx3.example.com"
PULL, RESET, PUSH = rpc.MEMO.pull, rpc.MEMO.reset, rpc.MEMO.push

E = TypeVar("E", bound=fx.Effect)


class EngineTests(SynchronousTestCase):
    """
    What all tests of an engine need.
    """

    def setUp(self) -> None:
        self.now = NOW
        self.effects: list[fx.Effect] = []
        self.open_calls: dict[str, fx.Call] = {}
        self.has_disk = True

    def make(self, *peers: str, rows: tuple[Binding, ...] = (), limit: float = 20.0) -> None:
        self.registry = Registry(ME, 7200)
        self.registry.load(rows)
        self.engine = Engine(ME, [ME, *peers], self.registry, Settings(limit))
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
        return [rpc.write_row(rpc.MEMO, row) for row in rows]

    def register(self, **columns: Any) -> Binding:
        """
        What a REGISTER does, and what the registrar says then.
        """
        row = a_row(primary=ME, update_number=self.registry.update_number + 1, **columns)
        self.registry.apply([row], self.now)
        self.take(self.engine.updated(self.now))
        return row


class StartTests(EngineTests):
    """
    Tests for the start-up phase (SyncDesign 5.7.1).
    """

    def test_a_node_without_peers_serves_at_once(self) -> None:
        """
        With its numbers stepped all the same.
        """
        self.make()
        self.assertFalse(self.only(fx.Open).is_degraded)
        self.assertEqual(self.registry.update_number, STEP)

    def test_own_rows_are_asked_for_then_the_peers(self) -> None:
        """
        What the store has is not asked for; then numbers step and resets go out.
        """
        rows = a_row(primary=ME, update_number=5), a_row(primary=PEER, update_number=8, callid="2")
        self.make(PEER, rows=rows)
        self.assertEqual(self.asked(PEER), (PULL, [ME, 5]))
        self.answer(PEER, [a_row(primary=ME, update_number=6, callid="3")])
        self.assertEqual([row.update_number for row in self.only(fx.Store).rows], [6])
        self.assertEqual(self.asked(PEER), (PULL, [PEER, 8]))
        self.answer(PEER, [a_row(primary=PEER, update_number=9, callid="4")])
        self.assertEqual([row.update_number for row in self.only(fx.Store).rows], [9])
        self.assertEqual(self.asked(PEER), (RESET, [9]))
        self.assertEqual(self.registry.update_number, STEP)
        self.assertEqual(self.all(fx.Open), [])
        self.answer(PEER, I8(6))
        self.assertFalse(self.only(fx.Open).is_degraded)
        self.assertEqual(self.state(), State.REACHABLE)
        self.assertEqual(self.open_calls, {})

    def test_rows_of_a_dead_peer_come_from_the_others(self) -> None:
        """
        After those that answered gave their own.
        """
        self.make(PEER, THIRD)
        self.fail_call(THIRD)
        self.answer(PEER, [])
        self.answer(PEER, [])
        self.assertEqual(self.asked(PEER), (PULL, [THIRD, 0]))
        self.answer(PEER, [a_row(primary=THIRD, update_number=3)])
        self.assertEqual(self.engine.links[THIRD].received, 3)
        self.assertEqual(self.asked(PEER)[0], RESET)
        self.answer(PEER, I8(0))
        self.assertTrue(self.only(fx.Open).is_degraded)

    def test_a_silent_peer_delays_the_start_no_longer_than_the_limit(self) -> None:
        """
        The node says that it is degraded, and goes on asking.
        """
        self.make(PEER, limit=20.0)
        self.pass_time(19.9)
        self.assertEqual(self.all(fx.Open), [])
        self.pass_time(0.2)
        self.assertTrue(self.only(fx.Open).is_degraded)
        self.answer(PEER, [])
        self.answer(PEER, [])
        self.assertEqual(self.asked(PEER)[0], RESET)

    def test_pulls_are_answered_while_starting_and_resets_and_pushes_are_not(self) -> None:
        """
        So that nodes that start together do not refuse each other.
        """
        row = a_row(primary=ME, update_number=5)
        self.make(PEER, rows=(row,))
        self.receive(PULL, PEER, ME, I8(0))
        self.assertEqual([each.update_number for each in self.only(fx.AnswerRows).rows], [5])
        self.refused(rpc.UNREACHABLE_PEER, RESET, PEER, I8(0))
        self.refused(rpc.UNREACHABLE_PEER, PUSH, PEER, I8(0), self.pushed(a_row(primary=PEER)))

    def test_a_peer_that_calls_while_we_start_is_asked_again(self) -> None:
        """
        It came up a moment after us.
        """
        self.make(PEER, THIRD)
        self.fail_call(PEER)
        self.receive(PULL, PEER, PEER, I8(0))
        self.assertEqual(self.asked(PEER), (PULL, [ME, 0]))

    def test_a_peer_that_was_missed_is_pulled_from_at_first_contact(self) -> None:
        """
        Own rows get new numbers, so that all others receive them too.
        """
        self.make(PEER, rows=(a_row(primary=ME, update_number=5),))
        self.fail_call(PEER)
        self.assertTrue(self.only(fx.Open).is_degraded)
        self.pass_time(1.0)
        self.assertEqual(self.asked(PEER), (PULL, [ME, 5]))
        self.answer(PEER, [a_row(primary=ME, update_number=6, callid="2")])
        self.assertEqual([row.update_number for row in self.only(fx.Store).rows], [STEP + 1])
        self.assertEqual(self.asked(PEER), (PULL, [PEER, 0]))
        self.answer(PEER, [])
        self.assertEqual(self.asked(PEER), (RESET, [0]))
        self.answer(PEER, I8(6))
        self.assertEqual(self.asked(PEER)[0:1], (PUSH,))
        self.assertEqual(self.asked(PEER)[1][0], 6)

    def test_the_last_words_of_an_earlier_life_are_asked_for(self) -> None:
        """
        A reset shows that the peer took a push after we had pulled from it.
        """
        self.make(PEER)
        self.answer(PEER, [])
        self.answer(PEER, [])
        self.answer(PEER, I8(7))
        self.assertEqual(self.asked(PEER), (PULL, [ME, 0]))
        self.answer(PEER, [a_row(primary=ME, update_number=7)])
        self.assertEqual([row.update_number for row in self.only(fx.Store).rows], [STEP + 1])
        self.receive(RESET, PEER, I8(7))
        self.assertEqual(self.asked(PEER)[0], PUSH)


class PushTests(EngineTests):
    """
    Tests for what we push (SyncDesign 5.7.3.2).
    """

    def test_updates_go_one_by_one(self) -> None:
        """
        Each with the number before it.
        """
        self.operating(PEER)
        first = self.register(callid="1")
        second = self.register(callid="2")
        self.assertEqual(self.asked(PEER), (PUSH, [0, self.pushed(first)]))
        self.answer(PEER, I8(first.update_number))
        self.assertEqual(self.asked(PEER), (PUSH, [first.update_number, self.pushed(second)]))
        self.answer(PEER, I8(second.update_number))
        self.assertEqual(self.open_calls, {})

    def test_what_was_replaced_is_on_disk_before_more_is_pushed(self) -> None:
        """
        Else a crash could bring back a row that no peer would ever be sent.
        """
        self.operating(PEER)
        first = self.register(callid="1")
        self.has_disk = False
        self.register(callid="2")
        second = self.register(callid="2", cseq=18)
        third = self.register(callid="3")
        self.answer(PEER, I8(first.update_number))
        barrier = self.only(fx.Store)
        self.assertEqual((barrier.rows, self.open_calls), ([], {}))
        self.take(self.engine.stored(barrier.token, self.now))
        self.assertEqual(self.asked(PEER)[1][1], self.pushed(second))
        self.answer(PEER, I8(second.update_number))
        self.assertEqual(self.asked(PEER)[1][1], self.pushed(third))

    def test_a_pull_is_answered_after_what_it_does_not_show_is_on_disk(self) -> None:
        """
        For the same reason; a disk that fails does not stop it.
        """
        self.operating(PEER)
        self.has_disk = False
        for done in (self.engine.stored, self.engine.store_failed):
            self.receive(PULL, PEER, ME, I8(0))
            self.assertEqual(self.all(fx.AnswerRows), [])
            self.take(done(self.only(fx.Store).token, self.now))
            self.only(fx.AnswerRows)

    def test_a_push_that_fails_makes_the_peer_unreachable(self) -> None:
        """
        It is reset after a while, and then gets the same again.
        """
        self.operating(PEER)
        row = self.register()
        self.fail_call(PEER)
        self.assertEqual(self.only(fx.PeerChanged).state, State.UNREACHABLE)
        self.assertEqual(self.open_calls, {})
        self.pass_time(1.0)
        self.assertEqual(self.asked(PEER)[0], RESET)
        self.answer(PEER, I8(0))
        self.assertEqual(self.asked(PEER), (PUSH, [0, self.pushed(row)]))

    def test_an_answer_that_does_not_advance_is_a_failure(self) -> None:
        """
        Else we would push the same for ever.
        """
        self.operating(PEER)
        self.register()
        self.answer(PEER, I8(0))
        self.assertEqual(self.state(), State.UNREACHABLE)

    def test_an_answer_that_is_no_number_makes_the_peer_incompatible(self) -> None:
        """
        It is another kind of software.
        """
        self.operating(PEER)
        self.register()
        self.answer(PEER, "yes")
        self.assertEqual(self.state(), State.INCOMPATIBLE)
        self.pass_time(100)
        self.register(callid="2")
        self.assertEqual(self.open_calls, {})

    def test_one_slow_peer_does_not_hold_back_another(self) -> None:
        """
        Each has its own pusher.
        """
        self.operating(PEER, THIRD)
        row = self.register()
        self.answer(THIRD, I8(row.update_number))
        self.register(callid="2")
        self.assertEqual(self.asked(THIRD)[1][0], row.update_number)
        self.assertEqual(self.asked(PEER)[1][0], 0)

    def test_a_reset_by_the_peer_wakes_the_pusher(self) -> None:
        """
        Also when it is Reachable already and lost something.
        """
        self.operating(PEER)
        row = self.register()
        self.answer(PEER, I8(row.update_number))
        self.receive(RESET, PEER, I8(0))
        self.assertEqual(self.only(fx.Answer).value, 0)
        self.assertTrue(self.only(fx.Synchronized).by_peer)
        self.assertEqual(self.asked(PEER), (PUSH, [0, self.pushed(row)]))

    def test_what_was_asked_before_a_reset_does_not_count_after_it(self) -> None:
        """
        The push went to an earlier life of the peer.
        """
        self.operating(PEER)
        row = self.register()
        self.receive(RESET, PEER, I8(0))
        self.fail_call(PEER)
        self.assertEqual(self.state(), State.REACHABLE)
        self.assertEqual(self.asked(PEER), (PUSH, [0, self.pushed(row)]))
        self.receive(RESET, PEER, I8(0))
        self.answer(PEER, I8(row.update_number))
        self.assertEqual(self.asked(PEER), (PUSH, [0, self.pushed(row)]))

    def test_a_peer_that_is_lost_leaves_its_last_rows_with_the_others(self) -> None:
        """
        They are asked for what it may have told only them.
        """
        self.operating(PEER, THIRD)
        row = self.register()
        self.answer(THIRD, I8(row.update_number))
        self.fail_call(PEER)
        self.assertEqual(self.asked(THIRD), (PULL, [PEER, 0]))

    def test_a_node_that_was_stopped_resets_everybody(self) -> None:
        """
        All may have given it up meanwhile.
        """
        self.operating(PEER, THIRD)
        self.now += 45
        self.take(self.engine.deadline_passed(self.now))
        self.assertEqual(self.asked(PEER)[0], RESET)
        self.assertEqual(self.asked(THIRD)[0], RESET)

    def test_a_node_that_runs_resets_nobody(self) -> None:
        """
        Each pulse comes in time.
        """
        self.operating(PEER)
        self.pass_time(100 * PULSE)
        self.assertEqual(self.open_calls, {})


class NumberTests(EngineTests):
    """
    Tests for a clock that was set back (design 5.1).
    """

    def test_a_peer_that_holds_more_raises_our_numbers(self) -> None:
        """
        Own rows of this life move above, and go out again.
        """
        self.operating(PEER)
        row = self.register()
        self.answer(PEER, I8(row.update_number))
        far = STEP + (600 << 32)
        self.receive(RESET, PEER, I8(far))
        self.assertEqual(self.only(fx.NumberRaised).number, far)
        self.assertEqual([each.update_number for each in self.only(fx.Store).rows], [above(far) + 1])
        self.assertEqual(self.asked(PEER), (PULL, [ME, 0]))
        self.answer(PEER, [])
        self.assertEqual(self.asked(PEER)[1], [far, self.pushed(row._replace(update_number=above(far) + 1))])


class ReceiveTests(EngineTests):
    """
    Tests for what we take from peers (SyncDesign 5.8).
    """

    def test_a_push_is_answered_when_its_rows_are_stored(self) -> None:
        """
        Not before.
        """
        self.operating(PEER)
        self.receive(PUSH, PEER, I8(0), self.pushed(a_row(primary=PEER, update_number=7)))
        self.assertEqual(self.all(fx.Answer), [])
        store = self.only(fx.Store)
        self.take(self.engine.stored(store.token, self.now))
        self.assertEqual(self.only(fx.Answer).value, 7)

    def test_a_push_that_cannot_be_stored_is_refused(self) -> None:
        """
        It is to come again; the copy waits for the same disk.
        """
        self.operating(PEER)
        row = a_row(primary=PEER, update_number=7)
        self.receive(PUSH, PEER, I8(0), self.pushed(row))
        self.take(self.engine.store_failed(self.only(fx.Store).token, self.now))
        self.assertEqual(self.only(fx.Refuse).fault.code, rpc.UPDATE_FAILED)
        self.has_disk = False
        self.receive(PUSH, PEER, I8(0), self.pushed(row))
        self.assertEqual(self.only(fx.Store).rows, [])

    def test_a_push_after_a_gap_is_out_of_order(self) -> None:
        """
        305, and the peer is UnReachable until a reset.
        """
        self.operating(PEER)
        self.refused(rpc.OUT_OF_ORDER, PUSH, PEER, I8(5), self.pushed(a_row(primary=PEER, update_number=7)))
        self.assertEqual(self.state(), State.UNREACHABLE)
        rows = self.pushed(a_row(primary=PEER, update_number=7))
        self.refused(rpc.UNREACHABLE_PEER, PUSH, PEER, I8(0), rows)
        self.assertEqual(self.asked(PEER)[0], RESET)

    def test_a_push_that_overtakes_the_answer_of_our_reset_is_taken(self) -> None:
        """
        The peer could not push had it not accepted.
        """
        self.operating(PEER)
        self.register()
        self.fail_call(PEER)
        self.pass_time(1.0)
        self.assertEqual(self.asked(PEER)[0], RESET)
        self.receive(PUSH, PEER, I8(0), self.pushed(a_row(primary=PEER, update_number=7)))
        self.only(fx.Store)

    def test_rows_of_others_and_mixed_numbers_are_refused(self) -> None:
        """
        Nothing of them is stored.
        """
        self.operating(PEER, THIRD)
        for primary in (THIRD, ME):
            self.refused(rpc.UPDATE_FAILED, PUSH, PEER, I8(0), self.pushed(a_row(primary=primary)))
            self.assertEqual(self.state(), State.UNREACHABLE)
            self.receive(RESET, PEER, I8(0))
        mixed = self.pushed(a_row(primary=PEER, update_number=1), a_row(primary=PEER, update_number=2))
        self.refused(rpc.MIXED_NUMBERS, PUSH, PEER, I8(0), mixed)
        self.assertEqual(self.state(), State.INCOMPATIBLE)
        self.assertEqual(self.all(fx.Store), [])
        self.assertEqual(len(self.registry), 0)

    def test_the_received_number_never_falls(self) -> None:
        """
        An old update again is answered by the newest.
        """
        self.operating(PEER)
        for number in (7, 6):
            row = a_row(primary=PEER, update_number=number, callid=str(number))
            self.receive(PUSH, PEER, I8(0), self.pushed(row))
            self.take(self.engine.stored(self.only(fx.Store).token, self.now))
            self.assertEqual(self.only(fx.Answer).value, 7)

    def test_who_may_call(self) -> None:
        """
        Methods that we know, by peers that we know.
        """
        self.operating(PEER)
        self.refused(rpc.UNKNOWN_METHOD, "registrarSync2.digest", PEER)
        self.refused(rpc.UNCONFIGURED_PEER, PULL, THIRD, THIRD, I8(0))
        self.refused(rpc.UNCONFIGURED_PEER, PULL, ME, ME, I8(0))
        self.refused(rpc.INVALID_PARAMETER, PULL)
        self.assertEqual(self.state(), State.REACHABLE)
        self.refused(rpc.INVALID_PARAMETER, RESET, PEER, "1")
        self.assertEqual(self.state(), State.INCOMPATIBLE)
        self.refused(rpc.INCOMPATIBLE_PEER, PULL, PEER, PEER, I8(0))

    def test_a_bad_pull_answer_changes_nothing(self) -> None:
        """
        Rows that were not asked for make the peer UnReachable, no rows at all Incompatible.
        """
        self.make(PEER, THIRD)
        self.answer(PEER, [a_row(primary=THIRD)])
        self.assertEqual(self.state(PEER), State.UNREACHABLE)
        self.answer(THIRD, I8(5))
        self.assertEqual(self.state(THIRD), State.INCOMPATIBLE)
        self.assertEqual(len(self.registry), 0)

    def test_answers_that_nobody_waits_for_are_ignored(self) -> None:
        """
        Nothing comes of them.
        """
        self.operating(PEER)
        self.assertEqual(self.engine.call_answered(999, I8(1), self.now), [])
        self.assertEqual(self.engine.call_failed(999, "late", self.now), [])
        self.assertEqual(self.engine.stored(999, self.now), [])
        self.assertEqual(self.engine.store_failed(999, self.now), [])

    def test_faults_are_told_as_they_are(self) -> None:
        """
        They survive the wire.
        """
        self.operating(PEER)
        self.receive(RESET, THIRD, I8(0))
        refusal = self.only(fx.Refuse)
        again = self.assertRaises(Fault, wire.decode_answer, wire.encode_fault(refusal.fault))
        self.assertEqual(again.text, "Unconfigured peer 'sipx3.example.com'")
