"""
C{sipxha node}: nodes that come to a cluster and go.

Works on the folder that C{sipxha init} made, wherever that is kept; nothing is
sent to any server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sipxha.cli.output import fail


@click.group()
def node() -> None:
    """
    Add nodes to a cluster, and remove them.

    DIR is the folder that sipxha init made, with all that was changed on the servers since.
    """


def _server(ctx: click.Context, option: click.Parameter, value: str) -> tuple[str, str]:
    name, _, address = value.partition("=")
    if not (name and address):
        raise click.BadParameter(f"{value!r} is not NAME=ADDRESS")
    return name, address


_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@node.command(short_help="Make the folder of a further node.")
@_folder
@click.argument("server", metavar="NAME=ADDR", callback=_server)
def add(folder: Path, server: tuple[str, str]) -> None:
    """
    Make the folder of a further node, like those that are there but with a
    certificate of its own, and write the new zone, peers and hosts of call
    events into the files of all.
    """
    from sipxha.config.cluster_change import add_node
    from sipxha.config.init import Server
    from sipxha.errors import LocalError

    try:
        changed = add_node(folder, Server(*server))
    except LocalError as refused:
        fail(str(refused))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    click.echo(f"{folder / server[0].lower()} is for the server {server[0].lower()} at {server[1]}")
    _tell(folder, changed)
    click.echo("Then start the new node; it takes users and registrations from the others.")


@node.command(short_help="Take a node out of the others.")
@_folder
@click.argument("name", metavar="NAME")
def remove(folder: Path, name: str) -> None:
    """
    Take a node out of the zone, the peers and the hosts of call events of all
    others.  Its folder stays, as NAME.removed.

    Stop it first, and run a last pass of sipxha resolve before: the events
    that only it holds are not read any more.
    """
    from sipxha.config.cluster_change import remove_node
    from sipxha.errors import LocalError

    try:
        changed = remove_node(folder, name.lower())
    except LocalError as refused:
        fail(str(refused))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    click.echo(f"{folder / name.lower()}.removed is what the node was; delete it when nobody needs it")
    _tell(folder, changed)


def _tell(folder: Path, changed: Sequence[Path]) -> None:
    click.echo("Changed:")
    for path in changed:
        click.echo(f"  {path}")
    click.echo(
        f"Next, give {folder / 'zone.db'} to the DNS server, bring the other files to their nodes, and there:"
    )
    click.echo("  sipxha reload     takes over the peers")
    click.echo("A node whose <cse-hosts>, <call-events> or zone.db changed has to be restarted for that.")
