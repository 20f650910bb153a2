"""
What can happen to a cluster, as values that Hypothesis combines and shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from hypothesis import strategies as st

from sipxha.sync.dialects import Spoken
from tests.simulation.cluster import NEWEST, Cluster, Phone

USERS = 3


class Register(NamedTuple):
    """
    A phone registers, or ends what it registered.
    """

    node: int
    user: int
    expires: int
    line: int
    remove_all: bool


class Reboot(NamedTuple):
    """
    A phone begins with another Call-ID.
    """

    user: int


class Cut(NamedTuple):
    """
    A link fails, in one or both directions.
    """

    source: int
    target: int
    both: bool


class Mend(NamedTuple):
    """
    All links work again.
    """


class Crash(NamedTuple):
    """
    A node dies; its disk stays, is lost, or is the last snapshot.
    """

    node: int
    disk: str


class Snapshot(NamedTuple):
    """
    A node's disk is copied for later.
    """

    node: int


class Restart(NamedTuple):
    """
    A dead node starts, maybe with its clock set otherwise.
    """

    node: int
    skew: float | None


class Weather(NamedTuple):
    """
    How often messages are lost or doubled.
    """

    loss: float
    doubling: float


class Wait(NamedTuple):
    """
    Time passes.
    """

    seconds: float


Step: TypeAlias = Register | Reboot | Cut | Mend | Crash | Snapshot | Restart | Weather | Wait


def schedules(size: int, most: int = 40) -> st.SearchStrategy[list[Step]]:
    """
    Lists of steps for a cluster of C{size}.
    """
    node = st.integers(0, size - 1)
    user = st.integers(0, USERS - 1)
    register = st.builds(
        Register,
        node,
        user,
        st.sampled_from([0, 60, 3600]),
        st.integers(0, 1),
        st.sampled_from([False] * 7 + [True]),
    )
    wait = st.builds(Wait, st.sampled_from([0.001, 0.02, 0.3, 2.0, 40.0]))
    restart = st.builds(Restart, node, st.sampled_from([None] * 8 + [-600.0, 0.0, 600.0]))
    crash = st.builds(Crash, node, st.sampled_from(["kept", "lost", "snapshot"]))
    weather = st.builds(Weather, st.sampled_from([0.0, 0.1, 0.4]), st.sampled_from([0.0, 0.3]))
    cut = st.builds(Cut, node, node, st.booleans())
    rare = st.builds(Snapshot, node) | st.builds(Mend) | st.builds(Reboot, user) | weather | cut
    # Nodes must be up most of the time, or nothing happens to them.
    step = st.sampled_from([register] * 8 + [wait] * 5 + [restart] * 3 + [crash] + [rare] * 3).flatmap(
        _itself
    )
    return st.lists(step, min_size=most // 2, max_size=most)


def _itself(strategy: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    return strategy


def ages(places: Sequence[int]) -> list[Spoken]:
    """
    What each node speaks; 0 is all, and each answers what older ones ask.
    """
    return [NEWEST[place:] for place in places]


def outcome(size: int, steps: Sequence[Step], seed: int, ages: Sequence[Spoken] = ()) -> list[str]:
    """
    What is wrong with a cluster that went through a schedule and was healed.

    @param seed: Of all chance; an odd one gives the nodes clocks that differ.
    @param ages: What each node speaks.
    """
    skews = [0.0, 600.0, -600.0, 30.0, -30.0] if seed % 2 else []
    cluster = Cluster(size, seed, skews[:size])
    for node, dialects in zip(cluster.nodes, ages, strict=False):
        node.dialects = dialects
    cluster.start()
    cluster.advance(2)
    play(cluster, steps)
    cluster.heal()
    return cluster.differences()


def play(cluster: Cluster, steps: Sequence[Step]) -> None:
    """
    Let a cluster that runs go through a schedule.
    """
    phones = [Phone(user) for user in range(USERS)]
    snapshots = [dict(node.disk) for node in cluster.nodes]
    for step in steps:
        if isinstance(step, Register):
            wanted = phones[step.user].registration(step.expires, step.line, step.remove_all)
            # A phone goes on to the next node that answers.
            around = cluster.nodes[step.node :] + cluster.nodes[: step.node]
            for node in [node for node in around if node.is_open][:1]:
                node.register(wanted)
        elif isinstance(step, Reboot):
            phones[step.user].reboot()
        elif isinstance(step, Cut):
            if step.source != step.target:
                cluster.partition(step.source, step.target, step.both)
        elif isinstance(step, Mend):
            cluster.cut.clear()
        elif isinstance(step, Crash):
            disk = {"kept": None, "lost": {}, "snapshot": snapshots[step.node]}[step.disk]
            cluster.crash(step.node, disk)
        elif isinstance(step, Snapshot):
            snapshots[step.node] = dict(cluster.nodes[step.node].disk)
        elif isinstance(step, Restart):
            cluster.restart(step.node, step.skew)
        elif isinstance(step, Weather):
            cluster.loss, cluster.doubling = step.loss, step.doubling
        else:
            cluster.advance(step.seconds)
