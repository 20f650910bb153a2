"""
Tests for L{sipxha.cdr.live}.
"""

from __future__ import annotations

import gc
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.live import MOST_ENDS, MOST_EVENTS, LiveCalls, live_calls
from sipxha.cdr.resolve import Limits
from tests.cdr import calls
from tests.support.made_calls import MadeHost, made_calls

LIMITS = Limits(max_call=1000.0, max_ringing=100.0)


def states(events: list[CallStateEvent], now: float) -> list[tuple[str, str]]:
    """
    Which calls there are.
    """
    return [(call.call_id, call.state) for call in live_calls(events, now, LIMITS)]


class JoinTests(SynchronousTestCase):
    """
    Tests for what the events of all nodes say.
    """

    def test_a_call_rings_is_talked_in_and_ends(self) -> None:
        """
        Whatever nodes saw it, and whoever hangs up.
        """
        seen = []
        for event, state in (
            (calls.requested(), ["ringing"]),
            (calls.set_up(), ["talking"]),
            (calls.ended_by_callee(), []),
        ):
            seen.append(event)
            self.assertEqual([call.state for call in live_calls(reversed(seen), 150.0, LIMITS)], state)

    def test_all_that_is_known_of_it_is_told(self) -> None:
        """
        Times as they were noted.
        """
        (call,) = live_calls([calls.requested(caller_internal=True), calls.set_up()], 150.0)
        self.assertEqual((call.caller_aor, call.callee_aor), (calls.ALICE, calls.BOB))
        self.assertEqual((call.start_time, call.connect_time), (100.0, 103.0))
        self.assertEqual((call.caller_contact, call.caller_transport), ("<sip:alice@10.1.1.7:5062>", "tcp"))
        self.assertEqual((call.callee_contact, call.callee_transport), ("<sip:bob@10.1.2.8:5060>", "udp"))
        self.assertEqual((call.caller_internal, call.observers), (True, (calls.FORK, calls.AUTH)))

    def test_one_leg_that_ended_does_not_end_the_call(self) -> None:
        """
        Two phones were picked up at once, and the caller let one go.
        """
        seen = [calls.requested(), calls.set_up(), calls.set_up(104.0, to_tag="c"), calls.ended(to_tag="c")]
        (call,) = live_calls(seen, 150.0)
        self.assertEqual((call.state, call.connect_time), ("talking", 103.0))

    def test_time_ends_what_nobody_saw_end(self) -> None:
        """
        As it does for records.
        """
        self.assertEqual(states([calls.requested()], 200.0), [("call-1@10.1.1.7", "ringing")])
        self.assertEqual(states([calls.requested()], 200.5), [])
        self.assertEqual(states([calls.set_up()], 1103.0), [("call-1@10.1.1.7", "talking")])
        self.assertEqual(states([calls.set_up()], 1103.5), [])

    def test_failures_and_challenges(self) -> None:
        """
        Who is asked for a password goes on.
        """
        self.assertEqual(states([calls.requested(), calls.failed(486)], 110.0), [])
        self.assertEqual(len(states([calls.requested(), calls.failed(407)], 110.0)), 1)

    def test_the_oldest_comes_first(self) -> None:
        """
        A call without a request by its answer.
        """
        seen = [
            calls.requested(105.0, call_id="b"),
            calls.set_up(103.0, call_id="a"),
            calls.requested(call_id="c"),
        ]
        self.assertEqual([call_id for call_id, _ in states(seen, 110.0)], ["c", "a", "b"])


