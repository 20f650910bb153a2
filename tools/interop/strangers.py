"""
SIPVicious, as those run it who look for users and guess their passwords.

It sends from 127.0.0.1, whatever it is told, and Via's address is no other.
"""

from __future__ import annotations

import re

from tests.support.pair import DOMAIN, NodeProcess
from tools.interop.client import Client
from tools.interop.sipsak import PINGER, Sipsak
from tools.interop.stage import PASSWORD, Stage
from tools.story import expect

EXISTING = range(2990, 3000)
"""The last of sipp's users."""

UNKNOWN = range(3000, 3010)

GUESSES = 200
"""Passwords that are tried."""

WARNING = "wrong passwords from"
"""What the node says of it in its log."""

_ROW = re.compile(r"^\| (\S+) +\| (.*?) *\|$", re.MULTILINE)


class Strangers:
    """
    Everything that SIPVicious does.
    """

    def __init__(self, stage: Stage, sipsak: Sipsak) -> None:
        """
        @param sipsak: the victim.
        """
        self.stage = stage
        self._sipsak = sipsak
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

    async def crack(self) -> str:
        """
        The limits are counted by address: that of the victim is another.
        """
        east = self.stage.east
        passwords = self.stage.folder / "passwords"
        guesses = [f"guess-{number}" for number in range(GUESSES - 1)]
        passwords.write_text("\n".join([*guesses, PASSWORD, ""]))
        cracking = self._start(
            *("svcrack", "-u", PINGER, "-d", str(passwords), "--domain", DOMAIN, east.address)
        )
        registered = 0
        while cracking.is_running or not registered:
            await self._sipsak.register(east)
            registered += 1
        found = _ROW.findall(cracking.output)
        expect(not found, f"found: {found}")
        warnings = [line for line in east.log.read_text().splitlines() if WARNING in line]
        expect(len(warnings) == 1, f"{len(warnings)} warnings in {east.log}")
        return (
            f"the victim registered {registered} times; "
            f"one line in the log: {warnings[0].partition(' warn ')[2]}"
        )

    async def _war(self, node: NodeProcess, method: str, *options: str) -> str:
        return await self._run(
            *("svwar", "-m", method, "--domain", DOMAIN, *options),
            *("-e", f"{EXISTING[0]}-{UNKNOWN[-1]}", node.address),
        )

    async def _run(self, program: str, *arguments: str) -> str:
        """
        @return: what it wrote.
        """
        client = self._start(program, *arguments)
        await client.ended
        self._runs += 1
        (self.stage.folder / f"{program}-{self._runs}.log").write_text(client.output)
        return client.output

    def _start(self, program: str, *arguments: str) -> Client:
        client = Client()
        self.stage.spawn(client, f"sipvicious_{program}", *arguments)
        return client
