"""
Tests for what must hold of a cluster, whatever happened to it (design 5.8).
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.cluster import Cluster, Phone
from tests.simulation.schedules import Step, outcome, schedules

_PATIENT = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


class ClusterTests(SynchronousTestCase):
    """
    Tests for clusters of real engines and registries.
    """

    def healthy(self, cluster: Cluster) -> None:
        self.assertEqual(cluster.differences(), [])

    def pair(self, size: int = 2) -> Cluster:
        cluster = Cluster(size)
        cluster.start()
        cluster.advance(2)
        self.healthy(cluster)
        return cluster

    def test_nodes_that_start_together_find_each_other(self) -> None:
        """
        Neither refuses the other while both are starting.
        """
        self.pair(2)
        self.pair(3)

    def test_a_registration_is_seen_everywhere(self) -> None:
        """
        What one node acknowledged, all nodes hold a moment later.
        """
        cluster = self.pair(3)
        cluster.nodes[0].register(Phone(1).registration(3600))
        cluster.advance(0.2)
        self.healthy(cluster)
        self.assertEqual(len(cluster.promised), 1)
        self.assertEqual(len(cluster.nodes[2].registry.current("1@example.com", cluster.now)), 1)

    def test_a_node_that_lost_its_disk_gets_everything_back(self) -> None:
        """
        Own rows and the peer's rows come by pull.
        """
        cluster = self.pair()
        for user in range(20):
            cluster.nodes[user % 2].register(Phone(user).registration(3600))
        cluster.advance(1)
        cluster.crash(0, disk={})
        cluster.advance(1)
        cluster.nodes[0].start()
        cluster.advance(1)
        self.assertEqual(len(cluster.promised), 20)
        self.healthy(cluster)

    def test_updates_on_both_sides_of_a_partition_meet(self) -> None:
        """
        After the link is back both sides have both halves, soon.
        """
        cluster = self.pair()
        cluster.partition(0, 1)
        for user in range(10):
            cluster.nodes[user % 2].register(Phone(user).registration(3600))
        cluster.advance(20)
        cluster.cut.clear()
        cluster.advance(32)
        self.assertEqual(len(cluster.promised), 10)
        self.healthy(cluster)

    def test_the_survivors_agree_when_a_node_dies_in_the_middle(self) -> None:
        """
        An update that only one of two survivors received reaches the other.
        """
        cluster = self.pair(3)
        cluster.partition(0, 2)
        cluster.nodes[0].register(Phone(1).registration(3600))
        cluster.advance(0.5)
        cluster.crash(0)
        cluster.nodes[2].register(Phone(2).registration(3600))
        cluster.advance(5)
        self.assertEqual(len(cluster.nodes[2].registry.current("1@example.com", cluster.now)), 1)

    def test_a_clock_that_was_set_back_hides_no_update(self) -> None:
        """
        Numbers rise above what a peer holds of an earlier life.
        """
        cluster = self.pair()
        cluster.nodes[0].register(Phone(1).registration(3600))
        cluster.advance(1)
        cluster.partition(0, 1)
        cluster.crash(0, disk={})
        cluster.nodes[0].skew = -600
        cluster.nodes[0].start()
        cluster.advance(25)
        cluster.nodes[0].register(Phone(2).registration(3600))
        cluster.advance(1)
        cluster.heal()
        self.healthy(cluster)
        self.assertEqual(len(cluster.promised), 2)

    def test_a_dead_peer_holds_the_start_up_no_longer_than_its_time_outs(self) -> None:
        """
        A node whose peer is dead serves at once, or after one time-out.
        """
        cluster = Cluster(2)
        cluster.nodes[0].start()
        cluster.advance(0.1)
        self.assertTrue(cluster.nodes[0].is_open)
        cluster = Cluster(2)
        cluster.partition(0, 1)
        cluster.start()
        cluster.advance(3.1)
        self.assertTrue(cluster.nodes[0].is_open)

    @settings(_PATIENT, max_examples=60)
    @given(schedules(2), st.integers(0, 1 << 32))
    def test_two_nodes_converge_whatever_happened(self, steps: list[Step], seed: int) -> None:
        """
        After the faults end, two nodes are equal and nothing promised is lost.
        """
        self.assertEqual(outcome(2, steps, seed), [])

    @settings(_PATIENT, max_examples=60)
    @given(schedules(3), st.integers(0, 1 << 32))
    def test_three_nodes_converge_whatever_happened(self, steps: list[Step], seed: int) -> None:
        """
        After the faults end, three nodes are equal and nothing promised is lost.
        """
        self.assertEqual(outcome(3, steps, seed), [])
