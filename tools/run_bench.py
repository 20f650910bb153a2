"""
Runs the benchmarks, one after the other, each in a process of its own, and
puts their lines into one table.

    python -m tools.run_bench [NAME...]     NAME as in bench/bench_NAME.py

A benchmark prints lines of a name, a count and seconds; whatever it prints
besides is shown as it is.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent

_LINE = re.compile(r"\s*(?P<name>\S.*?)\s+(?P<number>\d+)\s+(?P<seconds>\d+\.\d+)(?:\s|$)")


class Result(NamedTuple):
    """
    One line of a benchmark.
    """

    name: str
    number: int
    seconds: float

    @classmethod
    def read(cls, line: str) -> Result | None:
        """
        @return: C{None} for a line that is no result.
        """
        match = _LINE.match(line)
        if match is None:
            return None
        return cls(match["name"].strip(), int(match["number"]), float(match["seconds"]))

    def columns(self) -> tuple[str, str, str, str, str]:
        """
        What the table shows of it.
        """
        if not self.number or not self.seconds:
            return self.name, f"{self.number:,}", f"{self.seconds:.3f}", "", ""
        each, rate = self.seconds / self.number * 1e6, self.number / self.seconds
        return self.name, f"{self.number:,}", f"{self.seconds:.3f}", f"{each:,.1f}", f"{rate:,.0f}"


def names() -> list[str]:
    """
    @return: all benchmarks that there are.
    """
    return sorted(path.stem.removeprefix("bench_") for path in (ROOT / "bench").glob("bench_*.py"))


def run(console: Console, name: str, table: Table) -> bool:
    """
    Run one benchmark and add its results to the table.

    @return: whether it ended well.
    """
    began = time.monotonic()
    with console.status(name):
        ended = subprocess.run(
            [sys.executable, "-m", f"bench.bench_{name}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    good = ended.returncode == 0
    mark = "[green]✔[/green]" if good else "[red]✘[/red]"
    console.print(f" {mark} {name}  [dim]({time.monotonic() - began:.0f} s)[/dim]")
    table.add_section()
    first = name
    for line in ended.stdout.splitlines():
        result = Result.read(line)
        if result is not None:
            table.add_row(first, *result.columns())
            first = ""
        elif line.strip():
            console.print(f"     {line}", style="dim", markup=False)
    if not good:
        console.print(f"     it ended with status {ended.returncode}", style="red")
    return good


def main(asked: list[str]) -> int:
    """
    @param asked: names of benchmarks; none means all.

    @return: the exit status.
    """
    console = Console(highlight=False)
    unknown = [name for name in asked if name not in names()]
    if unknown:
        console.print(f"No benchmark {', '.join(unknown)}; there are {', '.join(names())}.")
        return 2
    table = Table("benchmark", box=box.SIMPLE_HEAD)
    table.add_column("what", overflow="fold")
    for column in ("number", "seconds", "us each", "per second"):
        table.add_column(column, justify="right")
    failed = [name for name in asked or names() if not run(console, name, table)]
    console.print(table)
    if failed:
        console.print(f"[red]Failed: {', '.join(failed)}[/red]")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
