"""
Bare Debian machines: a file system, a network and processes of their own each,
on one network with whoever calls.

    Lab      the network, and what all machines are made of
    Machine  one of them; power can be cut, and its disk stays

They are namespaces, so all of it goes away with the processes that hold them.
Needs root, and Debian's packages: C{debootstrap} fetches them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tools.story import Failed, expect

PACKAGES = (
    *("python3", "adduser", "logrotate", "iproute2", "procps", "openssh-server", "openssh-client"),
    *("systemd-sysv", "dbus"),
)
"""What Debian's installer would have put there, and what our package depends on."""

NAME_SERVER = ("bind9", "bind9-utils")

MEMORY = "/dev/shm"
"""Where their disks are: Debian waits for the disk after every file that it installs."""

USER = "you"
"""Who is not root, and has an account everywhere."""

SUITE = "bookworm"

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "TZ": "UTC",
    # Tables are as wide as they must be.
    "COLUMNS": "200",
}

SWITCH = """
ip link set lo up
ip link add lan type bridge
ip link set lan up
for address; do ip address add "$address/24" dev lan; done
echo on
exec sleep infinity
"""
"""What holds the network; its own addresses are for those who call."""

BOOT = """
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/disk,workdir=$2/work" "$2/tree"
mount -t proc proc "$2/tree/proc"
mount --rbind /dev "$2/tree/dev"
mount -t tmpfs tmpfs "$2/tree/dev/shm"
mount -t tmpfs tmpfs "$2/tree/run"
mkdir -p "$2/tree/run/sshd"
hostname "$3"
ip link set lo up
# The shell collects the dead, as an init does.
exec chroot "$2/tree" bash -c 'echo on; while :; do sleep 1000 & wait; done'
"""

BOOT_SYSTEMD = """
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/disk,workdir=$2/work" "$2/tree"
cd "$2/tree"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for each in null zero full random urandom tty; do touch dev/$each; mount --bind /dev/$each dev/$each; done
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
hostname "$3"
ip link set lo up
mkdir -p old
# A service with a file system of its own wants a root that is one.
pivot_root . old
umount -l /old
echo on
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
"""

GROUPED = 'mkdir -p "$1"; echo $$ > "$1/cgroup.procs"; shift; exec "$@"'
"""Puts a command into a group of its own, which systemd takes for all there is."""

IN_USE = ("-m", "-u", "-i", "-n", "-p")


class Ran(NamedTuple):
    """
    What became of a command.
    """

    status: int
    output: str
    """With its errors, in the order in which they came."""


class Machine:
    """
    A computer with Debian on it.
    """

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._lab = lab
        self._folder = lab.folder / name
        for part in ("disk", "work", "tree"):
            (self._folder / part).mkdir(parents=True)
        self._process: subprocess.Popen[str] | None = None
        self._group: Path | None = None
        """That of systemd and all its services."""

    @property
    def root(self) -> Path:
        """
        Its file system, as seen from outside, while it is on.
        """
        return Path(f"/proc/{self._init}/root")

    def switch_on(self, *services: str) -> None:
        """
        Boot, and start services, as the links in C{/etc/rc2.d} would.
        """
        self._process = _hold(
            *("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child=KILL"),
            *("bash", "-ec", BOOT, "bash", str(self._lab.base), str(self._folder), self.name),
        )
        self._lab.connect(self._init, self.name, self.address)
        for service in services:
            ran = self.run(f"service {service} start")
            expect(ran.status == 0, f"{self.name}: {service}: {ran.output}")

    def boot_systemd(self) -> None:
        """
        Boot with systemd as the first process, which starts what is enabled.
        """
        self._group = _groups() / f"sipxha-{os.getpid()}-{self.name}"
        self._process = _hold(
            *("bash", "-ec", GROUPED, "bash", str(self._group)),
            *("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"),
            *("--fork", "--kill-child=KILL"),
            *("bash", "-ec", BOOT_SYSTEMD, "bash", str(self._lab.base), str(self._folder), self.name),
        )
        self._lab.connect(self._init, self.name, self.address)

    def replace(self) -> None:
        """
        Put a new machine in its place, with a new disk, which is off.
        """
        self.cut_power()
        for part in ("disk", "work"):
            shutil.rmtree(self._folder / part)
            (self._folder / part).mkdir()

    def cut_power(self) -> None:
        """
        All its processes are gone at once.
        """
        if self._process is not None:
            # Its child dies with it, and with that all others.
            init = Path(f"/proc/{self._init}")
            self._process.kill()
            self._process.wait()
            self._process = None
            while init.exists():
                time.sleep(0.01)
            self._lab.disconnect(self.name)
        if self._group is not None:
            _dissolve(self._group)
            self._group = None

    def run(self, command: str, user: str = "root", limit: float = 120) -> Ran:
        """
        Run a command of the shell as somebody who has just logged in.
        """
        environment = {**ENVIRONMENT, "HOME": "/root" if user == "root" else f"/home/{user}"}
        return _run(
            *("nsenter", "-t", str(self._init), *IN_USE, "-r", "-w", "env", "-i"),
            *(f"{name}={value}" for name, value in environment.items()),
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"),
            *("bash", "-c", f"cd; {command}"),
            limit=limit,
        )

    @property
    def _init(self) -> int:
        """
        Its first process, by the number that it has outside.
        """
        assert self._process is not None, f"{self.name} is off"
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


