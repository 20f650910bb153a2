"""
Histories that schedules of chance meet too seldom, told step by step.

Each ends when its faults have: what the cluster must be like then is for the
tests to say, with and without digests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sipxha.sync.dialects import Spoken
from sipxha.sync.link import State
from tests.simulation.cluster import Cluster, Phone


def twice_lost(ages: Sequence[Spoken] = ()) -> Cluster:
    """
    A node that lost its disk, served without its peer, and died before it
    heard of what it had lost: its newest number does not tell that it has
    not all below.

    @param ages: What each of the two speaks.
    """
    cluster = Cluster(2)
    for node, dialects in zip(cluster.nodes, ages, strict=False):
        node.dialects = dialects
    cluster.start()
    cluster.advance(2)
    for user in range(5):
        cluster.nodes[0].register(Phone(user).registration(3600))
    cluster.advance(1)
    cluster.partition(0, 1)
    cluster.crash(0, disk={})
    cluster.nodes[0].start()
    cluster.advance(25)
    cluster.nodes[0].register(Phone(9).registration(3600))
    cluster.advance(1)
    cluster.crash(0)
    cluster.heal()
    return cluster


def never_committed() -> Cluster:
    """
    A node that died between the push and the commit of a row, and served
    without its peer: the peer holds a number that the disk does not show.
    """
    cluster = Cluster(2)
    one = cluster.nodes[0]
    cluster.start()
    cluster.advance(2)
    one.commit_time = 1000.0
    one.register(Phone(1).registration(3600))
    cluster.advance(0.3)
    cluster.partition(0, 1)
    cluster.crash(0)
    one.commit_time = 0.01
    one.start()
    cluster.advance(25)
    one.register(Phone(2).registration(3600))
    cluster.advance(1)
    cluster.heal()
    return cluster


def given_up() -> Cluster:
    """
    A row was replaced while the peer was cut off, and the node died when it
    had pushed what came between the two, and before the new one was on disk:
    then the old one is there again, below what the peer has been told.
    """
    cluster = Cluster(2)
    one, two = cluster.nodes
    cluster.start()
    cluster.advance(2)
    cluster.partition(0, 1)
    phones = [Phone(user) for user in range(3)]
    for phone in phones:
        one.register(phone.registration(3600))
    last = one.registry.update_number
    cluster.advance(5)
    one.commit_time = 1000.0
    one.register(phones[0].registration(3600))
    cluster.cut.clear()
    for _ in range(5000):
        if two.engine.links[one.name].received == last:
            break
        cluster.advance(0.001)
    cluster.crash(0)
    one.commit_time = 0.01
    cluster.heal()
    return cluster


def overtaken() -> Cluster:
    """
    A push is refused, for its sender is not Reachable, and the next one, which
    is under way already, comes when the reset that this entails is.
    """
    cluster = Cluster(2)
    one, two = cluster.nodes
    cluster.start()
    cluster.advance(2)
    cluster.partition(1, 0, both=False)
    two.register(Phone(0).registration(3600))
    while two.engine.links[one.name].state is State.REACHABLE:
        cluster.advance(0.1)
    one.register(Phone(1).registration(3600))
    one.register(Phone(2).registration(3600))
    cluster.advance(0.1)
    cluster.heal()
    return cluster


def crowded() -> Cluster:
    """
    Updates come faster than they are answered, and nothing fails: no peer may
    be lost, for what would be told at the next reset is late.
    """
    cluster = Cluster(2)
    one, two = cluster.nodes
    cluster.start()
    cluster.advance(2)
    for node in cluster.nodes:
        node.changes.clear()
    for user in range(40):
        cluster.nodes[user % 4 // 3].register(Phone(user).registration(3600))
        cluster.advance(0.003)
    cluster.advance(0.5)
    cluster.broken += one.changes + two.changes
    return cluster


BY_NUMBERS: tuple[Callable[[], Cluster], ...] = (never_committed, given_up, overtaken, crowded)
"""No disk is lost in these, so numbers must do."""
