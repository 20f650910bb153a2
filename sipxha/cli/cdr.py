"""
C{sipxha cdr}: call detail records, as they are in the database.

Rows are read some at a time and written as they come, so that there may be any
number of them.  How they were made is L{sipxha.cdr}'s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sipxha.cli.output import config_option, fail, json_option, read_config, table
from sipxha.errors import LocalError

if TYPE_CHECKING:
    from sipxha.store.cdr_export import Row

F = TypeVar("F", bound=Callable[..., Any])

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

SHOWN = 1000
"""Calls of a table: nobody reads more, and a table has to be whole before it is printed."""

TERMINATIONS = {"completed": "C", "failed": "F", "transferred": "T", "unknown": "U", "abandoned": "A"}


def _statuses(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str | int, ...]:
    found: list[str | int] = []
    for value in values:
        if value.upper() in TERMINATIONS.values():
            found.append(value.upper())
        elif value.lower() in TERMINATIONS:
            found.append(TERMINATIONS[value.lower()])
        elif value.isascii() and value.isdigit() and 300 <= int(value) <= 699:
            found.append(int(value))
        else:
            words = ", ".join(TERMINATIONS)
            raise click.BadParameter(f"{value!r} is none of {words}, nor a status from 300 to 699")
    return tuple(found)


def _choosing(command: F) -> F:
    """
    Give a verb the options by which calls are chosen.
    """
    seconds = click.FloatRange(min=0)
    for option in (
        click.option("--longest", type=seconds, metavar="SECONDS", help="Only calls that lasted no longer."),
        click.option(
            "--shortest", type=seconds, metavar="SECONDS", help="Only calls that lasted at least so long."
        ),
        click.option(
            "--status",
            "statuses",
            multiple=True,
            callback=_statuses,
            metavar="S",
            help="Only calls that ended so: completed, failed, transferred, unknown, abandoned, or a SIP"
            " status such as 486. May be given several times.",
        ),
        click.option(
            "--user", metavar="USER", help="Only calls from or to this user; without @ one of the domain."
        ),
        click.option("--end", metavar="T", help="... and before this time."),
        click.option("--start", metavar="T", help="Only calls that began at or after this time."),
    ):
        command = option(command)
    return config_option(command)


@click.group()
def cdr() -> None:
    """
    Call detail records.

    Those of calls that ended, the oldest first. Times are ISO 8601 or RFC 2822, local unless they name a zone.
    """


@cdr.command(name="list", short_help="List the calls that ended.")
@_choosing
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Only the last N; a table has {SHOWN} unless given.",
)
@json_option
def list_records(config: Path, limit: int | None, as_json: bool, **chosen: Any) -> None:
    """List the calls that ended, the oldest first; durations are in seconds."""
    from sipxha.cli.cdr_formats import as_json as write_json
    from sipxha.store.cdr_export import COLUMNS

    def pages(latest: int | None) -> Iterator[list[Row]]:
        return _calls(config, latest, **chosen)

    if as_json:

        def write() -> None:
            before = "["
            for page in pages(limit):
                for row in page:
                    sys.stdout.write(f"{before}\n  {write_json(COLUMNS, row)}")
                    before = ","
            sys.stdout.write("[]\n" if before == "[" else "\n]\n")
            sys.stdout.flush()

        _piped(write)
        return
    asked = limit or SHOWN
    rows = [dict(zip(COLUMNS, row, strict=True)) for page in pages(asked + 1) for row in page]
    title = "Calls" if len(rows) <= asked else f"Calls: the last {asked}, there are more"
    _piped(lambda: table(rows[-asked:], SHORT_COLUMNS, title=title))


@cdr.command()
@_choosing
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    required=True,
    help="Parquet needs the extra: pip install 'sipxha[parquet]'.",
)
@click.option(
    "--output",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a file, which appears when it is whole; standard output unless given.",
)
def export(config: Path, kind: str, path: Path | None, **chosen: Any) -> None:
    """
    Write the calls that ended as CSV, JSON lines or Parquet.

    In CSV a text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    from sipxha.cli.cdr_formats import FORMATS, output
    from sipxha.store.cdr_export import COLUMNS

    if path is None and kind == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: give --output FILE")

    def write() -> None:
        try:
            with output(path) as out:
                FORMATS[kind](COLUMNS, _calls(config, None, **chosen), out)
        except LocalError as error:
            fail(str(error))

    _piped(write, path)


def _calls(
    config: Path,
    latest: int | None,
    start: str | None,
    end: str | None,
    user: str | None,
    statuses: tuple[str | int, ...],
    shortest: float | None,
    longest: float | None,
) -> Iterator[list[Row]]:
    """
    Read the chosen calls, or end the command.
    """
    from psycopg2.extensions import set_wait_callback
    from psycopg2.extras import wait_select
    from twisted.internet import reactor

    from sipxha.cdr.window import EmptyWindow, NotAMoment, window
    from sipxha.cli.resolve import own_databases
    from sipxha.store.cdr_export import Selection, read_calls

    try:
        when = window(start, end)
    except (NotAMoment, EmptyWindow) as error:
        raise click.UsageError(str(error)) from None
    settings = read_config(config)
    if settings.call_resolver is None:
        fail(
            f"{settings.path} has no <call-resolver>",
            "run this on the node that has it: the first, as 'sipxha init' makes them",
        )
    if user is not None and "@" not in user:
        user = f"{user}@{settings.domain.name}"
    codes = tuple(each for each in statuses if isinstance(each, str))
    failures = tuple(each for each in statuses if isinstance(each, int))
    # Otherwise Ctrl-C would wait for the server.
    set_wait_callback(wait_select)
    try:
        dsn = own_databases(reactor, settings)[0]
        yield from read_calls(dsn, Selection(when, user, codes, failures, shortest, longest, latest))
    except LocalError as error:
        fail(str(error))


def _piped(write: Callable[[], None], path: Path | None = None) -> None:
    """
    Write, and end quietly when nobody reads any more.
    """
    try:
        write()
    except BrokenPipeError:
        # What is still buffered would be complained about at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        fail(f"{path or 'standard output'}: {error.strerror or error}")
