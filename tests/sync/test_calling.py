"""
Tests for L{sipxha.sync.calling}.
"""

from __future__ import annotations

from typing import Any

from sipxha.registry.binding import Binding
from sipxha.sync import effects as fx
from sipxha.sync import rpc
from sipxha.sync.batch import BATCH, MOST_PUSHES, MOST_ROWS, Batch
from sipxha.sync.calling import CLIMB, CROWD, PACE
from sipxha.sync.dialect import Dialect
from sipxha.sync.dialects import DIALECTS
from sipxha.sync.engine import PULSE
from sipxha.sync.healing import INTERVAL
from sipxha.sync.link import State
from sipxha.sync.structs import MEMO, SIPX
from sipxha.sync.wire import I8
from tests.support.bindings import a_row
from tests.sync.engine import ME, PEER, PULL, PUSH, RESET, THIRD, EngineCase


class _Single(Batch):
    """
    One push at a time.
    """

    most_pushes = 1


class FollowingTests(EngineCase):
    """
    Tests for pushes that do not wait for each other.
    """

    dialects = DIALECTS

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[fx.Call] = []
        self.operating(PEER)

    def take(self, effects: list[fx.Effect]) -> None:
        calls = [effect for effect in effects if isinstance(effect, fx.Call)]
        self.calls += calls
        super().take([effect for effect in effects if effect not in calls])

    def operating(self, *peers: str, rows: tuple[Binding, ...] = ()) -> None:
        self.make(*peers, rows=rows)
        while self.calls:
            call = self.calls.pop(0)
            value: Any = I8(0)
            if call.method == BATCH.pull:
                value = {"updates": [], "updateNumber": I8(0), "more": False}
            elif call.method == BATCH.digest:
                value = {"rows": 0, "digest": "0" * 32}
            self.take(self.engine.call_answered(call.id, value, self.now))
        self.effects.clear()

    def numbers(self) -> list[tuple[int, list[int]]]:
        """
        What each push under way says: the number before it, and those of its rows.
        """
        return [
            (int(call.params[1]), [BATCH.read_row(row).update_number for row in call.params[2]])  # type: ignore
            for call in self.calls
        ]

    def taken(self, place: int = 0, number: int | None = None) -> None:
        call = self.calls.pop(place)
        last = BATCH.read_row(call.params[2][-1]).update_number  # type: ignore[index]
        self.take(self.engine.call_answered(call.id, I8(number or last), self.now))

    def test_a_push_follows_the_one_before_it(self) -> None:
        """
        Up to a bound; what is beyond it travels together, when one was answered.
        """
        start = self.registry.update_number
        for number in range(CROWD + 3):
            self.register(callid=str(number))
        each = [(start + place, [start + place + 1]) for place in range(CROWD)]
        # Nothing was ever pushed before the first.
        self.assertEqual(self.numbers(), [(0, each[0][1]), *each[1:]])
        self.taken()
        rest = [start + CROWD + place for place in (1, 2, 3)]
        self.assertEqual(self.numbers(), [*each[1:], (start + CROWD, rest)])
        self.assertEqual(self.engine.links[PEER].sent, start + 1)
        while self.calls:
            self.taken()
        self.assertEqual(self.engine.links[PEER].sent, self.registry.update_number)

    def test_updates_that_come_seldom_wait_for_no_answer(self) -> None:
        """
        Nor do they without end, for a peer that takes nothing.
        """
        for number in range(MOST_PUSHES + 3):
            self.register(callid=str(number))
            self.now += PACE
        self.assertEqual(len(self.calls), MOST_PUSHES)
        self.assertEqual({len(rows) for _, rows in self.numbers()}, {1})
        self.taken()
        self.assertEqual(len(self.numbers()[-1][1]), 3)

    def test_an_answer_takes_nothing_back(self) -> None:
        """
        A peer that says that it has more has it.
        """
        self.register(callid="1")
        self.register(callid="2")
        self.taken(number=self.registry.update_number)
        self.assertEqual(self.engine.links[PEER].sent, self.registry.update_number)
        self.taken()
        self.assertEqual(self.engine.links[PEER].sent, self.registry.update_number)

    def test_what_follows_a_push_that_failed_says_nothing(self) -> None:
        """
        The peer is reset, and then gets what it says that it lacks.
        """
        self.register(callid="1")
        self.register(callid="2")
        sent = [row for _, rows in self.numbers() for row in rows]
        lost, late = self.calls
        self.calls.clear()
        self.take(self.engine.call_failed(lost.id, "no answer", self.now))
        self.assertEqual(self.state(), State.UNREACHABLE)
        self.take(self.engine.call_answered(late.id, I8(sent[-1]), self.now))
        self.assertEqual((self.engine.links[PEER].sent, self.calls), (0, []))
        self.pass_time(1.5)
        reset = self.calls.pop()
        self.assertEqual(reset.method, BATCH.reset)
        self.take(self.engine.call_answered(reset.id, I8(0), self.now))
        self.assertEqual(self.numbers(), [(0, sent)])

    def test_nothing_else_travels_while_pushes_do(self) -> None:
        """
        A pull or a reset waits until they are answered, and no push follows meanwhile.
        """
        self.register(callid="1")
        self.engine.links[PEER].pulls[ME] = None
        self.register(callid="2")
        self.assertEqual(len(self.calls), 1)
        self.taken()
        self.assertEqual([call.method for call in self.calls], [BATCH.pull])

    def test_a_peer_that_was_reset_meanwhile_is_pushed_to_when_all_is_answered(self) -> None:
        """
        What it says of pushes from before its reset does not count.
        """
        start = self.registry.update_number
        self.register(callid="1")
        self.receive(BATCH.reset, PEER, I8(0))
        self.register(callid="2")
        self.assertEqual(len(self.calls), 1)
        self.taken()
        self.assertEqual(self.numbers(), [(0, [start + 1, start + 2])])

    def test_numbers_that_are_missing_wait_for_the_disk_behind_other_pushes_too(self) -> None:
        """
        And go on from the last that is under way.
        """
        first = self.register(callid="1")
        self.has_disk = False
        self.registry.apply([a_row(primary=ME, callid="2", update_number=first.update_number + 2)], self.now)
        self.take(self.engine.updated(self.now))
        self.assertEqual(len(self.calls), 1)
        barrier = self.only(fx.Store)
        self.take(self.engine.stored(barrier.token, self.now))
        self.assertEqual(self.numbers()[1], (first.update_number, [first.update_number + 2]))


