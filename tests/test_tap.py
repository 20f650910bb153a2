"""
Tests for L{sipxha.tap}: the log in this process, the rest as real processes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase, TestCase

import sipxha
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.tap import LineLog

ROOT = Path(sipxha.__file__).parents[1]
TWISTD = str(Path(sys.executable).with_name("twistd"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

CONFIGURATION = """\
<sipxha xmlns="urn:sipxha:config:1">
<domain name="example.com"/>
<node name="sipx1.example.com" address="127.0.0.1"/>
<secret file="secret.key"/>
<users credentials="credential.xml" permissions="permission.xml" aliases="alias.xml"/>
<registrar udp="{port}"/>
{more}
</sipxha>
"""


class LineLogTests(SynchronousTestCase):
    """
    Tests for how the log is written.
    """

    def setUp(self) -> None:
        """
        Make a log on a stream.
        """
        self.stream = io.StringIO()
        self.log = Logger(observer=LineLog(self.stream))

    def test_an_event_is_a_line(self) -> None:
        """
        Time, level, what happened.
        """
        self.log.info("{peer} is now {state}", peer="sipx2", state="Reachable")
        (line,) = self.stream.getvalue().splitlines()
        self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} info sipx2 is now Reachable$")

    def test_a_file_that_cannot_be_made_leaves_the_old_one(self) -> None:
        """
        Nothing that is logged afterwards is lost.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        lines = LineLog(LogFile("node.log", str(folder), rotateLength=None))
        log = Logger(observer=lines)
        moved = folder.rename(folder.with_name("moved"))
        self.assertRaises(OSError, lines.reopen)
        log.info("still here")
        self.assertIn("still here", (moved / "node.log").read_text())
        folder.mkdir()
        lines.reopen()
        log.info("in the new one")
        self.assertIn("in the new one", (folder / "node.log").read_text())


class _Twistd(ProcessProtocol):
    """
    A node that runs, whose lines can be waited for.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended: Deferred[int] = Deferred()
        self._wanted: tuple[str, Deferred[str]] | None = None
        self._rest = b""

    def line_with(self, text: str) -> Deferred[str]:
        """
        Wait for a line.
        """
        seen: Deferred[str] = Deferred()
        self._wanted = (text, seen)
        self._look()
        return seen

    def outReceived(self, data: bytes) -> None:
        """
        Collect lines.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines += [line.decode() for line in lines]
        self._look()

    def errReceived(self, data: bytes) -> None:
        """
        Nothing is expected here; it goes with the rest.
        """
        self.outReceived(data)

    def processEnded(self, reason: Failure) -> None:
        """
        Tell the status; who still waits for a line gets what there was.
        """
        ended = reason.value
        assert isinstance(ended, ProcessDone | ProcessTerminated)
        self.ended.callback(-ended.signal if ended.signal else ended.exitCode)
        if self._wanted is not None:
            self._wanted[1].errback(AssertionError("\n".join(self.lines)))

    def _look(self) -> None:
        if self._wanted is not None:
            text, seen = self._wanted
            line = next((line for line in self.lines if text in line), None)
            if line is not None:
                self._wanted = None
                seen.callback(line)


