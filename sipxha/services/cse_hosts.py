"""
The hosts of call state events, as a pass of the call resolver meets them.

A L{Host} is opened, read, and given up for the rest of the pass as soon as it
fails; its report says why.  What its events mean is no matter here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from sipxha.cdr.position import Position
from sipxha.config.model import CallResolver, CseHost, Tls
from sipxha.errors import SipxhaError
from sipxha.services.gateway_hosts import GatewayHosts, no_gateways
from sipxha.store.cse_source import PLANS, Logged, Look, Source, remote_dsn
from sipxha.store.pool import Pool
from sipxha.store.schema import CSE, prepare

T = TypeVar("T")

OWN = "localhost"
"""The name in C{cse-hosts} of this node's own database."""


@dataclass
class HostReport:
    """
    How a pass fared with one host.
    """

    name: str
    events: int = 0
    """How many it gave."""

    expected: int = 0
    """How many it may have, by the ids."""

    read_to: float | None = None
    ahead: float | None = None
    """By how many seconds its clock is ahead of this node's; less than 0 if it is behind."""

    purged: int = 0
    """How many events were deleted for their age."""

    fault: str | None = None
    """Why it could not be read to its end, and where it was looked for."""


@dataclass(frozen=True)
class Places:
    """
    Where a pass finds what it needs.
    """

    config: CallResolver
    dsn: str
    """The database of call detail records."""

    own_dsn: str
    """This node's own call state events."""

    tls: Tls | None
    addresses: Callable[[str], Deferred[list[str]]]
    """Asks DNS; an address is its own answer."""

    gateways: Callable[[], Awaitable[GatewayHosts]] = no_gateways
    """Finds those by which the direction of a call is told."""


def name_of(host: CseHost) -> str:
    """
    What a host is called in reports, and in the table of positions.
    """
    return OWN if host.name == OWN else f"{host.name}:{host.port}"


class Host:
    """
    One host during a pass; what it has is known once it is open.
    """

    source: Source
    look: Look

    def __init__(self, report: HostReport) -> None:
        self.report = report
        self.name = report.name
        self.position = Position()
        self._pool: Pool | None = None
        self._coming: Deferred[list[Logged]] | None = None
        self._tried = ""

    async def open(self, reactor: IReactorTime, places: Places, host: CseHost) -> None:
        """
        Connect, and see how much there is.
        """
        if host.name == OWN:
            self._pool = Pool(reactor, places.own_dsn, settings=PLANS)
            self._tried = str(self._pool)
            # This one may be written to; on others their own nodes see to it.
            await prepare(reactor, places.own_dsn, self._pool, (CSE,))
        else:
            addresses = await places.addresses(host.name)
            dsn = remote_dsn(places.dsn, host.name, addresses, host.port, places.tls, places.config.ca)
            self._pool = Pool(reactor, dsn, settings=PLANS)
            self._tried = ", ".join(f"{address} port {host.port}" for address in addresses)
        self.source = Source(self._pool)
        asked = reactor.seconds()
        self.look = await self.source.look()
        self.report.ahead = self.look.now - (asked + reactor.seconds()) / 2

    def page(self, limit: int) -> Deferred[list[Logged]]:
        """
        Read the next page, or wait for the one that was asked for ahead.
        """
        coming, self._coming = self._coming, None
        return self.source.page(self.position.last_id, limit) if coming is None else coming

    def ask_ahead(self, limit: int) -> None:
        """
        Have the host prepare its next page while something else is done.
        """
        self._coming = self.source.page(self.position.last_id, limit)

    @property
    def is_live(self) -> bool:
        """
        Whether it has answered so far.
        """
        return self.report.fault is None

    @property
    def read_to(self) -> float:
        """
        How far it was read, as a number that can be compared.
        """
        return -inf if self.position.read_to is None else self.position.read_to

    def failed(self, reason: str) -> None:
        """
        Give the host up for this pass.
        """
        self.report.fault = f"{self._tried}: {reason}" if self._tried else reason

    def close(self) -> None:
        """
        End the connection.
        """
        if self._coming is not None:
            self._coming.addErrback(Failure.trap, SipxhaError, CancelledError)
        if self._pool is not None:
            self._pool.close()


async def each_of(
    asked: Sequence[tuple[Host, Deferred[T]]],
) -> list[tuple[Host, T]]:
    """
    Wait for an answer of each host.  One that fails is reported and gives none.
    """
    results: list[tuple[bool, Any]] = await DeferredList([answer for _, answer in asked], consumeErrors=True)
    given = []
    for (host, _), (is_good, answer) in zip(asked, results, strict=True):
        if is_good:
            given.append((host, answer))
        else:
            answer.trap(SipxhaError)
            host.failed(answer.getErrorMessage())
    return given