class PushTests(EngineCase):
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
            self.assertEqual(self.all(fx.AnswerPage), [])
            self.take(done(self.only(fx.Store).token, self.now))
            self.only(fx.AnswerPage)

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
        self.pass_time(INTERVAL - PULSE)
        self.assertEqual(self.open_calls, {})

    def test_a_peer_with_which_there_is_nothing_to_do_is_asked_now_and_then(self) -> None:
        """
        So that its death is seen before somebody registers.
        """
        self.operating(PEER)
        self.pass_time(INTERVAL)
        self.assertEqual(self.asked(PEER), (PULL, [PEER, 0]))
        self.fail_call(PEER)
        self.assertEqual(self.state(), State.UNREACHABLE)


class DialectTests(EngineCase):
    """
    Tests for the dialect in which a peer is called (design 5.5).
    """

    dialects = DIALECTS

    def unknown(self, peer: str = PEER) -> None:
        """
        The peer has no such method.
        """
        id = self.open_calls.pop(peer).id
        self.take(self.engine.call_failed(id, "fault -3", self.now, rpc.UNKNOWN_METHOD))

    def methods(self, knows: Dialect) -> list[str]:
        """
        Serve as a peer that knows one dialect, until nothing is asked.

        @return: What was asked.
        """
        asked = []
        while PEER in self.open_calls:
            method, params = self.asked(PEER)
            asked.append(method)
            if method not in knows.methods:
                self.unknown()
            elif method == knows.reset:
                self.answer(PEER, I8(0))
            elif method == knows.push:
                numbers: list[Any] = [knows.read_row(row, self.now).update_number for row in params[1]]
                self.answer(PEER, I8(numbers[-1]))
            else:
                self.answer(PEER, [])
        return asked

    def test_a_peer_is_called_in_the_newest_dialect_that_it_knows(self) -> None:
        """
        Pulls included; nothing is lost by asking.
        """
        self.make(PEER)
        self.assertEqual(
            self.methods(MEMO),
            [BATCH.pull, MEMO.pull, MEMO.pull, BATCH.reset, MEMO.reset, MEMO.pull, MEMO.pull],
        )
        self.assertEqual(self.only(fx.Spoken), fx.Spoken(PEER, "memo"))
        self.assertEqual(self.state(), State.REACHABLE)
        self.register(callid="1")
        self.register(callid="2")
        self.assertEqual(self.methods(MEMO), [MEMO.push, MEMO.push])

    def test_the_oldest_is_the_last_resort(self) -> None:
        """
        Numbers are written as it wants them.
        """
        self.make(PEER)
        self.unknown()
        self.unknown()
        self.assertEqual(self.asked(PEER), (SIPX.pull, [ME, 0]))
        self.answer(PEER, {"num_updates": 0, "updates": []})
        self.answer(PEER, {"num_updates": 0, "updates": []})
        for method in (BATCH.reset, MEMO.reset):
            self.assertEqual(self.asked(PEER)[0], method)
            self.unknown()
        number = self.asked(PEER)[1][0]
        self.assertEqual((self.asked(PEER)[0], number.text()), (SIPX.reset, "0" * 16))

    def test_a_peer_that_knows_none_is_unreachable(self) -> None:
        """
        An old one that is still starting up says so too, and is tried again from the beginning.
        """
        self.make(PEER)
        for _ in DIALECTS:
            self.unknown()
        self.assertEqual(self.state(), State.UNREACHABLE)
        self.assertEqual(self.open_calls, {})
        self.pass_time(1.0)
        self.assertEqual(self.asked(PEER)[0], BATCH.pull)

    def test_only_an_unknown_method_tells_of_another_age(self) -> None:
        """
        Any other fault is a failure.
        """
        self.make(PEER)
        id = self.open_calls.pop(PEER).id
        self.take(self.engine.call_failed(id, "fault -4", self.now, rpc.AUTHENTICATION))
        self.assertEqual(self.state(), State.UNREACHABLE)
        self.assertIs(self.engine.links[PEER].dialect, BATCH)

    def test_a_peer_that_was_made_newer_is_called_so_after_a_while(self) -> None:
        """
        At the next reset, or without one after five minutes.
        """
        self.make(PEER)
        self.methods(MEMO)
        self.effects.clear()
        self.pass_time(CLIMB - 1)
        self.assertEqual(set(self.methods(MEMO)), {MEMO.pull})
        self.pass_time(INTERVAL)
        self.assertEqual(self.methods(MEMO), [BATCH.digest, MEMO.pull])
        self.pass_time(CLIMB - INTERVAL)
        self.methods(MEMO)
        self.pass_time(INTERVAL)
        self.assertEqual(self.asked(PEER)[0], BATCH.digest)
        self.assertEqual(self.all(fx.Spoken), [])
        self.answer(PEER, {"rows": 0, "digest": "0" * 32})
        self.assertEqual(self.only(fx.Spoken), fx.Spoken(PEER, "batch"))


