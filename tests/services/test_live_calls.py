"""
Tests for L{sipxha.services.live_calls}; real nodes are in C{tests/system/test_calls.py}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.live import LiveCalls
from sipxha.net.rpc_client import CallFailed
from sipxha.services.live_calls import LIFE, PATIENCE, ClusterCalls
from sipxha.sync import rpc, wire
from tests.cdr import calls


class ClusterTests(SynchronousTestCase):
    """
    Tests for asking all nodes.
    """

    def setUp(self) -> None:
        """
        A node with peers that answer what a test wants.
        """
        self.clock = Clock()
        self.clock.advance(110.0)
        self.own = LiveCalls()
        self.answers: dict[str, Deferred[list[CallStateEvent]]] = {}
        self.asked: list[str] = []
        self.cluster = ClusterCalls(self.clock, self.own, lambda: self.answers, self.ask)

    def ask(self, name: str) -> Deferred[list[CallStateEvent]]:
        """
        Ask a peer.
        """
        self.asked.append(name)
        return self.answers[name]

    def test_what_all_nodes_saw_is_joined(self) -> None:
        """
        The request here, the answer there.
        """
        self.own.take(calls.requested())
        self.answers["b"] = succeed([calls.set_up(), calls.requested(105.0, call_id="other")])
        told = self.successResultOf(self.cluster.tell())
        self.assertEqual(told["missing"], {})
        first, second = told["calls"]
        self.assertEqual((first["state"], first["duration"]), ("talking", 7.0))
        self.assertEqual(first["start_time"], "1970-01-01T00:01:40.000Z")
        self.assertEqual((second["call_id"], second["state"], second["duration"]), ("other", "ringing", None))

    def test_who_does_not_tell_is_missing(self) -> None:
        """
        With the reason, and after a moment.
        """
        silent: Deferred[Any] = Deferred()
        self.answers = {
            "old": fail(wire.Fault(rpc.UNKNOWN_METHOD, "Method has not been registered")),
            "dead": fail(CallFailed("connection refused")),
            "silent": silent,
            "good": succeed([calls.requested()]),
        }
        told = self.cluster.tell()
        self.assertNoResult(told)
        self.clock.advance(PATIENCE)
        answer = self.successResultOf(told)
        self.assertEqual(len(answer["calls"]), 1)
        self.assertEqual(
            answer["missing"],
            {
                "old": "it is older than this node",
                "dead": "connection refused",
                "silent": "no answer within 2 s",
            },
        )

    def test_peers_are_asked_once_in_a_second(self) -> None:
        """
        However many ask us, at once or one after the other.
        """
        late: Deferred[Any] = Deferred()
        self.answers["b"] = late
        asking = [self.cluster.tell() for _ in range(3)]
        late.callback([calls.requested()])
        for each in asking:
            self.assertEqual(len(self.successResultOf(each)["calls"]), 1)
        self.successResultOf(self.cluster.tell())
        self.assertEqual(self.asked, ["b"])
        self.answers["b"] = succeed([])
        self.clock.advance(LIFE)
        self.assertEqual(self.successResultOf(self.cluster.tell())["calls"], [])
        self.assertEqual(self.asked, ["b", "b"])

    def test_a_fault_of_ours_reaches_who_asked(self) -> None:
        """
        And the next one asks anew.
        """
        self.answers["b"] = fail(KeyError("x"))
        self.failureResultOf(self.cluster.tell(), KeyError)
        self.answers["b"] = succeed([])
        self.assertEqual(self.successResultOf(self.cluster.tell())["calls"], [])

    def test_a_node_without_a_log_asks_the_others(self) -> None:
        """
        It has seen nothing itself.
        """
        cluster = ClusterCalls(self.clock, None, lambda: ["b"], lambda _: succeed([calls.requested()]))
        self.assertEqual(len(self.successResultOf(cluster.tell())["calls"]), 1)
