"""
Lines that fail between three nodes, and a phone's.

Whatever was cut, phones register on all sides of it, and when it is mended all
nodes have all rows, and the same ones are current, soon after those that were
cut off have heard of each other again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredList, gatherResults
from twisted.internet.task import LoopingCall

from tests.support.pair import pause
from tests.support.phone import CallFailed, Phone
from tools import foreground
from tools.interop.cluster import NODES, OFFICE, Cluster
from tools.story import expect

SOME = 10
"""Phones that register at each node while a line is cut."""

RATE = 20
"""REGISTERs in a second, when there is traffic."""

LONG = 12.0
"""Seconds of a long cut: four times as long as a call to a peer may be without an answer."""

REPLICATION = 5077
SIP = 5060
SETUP = 5.0
"""Seconds in which a call is answered or refused while a line is cut."""

LOST = 16.0
"""Seconds in which a call is refused whose phone has vanished from its connection."""

reactor: Any = foreground.reactor


class Cuts:
    """
    What is cut.
    """

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder)
        self.network = self.cluster.network
        self._roving: list[Phone] = []

    async def start(self) -> str:
        """
        All three reach each other.
        """
        return await self.cluster.start()

    async def end(self) -> str:
        """
        SIGTERM.
        """
        statuses = await gatherResults([node.stop() for node in self.cluster.pair])
        expect(statuses == [0, 0, 0], f"statuses: {statuses}")
        return "0, 0, 0"

    async def stop(self) -> None:
        """
        End whatever still runs.
        """
        await self.cluster.stop()

    async def register(self) -> str:
        """
        Before anything is cut.
        """
        self._roving = await self.cluster.register_some(SOME)
        return f"all the same after {await self.cluster.agree():.2f} s"

    async def partition(self) -> str:
        """
        sipx1 alone, sipx2 and sipx3 with each other; one phone moves to the
        other side, and one is ended there.
        """
        cluster = self.cluster
        moving, ending = self._roving[0], self._roving[3]
        with self.network.cut_off(1, 2, 3):
            await cluster.register_some(SOME)
            await cluster.register(moving, 2)
            await cluster.unregister(ending, 3)
            await cluster.states({1: [2, 3], 2: [1], 3: [1]})
            logged = cluster.logged()
        return await cluster.heal(logged, (1, 2), (1, 3))

    async def one_way(self) -> str:
        """
        sipx2 hears nothing of sipx1, sipx1 everything of sipx2, and sipx3 of both.
        """
        cluster = self.cluster
        with self.network.cut((1, 2)):
            await cluster.register_some(SOME)
            await cluster.states({1: [2], 2: [1], 3: []})
            logged = cluster.logged()
        return await cluster.heal(logged, (1, 2))

    async def long(self) -> str:
        """
        With phones that register all the time, on both sides.
        """
        cluster = self.cluster
        with self.network.cut_off(2, 1, 3):
            registered = await self._traffic(LONG)
            await cluster.states({1: [2], 2: [1, 3], 3: [2]})
            logged = cluster.logged()
        healed = await cluster.heal(logged, (1, 2), (2, 3))
        return f"{registered} REGISTERs confirmed meanwhile\n{healed}"

    async def _traffic(self, seconds: float) -> int:
        """
        @return: how many REGISTERs were confirmed.
        """
        cluster = self.cluster
        waiting = await cluster.register_some(SOME)
        confirmed: list[Any] = []
        running: list[Any] = []

        def next_one() -> None:
            phone = waiting[len(running) % len(waiting)]
            # Each stays at its node.
            host = NODES[waiting.index(phone) % len(NODES)]
            running.append(cluster.register(phone, host).addCallback(confirmed.append))

        going = LoopingCall(next_one)
        going.start(1 / RATE)
        await pause(reactor, seconds)
        going.stop()
        for succeeded, failure in await DeferredList(running, consumeErrors=True):
            if not succeeded:
                failure.raiseException()
        return len(confirmed)

    async def killed(self) -> str:
        """
        sipx3 confirms registrations that it can tell nobody, and dies.
        """
        cluster = self.cluster
        with self.network.cut_off(3, 1, 2):
            await cluster.register_some(SOME)
            await cluster.node(3).kill()
        logged = cluster.logged()
        await cluster.node(3).start()
        return await cluster.heal(logged, (1, 3), (2, 3))

    async def forgotten(self) -> str:
        """
        The connections that sipx1 has to sipx2 are lost without a word, and nothing else.
        """
        count = self.network.forget(1, 2, REPLICATION)
        expect(count > 0, "sipx1 has no connection to sipx2")
        logged = self.cluster.logged()
        await self.cluster.register_some(SOME, [1])
        return await self.cluster.heal(logged, (1, 2))

    # --- a phone ----------------------------------------------------------------

    async def phone(self) -> str:
        """
        It registers over TCP at sipx1, from a network of its own.  While sipx1
        and sipx2 are apart only sipx1 can call it; then both again.
        """
        cluster = self.cluster
        self._caller = await cluster.register(cluster.phone(), 3)
        self._phone = await cluster.register(cluster.phone("tcp", OFFICE + 1), 1)
        await cluster.agree()
        said = [f"before: {await self._call(1)}, {await self._call(2)}"]
        with self.network.cut_off(1, 2):
            said.append(f"meanwhile: {await self._call(1)}, {await self._call(2, 480)}")
            # Nobody looks for a peer to which there is nothing to say.
            await cluster.register_some(1)
            await cluster.states({1: [2], 2: [1]})
            logged = cluster.logged()
        said += [
            await cluster.heal(logged, (1, 2)),
            f"after it: {await self._call(1)}, {await self._call(2)}",
        ]
        return "\n".join(said)

    async def phone_moves(self) -> str:
        """
        Its connection is lost without a word; it comes back at sipx2, as a phone
        does whose keep-alive is not answered.
        """
        cluster = self.cluster
        count = self.network.forget(OFFICE + 1, 1, SIP)
        expect(count == 1, f"the phone has {count} connections to sipx1")
        await cluster.register(self._phone, 2)
        await cluster.agree()
        return f"after it: {await self._call(1)}, {await self._call(2)}"

    async def phone_lost(self) -> str:
        """
        Nothing reaches it, and nobody is told; its connection looks well.  The
        first who calls it has to wait a little, the next one not.
        """
        with self.network.cut_off(OFFICE + 1, 2):
            first = await self._call(1, 480, LOST)
            second = await self._call(1, 480)
        await self.cluster.register(self._phone, 2)
        await self.cluster.agree()
        return f"{first}, then {second}; after it: {await self._call(1)}"

    async def _call(self, host: int, refused: int = 0, limit: float = SETUP) -> str:
        """
        Call the phone through a node, and hang up.

        @param refused: with which status, if it cannot be reached.
        @param limit: seconds in which all of that has to happen.
        """
        began = time.monotonic()
        through = self.cluster.node(host).address
        try:
            call = await self._caller.call(self._phone.aor, through=through)
        except CallFailed as failed:
            status, took = failed.response.status, time.monotonic() - began
        else:
            status, took = 200, time.monotonic() - began
            answer = await call.hang_up()
            expect(answer.status == 200, f"sipx{host}: BYE was answered {answer.status}")
        expect(status == (refused or 200), f"sipx{host}: {status} after {took:.2f} s")
        expect(took < limit, f"sipx{host}: {status}, but after {took:.2f} s")
        return f"sipx{host} {status} in {took:.2f} s"
