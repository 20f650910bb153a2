"""
A node dies in the middle of a call, and another one takes over.
"""

from __future__ import annotations

from functools import partial

from tests.system.servers import PairTestCase, until


class ByNameTests(PairTestCase):
    """
    Two nodes with C{record-route="name"}.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        The pair with that attribute, as long as the test lasts.
        """
        await super().setUp()
        for node in self.pair.nodes:
            text = node.config.read_text()
            self.change(node.config, text.replace("<authproxy ", '<authproxy record-route="name" '))
            await node.stop()
        await self.pair.mend()

    async def test_S20_a_call_outlives_its_node(self) -> None:
        """
        The BYE of either side passes through the node that is left, which
        logs it.
        """
        for hangs_up in ("caller", "callee"):
            caller = await self.registered(self.west)
            callee = await self.registered(self.west)
            await self.pair.level()
            call = await caller.call(callee.aor, through=self.east.address)
            self.assertIn(f"ap.{self.east.name}", call.routes[0])
            self.east.kill(database=True)
            side = call if hangs_up == "caller" else callee.calls[call.call_id]
            response = await side.hang_up()
            self.assertEqual(response.status, 200, hangs_up)
            await until(partial(self.is_logged, call.call_id), "the end is not logged")
            await self.pair.mend()

    def is_logged(self, call_id: str) -> bool:
        """
        Whether the node that is left has logged the end of a call.
        """
        return "E" in self.west.events(call_id)