class Lab:
    """
    Machines on one network.
    """

    def __init__(self) -> None:
        self.folder: Path
        """All disks."""

        self.base: Path
        """What a new machine has."""

        self.machines: dict[str, Machine] = {}
        self._switch: subprocess.Popen[str] | None = None

    def install_debian(self) -> str:
        """
        What all machines have in common.
        """
        expect(os.geteuid() == 0, "machines need root")
        self.folder = Path(tempfile.mkdtemp(prefix="sipxha-", dir=MEMORY))
        self.base = self.folder / "base"
        packages = ",".join((*PACKAGES, *NAME_SERVER))
        ran = _run(
            *("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(self.base), *_mirror()),
            limit=600,
        )
        expect(ran.status == 0, ran.output[-2000:])
        # Root may go from each machine to each other.
        for command in (
            "ssh-keygen -q -t ed25519 -N '' -f ~root/.ssh/id_ed25519",
            "cp ~root/.ssh/id_ed25519.pub ~root/.ssh/authorized_keys",
            f"useradd --create-home {USER}",
            "echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/disk-of-a-day",
            # Without an init of its own Debian would let no package start its services.
            "printf '#!/bin/sh\\nexit 0\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d",
            "printf 'Host *\\n StrictHostKeyChecking accept-new\\n LogLevel ERROR\\n' > ~root/.ssh/config",
        ):
            ran = _run("chroot", str(self.base), "sh", "-c", f"mkdir -p -m 700 ~root/.ssh; {command}")
            expect(ran.status == 0, ran.output)
        release = (self.base / "etc" / "debian_version").read_text().strip()
        return f"Debian {release}, by debootstrap"

    def add(self, name: str, address: str) -> Machine:
        """
        Another machine, which is off.
        """
        self.machines[name] = machine = Machine(self, name, address)
        return machine

    def switch_on(self, *addresses: str) -> None:
        """
        Begin the network.

        @param addresses: of those who call.
        """
        self._switch = _hold("unshare", "--net", "bash", "-ec", SWITCH, "bash", *addresses)

    def inside(self) -> tuple[str, ...]:
        """
        What to put before a command that is to run in the network, with our own file system.
        """
        assert self._switch is not None
        return ("nsenter", "-t", str(self._switch.pid), "-n")

    def connect(self, pid: int, name: str, address: str) -> None:
        """
        Lay a cable.
        """
        # The same each time, for nobody tells the others of a new card, as an installed Debian would.
        card = "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))
        for command in (
            f"ip link add {name} type veth peer name eth0 address {card} netns {pid}",
            f"ip link set {name} master lan up",
            f"nsenter -t {pid} -n ip address add {address}/24 dev eth0",
            f"nsenter -t {pid} -n ip link set eth0 up",
        ):
            ran = _run(*self.inside(), *shlex.split(command))
            expect(ran.status == 0, f"{command}: {ran.output}")

    def disconnect(self, name: str) -> None:
        """
        Take the cable away, if it is still there.
        """
        _run(*self.inside(), "ip", "link", "delete", name)

    def switch_off(self) -> None:
        """
        Everything.
        """
        for machine in self.machines.values():
            machine.cut_power()
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()
            self._switch = None
            shutil.rmtree(self.folder, ignore_errors=True)


def _hold(*command: str) -> subprocess.Popen[str]:
    """
    Start a process that holds namespaces, and wait until it says that it does.
    """
    # However we end, so does it.
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "on\n":
        raise Failed(f"{command[0]} ended with status {process.wait()}")
    return process


def _groups() -> Path:
    """
    Where groups of processes are made.
    """
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(place)
    raise Failed("no cgroup2: systemd cannot run here")


def _dissolve(group: Path) -> None:
    """
    Remove a group and all below it; its last processes are forgotten a moment after their end.
    """
    deadline = time.monotonic() + 5
    while group.exists() and time.monotonic() < deadline:
        for each in sorted((group, *group.rglob("*/")), reverse=True):
            with suppress(OSError):
                each.rmdir()
        time.sleep(0.02)


def _mirror() -> list[str]:
    """
    Where this machine itself has its packages from; debootstrap knows what else to ask.
    """
    wanted = "Created-By: Packages", f"Codename: {SUITE}"
    return _run("apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted).output.split()[:1]


def _run(*command: str, limit: float = 60) -> Ran:
    try:
        ran = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(command)}: no end after {limit:g} s") from late
    return Ran(ran.returncode, ran.stdout)
