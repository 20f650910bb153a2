"""
C{sipxha dns}: what to add to the zone of the domain.

It prints; no file and no DNS server is changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sipxha.cli.output import config_option, fail, read_config

if TYPE_CHECKING:
    from sipxha.config.model import Config


@click.command()
@click.option("--apex", is_flag=True, help="Give the bare domain the addresses of the nodes.")
@config_option
def dns(config: Path, apex: bool) -> None:
    """
    Print the DNS records of the cluster as a fragment of a BIND zone file.

    The addresses of the other nodes are those of the configuration, else those
    of the zone file that it names; where neither has one a comment says so.

    With --apex phones that look up nothing but the address of the domain find
    the nodes as well; leave it out where that address is a web server's.
    """
    from sipxha.config.zone import ZonePorts, zone_text
    from sipxha.errors import LocalError

    cluster = read_config(config)
    ports = ZonePorts(
        cluster.proxy.ports if cluster.proxy else None,
        cluster.registrar.ports if cluster.registrar else None,
        cluster.authproxy.ports if cluster.authproxy else None,
    )
    try:
        click.echo(zone_text(cluster.domain.name, _nodes(cluster), ports, apex), nl=False)
    except LocalError as problem:
        fail(str(problem))


def _nodes(config: Config) -> list[tuple[str, str | None]]:
    """
    Name and address of all nodes, in the same order on each of them.
    """
    replication = config.registrar and config.registrar.replication
    peers = replication.peers if replication else ()
    known = _addresses(config.dns.zone) if config.dns.zone else {}
    nodes: dict[str, str | None] = {peer.name: peer.address or known.get(peer.name) for peer in peers}
    nodes[config.node.name] = config.node.address
    return sorted(nodes.items())


def _addresses(zone: Path) -> dict[str, str]:
    """
    The addresses that a zone file holds, by name.
    """
    from dns.rdatatype import RdataType

    from sipxha.config.zone import read_zone

    return {
        record.owner.to_text(omit_final_dot=True).lower(): record.rdata.to_text()
        for record in read_zone(zone)
        if record.rdata.rdtype in (RdataType.A, RdataType.AAAA)
    }
