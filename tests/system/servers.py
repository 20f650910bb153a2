"""
Nodes that outlive a test.

Trial ends every process that its reactor has started after each test, and a
pair takes seconds to start.  So these are plain processes, which one test
hands to the next: a test may break whatever it likes, and
L{PairTestCase.setUp} puts it right again.  They end with the test run.
"""

from __future__ import annotations

import atexit
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any, ClassVar

import psycopg2
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import TestCase

from sipxha.cli.status import ask
from sipxha.config.load import load
from sipxha.config.model import Dns
from sipxha.config.users import add_user
from sipxha.net.dns import Locator, resolver_for
from sipxha.sip.message import Response
from sipxha.sip.uri import Uri
from tests.support.cse_host import execute
from tests.support.pair import DNS_PORT, DOMAIN, free_network, pause
from tests.support.pair import sipxha as command
from tests.support.phone import Call, CallFailed, Phone

reactor: Any = _reactor

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PASSWORD = "correct horse"
USERS = 400
PATIENCE = 20.0
"""Seconds after which what a test waits for will not come."""

Row = dict[str, Any]


async def until(holds: Callable[[], Any], otherwise: str, limit: float = PATIENCE) -> Any:
    """
    Wait until something holds.

    @return: what C{holds} returned in the end.
    """
    deadline = time.monotonic() + limit
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(otherwise)
        await pause(reactor, 0.02)


