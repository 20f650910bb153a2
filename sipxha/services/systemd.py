"""
What systemd is told of a service of Type=notify (sd_notify(3)).

A few words in a datagram to the socket that C{NOTIFY_SOCKET} names; without
it nobody is told.  When something is the case is for others to say.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Systemd:
    """
    The service manager, if there is one.

    @ivar watchdog: Seconds between two signs of life that it wants; C{None} if
        it wants none.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """
        @param environment: Of this process.
        """
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog: float | None = None
        wanted = environment.get("WATCHDOG_USEC", "")
        # It may be meant for a parent of ours.
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if wanted.isdigit() and int(wanted) and is_ours:
            # Half of what would be too late.
            self.watchdog = int(wanted) / 2_000_000

    def ready(self, status: str) -> None:
        """
        The service serves, and this is how.
        """
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """
        The service reads its configuration again; L{ready} ends that.
        """
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """
        The service ends.
        """
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """
        The service does its work.
        """
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # A name in the abstract namespace begins with @.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as teller:
                teller.sendto("\n".join(lines).encode(), address)
        except OSError:
            # Nobody listens, or is slow: no reason to serve any worse.
            return
