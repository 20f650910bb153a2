"""
What was on the wire, in a file that Wireshark reads: tcpdump on loopback.

It is kept with all else when something did not hold.  What went over TLS can be
read in the softphones' own logs beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.interop.client import Client
from tools.interop.stage import Stage
from tools.story import Failed, last_lines, until

PORTS = (5060, 5061, 5080, 5081)
"""Those of the proxies.  What the registrar hears, they heard before."""


class Capture(Client):
    """
    A process of tcpdump.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = folder / "sip.pcap"

    async def start(self, stage: Stage, without: Sequence[str]) -> str:
        """
        Capture from now on.

        @param without: addresses whose messages are too many to read.
        """
        ports = " or ".join(f"port {port}" for port in PORTS)
        others = "".join(f" and not host {address}" for address in without)
        # As root, it would write as a user of its own, who may not.
        user = ("-Z", "root") if stage.is_root else ()
        stage.spawn(
            *(self, "tcpdump", "-i", "lo", "-n", "-U", "--immediate-mode", *user, "-w", str(self.file)),
            f"net {stage.pair.network}.0/24 and ({ports}){others}",
        )
        await until(
            lambda: "listening on" in self.output or not self.is_running, "tcpdump does not begin", 10
        )
        if not self.is_running:
            raise Failed(
                f"{last_lines(self.output, 1)}\n"
                "Capturing needs root, or: setcap cap_net_raw=ep $(command -v tcpdump)"
            )
        return str(self.file)