def free_port() -> int:
    """
    A UDP port of 127.0.0.1 that nobody has at the moment.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ProcessTests(TestCase):
    """
    Tests for C{twistd sipxha} as it is started in a shell.
    """

    def setUp(self) -> None:
        """
        Make the folder of a node with a registrar alone.
        """
        # The name of a socket is short, and trial's folders are deep.
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        make_cluster(
            folder / "c", Cluster("example.com", [Server("sipx1.example.com", "127.0.0.1")], embedded=True)
        )
        self.home = folder / "c" / "sipx1.example.com"
        self.config = self.home / "sipxha.xml"
        self.port = free_port()
        self.configure()

    def configure(self, more: str = "") -> None:
        """
        Write the configuration.
        """
        self.config.write_text(CONFIGURATION.format(port=self.port, more=more))

    async def assert_refused(self, problem: str, *options: str) -> None:
        """
        Start in the foreground and in the background: both fail with one line.
        """
        for foreground in (["-n"], []):
            out, err, status = await getProcessOutputAndValue(
                TWISTD,
                [*foreground, "--pidfile=", "sipxha", "--config", str(self.config), *options],
                env=ENVIRONMENT,
                path=str(self.home),
            )
            self.assertEqual((status, out.decode(), err.decode()), (1, "", f"sipxha: {problem}\n"))
        self.assertFalse((self.home / "twistd.log").exists())

    async def test_a_wrong_configuration_is_one_line_and_status_1(self) -> None:
        """
        The first problem, and where to see the others.
        """
        (self.home / "alias.xml").unlink()
        self.configure('<log file="none/node.log"/>')
        await self.assert_refused(
            f"{self.config}:5: aliases {self.home}/alias.xml: No such file or directory"
            f" (and 1 more: sipxha check --config {self.config})"
        )

    async def test_a_port_in_use_is_one_line_and_status_1(self) -> None:
        """
        It names the service and the port.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", self.port))
            await self.assert_refused(
                f"registrar: cannot listen on udp 127.0.0.1:{self.port}: Address already in use"
            )

    async def test_a_bad_file_of_users_is_one_line_and_status_1(self) -> None:
        """
        It names the file.
        """
        (self.home / "credential.xml").write_text("<items")
        _, err, status = await getProcessOutputAndValue(
            TWISTD, ["-n", "--pidfile=", "sipxha", "--config", str(self.config)], env=ENVIRONMENT
        )
        self.assertEqual((status, len(err.splitlines())), (1, 1), err)
        self.assertIn(f"sipxha: {self.home}/credential.xml:1:".encode(), err)

    async def test_wrong_rules_are_one_line_and_status_1(self) -> None:
        """
        They name file and line.
        """
        self.configure(f'<authproxy tcp="{self.port}"><auth-rules file="authrules.xml"/></authproxy>')
        rules = self.home / "authrules.xml"
        rules.write_text(rules.read_text().replace("<mappings", "<mappings>\n<mappings"))
        _, err, status = await getProcessOutputAndValue(
            TWISTD, ["-n", "--pidfile=", "sipxha", "--config", str(self.config)], env=ENVIRONMENT
        )
        self.assertEqual((status, len(err.splitlines())), (1, 1), err)
        self.assertRegex(err.decode(), rf"^sipxha: {rules}:\d+: ")

    def spawn(self, environment: dict[str, str] | None = None) -> tuple[_Twistd, Callable[[int], None]]:
        """
        Start a node in the foreground; it is killed at the end of the test.
        """
        protocol = _Twistd()
        transport = reactor.spawnProcess(
            protocol,
            TWISTD,
            [TWISTD, "-n", "--pidfile=", "sipxha", "--config", str(self.config)],
            env={**ENVIRONMENT, **(environment or {})},
            path=str(self.home),
        )

        def kill() -> Deferred[int] | None:
            if protocol.ended.called:
                return None
            transport.signalProcess("KILL")
            return protocol.ended

        self.addCleanup(kill)
        return protocol, transport.signalProcess

    async def test_it_says_when_it_is_ready_reloads_and_ends_with_status_0(self) -> None:
        """
        The life of a node as systemd sees it.
        """
        node, send = self.spawn()
        line = await node.line_with(" ready")
        self.assertTrue(line.endswith(f'info ready {{"registrar": {{"udp": {self.port}}}}}'), line)

        send(signal.SIGHUP)
        await node.line_with("0 users")
        (self.home / "credential.xml").write_text("<items")
        send(signal.SIGHUP)
        await node.line_with(f"{self.home}/credential.xml:1:")

        send(signal.SIGTERM)
        send(signal.SIGTERM)
        self.assertEqual(await node.ended, 0, node.lines)
        self.assertTrue(node.lines[-1].endswith("info stopped"), node.lines)

    async def test_it_logs_json_and_security_events_where_it_is_told(self) -> None:
        """
        Each in a file of its own, which SIGHUP opens anew.
        """
        self.configure('<log format="json" security="security.log"/>')
        node, send = self.spawn()
        line = json.loads(await node.line_with("ready"))
        self.assertEqual((line["level"], line["state"]), ("info", "ready"))
        security = self.home / "security.log"
        old = security.rename(self.home / "security.log.1")
        send(signal.SIGHUP)
        await node.line_with("0 users")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.99.99.99", 0))
            while not (security.exists() and security.read_text()):
                stranger.sendto(b"rubbish\r\n\r\n", ("127.0.0.1", self.port))
                await self.turn()
        self.assertIn(" sipxha event=malformed source=127.99.99.99 transport=udp", security.read_text())
        self.assertEqual(old.read_text(), "")
        send(signal.SIGTERM)
        self.assertEqual(await node.ended, 0, node.lines)

    async def test_it_mirrors_sip_to_a_collector(self) -> None:
        """
        With its number and name.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
            collector.bind(("127.0.0.1", 0))
            collector.setblocking(False)
            self.configure(f'<hep address="127.0.0.1:{collector.getsockname()[1]}" id="2001"/>')
            node, send = self.spawn()
            await node.line_with(" ready")
            packet = b""
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
                while not packet:
                    phone.sendto(b"rubbish\r\n\r\n", ("127.0.0.1", self.port))
                    await self.turn()
                    with contextlib.suppress(BlockingIOError):
                        packet = collector.recv(4096)
        self.assertTrue(packet.startswith(b"HEP3") and packet.endswith(b"rubbish\r\n\r\n"), packet)
        self.assertIn((2001).to_bytes(4, "big"), packet)
        self.assertIn(b"sipx1.example.com", packet)
        send(signal.SIGTERM)
        self.assertEqual(await node.ended, 0, node.lines)

    async def test_the_level_of_the_log_changes_while_it_runs(self) -> None:
        """
        With the next reload, in both directions.
        """
        node, send = self.spawn()
        await node.line_with(" ready")
        self.configure('<log level="error"/>')
        send(signal.SIGHUP)
        # It tells nothing any more, so the socket has to.
        before = len(node.lines)
        answer = await getProcessOutputAndValue(
            str(Path(TWISTD).with_name("sipxha")), ["reload", "--config", str(self.config)], env=ENVIRONMENT
        )
        self.assertEqual(answer[2], 0, answer)
        self.assertEqual([line for line in node.lines[before:] if " info the" in line], [])
        self.configure('<log level="debug"/>')
        send(signal.SIGHUP)
        await node.line_with("reload: log level changed debug")
        send(signal.SIGTERM)
        self.assertEqual(await node.ended, 0, node.lines)

    async def test_systemd_is_told_of_its_life(self) -> None:
        """
        Ready only when it serves, and reloads with an end.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(self.home / "notify"))
            manager.setblocking(False)
            told: list[str] = []

            async def hears(text: str) -> None:
                while not any(text in each for each in told):
                    try:
                        told.append(manager.recv(4096).decode())
                    except BlockingIOError:
                        await self.turn()

            node, send = self.spawn({"NOTIFY_SOCKET": str(self.home / "notify")})
            await hears("READY=1")
            self.assertIn("STATUS=ready", told[-1])
            told.clear()
            send(signal.SIGHUP)
            await hears("RELOADING=1")
            await hears("READY=1")
            told.clear()
            send(signal.SIGTERM)
            await hears("STOPPING=1")
            self.assertEqual(await node.ended, 0, node.lines)

    async def test_a_store_that_cannot_be_used_is_one_line_and_status_1(self) -> None:
        """
        The file stays as it is.
        """
        (self.home / "data" / "registry.sqlite").write_bytes(b"this is no database" * 100)
        node, _ = self.spawn()
        line = await node.line_with(" critical ")
        self.assertIn(f"cannot go on: {self.home}/data/registry.sqlite: ", line)
        self.assertEqual(await node.ended, 1, node.lines)

    async def test_the_log_goes_to_its_file_and_on_in_a_new_one(self) -> None:
        """
        As logrotate does it: move the file, then SIGHUP.
        """
        self.configure('<log level="warn" file="node.log"/>')
        node, send = self.spawn()
        # Nothing below a warning is logged, so the socket tells that it runs.
        while not (self.home / "data" / "control.sock").exists():
            await self.turn()
        log = self.home / "node.log"
        log.rename(self.home / "node.log.1")
        send(signal.SIGHUP)
        while not log.exists():
            await self.turn()
        send(signal.SIGTERM)
        self.assertEqual(await node.ended, 0)
        self.assertEqual(node.lines, [])

    def turn(self) -> Deferred[None]:
        """
        Let the reactor turn.
        """
        turned: Deferred[None] = Deferred()
        reactor.callLater(0.01, turned.callback, None)
        return turned
