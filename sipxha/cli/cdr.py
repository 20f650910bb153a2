"""
C{sipxha cdr}: call detail records, as they are in the database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sipxha.cli.output import config_option, fail, json_option, read_config, table
from sipxha.cli.resolve import own_databases

SHORT_COLUMNS = (
    "start_time",
    "caller_aor",
    "callee_aor",
    "duration",
    "termination",
    "failure_status",
    "failure_reason",
)
"""Those that fit a terminal."""


@click.group()
def cdr() -> None:
    """Call detail records."""


@cdr.command(name="list")
@config_option
@json_option
def list_records(config: Path, as_json: bool) -> None:
    """List the calls that ended, the oldest first; durations are in seconds."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from sipxha.errors import LocalError
    from sipxha.store.cdr_store import COLUMNS, CdrStore
    from sipxha.store.pool import Pool

    settings = read_config(config)
    if settings.call_resolver is None:
        fail(f"{settings.path} has no <call-resolver>")
    rows: list[dict[str, Any]] = []
    errors: list[LocalError] = []

    async def main(reactor: Any) -> None:
        try:
            pool = Pool(reactor, own_databases(reactor, settings)[0])
            try:
                rows.extend(await CdrStore(pool).ended())
            finally:
                pool.close()
        except LocalError as error:
            errors.append(error)

    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit as end:
        if end.code:
            raise
    if errors:
        fail(str(errors[0]))
    table(rows, COLUMNS if as_json else SHORT_COLUMNS, as_json, "Calls")
