"""
Clients that we did not write, against a running pair: sipp registers a
thousand users and calls each of them, sipsak registers, asks, pings and
unregisters.

Debian has both (sip-tester, sipsak).  Its sipp knows MD5 only and looks at no
challenge but the first, so the nodes offer nothing else.  The exit status is 0
only if every client got what it expected; all figures are sipp's own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from lxml import etree
from rich import box
from rich.table import Table
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from sipxha.config.load import load
from sipxha.config.users import add_user
from tests.support.pair import DOMAIN, NodeProcess, Pair, pause, sipxha
from tools import foreground
from tools.story import Failed, Story, expect, last_lines, tell

PACKAGES = {"sipp": "sip-tester", "sipsak": "sipsak", "systemd-analyze": "systemd"}
"""The clients, and the Debian packages that have them."""

ROOT = Path(__file__).parent.parent
SCENARIOS = Path(__file__).parent / "sipp"

DIGEST = "MD5"

USERS = 1000

REGISTER_RATE = 100
"""REGISTERs, each of them challenged, in a second."""

CALL_RATE = 25
"""Calls in a second."""

RESENT = 20
"""
So many messages of a client's thousand may be sent again: sipp does that after
half a second, and a machine that is not ours alone sometimes stalls for longer.
"""

FAILURES = 10
"""Failed calls after which no more are dialled."""

CALL_LIMIT = 20
"""Seconds after which a call has failed."""

PASSWORD = "correct-horse"

PINGER = "sipsak"
"""One user more, for sipsak."""

reactor = foreground.reactor


class Client(ProcessProtocol):
    """
    The process of a client.
    """

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()
        """Fires with the exit status, or a number below zero for a signal."""

        self.is_running = True
        self.output = ""

    def connectionMade(self) -> None:
        """
        Nobody types anything.
        """
        cast(IProcessTransport, self.transport).closeStdin()

    def outReceived(self, data: bytes) -> None:
        """
        Keep what it says.
        """
        self.output += data.decode(errors="replace")

    def errReceived(self, data: bytes) -> None:
        """
        Keep what it complains of.
        """
        self.outReceived(data)

    def processEnded(self, reason: Failure) -> None:
        """
        Tell who waits.
        """
        self.is_running = False
        ended: Any = reason.value
        if not self.ended.called:
            self.ended.callback(ended.exitCode if ended.exitCode is not None else -(ended.signal or 0))

    def kill(self) -> None:
        """
        End it if it runs.
        """
        if self.is_running:
            with suppress(ProcessExitedAlready):
                cast(IProcessTransport, self.transport).signalProcess("KILL")


class Figures(NamedTuple):
    """
    What sipp counted.
    """

    tried: int = 0
    successful: int = 0
    failed: int = 0
    unexpected: int = 0
    """Messages that the scenario does not have, in a call or outside of any."""

    timeouts: int = 0
    resent: int = 0

    def plus(self, other: Figures) -> Figures:
        """
        @return: the sums.
        """
        return Figures(*(one + two for one, two in zip(self, other, strict=True)))

    def __str__(self) -> str:
        # The others are news only if there are any.
        return ", ".join(
            f"{value} {name}"
            for name, value in self._asdict().items()
            if value or name in ("tried", "successful", "failed")
        )


class Sipp(Client):
    """
    A process of sipp with one scenario, and its figures.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__()
        self._statistics = folder / f"{name}.csv"
        self.errors = folder / f"{name}.err"

    def outReceived(self, data: bytes) -> None:
        """
        Drop it: it is for a screen.
        """

    def errReceived(self, data: bytes) -> None:
        """
        Keep why it could not start.
        """
        super().outReceived(data)

    def options(self, scenario: str, address: str, port: int) -> list[str]:
        """
        @return: what every sipp is started with.
        """
        return [
            *("-sf", str(SCENARIOS / f"{scenario}.xml"), "-nostdin"),
            *("-i", address, "-bind_local", "-p", str(port), "-ci", address),
            *("-trace_stat", "-stf", str(self._statistics), "-fd", "1"),
            *("-trace_err", "-error_file", str(self.errors)),
        ]

    def _columns(self) -> dict[str, str]:
        try:
            lines = self._statistics.read_text().splitlines()
        except FileNotFoundError:
            return {}
        # It is written line by line while sipp runs; the last one has the totals.
        return dict(zip(lines[0].split(";"), lines[-1].split(";"), strict=False)) if len(lines) > 1 else {}

    def figures(self) -> Figures:
        """
        What it counted until now.
        """
        columns = self._columns()

        def total(*names: str) -> int:
            return sum(int(columns.get(f"{name}(C)") or 0) for name in names)

        return Figures(
            int(columns.get("TotalCallCreated") or 0),
            total("SuccessfulCall"),
            total("FailedCall"),
            total("FailedUnexpectedMessage", "OutOfCallMsgs", "DeadCallMsgs"),
            total("FailedMaxUDPRetrans", "FailedTimeoutOnRecv", "FailedTimeoutOnSend"),
            total("Retransmissions"),
        )

    def response_time(self) -> float:
        """
        @return: the mean of its first timer in seconds.
        """
        hours, minutes, seconds, micros = map(int, self._columns()["ResponseTime1(C)"].split(":"))
        return hours * 3600 + minutes * 60 + seconds + micros / 1e6

    def complaint(self) -> str:
        """
        @return: what it wrote about its first error.
        """
        lines = self.errors.read_text(errors="replace").splitlines() if self.errors.exists() else []
        return "\n".join(lines[:12]) or last_lines(self.output, 3)


