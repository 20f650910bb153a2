"""
The unit of systemd on a machine whose first process is systemd: what it
promises to who operates the node.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tools.interop.lab import Machine, Ran
from tools.story import Failed, expect

NODE = "sipx9.example.com"

WATCHDOG = 45.0
"""Seconds after which a node that stands still must be up again: WatchdogSec, and a start."""


class Unit:
    """
    The service C{sipxha} of a machine.
    """

    def __init__(self, machine: Machine, package: str) -> None:
        """
        @param package: the name of our package, which is in root's home.
        """
        self._machine = machine
        self._package = package

    def install(self) -> str:
        """
        The package, and a node.
        """
        machine = self._machine
        self._boot()
        self._do(f"apt-get install -qq ./{self._package}")
        expect(self._show("ActiveState") == "inactive", "it runs without a configuration")
        self._do(
            f"sipxha init cluster --domain example.com --node {NODE}={machine.address} --embedded",
            f"cp -a cluster/{NODE}/. /etc/sipxha && chown -R sipxha: /etc/sipxha",
        )
        return self._do("systemctl --version | head -1")

    def start(self) -> str:
        """
        The command ends when the node serves.
        """
        self._do("systemctl start sipxha")
        state = self._do("sipxha status")
        expect("ready             yes" in state, state)
        expect(self._show("StatusText") == "ready", self._show("StatusText"))
        self._wait_for_database()
        return f"status: {self._show('StatusText')}"

    def sandbox(self) -> str:
        """
        It has no privilege, and writes where it may and nowhere else.
        """
        main = self._show("MainPID")
        ran = self._run(f"nsenter -t {main} -m touch /usr/here")
        expect(ran.status != 0 and "Read-only" in ran.output, ran.output)
        self._do(f"nsenter -t {main} -m touch /etc/sipxha/data/here /var/log/sipxha/here")
        status = self._do(f"cat /proc/{main}/status")
        for row in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            expect(row in status, status)
        return self._do("systemd-analyze security sipxha --no-pager | tail -1")

    def reload(self) -> str:
        """
        A reload is no restart, and a restart is waited for.
        """
        main = self._show("MainPID")
        self._do("systemctl reload sipxha")
        expect(self._show("MainPID") == main, "another process")
        self._do("systemctl restart sipxha")
        expect(self._show("MainPID") != main, "the same process")
        return f"process {main}, then {self._show('MainPID')}"

    def kill(self) -> str:
        """
        With the database, which is left over.
        """
        return self._restarted("kill -9", 10.0)

    def freeze(self) -> str:
        """
        A reactor that stands still does not feed the watchdog.
        """
        return self._restarted("kill -STOP", WATCHDOG)

    def stop(self) -> str:
        """
        A node that was drained or stopped is not started again; one that was on comes with the machine.
        """
        self._do("sipxha drain --limit 5")
        self._wait(lambda: self._show("ActiveState") == "inactive")
        self._do("systemctl start sipxha", "systemctl stop sipxha")
        expect(self._show("Result") == "success", self._show("Result"))
        expect(not self._run("pgrep -u sipxha").output, "something runs on")
        self._boot()
        expect(self._show("ActiveState") == "active", "it is not there after a power cut")
        return "active after a power cut"

    def _boot(self) -> None:
        """
        Without an end of what was there before.
        """
        self._machine.cut_power()
        self._machine.boot_systemd()
        self._wait(lambda: self._run("systemctl is-system-running").output.strip() in ("running", "degraded"))

    def _restarted(self, blow: str, limit: float) -> str:
        before = int(self._show("NRestarts"))
        began = time.monotonic()
        self._do(f"{blow} {self._show('MainPID')}")
        self._wait(
            lambda: int(self._show("NRestarts")) == before + 1 and self._show("ActiveState") == "active",
            limit,
        )
        took = time.monotonic() - began
        self._wait_for_database()
        return f"active again after {took:.1f} s"

    def _wait_for_database(self) -> None:
        self._wait(lambda: self._run("sipxha db check").status == 0)

    def _show(self, name: str) -> str:
        return self._do(f"systemctl show sipxha -p {name} --value")

    def _run(self, command: str) -> Ran:
        return self._machine.run(command)

    def _do(self, *commands: str) -> str:
        output = ""
        for command in commands:
            ran = self._run(command)
            expect(ran.status == 0, f"{command}: status {ran.status}: {ran.output}")
            output = ran.output.strip()
        return output

    def _wait(self, holds: Callable[[], bool], limit: float = 30.0) -> None:
        """
        Look again and again.

        @raise Failed: with the end of the journal, when it takes too long.
        """
        deadline = time.monotonic() + limit
        while not holds():
            if time.monotonic() > deadline:
                raise Failed(self._run("journalctl --no-pager -b -u sipxha | tail -20").output)
            time.sleep(0.2)
