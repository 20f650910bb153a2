"""
How long a call or a registration has to wait, and what for: the longest times
of a node under a steady load, those of kamailio in turn with it, and how long
the garbage collector stopped the node.

The times of calls are sipp's, whose clock has steps of 4 ms.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.kamailio import PORT, Kamailio
from bench.load import Load, Server, look_up_redirect, percentile, users
from bench.single_node import DOMAIN, Node

PHONES = 4_000
REGISTERS = 1_000
"""In a second."""

UNDER = (sys.executable, "-m", "bench.paused_node")


def tell(name: str, times: Sequence[float]) -> None:
    """
    Print the times of one run.
    """
    p50, p99, longest = (percentile(list(times), share) * 1e3 for share in (0.5, 0.99, 1.0))
    print(f"{name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {longest:.1f} ms", flush=True)


def registers(name: str, address: str, port: int) -> None:
    """
    New users and two refreshes of each.
    """
    load = Load(Server(address, port, DOMAIN, True, look_up_redirect))
    try:
        for cseq in (1, 2, 3):
            outcome = load.run(users(PHONES), REGISTERS, cseq=cseq)
            note = "" if outcome.confirmed == PHONES else f", {PHONES - outcome.confirmed} of them not"
            tell(f"{name}, at {REGISTERS}/s: REGISTER to 200{note}", outcome.answered_in)
    finally:
        load.close()


def beside(folder: Path, address: str) -> None:
    """
    The same registrations at kamailio.
    """
    kamailio = Kamailio(folder, address)
    kamailio.start()
    try:
        registers("kamailio", kamailio.address, PORT)
    finally:
        kamailio.stop()


def pauses(node: Node) -> None:
    """
    Print what the collector did, of a node that has ended.
    """
    noted = json.loads((node.folder / "pauses.json").read_text())
    for generation in range(3):
        times = [milliseconds for which, milliseconds in noted if which == generation]
        print(
            f"the collector looked {len(times)} times at generation {generation}, "
            f"{sum(times):.0f} ms in all, p50 {percentile(times, 0.5):.2f} ms, longest {max(times, default=0):.2f} ms"
        )
