"""
Real nodes: C{twistd} processes on their own loopback addresses, with the
standard ports, made and configured as an operator would, by the C{sipxha}
command, and names answered by a real DNS server with the generated zone.

Nothing here is faked; nothing here asserts.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sipxha.net.dns import serve_zone

DOMAIN = "example.com"
DNS_PORT = 5300
_BIN = Path(sys.executable).parent


def free_network() -> str:
    """
    @return: the first three octets of a /24 of loopback where nobody listens
        on the standard ports.
    """
    # S311: chance, not secrecy.
    for _ in range(100):
        network = f"127.{random.randint(16, 250)}.{random.randint(1, 250)}"
        if all(
            _is_free(f"{network}.{host}", port) for host in (1, 2, 3, 53) for port in (5060, 5070, DNS_PORT)
        ):
            return network
    raise OSError("no free loopback network")


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


class CommandFailed(Exception):
    """
    A command ended with another status than was expected.
    """


class _Collect(ProcessProtocol):
    def __init__(self, stdin: str) -> None:
        self.done: Deferred[tuple[int, str, str]] = Deferred()
        self._stdin = stdin
        self._out: list[bytes] = []
        self._err: list[bytes] = []

    def connectionMade(self) -> None:
        transport = cast(IProcessTransport, self.transport)
        if self._stdin:
            transport.writeToChild(0, self._stdin.encode())
        transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._out.append(data)

    def errReceived(self, data: bytes) -> None:
        self._err.append(data)

    def processEnded(self, reason: Failure) -> None:
        out, err = (b"".join(part).decode(errors="replace") for part in (self._out, self._err))
        self.done.callback((_status(reason), out, err))


def run(reactor: Any, program: str, *arguments: str, stdin: str = "") -> Deferred[tuple[int, str, str]]:
    """
    Run a command of this environment.

    @return: its exit status, output and errors.
    """
    protocol = _Collect(stdin)
    path = str(_BIN / program)
    reactor.spawnProcess(protocol, path, [path, *arguments], env=_environment())
    return protocol.done


async def sipxha(reactor: Any, *arguments: str, status: int = 0, stdin: str = "") -> str:
    """
    Run the operator's command.

    @return: what it printed.

    @raise CommandFailed: if it ended with another status than C{status}.
    """
    ended, out, err = await run(reactor, "sipxha", *arguments, stdin=stdin)
    if ended != status:
        raise CommandFailed(f"sipxha {' '.join(arguments)}: status {ended}, not {status}\n{out}{err}")
    return out


class _NodeProtocol(ProcessProtocol):
    """
    Reads the log of a node, keeps it in a file, and sees when it is ready.
    """

    def __init__(self, log: Path) -> None:
        self.ready: Deferred[str] = Deferred()
        self.ended: Deferred[int] = Deferred()
        self._log = log.open("ab", buffering=0)
        self._rest = b""

    def outReceived(self, data: bytes) -> None:
        self._log.write(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            before, found, ports = line.decode(errors="replace").partition(" {")
            if found and not self.ready.called and before.rstrip().endswith(("ready", "ready degraded")):
                try:
                    json.loads("{" + ports)
                except ValueError:
                    continue
                self.ready.callback("degraded" if before.endswith("degraded") else "ready")

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self._log.close()
        status = _status(reason)
        if not self.ready.called:
            self.ready.errback(CommandFailed(f"the node ended with status {status} before it was ready"))
        self.ended.callback(status)


class NodeProcess:
    """
    One node, as C{twistd -n sipxha --config F}.
    """

    def __init__(self, reactor: Any, name: str, address: str, folder: Path, namespace: str = "") -> None:
        """
        @param namespace: the network in which it runs; this one if left out.
        """
        self._reactor = reactor
        self.under = ["ip", "netns", "exec", namespace] if namespace else []
        """What its command is given to, to be run by that."""

        self.name = name
        self.address = address
        self.folder = folder
        self.log = folder / "node.log"
        self._protocol: _NodeProtocol | None = None

    @property
    def config(self) -> Path:
        """
        Its configuration file.
        """
        return self.folder / "sipxha.xml"

    @property
    def pid(self) -> int:
        """
        The number of its process.
        """
        assert self._protocol is not None
        return int(cast(Any, self._protocol.transport).pid)

    @property
    def is_running(self) -> bool:
        """
        Whether its process lives.
        """
        return self._protocol is not None and not self._protocol.ended.called

    def start(self) -> Deferred[str]:
        """
        @return: fires with C{"ready"} or C{"degraded"} when the node serves.
        """
        self._protocol = _NodeProtocol(self.log)
        twistd = str(_BIN / "twistd")
        command = [*self.under, twistd, "-n", "--pidfile=", "sipxha", "--config", str(self.config)]
        self._reactor.spawnProcess(
            self._protocol,
            command[0],
            command,
            env=_environment(),
            path=str(self.folder),
        )
        return self._protocol.ready

    def kill(self) -> Deferred[int]:
        """
        kill -9, without warning.
        """
        return self._signal("KILL")

    def stop(self) -> Deferred[int]:
        """
        SIGTERM.

        @return: fires with the exit status.
        """
        return self._signal("TERM")

    def reload(self) -> None:
        """
        SIGHUP.
        """
        assert self._protocol is not None
        cast(IProcessTransport, self._protocol.transport).signalProcess("HUP")

    def _signal(self, name: str) -> Deferred[int]:
        assert self._protocol is not None
        if self.is_running:
            cast(IProcessTransport, self._protocol.transport).signalProcess(name)
        ended: Deferred[int] = Deferred()

        def pass_on(status: int) -> int:
            ended.callback(status)
            return status

        self._protocol.ended.addCallback(pass_on)
        return ended

    def kill_database(self) -> None:
        """
        End the embedded PostgreSQL that a killed node leaves behind, as the
        death of a whole server would.
        """
        pid_file = self.folder / "data" / "pg" / "cluster" / "postmaster.pid"
        if pid_file.exists():
            pid = int(pid_file.read_text().split()[0])
            try:
                os.kill(pid, signal.SIGQUIT)
            except ProcessLookupError:
                pass


class Pair:
    """
    Nodes that serve one domain together, and the DNS server that names them.
    """

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        nodes: int = 2,
        serve: Callable[..., Any] = serve_zone,
        network: str = "",
        namespaces: Sequence[str] = (),
    ) -> None:
        """
        @param folder: where everything is written; must not exist yet.
        @param serve: what makes the DNS server, called as L{serve_zone} is.
        @param network: the first three octets of all addresses; of loopback if left out.
        @param namespaces: where each node runs, if not here.
        """
        self._reactor = reactor
        self.folder = folder
        self.network = network or free_network()
        self.nodes = [
            NodeProcess(
                reactor,
                f"sipx{number}.{DOMAIN}",
                f"{self.network}.{number}",
                folder / f"sipx{number}.{DOMAIN}",
                namespaces[number - 1] if namespaces else "",
            )
            for number in range(1, nodes + 1)
        ]
        self.dns = (f"{self.network}.53", DNS_PORT)
        self._serve = serve
        self.dns_server: Any = None

    def __iter__(self) -> Iterator[NodeProcess]:
        return iter(self.nodes)

    async def write(self, *options: str) -> None:
        """
        C{sipxha init}, and the DNS server with the zone that it wrote.
        """
        arguments = [f"--node={node.name}={node.address}" for node in self.nodes]
        await sipxha(
            self._reactor,
            "init",
            str(self.folder),
            f"--domain={DOMAIN}",
            *arguments,
            "--embedded",
            "--dns={}:{}".format(*self.dns),
            *options,
        )
        self.dns_server = self._serve(self._reactor, self.folder / "zone.db", *self.dns)

    async def add_users(self, users: Sequence[tuple[str, str]], permissions: Sequence[str] = ()) -> None:
        """
        C{sipxha user add}, on every node.

        @param users: name and password of each.
        """
        for node in self.nodes:
            for user, password in users:
                await sipxha(
                    self._reactor,
                    "user",
                    "add",
                    user,
                    "--password-stdin",
                    "--config",
                    str(node.config),
                    stdin=password + "\n",
                )
                if permissions:
                    await sipxha(
                        self._reactor, "user", "permit", user, *permissions, "--config", str(node.config)
                    )

    async def start(self) -> list[str]:
        """
        Start all nodes at once.

        @return: C{"ready"} or C{"degraded"} for each.
        """
        return [await ready for ready in [node.start() for node in self.nodes]]

    async def stop(self) -> None:
        """
        Stop whatever still runs; databases that were left behind, too.
        """
        await DeferredList([node.stop() for node in self.nodes if node.is_running])
        for node in self.nodes:
            node.kill_database()
        if self.dns_server is not None:
            await self.dns_server.stop()


def pause(reactor: Any, seconds: float) -> Deferred[None]:
    """
    Let C{seconds} go by.
    """
    return deferLater(reactor, seconds, lambda: None)


def _status(reason: Failure) -> int:
    """
    @return: how a process ended: its exit status, or less than zero for a signal.
    """
    ended = reason.value
    assert isinstance(ended, ProcessTerminated | ProcessDone)
    return -ended.signal if ended.exitCode is None else int(ended.exitCode)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