class BatchTests(EngineCase):
    """
    Tests for many updates at once.
    """

    dialects = (_Single(),)

    def operate(self) -> None:
        """
        An engine whose peer has nothing of its own.
        """
        self.make(PEER)
        empty = {"updates": [], "updateNumber": I8(0), "more": False}
        self.answer(PEER, empty)
        self.answer(PEER, empty)
        self.answer(PEER, I8(0))
        for _ in (ME, PEER):
            self.answer(PEER, {"rows": 0, "digest": "0" * 32})
        self.assertEqual(self.open_calls, {})
        self.effects.clear()

    def rows_pushed(self) -> list[int]:
        method, params = self.asked(PEER)
        self.assertEqual(method, BATCH.push)
        return [BATCH.read_row(text, self.now).update_number for text in params[1]]

    def test_all_that_a_peer_lacks_goes_at_once(self) -> None:
        """
        As soon as the push before is answered.
        """
        self.operate()
        first = self.register(callid="1").update_number
        for number in range(2, 6):
            self.register(callid=str(number))
        self.assertEqual(self.rows_pushed(), [first])
        self.answer(PEER, I8(first))
        self.assertEqual(self.only(fx.Acknowledged), fx.Acknowledged(PEER, first))
        self.assertEqual(self.rows_pushed(), list(range(first + 1, first + 5)))
        self.assertEqual(self.asked(PEER)[1][0], first)

    def test_a_peer_may_take_a_part(self) -> None:
        """
        The rest follows.
        """
        self.operate()
        first = self.register(callid="1").update_number
        for number in range(2, 6):
            self.register(callid=str(number))
        self.answer(PEER, I8(first))
        self.answer(PEER, I8(first + 2))
        self.assertEqual(self.rows_pushed(), [first + 3, first + 4])

    def test_a_backlog_goes_in_pieces(self) -> None:
        """
        Each below what a body may hold.
        """
        self.operate()
        first = self.register(callid="1").update_number
        for number in range(2 * MOST_ROWS):
            self.register(callid=f"more {number}")
        self.answer(PEER, I8(first))
        self.assertEqual(len(self.rows_pushed()), MOST_ROWS)

    def test_what_is_pushed_after_the_disk_is_what_was_looked_at_before(self) -> None:
        """
        What was replaced meanwhile is not on disk, so its number may not be passed over.
        """
        self.operate()
        first = self.register(callid="1").update_number
        self.has_disk = False
        self.register(callid="2")
        self.register(callid="2", cseq=18)
        self.register(callid="3")
        self.answer(PEER, I8(first))
        barrier = self.only(fx.Store)
        self.register(callid="3", cseq=18)
        self.take(self.engine.stored(barrier.token, self.now))
        self.assertEqual(self.rows_pushed(), [first + 2, first + 3])
        self.answer(PEER, I8(first + 3))
        self.assertEqual(self.rows_pushed(), [first + 4])

    def test_a_pull_goes_on_where_its_page_ended(self) -> None:
        """
        Until there is no more.
        """
        self.make(PEER)
        self.answer(PEER, {"updates": [], "updateNumber": I8(0), "more": False})
        for number in (3, 8):
            row = a_row(primary=PEER, update_number=number, callid=str(number))
            self.answer(
                PEER,
                {
                    "updates": [BATCH.write_row(row, self.now)],
                    "updateNumber": I8(number),
                    "more": number == 3,
                },
            )
            self.assertEqual(self.only(fx.Store).rows[0].update_number, number)
            if number == 3:
                self.assertEqual(self.asked(PEER), (BATCH.pull, [PEER, 3, MOST_ROWS]))
        self.assertEqual(self.asked(PEER), (BATCH.reset, [8]))