class Interop:
    """
    The clients and what they do.
    """

    def __init__(self, story: Story, folder: Path) -> None:
        self.story = story
        self.folder = folder
        self.pair = Pair(reactor, folder / "pair")
        self.east, self.west = self.pair.nodes
        self._clients: list[Client] = []
        self._counted: dict[str, Figures] = {}

    async def play(self) -> None:
        """
        All of it.
        """
        story = self.story
        story.title("Two nodes")
        await story.step(f'a pair with digest="{DIGEST}" and {USERS} users', self.write)
        await story.step("both nodes start and reach each other", self.start)
        if story.failures:
            return
        story.title("sipp")
        await story.step(f"sipp listens for calls, and registers {USERS} users at sipx1", self.register)
        await story.step("both nodes know all of them", self.same_registrations)
        await story.step(f"sipp calls each of the {USERS} users once through sipx2", self.call)
        story.title("sipsak")
        await story.step("sipsak pings both nodes, over UDP and TCP", self.ping)
        await story.step("a wrong password is refused", self.wrong_password)
        await story.step("sipsak registers two contacts, one at either node", self.register_two)
        await story.step("both nodes show both to sipsak", self.ask)
        await story.step("it takes back one at sipx2; then all of them at sipx1", self.unregister)
        story.title("Afterwards")
        await story.step(f"both nodes still agree on {USERS} registrations", self.same_registrations)
        await story.step("systemd finds no fault in the unit", self.verify_unit)
        await story.step(f"sipxha resolve writes {USERS} call detail records, all C", self.bill)
        await story.step("both nodes stop on SIGTERM, with status 0, and logged no error", self.stop_nodes)
        self._show()

    def _show(self) -> None:
        """
        All figures.
        """
        table = Table("client", box=box.SIMPLE_HEAD, caption=f"resent: {RESENT} are tolerated in each row")
        for name in Figures._fields:
            table.add_column(name, justify="right")
        for client, figures in self._counted.items():
            table.add_row(client, *map(str, figures))
        self.story.console.print()
        self.story.console.print(table)

    async def write(self) -> str:
        """
        What C{sipxha init} and C{sipxha user add} would; the users on one node,
        and its table on the other.
        """
        await self.pair.write()
        for node in self.pair:
            document = etree.parse(str(node.config))
            registrar = document.find("{*}registrar")
            assert registrar is not None
            registrar.set("digest", DIGEST)
            document.write(str(node.config), encoding="UTF-8")
        settings = load(self.east.config)
        for name in [*map(user, range(USERS)), PINGER]:
            add_user(settings.users, f"{name}@{DOMAIN}", settings.domain.realm, PASSWORD)
        shutil.copyfile(settings.users.credentials, load(self.west.config).users.credentials)
        return f"sipx1 at {self.east.address}, sipx2 at {self.west.address}"

    async def start(self) -> str:
        """
        Whichever is first may find the other one missing for a moment.
        """
        states = await self.pair.start()
        deadline = time.monotonic() + 20
        while True:
            peers = [await self._command(node, "peers", "--json") for node in self.pair]
            if all(row["state"] == "Reachable" for rows in peers for row in rows):
                return f"{', '.join(states)}; Reachable both ways"
            expect(time.monotonic() < deadline, f"after 20 s: {peers}")
            await pause(reactor, 0.2)

    async def register(self) -> str:
        """
        The callee first, for its address is what is registered.
        """
        network = self.pair.network
        self.callee = self._sipp("callee", "callee", f"{network}.102", 5060, self.west, "-m", str(USERS))
        users = self.folder / "users.csv"
        lines = [
            f"{name};[authentication username={name} password={PASSWORD}]" for name in map(user, range(USERS))
        ]
        users.write_text("\n".join(["SEQUENTIAL", *lines, ""]))
        phones = self._sipp(
            *("register", "register", f"{network}.101", 5060, self.east),
            *("-inf", str(users), "-key", "contact", f"{network}.102:5060"),
            # Without it, sipp hashes the address of the server instead of the Request-URI.
            *("-auth_uri", DOMAIN),
            *("-r", str(REGISTER_RATE), "-m", str(USERS), "-timeout", "90s", "-timeout_error"),
        )
        with self.story.console.status(f"{USERS} REGISTERs, {REGISTER_RATE} in a second"):
            status = await phones.ended
        figures = self._count("sipp phones", phones.figures())
        self._judge(figures, [phones] if status else [])
        return f"{figures}\n401 and 200 took {phones.response_time() * 1000:.0f} ms on average"

    async def same_registrations(self) -> str:
        """
        What the operator's command says on both.
        """
        deadline = time.monotonic() + 10
        while True:
            tables = [await self._command(node, "registrations", "--json") for node in self.pair]
            east, west = (
                sorted((row["identity"], row["contact"], row["update_number"]) for row in rows)
                for rows in tables
            )
            if east == west and len(east) == USERS:
                return f"{len(east)} rows on both, the same numbers: sipxha registrations"
            expect(time.monotonic() < deadline, f"after 10 s: {len(east)} and {len(west)} rows")
            await pause(reactor, 0.2)

    async def call(self) -> str:
        """
        A process for each call: this sipp computes the digest of one URI for
        all calls of a process, and a proxy wants that of the one who is called.
        """
        callers: list[Sipp] = []
        failed: list[Sipp] = []
        began = time.monotonic()
        with self.story.console.status(f"{USERS} calls, {CALL_RATE} in a second") as status:
            for number in range(USERS):
                await pause(reactor, max(0.0, began + number / CALL_RATE - time.monotonic()))
                if len(failed) >= FAILURES:
                    break
                callers.append(self._dial(number, failed))
                status.update(f"{number + 1} calls of {USERS}, {len(failed)} failed")
            await DeferredList([caller.ended for caller in callers])
        took = time.monotonic() - began
        total = Figures()
        for caller in callers:
            total = total.plus(caller.figures())
        self._count("sipp callers", total)
        callee = self._count("sipp callee", await self._callee_figures(patience=0 if failed else 10))
        self._judge(total, failed)
        expect(not self.callee.is_running, f"the callee still waits: {callee}")
        self._judge(callee, [self.callee] if await self.callee.ended else [])
        times = sorted(caller.response_time() * 1000 for caller in callers)
        return (
            f"caller: {total}\n"
            f"callee: {callee}\n"
            f"{len(callers) / took:.0f} calls in a second; from INVITE with credentials to 200:\n"
            f"median {times[len(times) // 2]:.0f} ms, 99 of 100 within {times[len(times) * 99 // 100]:.0f} ms, "
            f"the slowest {times[-1]:.0f} ms"
        )

    def _dial(self, number: int, failed: list[Sipp]) -> Sipp:
        caller, callee = user(number), user((number + 1) % USERS)
        process = self._sipp(
            *(f"call-{number:04d}", "caller", f"{self.pair.network}.103", 10000 + number, self.west),
            *("-key", "caller", caller, "-key", "callee", callee),
            *("-au", caller, "-ap", PASSWORD, "-auth_uri", f"{callee}@{DOMAIN}"),
            *("-m", "1", "-timeout", f"{CALL_LIMIT}s", "-timeout_error"),
        )

        def ended(status: int) -> int:
            if status:
                failed.append(process)
            return status

        process.ended.addCallback(ended)
        return process

    async def _callee_figures(self, patience: float) -> Figures:
        """
        What the callee counted; it ends by itself with its last call.
        """
        deadline = time.monotonic() + patience
        while self.callee.is_running and time.monotonic() < deadline:
            await pause(reactor, 0.1)
        return self.callee.figures()

    async def ping(self) -> str:
        """
        OPTIONS, answered by the domain itself.
        """
        for node in self.pair:
            for transport in ("udp", "tcp"):
                await self._sipsak(node, "-E", transport, target=f"sip:{DOMAIN}")
        return "OPTIONS: 407, then 200 OK, four times"

    async def wrong_password(self) -> str:
        """
        And asked for again, as if nobody had tried.
        """
        out = await self._sipsak(self.east, "-U", "-C", "none", password="wrong", status=2)
        expect("authorization failed" in out, "sipsak gave up for another reason")
        return "401, 401"

    async def register_two(self) -> str:
        """
        Each with the credentials of a challenge of its own node.
        """
        for node, contact in zip(self.pair, self._contacts(), strict=True):
            await self._sipsak(node, "-U", "-C", contact, "-x", "600")
        return "401, then 200 OK, twice"

    def _contacts(self) -> list[str]:
        return [f"sip:{PINGER}@{self.pair.network}.104:{port}" for port in (5062, 5064)]

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
        await self._sipsak(self.west, "-U", "-C", first, "-x", "0")
        await self._await_contacts([second])
        await self._sipsak(self.east, "-U", "-C", "*", "-x", "0")
        await self._await_contacts([])
        return "one left on both nodes; then none"

    async def _await_contacts(self, expected: Sequence[str]) -> None:
        deadline = time.monotonic() + 5
        for node in self.pair:
            while True:
                answer = (await self._sipsak(node, "-U", "-C", "none")).rpartition("SIP/2.0 200 ")[2]
                shown = [contact for contact in self._contacts() if f"<{contact}>" in answer]
                if shown == list(expected):
                    break
                expect(time.monotonic() < deadline, f"{node.name} shows {shown}, not {expected}:\n{answer}")
                await pause(reactor, 0.1)

    async def verify_unit(self) -> str:
        """
        But for the program, which is not installed where the unit has it.
        """
        unit = self.folder / "sipxha.service"
        text = (ROOT / "etc" / "systemd" / "sipxha.service").read_text()
        unit.write_text(text.replace("/opt/sipxha/bin/twistd", sys.executable))
        verified = subprocess.run(
            ["systemd-analyze", "verify", unit], check=False, capture_output=True, text=True
        )
        expect((verified.returncode, verified.stdout + verified.stderr) == (0, ""), verified.stderr)
        return "systemd-analyze verify: nothing"

    async def bill(self) -> str:
        """
        Events may be on their way into the databases for a moment.
        """
        expected = {(user(number), user((number + 1) % USERS)) for number in range(USERS)}
        deadline = time.monotonic() + 30
        while True:
            await sipxha(reactor, "resolve", "--config", str(self.east.config))
            cdrs = await self._command(self.east, "cdr", "list", "--json")
            if len(cdrs) >= USERS or time.monotonic() > deadline:
                break
            await pause(reactor, 0.5)
        terminations = Counter(cdr["termination"] for cdr in cdrs)
        expect(terminations == {"C": USERS}, f"{len(cdrs)} CDRs: {dict(terminations)}")
        parties = {tuple(number_of(cdr[name]) for name in ("caller_aor", "callee_aor")) for cdr in cdrs}
        expect(parties == expected, f"not of these calls: {sorted(parties - expected)[:3]}")
        return f"{len(cdrs)} CDRs, all C; every user called once and was called once"

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
            client.kill()
        await self.pair.stop()

    def _sipp(
        self, name: str, scenario: str, address: str, port: int, node: NodeProcess, *options: str
    ) -> Sipp:
        sipp = Sipp(self.folder, name)
        self._spawn(sipp, "sipp", f"{node.address}:5060", *sipp.options(scenario, address, port), *options)
        return sipp

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
        self._spawn(
            client,
            "sipsak",
            *("-vvv", "-i", "-k", f"{self.pair.network}.104"),
            # Before -s, whose host it would look up otherwise.
            *("-p", f"{node.address}:5060", "-s", target, "-u", PINGER, "-a", password),
            *options,
        )
        ended = await client.ended
        said = self.folder / f"sipsak-{len(self._clients)}.log"
        said.write_text(client.output)
        self._count("sipsak", Figures(1, int(ended == status), int(ended != status)))
        if ended != status:
            lines = [line for line in client.output.splitlines() if line.startswith(("SIP/2.0 ", "error:"))]
            raise Failed(f"sipsak {' '.join(options)}: status {ended}: {'; '.join(lines)}; see {said}")
        return client.output

    def _spawn(self, client: Client, program: str, *arguments: str) -> None:
        path = shutil.which(program)
        assert path is not None
        self._clients.append(client)
        reactor.spawnProcess(client, path, [path, *arguments], env=None, path=str(self.folder))

    async def _command(self, node: NodeProcess, *arguments: str) -> Any:
        return json.loads(await sipxha(reactor, *arguments, "--config", str(node.config)))

    def _count(self, client: str, figures: Figures) -> Figures:
        """
        Put figures into the table of the end.
        """
        self._counted[client] = self._counted.get(client, Figures()).plus(figures)
        return figures

    def _judge(self, figures: Figures, failed: Sequence[Sipp]) -> None:
        """
        @raise Failed: if not everything was as expected.
        """
        complaint = failed[0].complaint() if failed else ""
        good = figures.successful == USERS and not (figures.failed or figures.unexpected or figures.timeouts)
        expect(good and not failed, f"{figures}\n{complaint}".rstrip())
        limit = RESENT * USERS // 1000
        expect(
            figures.resent <= limit,
            f"{figures.resent} messages were sent again, more than {limit}",
        )


def user(number: int) -> str:
    """
    @return: the name of the user C{number}.
    """
    return str(2000 + number)


def number_of(aor: str) -> str:
    """
    @return: the user of an address-of-record.
    """
    return aor.rpartition(":")[2].partition("@")[0]


def main() -> int:
    """
    @return: the exit status.
    """
    missing = [PACKAGES[program] for program in PACKAGES if shutil.which(program) is None]
    if missing:
        print(
            f"{len(missing)} of the programs are missing: apt-get install {' '.join(missing)}",
            file=sys.stderr,
        )
        return 1
    return foreground.run(partial(tell, Interop))


if __name__ == "__main__":
    sys.exit(main())
