"""
One node in a process of its own, as an operator starts it, for a load to be
put on: durable store, digest, no peers; with or without a database for calls.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.load import credential_xml
from sipxha.config.init import Cluster, Server, make_cluster

DOMAIN = "example.com"
NAME = "sipx1.example.com"

PATIENCE = 60.0
"""Seconds until a node that is not ready has failed."""


class Node:
    """
    A node that stands alone.
    """

    def __init__(self, folder: Path, address: str, names: list[str], *, calls: bool = False) -> None:
        """
        @param names: Of its users.

        @param calls: Whether everybody may call them, and is recorded.
        """
        make_cluster(folder, Cluster(DOMAIN, [Server(NAME, address)], embedded=True))
        self.address = address
        self.folder = folder / NAME
        (self.folder / "credential.xml").write_text(credential_xml(names, DOMAIN))
        path = self.folder / "sipxha.xml"
        # What sipp reads of two challenges is the first, and it knows MD5 only.
        text = path.read_text().replace('authenticate="true"', 'authenticate="true" digest="MD5 SHA-256"')
        if calls:
            text = text.replace("<proxy udp=", '<proxy strangers="accept" udp=')
        else:
            text = re.sub(r"(?s)  <call-events.*</call-resolver>\n", "", text)
        path.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """
        Of its process.
        """
        assert self._process is not None
        return self._process.pid

    @property
    def _postmaster(self) -> Path:
        return self.folder / "data" / "pg" / "cluster" / "postmaster.pid"

    def await_database(self) -> None:
        """
        Wait for its PostgreSQL; a node serves before.
        """
        begun = time.perf_counter()
        while not (self._postmaster.exists() and "ready" in self._postmaster.read_text()):
            if time.perf_counter() - begun > PATIENCE:
                raise TimeoutError("the node's database does not get ready")
            time.sleep(0.1)

    @property
    def database_pids(self) -> list[int]:
        """
        The processes of its PostgreSQL.
        """
        pid = int(self._postmaster.read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def start(self, profile: Path | None = None, under: Sequence[str] = ()) -> float:
        """
        Start it, and wait until it serves.

        @param profile: Where the profile of its reactor's thread goes.

        @param under: What it is run by, if not by the shell.

        @return: the seconds that it took.
        """
        log = self.folder / "node.log"
        twistd = [*under, str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile="]
        if profile is not None:
            twistd += [f"--profile={profile}", "--profiler=cprofile", "--savestats"]
        begun = time.perf_counter()
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [*twistd, "sipxha", "--config", str(self.folder / "sipxha.xml")],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.folder,
            )
        while not _is_ready(log):
            if time.perf_counter() - begun > PATIENCE or self._process.poll() is not None:
                raise TimeoutError(f"the node does not get ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.01)
        return time.perf_counter() - begun

    def stop(self) -> None:
        """
        Stop it as an operator does.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _is_ready(log: Path) -> bool:
    for line in log.read_text(errors="replace").splitlines():
        found = re.search(r" info ready(?: degraded)? (\{.*\})$", line)
        if found is not None:
            json.loads(found[1])
            return True
    return False
