"""
A node that is killed again and again while sipp registers users at it::

    python -m tools.kill --kills 20

It is alone, so that what it lost nobody could give back: after each start
every registration that sipp saw confirmed must be there.  The miniature with
our own load is in C{tests/system/test_disk.py}.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from functools import partial
from pathlib import Path

from lxml import etree

from sipxha.cli.status import ask
from sipxha.config.load import load
from sipxha.config.schema import NAMESPACE
from sipxha.config.users import add_user
from tests.support.pair import DOMAIN, NodeProcess, Pair, pause
from tools import foreground
from tools.interop.sipp import Sipp
from tools.story import Story, expect, tell, until

reactor = foreground.reactor

USERS = 200
RATE = 100
"""REGISTERs, each of them challenged, in a second."""

BURST = (0.2, 2.0)
"""Seconds between the first answer and the kill."""

PASSWORD = "correct-horse"

PHONE = 9
"""The host of sipp."""


class Kills:
    """
    The node, the phones, and what they were promised.
    """

    def __init__(self, story: Story, folder: Path, kills: int) -> None:
        self.story = story
        self.pair = Pair(reactor, folder / "node", nodes=1)
        self._folder = folder
        self._kills = kills
        self._promised: dict[str, tuple[int, int]] = {}
        """The last confirmed registration of each user: the round, and the number in it."""

        self._confirmed = 0
        self._starts: list[float] = []

    @property
    def node(self) -> NodeProcess:
        """
        The only one.
        """
        return self.pair.nodes[0]

    async def stop_all(self) -> None:
        """
        Stop what still runs.
        """
        await self.pair.stop()

    async def play(self) -> None:
        """
        All of it.
        """
        self.story.title(f"{USERS} users, {RATE} REGISTERs a second by sipp, {self._kills} times kill -9")
        await self.story.step("a node starts", self._start)
        for number in range(self._kills):
            await self.story.step(f"kill {number + 1} loses nothing", partial(self._kill, number))
        await self.story.step("no confirmed registration was ever lost", self._sum)

    async def _start(self) -> str:
        expect(shutil.which("sipp") is not None, "sipp is missing (Debian: apt install sip-tester)")
        await self.pair.write()
        file = self.node.config
        tree = etree.parse(str(file))
        registrar = tree.getroot().find(f"{{{NAMESPACE}}}registrar")
        assert registrar is not None
        # sipp knows no other.
        registrar.set("digest", "MD5")
        tree.write(str(file))
        files = load(file).users
        users = [str(1000 + number) for number in range(USERS)]
        for user in users:
            add_user(files, f"{user}@{DOMAIN}", DOMAIN, PASSWORD)
        lines = [f"{user};[authentication username={user} password={PASSWORD}]" for user in users]
        (self._folder / "users.csv").write_text("\n".join(["SEQUENTIAL", *lines, ""]))
        (state,) = await self.pair.start()
        return state

    async def _kill(self, number: int) -> str:
        log = self._folder / f"round-{number}.log"
        sipp = self._sipp(number, log)
        try:
            await until(lambda: log.exists() and log.stat().st_size > 0, sipp.complaint() or "no answer", 20)
            await pause(reactor, random.uniform(*BURST))
            await self.node.kill()
        finally:
            sipp.end()
        await sipp.ended
        confirmed = self._read(log)
        began = time.monotonic()
        await self.node.start()
        self._starts.append(time.monotonic() - began)
        held = {
            row["identity"].partition("@")[0]: row["callid"]
            for row in ask(self.node.config, "/registrations")
        }
        lost = {
            user: promised
            for user, promised in self._promised.items()
            if user not in held or self._place(held[user]) < promised
        }
        expect(not lost, f"lost: {lost}")
        return f"{confirmed} confirmed before it, {len(self._promised)} users looked at"

    def _sipp(self, number: int, log: Path) -> Sipp:
        sipp = Sipp(self._folder, f"round-{number}")
        address = f"{self.pair.network}.{PHONE}"
        arguments = [
            *("sipp", f"{self.node.address}:5060", *sipp.options("durable", address, 5060 + number)),
            # Without -auth_uri, sipp hashes the address of the server instead of the Request-URI.
            *(
                "-inf",
                str(self._folder / "users.csv"),
                "-auth_uri",
                DOMAIN,
                "-r",
                str(RATE),
                "-l",
                str(10 * RATE),
            ),
            *("-cid_str", f"%u-{number}@%s", "-trace_logs", "-log_file", str(log)),
        ]
        reactor.spawnProcess(
            sipp, shutil.which("sipp"), arguments, env={"TERM": "xterm"}, path=str(self._folder)
        )
        return sipp

    def _read(self, log: Path) -> int:
        """
        What sipp saw confirmed in a round.
        """
        confirmed = [line.split() for line in log.read_text().splitlines()]
        for words in confirmed:
            if len(words) == 2:
                user, callid = words
                self._promised[user] = max(self._promised.get(user, (-1, 0)), self._place(callid))
        self._confirmed += len(confirmed)
        return len(confirmed)

    def _place(self, callid: str) -> tuple[int, int]:
        """
        Round and number of a registration.
        """
        number, _, kill = callid.partition("@")[0].partition("-")
        return int(kill), int(number)

    async def _sum(self) -> str:
        expect(len(self._starts) == self._kills, f"only {len(self._starts)} kills were looked at")
        middle = sorted(self._starts)[len(self._starts) // 2]
        return f"{self._confirmed} confirmed, {self._kills} kills; a start took {middle:.1f} s"


def main() -> int:
    """
    @return: the exit status: 0 if nothing was lost.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.kill", description="Kill a node under load.")
    parser.add_argument("--kills", type=int, default=20, help="how often (20)")
    kills = parser.parse_args().kills
    return foreground.run(partial(tell, lambda story, folder: Kills(story, folder, kills)))


if __name__ == "__main__":
    sys.exit(main())
