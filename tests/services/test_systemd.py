"""
Tests for L{sipxha.services.systemd}.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from tempfile import mkdtemp

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.systemd import Systemd


class SystemdTests(SynchronousTestCase):
    """
    Tests for L{Systemd}.
    """

    def test_each_state_is_one_datagram(self) -> None:
        """
        In the words of sd_notify(3), also to a name of the abstract namespace.
        """
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        for address, name in (
            (str(folder / "notify"), str(folder / "notify")),
            (f"\0sipxha-{os.getpid()}", f"@sipxha-{os.getpid()}"),
        ):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.bind(address)
                manager.setblocking(False)
                systemd = Systemd({"NOTIFY_SOCKET": name})
                systemd.ready("ready degraded")
                systemd.reloading()
                systemd.alive()
                systemd.stopping()
                told = [manager.recv(4096).decode() for _ in range(4)]
            self.assertEqual(told[0], "READY=1\nSTATUS=ready degraded")
            self.assertRegex(told[1], r"^RELOADING=1\nMONOTONIC_USEC=\d+$")
            self.assertEqual(told[2:], ["WATCHDOG=1", "STOPPING=1"])

    def test_without_a_manager_nobody_is_told(self) -> None:
        """
        Nor is one that is gone waited for.
        """
        for environment in ({}, {"NOTIFY_SOCKET": "/nowhere/notify"}):
            Systemd(environment).ready("ready")

    def test_the_watchdog_is_fed_twice_as_often_as_it_must(self) -> None:
        """
        If it is for this process, and there is one.
        """
        for pid, usec, seconds in (
            (os.getpid(), "30000000", 15.0),
            (1, "30000000", None),
            (os.getpid(), "0", None),
            (os.getpid(), "soon", None),
        ):
            environment = {"WATCHDOG_PID": str(pid), "WATCHDOG_USEC": usec}
            self.assertEqual(Systemd(environment).watchdog, seconds)
