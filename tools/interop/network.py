"""
A network of our own: a switch, and hosts that each have their own address and
see nothing of this machine's network, nor it of them.

Each is a network namespace (C{ip netns}), so this needs root, and iproute2.
What is cut loses packets as a bad line does: nobody is told, no connection is
reset.  It is cut in one direction at a time, between any two, or for one TCP
connection alone.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tools.story import expect

NETWORK = "198.18.0"
"""Of those that are for tests of networks (RFC 2544)."""

SWITCH = 53
"""The host at the switch, which is never cut off: the server of names."""

_NOBODY = "02:00:00:00:00:00"
"""A link address that nobody has."""

_CLONE_NEWNET = 0x40000000
_RUN = Path("/run/netns")


class Network:
    """
    The switch, and the hosts that were plugged in.
    """

    def __init__(self) -> None:
        self._prefix = f"sipxha-{os.getpid()}-"
        self._names: list[str] = []

    def build(self) -> None:
        """
        A switch.

        @raise Failed: This machine or user may not.
        """
        name = self._add(SWITCH)
        self._in(name, "link", "add", "switch", "type", "bridge")
        self._in(name, "addr", "add", f"{self.address(SWITCH)}/24", "dev", "switch")
        self._in(name, "link", "set", "switch", "up")

    def plug(self, host: int) -> None:
        """
        Another host.
        """
        name, switch = self._add(host), self.name(SWITCH)
        port = f"port{host}"
        self._in(switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        self._in(switch, "link", "set", port, "master", "switch", "up")
        self._in(name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        self._in(name, "link", "set", "eth0", "up")

    def tear_down(self) -> None:
        """
        Nothing of it is left.  What still runs in it is on its own.
        """
        while self._names:
            subprocess.run(["ip", "netns", "delete", self._names.pop()], check=False, capture_output=True)

    def name(self, host: int) -> str:
        """
        @return: the namespace of a host.
        """
        return f"{self._prefix}{host}"

    @staticmethod
    def address(host: int) -> str:
        """
        @return: the address of a host.
        """
        return f"{NETWORK}.{host}"

    # --- cuts ---------------------------------------------------------------

    @contextmanager
    def cut(self, *ways: tuple[int, int]) -> Iterator[None]:
        """
        Lose meanwhile whatever one host sends another.

        @param ways: from which host to which.
        """
        nowhere = ("lladdr", _NOBODY, "nud", "permanent")
        for sender, receiver in ways:
            there = self.address(receiver)
            self._in(self.name(sender), "neighbour", "replace", there, *nowhere, "dev", "eth0")
        try:
            yield
        finally:
            for sender, receiver in ways:
                there = self.address(receiver)
                self._in(self.name(sender), "neighbour", "delete", there, "dev", "eth0")

    def cut_off(self, host: int, *others: int) -> AbstractContextManager[None]:
        """
        Lose meanwhile whatever a host and some others send each other.
        """
        return self.cut(*((host, other) for other in others), *((other, host) for other in others))

    def _connections(self, client: int, server: int, port: int) -> list[int]:
        """
        @return: the client's ports of the open TCP connections between two hosts.
        """
        shown = self._run("netns", "exec", self.name(client), "ss", "-Htn", "state", "established")
        ends = (line.split()[2:4] for line in shown.splitlines())
        there = f"{self.address(server)}:{port}"
        return [int(here.rpartition(":")[2]) for here, far in ends if far == there]

    def forget(self, client: int, server: int, port: int) -> int:
        """
        Lose the TCP connections that are open between two hosts, as a firewall
        does that has forgotten them; new ones are welcome.

        @return: how many.
        """
        connections = self._connections(client, server, port)
        for each in connections:
            for host, other, *ports in (
                (client, server, "sport", str(each), "dport", str(port)),
                (server, client, "sport", str(port), "dport", str(each)),
            ):
                rule = ("rule", "add", "to", self.address(other), "ipproto", "tcp", *ports, "blackhole")
                self._in(self.name(host), *rule)
        return len(connections)

    # --- sockets ------------------------------------------------------------

    @contextmanager
    def entered(self, host: int) -> Iterator[None]:
        """
        Sockets that are made meanwhile are that host's, for as long as they live.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, (_RUN / self.name(host)).open() as there:
            self._enter(libc, there.fileno())
            try:
                yield
            finally:
                self._enter(libc, home.fileno())

    @staticmethod
    def _enter(libc: Any, namespace: int) -> None:
        if libc.setns(namespace, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    # --- ip -----------------------------------------------------------------

    def _add(self, host: int) -> str:
        name = self.name(host)
        self._run("netns", "add", name)
        self._names.append(name)
        self._in(name, "link", "set", "lo", "up")
        return name

    def _in(self, name: str, *arguments: str) -> None:
        self._run("-n", name, *arguments)

    @staticmethod
    def _run(*arguments: str) -> str:
        done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
        expect(done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


class Host:
    """
    A reactor whose sockets are those of one host.
    """

    def __init__(self, reactor: Any, network: Network, host: int) -> None:
        self._reactor = reactor
        self._network = network
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenUDP(self, *arguments: Any, **named: Any) -> Any:
        """
        As the reactor's.
        """
        with self._network.entered(self._host):
            return self._reactor.listenUDP(*arguments, **named)

    def listenTCP(self, *arguments: Any, **named: Any) -> Any:
        """
        As the reactor's.
        """
        with self._network.entered(self._host):
            return self._reactor.listenTCP(*arguments, **named)

    def connectTCP(self, *arguments: Any, **named: Any) -> Any:
        """
        As the reactor's.
        """
        with self._network.entered(self._host):
            return self._reactor.connectTCP(*arguments, **named)
