"""
Calls from and to the world, by the gateways that the configuration names.
"""

from __future__ import annotations

import re
import signal

from sipxha.sip.message import Request
from tests.support.pair import DOMAIN
from tests.support.phone import CallFailed, Phone
from tests.system.servers import PairTestCase, until

RULES = """\
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/fallback-00-00">
  <hostMatch>
    <hostPattern>{domain}</hostPattern>
    <userMatch>
      <userPattern>9xxx</userPattern>
      <permissionMatch>{transforms}</permissionMatch>
    </userMatch>
  </hostMatch>
</mappings>
"""


class GatewayTests(PairTestCase):
    """
    A pair with three gateways, of which the first is dead.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        All of them are in the configuration, and in the rules for numbers of
        four digits.
        """
        await super().setUp()
        self.tired, self.good = (self.phone(user="5551234", password="none") for _ in range(2))
        self.tired.answers = lambda request: 503
        self.addresses = [f"{self.pair.network}.250", self.tired.address, self.good.address]
        transforms = "".join(
            f"<transform><url>&lt;sip:{{digits}}@{each}&gt;</url></transform>" for each in self.addresses
        )
        for node in (self.east, self.west):
            rules = RULES.format(domain=DOMAIN, transforms=transforms)
            self.change(node.folder / "fallbackrules.xml", rules)
            self.change(node.config, self.with_gateways(node.config.read_text(), *self.addresses))
            node.send(signal.SIGHUP)
            await node.line_with("reload: gateways changed")
            await node.line_with("the fallback rules were read")

    def with_gateways(self, text: str, *gateways: str) -> str:
        """
        @return: a configuration with these gateways.
        """
        element = f"<gateways>{', '.join(gateways)}</gateways>"
        if "<gateways>" in text:
            return re.sub("<gateways>.*</gateways>", element, text)
        return re.sub("(<domain [^>]*)/>", rf"\1>{element}</domain>", text)

    async def status(self, caller: Phone, target: str, *fields: tuple[str, str]) -> int:
        """
        @return: how a call is answered that brings no credentials.
        """
        listed = [
            ("max-forwards", "70"),
            ("from", f"<{caller.aor}>;tag=world"),
            ("to", f"<{target}>"),
            ("call-id", f"{target}{len(fields)}"),
            ("cseq", "1 INVITE"),
            ("contact", f"<{caller.contact}>"),
            *fields,
        ]
        return (
            await caller.exchange(Request("INVITE", target, listed), caller.server(self.east.address))
        ).status

    async def test_a_call_takes_the_first_gateway_that_can(self) -> None:
        """
        One says nothing, one is overloaded, and the third takes the call: they
        are never tried at once.
        """
        caller = await self.registered(self.west)
        call = await caller.call(f"sip:9123@{DOMAIN}", through=self.east.address)
        self.assertEqual((len(self.tired.rung), len(self.good.rung)), (1, 1))
        self.assertEqual((await call.hang_up()).status, 200)

    async def test_what_a_gateway_says_of_the_callee_is_the_answer(self) -> None:
        """
        Who is busy is not called again by another way.
        """
        caller = await self.registered(self.west)
        self.tired.answers = lambda request: 486
        with self.assertRaises(CallFailed) as failed:
            await caller.call(f"sip:9123@{DOMAIN}", through=self.east.address)
        self.assertEqual(failed.exception.response.status, 486)
        self.assertEqual(self.good.rung, [])

    async def test_gateways_call_our_users_unasked_and_nobody_else(self) -> None:
        """
        As long as they are in the configuration.
        """
        user = await self.registered(self.west)
        gateway = self.good
        call = await gateway.call(user.aor, through=self.east.address)
        self.assertEqual((await call.hang_up()).status, 200)
        self.assertEqual(await self.status(gateway, "sip:x@elsewhere.net"), 407)
        route = ("route", f"<sip:{self.pair.network}.99;lr>")
        self.assertEqual(await self.status(gateway, user.aor, route), 407)
        logged = self.east.logged
        self.change(self.east.config, self.with_gateways(self.east.config.read_text(), self.tired.address))
        self.east.send(signal.SIGHUP)
        await until(
            lambda: any("reload: gateways changed" in line for line in self.east.lines_after(logged)),
            "the gateways are not taken over",
        )
        self.assertEqual(await self.status(gateway, user.aor), 407)

    async def test_help_is_reached_over_gateways_that_no_rule_knows(self) -> None:
        """
        In their order, and whatever the first ones say.
        """
        text = self.east.config.read_text()
        self.change(self.east.config, text.replace("</sipxha>", "<emergency>112</emergency></sipxha>"))
        await self.east.stop()
        await self.east.start()
        self.tired.answers = lambda request: 403
        caller = self.phone(user="nobody")
        call = await caller.call("urn:service:sos", through=self.east.address)
        self.assertEqual([request.uri for request in self.good.rung], [f"sip:112@{self.good.address}"])
        self.assertEqual((await call.hang_up()).status, 200)
