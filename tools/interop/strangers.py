"""
SIPVicious, as those run it who look for users and guess their passwords.

It sends from 127.0.0.1, whatever it is told, and Via's address is no other.
"""

from __future__ import annotations

import re

from tests.support.pair import DOMAIN, NodeProcess
from tools.interop.client import Client
from tools.interop.stage import Stage
from tools.story import expect

EXISTING = range(2990, 3000)
"""The last of sipp's users."""

UNKNOWN = range(3000, 3010)

_ROW = re.compile(r"^\| (\S+) +\| (.*?) *\|$", re.MULTILINE)


class Strangers:
    """
    Everything that SIPVicious does.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._runs = 0

    async def map(self) -> str:
        """
        It sees that there is a server.
        """
        network = self.stage.pair.network
        output = await self._run("svmap", "-p", "5060", f"{network}.1-2")
        found = dict(_ROW.findall(output))
        expected = {f"{node.address}:5060" for node in self.stage.pair}
        expect(expected <= found.keys(), f"found: {found}")
        names = {found[device] for device in expected}
        expect(names == {"unknown"}, f"it knows more: {names}")
        return f"{', '.join(sorted(expected))}: unknown"

    async def enumerate(self, method: str) -> str:
        """
        It first asks for somebody who cannot exist, and gives up if that looks
        like everybody else; so, a second time, by force.
        """
        east = self.stage.east
        output = await self._war(east, method)
        expect(not _ROW.findall(output), f"found: {_ROW.findall(output)}")
        expect("for an unknown extension" in output, "it does not say why it gave up:\n" + output)
        forced = dict(_ROW.findall(await self._war(east, method, "--force")))
        forced.pop("Extension", None)
        asked = {str(name) for name in (*EXISTING, *UNKNOWN)}
        expect(
            not forced or (forced.keys() == asked and len(set(forced.values())) == 1),
            f"it can tell: {forced}",
        )
        return f"{len(EXISTING)} users and {len(UNKNOWN)} names that nobody has look the same"

    async def _war(self, node: NodeProcess, method: str, *options: str) -> str:
        return await self._run(
            *("svwar", "-m", method, "--domain", DOMAIN, *options),
            *("-e", f"{EXISTING[0]}-{UNKNOWN[-1]}", node.address),
        )

    async def _run(self, program: str, *arguments: str) -> str:
        """
        @return: what it wrote.
        """
        client = Client()
        self._runs += 1
        # A home of its own: it keeps its sessions there.
        self.stage.spawn(client, f"sipvicious_{program}", *arguments)
        await client.ended
        said = self.stage.folder / f"{program}-{self._runs}.log"
        said.write_text(client.output)
        return client.output
