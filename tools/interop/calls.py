"""
sipp: a hundred calls in a second through both nodes, and one node killed in
the middle of them.
"""

from __future__ import annotations

import time
from collections import Counter

from twisted.internet.defer import gatherResults

from tests.support.pair import DOMAIN, NodeProcess, pause, sipxha
from tools import foreground
from tools.interop.sipp import Figures, Sipp
from tools.interop.stage import PASSWORD, Stage, number_of
from tools.story import expect

RATE = 50
"""Calls in a second through each node."""

SECONDS = 60
"""For so long, while nothing happens."""

FAILOVER_SECONDS = 20
KILLED_AFTER = 7.0
"""Seconds into the failover after which the node is killed."""

SETUP_LIMIT = 1.0
"""Seconds in which a call has to be set up after that."""

RECEIVE_LIMIT = 10_000
"""Milliseconds of silence after which a call of sipp has failed."""

CALLERS = ("9101", "9102", "9103")
"""Who calls through the first node, through the second, and there after the first has died."""

CALLEES = ("9201", "9202", "9203")
"""Whom each of them calls: this sipp knows the digest of one Request-URI for each process."""

USERS = (*CALLERS, *CALLEES)

reactor = foreground.reactor


class Calls:
    """
    Callers who do not stop, and one phone that answers them all.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._successful: Counter[str] = Counter()
        """Calls that were set up and hung up, by caller."""

    async def register(self) -> str:
        """
        The callee first, for its address is what is registered.
        """
        stage = self.stage
        address = f"{stage.pair.network}.105"
        self._sipp("answers", "callee", address, 5060, stage.west, "-l", "5000")
        users = [f"{user};[authentication username={user} password={PASSWORD}]" for user in CALLEES]
        file = stage.folder / "callees.users.csv"
        file.write_text("\n".join(["SEQUENTIAL", *users, ""]))
        phones = self._sipp(
            # A phone whose contact is elsewhere would be taken for one behind a NAT.
            *("callees", "register", address, 5062, stage.east),
            *("-inf", str(file), "-auth_uri", DOMAIN, "-key", "contact", f"{address}:5060"),
            *("-m", str(len(CALLEES)), "-timeout", "30s", "-timeout_error"),
        )
        status = await phones.ended
        expect(status == 0, phones.complaint())
        await stage.agree(lambda user: user in CALLEES, len(CALLEES))
        return f"{len(CALLEES)} users, all at {address}, known to both nodes"

    async def call_for_a_minute(self) -> str:
        """
        Half of them through either node.
        """
        callers = [self._calls(number, node, SECONDS) for number, node in enumerate(self.stage.pair)]
        with self.stage.story.console.status(f"{2 * RATE} calls in a second for {SECONDS} s"):
            await gatherResults([caller.ended for caller in callers])
        told = [self._judge(number, caller) for number, caller in enumerate(callers)]
        return "\n".join(told)

    async def lose_a_node(self) -> str:
        """
        Whoever calls through the one that is left notices nothing; who turns
        to it from the dead one is served at once.
        """
        stage = self.stage
        dying, staying = (
            self._calls(number, node, FAILOVER_SECONDS) for number, node in enumerate(stage.pair)
        )
        with stage.story.console.status(f"{2 * RATE} calls in a second, {stage.east.name} is killed"):
            await pause(reactor, KILLED_AFTER)
            await stage.east.kill()
            before = dying.figures()
            turning = self._calls(2, stage.west, FAILOVER_SECONDS // 2)
            dying.end()
            await gatherResults([dying.ended, staying.ended, turning.ended])
        stage.count("sipp, dying node", before)
        told = [self._judge(1, staying), self._judge(2, turning)]
        slowest = max(turning.response_times())
        expect(slowest <= SETUP_LIMIT, f"after the death a call took {slowest:.2f} s to be set up")
        return "\n".join([*told, f"after the death no call took longer than {slowest * 1000:.0f} ms"])

    async def come_back(self) -> str:
        """
        It reads what it had not written yet.
        """
        state = await self.stage.east.start()
        await self.stage.agree(lambda user: user in CALLEES, len(CALLEES))
        return str(state)

    async def bill(self) -> str:
        """
        One for each call that sipp saw through; those that died with the node
        may be there, too.
        """
        stage = self.stage
        deadline = time.monotonic() + 60
        while True:
            await sipxha(reactor, "resolve", "--config", str(stage.east.config))
            cdrs = await stage.command(stage.east, "cdr", "list", "--json")
            found = Counter(number_of(cdr["caller_aor"]) for cdr in cdrs if cdr["termination"] == "C")
            missing = {
                caller: count - found[caller]
                for caller, count in self._successful.items()
                if count > found[caller]
            }
            if not missing or time.monotonic() > deadline:
                break
            await pause(reactor, 0.5)
        expect(not missing, f"missing: {missing}")
        return f"{sum(self._successful.values())} calls, and a CDR for each of them"

    def _calls(self, number: int, node: NodeProcess, seconds: int) -> Sipp:
        """
        Begin to call through a node.
        """
        caller, callee = CALLERS[number], CALLEES[number]
        count = RATE * seconds
        return self._sipp(
            *(f"calls-{caller}-{seconds}", "caller", f"{self.stage.pair.network}.{111 + number}", 5060, node),
            *("-key", "caller", caller, "-key", "callee", callee),
            *("-au", caller, "-ap", PASSWORD, "-auth_uri", f"{callee}@{DOMAIN}"),
            *("-r", str(RATE), "-m", str(count), "-l", str(count), "-recv_timeout", str(RECEIVE_LIMIT)),
            *("-trace_rtt", "-rtt_freq", "1"),
            *("-timeout", f"{seconds + 60}s", "-timeout_error"),
        )

    def _sipp(
        self, name: str, scenario: str, address: str, port: int, node: NodeProcess, *options: str
    ) -> Sipp:
        sipp = Sipp(self.stage.folder, name)
        self.stage.spawn(
            sipp, "sipp", f"{node.address}:5060", *sipp.options(scenario, address, port), *options
        )
        return sipp

    def _judge(self, number: int, caller: Sipp) -> str:
        """
        @raise Failed: if a call failed.
        """
        figures: Figures = self.stage.count(f"sipp {CALLERS[number]}", caller.figures())
        self._successful[CALLERS[number]] += figures.successful
        good = figures.successful == figures.tried and not figures.failed
        expect(good, f"{figures}\n{caller.complaint()}")
        return f"{figures}; from INVITE to 200 {caller.response_time() * 1000:.0f} ms on average"
