"""
The init script and a real node, verb by verb.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import signal
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.filepath import FilePath
from twisted.trial.unittest import TestCase

from sipxha.config.init import Cluster, Server, make_cluster
from tests.support.pair import pause
from tests.test_tap import CONFIGURATION, free_port

reactor: Any = _reactor

SCRIPT = Path(__file__).parents[2] / "etc" / "init.d" / "sipxha"


class InitScriptTests(TestCase):
    """
    Tests for etc/init.d/sipxha, with places of our own and our own user.
    """

    timeout = 120

    def setUp(self) -> None:
        """
        Make a node with a registrar alone, and the script for it.
        """
        self.folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(self.folder)).remove)
        make_cluster(
            self.folder / "c",
            Cluster("example.com", [Server("sipx1.example.com", "127.0.0.1")], embedded=True),
        )
        self.config = self.folder / "c" / "sipx1.example.com" / "sipxha.xml"
        self.config.write_text(CONFIGURATION.format(port=free_port(), more=""))
        self.log = self.folder / "log" / "sipxha.log"
        self.pid_file = self.folder / "run" / "sipxha.pid"
        text = SCRIPT.read_text()
        for name, value in (
            ("BIN", Path(sys.executable).parent),
            ("CONFIG", self.config),
            ("RUNAS", getpass.getuser()),
            ("LOGFILE", self.log),
            ("RUNDIR", self.pid_file.parent),
        ):
            text, count = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
            self.assertEqual(count, 1, name)
        self.script = self.folder / "sipxha"
        self.script.write_text(text)
        self.addCleanup(self.kill)

    def kill(self) -> None:
        """
        End what a test that failed left behind.
        """
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int(self.pid_file.read_text()), signal.SIGKILL)

    async def call(self, verb: str) -> tuple[int, str]:
        """
        @return: the status of a verb, and all that it says.
        """
        out, err, status = await getProcessOutputAndValue(
            "/bin/sh", [str(self.script), verb], env={"PATH": os.environ["PATH"]}
        )
        return status, (out + err).decode()

    async def logged(self, text: str, times: int = 1) -> None:
        """
        Wait until the log has it so often.
        """
        while not self.log.exists() or self.log.read_text().count(text) < times:
            await pause(reactor, 0.05)

    async def test_its_verbs_do_what_they_say_to_a_real_node(self) -> None:
        """
        With the exit statuses of LSB, at any moment.
        """
        for verb, status in (("status", 3), ("stop", 0), ("reload", 7), ("drain", 7)):
            self.assertEqual(await self.call(verb), (status, "sipxha is not running\n"), verb)
        self.assertEqual(
            await self.call("configtest"), (0, f"{self.config}: the node sipx1.example.com can start\n")
        )

        self.assertEqual(await self.call("start"), (0, "sipxha is started\n"))
        await self.logged(" info ready")
        first = self.pid_file.read_text()
        self.assertEqual(await self.call("start"), (0, "sipxha is running\n"))
        status, said = await self.call("status")
        self.assertEqual(status, 0)
        self.assertRegex(said, r"^sipxha is running\n(?s:.*)ready +yes")
        self.assertEqual(await self.call("reload"), (0, ""))
        await self.logged("0 users")

        self.assertEqual((await self.call("restart"))[0], 0)
        await self.logged(" info ready", 2)
        self.assertNotEqual(self.pid_file.read_text(), first)
        status, said = await self.call("drain")
        self.assertEqual((status, said.splitlines()[-1]), (0, "sipxha is stopped"), said)
        await self.logged(" info stopped", 2)
        self.assertEqual(await self.call("status"), (3, "sipxha is not running\n"))

    async def test_a_restart_with_a_wrong_configuration_leaves_the_node_alone(self) -> None:
        """
        It is looked at before anything is stopped.
        """
        self.assertEqual((await self.call("start"))[0], 0)
        await self.logged(" info ready")
        pid = self.pid_file.read_text()
        right = self.config.read_text()
        self.config.write_text(right.replace("<registrar", "<registrat"))
        status, said = await self.call("restart")
        self.assertEqual(status, 1)
        self.assertIn("registrat", said)
        self.assertEqual(self.pid_file.read_text(), pid)
        # LSB has 0 for a program that runs, whatever it says of itself.
        self.assertEqual((await self.call("status"))[0], 0)
        self.config.write_text(right)
        self.assertEqual(await self.call("stop"), (0, "sipxha is stopped\n"))
