"""
Tests for L{sipxha.sync.engine}: the start-up phase.
"""

from __future__ import annotations

from sipxha.sync import effects as fx
from sipxha.sync import rpc
from sipxha.sync.link import State
from sipxha.sync.wire import I8
from tests.support.bindings import a_row
from tests.sync.engine import ME, PEER, PULL, PUSH, RESET, STEP, THIRD, EngineCase


class StartTests(EngineCase):
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
        self.assertEqual(self.asked(PEER), (PULL, [ME, 0]), "do we hold the same?")

    def test_a_peer_that_joins_is_met_as_at_the_start(self) -> None:
        """
        It may hold rows of ours that a lost disk has not.
        """
        self.operating(PEER)
        self.take(self.engine.set_peers([ME, PEER, THIRD], self.now))
        self.assertEqual(self.asked(THIRD), (PULL, [ME, 0]))
        self.answer(THIRD, [])
        self.assertEqual(self.asked(THIRD), (PULL, [THIRD, 0]))
        self.answer(THIRD, [a_row(primary=THIRD, update_number=3)])
        self.assertEqual(self.asked(THIRD), (RESET, [3]))
        self.answer(THIRD, I8(0))
        self.assertEqual((self.state(THIRD), self.state()), (State.REACHABLE, State.REACHABLE))

    def test_a_peer_that_leaves_is_called_no_more_and_not_heard(self) -> None:
        """
        What it answers to a last call means nothing; its rows stay.
        """
        self.operating(PEER, THIRD)
        self.register()
        before = self.open_calls.pop(PEER)
        self.take(self.engine.set_peers([ME, THIRD], self.now))
        self.assertEqual(list(self.engine.links), [THIRD])
        self.effects.clear()
        self.take(self.engine.call_answered(before.id, I8(1 << 62), self.now))
        self.take(self.engine.call_failed(before.id, "too late", self.now))
        self.assertEqual(self.effects, [])
        self.refused(rpc.UNCONFIGURED_PEER, RESET, PEER, I8(0))

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
        self.assertEqual([each.update_number for each in self.only(fx.AnswerPage).page.rows], [5])
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
