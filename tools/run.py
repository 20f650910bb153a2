"""
The pair of the demo, kept up to be tried with real phones: prints what a
softphone on this machine has to be told, and runs until Ctrl-C.

Everything is thrown away at the end.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from twisted.internet.defer import CancelledError

from tests.support.pair import DOMAIN, NodeProcess, Pair, pause
from tools import foreground

USERS = [(str(number), f"secret-{number}") for number in range(201, 205)]
"""Names and passwords."""

reactor = foreground.reactor


def show(console: Console, pair: Pair) -> None:
    """
    Print all that one needs to use the pair.
    """
    phones = Table("user", "password", "address", box=box.SIMPLE_HEAD)
    for user, password in USERS:
        phones.add_row(user, password, f"sip:{user}@{DOMAIN}")
    nodes = Table("node", "outbound proxy", "console", box=box.SIMPLE_HEAD)
    for node in pair:
        nodes.add_row(node.name, f"{node.address}:5060", f"http://{node.address}:8080/status")
    console.print(phones)
    console.print(nodes)
    console.print(f"Softphones: domain (and realm) {DOMAIN}, UDP or TCP, either node as outbound proxy.")
    console.print("Those that can ask a name server of their own need no outbound proxy:")
    console.print("{}:{} has the domain's SRV records.".format(*pair.dns))
    console.print("\nTo look at a node or to bill its calls:")
    for command in ("status", "peers", "registrations", "resolve", "cdr list"):
        config = shlex.quote(str(pair.nodes[0].config))
        console.print(f"  {sys.prefix}/bin/sipxha {command} --config {config}", soft_wrap=True)
    console.print(f"\nLogs: {', '.join(str(node.log) for node in pair)}", soft_wrap=True)


async def watch(console: Console, pair: Pair) -> None:
    """
    Tell of each node that ends; return when none is left.
    """
    running: list[NodeProcess] = list(pair)
    while running:
        await pause(reactor, 0.5)
        for node in list(running):
            if not node.is_running:
                running.remove(node)
                console.print(f"[red]{node.name} has ended[/red]; its last words are in {node.log}")


async def _main() -> int:
    console = Console(highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="sipxha-"))
    pair = Pair(reactor, folder / "pair")
    try:
        with console.status("making two nodes and four users"):
            await pair.write()
            await pair.add_users(USERS)
            await pair.start()
        console.print("[bold]Two nodes serve[/bold]; Ctrl-C stops them.")
        show(console, pair)
        await watch(console, pair)
        return 1
    except CancelledError:
        console.print("\nStopping.")
        return 0
    finally:
        await pair.stop()
        shutil.rmtree(folder)


def main() -> int:
    """
    @return: the exit status: 0 after Ctrl-C, 1 if the nodes did not stay up.
    """
    return foreground.run(_main)


if __name__ == "__main__":
    sys.exit(main())
