"""
Runs the suite under trial and closes with one line that people and machines
read alike: C{N passed, N failed, N skipped}.

It fails when a test failed and also when none ran: a suite that was not found
is not a suite that passed.

One process more than there are cores: tests of real nodes mostly wait.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys


def main(targets: list[str]) -> int:
    """
    @param targets: what trial is asked to run.

    @return: the exit status.
    """
    jobs = f"--jobs={(os.cpu_count() or 1) + 1}"
    command = [sys.executable, "-m", "twisted.trial", "--reporter=bwverbose", jobs, "--random=0", *targets]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
    assert run.stdout is not None
    last = ""
    for line in run.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        if line.startswith(("PASSED", "FAILED")):
            last = line
    status = run.wait()
    counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", last)}
    passed = counts.get("successes", 0)
    failed = counts.get("failures", 0) + counts.get("errors", 0)
    skipped = counts.get("skips", 0)
    if passed == 0:
        status = status or 1
    sys.stdout.write(f"{passed} passed, {failed} failed, {skipped} skipped\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["tests"]))
