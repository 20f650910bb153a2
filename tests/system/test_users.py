"""
What C{sipxha user} does at one node counts at the other.
"""

from __future__ import annotations

import signal

from tests.support.pair import sipxha
from tests.system.servers import PASSWORD, PairTestCase, Server, reactor, until


class UsersTests(PairTestCase):
    """
    Tests for users of a pair.
    """

    async def add(self, user: str, node: Server) -> None:
        """
        C{sipxha user add}.
        """
        arguments = ["user", "add", user, "--password-stdin", "--config", str(node.config)]
        await sipxha(reactor, *arguments, stdin=f"{PASSWORD}\n")

    async def test_a_user_who_is_added_at_one_node_registers_at_the_other(self) -> None:
        """
        A moment later; and one who is removed there does not any more.
        """
        logged = self.west.logged
        await self.add("everywhere", self.east)
        await until(
            lambda: any("the users were read" in line for line in self.west.lines_after(logged)),
            "the other node does not hear of the user",
        )
        phone = self.phone(user="everywhere")
        await self.register(phone, self.west)
        await until(lambda: not self.east.peers()[0]["differs"], "they differ")
        logged = self.east.logged
        await sipxha(reactor, "user", "remove", "everywhere", "--config", str(self.west.config))
        await until(
            lambda: any("the users were read" in line for line in self.east.lines_after(logged)),
            "the other node does not hear of the end",
        )
        response = await self.phone(user="everywhere").register(at=self.east.address)
        self.assertNotEqual(response.status, 200)

    async def test_a_user_who_is_added_while_a_node_is_down_registers_there_at_once(self) -> None:
        """
        When it is ready it has the users.
        """
        self.west.kill()
        await self.add("meanwhile", self.east)
        self.assertEqual(await self.west.start(), "ready")
        await self.register(self.phone(user="meanwhile"), self.west)

    async def test_rules_that_differ_are_named(self) -> None:
        """
        By the peers, the status and the check of either node; until they are the same.
        """
        rules = self.west.folder / "mappingrules.xml"
        good = rules.read_text()
        rules.write_text(good.replace("Further places", "More places"))
        self.assertNotEqual(rules.read_text(), good)
        try:
            self.west.send(signal.SIGHUP)
            await until(lambda: self.east.peers()[0]["differs"] == ["mappingrules"], "nobody sees it")
            out = await sipxha(reactor, "check", "--config", str(self.east.config))
            self.assertIn("runs", out)
            await self.east.line_with(f"peer '{self.west.name}' has not the same as we have: mappingrules")
        finally:
            rules.write_text(good)
            self.west.send(signal.SIGHUP)
        await self.east.line_with(f"peer '{self.west.name}' has the same as we have again")
        self.assertEqual(self.east.peers()[0]["differs"], [])
