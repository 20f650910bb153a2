"""
Tests for the node's own PostgreSQL: the real binaries in a real folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import psycopg2
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.store.postgres import (
    LONGEST_SOCKET_PATH,
    SOCKET_NAME,
    EmbeddedPostgres,
    PostgresUnusable,
    binaries_for,
    installed,
    server_command,
    socket_folder,
)
from tests.support.postgres import PostgresForTests


class FolderTests(SynchronousTestCase):
    """
    Tests for where things are.
    """

    def test_the_socket_lies_beside_its_cluster(self) -> None:
        """
        A short folder holds its own socket.
        """
        self.assertEqual(socket_folder(Path("/var/lib/sipxha/pg")), Path("/var/lib/sipxha/pg"))

    def test_a_deep_folder_has_its_socket_elsewhere(self) -> None:
        """
        Every process finds the same short place, another for every folder.
        """
        deep = Path("/" + "d" * 100)
        place = socket_folder(deep)
        self.assertLessEqual(len(os.fsencode(place / SOCKET_NAME)), LONGEST_SOCKET_PATH)
        self.assertEqual(place, socket_folder(deep))
        self.assertNotEqual(place, socket_folder(deep / "e"))

    def test_a_new_cluster_gets_the_newest_version(self) -> None:
        """
        It will live long.
        """
        self.assertEqual(binaries_for(Path("/nowhere")).major, max(choice.major for choice in installed()))

    def test_a_cluster_of_a_version_that_is_gone_is_named(self) -> None:
        """
        PostgreSQL's own words would not say what to install.
        """
        cluster = Path(self.mktemp())
        cluster.mkdir()
        (cluster / "PG_VERSION").write_text("9\n")
        refused = self.assertRaises(PostgresUnusable, binaries_for, cluster)
        self.assertIn("made by PostgreSQL 9", str(refused))

    def test_nothing_listens_but_the_socket(self) -> None:
        """
        There is no password on it, so the network must not reach it.
        """
        command = server_command(installed()[0], Path("/c"), Path("/s"))
        self.assertIn("listen_addresses=", command)
        self.assertNotIn("fsync=off", command)


class EmbeddedPostgresTests(TestCase):
    """
    Tests for the life of a server.
    """

    def setUp(self) -> None:
        """
        A short folder, and at the end no server in it.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="sipxha-embedded-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def server(self, folder: Path | None = None, made: bool = True) -> EmbeddedPostgres:
        folder = folder or self.folder / "pg"
        if made and not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            shutil.copytree(PostgresForTests.template(), folder / "cluster")
        server = EmbeddedPostgres(reactor, folder)
        self.addCleanup(server.stop)
        return server

    def ask(self, server: EmbeddedPostgres, sql: str) -> object:
        connection = psycopg2.connect(server.dsn("postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                row = cursor.fetchone() if cursor.description else None
                return row[0] if row else None
        finally:
            connection.close()

    def pid(self) -> int:
        return int((self.folder / "pg/cluster/postmaster.pid").read_text().split("\n")[0])

    async def test_first_start_second_start_and_stop(self) -> None:
        """
        The first start makes the cluster, the second finds it as it was left.
        """
        first = self.server(made=False)
        await first.start()
        self.assertTrue(first.is_running)
        self.ask(first, "CREATE TABLE kept AS SELECT 7 AS a")
        self.assertEqual(self.ask(first, "SHOW fsync"), "on")
        await first.stop()
        self.assertFalse(first.is_running)
        self.assertRaises(psycopg2.OperationalError, self.ask, first, "SELECT 1")
        second = self.server()
        await second.start()
        self.assertEqual(self.ask(second, "SELECT a FROM kept"), 7)

    async def test_only_this_user_can_enter(self) -> None:
        """
        The folders made are private; the one above is left as it was.
        """
        os.chmod(self.folder, 0o755)
        server = self.server(made=False)
        await server.start()
        self.assertEqual((self.folder / "pg").stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o755)
        self.assertEqual((self.folder / "pg/cluster").stat().st_uid, os.geteuid())

    async def test_a_server_that_outlived_its_node_is_taken_over(self) -> None:
        """
        After a kill -9 of the node, the next one of this folder goes on with
        the same postmaster, and stops it in its turn.
        """
        orphaned = self.server()
        await orphaned.start()
        pid = self.pid()
        following = self.server()
        await following.start()
        self.assertEqual(self.pid(), pid)
        await following.stop()
        self.assertRaises(psycopg2.OperationalError, self.ask, following, "SELECT 1")

    async def test_a_server_that_is_killed_is_started_again(self) -> None:
        """
        Nothing that was committed is lost.
        """
        server = self.server()
        await server.start()
        self.ask(server, "CREATE TABLE kept AS SELECT 7 AS a")
        killed = self.pid()
        os.kill(killed, signal.SIGKILL)
        while True:
            await _pause(0.1)
            try:
                self.assertEqual(self.ask(server, "SELECT a FROM kept"), 7)
            except psycopg2.OperationalError:
                continue
            break
        self.assertNotEqual(self.pid(), killed)

    async def test_a_stale_lock_does_not_hinder(self) -> None:
        """
        After a power cut the number of the dead postmaster may be another
        process's.
        """
        server = self.server()
        await server.start()
        await server.stop()
        # Any live process of this user will do.
        for name in ("cluster/postmaster.pid", f"{SOCKET_NAME}.lock"):
            (self.folder / "pg" / name).write_text(f"{os.getpid()}\n{self.folder}/pg/cluster\n0\n5432\n")
        again = self.server()
        await again.start()
        self.assertEqual(self.ask(again, "SELECT 1"), 1)

    async def test_an_unfinished_cluster_is_made_anew(self) -> None:
        """
        A node killed during its first start leaves nothing that is taken for
        a cluster.
        """
        (self.folder / "pg" / "cluster.new").mkdir(parents=True, mode=0o700)
        os.chmod(self.folder / "pg", 0o700)
        (self.folder / "pg" / "cluster.new" / "PG_VERSION").write_text("18\n")
        server = self.server()
        await server.start()
        self.assertFalse((self.folder / "pg" / "cluster.new").exists())

    async def test_a_deep_folder_works(self) -> None:
        """
        Its socket is in a private folder elsewhere.
        """
        deep = self.folder / ("d" * 60) / ("e" * 60)
        self.addCleanup(shutil.rmtree, socket_folder(deep), ignore_errors=True)
        server = self.server(deep)
        await server.start()
        self.assertEqual(self.ask(server, "SELECT 1"), 1)

    async def test_a_folder_that_others_can_enter_is_refused(self) -> None:
        """
        The server has no password.  The reason is told, and logged as often
        as it is tried.
        """
        (self.folder / "pg").mkdir()
        os.chmod(self.folder / "pg", 0o755)
        server = self.server()
        with self.assertRaises(PostgresUnusable) as refused:
            await server.start()
        self.assertIn("only this user", str(refused.exception))
        self.assertFalse(server.is_running)

    async def test_a_server_that_cannot_start_tells_why(self) -> None:
        """
        The last line of its log is in the error.
        """
        server = self.server()
        await server.start()
        await server.stop()
        (self.folder / "pg/cluster/postgresql.conf").write_text("nonsense = 1\n")
        again = self.server()
        with self.assertRaises(PostgresUnusable) as refused:
            await again.start()
        self.assertIn("ended while it started", str(refused.exception))

    async def test_stopping_what_never_started_is_nothing(self) -> None:
        """
        A node that fails early stops all its services.
        """
        await self.server().stop()


def _pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)
