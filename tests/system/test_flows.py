"""
Phones that can be reached in no way but on the flow that they have opened.
"""

from __future__ import annotations

import socket
import ssl

from twisted.internet.threads import deferToThread

from sipxha.sip.message import Request, Response
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from sipxha.sip.values import Message
from tests.support.pair import DOMAIN
from tests.support.phone import CallFailed, Phone
from tests.system.servers import PATIENCE, PairTestCase, Server, until

BEHIND_NAT = "192.0.2.7"
"""An address at which nobody is."""


class FlowTests(PairTestCase):
    """
    Tests for calls to and from phones behind a NAT, and over TCP.
    """

    async def hidden(self, transport: str, node: Server) -> Phone:
        """
        A phone that has registered at a node, with a Contact that leads nowhere.
        """
        phone = self.phone(transport, believes=BEHIND_NAT)
        await self.register(phone, node)
        return phone

    async def assert_calls(self, caller: Phone, callee: Phone) -> None:
        """
        Through either node, and either side can hang up.
        """
        await self.pair.level()
        for node in self.pair.nodes:
            for ends_it in ("caller", "callee"):
                call = await caller.call(callee.aor, through=node.address)
                other = callee.calls[call.call_id]
                ending, ended = (call, other) if ends_it == "caller" else (other, call)
                response = await ending.hang_up()
                self.assertEqual(response.status, 200, (node.name, ends_it))
                self.assertTrue(ended.ended.called, (node.name, ends_it))

    async def forgotten(self, phone: Phone) -> None:
        """
        Wait until no node knows a phone any more.
        """
        await until(
            lambda: not any(self.live(node, phone) for node in self.pair.nodes), "somebody still knows it"
        )

    async def assert_unreachable(self, caller: Phone, callee: Phone) -> None:
        """
        Through either node.
        """
        for node in self.pair.nodes:
            with self.assertRaises(CallFailed) as caught:
                await caller.call(callee.aor, through=node.address)
            self.assertEqual(caught.exception.response.status, 480, node.name)

    async def test_a_hidden_phone_is_called_and_calls_through_either_node(self) -> None:
        """
        Over TCP, and over UDP behind a NAT; a phone that can be reached
        anywhere is at the other end.
        """
        plain = await self.registered(self.west)
        for transport in ("tcp", "udp"):
            hidden = await self.hidden(transport, self.east)
            await self.assert_calls(plain, hidden)
            call = await hidden.call(plain.aor, through=self.east.address)
            self.assertEqual((await plain.calls[call.call_id].hang_up()).status, 200, transport)
            self.assertTrue(call.ended.called, transport)
            call = await hidden.call(plain.aor, through=self.west.address)
            self.assertEqual((await call.hang_up()).status, 200, transport)

    async def test_two_hidden_phones_call_each_other(self) -> None:
        """
        Two flows of one call, on two nodes and on one.
        """
        over_tcp = await self.hidden("tcp", self.east)
        for node in self.pair.nodes:
            behind_nat = await self.hidden("udp", node)
            await self.assert_calls(over_tcp, behind_nat)
            await self.assert_calls(behind_nat, over_tcp)

    async def test_O07_who_hangs_up_is_not_registered_any_longer(self) -> None:
        """
        On both nodes, and whoever calls him is told at once.
        """
        caller = await self.registered(self.west)
        hidden = await self.hidden("tcp", self.east)
        await self.pair.level()
        for node in self.pair.nodes:
            self.assertEqual(len(self.live(node, hidden)), 1, node.name)
        await hidden.stopService()
        await self.forgotten(hidden)
        await self.assert_unreachable(caller, hidden)

    async def test_O11_a_flow_of_another_life_is_gone(self) -> None:
        """
        The node is killed, and comes back with the binding, but not with the
        connection: the first who calls finds that out, for all.
        """
        caller = await self.registered(self.west)
        hidden = await self.hidden("tcp", self.east)
        await self.pair.level()
        self.east.kill()
        await self.assert_unreachable_through(self.west, caller, hidden)
        await self.east.start()
        await self.pair.level()
        self.assertEqual(len(self.live(self.east, hidden)), 1)
        await self.assert_unreachable(caller, hidden)
        await self.forgotten(hidden)

    async def assert_unreachable_through(self, node: Server, caller: Phone, callee: Phone) -> None:
        """
        While the node that holds the flow is dead.
        """
        with self.assertRaises(CallFailed) as caught:
            await caller.call(callee.aor, through=node.address)
        self.assertEqual(caught.exception.response.status, 480)

    async def test_O06_a_phone_with_two_flows_is_reached_while_one_of_them_is_there(self) -> None:
        """
        It rings once, whichever is tried; also when the node of the one is dead.
        """
        caller = await self.registered(self.west)
        phone = self.phone("tcp", believes=BEHIND_NAT)
        for number, node in enumerate(self.pair.nodes, 1):
            response = await phone.register(at=node.address, flow=number)
            self.assertEqual((response.status, response.values("require")), (200, ["outbound"]))
            self.assertTrue(response.has("flow-timer"))
        await self.pair.level()
        self.assertEqual(len(self.live(self.west, phone)), 2)
        for node in self.pair.nodes:
            call = await caller.call(phone.aor, through=node.address)
            self.assertEqual((await call.hang_up()).status, 200, node.name)
        self.assertEqual(len(phone.rung), 2)
        self.east.kill()
        for _ in range(2):
            call = await caller.call(phone.aor, through=self.west.address)
            self.assertEqual((await call.hang_up()).status, 200)
        self.assertEqual(len(phone.rung), 4)

    async def test_a_phone_over_tls_is_called_over_its_connection(self) -> None:
        """
        Through either node; it has no certificate.
        """
        caller = await self.registered(self.west)
        line = self.phone()
        context = ssl.create_default_context(cafile=str(self.pair.folder / "pair" / "ca" / "ca.crt"))
        plain = await deferToThread(socket.create_connection, (self.east.address, 5061), PATIENCE)
        wire = await deferToThread(context.wrap_socket, plain, server_hostname=self.east.name)
        self.addCleanup(wire.close)

        def exchange(said: Message | None) -> Message:
            if said is not None:
                wire.sendall(said.encode())
            return parse_message(wire.recv(65536))

        request = Request(
            "REGISTER",
            f"sip:{DOMAIN}",
            [
                ("via", "SIP/2.0/TLS phone.invalid;branch=z9hG4bKt1;rport"),
                ("max-forwards", "70"),
                ("from", f"<{line.aor}>;tag=t1"),
                ("to", f"<{line.aor}>"),
                ("call-id", f"tls-{line.user}"),
                ("cseq", "1 REGISTER"),
                ("contact", f"<sip:{line.user}@phone.invalid;transport=tls>"),
            ],
        )
        challenge = await deferToThread(exchange, request)
        request.set("authorization", line.credentials(challenge.rows("www-authenticate"), request))
        request.set("via", "SIP/2.0/TLS phone.invalid;branch=z9hG4bKt2;rport")
        request.set("cseq", "2 REGISTER")
        answer = await deferToThread(exchange, request)
        assert isinstance(answer, Response)
        self.assertEqual(answer.status, 200)
        await self.pair.level()
        for node in self.pair.nodes:
            calling = caller.call(line.aor, through=node.address)
            invite = await deferToThread(exchange, None)
            assert isinstance(invite, Request)
            self.assertEqual(invite.method, "INVITE")
            self.assertIn(f"@{self.east.name}:5061;transport=tls;lr", invite.rows("record-route")[0])
            ack = await deferToThread(exchange, response_to(invite, 486, to_tag="busy"))
            assert isinstance(ack, Request)
            self.assertEqual(ack.method, "ACK")
            with self.assertRaises(CallFailed) as caught:
                await calling
            self.assertEqual(caught.exception.response.status, 486, node.name)

    async def test_a_nat_that_remembers_outlives_a_node(self) -> None:
        """
        A flow over UDP belongs to no life of the node.
        """
        caller = await self.registered(self.west)
        hidden = await self.hidden("udp", self.east)
        await self.pair.level()
        self.east.kill()
        await self.east.start()
        await self.assert_calls(caller, hidden)
        self.assertEqual((await hidden.register(0, at=self.east.address)).status, 200)
        await self.pair.level()
        await self.assert_unreachable(caller, hidden)
