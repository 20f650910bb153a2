"""
C{sipxha calls}: the calls of the whole cluster at this moment.

The running node asks the others; no database is asked.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from sipxha.cli.output import config_option, json_option, table
from sipxha.cli.status import ask

COLUMNS = (
    "call_id",
    "state",
    "caller_aor",
    "callee_aor",
    "start_time",
    "connect_time",
    "duration",
    "caller_contact",
    "callee_contact",
    "caller_transport",
    "callee_transport",
    "caller_internal",
    "observers",
)

SHORT_COLUMNS = ("start_time", "state", "caller_aor", "callee_aor", "duration")
"""Those that fit a terminal."""

TIMES = frozenset({"start_time", "connect_time"})

PARTIAL = 3
"""The exit status when a node did not tell."""


@click.command()
@config_option
@json_option
def calls(config: Path, as_json: bool) -> None:
    """
    Show the calls that ring or are talked in, on all nodes; the oldest first.

    The exit status is 3 when a node did not tell of its calls.
    """
    answer = ask(config, "/calls")
    rows = [
        {
            name: datetime.fromisoformat(value) if name in TIMES and value else value
            for name, value in row.items()
        }
        for row in answer["calls"]
    ]
    table(rows, COLUMNS if as_json else SHORT_COLUMNS, as_json, "Calls")
    for name, reason in sorted(answer["missing"].items()):
        click.echo(f"sipxha: the calls of {name} are not among them: {reason}", err=True)
    if answer["missing"]:
        raise SystemExit(PARTIAL)
