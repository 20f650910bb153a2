"""
What all chapters play on: the pair, its users, the clients' processes and what
was counted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lxml import etree
from rich import box
from rich.table import Table
from twisted.internet.defer import gatherResults

from sipxha.config.load import load
from tests.support.pair import DOMAIN, NodeProcess, Pair, pause, sipxha
from tools import foreground
from tools.interop import dns
from tools.interop.client import Client
from tools.interop.sipp import Figures
from tools.story import Story, expect

DIGEST = "MD5"
"""All that these clients know: docs/clients.md has the details."""

PASSWORD = "correct-horse"

MIN_EXPIRES = 10
"""Seconds: softphones are to register again while we look."""

RESENT = 20
"""
So many messages of a client's thousand may be sent again: sipp does that after
half a second, and a machine that is not ours alone sometimes stalls for longer.
"""

reactor = foreground.reactor


class Stage:
    """
    Two nodes, and whoever talks to them.
    """

    def __init__(self, story: Story, folder: Path) -> None:
        self.story = story
        self.folder = folder
        self.pair = Pair(reactor, folder / "pair", serve=dns.serve)
        self.east, self.west = self.pair.nodes
        self.is_root = os.geteuid() == 0
        self._clients: list[Client] = []
        self._counted: dict[str, Figures] = {}

    async def write(self, users: Iterable[str]) -> str:
        """
        What C{sipxha init} writes, and many users at once, as an office's own
        program would.
        """
        await self.pair.write()
        await dns.listening(self.pair.dns_server)
        for node in self.pair:
            document = etree.parse(str(node.config))
            registrar = document.find("{*}registrar")
            assert registrar is not None
            registrar.set("digest", DIGEST)
            registrar.set("min-expires", str(MIN_EXPIRES))
            log = document.find("{*}log")
            assert log is not None
            log.set("security", "security.log")
            document.write(str(node.config), encoding="UTF-8")
        items = etree.Element("items", type="credential")
        for user in users:
            item = etree.SubElement(items, "item")
            for name, text in (
                ("uri", f"sip:{user}@{DOMAIN}"),
                ("realm", DOMAIN),
                ("userid", user),
                ("passtoken", hashlib.md5(f"{user}:{DOMAIN}:{PASSWORD}".encode()).hexdigest()),
                ("authtype", "DIGEST"),
            ):
                etree.SubElement(item, name).text = text
        for node in self.pair:
            etree.ElementTree(items).write(str(load(node.config).users.credentials), encoding="UTF-8")
        return f"sipx1 at {self.east.address}, sipx2 at {self.west.address}; {len(items)} users"

    async def start(self) -> str:
        """
        Whichever is first may find the other one missing for a moment.
        """
        states = await self.pair.start()
        deadline = time.monotonic() + 20
        while True:
            peers = [await self.command(node, "peers", "--json") for node in self.pair]
            if all(row["state"] == "Reachable" for rows in peers for row in rows):
                return f"{', '.join(states)}; Reachable both ways"
            expect(time.monotonic() < deadline, f"after 20 s: {peers}")
            await pause(reactor, 0.2)

    def spawn(self, client: Client, program: str, *arguments: str, home: Path | None = None) -> None:
        """
        Run a program.

        @param home: its user's, where it looks for its settings.
        """
        path = find(program)
        assert path is not None
        self._clients.append(client)
        reactor.spawnProcess(
            client,
            path,
            [path, *arguments],
            env={**os.environ, "HOME": str(home or self.folder)},
            path=str(self.folder),
        )

    async def command(self, node: NodeProcess, *arguments: str) -> Any:
        """
        @return: what a verb of C{sipxha} printed with C{--json}.
        """
        return json.loads(await sipxha(reactor, *arguments, "--config", str(node.config)))

    async def rows(self, node: NodeProcess, wanted: Callable[[str], bool]) -> list[dict[str, Any]]:
        """
        @return: the registrations of some users, as C{sipxha registrations} has
            them on C{node}.
        """
        rows = await self.command(node, "registrations", "--json")
        return [row for row in rows if wanted(row["identity"].partition("@")[0])]

    async def agree(
        self, wanted: Callable[[str], bool], count: int, limit: float = 10
    ) -> list[dict[str, Any]]:
        """
        Wait until both nodes have the same C{count} registrations of some users.
        """
        deadline = time.monotonic() + limit
        while True:
            east, west = [
                sorted(await self.rows(node, wanted), key=lambda row: (row["identity"], row["contact"]))
                for node in self.pair
            ]
            if len(east) == count and [numbers(row) for row in east] == [numbers(row) for row in west]:
                return east
            expect(
                time.monotonic() < deadline,
                f"after {limit:g} s: {len(east)} and {len(west)} rows, not {count} on both",
            )
            await pause(reactor, 0.2)

    async def catch_up(self, limit: float) -> float:
        """
        Wait until no node is behind another.

        @return: seconds.
        """
        began = time.monotonic()
        while True:
            behind = [
                row["behind"] for node in self.pair for row in await self.command(node, "peers", "--json")
            ]
            waited = time.monotonic() - began
            if not any(behind):
                return waited
            expect(waited < limit, f"after {limit:g} s: behind by {behind}")
            await pause(reactor, 0.5)

    def count(self, client: str, figures: Figures) -> Figures:
        """
        Put figures into the table of the end.
        """
        self._counted[client] = self._counted.get(client, Figures()).plus(figures)
        return figures

    def show(self) -> None:
        """
        All figures.
        """
        table = Table("client", box=box.SIMPLE_HEAD, caption=f"resent: {RESENT} in 1000 are tolerated")
        for name in Figures._fields:
            table.add_column(name, justify="right")
        for client, figures in self._counted.items():
            table.add_row(client, *map(str, figures))
        self.story.console.print()
        self.story.console.print(table)

    async def stop_nodes(self) -> str:
        """
        SIGTERM.
        """
        statuses = await gatherResults([node.stop() for node in self.pair])
        expect(statuses == [0, 0], f"statuses: {statuses}")
        for node in self.pair:
            lines = node.log.read_text(errors="replace").splitlines()
            errors = [line for line in lines if line.split()[1:2] in (["error"], ["critical"])]
            expect(not errors, f"{node.name}: {len(errors)} errors, the first: {errors[:1]}")
        return "0, 0; no error in either log"

    async def stop_all(self) -> None:
        """
        End whatever still runs.
        """
        for client in self._clients:
            client.end()
        await self.pair.stop()


def find(program: str) -> str | None:
    """
    @return: where a program is: here, or on the machine.
    """
    return shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")


def numbers(row: dict[str, Any]) -> Sequence[Any]:
    """
    @return: what must be the same of a registration on all nodes.
    """
    return [row[name] for name in ("identity", "contact", "primary", "update_number", "expires")]


def number_of(aor: str) -> str:
    """
    @return: the user of an address-of-record.
    """
    return aor.rpartition("sip:")[2].partition("@")[0]
