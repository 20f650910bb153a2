"""
C{sipxha reload} and C{sipxha drain}: what a running node is told to do with
itself.

The node does it, and says what came of it.
"""

from __future__ import annotations

from pathlib import Path

import click

from sipxha.cli.output import config_option, json_option, read_config, table
from sipxha.cli.status import PATIENCE, tell

RELOAD_PATIENCE = 60.0
"""Seconds: very many users take a while to be read."""

PARTIAL = 3
"""The exit status of a drain that had to cut something off."""


@click.command()
@config_option
@json_option
def reload(config: Path, as_json: bool) -> None:
    """
    Have the running node read its files again: users, rules, certificates,
    and of the configuration the peers and the level of the log.

    Shows what became of each.  What cannot be used changes nothing, and the
    exit status is 1.
    """
    rows = tell(read_config(config).node, "/reload", {}, RELOAD_PATIENCE)
    table(rows, ("what", "result", "detail"), as_json)
    if any(row["result"] == "refused" for row in rows):
        raise SystemExit(1)


@click.command()
@click.option(
    "--limit",
    type=click.FloatRange(0, 3600),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Cut off what is not over by then.",
)
@config_option
@json_option
def drain(limit: float, config: Path, as_json: bool) -> None:
    """
    End the running node without cutting anything off.

    What is new is answered 503, which leads it to the other nodes; what has
    begun is waited for.  The exit status is 0 when nothing was left, and 3
    when something was.
    """
    left = tell(read_config(config).node, "/drain", {"limit": limit}, limit + PATIENCE)
    table([left], ("seconds", "unanswered", "behind"), as_json)
    if left["unanswered"] or left["behind"]:
        raise SystemExit(PARTIAL)
