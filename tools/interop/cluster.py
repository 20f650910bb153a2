"""
What the chapter of cuts plays on: three nodes, each in a network of its own,
their phones, and what everybody knows.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from random import random
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults

from sipxha.cli.status import ask
from sipxha.config.load import load
from sipxha.config.model import Dns
from sipxha.config.users import add_user
from sipxha.net.dns import Locator, resolver_for
from tests.support.pair import DOMAIN, NodeProcess, Pair, pause, sipxha
from tests.support.phone import Phone
from tools import foreground
from tools.interop.network import NETWORK, SWITCH, Host, Network
from tools.interop.stage import PASSWORD, numbers
from tools.story import expect

NODES = (1, 2, 3)
OFFICE = 100
"""The host of most phones."""

USERS = 400
FIRST_USER = 3000
FIRST_PORT = 10_000

LIMIT = 2.0
"""Seconds from the first contact of those that were cut off until all know all."""

CONTACT = 45.0
"""Seconds until they try each other again, at most: 30 from one try to the next, and one that fails."""

MET = "update numbering synchronized"
"""What a node logs of a reset."""

reactor: Any = foreground.reactor


class Cluster:
    """
    Three nodes and who registers at them.
    """

    def __init__(self, folder: Path) -> None:
        self.network = Network()
        self.pair = Pair(
            Host(reactor, self.network, SWITCH),
            folder / "cluster",
            len(NODES),
            network=NETWORK,
            namespaces=[self.network.name(host) for host in NODES],
        )
        self.phones = MultiService()
        self._names = iter(range(FIRST_USER, FIRST_USER + USERS))
        self._current: dict[str, str | None] = {}
        """What each user was promised: the primary of the row, or that there is none."""

    def node(self, host: int) -> NodeProcess:
        """
        @return: the node at a host.
        """
        return self.pair.nodes[host - 1]

    async def start(self) -> str:
        """
        The network, the nodes and their users.
        """
        self.network.build()
        for host in (*NODES, OFFICE, OFFICE + 1):
            self.network.plug(host)
        await self.pair.write()
        files = load(self.pair.nodes[0].config).users
        for user in range(FIRST_USER, FIRST_USER + USERS):
            add_user(files, f"{user}@{DOMAIN}", DOMAIN, PASSWORD)
        for node in self.pair.nodes[1:]:
            shutil.copy(files.credentials, node.folder)
        self.phones.startService()
        await self.pair.start()
        await self.states({host: [] for host in NODES})
        return f"sipx1 to sipx3 at {self.network.address(1)} to {self.network.address(3)}"

    async def stop(self) -> None:
        """
        Nothing is left.
        """
        if self.phones.running:
            await self.phones.stopService()
        await self.pair.stop()
        self.network.tear_down()

    # --- phones ---------------------------------------------------------------

    def phone(self, transport: str = "udp", host: int = OFFICE) -> Phone:
        """
        @return: the phone of another user.
        """
        user = next(self._names)
        there: Any = Host(reactor, self.network, host)
        resolver = resolver_for(there, Dns(server=self.pair.dns))
        phone = Phone(
            there,
            str(user),
            PASSWORD,
            DOMAIN,
            self.network.address(host),
            FIRST_PORT + user - FIRST_USER,
            Locator(there, resolver, random),
            transport,
        )
        phone.setServiceParent(self.phones)
        return phone

    def register(self, phone: Phone, host: int) -> Deferred[Phone]:
        """
        Register a phone at a node, which must confirm it.
        """
        return Deferred.fromCoroutine(self._register(phone, host))

    async def _register(self, phone: Phone, host: int) -> Phone:
        node = self.node(host)
        response = await phone.register(at=node.address)
        expect(response.status == 200, f"{phone.user} at {node.name}: {response.status} {response.reason}")
        self._current[phone.user] = node.name
        return phone

    async def unregister(self, phone: Phone, host: int) -> None:
        """
        And end it again.
        """
        node = self.node(host)
        response = await phone.unregister_all(at=node.address)
        expect(response.status == 200, f"{phone.user} at {node.name}: {response.status} {response.reason}")
        self._current[phone.user] = None

    async def register_some(self, count: int, hosts: Sequence[int] = NODES) -> list[Phone]:
        """
        @return: as many new phones at each of some nodes.
        """
        made: list[Phone] = await gatherResults(
            [self.register(self.phone(), host) for _ in range(count) for host in hosts], consumeErrors=True
        )
        return made

    # --- what they know -------------------------------------------------------

    async def states(self, lost: dict[int, Sequence[int]], limit: float = 20.0) -> None:
        """
        Wait until C{sipxha peers --json} says of some nodes that they cannot reach some others.

        @param lost: for each node that is asked, those; all others are Reachable for it.
        """
        deadline = time.monotonic() + limit
        for host, others in lost.items():
            while True:
                shown = json.loads(
                    await sipxha(reactor, "peers", "--json", "--config", str(self.node(host).config))
                )
                states = {row["name"]: row["state"] for row in shown}
                wanted = {
                    self.node(other).name: "UnReachable" if other in others else "Reachable"
                    for other in NODES
                    if other != host
                }
                if states == wanted:
                    break
                expect(time.monotonic() < deadline, f"after {limit:g} s, {self.node(host).name}: {states}")
                await pause(reactor, 0.1)

    def difference(self, hosts: Sequence[int] = NODES) -> str:
        """
        @return: how far some nodes are from all knowing all, and the same; nothing when they do.
        """
        held = [self._rows(host) for host in hosts]
        for host, rows in zip(hosts, held, strict=True):
            primaries: dict[str, str | None] = dict.fromkeys(self._current)
            primaries.update((row["identity"].partition("@")[0], row["primary"]) for row in rows)
            wrong = [user for user, primary in self._current.items() if primaries.get(user) != primary]
            if wrong or len(rows) != sum(map(bool, self._current.values())):
                return (
                    f"sipx{host} has {len(rows)} rows, {len(wrong)} of {len(self._current)} users are wrong"
                )
        if any([numbers(row) for row in rows] != [numbers(row) for row in held[0]] for rows in held):
            return "the same users, but not the same rows"
        return ""

    def _rows(self, host: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = ask(self.node(host).config, "/registrations")
        return sorted(rows, key=lambda row: (row["identity"], row["contact"]))

    async def agree(self, hosts: Sequence[int] = NODES, limit: float = LIMIT) -> float:
        """
        Wait until some nodes know all.

        @return: the seconds.
        """
        began = time.monotonic()
        while difference := self.difference(hosts):
            expect(time.monotonic() < began + limit, f"after {limit:g} s: {difference}")
            await pause(reactor, 0.02)
        return time.monotonic() - began

    def logged(self) -> dict[int, int]:
        """
        @return: how long the log of each node is.
        """
        return {host: self.node(host).log.stat().st_size for host in NODES}

    async def heal(self, logged: dict[int, int], *torn: tuple[int, int]) -> str:
        """
        Wait until nodes that were cut off have heard of each other, and then
        until all know all.

        @param logged: how long each log was when the lines were mended.

        @param torn: between which, each two.
        """
        began = time.monotonic()
        apart = list(torn)
        while apart:
            apart = [(one, other) for one, other in apart if not self._have_met(one, other, logged)]
            expect(time.monotonic() < began + CONTACT, f"after {CONTACT:g} s, {apart} have not met")
            await pause(reactor, 0.02)
        met = time.monotonic() - began
        late = await self.agree()
        await self.states({host: [] for host in NODES})
        return f"met after {met:.2f} s; all the same {late:.2f} s later, {len(self._current)} users"

    def _have_met(self, one: int, other: int, logged: dict[int, int]) -> bool:
        for here, there in ((one, other), (other, one)):
            with self.node(here).log.open("rb") as log:
                log.seek(logged[here])
                name = f"'{self.node(there).name}'"
                for line in log.read().decode(errors="replace").splitlines():
                    if MET in line and name in line:
                        return True
        return False