class MemoryTests(SynchronousTestCase):
    """
    Tests for what a node remembers.
    """

    def setUp(self) -> None:
        """
        A node that has seen nothing.
        """
        self.live = LiveCalls(LIMITS, most=20)

    def take(self, *events: CallStateEvent) -> None:
        """
        It sees something.
        """
        for event in events:
            self.live.take(event)

    def test_what_is_over_is_forgotten_at_once(self) -> None:
        """
        Where all of it was seen here.
        """
        self.take(calls.requested(), calls.failed(486))
        self.take(calls.requested(), calls.set_up(), calls.set_up(104.0, to_tag="c"), calls.ended(to_tag="c"))
        self.assertEqual(len(self.live), 1)
        self.take(calls.ended_by_callee(250.0))
        self.assertEqual((len(self.live), self.live.told(260.0)), (0, []))

    def test_the_end_of_another_node_s_call_is_remembered(self) -> None:
        """
        Until that node no longer takes its request for a ringing call; also of a second try.
        """
        request = calls.requested()
        self.take(calls.set_up(), calls.ended(160.0))
        self.assertEqual(states([request, *self.live.told(170.0)], 170.0), [])
        self.assertEqual(states([request, *self.live.told(319.0)], 319.0), [])
        self.assertEqual((self.live.told(320.0), len(self.live)), ([], 0))
        self.assertEqual(states([request], 320.0), [])

    def test_an_end_that_is_heard_of_before_its_setup(self) -> None:
        """
        What the database knows of earlier comes later.
        """
        self.take(calls.ended(160.0), calls.requested(), calls.set_up())
        self.assertEqual(states(self.live.told(170.0), 170.0), [])

    def test_re_invites_cost_nothing(self) -> None:
        """
        However many.
        """
        self.take(calls.requested(), *(calls.set_up(103.0 + n, cseq=n) for n in range(100)))
        self.assertEqual(len(self.live.told(300.0)), MOST_EVENTS)
        self.take(*(calls.failed(488, 200.0 + n, cseq=n, via_count=2, branch_id="x") for n in range(100)))
        self.take(*(calls.ended(290.0, cseq=n, to_tag="c") for n in range(100)))
        self.assertEqual(len(self.live.told(300.0)), MOST_ENDS)
        self.live = LiveCalls(LIMITS)
        self.take(calls.requested(), *(calls.set_up(103.0 + n, cseq=n) for n in range(100)))
        self.take(calls.ended(300.0, cseq=200))
        self.assertEqual(len(self.live), 0)

    def test_calls_that_are_kept_are_nothing_to_the_garbage_collector(self) -> None:
        """
        Those that are talked in, and those that ended.
        """
        live = LiveCalls(LIMITS)
        gc.collect()
        before = len(gc.get_objects())
        for number in range(500):
            call_id = f"c{number}"
            live.take(calls.requested(call_id=call_id))
            live.take(calls.set_up(call_id=call_id))
            if number % 2:
                live.take(calls.ended(call_id=call_id))
        # Once for each layer of tuples.
        for _ in range(3):
            gc.collect()
        self.assertLess(len(gc.get_objects()) - before, 50)
        self.assertEqual((len(live), len(live.told(170.0))), (250, 1250))

    def test_a_flood_costs_the_oldest_their_place(self) -> None:
        """
        What is out of date goes first.
        """
        self.take(*(calls.requested(call_id=f"old {n}") for n in range(5)))
        self.take(*(calls.requested(1050.0, call_id=f"{n}") for n in range(15)))
        self.take(calls.requested(1200.0, call_id="new"))
        self.assertEqual((len(self.live), self.live.forgotten), (16, 0))
        self.take(*(calls.requested(1201.0, call_id=f"more {n}") for n in range(30)))
        self.assertLessEqual(len(self.live), 20)
        self.assertGreater(self.live.forgotten, 0)
        self.assertIn("more 29", [event.call_id for event in self.live.told(1201.0)])

    @given(st.integers(0, 1 << 30), st.floats(0, 400))
    def test_what_nodes_keep_is_all_that_matters(self, seed: int, later: float) -> None:
        """
        To join what they remember gives the same as to join all that happened.
        """
        hosts = MadeHost("10.1.1.50"), MadeHost("10.1.2.50")
        events = {one.event for call in made_calls(Random(seed), 20, hosts, rate=1.0) for one in call.seen}
        seen = sorted(events, key=lambda event: event.event_time)
        now = seen[0].event_time + later
        nodes = {host.address: LiveCalls() for host in hosts}
        happened = [event for event in seen if event.event_time <= now]
        for event in happened:
            nodes[event.observer.partition(":")[0]].take(event)
        told = [event for node in nodes.values() for event in node.told(now)]
        everything = live_calls(happened, now)
        self.assertEqual(
            [(call.call_id, call.state) for call in live_calls(told, now)],
            [(call.call_id, call.state) for call in everything],
        )
