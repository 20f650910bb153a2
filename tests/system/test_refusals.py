"""
What a node cannot start with, and what it starts without.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.internet.defer import maybeDeferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from sipxha.cli.status import ask
from sipxha.config.certificates import make_authority, make_node, read_authority, write_node
from sipxha.config.init import Cluster, make_cluster
from sipxha.config.init import Server as Address
from sipxha.config.load import load
from sipxha.config.model import Dns
from sipxha.config.users import add_user
from sipxha.net.dns import Locator, resolver_for
from sipxha.store.cdr_export import Selection, read_calls
from tests.support.pair import DOMAIN, free_network, sipxha
from tests.support.phone import Phone
from tests.support.postgres import PostgresForTests
from tests.system.servers import BIN, PASSWORD, Server, events_of, is_alive, reactor, until

NAME = f"sipx1.{DOMAIN}"


class _NodeTestCase(TestCase):
    """
    A test of one node of a pair, as C{sipxha init} wrote it, whose peer does not run.
    """

    timeout = 60

    def setUp(self) -> None:
        """
        Make its folder on addresses that nobody has.
        """
        # Short, because the path of a socket has to fit into 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="sipxha-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.network = free_network()
        self.address = f"{self.network}.1"
        servers = [Address(NAME, self.address), Address(f"sipx2.{DOMAIN}", f"{self.network}.2")]
        make_cluster(self.folder / "pair", Cluster(DOMAIN, servers, embedded=True))
        self.home = self.folder / "pair" / NAME
        self.config = self.home / "sipxha.xml"

    def configure(self, old: str, new: str) -> int:
        """
        Change the configuration.

        @return: the number of the first line that changed.
        """
        text = self.config.read_text()
        self.assertEqual(text.count(old), 1, old)
        self.config.write_text(text.replace(old, new))
        return text[: text.index(old)].count("\n") + 1


class RefusalTests(_NodeTestCase):
    """
    Tests for starts that fail: in the shell, with one line, and without a trace.
    """

    async def assert_refused(self, problem: str, *prefix: str) -> None:
        """
        Neither in the foreground nor in the background a node starts, and
        C{sipxha check} says the same.

        @param prefix: a command that runs the others.
        """
        for foreground in (["-n"], []):
            out, err, status = await self.run_command(
                *prefix, str(BIN / "twistd"), *foreground, "sipxha", "--config", str(self.config)
            )
            self.assertEqual((err, out, status), (f"sipxha: {problem}\n", "", 1))
        self.assertEqual(self.traces(), [])
        out, err, status = await self.run_command(
            *prefix, str(BIN / "sipxha"), "check", "--config", str(self.config)
        )
        # What to do about it may follow.
        found, *next_step = err.splitlines()
        self.assertEqual((found, out, status), (problem, "", 1))
        self.assertTrue(all(line.startswith("sipxha: ") for line in next_step), err)

    async def run_command(self, *command: str) -> tuple[str, str, int]:
        """
        Run a command in the node's folder.
        """
        out, err, status = await getProcessOutputAndValue(
            command[0] if "/" in command[0] else str(shutil.which(command[0])),
            command[1:],
            env=os.environ,
            path=str(self.home),
        )
        return out.decode(), err.decode(), status

    def traces(self) -> list[str]:
        """
        Files and processes that a start has left behind.
        """
        left = [
            name for name in ("twistd.pid", "twistd.log", "data/control.sock") if (self.home / name).exists()
        ]
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if os.fsencode(self.config) in process.read_bytes():
                    left.append(str(process))
            except OSError:
                continue
        return left

    async def test_a_bad_value(self) -> None:
        """
        File and line.
        """
        line = self.configure('<proxy udp="5060"', '<proxy udp="sip"')
        out, err, status = await self.run_command(str(BIN / "sipxha"), "check", "--config", str(self.config))
        self.assertEqual((out, status), ("", 1))
        self.assertRegex(err, rf"\A{re.escape(str(self.config))}:{line}: .*\budp\b.*\n\Z")
        await self.assert_refused(err.rstrip("\n"))

    async def test_a_missing_file(self) -> None:
        """
        The line that names it.
        """
        (self.home / "forwardingrules.xml").unlink()
        line = 1 + self.config.read_text().split("<forwarding-rules")[0].count("\n")
        await self.assert_refused(
            f"{self.config}:{line}: file {self.home}/forwardingrules.xml: No such file or directory"
        )

    async def test_a_missing_configuration(self) -> None:
        """
        Its name.
        """
        self.config.unlink()
        await self.assert_refused(f"{self.config}: No such file or directory")

    async def test_wrong_rules(self) -> None:
        """
        File and line of the rules.
        """
        rules = self.home / "forwardingrules.xml"
        lines = rules.read_text().splitlines()
        wrong = next(number for number, line in enumerate(lines, 1) if "<routeTo>" in line)
        lines[wrong - 1] = "<routeTo>&lt;sip:&gt;</routeTo>"
        rules.write_text("\n".join(lines))
        out, err, status = await self.run_command(str(BIN / "sipxha"), "check", "--config", str(self.config))
        self.assertEqual((out, status), ("", 1))
        self.assertRegex(err, rf"\A{re.escape(str(rules))}:{wrong}: .+\n\Z")
        await self.assert_refused(err.rstrip("\n"))

    async def test_a_port_in_use(self) -> None:
        """
        Service, transport, address and port, whichever it is.
        """
        for kind, port, service, transport in (
            (socket.SOCK_DGRAM, 5060, "proxy", "udp"),
            (socket.SOCK_STREAM, 5080, "authproxy", "tcp"),
            (socket.SOCK_STREAM, 5077, "replication", "tcp"),
        ):
            with closing(socket.socket(socket.AF_INET, kind)) as other:
                other.bind((self.address, port))
                if kind == socket.SOCK_STREAM:
                    other.listen()
                await self.assert_refused(
                    f"{service}: cannot listen on {transport} {self.address}:{port}: Address already in use"
                )

    def tls_line(self) -> int:
        """
        The line that names the certificate.
        """
        return 1 + self.config.read_text().split("<tls ")[0].count("\n")

    async def test_a_missing_certificate(self) -> None:
        """
        The line that names it.
        """
        (self.home / "ssl" / "node.crt").unlink()
        await self.assert_refused(
            f"{self.config}:{self.tls_line()}: certificate {self.home}/ssl/node.crt: No such file or directory"
        )

    async def test_an_expired_certificate(self) -> None:
        """
        When it expired.
        """
        path = self.home / "ssl" / "node.crt"
        authority = read_authority(self.folder / "pair" / "ca")
        valid = x509.load_pem_x509_certificate(path.read_bytes())
        end = valid.not_valid_before_utc - timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(valid.subject)
            .issuer_name(valid.issuer)
            .public_key(valid.public_key())
            .serial_number(valid.serial_number)
            .not_valid_before(end - timedelta(days=30))
            .not_valid_after(end)
        )
        for extension in valid.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        expired = builder.sign(authority.key, hashes.SHA256())
        path.write_bytes(authority._replace(certificate=expired).certificate_pem)
        await self.assert_refused(f"{self.config}:{self.tls_line()}: {path} expired on {end:%Y-%m-%d}")

    async def test_the_key_of_another_certificate(self) -> None:
        """
        Both files.
        """
        ssl = self.home / "ssl"
        shutil.copy(self.folder / "pair" / f"sipx2.{DOMAIN}" / "ssl" / "node.key", ssl)
        await self.assert_refused(
            f"{self.config}:{self.tls_line()}: {ssl}/node.key is not the key of {ssl}/node.crt"
        )

    async def test_a_certificate_of_another_authority(self) -> None:
        """
        Peers would not have it.
        """
        ssl = self.home / "ssl"
        other = make_authority("another")
        authority = (ssl / "ca.crt").read_bytes()
        write_node(ssl, make_node(other, NAME, DOMAIN), other)
        (ssl / "ca.crt").write_bytes(authority)
        await self.assert_refused(
            f"{self.config}:{self.tls_line()}: {ssl}/node.crt was not issued by the authority in {ssl}/ca.crt"
        )

    async def test_a_data_folder_that_is_a_file(self) -> None:
        """
        Its name.
        """
        data = self.home / "data"
        data.rmdir()
        data.write_text("")
        await self.assert_refused(f"{data} is not a folder")

    async def test_a_data_folder_that_cannot_be_written(self) -> None:
        """
        Its name.
        """
        data = self.home / "data"
        data.chmod(0o500)
        # Modes mean nothing to root, so a root is made somebody else.
        prefix = ["unshare", "-U", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
        await self.assert_refused(f"{data} cannot be written", *prefix)

    async def test_a_node_that_runs_already(self) -> None:
        """
        The second start says so; C{sipxha check} finds nothing wrong.
        """
        node = Server(NAME, self.address, self.home)
        self.addCleanup(node.kill_database)
        self.addCleanup(node.kill)
        await node.start()
        for foreground in (["-n"], []):
            out, err, status = await self.run_command(
                str(BIN / "twistd"), *foreground, "--pidfile=", "sipxha", "--config", str(self.config)
            )
            self.assertEqual((out, status), ("", 1))
            self.assertEqual(err, f"sipxha: the node {NAME} is running already, on {self.home}/data\n")
        out, err, status = await self.run_command(str(BIN / "sipxha"), "check", "--config", str(self.config))
        self.assertEqual((out, err, status), (f"{self.config}: the node {NAME} runs\n", "", 0))


class BackgroundTests(_NodeTestCase):
    """
    Tests for a node that C{twistd} puts into the background.
    """

    async def test_it_starts_and_ends(self) -> None:
        """
        With a pid file and a log file, as its init script expects.
        """
        out, err, status = await getProcessOutputAndValue(
            str(BIN / "twistd"), ["sipxha", "--config", str(self.config)], env=os.environ, path=str(self.home)
        )
        self.assertEqual((out, err, status), (b"", b"", 0))
        pid_file, log = self.home / "twistd.pid", self.home / "twistd.log"
        await until(pid_file.exists, "it has no pid file")
        pid = int(pid_file.read_text())
        self.addCleanup(self.end, pid)
        await until(lambda: log.exists() and " ready " in log.read_text(), "it does not get ready")
        os.kill(pid, signal.SIGTERM)
        await until(lambda: not is_alive(pid), "it does not end")
        self.assertFalse(pid_file.exists())
        self.assertTrue(log.read_text().rstrip().endswith("stopped"), log.read_text())

    def end(self, pid: int) -> None:
        """
        Let no process stay behind.
        """
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        Server(NAME, self.address, self.home).kill_database()


class DatabaseTests(_NodeTestCase):
    """
    Tests for a node whose database is away.
    """

    async def test_calls_are_served_and_their_events_kept_until_it_comes(self) -> None:
        """
        The node says what is missing; each event reaches the database once.
        """
        database = PostgresForTests()
        self.addCleanup(database.discard)
        dsn = database.dsn("SIPXCDR")
        self.configure('<call-events embedded="true"', f'<call-events dsn="{dsn}"')
        self.configure("<call-resolver ", f'<call-resolver dsn="{dsn}" ')
        node = self.node_with_users()
        await node.start()
        await node.line_with("call events are kept in the journal")
        self.assertIn("call events wait for", self.status()["trouble"])

        caller, callee = self.phone("201", 11), self.phone("202", 12)
        for phone in (caller, callee):
            self.assertEqual((await phone.register(at=self.address)).status, 200)
        calls = []
        for _ in range(3):
            call = await caller.call(callee.aor)
            calls.append(call.call_id)
            self.assertEqual((await call.hang_up()).status, 200)

        # What it has not written yet survives it.
        self.assertEqual(await node.stop(), 0)
        await node.start()
        database.start()
        await until(
            lambda: self.status()["trouble"] is None or "call events" not in self.status()["trouble"],
            "it does not find the database",
        )
        await until(lambda: events_of(dsn, calls[-1]) == "RSE", "the events do not come")
        self.assertEqual([events_of(dsn, call) for call in calls], ["RSE"] * 3)
        self.assertEqual(await node.stop(), 0)

    async def test_a_node_needs_no_more_of_its_database_than_the_roles_may(self) -> None:
        """
        What its owner prepared is written to, resolved, and read by reports.
        """
        database = PostgresForTests.start_for(self)
        dsn = database.dsn("SIPXCDR").replace("user=postgres", "user={}")
        writer, resolver = dsn.format("sipxha_writer"), dsn.format("sipxha_resolver")
        self.configure('<call-events embedded="true"', f'<call-events dsn="{writer}"')
        self.configure("<call-resolver ", f'<call-resolver dsn="{resolver}" ')
        config = ("--config", str(self.config))
        await sipxha(reactor, "db", "init", "--as", "postgres", *config)
        node = self.node_with_users()
        await node.start()
        caller, callee = self.phone("201", 11), self.phone("202", 12)
        for phone in (caller, callee):
            self.assertEqual((await phone.register(at=self.address)).status, 200)
        call = await caller.call(callee.aor)
        self.assertEqual((await call.hang_up()).status, 200)
        await until(
            lambda: events_of(database.dsn("SIPXCDR"), call.call_id) == "RSE", "the events do not come"
        )
        # The peer's events cannot be read: it does not run.
        await sipxha(reactor, "resolve", *config, status=3)
        ((row,),) = read_calls(dsn.format("sipxha_reports"), Selection())
        self.assertIn(call.call_id, row)
        self.assertEqual([line for line in node.lines if "permission denied" in line], [])
        self.assertEqual(await node.stop(), 0)

    def node_with_users(self) -> Server:
        """
        The node, which ends with the test, and two who may call.
        """
        files = load(self.config).users
        for user in ("201", "202"):
            add_user(files, f"{user}@{DOMAIN}", DOMAIN, PASSWORD)
        node = Server(NAME, self.address, self.home)
        self.addCleanup(lambda: node.kill() if node.is_running else None)
        return node

    def status(self) -> dict[str, Any]:
        """
        As C{sipxha status --json}.
        """
        state: dict[str, Any] = ask(self.config, "/status")
        return state

    def phone(self, user: str, host: int) -> Phone:
        """
        A phone that finds its server by the zone file.
        """
        resolver = resolver_for(reactor, Dns(zone=self.home / "zone.db"))
        directory = Locator(reactor, resolver, lambda: 0.0)
        phone = Phone(reactor, user, PASSWORD, DOMAIN, f"{self.network}.{host}", 5060, directory)
        phone.startService()
        self.addCleanup(maybeDeferred, phone.stopService)
        return phone
