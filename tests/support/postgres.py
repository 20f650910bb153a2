"""
Real PostgreSQL servers for tests.

C{initdb} runs once per test run; every server is a copy of that cluster on a
private unix socket, with fsync off.  Everything here blocks, so that plain
synchronous tests can use it too.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import psycopg2
from psycopg2.extensions import make_dsn
from twisted.trial.unittest import SynchronousTestCase

from sipxha.store.postgres import SUPERUSER, binaries_for, initdb_command, server_command


def _folder() -> Path:
    # Short, because a socket's path has to fit into 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="sipxha-pg-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class PostgresForTests:
    """
    One server, to be seen as one host.

    A test that stops or breaks its server takes one of its own with L{start_for};
    all others share the one of L{shared} and take a fresh database each.
    """

    _template: ClassVar[Path | None] = None
    _shared: ClassVar[PostgresForTests | None] = None

    def __init__(self) -> None:
        self.folder = _folder()
        self._cluster = self.folder / "cluster"
        shutil.copytree(self.template(), self._cluster, symlinks=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._names = 0
        # A server must not outlive the tests, however they end.
        atexit.register(self.stop)

    @classmethod
    def template(cls) -> Path:
        """
        A cluster that nobody has used yet, to be copied.
        """
        if cls._template is None:
            cluster = _folder() / "cluster"
            command = [*initdb_command(binaries_for(cluster), cluster), "--no-sync"]
            subprocess.run(command, check=True, capture_output=True)
            cls._template = cluster
        return cls._template

    @classmethod
    def shared(cls) -> PostgresForTests:
        """
        The server of this test run, started when first asked for.
        """
        if cls._shared is None:
            cls._shared = cls()
            cls._shared.start()
        return cls._shared

    @classmethod
    def start_for(cls, case: SynchronousTestCase) -> PostgresForTests:
        """
        Start a server that ends with the test.
        """
        server = cls()
        case.addCleanup(server.discard)
        server.start()
        return server

    @property
    def sockets(self) -> Path:
        """
        The folder of its socket, C{.s.PGSQL.5432}.
        """
        return self.folder

    def dsn(self, dbname: str = SUPERUSER) -> str:
        """
        libpq parameters for a database of this server, which may not exist yet.
        """
        return str(make_dsn(host=str(self.folder), port=5432, user=SUPERUSER, dbname=dbname))

    def fresh(self) -> str:
        """
        Make an empty database and return its libpq parameters.
        """
        self._names += 1
        name = f"fresh{self._names}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.dsn(name)

    def execute(self, sql: str, dsn: str | None = None) -> list[tuple[object, ...]]:
        """
        Run one statement outside of any transaction, and wait for its rows.
        """
        connection = psycopg2.connect(dsn or self.dsn())
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            connection.close()

    def start(self) -> None:
        """
        Start the server, again after L{stop} or L{kill}, and wait until it
        takes connections.
        """
        assert self._process is None
        command = server_command(binaries_for(self._cluster), self._cluster, self.folder, fsync="off")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        pid_file = self._cluster / "postmaster.pid"
        for _attempt in range(600):
            try:
                lines = pid_file.read_text().split("\n")
            except FileNotFoundError:
                lines = []
            if len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text(errors="replace"))

    def stop(self, number: int = signal.SIGINT) -> None:
        """
        End the server as an operator would, and wait until it has ended.
        """
        process, self._process = self._process, None
        if process is not None:
            os.kill(process.pid, signal.SIGCONT)
            os.kill(process.pid, number)
            process.wait(30)

    def kill(self) -> None:
        """
        End the server as a crash would.
        """
        self.stop(signal.SIGQUIT)

    def freeze(self) -> None:
        """
        Let the postmaster accept no more: new connections hang, as with a
        machine that vanished from the network.
        """
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """
        The opposite of L{freeze}.
        """
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def discard(self) -> None:
        """
        End the server and remove its files.
        """
        self.stop(signal.SIGQUIT)
        atexit.unregister(self.stop)
        shutil.rmtree(self.folder, ignore_errors=True)
