"""
sipsak: asks, pings, registers and unregisters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.support.pair import DOMAIN, NodeProcess, pause
from tools import foreground
from tools.interop.client import Client
from tools.interop.sipp import Figures
from tools.interop.stage import PASSWORD, Stage
from tools.story import Failed, expect

PINGER = "sipsak"
"""Its user."""

reactor = foreground.reactor


class Sipsak:
    """
    Everything that sipsak does.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._asked = 0

    async def ping(self) -> str:
        """
        OPTIONS, answered by the domain itself.
        """
        for node in self.stage.pair:
            for transport in ("udp", "tcp"):
                await self._sipsak(node, "-E", transport, target=f"sip:{DOMAIN}")
        return "OPTIONS: 407, then 200 OK, four times"

    async def wrong_password(self) -> str:
        """
        And asked for again, as if nobody had tried.
        """
        out = await self._sipsak(self.stage.east, "-U", "-C", "none", password="wrong", status=2)
        expect("authorization failed" in out, "sipsak gave up for another reason")
        return "401, 401"

    async def register_two(self) -> str:
        """
        Each with the credentials of a challenge of its own node.
        """
        for node, contact in zip(self.stage.pair, self._contacts(), strict=True):
            await self._sipsak(node, "-U", "-C", contact, "-x", "600")
        return "401, then 200 OK, twice"

    async def register(self, node: NodeProcess) -> None:
        """
        Once more.
        """
        await self._sipsak(node, "-U", "-C", self._contacts()[0], "-x", "600")

    def _contacts(self) -> list[str]:
        return [f"sip:{PINGER}@{self.stage.pair.network}.104:{port}" for port in (5062, 5064)]

    async def ask(self) -> str:
        """
        A REGISTER without Contact asks (RFC 3261 section 10.2.3).
        """
        await self._await_contacts(self._contacts())
        return "two Contacts in the 200 OK of either"

    async def unregister(self) -> str:
        """
        One with C{expires=0}, the rest with C{*}.
        """
        first, second = self._contacts()
        await self._sipsak(self.stage.west, "-U", "-C", first, "-x", "0")
        await self._await_contacts([second])
        await self._sipsak(self.stage.east, "-U", "-C", "*", "-x", "0")
        await self._await_contacts([])
        return "one left on both nodes; then none"

    async def _await_contacts(self, expected: Sequence[str]) -> None:
        deadline = time.monotonic() + 5
        for node in self.stage.pair:
            while True:
                answer = (await self._sipsak(node, "-U", "-C", "none")).rpartition("SIP/2.0 200 ")[2]
                shown = [contact for contact in self._contacts() if f"<{contact}>" in answer]
                if shown == list(expected):
                    break
                expect(time.monotonic() < deadline, f"{node.name} shows {shown}, not {expected}:\n{answer}")
                await pause(reactor, 0.1)

    async def _sipsak(
        self,
        node: NodeProcess,
        *options: str,
        target: str = f"sip:{PINGER}@{DOMAIN}",
        password: str = PASSWORD,
        status: int = 0,
    ) -> str:
        """
        @return: what it wrote; messages included.

        @raise Failed: if its exit status is not C{status}.
        """
        client = Client()
        self._asked += 1
        self.stage.spawn(
            client,
            "sipsak",
            *("-vvv", "-i", "-k", f"{self.stage.pair.network}.104"),
            # Before -s, whose host it would look up otherwise.
            *("-p", f"{node.address}:5060", "-s", target, "-u", PINGER, "-a", password),
            *options,
        )
        ended = await client.ended
        said = self.stage.folder / f"sipsak-{self._asked}.log"
        said.write_text(client.output)
        self.stage.count("sipsak", Figures(1, int(ended == status), int(ended != status)))
        if ended != status:
            lines = [line for line in client.output.splitlines() if line.startswith(("SIP/2.0 ", "error:"))]
            raise Failed(f"sipsak {' '.join(options)}: status {ended}: {'; '.join(lines)}; see {said}")
        return client.output
