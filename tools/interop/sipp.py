"""
A process of sipp with one scenario, and its figures.

All of them are sipp's own.  Debian's knows MD5 only and looks at no challenge
but the first.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tools.interop.client import Client
from tools.story import last_lines

SCENARIOS = Path(__file__).parent.parent / "sipp"


class Figures(NamedTuple):
    """
    What sipp counted.
    """

    tried: int = 0
    successful: int = 0
    failed: int = 0
    unexpected: int = 0
    """Messages that the scenario does not have, in a call or outside of any."""

    timeouts: int = 0
    resent: int = 0

    def plus(self, other: Figures) -> Figures:
        """
        @return: the sums.
        """
        return Figures(*(one + two for one, two in zip(self, other, strict=True)))

    def __str__(self) -> str:
        # The others are news only if there are any.
        return ", ".join(
            f"{value} {name}"
            for name, value in self._asdict().items()
            if value or name in ("tried", "successful", "failed")
        )


class Sipp(Client):
    """
    A process of sipp with one scenario, and its figures.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__()
        self._statistics = folder / f"{name}.csv"
        self.errors = folder / f"{name}.err"

    def outReceived(self, data: bytes) -> None:
        """
        Drop it: it is for a screen.
        """

    def errReceived(self, data: bytes) -> None:
        """
        Keep why it could not start.
        """
        super().outReceived(data)

    def options(self, scenario: str, address: str, port: int) -> list[str]:
        """
        @return: what every sipp is started with.
        """
        return [
            *("-sf", str(SCENARIOS / f"{scenario}.xml"), "-nostdin"),
            *("-i", address, "-bind_local", "-p", str(port), "-ci", address),
            *("-trace_stat", "-stf", str(self._statistics), "-fd", "1"),
            *("-trace_err", "-error_file", str(self.errors)),
        ]

    def _columns(self) -> dict[str, str]:
        try:
            lines = self._statistics.read_text().splitlines()
        except FileNotFoundError:
            return {}
        # It is written line by line while sipp runs; the last one has the totals.
        return dict(zip(lines[0].split(";"), lines[-1].split(";"), strict=False)) if len(lines) > 1 else {}

    def figures(self) -> Figures:
        """
        What it counted until now.
        """
        columns = self._columns()

        def total(*names: str) -> int:
            return sum(int(columns.get(f"{name}(C)") or 0) for name in names)

        return Figures(
            int(columns.get("TotalCallCreated") or 0),
            total("SuccessfulCall"),
            total("FailedCall"),
            total("FailedUnexpectedMessage", "OutOfCallMsgs", "DeadCallMsgs"),
            total("FailedMaxUDPRetrans", "FailedTimeoutOnRecv", "FailedTimeoutOnSend"),
            total("Retransmissions"),
        )

    def response_time(self, timer: int = 1) -> float:
        """
        @return: the mean of a timer of the scenario, in seconds.
        """
        hours, minutes, seconds, micros = map(int, self._columns()[f"ResponseTime{timer}(C)"].split(":"))
        return hours * 3600 + minutes * 60 + seconds + micros / 1e6

    def response_times(self) -> list[float]:
        """
        @return: each time that the first timer took, in seconds; sipp was
            started with C{-trace_rtt}.
        """
        (file,) = self._statistics.parent.glob(f"*_{self.pid}_rtt.csv")
        _, *rows = (line.split(";") for line in file.read_text().splitlines())
        return [float(row[1]) / 1000 for row in rows if row[2:3] == ["1"]]

    def complaint(self) -> str:
        """
        @return: what it wrote about its first error.
        """
        lines = self.errors.read_text(errors="replace").splitlines() if self.errors.exists() else []
        return "\n".join(lines[:12]) or last_lines(self.output, 3)
