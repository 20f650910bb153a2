"""
Tests for L{sipxha.sync.answering}.
"""

from __future__ import annotations

from sipxha.sync import effects as fx
from sipxha.sync import rpc, wire
from sipxha.sync.link import State
from sipxha.sync.wire import I8, Fault
from tests.support.bindings import a_row
from tests.sync.engine import ME, PEER, PULL, PUSH, RESET, THIRD, EngineCase


class ReceiveTests(EngineCase):
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
