"""
Man pages of the C{sipxha} command, made of what its verbs say of themselves::

    python -m tools.man build/man

One page for the command and one for each verb, with the verbs within it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click

from sipxha.cli.main import VERBS, main

ENDING = """\
.SH EXIT STATUS
0 done, 1 failed, 2 wrong usage, 3 done in part.
.SH ENVIRONMENT
.TP
.B SIPXHA_CONFIG
The configuration of the node, where
.B \\-\\-config
does not name it.
.SH FILES
.I etc/sipxha.xml
or
.I /etc/sipxha/sipxha.xml
unless one is named.
"""


def pages() -> Iterator[tuple[str, str]]:
    """
    Make all pages: the name of the file, and its text.
    """
    context = click.Context(main, info_name="sipxha", **main.context_settings)
    names = {verb: f".BR sipxha\\-{_plain(verb)} (1)" for verb in VERBS}
    verbs = "".join(f".TP\n{names[verb]}\n{_plain(line)}\n" for verb, (_, line) in VERBS.items())
    text = _head("sipxha", "operate a sipxha node") + _usage([context]) + _description(main)
    also = " ,\n".join(names.values())
    yield "sipxha.1", f"{text}{_options(context)}.SH COMMANDS\n{verbs}{ENDING}.SH SEE ALSO\n{also}\n"
    for verb, (_, line) in VERBS.items():
        command = main.get_command(context, verb)
        assert command is not None
        own = click.Context(command, info_name=verb, parent=context)
        inner = [*_within(own)]
        title = line[0].lower() + line[1:].rstrip(".")
        text = _head(f"sipxha-{verb}", title) + _usage(inner or [own]) + _description(command)
        text += "" if inner else _options(own)
        for each in inner:
            text += f".SH {_plain(each.command_path.upper())}\n{_help(each.command)}{_options(each, '.SS')}"
        yield f"sipxha-{verb}.1", f"{text}{ENDING}.SH SEE ALSO\n.BR sipxha (1)\n"


def _within(context: click.Context) -> Iterator[click.Context]:
    """
    The verbs of a group.
    """
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield click.Context(command, info_name=name, parent=context)


def _head(name: str, title: str) -> str:
    page = f'.TH "{_plain(name.upper())}" 1 "" "sipxha {version("sipxha")}" "sipxha"\n'
    return f"{page}.SH NAME\n{_plain(name)} \\- {_plain(title)}\n"


def _usage(contexts: list[click.Context]) -> str:
    lines = []
    for context in contexts:
        words = " ".join(context.command.collect_usage_pieces(context))
        lines.append(f".B {_plain(context.command_path)}\n{_plain(words)}\n")
    return ".SH SYNOPSIS\n" + ".br\n".join(lines)


def _description(command: click.Command) -> str:
    return f".SH DESCRIPTION\n{_help(command)}"


def _help(command: click.Command) -> str:
    """
    Its help, paragraph by paragraph; what stands as it is stays so.
    """
    text = ""
    for paragraph in re.split(r"\n[ \t]*\n", inspect.cleandoc(command.help or "")):
        if paragraph.startswith("\b\n"):
            lines = "\n".join(map(_plain, paragraph.splitlines()[1:]))
            text += f".PP\n.nf\n{lines}\n.fi\n"
        else:
            text += f".PP\n{_plain(' '.join(paragraph.split()))}\n"
    return text


def _options(context: click.Context, heading: str = ".SH") -> str:
    # Arguments are in the synopsis, and in the text.
    options = [each for each in context.command.get_params(context) if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(context)) is not None]
    parts = "".join(f".TP\n.B {_plain(names)}\n{_plain(text)}\n" for names, text in records)
    return f"{heading} OPTIONS\n{parts}" if records else ""


def _plain(text: str) -> str:
    """
    Text that troff takes for nothing else.
    """
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def write(folder: Path) -> int:
    """
    @return: how many pages there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = dict(pages())
    for name, text in made.items():
        (folder / name).write_text(text)
    return len(made)


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "build/man")
    print(f"{write(place)} pages in {place}")
