"""
A page of the documentation as its reader follows it: what is typed where, and
what should come.

A block C{console} holds commands, each behind the prompt of the machine that it
is typed on, and what they print::

    root@sipx1:~# sipxha --version
    sipxha, version 0.1.0

A line of three dots stands for any lines.  What people do with their hands
stands in comments, which readers do not see: C{<!-- hand: cut sipx2 -->}.  What
is to be in a file stands in the block behind C{<!-- hand: file MACHINE PATH -->}.

Does nothing of it; that is L{tools.interop.servers}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_HEADING = re.compile(r"## (.+)\n")
_HAND = re.compile(r"<!-- hand: (.+) -->\n")
_PROMPT = re.compile(r"(\w+)@([\w-]+):[^#$\n]*[#$] (.+)\n")
_MORE = "> "
"""The prompt of a command's further lines."""

VARIABLE = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\+0000|Z| UTC)?"), "TIME"),
    (re.compile(r"(?<![\d.])\d+\.\d{1,6}(?![\d.])"), "SECONDS"),
    (re.compile(r"\b[0-9a-f]{8,}\b|\b\d{5,}\b"), "NUMBER"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"[ \t]+"), " "),
)
"""What is another each time, and what stands for it when two outputs are compared."""


class Hand(NamedTuple):
    """
    Something that is done with hands.
    """

    work: str
    text: str = ""
    """The block behind it."""


class Typed(NamedTuple):
    """
    A command.
    """

    user: str
    machine: str
    command: str
    start: int
    end: int
    """Where in the page stands what it prints."""


Step = Hand | Typed


def sections(page: str) -> Iterator[tuple[str, list[Step]]]:
    """
    All headings with what the reader does below each.
    """
    heading, steps = "", list[Step]()
    offset, is_block, is_console = 0, False, False
    typed: Typed | None = None
    for line in page.splitlines(keepends=True):
        start, offset = offset, offset + len(line)
        if line.startswith("```"):
            if typed is not None:
                steps.append(typed)
            is_block = not is_block
            is_console, typed = line == "```console\n", None
        elif is_console and (prompt := _PROMPT.fullmatch(line)):
            if typed is not None:
                steps.append(typed)
            typed = Typed(prompt[1], prompt[2], prompt[3], offset, offset)
        elif typed is not None:
            if typed.start == start and line.startswith(_MORE):
                typed = typed._replace(
                    command=f"{typed.command}\n{line.removeprefix(_MORE).rstrip()}", start=offset, end=offset
                )
            else:
                typed = typed._replace(end=offset)
        elif is_block and steps and isinstance(steps[-1], Hand) and steps[-1].work.startswith("file "):
            steps[-1] = steps[-1]._replace(text=steps[-1].text + line)
        elif hand := _HAND.fullmatch(line):
            steps.append(Hand(hand[1]))
        elif title := _HEADING.fullmatch(line):
            if steps:
                yield heading, steps
            heading, steps = title[1], []
    if steps:
        yield heading, steps


def is_same(promised: str, printed: str) -> bool:
    """
    Whether a reader would say that the page is right.
    """
    parts = re.split(r"^\.\.\.\n", _usual(promised), flags=re.MULTILINE)
    return re.fullmatch(r"(?:.*\n)*?".join(map(re.escape, parts)), _usual(printed)) is not None


def _usual(text: str) -> str:
    for pattern, name in VARIABLE:
        text = pattern.sub(name, text)
    return "".join(f"{line.strip()}\n" for line in text.strip().splitlines())


def renewed(page: str, seen: Iterable[tuple[Typed, str]]) -> str:
    """
    The page with what really came.
    """
    for typed, printed in sorted(seen, key=lambda each: -each[0].start):
        page = (
            page[: typed.start]
            + "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
            + page[typed.end :]
        )
    return page
