"""
The pages of the documentation that say what to type, followed on bare Debian
machines: our package built and installed, nodes, bind9 with their records,
telephones that find them there, a gateway, a power cut, a lost disk; and in the
end nothing left of the package.

Needs root.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, cast

from twisted.internet.threads import deferToThread

from tools import foreground
from tools.interop.client import Client
from tools.interop.install import command, export
from tools.interop.lab import Lab, Machine
from tools.interop.page import Hand, Step, Typed, is_same, renewed
from tools.interop.unit import Unit
from tools.story import Failed, expect, until

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = tuple(
    DOCS / name
    for name in (
        "howto/first-pair.md",
        "howto/two-servers.md",
        "howto/softphone.md",
        "howto/tls-phone.md",
        "howto/gateway.md",
        "howto/voicemail.md",
        "howto/emergency.md",
        "howto/certificates.md",
        "howto/backup.md",
        "howto/disk-full.md",
        "howto/replace-node.md",
        "howto/add-node.md",
        "upgrade.md",
    )
)
"""In this order: each page goes on where the last one ended."""

DOMAIN = "example.com"
MACHINES = {
    "desk": "10.1.1.90",
    "sipx1": "10.1.1.50",
    "sipx2": "10.1.1.51",
    "sipx3": "10.1.1.52",
    "ns1": "10.1.1.53",
    "sipx9": "10.1.1.59",
}
CALLERS = ("10.1.1.161", "10.1.1.162", "10.1.1.164", "10.1.1.9", "10.1.1.60")
"""Telephones, a gateway and a voicemail server."""

ZONE = """\
$TTL 3600
@ IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 604800 300
@ IN NS ns1
ns1 IN A 10.1.1.53
www IN A 10.1.1.80
"""
"""What the owner of the domain had before."""

PATIENCE = 30.0
"""Seconds for which a reader looks again until a command shows what the page says."""

LOOKS = tuple(f"sipxha {verb}" for verb in ("status", "peers", "registrations", "resolve", "cdr", "check"))
"""What changes nothing, and may be typed again."""

DATA = "/etc/sipxha/data"

DISK = {
    "small-disk": (
        "service sipxha stop",
        f"mv {DATA} {DATA}.large && install -d -o sipxha -g sipxha -m 700 {DATA}",
        f"mount -t tmpfs -o size=400m,mode=700,uid=$(id -u sipxha),gid=$(id -g sipxha) disk {DATA}",
        f"cp -a {DATA}.large/. {DATA}",
        "service sipxha start",
    ),
    # It ends when nothing more finds room.
    "fill": (f"! dd if=/dev/zero of={DATA}/somebody-else bs=4k status=none",),
    "make-room": (f"rm {DATA}/somebody-else",),
    "large-disk": (
        "service sipxha stop",
        f"rm -r {DATA}.large && cp -a {DATA} {DATA}.large && umount {DATA} && rmdir {DATA}",
        f"mv {DATA}.large {DATA}",
        "service sipxha start",
    ),
}
"""What is done to the disk that C{data} is on, and what it is filled with."""

reactor = foreground.reactor


class Servers:
    """
    The machines, and the reader.
    """

    def __init__(self, folder: Path) -> None:
        """
        @param folder: must not exist yet.
        """
        self._folder = folder
        self._lab = Lab()
        self._package: Path
        self._office: Telephones | None = None
        self.pages = {page: page.read_text() for page in PAGES}
        """What they say."""

        self._seen: dict[Path, list[tuple[Typed, str]]] = {page: [] for page in PAGES}

    async def build(self) -> str:
        """
        dpkg-buildpackage.
        """
        self._folder.mkdir()
        source = export(self._folder / "build" / "sipxha")
        await deferToThread(command, "dpkg-buildpackage", "--build=binary", "--no-sign", folder=source)
        (self._package,) = source.parent.glob("*.deb")
        return f"{self._package.name}: {self._package.stat().st_size / 2**20:.0f} MiB"

    async def install_debian(self) -> str:
        """
        What our machines have before we come.
        """
        said = await deferToThread(self._lab.install_debian)
        self._lab.switch_on(*CALLERS)
        for name, address in MACHINES.items():
            machine = self._lab.add(name, address)
            machine.switch_on()
            self._set_up(machine)
        name_server = self._lab.machines["ns1"]
        bind = name_server.root / "etc" / "bind"
        (bind / f"db.{DOMAIN}").write_text(ZONE)
        (bind / "named.conf.local").write_text(
            f'zone "{DOMAIN}" {{ type primary; file "/etc/bind/db.{DOMAIN}"; }};\n'
        )
        self._expect(name_server, "service named start")
        return said

    def _set_up(self, machine: Machine) -> None:
        """
        What who installs Debian does, and the package, which was copied there.
        """
        etc = machine.root / "etc"
        (etc / "resolv.conf").write_text(f"nameserver {MACHINES['ns1']}\n")
        (etc / "hosts").write_text(
            f"127.0.0.1 localhost\n{machine.address} {machine.name}.{DOMAIN} {machine.name}\n"
        )
        shutil.copy(self._package, machine.root / "root")
        self._expect(machine, "service ssh start")

    async def follow(self, page: Path, steps: list[Step]) -> str:
        """
        Do what a section of a page says.
        """
        text, seen, wrong = self.pages[page], self._seen[page], []
        for step in steps:
            if isinstance(step, Hand):
                await self._do(step)
            else:
                promised = text[step.start : step.end]
                printed = await deferToThread(self._type, step, promised)
                seen.append((step, printed))
                if not is_same(promised, printed):
                    wrong.append(f"{step.machine}: {step.command}\n{printed}")
        if wrong:
            new = self._folder / page.name
            new.write_text(renewed(text, seen))
            raise Failed(
                "\n".join(["not what the page says:", *wrong, f"the page with all that came: {new}"])
            )
        return f"{sum(isinstance(step, Typed) for step in steps)} commands"

    def _type(self, step: Typed, promised: str) -> str:
        """
        Again and again, for what shows how things are.

        @return: what came.
        """
        machine = self._lab.machines[step.machine]
        deadline = time.monotonic() + PATIENCE
        while True:
            printed = machine.run(step.command, step.user).output
            if (
                is_same(promised, printed)
                or time.monotonic() > deadline
                or not step.command.startswith(LOOKS)
            ):
                return printed
            time.sleep(0.5)

    async def _do(self, step: Hand) -> None:
        """
        Cut power, boot, put a new machine or disk in a place, fill that, write a file, use a telephone.
        """
        match step.work.split(" "):
            case ["cut", name]:
                self._lab.machines[name].cut_power()
            case ["boot", name]:
                self._lab.machines[name].switch_on("ssh", "sipxha")
            case ["new", name]:
                self._lab.machines[name].replace()
                self._lab.machines[name].switch_on()
                self._set_up(self._lab.machines[name])
            case ["small-disk" | "large-disk" | "fill" | "make-room" as what, name]:
                for command in DISK[what]:
                    await deferToThread(self._expect, self._lab.machines[name], command)
            case ["file", name, path]:
                (self._lab.machines[name].root / path.lstrip("/")).write_text(step.text)
            case _:
                await self._tell_office(step.work)

    async def _tell_office(self, work: str) -> None:
        """
        The telephones.
        """
        if self._office is None:
            self._office = office = Telephones()
            program = [
                *self._lab.inside(),
                sys.executable,
                "-m",
                "tools.interop.office",
                DOMAIN,
                MACHINES["ns1"],
            ]
            reactor.spawnProcess(
                office, program[0], program, env={**os.environ, "PYTHONPATH": str(ROOT)}, path=str(ROOT)
            )
        office = self._office
        said = len(office.lines())
        office.say(work)
        await until(lambda: len(office.lines()) > said, f"{work}: nothing happens\n{office.output}", 40)
        answer = office.lines()[-1]
        expect(answer.startswith("done"), f"{work}: {answer}")

    def unit(self) -> Unit:
        """
        Our service where systemd is in charge.
        """
        return Unit(self._lab.machines["sipx9"], self._package.name)

    async def rotate(self) -> str:
        """
        The log goes on in a new file.
        """
        machine = self._lab.machines["sipx1"]
        log = machine.root / "var" / "log" / "sipxha"
        before = (log / "sipxha.log").read_text()
        self._expect(machine, "logrotate --force /etc/logrotate.d/sipxha")
        await until((log / "sipxha.log").exists, "no new log", 10)
        expect((log / "sipxha.log.1").read_text().startswith(before[:1000]), "the old log is lost")
        return ", ".join(sorted(path.name for path in log.iterdir()))

    async def verbs(self) -> str:
        """
        Of the init script.
        """
        machine = self._lab.machines["sipx1"]
        said = []
        for verb in ("configtest", "reload", "restart", "status", "stop"):
            printed = self._expect(machine, f"service sipxha {verb}").splitlines()
            said.append(f"{verb}: {printed[-1] if printed else ''}")
        expect(machine.run("service sipxha status").status == 3, "status after the end is not 3")
        self._expect(machine, "service sipxha start")
        return "\n".join(said)

    async def remove(self) -> str:
        """
        The node ends, its folder stays; C{purge} leaves nothing.
        """
        machine = self._lab.machines["sipx1"]
        root = machine.root
        self._expect(machine, "apt-get remove -qq sipxha")
        expect(not machine.run("pgrep -u sipxha").output, "the node runs on")
        expect((root / "etc/sipxha/sipxha.xml").exists(), "its configuration is gone")
        self._expect(machine, "apt-get purge -qq sipxha")
        left = machine.run("find / -xdev -name '*sipxha*' -not -path \"$HOME/*\" -not -path '/proc/*'").output
        expect(not left, f"left: {left}")
        return "nothing is left but the user"

    def end(self) -> None:
        """
        Switch off.
        """
        if self._office is not None:
            self._office.end("TERM")
        self._lab.switch_off()

    def _expect(self, machine: Machine, command: str) -> str:
        ran = machine.run(command)
        expect(ran.status == 0, f"{machine.name}: {command}: status {ran.status}: {ran.output}")
        return ran.output


class Telephones(Client):
    """
    The process of L{tools.interop.office}.
    """

    def connectionMade(self) -> None:
        """
        We type.
        """

    def say(self, work: str) -> None:
        """
        Have something done.
        """
        cast(Any, self.transport).write(f"{work}\n".encode())

    def lines(self) -> list[str]:
        """
        What it has answered.
        """
        return [line for line in self.output.splitlines() if line.startswith(("done", "failed"))]
