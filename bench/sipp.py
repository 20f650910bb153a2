"""
Debian's sipp as many telephones that register, one after the other, and as
two that call each other all the time.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.load import PASSWORD

_FOLDER = Path(__file__).parent
SCENARIO = _FOLDER / "register_scenario.xml"

_UNHURRIED = ("-nostdin", "-timer_resol", "1", "-max_recv_loops", "5000", "-max_sched_loops", "5000")
"""What lets sipp keep up with its rate."""

LIMIT = 120.0
"""Seconds after which a run has failed."""


class Pass(NamedTuple):
    """
    What became of one run.
    """

    successful: int
    failed: int
    retransmissions: int
    seconds: float

    def is_clean(self, rate: float) -> bool:
        """
        Whether everything went well at C{rate}, and hardly anything was sent
        twice.
        """
        few = self.successful / 1000
        return (
            not self.failed
            and self.retransmissions <= few
            and self.successful >= max(1.0, 0.95 * rate * self.seconds)
        )


class Phones:
    """
    Many telephones, of which each has one registrar.

    Each run takes all users once, in order and under the Call-IDs of the run
    before, so that all runs but the first are refreshes.
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
            *("-r", str(rate), "-m", str(self._count), "-l", str(self._count), *_UNHURRIED),
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


class Callee:
    """
    Who is called, at an address that does not change.
    """

    def __init__(self, folder: Path, address: str, port: int) -> None:
        folder.mkdir(parents=True)
        self.contact = f"sip:u0@{address}:{port}"
        command = [
            *("sipp", "-sf", str(_FOLDER / "callee_scenario.xml"), "-i", address, "-p", str(port)),
            *("-buff_size", "4194304", *_UNHURRIED),
        ]
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """
        End it.
        """
        self._process.kill()
        self._process.wait()


class Caller:
    """
    Who calls, through a proxy.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        folder.mkdir(parents=True)

    def call(self, address: str, port: int, rate: int, count: int) -> tuple[Pass, list[float]]:
        """
        Make calls.

        @param rate: How many begin in a second.

        @return: what became of them, and the seconds from each INVITE to its
            200.
        """
        self._runs += 1
        statistics = self._folder / f"{self._runs}.csv"
        command = [
            *("sipp", f"{address}:{port}", "-sf", str(_FOLDER / "caller_scenario.xml"), "-i", "127.0.0.1"),
            *("-r", str(rate), "-m", str(count), "-l", str(count), "-buff_size", "4194304", *_UNHURRIED),
            *("-trace_stat", "-stf", str(statistics), "-fd", "1"),
            *("-trace_rtt", "-rtt_freq", "200"),
        ]
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        written = self._folder / f"caller_scenario_{process.pid}_rtt.csv"
        # Without a call that was set up there is none.
        lines = written.read_text().splitlines()[1:] if written.exists() else []
        return _read(statistics), [float(line.split(";")[1]) / 1000 for line in lines]


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