def is_alive(pid: int) -> bool:
    """
    Whether a process runs, which need not be ours; one that only waits for
    its parent to notice its end does not.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def events_of(dsn: str, call_id: str) -> str:
    """
    The types of the events of a call in a database, in order.
    """
    sql = "SELECT event_type FROM call_state_events WHERE call_id = %s ORDER BY event_time, id"
    return "".join(row[0] for row in execute(dsn, sql, call_id))


class Server:
    """
    A node, as C{twistd -n sipxha --config F}.
    """

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name = name
        self.address = address
        self.folder = folder
        self.config = folder / "sipxha.xml"
        self._log = folder / "node.log"
        self._began = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """
        Whether its process lives.
        """
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """
        The number of its process.
        """
        assert self._process is not None
        return self._process.pid

    @property
    def lines(self) -> list[str]:
        """
        What it has logged since it was last started.
        """
        return self.lines_after(self._began)

    @property
    def logged(self) -> int:
        """
        The length of its log.
        """
        return self._log.stat().st_size if self._log.exists() else 0

    def lines_after(self, length: int) -> list[str]:
        """
        What it has logged since its log had a length.
        """
        try:
            return self._log.read_bytes()[length:].decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    @property
    def state(self) -> str:
        """
        C{ready}, C{ready degraded}, or nothing yet.
        """
        for line in self.lines:
            for state in ("ready degraded", "ready"):
                if f" info {state} {{" in line:
                    return state
        return ""

    def launch(self) -> None:
        """
        Start it, and wait for nothing.
        """
        assert not self.is_running
        self._began = self.logged
        command = [str(BIN / "twistd"), "-n", "--pidfile=", "sipxha", "--config", str(self.config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    async def ready(self) -> str:
        """
        Wait until it serves.

        @return: C{ready} or C{ready degraded}.
        """
        await until(lambda: self.state or not self.is_running, f"{self.name} does not get ready")
        assert self.state, "\n".join(self.lines)
        return self.state

    async def start(self) -> str:
        """
        Start it and wait until it serves.
        """
        self.launch()
        return await self.ready()

    def kill(self, *, database: bool = False) -> None:
        """
        kill -9.

        @param database: with its embedded PostgreSQL, as when the whole
            machine dies.
        """
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        if database:
            self.kill_database()

    def kill_database(self) -> None:
        """
        End the embedded PostgreSQL that a killed node leaves behind.
        """
        try:
            pid = int((self.folder / "data" / "pg" / "cluster" / "postmaster.pid").read_text().split()[0])
            end = os.pidfd_open(pid)
        except (FileNotFoundError, ProcessLookupError):
            return
        try:
            signal.pidfd_send_signal(end, signal.SIGQUIT)
            # Readable when it has ended.
            if not select([end], [], [], 30)[0]:
                raise AssertionError(f"PostgreSQL {pid} does not end")
        finally:
            os.close(end)

    def send(self, number: int) -> None:
        """
        Send a signal.
        """
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> int:
        """
        SIGTERM.

        @return: the exit status.
        """
        self.send(signal.SIGTERM)
        assert self._process is not None
        await until(lambda: not self.is_running, f"{self.name} does not stop")
        return int(self._process.returncode)

    async def line_with(self, text: str, after: int = 0) -> str:
        """
        Wait for a line of its log since it was last started, or since the log
        had a length.
        """
        begin = max(after, self._began)
        found = await until(
            lambda: [line for line in self.lines_after(begin) if text in line],
            f"{self.name} does not say {text!r}",
        )
        return str(found[-1])

    def registrations(self) -> list[Row]:
        """
        The rows that it holds live, as C{sipxha registrations --json}.
        """
        rows: list[Row] = ask(self.config, "/registrations")
        return sorted(rows, key=lambda row: (row["identity"], row["contact"], row["reg_id"]))

    def peers(self) -> list[Row]:
        """
        As C{sipxha peers --json}.
        """
        rows: list[Row] = ask(self.config, "/peers")
        return rows

    def events(self, call_id: str) -> str:
        """
        The types of the events of a call in its own database, in order; none
        as long as the database does not run.
        """
        dsn = f"host={self.folder}/data/pg port=5432 user=postgres dbname=SIPXCDR"
        try:
            return events_of(dsn, call_id)
        except psycopg2.Error:
            return ""


class Servers:
    """
    A pair made by C{sipxha init}, its DNS server and its users.
    """

    _shared: ClassVar[Servers | None] = None

    def __init__(self) -> None:
        # Short, because the path of a socket has to fit into 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="sipxha-"))
        self.network = free_network()
        self.dns = (f"{self.network}.53", DNS_PORT)
        self.nodes = [
            Server(name, f"{self.network}.{number}", self.folder / "pair" / name)
            for number, name in enumerate((f"sipx1.{DOMAIN}", f"sipx2.{DOMAIN}"), 1)
        ]
        self.users = itertools.count(1000)
        # Those of earlier tests are switched off by the time that their addresses come again.
        self.hosts = itertools.cycle(range(10, 255))
        self._dns_server: subprocess.Popen[bytes] | None = None
        atexit.register(self.discard)

    @classmethod
    async def running(cls) -> Servers:
        """
        The pair of this test run: both nodes serve and know of each other.
        """
        if cls._shared is None:
            pair = cls()
            await pair.write()
            cls._shared = pair
        await cls._shared.mend()
        return cls._shared

    async def write(self) -> None:
        """
        Make the folders, the users and the DNS server.
        """
        nodes = [f"--node={node.name}={node.address}" for node in self.nodes]
        folder = str(self.folder / "pair")
        server = "{}:{}".format(*self.dns)
        await command(reactor, "init", folder, f"--domain={DOMAIN}", "--embedded", f"--dns={server}", *nodes)
        files = load(self.nodes[0].config).users
        for user in range(1000, 1000 + USERS):
            add_user(files, f"{user}@{DOMAIN}", DOMAIN, PASSWORD)
        # Users are the same on all nodes.
        shutil.copy(files.credentials, self.nodes[1].folder)
        zone = self.folder / "pair" / "zone.db"
        self._dns_server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.name_server", str(zone), self.dns[0], str(self.dns[1])],
            cwd=ROOT,
        )

    async def mend(self) -> None:
        """
        Start whatever does not run, and wait until both nodes agree.
        """
        for node in self.nodes:
            if not node.is_running:
                node.launch()
        for node in self.nodes:
            await node.ready()
        await self.level()

    async def level(self) -> list[Row]:
        """
        Wait until both nodes are Reachable and hold the same rows.

        @return: the rows.
        """

        def is_level() -> bool:
            if any(peer["state"] != "Reachable" for node in self.nodes for peer in node.peers()):
                return False
            return self.nodes[0].registrations() == self.nodes[1].registrations()

        await until(is_level, "the registries do not become the same")
        return self.nodes[0].registrations()

    @contextmanager
    def silent_dns(self) -> Iterator[None]:
        """
        Let the DNS server say nothing for a while.
        """
        assert self._dns_server is not None
        self._dns_server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._dns_server.send_signal(signal.SIGCONT)

    def discard(self) -> None:
        """
        End all processes and remove the files.
        """
        for node in self.nodes:
            if node.is_running:
                node.kill()
            node.kill_database()
        if self._dns_server is not None:
            self._dns_server.kill()
            self._dns_server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class PairTestCase(TestCase):
    """
    A test of two nodes that serve, with phones that no other test has.
    """

    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        """
        Two nodes that serve and know of each other.
        """
        self.pair = await Servers.running()
        self.east, self.west = self.pair.nodes
        self._logged = [node.logged for node in self.pair.nodes]

    def tearDown(self) -> None:
        """
        Whatever a test did to the nodes, they were prepared for it.
        """
        for node, logged in zip(self.pair.nodes, self._logged, strict=True):
            lines = node.lines_after(logged)
            for number, line in enumerate(lines):
                if "Traceback" in line or "Unhandled" in line:
                    self.fail("\n".join([node.name, *lines[max(number - 1, 0) : number + 40]]))

    def directory(self) -> Locator:
        """
        How a phone finds servers; each remembers for itself which are dead.
        """
        return Locator(reactor, resolver_for(reactor, Dns(server=self.pair.dns)), random.random)

    def phone(
        self,
        transport: str = "udp",
        user: str = "",
        password: str = PASSWORD,
        believes: str = "",
        network: Any = reactor,
    ) -> Phone:
        """
        A phone at an address of its own.

        @param user: one that nobody has used yet, unless given.

        @param believes: what it takes for its own address, behind a NAT.

        @param network: what its datagrams go through.
        """
        phone = Phone(
            network,
            user or str(next(self.pair.users)),
            password,
            DOMAIN,
            f"{self.pair.network}.{next(self.pair.hosts)}",
            5060,
            self.directory(),
            transport,
            believes,
        )
        phone.startService()
        self.addCleanup(maybeDeferred, phone.stopService)
        return phone

    async def registered(self, node: Server, transport: str = "udp", network: Any = reactor) -> Phone:
        """
        A phone that has registered at a node.
        """
        phone = self.phone(transport, network=network)
        await self.register(phone, node)
        return phone

    async def register(self, phone: Phone, node: Server | None = None) -> None:
        """
        Register a phone at a node, or wherever DNS sends it.
        """
        response = await phone.register(at=node.address if node else None)
        self.assertEqual((response.status, response.reason), (200, "OK"), phone.user)

    async def refused(self, call: Deferred[Call]) -> Response:
        """
        The final response of a call that is not set up.
        """
        try:
            await call
        except CallFailed as failed:
            return failed.response
        self.fail("it was set up")

    def door(self, node: Server) -> Uri:
        """
        The front door of a node.
        """
        return Uri.parse(f"sip:{node.address};transport=udp")

    def change(self, path: Path, text: str) -> None:
        """
        Give a file of a node another content, as long as the test lasts; then
        the node starts anew.
        """
        before = path.read_text()
        (node,) = (each for each in self.pair.nodes if each.folder in path.parents)

        async def restore() -> None:
            path.write_text(before)
            if node.is_running:
                await node.stop()

        path.write_text(text)
        self.addCleanup(restore)

    def live(self, node: Server, phone: Phone) -> list[Row]:
        """
        The rows of a phone's user that a node holds live.
        """
        identity = f"{phone.user}@{DOMAIN}"
        return [row for row in node.registrations() if row["identity"] == identity]
