"""
A long run over real sockets::

    python -m tools.soak --minutes 5

Phones register and call each other through a pair of nodes while every tenth
of their datagrams is lost.  When they are done, and the timers of the last
messages have run out, nothing of all that may be left on the nodes but the
registrations and one record for each call.

What happens is up to chance, and happens no second time: what the nodes wrote
is kept when something did not hold.  The miniature that can be repeated is in
C{tests/transaction}.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import LoopingCall

from sipxha.cli.status import ask
from sipxha.config.load import load
from sipxha.config.model import Dns
from sipxha.config.users import add_user
from sipxha.net.dns import Locator, resolver_for
from sipxha.sip.message import Request
from tests.support.lossy import LossyReactor
from tests.support.pair import DOMAIN, NodeProcess, Pair, pause, run, sipxha
from tests.support.phone import Call, CallFailed, Phone
from tools import foreground
from tools.story import Story, expect, last_lines, tell, until

reactor = foreground.reactor

LOSS = 0.1
PHONES = 20
PASSWORD = "correct horse"

PAUSE = 2.0
"""Seconds between two calls of a phone, on average."""

TALK = 0.5
PATIENCE = 6.0
"""Seconds after which a caller gives up."""

REFRESH = 0.15
"""The part of the pauses in which a phone registers again."""

BUSY, RINGING = 0.1, 0.1
"""The parts of the calls that are declined, and that nobody answers."""

SETTLING = 75.0
"""Seconds in which every transaction ends: one may last 64 * T1 for its client
and as long again for its server (timers B and H, or F and J), and a bit."""

WARM_UP = 60.0
"""Seconds after which a node has all the memory that it needs for this load."""

GROWTH = 4 * 1024
"""KiB that it may take beyond that."""

REPORT = 30.0


class Soak:
    """
    The phones, and what became of their calls.
    """

    def __init__(self, story: Story, folder: Path, seconds: float) -> None:
        self.story = story
        self.pair = Pair(reactor, folder / "pair")
        self._network = LossyReactor(reactor, lambda *_: random.random() < LOSS)
        self._seconds = seconds
        self._phones: list[Phone] = []
        self._outcomes: Counter[str] = Counter()
        self._registered: Counter[int] = Counter()
        self._completed: list[str] = []
        """Call-IDs of the calls whose BYE was answered 200."""

        self._memory: dict[str, int] = {}
        """What each node had after the warm-up, in KiB."""

    async def stop_all(self) -> None:
        """
        Stop the nodes that still run.
        """
        await self.pair.stop()

    async def play(self) -> None:
        """
        All of it.
        """
        story = self.story
        story.title(f"{PHONES} phones, and {LOSS:.0%} of their datagrams lost")
        await story.step("two nodes start", self._start)
        await story.step("every phone registers", self._register_all)
        await story.step(f"they call each other for {self._seconds / 60:g} minutes", self._call)
        await story.step("every registration was confirmed, and both nodes hold the same", self._same)
        await story.step(f"neither node took more than {GROWTH // 1024} MiB after the warm-up", self._small)
        await story.step("every completed call has one CDR, no other has two", self._billed)
        await story.step("no transaction is left on either node (T16)", self._settled)
        await story.step("the logs have no traceback", self._quiet)
        await story.step("both nodes stop on SIGTERM, with status 0", self._stop)

    async def _start(self) -> str:
        await self.pair.write()
        east, west = self.pair
        files = load(east.config).users
        for number in range(PHONES):
            add_user(files, f"{1000 + number}@{DOMAIN}", DOMAIN, PASSWORD)
        # Users are the same on all nodes.
        shutil.copy(files.credentials, west.folder)
        return ", ".join(await self.pair.start())

    async def _register_all(self) -> str:
        resolver = resolver_for(reactor, Dns(server=self.pair.dns))
        for number in range(PHONES):
            phone = Phone(
                self._network,
                str(1000 + number),
                PASSWORD,
                DOMAIN,
                f"{self.pair.network}.{100 + number}",
                5060,
                Locator(reactor, resolver, random.random),
            )
            phone.answers = self._answer
            phone.startService()
            self._phones.append(phone)
        await gatherResults(
            [Deferred.fromCoroutine(self._register(phone)) for phone in self._phones], consumeErrors=True
        )
        expect(set(self._registered) == {200}, f"answers: {dict(self._registered)}")
        return f"{len(self._phones)} times 200, at either node"

    async def _register(self, phone: Phone) -> None:
        response = await phone.register(at=self._node().address)
        self._registered[response.status] += 1

    def _node(self) -> NodeProcess:
        return random.choice(self.pair.nodes)

    def _answer(self, _: Request) -> int | None:
        chance = random.random()
        if chance < BUSY:
            return 486
        return None if chance < BUSY + RINGING else 200

    # Traffic

    async def _call(self) -> str:
        end = time.monotonic() + self._seconds
        warm = reactor.callLater(min(WARM_UP, self._seconds / 2), self._remember_memory)
        reports = LoopingCall(self._report)
        reports.start(REPORT, now=False)
        try:
            await gatherResults(
                [Deferred.fromCoroutine(self._live(phone, end)) for phone in self._phones], consumeErrors=True
            )
        finally:
            reports.stop()
            if warm.active():
                warm.cancel()
        answered = sum(self._outcomes.values())
        lost, carried = self._network.lost, self._network.carried
        expect(len(self._completed) > 0, f"no call was completed: {dict(self._outcomes)}")
        return (
            f"{answered} calls: {', '.join(f'{what} {count}' for what, count in self._outcomes.most_common())}\n"
            f"{lost} of {lost + carried} datagrams lost"
        )

    async def _live(self, phone: Phone, end: float) -> None:
        """
        What one phone does all day.
        """
        while time.monotonic() < end:
            await pause(reactor, random.uniform(0, 2 * PAUSE))
            if random.random() < REFRESH:
                await self._register(phone)
            callee = random.choice([other for other in self._phones if other is not phone])
            try:
                call = await self._dial(phone, callee)
            except CallFailed as failed:
                self._outcomes[str(failed.response.status)] += 1
                continue
            await pause(reactor, random.uniform(0, 2 * TALK))
            other = callee.calls.get(call.call_id)
            ending = call if other is None or random.random() < 0.5 else other
            response = await ending.hang_up()
            if response.status == 200:
                self._completed.append(call.call_id)
                self._outcomes["completed"] += 1
            else:
                self._outcomes[f"BYE {response.status}"] += 1

    async def _dial(self, caller: Phone, callee: Phone) -> Call:
        """
        Call, and give up after a while.
        """
        impatience = LoopingCall(caller.give_up)
        # Again, if what it gave up was only the request before the challenge.
        starting = reactor.callLater(PATIENCE, impatience.start, 1.0)
        try:
            return await caller.call(callee.aor, through=self._node().address)
        finally:
            if starting.active():
                starting.cancel()
            if impatience.running:
                impatience.stop()

    def _remember_memory(self) -> None:
        self._memory = {node.name: resident(node) for node in self.pair}

    def _report(self) -> None:
        parts = [
            f"{node.name}: {live(node)} transactions, {resident(node) // 1024} MiB" for node in self.pair
        ]
        self.story.console.print(
            f"       {len(self._completed)} completed; {'; '.join(parts)}", style="dim", soft_wrap=True
        )

    # What is left

    async def _same(self) -> str:
        expect(set(self._registered) == {200}, f"answers: {dict(self._registered)}")
        tables: list[list[str]] = []

        def are_same() -> bool:
            tables[:] = [
                sorted(json.dumps(row, sort_keys=True) for row in ask(node.config, "/registrations"))
                for node in self.pair
            ]
            return tables[0] == tables[1]

        await until(are_same, "they differ")
        expect(len(tables[0]) == PHONES, f"{len(tables[0])} rows for {PHONES} phones")
        return f"{self._registered[200]} times 200, {len(tables[0])} rows"

    async def _small(self) -> str:
        lines = []
        for node in self.pair:
            before, after = self._memory[node.name], resident(node)
            line = f"{node.name}: {before / 1024:.1f} MiB, then {after / 1024:.1f} MiB"
            expect(after - before <= GROWTH, line)
            lines.append(line)
        return "\n".join(lines)

    async def _billed(self) -> str:
        config = ["--config", str(self.pair.nodes[0].config)]
        deadline = time.monotonic() + 15
        while True:
            status, out, _ = await run(reactor, "sipxha", "resolve", *config)
            listed = json.loads(await sipxha(reactor, "cdr", "list", "--json", *config))
            records = Counter(record["call_id"] for record in listed)
            terminations = {record["call_id"]: record["termination"] for record in listed}
            unbilled = [call for call in self._completed if terminations.get(call) != "C"]
            if (status == 0 and not unbilled) or time.monotonic() > deadline:
                break
        expect(status == 0, f"the last pass was not complete:\n{last_lines(out, 4)}")
        wrong = Counter(terminations.get(call, "no CDR") for call in unbilled)
        expect(not unbilled, f"of {len(self._completed)} completed calls some are otherwise: {dict(wrong)}")
        double = [call for call, count in records.items() if count > 1]
        expect(not double, f"{len(double)} calls have more than one CDR")
        return f"{len(self._completed)} completed calls, {len(listed)} CDRs: {dict(Counter(terminations.values()))}"

    async def _settled(self) -> str:
        began = time.monotonic()
        try:
            await until(lambda: not any(map(live, self.pair)), "", SETTLING)
        finally:
            left = {node.name: ask(node.config, "/status")["transactions"] for node in self.pair}
        return f"{left}, after {time.monotonic() - began:.0f} s"

    async def _quiet(self) -> str:
        lines = [line for node in self.pair for line in node.log.read_text(errors="replace").splitlines()]
        found = [line for line in lines if "Traceback" in line or "Unhandled" in line]
        expect(not found, f"{len(found)} in {', '.join(str(node.log) for node in self.pair)}")
        return f"{len(lines)} lines"

    async def _stop(self) -> str:
        for phone in self._phones:
            await maybeDeferred(phone.stopService)
        statuses = [await node.stop() for node in self.pair]
        expect(statuses == [0, 0], f"statuses: {statuses}")
        return "0, 0"


def resident(node: NodeProcess) -> int:
    """
    @return: the KiB of a node that are in memory.
    """
    status = Path(f"/proc/{node.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def live(node: NodeProcess) -> int:
    """
    @return: how many transactions a node has, in all its services.
    """
    return sum(ask(node.config, "/status")["transactions"].values())


def main() -> int:
    """
    @return: the exit status: 0 if everything held.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description="A long run over real sockets.")
    parser.add_argument("--minutes", type=float, default=5, help="how long the phones call each other (5)")
    seconds = 60 * parser.parse_args().minutes
    return foreground.run(partial(tell, lambda story, folder: Soak(story, folder, seconds)))


if __name__ == "__main__":
    sys.exit(main())
