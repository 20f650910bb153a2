"""
The page of the documentation that tells every command, from what the commands
say of themselves::

    python -m tools.commands

prints it.  Nothing about them is written here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import click

from sipxha.cli.main import main

HEAD = """\
# Commands

What `sipxha VERB --help` says, of all verbs. What they are good for is told in [operations](operations.md#the-verbs).

USER without @ means USER@domain. Exit status: 0 done, 1 failed, 2 wrong usage, 3 done in part.
"""


def page() -> str:
    """
    All of it, in Markdown.
    """
    return "\n".join([HEAD, *_sections(main, "sipxha", click.Context(main, info_name="sipxha"))])


def _sections(group: click.Group, name: str, context: click.Context) -> Iterator[str]:
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        assert command is not None
        within = click.Context(command, info_name=each, parent=context)
        if isinstance(command, click.Group):
            yield from _sections(command, f"{name} {each}", within)
        else:
            yield _section(command, f"{name} {each}", within)


def _section(command: click.Command, name: str, context: click.Context) -> str:
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [f"## {name}", "", "```text", usage, "```", ""]
    told = textwrap.dedent(command.help or "").strip()
    lines += [paragraph.replace("\b\n", "") + "\n" for paragraph in told.split("\n\n")]
    rows = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
        and record[1]
        and "--help" not in record[0]
    ]
    if rows:
        lines += ["| option | |", "| --- | --- |"]
    lines += [f"| `{option}` | {_cell(text)} |" for option, text in rows]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
