"""
Name servers that we did not write, with the zone of the domain as its owner
would write it: what is his, and the records that C{sipxha dns} prints included.

Debian's C{nsd} serves it, without root, on whatever address and port it is
given; BIND's C{named-checkzone} looks for faults in it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from dns.zone import Zone, from_file
from twisted.internet.defer import Deferred

from sipxha.config.zone import read_zone, zone_text
from tests.support.pair import DOMAIN
from tools.interop.client import Client
from tools.story import Failed, expect, until

MASTER = """\
$TTL 3600
@ IN SOA {server}. hostmaster.{domain}. 1 3600 600 604800 300
@ IN NS {server}.
$INCLUDE {records}
"""
"""A zone whose name server has its name elsewhere."""

SERVER = "ns.example.net"

NSD = "/usr/sbin/nsd"

CONFIG = """\
server:
    ip-address: {address}@{port}
    server-count: 1
    username: ""
    pidfile: ""
    zonesdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    xfrdfile: ""
    # Telephones ask as often as they like.
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: {domain}
    zonefile: "{master}"
"""

CHECKS = ("-i", "local", "-k", "fail", "-m", "fail", "-M", "fail", "-S", "fail")
"""
What named-checkzone refuses: bad names, and names that lead nowhere.  The name
server is elsewhere, so its address is not asked for.
"""

CLUSTERS = (1, 2, 3, 5)
"""So many nodes have the clusters whose records are shown to named-checkzone."""


class Nsd(Client):
    """
    A process of nsd.
    """

    async def stop(self) -> None:
        """
        SIGTERM.
        """
        self.end("TERM")
        await until(lambda: not self.is_running, f"nsd does not end:\n{self.output}", 10)


def serve(reactor: Any, zone: Path, address: str, port: int) -> Nsd:
    """
    Start it.

    @param zone: what C{sipxha dns} printed.
    """
    folder = zone.parent / "nsd"
    folder.mkdir()
    master = write_master(folder, zone)
    config = folder / "nsd.conf"
    config.write_text(
        CONFIG.format(folder=folder, address=address, port=port, domain=DOMAIN, master=master.name)
    )
    server = Nsd()
    reactor.spawnProcess(server, NSD, [NSD, "-d", "-c", str(config)], env=None)
    return server


def listening(server: Nsd) -> Deferred[None]:
    """
    @return: fires when nsd has read its zone and answers.
    """
    return Deferred.fromCoroutine(
        until(lambda: "nsd started" in server.output, f"nsd does not start:\n{server.output}", 10)
    )


def write_master(folder: Path, records: Path) -> Path:
    """
    @return: the file of a whole zone, with C{records} included.
    """
    master = folder / f"db.{DOMAIN}"
    master.write_text(MASTER.format(server=SERVER, domain=DOMAIN, records=records))
    return master


async def check_zones(folder: Path) -> str:
    """
    Have named-checkzone read the records of clusters of several sizes, complain
    of nothing, and print what it understood.
    """
    seen = []
    for count in CLUSTERS:
        nodes = [(f"sipx{number}.{DOMAIN}", f"10.1.1.{49 + number}") for number in range(1, count + 1)]
        for apex in (False, True):
            place = folder / f"zone-{count}{'-apex' if apex else ''}"
            place.mkdir()
            records = place / "zone.db"
            records.write_text(zone_text(DOMAIN, nodes, apex=apex))
            written = {(owner.to_text(), ttl, data.to_text()) for owner, ttl, data in read_zone(records)}
            understood = {
                (owner.to_text(), ttl, data.to_text())
                for owner, ttl, data in _read_by_bind(write_master(place, records)).iterate_rdatas()
                if data.rdtype.name not in ("SOA", "NS")
            }
            expect(
                written == understood,
                f"{records}: lost {written - understood}, and it made up {understood - written}",
            )
            seen.append(f"{count}{' with --apex' if apex else ''}: {len(written)} records")
    return "; ".join(seen)


def _read_by_bind(master: Path) -> Zone:
    """
    @return: all that named-checkzone read.
    """
    printed = master.with_suffix(".read")
    checked = subprocess.run(
        ["named-checkzone", *CHECKS, "-D", "-o", printed, DOMAIN, master],
        check=False,
        capture_output=True,
        text=True,
    )
    said = checked.stdout + checked.stderr
    if checked.returncode or "warning" in said or "OK" not in said:
        raise Failed(f"named-checkzone {master}: status {checked.returncode}: {said}")
    return from_file(str(printed), origin=DOMAIN, relativize=False)
