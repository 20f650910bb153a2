"""
Tests for L{sipxha.sync.healing}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.digest import NOTHING, Digest, horizon
from sipxha.registry.table import Registry
from sipxha.sync import effects as fx
from sipxha.sync import rpc
from sipxha.sync.batch import BATCH
from sipxha.sync.dialects import DIALECTS
from sipxha.sync.healing import AGAIN, INTERVAL, PAUSE, SELDOM, digest_answer, digest_answered
from sipxha.sync.link import State
from sipxha.sync.structs import MEMO, SIPX
from sipxha.sync.wire import I8, Value
from tests.support.bindings import a_row
from tests.sync.engine import ME, NOW, PEER, PULL, PUSH, RESET, THIRD, EngineCase

ROW = a_row(primary=PEER, update_number=7, expires=int(NOW) + 60, deadline=NOW + 60)

EMPTY: dict[str, Value] = {"num_updates": 0, "updates": []}


class ComparisonTests(EngineCase):
    """
    Tests for nodes that compare.
    """

    dialects = DIALECTS

    def setUp(self) -> None:
        super().setUp()
        self.theirs = Registry(PEER, 7200)

    def serve(self, peer: str = PEER) -> str:
        """
        Answer the open call as a peer with other rows would.

        @return: What was asked, and of whom.
        """
        call = self.open_calls[peer]
        asked = BATCH.read_call(call.method, call.params, self.now)
        value: Value
        if isinstance(asked, rpc.Ask):
            self.assertEqual(asked.horizon, horizon(self.now, 7200))
            value = digest_answer(self.theirs.digest(asked.primary, asked.horizon))
        elif isinstance(asked, rpc.Pull):
            rows = self.theirs.rows_after(asked.primary, asked.number)
            number = rows[-1].update_number if rows else asked.number
            value = {
                "updates": [BATCH.write_row(row, self.now) for row in rows],
                "updateNumber": I8(number),
                "more": False,
            }
        elif isinstance(asked, rpc.Push):
            value = I8(asked.rows[-1].update_number)
            self.theirs.apply(asked.rows, self.now)
        else:
            value = I8(self.theirs.largest_number(ME))
        self.answer(peer, value)
        primary = getattr(asked, "primary", "")
        return f"{type(asked).__name__} {primary}".strip()

    def served(self) -> list[str]:
        """
        All that is asked one after the other.
        """
        return list(iter(lambda: self.serve() if PEER in self.open_calls else "", ""))

    def starting(self, *peers: str) -> None:
        """
        An engine that has compared for the first time.
        """
        self.make(*peers)
        self.served()
        self.effects.clear()

    def test_nodes_compare_after_a_reset_and_each_minute(self) -> None:
        """
        Own rows, the peer's, and those of a node that nobody reaches.
        """
        self.make(PEER, THIRD)
        self.fail_call(THIRD)
        pulls = [f"Pull {name}" for name in (ME, PEER, THIRD)]
        asks = [f"Ask {name}" for name in (ME, PEER, THIRD)]
        self.assertEqual(self.served(), [*pulls, "Reset", f"Pull {THIRD}", *asks])
        self.pass_time(INTERVAL - 1)
        self.assertEqual(self.served(), [])
        self.pass_time(2)
        self.assertEqual(self.served(), asks)

    def test_rows_that_differ_twice_alike_are_pulled_whole(self) -> None:
        """
        And the log says so.
        """
        self.starting(PEER)
        self.theirs.apply([ROW], self.now)
        self.pass_time(INTERVAL)
        self.assertEqual(self.served(), [f"Ask {ME}", f"Ask {PEER}"])
        self.assertEqual(self.all(fx.Diverged), [])
        self.pass_time(AGAIN)
        self.assertEqual(self.served(), [f"Ask {ME}", f"Ask {PEER}", f"Pull {PEER}"])
        self.assertEqual(self.only(fx.Diverged), fx.Diverged(PEER, PEER, 0, 1))
        self.assertEqual(self.only(fx.Store).rows, [ROW])
        self.pass_time(2 * AGAIN)
        self.assertEqual(self.served(), [f"Ask {ME}", f"Ask {PEER}"])
        self.pass_time(10 * AGAIN)
        self.assertEqual(self.served(), [])

    def test_own_rows_that_only_a_peer_has_come_back_under_new_numbers(self) -> None:
        """
        Whoever else lacks them receives them.
        """
        self.starting(PEER)
        self.theirs.apply([ROW._replace(primary=ME)], self.now)
        self.pass_time(INTERVAL)
        self.served()
        self.pass_time(AGAIN)
        self.assertEqual(self.serve(), f"Ask {ME}")
        self.assertEqual(self.serve(), f"Pull {ME}")
        self.assertEqual(self.only(fx.Store).rows[0].update_number, self.registry.update_number)

    def test_what_is_under_way_is_no_difference(self) -> None:
        """
        It differs otherwise the next time.
        """
        self.starting(PEER)
        for number in range(8, 12):
            self.theirs.apply([ROW._replace(update_number=number, cseq=number)], self.now)
            self.pass_time(INTERVAL if number == 8 else AGAIN)
            self.assertEqual(self.served(), [f"Ask {ME}", f"Ask {PEER}"])
        self.assertEqual(self.all(fx.Diverged), [])

    def test_what_cannot_be_repaired_is_not_pulled_all_the_time(self) -> None:
        """
        Once a minute at most.
        """
        self.starting(PEER)
        self.registry.apply([ROW], self.now)
        self.pass_time(INTERVAL)
        asked: list[str] = []
        for _ in range(130):
            asked += self.served()
            self.pass_time(AGAIN)
        self.assertEqual(asked.count(f"Pull {PEER}"), 3)

    def test_a_digest_comes_after_what_is_to_push(self) -> None:
        """
        While there is something to push the peer lacks it.
        """
        self.starting(PEER)
        self.pass_time(INTERVAL - 0.5)
        self.register()
        self.pass_time(AGAIN)
        self.assertEqual(self.serve(), "Push")
        self.assertEqual(self.serve(), f"Ask {ME}")

    def test_a_check_that_fails_makes_the_peer_unreachable(self) -> None:
        """
        Without anybody who registers.
        """
        self.starting(PEER)
        self.pass_time(INTERVAL)
        self.fail_call(PEER, "no answer within 3 seconds")
        self.assertEqual(self.state(), State.UNREACHABLE)

    def test_peers_are_answered(self) -> None:
        """
        An UnReachable one that asks is there again.
        """
        self.starting(PEER)
        self.registry.apply([ROW], self.now)
        self.pass_time(INTERVAL)
        self.fail_call(PEER)
        self.receive(BATCH.digest, PEER, PEER, I8(0))
        answer = self.only(fx.Answer).value
        self.assertEqual(digest_answered(answer), self.registry.digest(PEER, 0))
        self.assertEqual(self.open_calls[PEER].method, BATCH.reset)

    def test_an_answer_that_is_no_digest_makes_the_peer_incompatible(self) -> None:
        """
        As any answer that is none.
        """
        self.starting(PEER)
        self.pass_time(INTERVAL)
        self.answer(PEER, I8(5))
        self.assertEqual(self.state(), State.INCOMPATIBLE)


class WithoutDigestsTests(EngineCase):
    """
    Tests for peers that know no digests.
    """

    def served(self) -> list[list[Any]]:
        """
        Answer pulls as a peer that has nothing, until something else is asked or nothing.

        @return: Which primary was asked for, and from which number on.
        """
        asked = []
        while PEER in self.open_calls and self.asked(PEER)[0] == PULL:
            asked.append(self.asked(PEER)[1])
            self.answer(PEER, [])
        return asked

    def reset(self) -> None:
        """
        The peer resets us.
        """
        self.receive(RESET, PEER, I8(0))

    def test_all_rows_are_pulled_after_a_reset(self) -> None:
        """
        Own rows, the peer's, and those of a node that nobody reaches.
        """
        self.make(PEER, THIRD, rows=(a_row(primary=ME, update_number=5), ROW._replace(callid="2")))
        self.fail_call(THIRD)
        self.assertEqual(self.served(), [[ME, 5], [PEER, 7], [THIRD, 0]])
        self.answer(PEER, I8(5))
        self.assertEqual(self.served(), [[THIRD, 0], [ME, 0], [PEER, 0], [THIRD, 0]])
        self.pass_time(INTERVAL)
        self.assertEqual(self.served(), [[PEER, 7]], "only its news")

    def test_own_rows_that_only_such_a_peer_has_come_back(self) -> None:
        """
        Although the store had greater numbers; whoever else lacks them receives them.
        """
        self.make(PEER, rows=(a_row(primary=ME, update_number=5),))
        self.served()
        self.answer(PEER, I8(5))
        self.assertEqual(self.asked(PEER), (PULL, [ME, 0]))
        self.answer(PEER, [a_row(primary=ME, update_number=3, callid="2", cseq=9)])
        (row,) = self.only(fx.Store).rows
        self.assertEqual((row.callid, row.update_number), ("2", self.registry.update_number))
        self.assertEqual(self.asked(PEER), (PUSH, [5, self.pushed(row)]))

    def test_resets_that_come_often_bring_no_more_than_one_such_pull(self) -> None:
        """
        In half a minute; it is made up for then.
        """
        self.operating(PEER)
        asked: list[list[Any]] = []
        for _ in range(60):
            self.reset()
            asked += self.served()
            self.pass_time(1)
        self.assertEqual(asked.count([ME, 0]), 1)
        self.pass_time(PAUSE)
        self.assertEqual(self.served(), [[ME, 0], [PEER, 0]])

    def test_what_a_reset_interrupts_begins_again(self) -> None:
        """
        What was pulled before it may have come from another disk.
        """
        self.operating(PEER)
        self.pass_time(PAUSE)
        self.reset()
        self.answer(PEER, [])
        self.assertEqual(self.asked(PEER), (PULL, [PEER, 0]))
        self.reset()
        self.answer(PEER, [])
        self.assertEqual(self.served(), [[PEER, 0]], "its news")
        self.pass_time(PAUSE + 1)
        self.assertEqual(self.served(), [[ME, 0], [PEER, 0]])

    def test_a_pull_of_all_that_fails_is_repeated(self) -> None:
        """
        After the next reset, and half a minute after it began.
        """
        self.operating(PEER)
        self.pass_time(PAUSE)
        self.reset()
        self.answer(PEER, [])
        self.fail_call(PEER)
        self.reset()
        self.assertEqual(self.served(), [[PEER, 0]], "its news")
        self.pass_time(PAUSE + 1)
        self.assertEqual(self.served(), [[ME, 0], [PEER, 0]])

    def test_a_dialect_that_is_not_known_yet_delays_nothing(self) -> None:
        """
        The peer's reset overtakes ours, which is still looking for words that the peer knows.
        """
        self.dialects = DIALECTS
        self.make(PEER)
        asked = []
        for _ in range(12):
            method, params = self.asked(PEER)
            asked.append(method)
            if method == BATCH.reset:
                self.receive(SIPX.reset, PEER, I8(0))
            if method in SIPX.methods:
                self.take(self.engine.call_answered(self.open_calls.pop(PEER).id, EMPTY, self.now))
            else:
                id = self.open_calls.pop(PEER).id
                self.take(self.engine.call_failed(id, "fault -3", self.now, rpc.UNKNOWN_METHOD))
            if PEER not in self.open_calls:
                break
        self.assertEqual(asked[-3:], [SIPX.pull] * 3, "its news, and all of both")
        self.assertIn(MEMO.pull, asked[-5:-3])
        self.assertEqual(params, [PEER, 0])

    def test_all_rows_are_pulled_now_and_then(self) -> None:
        """
        Without a reset.
        """
        self.operating(PEER)
        asked: list[list[Any]] = []
        for _ in range(int(2 * SELDOM / INTERVAL) + 2):
            self.pass_time(INTERVAL)
            asked += self.served()
        self.assertEqual(asked.count([ME, 0]), 2)


class DigestTests(SynchronousTestCase):
    """
    Tests for digests on their way.
    """

    def test_a_digest_comes_back_as_it_went(self) -> None:
        """
        With all its zeros.
        """
        for digest in (NOTHING, Digest(5, 1), Digest(1 << 20, (1 << 128) - 1)):
            self.assertEqual(digest_answered(digest_answer(digest)), digest)

    def test_what_is_none_is_malformed(self) -> None:
        """
        Whatever is wrong with it.
        """
        good = digest_answer(NOTHING)
        bad: list[Any] = [None, 5, {}, {**good, "rows": -1}, {**good, "rows": "5"}, {**good, "rows": True}]
        bad += [{**good, "digest": text} for text in (5, "", "0" * 31, "x" * 32)]
        for value in bad:
            self.assertRaises(rpc.Malformed, digest_answered, value)
