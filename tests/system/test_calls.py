"""
The calls of a pair at this moment, whatever of it is down.
"""

from __future__ import annotations

import json
from typing import Any

from tests.support.pair import run
from tests.system.servers import PairTestCase, Server, reactor, until


class CallsTests(PairTestCase):
    """
    Tests for C{sipxha calls}.
    """

    async def told(self, node: Server, status: int = 0) -> list[dict[str, Any]]:
        """
        What a node tells.
        """
        code, out, err = await run(reactor, "sipxha", "calls", "--json", "--config", str(node.config))
        self.assertEqual(code, status, err)
        rows: list[dict[str, Any]] = json.loads(out)
        return rows

    async def states(self, node: Server, call_id: str, status: int = 0) -> list[str]:
        """
        What a node says of one call.
        """
        return [row["state"] for row in await self.told(node, status) if row["call_id"] == call_id]

    async def test_a_call_is_seen_through_both_nodes(self) -> None:
        """
        While it rings, while it is talked in, and no longer; whichever node is asked.
        """
        caller, callee = await self.registered(self.east), await self.registered(self.west)
        await self.pair.level()
        callee.answers = lambda request: None
        calling = caller.call(callee.aor, through=self.east.address)
        await until(lambda: callee.is_ringing, "it does not ring")
        call_id = callee.rung[0].call_id
        for node in self.pair.nodes:
            await self.until_told(node, call_id, ["ringing"])
        caller.give_up()
        await self.assertFailure(calling, Exception)
        callee.answers = lambda request: 200
        call = await caller.call(callee.aor, through=self.west.address)
        for node in self.pair.nodes:
            await self.until_told(node, call.call_id, ["talking"])
            (row,) = [row for row in await self.told(node) if row["call_id"] in (call_id, call.call_id)]
            self.assertEqual((row["call_id"], row["state"]), (call.call_id, "talking"))
            self.assertEqual((row["caller_aor"], row["caller_internal"]), (f"<{caller.aor}>", True))
            self.assertTrue(all(self.west.address in observer for observer in row["observers"]))
        await call.hang_up()
        await self.until_over(call.call_id)

    async def until_over(self, call_id: str) -> None:
        """
        Wait until no node shows it.
        """
        for node in self.pair.nodes:
            await self.until_told(node, call_id, [])

    async def until_told(self, node: Server, call_id: str, states: list[str]) -> None:
        """
        Wait until a node says so: an answer is good for a second, so the first one may be older than the call.
        """
        while await self.states(node, call_id) != states:
            pass

    async def test_it_needs_no_database_and_outlives_the_node(self) -> None:
        """
        What was set up before the node was killed is told again after its start; while it is down the
        other one says that its calls are missing.
        """
        caller, callee = await self.registered(self.east), await self.registered(self.west)
        await self.pair.level()
        call = await caller.call(callee.aor, through=self.east.address)
        await until(lambda: self.east.events(call.call_id) == "RS", "it is not in the database")
        self.east.kill_database()
        await self.until_told(self.west, call.call_id, ["talking"])
        self.east.kill(database=True)
        code, out, err = await run(reactor, "sipxha", "calls", "--json", "--config", str(self.west.config))
        while code == 0:
            # It was asked a moment ago.
            code, out, err = await run(
                reactor, "sipxha", "calls", "--json", "--config", str(self.west.config)
            )
        self.assertEqual((code, json.loads(out)), (3, []))
        self.assertIn(f"the calls of {self.east.name} are not among them: ", err)
        await self.east.start()
        await self.pair.level()
        await self.until_told(self.east, call.call_id, ["talking"])
        self.assertEqual((await call.hang_up()).status, 200)
        await self.until_over(call.call_id)
