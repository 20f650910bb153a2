"""
Telephones that know their domain and a name server, and nothing of nodes.

    python -m tools.interop.office DOMAIN NAME_SERVER

reads what they are to do from standard input, a line for each, and answers each
with a line that begins with C{done} or C{failed}; a telephone that is known
needs its name only::

    register USER ADDRESS TRANSPORT PASSWORD
    register USER
    call USER USER [STATUS]
    answer ADDRESS

The last is a gateway or another server, which answers every call.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from sipxha.config.model import Dns
from sipxha.net.dns import Locator, resolver_for
from tests.support.pair import pause
from tests.support.phone import CallFailed, Phone
from tools import foreground

TALK = 3.0
"""Seconds from answer to end of each call."""

reactor = foreground.reactor


class Office(LineOnlyReceiver):
    """
    All of them.
    """

    delimiter = b"\n"

    def __init__(self, domain: str, name_server: str) -> None:
        self.left: Deferred[int] = Deferred()
        """Fires when nothing more is to be done."""

        self._domain = domain
        self._dns = Dns(server=(name_server, 53))
        self._phones: dict[str, Phone] = {}

    def lineReceived(self, line: bytes) -> None:
        """
        Do something.
        """
        work, *arguments = line.decode().split(" ")
        works: dict[str, Callable[..., Coroutine[Any, Any, str]]] = {
            "register": self._register,
            "call": self._call,
            "answer": self._answer,
        }
        doing = works[work](*arguments)
        Deferred.fromCoroutine(doing).addCallbacks(
            lambda said: self._say(f"done {said}"), lambda failure: self._say(f"failed {failure.value}")
        )

    def connectionLost(self, reason: object = None) -> None:
        """
        Standard input has ended.
        """
        if not self.left.called:
            self.left.callback(0)

    async def _register(self, user: str, address: str = "", transport: str = "", *password: str) -> str:
        if address:
            self._phones[user] = self._phone(user, address, transport, " ".join(password))
        answer = await self._phones[user].register()
        if answer.status != 200:
            raise CallFailed(answer)
        return str(answer.status)

    async def _call(self, caller: str, callee: str, status: str = "200") -> str:
        try:
            call = await self._phones[caller].call(f"sip:{callee}@{self._domain}")
        except CallFailed as failed:
            if str(failed.response.status) != status:
                raise
            return status
        await pause(reactor, TALK)
        return str((await call.hang_up()).status)

    async def _answer(self, address: str) -> str:
        self._phones[address] = self._phone("server", address, "udp", "")
        return "200"

    def _phone(self, user: str, address: str, transport: str, password: str) -> Phone:
        locator = Locator(reactor, resolver_for(reactor, self._dns), random.random)
        phone = Phone(reactor, user, password, self._domain, address, 5060, locator, transport)
        phone.startService()
        return phone

    def _say(self, what: str) -> None:
        self.sendLine(what.encode())


async def main() -> int:
    """
    @return: the exit status.
    """
    office = Office(*sys.argv[1:])
    StandardIO(office)
    return await office.left


if __name__ == "__main__":
    sys.exit(foreground.run(main))
