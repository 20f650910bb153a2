"""
What all verbs of the C{sipxha} command share: their options, the ways in
which they print, and how they fail.

Rows are printed as a table for people, or with C{--json} as one array of
objects.  Nothing here knows what a row means, and nothing here logs.
"""

from __future__ import annotations

import errno
import json
import os
import pwd
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sipxha.config.model import Config

F = TypeVar("F", bound=Callable[..., Any])

CONFIG_PLACES = (Path("etc/sipxha.xml"), Path("/etc/sipxha/sipxha.xml"))
"""Where the configuration is looked for when neither option nor environment name it."""


_FOLDED = 2
"""Columns of which a terminal always has room for one."""

VARIABLE = "SIPXHA_CONFIG"
"""What names it in the environment."""


def default_config() -> Path:
    """
    The first of the usual places that exists, else the last of them.
    """
    return next((place for place in CONFIG_PLACES if place.exists()), CONFIG_PLACES[-1])


def config_option(command: F) -> F:
    """
    Give a verb C{--config F}; it arrives as the parameter C{config}, a L{Path}.
    """
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=default_config,
        envvar=VARIABLE,
        metavar="F",
        show_default="etc/sipxha.xml, /etc/sipxha/sipxha.xml",
        help=f"The node's configuration; {VARIABLE} names another default.",
    )(command)


def json_option(command: F) -> F:
    """
    Give a verb C{--json}; it arrives as the parameter C{as_json}.
    """
    return click.option("--json", "as_json", is_flag=True, help="Print an array of JSON objects.")(command)


def fail(message: str, next_step: str = "", *, status: int = 1) -> NoReturn:
    """
    End the command with one line on standard error.

    @param message: What is wrong, without a trailing full stop.  Line feeds
        in it become semicolons.
    @param next_step: What to do about it, as a half-sentence.
    """
    lines = [*message.splitlines(), *([next_step] if next_step else [])]
    click.echo("sipxha: " + "; ".join(lines), err=True)
    raise SystemExit(status)


def read_config(path: Path) -> Config:
    """
    Read the node's configuration, or end the command with every problem that
    it has, one on each line.
    """
    # lxml and the certificates' library are not for verbs that need no file.
    from sipxha.config.load import ConfigurationRefused, load

    try:
        return load(path)
    except ConfigurationRefused as refused:
        for problem in refused.problems:
            click.echo(problem, err=True)
        if not os.path.lexists(path):
            fail("no configuration", f"name it with --config F or in {VARIABLE}; 'sipxha init' makes one")
        if any(problem.endswith(os.strerror(errno.EACCES)) for problem in refused.problems):
            fail(f"you are {_user(os.geteuid())}", f"run this {as_owner(path)}")
        raise SystemExit(1) from None


def as_owner(path: Path) -> str:
    """
    In words, by whom a node of this configuration is operated.
    """
    try:
        name = _user(path.stat().st_uid)
    except OSError:
        return "as the node's own user, or as root"
    return f"as the node's own user ({name}), or as root"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def table(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    as_json: bool = False,
    title: str | None = None,
) -> None:
    """
    Print rows with the named columns.

    Columns that a row lacks are empty (C{null} in JSON).  A L{datetime} is
    printed as ISO 8601 in UTC in JSON, and in local time, with the zone's
    name, for people; a mapping is an object in JSON, and a list for people.
    Where a terminal is too narrow, each row is written downwards.
    """
    if as_json:
        print_json([{column: row.get(column) for column in columns} for row in rows])
        return

    # rich is slow to import, and scripts ask for JSON.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        shown.add_column(column.replace("_", " "), overflow="fold")
    cells = [[as_text(row.get(column)) for column in columns] for row in rows]
    for line in cells:
        shown.add_row(*map(Text, line))
    console = Console()
    if title is not None:
        # A title of the table itself would be folded to the table's width.
        console.print(Text(title, style="table.title"), soft_wrap=True)
    if not console.is_terminal:
        # Nothing is folded for a pipe, and nothing filled up.
        console = Console(width=10_000)
        with console.capture() as capture:
            console.print(shown)
        click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))
    elif len(columns) > _FOLDED and _width(console, shown) > console.width:
        _print_downwards(console, columns, cells)
    else:
        console.print(shown)


def _width(console: Console, shown: Table) -> int:
    """
    How wide a table would be if there were room.
    """
    return console.measure(shown, options=console.options.update(max_width=10_000)).maximum


def _print_downwards(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """
    Print rows that are too wide for the terminal, a line for each cell: in
    columns of a few letters nobody can read, or copy, what is in them.
    """
    from rich.table import Table
    from rich.text import Text

    widest = max(map(len, columns))
    for number, row in enumerate(rows):
        if number:
            console.print()
        shown = Table.grid(padding=(0, 2))
        shown.add_column(no_wrap=True, min_width=widest, style="table.header")
        shown.add_column(overflow="fold")
        for column, cell in zip(columns, row, strict=True):
            if cell:
                shown.add_row(column.replace("_", " "), Text(cell))
        console.print(shown)


def print_json(rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Print rows, which need not have the same members, as one array.
    """
    print(json.dumps(rows, indent=2, ensure_ascii=False, default=_as_json))  # noqa: T201


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def as_text(value: object) -> str:
    """
    A value as people read it.
    """
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {part}" for name, part in value.items())
    elif isinstance(value, list):
        value = ", ".join(map(str, value))
    # A terminal obeys control characters, and names come from strangers.
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in str(value))
