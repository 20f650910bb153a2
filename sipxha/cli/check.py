"""
C{sipxha check}: all that a start would need, looked at without starting.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sipxha.cli.output import config_option, read_config
from sipxha.cli.status import ask_node

if TYPE_CHECKING:
    from sipxha.config.model import NodeName


@click.command()
@config_option
def check(config: Path) -> None:
    """
    Check the configuration, the files that it names, certificates, users and
    ports. One line for each problem; exit status 1 if there is any but
    warnings.

    The ports of a node that runs are its own, and are not tried; but it says
    with which other nodes it differs in users, rules or the secret.
    """
    from sipxha.config.users import load_users
    from sipxha.services.start_check import file_problems, is_running, start_problems, warnings

    settings = read_config(config)
    running = is_running(settings.node)
    problems = file_problems(settings) if running else start_problems(settings)
    if settings.registrar is not None and not problems:
        users = load_users(settings.users, settings.domain.name, settings.domain.realm)
        for algorithm, lacking in users.lacking(settings.registrar.digest).items():
            problems += [
                f"{settings.users.credentials}: {identity} has no {algorithm} hash: use sipxha user passwd"
                for identity in lacking
            ]
    found = [*warnings(settings), *(_differences(settings.node) if running else ())]
    for warning in found:
        click.echo(f"warning: {warning}", err=True)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)
    click.echo(f"{config}: the node {settings.node.name} {'runs' if running else 'can start'}")


def _differences(node: NodeName) -> Iterator[str]:
    """
    What the running node knows that its peers have not the same of.
    """
    for peer in ask_node(node, "/peers") or ():
        if peer.get("differs"):
            yield f"{peer['name']} has not the same as this node: {', '.join(peer['differs'])}"
