"""
What C{pip install .} leaves in a fresh environment: everything, with nothing of
the checkout in sight.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.support.pair import DOMAIN, free_network
from tools import foreground
from tools.interop.client import Client
from tools.story import Failed, expect, until

ROOT = Path(__file__).parent.parent.parent

NODE = f"sipx1.{DOMAIN}"

reactor = foreground.reactor


def export(folder: Path) -> Path:
    """
    Copy what git has, or would have, of the checkout: nothing that a build left.

    @return: where it is.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            copy = folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy)
    return folder


def command(*arguments: str | Path, folder: Path | str = "/", status: int = 0) -> str:
    """
    Run a command that waits for nothing of ours.

    @return: what it wrote.

    @raise Failed: if its exit status is not C{status}.
    """
    # Neither our modules nor our environment.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    ran = subprocess.run(
        arguments,
        cwd=folder,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    if ran.returncode != status:
        raise Failed(f"{' '.join(map(str, arguments))}: status {ran.returncode}, not {status}:\n{ran.stdout}")
    return ran.stdout


class Installation:
    """
    A fresh environment, and a node that is made with it.
    """

    def __init__(self, folder: Path) -> None:
        """
        @param folder: must not exist yet.
        """
        self._folder = folder
        self._bin = folder / "venv" / "bin"
        self._node = folder / "cluster" / NODE
        self._running: Client | None = None

    async def install(self) -> str:
        """
        C{pip install .}, of a copy.
        """
        source = export(self._folder / "source")
        command(sys.executable, "-m", "venv", str(self._folder / "venv"))
        await deferToThread(command, self._bin / "python", "-m", "pip", "install", "--quiet", str(source))
        shutil.rmtree(source)
        packages = command(self._bin / "python", "-m", "pip", "list", "--format=freeze").splitlines()
        expect("sipxha" in "".join(packages), "sipxha is not listed")
        return f"{command(self._bin / 'sipxha', '--version').strip()}; {len(packages)} packages"

    async def look(self) -> str:
        """
        The command, the plugin, the schema of the configuration, all SQL.
        """
        expect(" sipxha " in command(self._bin / "twistd", "--help"), "twistd does not know sipxha")
        found = command(
            self._bin / "python",
            "-c",
            "from importlib.resources import files; import sipxha.config.load, sipxha.store.schema as schema\n"
            "print(files('sipxha.config').joinpath('sipxha.rng').is_file())\n"
            "print(sum(map(len, schema.steps().values())))",
        ).split()
        expected = len(list((ROOT / "sipxha" / "store" / "schema").glob("*.sql")))
        expect(found == ["True", str(expected)], f"schema and number of SQL files: {found}")
        return f"sipxha, twistd sipxha, sipxha.rng and {expected} files of SQL"

    async def start(self) -> str:
        """
        A node with its own database, from nothing.
        """
        address = f"{free_network()}.1"
        self._sipxha(
            "init",
            str(self._folder / "cluster"),
            f"--domain={DOMAIN}",
            f"--node={NODE}={address}",
            "--embedded",
        )
        self._sipxha("user", "add", "201", "--password=x", *self._config)
        said = self._sipxha("check", *self._config)
        self._running = running = Client()
        program = str(self._bin / "twistd")
        reactor.spawnProcess(
            running,
            program,
            [program, "-n", "--pidfile=", "sipxha", *self._config],
            env={"PATH": os.defpath},
            path="/",
        )
        await until(
            lambda: bool(re.search(r" ready \{", running.output)), f"not ready:\n{running.output}", 20
        )
        await until(lambda: "schema" in running.output, f"no database:\n{running.output}", 60)
        return said.strip()

    async def stop(self) -> str:
        """
        SIGTERM; no error in the log.
        """
        running = self._running
        assert running is not None
        running.end("TERM")
        status = await running.ended
        expect(status == 0, f"status {status}:\n{running.output}")
        wrong = [
            line for line in running.output.splitlines() if line.split()[1:2] in (["error"], ["critical"])
        ]
        expect(not wrong, "\n".join(wrong))
        return "0"

    def end(self) -> None:
        """
        End what still runs.
        """
        if self._running is not None:
            self._running.end("TERM")

    @property
    def _config(self) -> Sequence[str]:
        return ("--config", str(self._node / "sipxha.xml"))

    def _sipxha(self, *arguments: str) -> str:
        return command(str(self._bin / "sipxha"), *arguments)
