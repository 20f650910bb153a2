"""
The disk of a node: it fills, it is damaged, and the node dies while it writes.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred

from sipxha.cli.status import ask
from tests.support.disk import mute_disk
from tests.support.pair import DOMAIN
from tests.support.register_load import RegisterLoad
from tests.system.servers import PASSWORD, PairTestCase, Server, reactor, until

KILLS = 3
LOAD = 20
"""Users who register all the while."""


class KillTests(PairTestCase):
    """
    Tests for kill -9 of a node that has nobody to get anything back from.
    """

    async def test_no_acknowledged_registration_is_lost(self) -> None:
        """
        Killed at any moment of a load, again and again.
        """
        node = self.west
        await self.east.stop()
        users = [str(next(self.pair.users)) for _ in range(LOAD)]
        load = RegisterLoad(users, PASSWORD, DOMAIN, (node.address, 5070))
        port = reactor.listenUDP(0, load, interface=f"{self.pair.network}.{next(self.pair.hosts)}")
        self.addCleanup(maybeDeferred, port.stopListening)
        for _ in range(KILLS):
            load.statuses.clear()
            last = random.randint(3 * LOAD, 10 * LOAD)

            def confirmed(user: str, last: int = last) -> None:
                # At the very moment at which it was promised.
                if load.statuses[200] == last:
                    load.stop()
                    node.kill()

            load.confirmed = confirmed
            load.start()
            await until(lambda: not node.is_running, "no load")
            await node.start()
            held = {row["callid"]: row["cseq"] for row in node.registrations()}
            self.assertEqual(set(load.acknowledged), set(users))
            lost = {
                user: (cseq, held.get(f"load-{user}"))
                for user, cseq in load.acknowledged.items()
                if held.get(f"load-{user}", 0) < cseq
            }
            self.assertEqual(lost, {})


class FullDiskTests(PairTestCase):
    """
    Tests for a disk that takes nothing any more.
    """

    def trouble(self, node: Server) -> str:
        """
        What C{sipxha status} says is missing.
        """
        state: dict[str, Any] = ask(node.config, "/status")
        return state["trouble"] or ""

    async def test_calls_go_on_and_changes_wait(self) -> None:
        """
        On a node that is alone: REGISTER is refused, what is known is served;
        when there is room again it recovers by itself, with all that it took.
        """
        node = self.west
        caller = await self.registered(node)
        callee = await self.registered(node)
        late = self.phone()
        await self.east.stop()
        with mute_disk(node.pid):
            response = await late.register(at=node.address)
            self.assertIn(response.status, (500, 503))
            self.assertIn("registry.sqlite cannot be written", self.trouble(node))
            call = await caller.call(callee.aor, through=node.address)
            self.assertEqual((await call.hang_up()).status, 200)
            self.assertEqual(len(self.live(node, caller)), 1)
        await until(lambda: "registry.sqlite" not in self.trouble(node), "it does not recover")
        await node.line_with("registry.sqlite can be written again")
        node.kill()
        await node.start()
        self.assertEqual(len(self.live(node, late)), 1)

    async def test_the_other_node_takes_over(self) -> None:
        """
        Phones do not notice.
        """
        with mute_disk(self.west.pid):
            phone = await self.registered(self.west)
            self.assertEqual(self.live(self.east, phone)[0]["primary"], self.east.name)
        await until(lambda: not self.trouble(self.west), "it does not recover")
        await self.pair.level()
        self.assertEqual(len(self.live(self.west, phone)), 1)


class DamagedDiskTests(PairTestCase):
    """
    Tests for a registry that is not what was written.
    """

    async def test_it_is_refused_and_the_peer_has_everything(self) -> None:
        """
        The line says what to do, and that helps.
        """
        phone = await self.registered(self.west)
        await self.pair.level()
        await self.west.stop()
        store = self.west.folder / "data" / "registry.sqlite"
        content = b"\xff" * 100 + store.read_bytes()[100:]
        store.write_bytes(content)

        self.west.launch()
        await until(lambda: not self.west.is_running, "it goes on")
        (line,) = (line for line in self.west.lines if "cannot go on" in line)
        self.assertIn(f"{store}: is damaged", line)
        self.assertIn("registry.sqlite-wal away and start again", line)
        self.assertEqual(store.read_bytes(), content)

        store.rename(Path(f"{store}.damaged"))
        await self.west.start()
        self.assertEqual(len(self.live(self.west, phone)), 1)
