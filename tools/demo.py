"""
The main job, end to end, as one can watch it: two nodes as processes of their
own, real DNS, real PostgreSQL, phones that call, a node killed in the middle
of it, and the bill.

Every step says what was expected and what was seen; the exit status is 0 only
if all of them held.  Nothing is faked: the nodes are C{twistd} processes made
by C{sipxha init}, on the standard ports of two loopback addresses.
"""

from __future__ import annotations

import json
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from twisted.internet.defer import Deferred, DeferredList, TimeoutError, maybeDeferred
from twisted.internet.task import LoopingCall

from sipxha.config.model import Dns
from sipxha.net.dns import Locator, resolver_for
from sipxha.sip.address import Address
from sipxha.sip.message import Response
from sipxha.sip.uri import Uri
from tests.support.pair import DOMAIN, NodeProcess, Pair, pause, run, sipxha
from tests.support.phone import Call, CallFailed, Phone
from tools import foreground
from tools.story import Failed, Story, expect, last_lines, tell, until

reactor = foreground.reactor

CALL_INTERVAL = 0.1
"""Seconds between the calls of the traffic that the kill happens in."""

TALK = 0.3
"""Seconds that a call of the traffic lasts."""

PATIENCE = 3.0
"""Seconds after which the people on the phone give up."""

LIMIT = 1.0
"""Seconds in which a new call must be set up after a node died (design section 9)."""

PASSWORD = "correct horse"


class Setup(NamedTuple):
    """
    One call of the traffic.
    """

    dialled: float
    took: float
    call: Call | None
    outcome: str


