"""
Tests for what must hold of a cluster, whatever happened to it (design 5.8).
"""

from __future__ import annotations

from itertools import product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sync.dialects import Spoken
from sipxha.sync.link import State
from tests.simulation.cluster import Cluster, Phone
from tests.simulation.histories import BY_NUMBERS, twice_lost
from tests.simulation.mutations import NO_DIGESTS, broken
from tests.simulation.schedules import (
    Crash,
    Cut,
    Register,
    Restart,
    Step,
    Wait,
    ages,
    outcome,
    schedules,
)

_PATIENT = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


def _age(spoken: Spoken) -> int:
    """
    How old a node is that speaks this.
    """
    return -len(spoken)


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

    def test_a_node_that_lost_its_disk_and_died_again_gets_everything_back(self) -> None:
        """
        Although its newest number is above all that it lacks: digests tell.
        """
        cluster = twice_lost()
        self.healthy(cluster)
        self.assertEqual(len(cluster.promised), 6)
        self.assertEqual(
            cluster.repairs, ["sipx1.example.com pulled all of sipx1.example.com from sipx2.example.com"]
        )

    def test_without_digests_it_gets_everything_back_too(self) -> None:
        """
        Old dialects cannot compare, so all rows are pulled.
        """
        for pair in product((0, 1, 2), repeat=2):
            cluster = twice_lost(ages(pair))
            self.healthy(cluster)
            self.assertEqual(len(cluster.promised), 6)

    def test_what_only_an_old_peer_kept_is_not_lost(self) -> None:
        """
        Two disks of three are lost, and the node that wrote the row dies
        again after it served and before it heard of the third, which has no
        digests.  Found by the simulator as SEED=3678208161, 50 steps long.
        """
        steps: list[Step] = [
            Register(0, 0, 3600, 1, False),
            Wait(0.3),
            Cut(0, 2, True),
            Crash(1, "lost"),
            Crash(0, "lost"),
            Restart(0, None),
            Wait(40.0),
            Register(0, 0, 3600, 0, False),
            Wait(0.02),
            Crash(0, "kept"),
        ]
        for spoken in product((0, 1, 2), repeat=3):
            self.assertEqual(outcome(3, steps, 0, ages(spoken)), [], spoken)

    def test_an_old_copy_of_a_lost_disk_does_no_harm(self) -> None:
        """
        Put back after a life that began without a disk and without the peer.
        """
        cluster = self.pair()
        cluster.nodes[0].register(Phone(1).registration(3600))
        cluster.advance(1)
        copy = dict(cluster.nodes[0].disk)
        cluster.nodes[0].register(Phone(2).registration(3600))
        cluster.advance(1)
        cluster.partition(0, 1)
        cluster.crash(0, disk={})
        cluster.nodes[0].start()
        cluster.advance(25)
        cluster.nodes[0].register(Phone(3).registration(3600))
        cluster.advance(1)
        cluster.crash(0, disk=copy)
        cluster.heal()
        self.healthy(cluster)
        self.assertEqual(len(cluster.promised), 2)

    def test_a_push_that_overtook_its_commit_survives_the_crash(self) -> None:
        """
        The peer has what the primary lost, and gives it back.
        """
        cluster = self.pair()
        one, two = cluster.nodes
        one.register(Phone(2).registration(3600))
        cluster.advance(1)
        one.commit_time = 100.0
        one.register(Phone(1).registration(3600))
        cluster.advance(0.3)
        self.assertEqual((len(one.disk), len(two.disk), len(cluster.promised)), (1, 2, 1))
        cluster.crash(0)
        one.commit_time = 0.01
        one.start()
        cluster.advance(2)
        self.healthy(cluster)
        self.assertEqual(len(one.registry.current("1@example.com", cluster.now)), 1)

    def test_numbers_alone_bring_every_row_where_no_disk_is_lost(self) -> None:
        """
        Whatever crashed, or overtook what.
        """
        with broken(NO_DIGESTS):
            for happened in BY_NUMBERS:
                self.healthy(happened())

    def test_what_a_peer_acknowledged_survives_the_loss_of_a_server(self) -> None:
        """
        As a REGISTER that waited for it, with acknowledge="peer".
        """
        cluster = self.pair()
        one, two = cluster.nodes
        one.register(Phone(1).registration(3600))
        while one.acknowledged < one.registry.update_number:
            cluster.advance(0.001)
        cluster.crash(0, disk={})
        cluster.crash(1)
        cluster.heal()
        self.healthy(cluster)
        self.assertEqual(len(two.registry.current("1@example.com", cluster.now)), 1)

    def test_an_idle_peer_that_died_is_noticed(self) -> None:
        """
        Without anybody who registers, within a minute and the silence that a call endures.
        """
        for spoken in ages((0, 1, 2)):
            cluster = Cluster(2)
            for node in cluster.nodes:
                node.dialects = spoken
            cluster.start()
            cluster.advance(2)
            self.healthy(cluster)
            cluster.partition(0, 1)
            cluster.advance(65)
            states = [link.state for node in cluster.nodes for link in node.engine.links.values()]
            self.assertEqual(states, [State.UNREACHABLE] * 2)

    def test_nodes_of_different_ages_understand_each_other(self) -> None:
        """
        All nine pairs.
        """
        for pair in product((0, 1, 2), repeat=2):
            cluster = Cluster(2)
            for node, spoken in zip(cluster.nodes, ages(pair), strict=True):
                node.dialects = spoken
            cluster.start()
            cluster.advance(2)
            for user in range(10):
                cluster.nodes[user % 2].register(Phone(user).registration(3600))
            cluster.advance(2)
            self.healthy(cluster)
            self.assertEqual(len(cluster.promised), 10)
            for node, spoken in zip(cluster.nodes, reversed(ages(pair)), strict=True):
                (link,) = node.engine.links.values()
                self.assertIs(link.spoken, max(spoken, node.dialects, key=_age)[0], pair)

    def test_a_rolling_upgrade_and_back_loses_no_row(self) -> None:
        """
        Old, new, and old again, one node after the other, while phones register.
        """
        cluster = Cluster(3)
        for node in cluster.nodes:
            (node.dialects,) = ages((1,))
        cluster.start()
        cluster.advance(2)
        user = 0
        for (spoken,) in (ages((0,)), ages((1,)), ages((2,)), ages((0,))):
            for place, node in enumerate(cluster.nodes):
                for _ in range(4):
                    cluster.nodes[(place + 1 + user % 2) % 3].register(Phone(user).registration(3600))
                    user += 1
                    cluster.advance(0.05)
                cluster.crash(place)
                cluster.advance(1)
                node.dialects = spoken
                node.start()
                cluster.advance(4)
        cluster.heal()
        self.healthy(cluster)
        self.assertEqual(len(cluster.promised), user)

    @settings(_PATIENT, max_examples=40)
    @given(schedules(3), st.integers(0, 1 << 32), st.lists(st.integers(0, 2), min_size=3, max_size=3))
    def test_nodes_of_different_ages_converge(self, steps: list[Step], seed: int, places: list[int]) -> None:
        """
        Whatever happened.
        """
        self.assertEqual(outcome(3, steps, seed, ages(places)), [])

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
