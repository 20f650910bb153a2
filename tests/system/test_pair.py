"""
Two nodes serve one domain: what one knows the other knows.
"""

from __future__ import annotations

import json
from typing import Any

from tests.support.pair import sipxha
from tests.support.phone import CallFailed, Phone
from tests.system.servers import PairTestCase, Server, reactor, until


class PairTests(PairTestCase):
    """
    Tests for a pair that is well.
    """

    async def assert_call(self, caller: Phone, callee: Phone, through: Server) -> str:
        """
        A call is set up through a node, rings the callee, and each side can
        end one.

        @return: the Call-ID of the last one.
        """
        for ends_it in ("caller", "callee"):
            call = await caller.call(callee.aor, through=through.address)
            other = callee.calls[call.call_id]
            ending, ended = (call, other) if ends_it == "caller" else (other, call)
            response = await ending.hang_up()
            self.assertEqual(response.status, 200, ends_it)
            self.assertTrue(ended.ended.called, ends_it)
        return call.call_id

    async def test_S01_a_phone_at_one_node_is_called_through_the_other(self) -> None:
        """
        Both ways, whatever the phones speak.
        """
        for one, other in (("udp", "udp"), ("tcp", "tcp"), ("udp", "tcp")):
            first = await self.registered(self.east, one)
            second = await self.registered(self.west, other)
            await self.pair.level()
            await self.assert_call(first, second, self.east)
            await self.assert_call(second, first, self.west)

    async def test_both_nodes_know_all_rows(self) -> None:
        """
        With the same numbers, from whichever node they are.
        """
        phones = [
            await self.registered(node, transport) for node in self.pair.nodes for transport in ("udp", "tcp")
        ]
        rows = {row["identity"]: row for row in await self.pair.level()}
        for phone, node in zip(phones, (self.east, self.east, self.west, self.west), strict=True):
            row = rows[phone.aor.removeprefix("sip:")]
            self.assertEqual(row["primary"], node.name)
            self.assertIn(phone.contact, row["contact"])

    async def test_a_phone_that_refreshes_elsewhere_has_one_row(self) -> None:
        """
        The node that saw it last is its primary, on both.
        """
        phone = await self.registered(self.east)
        await until(lambda: self.live(self.west, phone), "it was not replicated")
        await self.register(phone, self.west)
        await until(
            lambda: self.live(self.east, phone)[0]["primary"] == self.west.name, "it was not replicated back"
        )
        for node in self.pair.nodes:
            self.assertEqual(len(self.live(node, phone)), 1, node.name)

    async def test_all_bindings_ended_at_one_node_are_ended_at_the_other(self) -> None:
        """
        Contact: *, for a line with a phone at either node; it can then not be called.
        """
        phone = await self.registered(self.east)
        second = self.phone(user=phone.user)
        await self.register(second, self.west)
        caller = await self.registered(self.east)
        await self.pair.level()
        self.assertEqual(len(self.live(self.east, phone)), 2)

        response = await phone.unregister_all(at=self.west.address)
        self.assertEqual((response.status, response.contacts), (200, []))

        await until(lambda: not self.live(self.east, phone), "the other node still knows them")
        for node in self.pair.nodes:
            with self.assertRaises(CallFailed) as caught:
                await caller.call(phone.aor, through=node.address)
            self.assertEqual(caught.exception.response.status, 480)

    async def test_a_call_whose_events_lie_on_two_nodes_is_one_record(self) -> None:
        """
        A node without authproxy uses that of the other, by DNS.
        """
        await self.east.stop()
        configuration = self.east.config.read_text()
        begin, end = configuration.index("  <authproxy"), configuration.index("  <registrar")
        self.east.config.write_text(configuration[:begin] + configuration[end:])
        try:
            await self.east.start()
            await self.pair.level()
            caller = await self.registered(self.east)
            callee = await self.registered(self.west)
            await self.pair.level()
            call_id = await self.assert_call(caller, callee, self.east)
            await until(lambda: self.east.events(call_id) == "R", "the one node has not logged the request")
            await until(lambda: self.west.events(call_id) == "SE", "the other has not logged the rest")
            records = await self.records(call_id)
        finally:
            self.east.config.write_text(configuration)
            await self.east.stop()
        self.assertEqual([record["termination"] for record in records], ["C"])
        self.assertEqual(records[0]["caller_aor"], f"<{caller.aor}>")
        self.assertEqual(records[0]["callee_aor"], f"<{callee.aor}>")

    async def records(self, call_id: str) -> list[dict[str, Any]]:
        """
        The records of a call, after a pass of the resolver.
        """
        await sipxha(reactor, "resolve", "--config", str(self.east.config))
        out = await sipxha(reactor, "cdr", "list", "--json", "--config", str(self.east.config))
        return [record for record in json.loads(out) if record["call_id"] == call_id]
