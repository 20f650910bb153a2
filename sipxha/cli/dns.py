"""
C{sipxha dns}: what to add to the zone of the domain, and whether it is there.

It prints and asks; no file and no DNS server is changed.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sipxha.cli.output import config_option, fail, json_option, read_config, table

if TYPE_CHECKING:
    from sipxha.config.model import Config


PORT = 53

COLUMNS = ("server", "name", "type", "state", "missing", "unexpected")


def _servers(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, int]]:
    found = []
    for value in values:
        address, colon, port = (
            value.rpartition(":") if value.count(":") == 1 or "]" in value else (value, "", "")
        )
        address = address.strip("[]")
        try:
            ip_address(address)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not ADDRESS or ADDRESS:PORT") from None
        if colon and not (port.isdecimal() and 0 < int(port) < 65536):
            raise click.BadParameter(f"{port!r} is not a port")
        found.append((address, int(port) if colon else PORT))
    return found


@click.command()
@click.option("--apex", is_flag=True, help="Give the bare domain the addresses of the nodes.")
@click.option(
    "--check", "checks", is_flag=True, help="Compare what DNS says, and exit with 1 if it is wrong."
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    callback=_servers,
    metavar="ADDRESS[:PORT]",
    help="With --check: ask this server, such as one of the domain's own; may be given several times."
    " Without it those that the node asks.",
)
@json_option
@config_option
def dns(config: Path, apex: bool, checks: bool, servers: list[tuple[str, int]], as_json: bool) -> None:
    """
    Print the DNS records of the cluster as a fragment of a BIND zone file.

    The addresses of the other nodes are those of the configuration, else those
    of the zone file that it names; where neither has one a comment says so.

    With --apex phones that look up nothing but the address of the domain find
    the nodes as well; leave it out where that address is a web server's.

    With --check nothing is printed but how it stands with the records in DNS:
    those that are missing, and those that lead to the wrong place.
    """
    from sipxha.config.zone import ZonePorts, zone_text
    from sipxha.errors import LocalError

    cluster = read_config(config)
    ports = ZonePorts(
        cluster.proxy.ports if cluster.proxy else None,
        cluster.registrar.ports if cluster.registrar else None,
        cluster.authproxy.ports if cluster.authproxy else None,
    )
    if not checks and (servers or as_json):
        raise click.UsageError("--server and --json go with --check")
    try:
        text = zone_text(cluster.domain.name, _nodes(cluster), ports, apex)
    except LocalError as problem:
        fail(str(problem))
    if checks:
        _check(text, servers or _asked(cluster), as_json)
    else:
        click.echo(text, nl=False)


def _check(text: str, servers: list[tuple[str, int]], as_json: bool) -> None:
    """
    Print how it stands with the records of a zone's text, and exit with 1 if one is wrong.
    """
    from sipxha.config.zone import parse_zone
    from sipxha.config.zone_check import compare, needs_of
    from sipxha.net.zone_probe import ask

    needs = needs_of(parse_zone(text))
    rows = [
        {"server": f"{address} port {port}"} | finding._asdict()
        for address, port in servers
        for finding in compare(needs, ask((address, port), needs))
    ]
    wrong = [row for row in rows if row["state"] != "ok"]
    if as_json:
        table(rows, COLUMNS, as_json=True)
    elif wrong:
        _show(wrong)
    else:
        click.echo(f"all {len(rows)} sets of records are as they should be")
    if wrong:
        raise SystemExit(1)


def _show(wrong: list[dict[str, Any]]) -> None:
    """
    Print what is wrong; a server that says nothing at all is one line.
    """
    answering = {row["server"] for row in wrong if row["state"] != "no answer"}
    for server in dict.fromkeys(row["server"] for row in wrong if row["server"] not in answering):
        click.echo(f"sipxha: {server} does not answer: is it a DNS server?", err=True)
    rows = [
        row | {name: list(row[name]) for name in ("missing", "unexpected")}
        for row in wrong
        if row["server"] in answering
    ]
    if rows:
        table(rows, COLUMNS)


def _asked(config: Config) -> list[tuple[str, int]]:
    """
    Whom the node asks for what is not in its zone file; the first that it is told, which all others follow.
    """
    from sipxha.net.dns_client import system_servers

    return [config.dns.server] if config.dns.server is not None else system_servers()[:1]


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
