"""
Tests for L{sipxha.services.overview}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.registry.table import Registry
from sipxha.services.overview import Overview
from sipxha.sync.link import State
from tests.support.bindings import a_row

NOW = 1_800_000_000.0

ROW = a_row(
    uri="<sip:200@example.com>",
    identity="200@example.com",
    contact="<sip:200@10.9.9.9>",
    callid="a",
    cseq=1,
    expires=int(NOW) + 60,
    received="udp:10.9.9.9:5060",
    update_number=7,
)


class FakeReplication:
    """
    Two peers, in the states that a test gives them.
    """

    unacknowledged = 3

    def __init__(self, *states: str) -> None:
        self._states = states

    def states(self) -> dict[str, State]:
        """
        The peers.
        """
        return {f"peer{number}": State(state) for number, state in enumerate(self._states, 1)}

    def disagreement(self) -> dict[str, list[str]]:
        """
        The second has a secret of its own.
        """
        return {"peer2": ["secret"]} if len(self._states) > 2 else {}


class FakeTrouble:
    """
    A store that cannot write, and a call log with something to say.
    """

    degraded = True
    path = Path("registry.sqlite")

    def trouble(self) -> str:
        """
        What the call log says.
        """
        return "call events wait"


class FakeEndpoint:
    """
    An endpoint with work to do.
    """

    def __init__(self, name: str, transactions: int) -> None:
        self.name = name
        self.transactions = transactions


class OverviewTests(SynchronousTestCase):
    """
    Tests for what is said of a node.
    """

    def setUp(self) -> None:
        """
        Make the overview of a node that has no parts yet.
        """
        folder = Path(self.mktemp())
        make_cluster(
            folder, Cluster("example.com", [Server("sipx1.example.com", "127.0.0.1")], embedded=True)
        )
        self.overview = Overview(load(folder / "sipx1.example.com" / "sipxha.xml"), lambda: NOW, started=NOW)

    def test_a_node_without_parts_can_be_shown(self) -> None:
        """
        It is what an operator sees of one that hangs.
        """
        status = self.overview.status()
        self.assertEqual(
            (status["ready"], status["degraded"], status["trouble"], status["started"]),
            (False, False, None, "2027-01-15T08:00:00Z"),
        )
        self.assertEqual((list(self.overview.registrations(None)), self.overview.peers()), ([], []))

    def test_registrations_are_found_by_user_with_or_without_the_domain(self) -> None:
        """
        The columns are those of the registry; the deadline is nobody's business.
        """
        self.overview.registry = Registry("sipx1.example.com", 7200)
        self.overview.registry.apply([ROW], NOW)
        expected = {**ROW._asdict(), "expires": "2027-01-15T08:01:00Z"}
        del expected["deadline"]
        for user in (None, "200", "200@example.com"):
            self.assertEqual(list(self.overview.registrations(user)), [expected])
        for user in ("201", "200@example.org"):
            self.assertEqual(list(self.overview.registrations(user)), [])
        self.assertEqual(self.overview.status()["registrations"], 1)

    def test_every_service_has_its_live_transactions(self) -> None:
        """
        None before SIP is open.
        """
        self.assertEqual(self.overview.status()["transactions"], {})
        self.overview.endpoints = cast(Any, [FakeEndpoint("proxy", 3), FakeEndpoint("registrar", 0)])
        self.assertEqual(self.overview.status()["transactions"], {"proxy": 3, "registrar": 0})

    def test_a_peer_that_is_lost_is_a_trouble_one_that_comes_is_not(self) -> None:
        """
        A node that has just started greets its peers first.
        """
        for states, trouble in (
            (("Reachable", "Uninitialized"), None),
            (("Reachable", "UnReachable"), "peer2 is UnReachable"),
            (("Incompatible", "UnReachable"), "peer1 is Incompatible; peer2 is UnReachable"),
        ):
            self.overview.replication = cast(Any, FakeReplication(*states))
            status = self.overview.status()
            self.assertEqual((status["degraded"], status["trouble"]), (trouble is not None, trouble))
            self.assertEqual((status["peers"], status["peers_reachable"]), (2, states.count("Reachable")))

    def test_a_peer_that_has_not_come_when_sip_opens_is_a_trouble(self) -> None:
        """
        Then the node serves without it.
        """
        self.overview.replication = cast(Any, FakeReplication("Reachable", "Uninitialized"))
        self.overview.is_ready = True
        self.assertEqual(self.overview.status()["trouble"], "peer2 is Uninitialized")

    def test_a_peer_that_has_not_the_same_is_a_trouble(self) -> None:
        """
        It is named, and what differs.
        """
        self.overview.replication = cast(Any, FakeReplication("Reachable", "Reachable", "Reachable"))
        self.assertEqual(self.overview.status()["trouble"], "peer2 has not the same as we have: secret")

    def test_disk_and_database_are_troubles_too(self) -> None:
        """
        All that is wrong is said at once.
        """
        self.overview.store = cast(Any, FakeTrouble())
        self.overview.call_log = cast(Any, FakeTrouble())
        self.assertTrue(self.overview.is_degraded)
        self.assertEqual(
            self.overview.status()["trouble"], "registry.sqlite cannot be written; call events wait"
        )