class Traffic:
    """
    Calls that are set up one after the other, whatever happens to the nodes.
    """

    def __init__(self, phones: list[Phone]) -> None:
        self._phones = phones
        self._loop = LoopingCall(self._dial)
        self._count = 0
        self._open: list[Deferred[None]] = []
        self.setups: list[Setup] = []
        self.unended: list[Call] = []
        """Calls whose BYE nobody has answered yet."""

    def start(self) -> None:
        """
        Dial at regular intervals from now on.
        """
        self._loop.start(CALL_INTERVAL)

    async def stop(self) -> None:
        """
        Dial no more, and let all calls come to their end.
        """
        self._loop.stop()
        await DeferredList(self._open)

    def _dial(self) -> None:
        phones = self._phones
        caller = phones[self._count % len(phones)]
        callee = phones[(self._count + 1 + self._count // len(phones)) % len(phones)]
        self._count += 1
        if caller is not callee:
            self._open.append(Deferred.fromCoroutine(self._one(caller, callee)))

    async def _one(self, caller: Phone, callee: Phone) -> None:
        dialled = time.monotonic()
        call, outcome = None, "set up"
        try:
            call = await caller.call(callee.aor).addTimeout(PATIENCE, reactor)
        except (CallFailed, TimeoutError) as error:
            outcome = str(error) or "no answer"
        self.setups.append(Setup(dialled, time.monotonic() - dialled, call, outcome))
        if call is not None:
            await pause(reactor, TALK)
            await self.hang_up(call)

    async def hang_up(self, call: Call) -> None:
        """
        BYE, and remember the call if nobody took it.
        """
        try:
            response = await call.hang_up().addTimeout(PATIENCE, reactor)
        except TimeoutError:
            self.unended.append(call)
            return
        # 481: the BYE came through, and only its answer died with the node.
        if response.status not in (200, 481):
            self.unended.append(call)


class Demo:
    """
    The cast and the scenes.
    """

    def __init__(self, story: Story, folder: Path) -> None:
        self.story = story
        self.pair = Pair(reactor, folder / "pair")
        self.east, self.west = self.pair.nodes
        self.phones: list[Phone] = []
        self.completed: dict[str, str] = {}
        """Call-ID of each call of which a CDR must come, and its termination."""

    async def stop_all(self) -> None:
        """
        Stop the nodes that still run.
        """
        await self.pair.stop()

    # Scenes

    async def play(self) -> None:
        """
        All of it.
        """
        story = self.story
        story.title("Two nodes")
        await story.step("sipxha init writes a pair that can start", self.write)
        await story.step("both nodes start at once and find each other", self.start)
        await story.step(
            "DNS names both front doors, and each node's registrars in its own order", self.read_dns
        )
        story.title("Phones")
        await story.step("six phones register, half of them at either node", self.register)
        await story.step("each node knows all of them, with the same numbers", self.same_registrations)
        await story.step("a wrong password and an unknown user look the same", self.wrong_password)
        story.title("Calls")
        await story.step("a phone that registered at sipx1 rings when called through sipx2", self.call_across)
        await story.step("a line with two phones rings both; the answer of one ends the other", self.fork)
        await story.step("a caller who gives up ends the ringing", self.cancel)
        await story.step("a busy phone is busy, an unknown number is not found", self.failures)
        await story.step("a stranger cannot call through us", self.stranger)
        story.title("A node dies")
        await story.step("calls go on while sipx2 is killed (kill -9, its database too)", self.kill)
        await story.step("no acknowledged registration is lost", self.survivors)
        await story.step(
            "sipxha resolve bills what it can, and says what is missing (exit 3)", self.resolve_partly
        )
        story.title("It comes back")
        await story.step("sipx2 starts and pulls what it missed", self.restart)
        await story.step("calls that it carried when it died are hung up through it", self.end_old_calls)
        await story.step("phones that are called through it ring again", self.call_through_west)
        story.title("The bill")
        await story.step("every call has one CDR, whichever node saw which part of it", self.bill)
        await story.step("both nodes stop on SIGTERM, with status 0", self.stop)

    async def write(self) -> str:
        """
        A pair, its users, and the DNS server that serves its zone.
        """
        await self.pair.write()
        await self.pair.add_users([(str(number), PASSWORD) for number in range(201, 207)])
        return f"sipx1 at {self.east.address}, sipx2 at {self.west.address}, DNS at {self.pair.network}.53"

    async def start(self) -> str:
        """
        Both at once.
        """
        states = await self.pair.start()
        for node in self.pair:
            await self.reach(node, "Reachable")
        return f"{', '.join(states)}; each says that the other is Reachable"

    async def reach(self, node: NodeProcess, state: str) -> None:
        """
        Wait until a node says of its peer what is expected.
        """
        deadline = time.monotonic() + 5
        while True:
            peers = json.loads(await sipxha(reactor, "peers", "--json", "--config", str(node.config)))
            if peers[0]["state"] == state:
                return
            expect(time.monotonic() < deadline, f"{node.name} says that its peer is {peers[0]['state']}")

    async def read_dns(self) -> str:
        """
        Through the protocol, not from the file.
        """
        locator = self.directory()
        lines = []
        for name, expected in (
            (f"sip:{DOMAIN};transport=tcp", 2),
            (f"sip:rr.{self.east.name}", 2),
            (f"sip:rr.{self.west.name}", 2),
        ):
            hops = await locator.locate(Uri.parse(name))
            addresses = [f"{hop.address}:{hop.port}/{hop.transport}" for hop in hops]
            expect(len(hops) >= expected, f"{name}: {addresses}")
            lines.append(f"{name} → {', '.join(addresses)}")
        for node in self.pair:
            hops = await locator.locate(Uri.parse(f"sip:rr.{node.name}"))
            expect(hops[0].address == node.address, f"rr.{node.name} does not name its own node first")
        return "\n".join(lines)

    async def register(self) -> str:
        """
        Three at each, over UDP and TCP.
        """
        for index in range(6):
            phone = self.phone(201 + index, index + 10, "udp" if index % 2 else "tcp")
            node = self.pair.nodes[index % 2]
            response = await phone.register(at=node.address)
            expect(response.status == 200, f"{phone.user}: {response.status} {response.reason}")
        return "201 to 206: 401, then 200; odd numbers over TCP at sipx1, even ones over UDP at sipx2"

    async def same_registrations(self) -> str:
        """
        What the operator's command says on both.
        """
        began = time.monotonic()
        while True:
            tables = [await self.registrations(node.config) for node in self.pair]
            if tables[0] == tables[1] and len(tables[0]) == 6:
                break
            expect(time.monotonic() - began < 5, f"after 5 s: {len(tables[0])} and {len(tables[1])} rows")
        return f"{len(tables[0])} rows on both, minted by both: sipxha registrations"

    async def registrations(self, config: Path) -> list[dict[str, Any]]:
        """
        @return: the live rows of a node, without what differs by design.
        """
        rows = json.loads(await sipxha(reactor, "registrations", "--json", "--config", str(config)))
        return sorted(rows, key=lambda row: (row["identity"], row["contact"]))

    async def wrong_password(self) -> str:
        """
        So that a scanner learns no numbers.
        """
        answers = []
        for user in (201, 999):
            phone = self.phone(user, 40 + user % 7, "udp", "wrong", keep=False)
            response = await phone.register()
            fields = [
                key for key in ("www-authenticate", "contact", "server", "warning") if response.has(key)
            ]
            answers.append((response.status, response.reason, fields))
            await maybeDeferred(phone.stopService)
        expect(answers[0] == answers[1] and answers[0][0] == 401, f"answers: {answers}")
        return f"both: {answers[0][0]} {answers[0][1]}"

    async def call_across(self) -> str:
        """
        Each way, through the other node.
        """
        lines = []
        for caller, callee, node in (
            (0, 1, self.east),
            (1, 0, self.west),
            (1, 2, self.west),
            (0, 3, self.east),
        ):
            one, other = self.phones[caller], self.phones[callee]
            began = time.monotonic()
            call = await one.call(other.aor, through=node.address)
            took = time.monotonic() - began
            expect(call.call_id in other.calls, "the callee does not know of it")
            self.completed[call.call_id] = "C"
            # Let the callee hang up half of them.
            ender = call if caller else other.calls[call.call_id]
            response = await ender.hang_up()
            expect(response.status == 200, f"BYE: {response.status} {response.reason}")
            lines.append(
                f"{one.user} → {other.user} through {node.name}: set up in {took * 1000:.0f} ms, ended by {'caller' if caller else 'callee'}"
            )
        return "\n".join(lines)

    async def fork(self) -> str:
        """
        A second phone on line 201.
        """
        second = self.phone(201, 30, "udp", keep=False)
        await second.register(at=self.west.address)
        first, caller = self.phones[0], self.phones[2]
        first.answers = lambda request: None
        call = await caller.call(first.aor)
        expect(call.call_id in second.calls, "the second phone has no call")
        await until(lambda: not first.is_ringing, "the first phone still rings")
        self.completed[call.call_id] = "C"
        await call.hang_up()
        await second.register(0)
        await maybeDeferred(second.stopService)
        first.answers = lambda request: 200
        return "both rang; the second answered; the first got CANCEL"

    async def cancel(self) -> str:
        """
        CANCEL all the way to the phone.
        """
        caller, callee = self.phones[3], self.phones[4]
        callee.answers = lambda request: None
        rang: list[Response] = []
        outcome = caller.call(callee.aor, rang.append)
        await until(lambda: bool(rang), "it does not ring")
        caller.give_up()
        try:
            await outcome
            raise Failed("the call was set up")
        except CallFailed as error:
            expect(error.response.status == 487, f"{error}")
            self.completed[error.response.call_id] = "A"
        await until(lambda: not callee.is_ringing, "the phone still rings")
        callee.answers = lambda request: 200
        return "487 Request Terminated, and the phone is silent"

    async def failures(self) -> str:
        """
        What the callee or the registry says goes up to the caller.
        """
        seen = []
        self.phones[4].answers = lambda request: 486
        for target, expected in ((self.phones[4].aor, 486), (f"sip:999@{DOMAIN}", 404)):
            try:
                await self.phones[0].call(target)
                raise Failed(f"{target}: the call was set up")
            except CallFailed as error:
                expect(error.response.status == expected, f"{target}: {error}")
                self.completed[error.response.call_id] = "F"
                seen.append(str(error))
        self.phones[4].answers = lambda request: 200
        return "; ".join(seen)

    async def stranger(self) -> str:
        """
        Neither to our users nor out into the world, with or without a To tag.
        """
        stranger = self.phone(666, 41, "udp", "guess", keep=False)
        statuses = []
        for target in (self.phones[0].aor, "sip:1900555@premium.example.net"):
            try:
                await stranger.call(target)
                raise Failed(f"{target}: the call was set up")
            except CallFailed as error:
                statuses.append(error.response.status)
        await maybeDeferred(stranger.stopService)
        expect(statuses == [407, 407], f"statuses: {statuses}")
        return "407, 407"

    async def kill(self) -> str:
        """
        kill -9 in mid-traffic.
        """
        self.before = await self.registrations(self.east.config)
        traffic = Traffic(self.phones)
        traffic.start()
        await pause(reactor, 1.5)
        killed = time.monotonic()
        await self.west.kill()
        self.west.kill_database()
        # Registrations are refreshed meanwhile, by whoever answers.
        for phone in self.phones:
            response = await phone.register()
            expect(response.status == 200, f"{phone.user} could not refresh: {response.status}")
        await pause(reactor, 3.0)
        await traffic.stop()
        self.traffic = traffic
        before = [each for each in traffic.setups if each.dialled + each.took < killed]
        during = [each for each in traffic.setups if each.dialled < killed <= each.dialled + each.took]
        after = [each for each in traffic.setups if each.dialled >= killed]
        for each in traffic.setups:
            if each.call is not None:
                self.completed[each.call.call_id] = "C"
        failed = [each.outcome for each in after if each.call is None]
        slowest = max(each.took for each in after)
        expect(not failed, f"{len(failed)} of {len(after)} new calls failed: {failed[:3]}")
        expect(slowest < LIMIT, f"a new call took {slowest:.2f} s, more than {LIMIT} s")
        lost = sum(each.call is None for each in during)
        return (
            f"{len(before)} calls before; {len(during)} being set up at that moment, {lost} of them failed;\n"
            f"{len(after)} dialled after it: all set up, the slowest in {slowest * 1000:.0f} ms;\n"
            f"{len(traffic.unended)} were up through sipx2 and could not be ended; six registrations refreshed"
        )

    async def survivors(self) -> str:
        """
        Every binding that any phone holds a 200 for.
        """
        rows = await self.registrations(self.east.config)
        held = {row["contact"] for row in rows}
        missing = [
            phone.user for phone in self.phones if not any(phone.contact in contact for contact in held)
        ]
        expect(not missing, f"lost: {missing}")
        peers = json.loads(await sipxha(reactor, "peers", "--json", "--config", str(self.east.config)))
        return f"{len(rows)} rows at sipx1; it says that {peers[0]['name']} is {peers[0]['state']}"

    async def resolve_partly(self) -> str:
        """
        With one of two databases gone.
        """
        out = await sipxha(reactor, "resolve", "--config", str(self.east.config), status=3)
        return last_lines(out, 4)

    async def restart(self) -> str:
        """
        It starts while its peer serves, and pulls before it opens SIP.
        """
        state = await self.west.start()
        expect(state == "ready", f"it is {state}")
        began = time.monotonic()
        while True:
            tables = [await self.registrations(node.config) for node in self.pair]
            if tables[0] == tables[1]:
                break
            expect(time.monotonic() - began < 5, "the registries still differ after 5 s")
        return f"ready; {len(tables[0])} rows on both nodes"

    async def call_through_west(self) -> str:
        """
        The node that was dead routes to phones that registered elsewhere.
        """
        call = await self.phones[1].call(self.phones[2].aor, through=self.west.address)
        self.completed[call.call_id] = "C"
        await call.hang_up()
        return "202 → 203 through sipx2: set up and ended"

    async def end_old_calls(self) -> str:
        """
        Route state is signed, not kept: dialogs survive the proxy's death.
        """
        unended, self.traffic.unended = self.traffic.unended, []
        for call in unended:
            await self.traffic.hang_up(call)
        expect(not self.traffic.unended, f"{len(self.traffic.unended)} could not be ended")
        return f"{len(unended)} ended"

    async def bill(self) -> str:
        """
        What the phones know against what the resolver wrote.
        """
        # The databases of a node that was killed recover while it serves already.
        deadline = time.monotonic() + 15
        while True:
            status, out, _ = await run(reactor, "sipxha", "resolve", "--config", str(self.east.config))
            cdrs = json.loads(await self.east_says("cdr", "list", "--json"))
            terminations: dict[str, list[str]] = {}
            for cdr in cdrs:
                terminations.setdefault(cdr["call_id"], []).append(cdr["termination"])
            missing = [call for call in self.completed if call not in terminations]
            if (status == 0 and not missing) or time.monotonic() > deadline:
                break
        self.show(cdrs)
        double = [call for call, rows in terminations.items() if len(rows) > 1]
        wrong = {
            call: (expected, terminations[call])
            for call, expected in self.completed.items()
            if call in terminations and terminations[call] != [expected]
        }
        expect(status == 0, f"the last pass was not complete:\n{out}")
        expect(not missing, f"{len(missing)} of {len(self.completed)} calls have no CDR")
        expect(not double, f"{len(double)} calls have more than one CDR")
        expect(not wrong, f"other terminations than expected: {wrong}")
        return f"{len(self.completed)} calls, {len(cdrs)} CDRs, each once\n" + last_lines(out, 4)

    async def east_says(self, *arguments: str) -> str:
        """
        @return: what the operator's command prints at sipx1.
        """
        return await sipxha(reactor, *arguments, "--config", str(self.east.config))

    def show(self, cdrs: list[dict[str, Any]]) -> None:
        """
        The table.
        """
        table = Table(*["from", "to", "start", "connect", "end", "T", "failure"], title="Call detail records")
        shown = cdrs if len(cdrs) <= 24 else [*cdrs[:12], None, *cdrs[-12:]]
        for cdr in shown:
            if cdr is None:
                table.add_row("…", "…", f"{len(cdrs) - 24} more")
                continue
            people = [Address.parse(cdr[name]).uri.user for name in ("caller_aor", "callee_aor")]
            times = [(cdr[name] or "")[11:23] for name in ("start_time", "connect_time", "end_time")]
            failure = f"{cdr['failure_status'] or ''} {cdr['failure_reason'] or ''}"
            table.add_row(*people, *times, cdr["termination"], failure)
        self.story.console.print(table)

    async def stop(self) -> str:
        """
        SIGTERM.
        """
        for phone in self.phones:
            await maybeDeferred(phone.stopService)
        statuses = [await node.stop() for node in self.pair]
        expect(statuses == [0, 0], f"statuses: {statuses}")
        return "0, 0"

    def directory(self) -> Locator:
        """
        @return: a way to the servers by DNS, with a memory of its own for those
            that did not answer.
        """
        return Locator(reactor, resolver_for(reactor, Dns(server=self.pair.dns)), random.random)

    def phone(
        self, user: int, host: int, transport: str, password: str = PASSWORD, *, keep: bool = True
    ) -> Phone:
        """
        @return: a phone at an address of its own.
        """
        phone = Phone(
            reactor,
            str(user),
            password,
            DOMAIN,
            f"{self.pair.network}.{100 + host}",
            5060,
            self.directory(),
            transport,
        )
        phone.startService()
        if keep:
            self.phones.append(phone)
        return phone


if __name__ == "__main__":
    sys.exit(foreground.run(partial(tell, Demo)))
