"""
The account that a tool gives on the terminal: steps, each with what was
expected, what was seen and how long it took, and a verdict in the end.

Knows nothing of what the steps do.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from rich.console import Console
from twisted.internet.defer import CancelledError

from tests.support.pair import CommandFailed, pause
from tests.support.phone import CallFailed
from tools import foreground


class Failed(Exception):
    """
    A step did not go as expected.
    """


class Story:
    """
    The account on the terminal.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.failures: list[str] = []
        self._step = 0
        self._began = time.monotonic()

    def title(self, text: str) -> None:
        """
        Begin a chapter.
        """
        self.console.print(f"\n[bold]{text}[/bold]")

    async def step(self, expected: str, work: Callable[[], Awaitable[str]]) -> None:
        """
        Do one step; C{work} says what was seen or raises L{Failed}.
        """
        self._step += 1
        began = time.monotonic()
        try:
            seen, mark = await work(), "[green]✔[/green]"
        except (Failed, CallFailed, CommandFailed) as error:
            seen, mark = str(error), "[red]✘[/red]"
            self.failures.append(f"{expected}: {error}")
        took = time.monotonic() - began
        self.console.print(f" {mark} {self._step:2d}. {expected}  [dim]({took:.2f} s)[/dim]", soft_wrap=True)
        for line in seen.splitlines():
            self.console.print(f"       {line}", style="dim", markup=False, soft_wrap=True)

    def verdict(self) -> int:
        """
        @return: the exit status.
        """
        took = time.monotonic() - self._began
        if self.failures:
            self.console.print(f"\n[bold red]Not everything held[/bold red] ({took:.0f} s):")
            for failure in self.failures:
                self.console.print(f"  - {failure}", markup=False)
            return 1
        self.console.print(f"\n[bold green]Everything held[/bold green]: {self._step} steps in {took:.0f} s.")
        return 0


def expect(held: bool, otherwise: str) -> None:
    """
    @raise Failed: saying C{otherwise}.
    """
    if not held:
        raise Failed(otherwise)


async def until(holds: Callable[[], bool], otherwise: str, limit: float = 5.0) -> None:
    """
    Wait until something holds.
    """
    deadline = time.monotonic() + limit
    while not holds():
        expect(time.monotonic() < deadline, otherwise)
        await pause(foreground.reactor, 0.02)


def last_lines(text: str, count: int) -> str:
    """
    @return: the last lines of C{text} that say anything.
    """
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])


class Scenes(Protocol):
    """
    What a story tells of.
    """

    async def play(self) -> None:
        """
        All steps.
        """

    async def stop_all(self) -> None:
        """
        Stop whatever still runs, however far the play came.
        """


async def tell(make: Callable[[Story, Path], Scenes]) -> int:
    """
    Play scenes in a folder of their own, which is kept only if something did
    not hold.

    @return: the exit status.
    """
    story = Story()
    folder = Path(tempfile.mkdtemp(prefix="sipxha-"))
    scenes = make(story, folder)
    try:
        await scenes.play()
    except CancelledError:
        story.failures.append("interrupted")
    except Exception:
        # What broke must not hide what the story showed so far.
        story.console.print_exception()
        story.failures.append("the run itself broke")
    finally:
        await scenes.stop_all()
    status = story.verdict()
    if status:
        story.console.print(f"What was written on the way is in {folder}")
    else:
        shutil.rmtree(folder)
    return status
