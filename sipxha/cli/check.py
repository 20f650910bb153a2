"""
C{sipxha check}: all that a start would need, looked at without starting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sipxha.cli.output import config_option, json_option, read_config, table
from sipxha.cli.status import ask_node

if TYPE_CHECKING:
    from sipxha.config.model import Config, NodeName

COLUMNS = ("severity", "file", "line", "message")

ERROR, WARNING = "error", "warning"

_PLACED = re.compile(r"(?P<file>\S+?):(?:(?P<line>\d+):)? (?P<message>.*)", re.DOTALL)
"""A finding that begins with its place."""


@click.command()
@config_option
@json_option
def check(config: Path, as_json: bool) -> None:
    """
    Check the configuration, the files that it names, certificates, users and
    ports. One line for each problem; exit status 1 if there is any but
    warnings.

    The ports of a node that runs are its own, and are not tried; but it says
    with which other nodes it differs in users, rules or the secret.

    With --json each finding is an object; where there is none, the node can
    start.
    """
    from sipxha.config.users import load_users
    from sipxha.services.start_check import file_problems, is_running, start_problems, warnings

    settings = _read(config) if as_json else read_config(config)
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
    if as_json:
        _print(problems, found)
        return
    for warning in found:
        click.echo(f"warning: {warning}", err=True)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)
    click.echo(f"{config}: the node {settings.node.name} {'runs' if running else 'can start'}")


def _read(config: Path) -> Config:
    """
    Read the configuration, or print what is wrong with it and end.
    """
    from sipxha.config.load import ConfigurationRefused, load

    try:
        return load(config)
    except ConfigurationRefused as refused:
        _print(refused.problems, ())
        raise


def _print(problems: Iterable[str], found: Iterable[str]) -> None:
    """
    Print findings as JSON; where one is no warning, end with status 1.
    """
    rows = [_row(ERROR, problem) for problem in problems]
    table(rows + [_row(WARNING, warning) for warning in found], COLUMNS, as_json=True)
    if rows:
        raise SystemExit(1)


def _row(severity: str, finding: str) -> dict[str, object]:
    """
    A finding and its place, as far as it names one.
    """
    placed = _PLACED.fullmatch(finding)
    if placed is None:
        return {"severity": severity, "message": finding}
    line = placed["line"]
    return {
        "severity": severity,
        "file": placed["file"],
        "line": None if line is None else int(line),
        "message": placed["message"],
    }


def _differences(node: NodeName) -> Iterator[str]:
    """
    What the running node knows that its peers have not the same of.
    """
    for peer in ask_node(node, "/peers") or ():
        if peer.get("differs"):
            yield f"{peer['name']} has not the same as this node: {', '.join(peer['differs'])}"
