"""
C{sipxha init}: the folders of a new cluster.
"""

from __future__ import annotations

from pathlib import Path

import click

from sipxha.cli.output import fail


def _domain(ctx: click.Context, option: click.Parameter, value: str) -> str:
    from sipxha.config.zone import NotAHostName, host_name

    try:
        return host_name(value)
    except NotAHostName as problem:
        raise click.BadParameter(str(problem)) from None


def _servers(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    servers = []
    for value in values:
        name, equals, address = value.partition("=")
        if not (name and equals and address):
            raise click.BadParameter(f"{value!r} is not NAME=ADDRESS, as in sipx1.example.com=10.1.1.50")
        servers.append((name.lower(), address))
    return servers


def _dns(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        address, _, port = value.rpartition(":")
        if not (address and port.isdecimal()):
            raise click.BadParameter(f"{value!r} is not ADDRESS:PORT")
    return value


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--domain", required=True, callback=_domain, help="The SIP domain that the nodes serve together."
)
@click.option(
    "--node",
    "servers",
    required=True,
    multiple=True,
    callback=_servers,
    metavar="NAME=ADDR",
    help="A node's full name and its address; the first also runs the call resolver.",
)
@click.option("--embedded", is_flag=True, help="Each node brings its own PostgreSQL.")
@click.option(
    "--dns",
    callback=_dns,
    metavar="ADDRESS:PORT",
    help="A DNS server that knows the zone already; without it the nodes answer it themselves.",
)
def init(folder: Path, domain: str, servers: list[tuple[str, str]], embedded: bool, dns: str | None) -> None:
    """
    Make the folders of a new cluster in DIR, which must not exist: one for
    each node, ready to be copied to its server, and one for the authority
    that signed their certificates.
    """
    from sipxha.config.init import Cluster, Server, make_cluster
    from sipxha.errors import LocalError

    cluster = Cluster(domain.lower(), [Server(*server) for server in servers], embedded, dns)
    try:
        make_cluster(folder, cluster)
    except LocalError as refused:
        exists = folder.exists()
        fail(str(refused), "nothing is overwritten, so name another folder" if exists else "")
    except OSError as error:
        fail(f"{folder} cannot be made: {error.strerror}")

    click.echo(f"{folder} holds the cluster of {cluster.domain}:")
    for server in cluster.servers:
        click.echo(f"  {folder / server.name}  for the server {server.name} at {server.address}")
    click.echo(f"  {folder / 'ca'}  for the authority; keep its key off the servers")
    click.echo(f"  {folder / 'zone.db'}  for the DNS server of {cluster.domain}")
    first, *others = (folder / server.name for server in cluster.servers)
    click.echo("Next, add users to the first node:" if others else "Next, add users:")
    click.echo(f"  sipxha user add --config {first / 'sipxha.xml'} USER")
    if others:
        click.echo("The other nodes take them over when they run.")
    click.echo("Then bring each folder to its server, and there, with the path that it has there:")
    for home in (first, *others):
        click.echo(f"  twistd sipxha --config {home / 'sipxha.xml'}")
