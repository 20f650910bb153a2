"""
sipp: a thousand users who call each other, and ten thousand who register two
contacts each and refresh them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from twisted.internet.defer import DeferredList

from tests.support.pair import DOMAIN, NodeProcess, pause, sipxha
from tools import foreground
from tools.interop.sipp import Figures, Sipp
from tools.interop.stage import PASSWORD, RESENT, Stage, number_of
from tools.story import expect

USERS = 1000
"""Those who call."""

REGISTER_RATE = 100
"""REGISTERs, each of them challenged, in a second."""

CALL_RATE = 25
"""Calls in a second."""

FAILURES = 10
"""Failed calls after which no more are dialled."""

CALL_LIMIT = 20
"""Seconds after which a call has failed."""

CROWD = 10_000
"""Those who only register."""

CROWD_RATE = 60
"""So many of them begin in a second at each node: twice as many challenged REGISTERs."""

CATCH_UP = 120
"""Seconds after which each node has all that the other was told."""

reactor = foreground.reactor


class Crowd:
    """
    Everything that sipp does.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.addresses = [f"{stage.pair.network}.{host}" for host in (107, 108)]
        """Where the ten thousand are."""

        self._callee: Sipp

    async def register(self) -> str:
        """
        The callee first, for its address is what is registered.
        """
        stage = self.stage
        network = stage.pair.network
        self._callee = self._sipp("callee", "callee", f"{network}.102", 5060, stage.west, "-m", str(USERS))
        phones = self._sipp(
            *("register", "register", f"{network}.101", 5060, stage.east),
            *self._users("users", map(user, range(USERS))),
            *("-key", "contact", f"{network}.102:5060"),
            *("-r", str(REGISTER_RATE), "-m", str(USERS), "-timeout", "90s", "-timeout_error"),
        )
        with stage.story.console.status(f"{USERS} REGISTERs, {REGISTER_RATE} in a second"):
            status = await phones.ended
        figures = stage.count("sipp phones", phones.figures())
        self._judge(figures, [phones] if status else [])
        return f"{figures}\n401 and 200 took {phones.response_time() * 1000:.0f} ms on average"

    async def register_many(self) -> str:
        """
        A call of sipp is a phone that registers and refreshes.
        """
        stage = self.stage
        half = CROWD // 2
        phones = [
            self._sipp(
                *(f"crowd-{number}", "crowd", address, 5060, node),
                *self._users(f"crowd-{number}", map(member, range(number * half, (number + 1) * half))),
                # A machine that is busy is given more time by the limit of those under way.
                *("-r", str(CROWD_RATE), "-m", str(half), "-l", str(3 * CROWD_RATE)),
                *("-timeout", "240s", "-timeout_error"),
            )
            for number, (address, node) in enumerate(zip(self.addresses, stage.pair, strict=True))
        ]
        began = time.monotonic()
        with stage.story.console.status(f"{2 * CROWD} REGISTERs, {2 * CROWD_RATE} in a second at each node"):
            failed = [each for each in phones if await each.ended]
        took = time.monotonic() - began
        one, other = (each.figures() for each in phones)
        figures = stage.count("sipp crowd", one.plus(other))
        self._judge(figures, failed, CROWD)
        first, again = (sum(each.response_time(timer) for each in phones) / 2 * 1000 for timer in (1, 2))
        return (
            f"{figures}\n{2 * CROWD / took:.0f} challenged REGISTERs in a second; "
            f"401 and 200 took {first:.0f} ms on average, of a refresh {again:.0f} ms"
        )

    def _users(self, name: str, users: Sequence[str] | map[str]) -> Sequence[str]:
        """
        @return: the options by which sipp goes through users.
        """
        lines = [f"{user};[authentication username={user} password={PASSWORD}]" for user in users]
        file = self.stage.folder / f"{name}.users.csv"
        file.write_text("\n".join(["SEQUENTIAL", *lines, ""]))
        # Without -auth_uri, sipp hashes the address of the server instead of the Request-URI.
        return ("-inf", str(file), "-auth_uri", DOMAIN)

    async def same_registrations(self) -> str:
        """
        What the operator's command says on both.
        """
        rows = await self.stage.agree(is_user, USERS)
        return f"{len(rows)} rows on both, the same numbers: sipxha registrations"

    async def same_crowd(self) -> str:
        """
        Every row is that of the refresh.  Peers tell each other one REGISTER
        at a time, so they may be behind for a while.
        """
        waited = await self.stage.catch_up(CATCH_UP)
        rows = await self.stage.agree(is_member, 2 * CROWD, 10)
        contacts = Counter(row["identity"] for row in rows)
        expect(set(contacts.values()) == {2}, f"contacts: {Counter(contacts.values())}")
        refreshed = sum(row["cseq"] >= 4 for row in rows)
        expect(refreshed == len(rows), f"{refreshed} rows of {len(rows)} were refreshed")
        return (
            f"{len(rows)} rows on both, two for each of {len(contacts)} users, all refreshed;\n"
            f"the last of them {waited:.0f} s after the last 200"
        )

    async def call(self) -> str:
        """
        A process for each call: this sipp computes the digest of one URI for
        all calls of a process, and a proxy wants that of the one who is called.
        """
        stage = self.stage
        callers: list[Sipp] = []
        failed: list[Sipp] = []
        began = time.monotonic()
        with stage.story.console.status(f"{USERS} calls, {CALL_RATE} in a second") as status:
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
        stage.count("sipp callers", total)
        callee = stage.count("sipp callee", await self._callee_figures(patience=0 if failed else 10))
        self._judge(total, failed)
        expect(not self._callee.is_running, f"the callee still waits: {callee}")
        self._judge(callee, [self._callee] if await self._callee.ended else [])
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
            f"call-{number:04d}",
            "caller",
            f"{self.stage.pair.network}.103",
            10000 + number,
            self.stage.west,
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
        while self._callee.is_running and time.monotonic() < deadline:
            await pause(reactor, 0.1)
        return self._callee.figures()

    async def bill(self) -> str:
        """
        Events may be on their way into the databases for a moment.
        """
        stage = self.stage
        expected = {(user(number), user((number + 1) % USERS)) for number in range(USERS)}
        deadline = time.monotonic() + 30
        while True:
            await sipxha(reactor, "resolve", "--config", str(stage.east.config))
            cdrs = [
                cdr
                for cdr in await stage.command(stage.east, "cdr", "list", "--json")
                if is_user(number_of(cdr["caller_aor"]))
            ]
            if len(cdrs) >= USERS or time.monotonic() > deadline:
                break
            await pause(reactor, 0.5)
        terminations = Counter(cdr["termination"] for cdr in cdrs)
        expect(terminations == {"C": USERS}, f"{len(cdrs)} CDRs: {dict(terminations)}")
        parties = {tuple(number_of(cdr[name]) for name in ("caller_aor", "callee_aor")) for cdr in cdrs}
        expect(parties == expected, f"not of these calls: {sorted(parties - expected)[:3]}")
        return f"{len(cdrs)} CDRs, all C; every user called once and was called once"

    def _sipp(
        self, name: str, scenario: str, address: str, port: int, node: NodeProcess, *options: str
    ) -> Sipp:
        sipp = Sipp(self.stage.folder, name)
        self.stage.spawn(
            sipp, "sipp", f"{node.address}:5060", *sipp.options(scenario, address, port), *options
        )
        return sipp

    def _judge(self, figures: Figures, failed: Sequence[Sipp], count: int = USERS) -> None:
        """
        @raise Failed: if not everything was as expected, C{count} times.
        """
        complaint = failed[0].complaint() if failed else ""
        # What is sent again may be answered again, to a call that is over.
        strays = max(0, figures.unexpected - figures.resent)
        good = figures.successful == count and not (figures.failed or strays or figures.timeouts)
        expect(good and not failed, f"{figures}\n{complaint}".rstrip())
        limit = RESENT * count // 1000
        expect(
            figures.resent <= limit,
            f"{figures.resent} messages were sent again, more than {limit}",
        )


def user(number: int) -> str:
    """
    @return: the name of a user who calls.
    """
    return str(2000 + number)


def is_user(name: str) -> bool:
    """
    Whether it is one of them.
    """
    return len(name) == 4 and name.startswith("2")


def member(number: int) -> str:
    """
    @return: the name of one of the ten thousand.
    """
    return str(20000 + number)


def is_member(name: str) -> bool:
    """
    Whether it is one of them.
    """
    return len(name) == 5 and name.startswith("2")
