"""
The order of the chapters.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from twisted.internet.threads import deferToThread

from tools.interop import calls, cluster, crowd, cuts, dns, phones, sipsak, strangers
from tools.interop.calls import Calls
from tools.interop.capture import Capture
from tools.interop.crowd import Crowd
from tools.interop.cuts import Cuts
from tools.interop.install import Installation
from tools.interop.operations import Operations
from tools.interop.page import sections
from tools.interop.phones import Phones
from tools.interop.servers import DOCS, Servers
from tools.interop.sipsak import Sipsak
from tools.interop.stage import DIGEST, MIN_EXPIRES, Stage
from tools.interop.strangers import Strangers
from tools.story import Story, expect

ROOT = Path(__file__).parent.parent.parent

ALONE = ("install", "servers", "cuts")
"""Chapters that bring their own nodes."""

AS_ROOT = ("servers", "cuts")
"""Chapters that make networks of their own."""

TOGETHER = ("softphones", "sipp", "sipsak", "strangers", "many", "calls", "operations")
"""Chapters for which one pair is started."""

CHAPTERS = (*ALONE, *TOGETHER)


class Interop:
    """
    The clients and what they do.
    """

    def __init__(self, chapters: Sequence[str], story: Story, folder: Path) -> None:
        """
        @param chapters: those to be played.
        """
        self.story = story
        self.stage = Stage(story, folder)
        self.crowd = Crowd(self.stage)
        self.calls = Calls(self.stage)
        self.phones = Phones(self.stage)
        self.sipsak = Sipsak(self.stage)
        self.strangers = Strangers(self.stage, self.sipsak)
        self.operations = Operations(self.stage, self.sipsak)
        self.capture = Capture(folder)
        self.installation = Installation(folder / "install")
        self.cuts = Cuts(folder)
        self.servers = Servers(folder / "servers")
        self._chapters = chapters

    async def play(self) -> None:
        """
        All of it.
        """
        for chapter in ALONE:
            if chapter in self._chapters:
                await getattr(self, f"_{chapter}")()
        if set(TOGETHER) & set(self._chapters):
            await self._play_together()

    async def _play_together(self) -> None:
        story, stage = self.story, self.stage
        users = [*map(crowd.user, range(crowd.USERS)), *map(crowd.member, range(crowd.CROWD))]
        users += [*phones.USERS, phones.FORWARDS, *calls.USERS, sipsak.PINGER]
        story.title("Two nodes, named by nsd")
        await story.step(
            f'a pair with digest="{DIGEST}" and min-expires="{MIN_EXPIRES}"', partial(stage.write, users)
        )
        await story.step("both nodes start and reach each other", stage.start)
        await story.step(
            "tcpdump writes down what follows, but for the ten thousand",
            partial(self.capture.start, stage, self.crowd.addresses),
        )
        await story.step(
            f"named-checkzone finds nothing wrong with the records of {dns.CLUSTERS} nodes, and understands each",
            partial(dns.check_zones, stage.folder),
        )
        if not story.failures:
            for chapter in TOGETHER:
                if chapter in self._chapters:
                    await getattr(self, f"_{chapter}")()
            await self._afterwards()
        if story.failures:
            self.capture.end("TERM")
            story.console.print(f"\nWhat was said: {self.capture.file}", soft_wrap=True)

    async def _install(self) -> None:
        story, play = self.story, self.installation
        story.title("pip install .")
        await story.step("into a fresh environment", play.install)
        await story.step("command, plugin, schema and SQL are there", play.look)
        await story.step("sipxha init, user add, check; the node starts, and makes its database", play.start)
        await story.step("it stops on SIGTERM, with status 0", play.stop)

    async def _cuts(self) -> None:
        story, play = self.story, self.cuts
        story.title("Three nodes, each in a network of its own")
        before = len(story.failures)
        await story.step("they start and reach each other", play.start)
        if len(story.failures) > before:
            return
        await story.step("phones register at each, and all know all", play.register)
        soon = f"all know all within {cluster.LIMIT:g} s of the first contact"
        for lost, work in (
            ("sipx1 is cut off from both others", play.partition),
            ("sipx2 does not hear sipx1, but sipx1 hears it", play.one_way),
            (f"sipx2 is cut off for {cuts.LONG:g} s, with traffic on both sides", play.long),
            ("sipx3 is cut off and killed", play.killed),
            ("a connection between two is lost without a reset", play.forgotten),
        ):
            await story.step(f"{lost}; {soon}", work)
        await story.step(
            "a phone over TCP is called through the node that it is at, and after a cut through the other",
            play.phone,
        )
        await story.step("its connection is lost without a reset; it comes back elsewhere", play.phone_moves)
        await story.step("it vanishes from its connection, and is called", play.phone_lost)
        await story.step("all stop on SIGTERM, with status 0", play.end)

    async def _servers(self) -> None:
        story, play = self.story, self.servers
        story.title("The pages that say what to type, on bare machines")
        before = len(story.failures)
        await story.step("the Debian package is built", play.build)
        await story.step("three machines with Debian, one of them the name server", play.install_debian)
        for page, text in play.pages.items():
            for heading, steps in sections(text):
                if len(story.failures) == before:
                    work = partial(play.follow, page, steps)
                    await story.step(f"{page.relative_to(DOCS)}: {heading}", work)
        if len(story.failures) > before:
            return
        unit = play.unit()
        for expected, doing in (
            ("systemd boots, and our package is installed", unit.install),
            ("systemctl start ends when the node serves", unit.start),
            ("the node has no privilege, and writes where it may", unit.sandbox),
            ("reload and restart", unit.reload),
            ("killed with -9, it is started again", unit.kill),
            ("stopped with SIGSTOP, it is started again by the watchdog", unit.freeze),
            ("drained or stopped it stays so; after a power cut it is there again", unit.stop),
        ):
            await story.step(expected, partial(deferToThread, doing))
        await story.step("logrotate begins a new log", play.rotate)
        await story.step("the verbs of the init script", play.verbs)
        await story.step("the package is removed, then purged", play.remove)

    async def _softphones(self) -> None:
        story, play = self.story, self.phones
        story.title("baresip at sipx1, linphone at sipx2")
        await story.step("each registers over UDP, over TCP and over TLS", play.register)
        await story.step("all six register again before they expire", play.refresh)
        for transport in phones.TRANSPORTS:
            name = transport.upper()
            for expected, work in (
                ("they call each other; either hangs up", play.answered),
                ("either refuses a call", play.refused),
                ("nobody answers", play.unanswered),
                ("the caller gives up", play.cancelled),
                ("either holds a call, and goes on with it", play.held),
                ("the callee sends the caller on to a third (REFER)", play.transferred),
                ("both phones of a user ring, and one answers", play.rung_together),
                ("callers are forwarded, by an alias and by a phone (302)", play.forwarded),
            ):
                await story.step(f"{name}: {expected}", partial(work, transport))
        await story.step("each transport calls each other one", play.crosswise)
        await story.step("all six unregister and leave", play.leave)

    async def _sipp(self) -> None:
        story, play = self.story, self.crowd
        story.title("sipp")
        await story.step(f"sipp listens for calls, and registers {crowd.USERS} users at sipx1", play.register)
        await story.step("both nodes know all of them", play.same_registrations)
        await story.step(f"sipp calls each of the {crowd.USERS} users once through sipx2", play.call)

    async def _sipsak(self) -> None:
        story, play = self.story, self.sipsak
        story.title("sipsak")
        await story.step("sipsak pings both nodes, over UDP and TCP", play.ping)
        await story.step("a wrong password is refused", play.wrong_password)
        await story.step("sipsak registers two contacts, one at either node", play.register_two)
        await story.step("both nodes show both to sipsak", play.ask)
        await story.step("it takes back one at sipx2; then all of them at sipx1", play.unregister)

    async def _strangers(self) -> None:
        story, play = self.story, self.strangers
        story.title("SIPVicious")
        await story.step("svmap finds two servers, and not what they are", play.map)
        for method in ("REGISTER", "INVITE", "OPTIONS"):
            await story.step(f"svwar cannot tell by {method} who is a user", partial(play.enumerate, method))

        await story.step(
            f"svcrack, with the right password as the last of {strangers.GUESSES}, does not find it; "
            "meanwhile the phone of its victim registers",
            play.crack,
        )

    async def _many(self) -> None:
        story, play = self.story, self.crowd
        story.title("Many")
        await story.step(
            f"sipp registers {crowd.CROWD} users, half of them at each node, two contacts each, and refreshes them",
            play.register_many,
        )
        await story.step(f"both nodes know all {2 * crowd.CROWD} contacts", play.same_crowd)

    async def _calls(self) -> None:
        story, play = self.story, self.calls
        story.title("Calls")
        await story.step("sipp answers for three users", play.register)
        await story.step(
            f"{2 * calls.RATE} calls in a second for {calls.SECONDS} s through both nodes, and none fails",
            play.call_for_a_minute,
        )
        await story.step(
            f"sipx1 is killed in the middle of calls: at sipx2 each is set up within {calls.SETUP_LIMIT:g} s",
            play.lose_a_node,
        )
        await story.step("sipx1 comes back", play.come_back)
        await story.step("sipxha resolve loses none of these calls", play.bill)

    async def _operations(self) -> None:
        story, play = self.story, self.operations
        story.title("promtool, fail2ban, systemd, schemathesis")
        await story.step("promtool finds no fault in the alert rules, and their tests pass", play.rules)
        await story.step("nor in the metrics of a node", play.metrics)
        await story.step("fail2ban finds who guesses, and not who can be anybody", play.ban)
        await story.step("systemd finds the unit shut in", play.exposure)
        await story.step("schemathesis finds no answer that the document does not have", play.fuzz_api)

    async def _afterwards(self) -> None:
        story = self.story
        story.title("Afterwards")
        await story.step("systemd finds no fault in the unit", self.verify_unit)
        if "sipp" in self._chapters:
            await story.step(
                f"both nodes still agree on {crowd.USERS} registrations", self.crowd.same_registrations
            )
            await story.step(
                f"sipxha resolve writes {crowd.USERS} call detail records, all C", self.crowd.bill
            )
        if "softphones" in self._chapters:
            await story.step("and one for each call of a softphone", self.phones.bill)
        await story.step(
            "both nodes stop on SIGTERM, with status 0, and logged no error", self.stage.stop_nodes
        )
        self.stage.show()

    async def verify_unit(self) -> str:
        """
        But for the program, which is not installed where the unit has it.
        """
        unit = self.stage.folder / "sipxha.service"
        text = (ROOT / "etc" / "systemd" / "sipxha.service").read_text()
        unit.write_text(text.replace("/opt/sipxha/bin/twistd", sys.executable))
        verified = subprocess.run(
            ["systemd-analyze", "verify", unit], check=False, capture_output=True, text=True
        )
        expect((verified.returncode, verified.stdout + verified.stderr) == (0, ""), verified.stderr)
        return "systemd-analyze verify: nothing"

    async def stop_all(self) -> None:
        """
        End whatever still runs.
        """
        self.installation.end()
        await self.cuts.stop()
        self.servers.end()
        await self.stage.stop_all()
