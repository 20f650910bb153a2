"""
What baresip and linphone have in common: what a play asks of a softphone, and
what a softphone says of itself.

Each runs without screen and sound, at an address of its own, with another
transport, and with one node as its outbound proxy.
"""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from tests.support.pair import DOMAIN, NodeProcess, pause
from tools import foreground
from tools.interop.client import Client
from tools.interop.stage import Stage
from tools.story import expect

reactor = foreground.reactor

PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}

EXPIRES = 10
"""Seconds for which they register: they do so again at nine."""

RING_TIME = 6
"""Seconds after which they answer themselves that nobody did."""


class Event(Enum):
    """
    What a softphone says that happened to it.
    """

    REGISTERED = "registered"
    RINGS = "rings"
    HEARS_RINGING = "hears ringing"
    TALKS = "talks"
    HOLDS = "holds"
    HELD = "is held"
    ENDED = "ended"


class Line(NamedTuple):
    """
    Where a softphone is.
    """

    user: str
    address: str
    transport: str
    node: NodeProcess
    """Its outbound proxy."""

    rtp: int
    """Its first port for sound."""


class Softphone(Client):
    """
    One of them.
    """

    program: str

    def __init__(self, stage: Stage, line: Line) -> None:
        super().__init__()
        self.stage = stage
        self.line = line
        self.name = f"{self.program} ({line.transport})"
        self.folder: Path = stage.folder / f"{self.program}-{line.user}-{line.transport}"
        self.folder.mkdir()
        self._events: list[tuple[Event, str]] = []

    def happened(self, event: Event, words: str) -> None:
        """
        Note it.

        @param words: how the client says it.
        """
        self._events.append((event, words))

    def forget(self) -> None:
        """
        A new story begins.
        """
        self._events.clear()

    async def sees(self, event: Event, limit: float = 10) -> str:
        """
        Wait until something happened; it does not count twice.

        @return: how the client says it.
        """
        deadline = time.monotonic() + limit
        while True:
            for happened in self._events:
                if happened[0] is event:
                    self._events.remove(happened)
                    return happened[1]
            said = [words for _, words in self._events]
            expect(
                time.monotonic() < deadline,
                f"{self.name}, after {limit:g} s: not {event.value!r}, but {said}; see {self.folder}",
            )
            await pause(reactor, 0.02)

    def heard(self, text: str) -> bool:
        """
        Whether it has had a message with C{text}, by its own log.
        """
        return text in (self.folder / "log").read_text(errors="replace")

    async def start(self) -> None:
        """
        Begin, and register.
        """
        raise NotImplementedError

    async def leave(self) -> None:
        """
        Unregister.
        """
        raise NotImplementedError

    def dial(self, user: str) -> None:
        """
        Call somebody.
        """
        raise NotImplementedError

    def answer(self) -> None:
        """
        Take the call that rings.
        """
        raise NotImplementedError

    def hang_up(self) -> None:
        """
        End a call, refuse or cancel it.
        """
        raise NotImplementedError

    def hold(self) -> None:
        """
        Put the call on hold.
        """
        raise NotImplementedError

    def resume(self) -> None:
        """
        Go on with it.
        """
        raise NotImplementedError

    def transfer(self, user: str) -> None:
        """
        Send the other one on to somebody.
        """
        raise NotImplementedError

    def aor(self, user: str) -> str:
        """
        @return: the address of a user.
        """
        return f"sip:{user}@{DOMAIN}"
