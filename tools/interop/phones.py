"""
What the softphones do: baresip and linphone, over UDP, TCP and TLS, each
baresip at the one node and each linphone at the other.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from sipxha.config.load import load
from tests.support.pair import DOMAIN, pause, sipxha
from tools import foreground
from tools.interop.baresip import Baresip
from tools.interop.linphone import Linphone
from tools.interop.sipp import Sipp
from tools.interop.softphone import Event, Line, Softphone
from tools.interop.stage import Stage, number_of
from tools.story import expect

TRANSPORTS = ("udp", "tcp", "tls")

USERS = ("301", "302", "303", "311", "312", "313")
"""Of the three baresips, and of the three linphones."""

FORWARDS = "320"
"""Who is at none of them: his phone sends all callers on to somebody else."""

ELSEWHERE = 'Reason: SIP;cause=200;text="Call completed elsewhere"'

ALIASES = """\
<items type="alias" xmlns="http://www.sipfoundry.org/sipX/schema/xml/alias-00-00">
  <item><identity>desk@{domain}</identity><contact>&lt;sip:{user}@{domain}&gt;</contact></item>
</items>
"""

reactor = foreground.reactor


class Phones:
    """
    Everything that softphones do.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.phones: list[Softphone] = []
        self.expected: Counter[tuple[str, str, str]] = Counter()
        """What is to be billed: caller, callee, termination."""

    @property
    def pairs(self) -> dict[str, tuple[Softphone, Softphone]]:
        """
        The baresip and the linphone of each transport.
        """
        return dict(zip(TRANSPORTS, zip(self.phones[:3], self.phones[3:], strict=True), strict=True))

    async def register(self) -> str:
        """
        Start all of them.
        """
        network = self.stage.pair.network
        for number, user in enumerate(USERS):
            program, node = (Baresip, self.stage.east) if number < 3 else (Linphone, self.stage.west)
            line = Line(user, f"{network}.{111 + number}", TRANSPORTS[number % 3], node, 20000 + 40 * number)
            self.phones.append(program(self.stage, line))
        for phone in self.phones:
            await phone.start()
        rows = await self.stage.agree(is_phone, len(USERS), 15)
        return "\n".join(f"{row['identity']} at {row['contact']}" for row in rows)

    async def refresh(self) -> str:
        """
        By themselves, before they would expire.
        """
        first = {row["identity"]: row for row in await self._rows()}
        deadline = time.monotonic() + 15
        while True:
            again = {row["identity"]: row for row in await self._rows()}
            expect(first.keys() <= again.keys(), f"gone: {sorted(first.keys() - again.keys())}")
            late = [name for name, row in again.items() if row["cseq"] <= first[name]["cseq"]]
            if not late:
                break
            expect(time.monotonic() < deadline, f"not registered again: {late}")
            await pause(reactor, 0.3)
        for phone in self.phones[:3]:
            await phone.sees(Event.REGISTERED)
        return "six rows, each with a greater CSeq; REGISTER_OK from each baresip"

    async def _rows(self) -> list[dict[str, Any]]:
        return await self.stage.rows(self.stage.east, is_phone)

    # Calls

    async def answered(self, transport: str) -> str:
        """
        The caller hangs up, then the callee does.
        """
        said = []
        baresip, linphone = self.pairs[transport]
        for caller, callee, ends in (
            (baresip, linphone, baresip),
            (linphone, baresip, baresip),
            (linphone, baresip, linphone),
            (baresip, linphone, linphone),
        ):
            await self._talk(caller, callee)
            said.append(await self._end(ends, caller if ends is callee else callee))
        return "; ".join(said)

    async def refused(self, transport: str) -> str:
        """
        The one answers 486, the other 603.
        """
        said = []
        for caller, callee in self._both_ways(transport):
            await self._ring(caller, callee)
            callee.hang_up()
            said.append(f"{caller.name}: {await self._ended(caller, callee)}")
            self._bill(caller, callee, "F")
        return "; ".join(said)

    async def unanswered(self, transport: str) -> str:
        """
        Until the callee gives up.
        """
        said = []
        for caller, callee in self._both_ways(transport):
            await self._ring(caller, callee)
            said.append(f"{caller.name}: {await self._ended(caller, callee)}")
            self._bill(caller, callee, "F")
        return "; ".join(said)

    async def cancelled(self, transport: str) -> str:
        """
        By the caller, while it rings.
        """
        said = []
        for caller, callee in self._both_ways(transport):
            await self._ring(caller, callee)
            caller.hang_up()
            said.append(f"{callee.name}: {await self._ended(callee, caller)}")
            self._bill(caller, callee, "A")
        return "; ".join(said)

    async def held(self, transport: str) -> str:
        """
        By each of them, and taken back.
        """
        baresip, linphone = self.pairs[transport]
        await self._talk(baresip, linphone)
        linphone.hold()
        said = [await linphone.sees(Event.HOLDS)]
        linphone.resume()
        await linphone.sees(Event.TALKS)
        baresip.hold()
        said.append(await linphone.sees(Event.HELD))
        baresip.resume()
        await linphone.sees(Event.TALKS)
        await self._end(baresip, linphone)
        return f"linphone: {', '.join(said)}, and StreamsRunning after each"

    async def transferred(self, transport: str) -> str:
        """
        By the callee, to the baresip of the next transport; the caller calls it.
        """
        caller, callee = self.pairs[transport]
        target = self.pairs[TRANSPORTS[(TRANSPORTS.index(transport) + 1) % 3]][0]
        target.forget()
        await self._talk(caller, callee, "T")
        callee.transfer(target.line.user)
        await target.sees(Event.RINGS)
        said = await caller.sees(Event.HEARS_RINGING)
        target.answer()
        for phone, event in (
            *((target, Event.TALKS), (caller, Event.TALKS)),
            # The call that was transferred.
            *((callee, Event.ENDED), (caller, Event.ENDED)),
        ):
            await phone.sees(event)
        target.hang_up()
        await caller.sees(Event.ENDED)
        self._bill(caller, target, "C")
        return f"{caller.name}: {said}"

    async def rung_together(self, transport: str) -> str:
        """
        The user of the baresip takes a linphone besides, at the other node: the
        one answers, then the other; whichever does not stops ringing and is
        told that it has missed nothing.
        """
        stage = self.stage
        baresip, caller = self.pairs[transport]
        place = TRANSPORTS.index(transport)
        address = f"{stage.pair.network}.{121 + place}"
        second = Linphone(
            stage, baresip.line._replace(address=address, node=stage.west, rtp=20240 + 40 * place)
        )
        await second.start()
        await stage.agree(is_phone, len(USERS) + 1, 15)
        said = []
        for answers, other in ((baresip, second), (second, baresip)):
            other.forget()
            await self._ring(caller, answers)
            await other.sees(Event.RINGS)
            answers.answer()
            await answers.sees(Event.TALKS)
            await caller.sees(Event.TALKS)
            said.append(f"{other.name}: {await other.sees(Event.ENDED)}")
            expect(other.heard(ELSEWHERE), f"{other.name} is not told why; see {other.folder}")
            self._bill(caller, answers, "C")
            await self._end(answers, caller)
        await second.leave()
        await stage.agree(is_phone, len(USERS))
        return f"{'; '.join(said)}; {ELSEWHERE}"

    async def forwarded(self, transport: str) -> str:
        """
        By an alias of the domain, and by a phone that answers 302: neither of
        these two clients can be told to, so sipp does.
        """
        stage = self.stage
        caller, callee = self.pairs[transport]
        aliases = ALIASES.format(domain=DOMAIN, user=callee.line.user)
        for node in stage.pair:
            load(node.config).users.aliases.write_text(aliases)
            await sipxha(reactor, "reload", "--config", str(node.config))
        sipp = Sipp(stage.folder, f"forwards-{transport}")
        address = f"{stage.pair.network}.{124 + TRANSPORTS.index(transport)}"
        options = sipp.options("forwards", address, 5060)
        stage.spawn(sipp, "sipp", *options, "-key", "forward", callee.line.user, "-m", "1")
        contact = f"sip:{FORWARDS}@{address}:5060"
        await sipxha(reactor, "register", FORWARDS, contact, "--config", str(stage.east.config))
        for dialled in ("desk", FORWARDS):
            await self._talk(caller, callee, dialled=dialled)
            await self._end(callee, caller)
        await sipxha(reactor, "unregister", FORWARDS, contact, "--config", str(stage.east.config))
        expect(await sipp.ended == 0, sipp.complaint())
        return f"desk@{DOMAIN} by alias.xml, {FORWARDS}@{DOMAIN} by 302"

    async def crosswise(self) -> str:
        """
        From each transport to each other one.
        """
        pairs = self.pairs
        ways = [(one, other) for one in TRANSPORTS for other in TRANSPORTS if one != other]
        for one, other in ways:
            caller, callee = pairs[one][0], pairs[other][1]
            await self._talk(caller, callee)
            await self._end(callee, caller)
        return ", ".join(f"{one} to {other}" for one, other in ways)

    def _both_ways(self, transport: str) -> list[tuple[Softphone, Softphone]]:
        baresip, linphone = self.pairs[transport]
        return [(baresip, linphone), (linphone, baresip)]

    async def _ring(self, caller: Softphone, callee: Softphone, dialled: str = "") -> None:
        caller.forget()
        callee.forget()
        caller.dial(dialled or callee.line.user)
        await callee.sees(Event.RINGS)
        await caller.sees(Event.HEARS_RINGING)

    async def _talk(
        self, caller: Softphone, callee: Softphone, termination: str = "C", dialled: str = ""
    ) -> None:
        await self._ring(caller, callee, dialled)
        callee.answer()
        await callee.sees(Event.TALKS)
        await caller.sees(Event.TALKS)
        self.expected[caller.line.user, dialled or callee.line.user, termination] += 1

    async def _end(self, ends: Softphone, other: Softphone) -> str:
        ends.hang_up()
        return f"{other.name}: {await self._ended(other, ends)}"

    async def _ended(self, tells: Softphone, other: Softphone) -> str:
        """
        @return: how the one says that the call ended.
        """
        said = await tells.sees(Event.ENDED, 15)
        await other.sees(Event.ENDED)
        return said

    def _bill(self, caller: Softphone, callee: Softphone, termination: str) -> None:
        self.expected[caller.line.user, callee.line.user, termination] += 1

    async def bill(self) -> str:
        """
        One record for each call that was tried.
        """
        stage = self.stage
        deadline = time.monotonic() + 15
        while True:
            await sipxha(reactor, "resolve", "--config", str(stage.east.config))
            found = Counter(
                (number_of(cdr["caller_aor"]), number_of(cdr["callee_aor"]), cdr["termination"])
                for cdr in await stage.command(stage.east, "cdr", "list", "--json")
                if is_phone(number_of(cdr["caller_aor"]))
            )
            if found == self.expected or time.monotonic() > deadline:
                break
            await pause(reactor, 0.5)
        missing, more = self.expected - found, found - self.expected
        expect(found == self.expected, f"missing: {dict(missing)}; too many: {dict(more)}")
        terminations = Counter(dict.fromkeys("CTFA", 0))
        for (_, _, termination), count in found.items():
            terminations[termination] += count
        return f"{found.total()} CDRs: {', '.join(f'{count} {letter}' for letter, count in terminations.items())}"

    async def leave(self) -> str:
        """
        All of them, at once.
        """
        await gatherResults([Deferred.fromCoroutine(phone.leave()) for phone in self.phones])
        await self.stage.agree(is_phone, 0)
        return "no row of theirs on either node"


def is_phone(name: str) -> bool:
    """
    Whether a user is one of theirs.
    """
    return name in USERS
