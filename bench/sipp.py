"""
Debian's sipp as many telephones that register, one after the other.

Each run takes all users once, in order and under the Call-IDs of the run
before, so that all runs but the first are refreshes.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.load import PASSWORD

SCENARIO = Path(__file__).with_name("register_scenario.xml")

LIMIT = 120.0
"""Seconds after which a run has failed."""


class Pass(NamedTuple):
    """
    What became of one run.
    """

    registered: int
    failed: int
    retransmissions: int
    seconds: float

    def is_clean(self, rate: float) -> bool:
        """
        Whether everybody registered at C{rate}, and hardly anything was sent
        twice.
        """
        few = self.registered / 1000
        return (
            not self.failed and self.retransmissions <= few and self.registered / self.seconds >= 0.95 * rate
        )


class Phones:
    """
    Many telephones, of which each has one registrar.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._count = len(names)
        self._cseq = 1
        folder.mkdir(parents=True)
        lines = [f"{name};[authentication username={name} password={PASSWORD}]\n" for name in names]
        (folder / "users.csv").write_text("SEQUENTIAL\n" + "".join(lines))

    @staticmethod
    def is_here() -> bool:
        """
        Whether sipp is installed.
        """
        return shutil.which("sipp") is not None

    def register(self, address: str, port: int, rate: int) -> Pass:
        """
        Let everybody register once.

        @param rate: How many begin in a second.
        """
        statistics = self._folder / f"{self._cseq}.csv"
        command = [
            *("sipp", f"{address}:{port}", "-sf", str(SCENARIO), "-i", "127.0.0.1"),
            *("-inf", str(self._folder / "users.csv"), "-auth_uri", "example.com"),
            *("-cid_str", "%u@bench", "-base_cseq", str(self._cseq)),
            *("-r", str(rate), "-m", str(self._count), "-l", str(self._count), "-nostdin"),
            *("-timer_resol", "1", "-max_recv_loops", "5000", "-max_sched_loops", "5000"),
            *("-buff_size", "1048576", "-trace_stat", "-stf", str(statistics), "-fd", "1"),
        ]
        self._cseq += 2
        subprocess.run(
            command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT,
            check=False,
        )
        return _read(statistics)


def _read(statistics: Path) -> Pass:
    """
    The totals of a run.
    """
    names, *_, last = (line.split(";") for line in statistics.read_text().splitlines())
    total = dict(zip(names, last, strict=False))
    hours, minutes, seconds = total["ElapsedTime(C)"].split(":")[:3]
    return Pass(
        int(total["SuccessfulCall(C)"]),
        int(total["FailedCall(C)"]),
        int(total["Retransmissions(C)"]),
        int(hours) * 3600 + int(minutes) * 60 + float(seconds),
    )
