"""
What the proxies of a node share, and the words in which they let requests in.

Values and interfaces only: what is done with them is in
L{sipxha.services.proxy} and L{sipxha.services.forwarding}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from sipxha.auth.digest import Authenticator
from sipxha.cdr.event import CallStateEvent
from sipxha.routing.route_state import CallerNames
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.uri import Uri


class EventLog(Protocol):
    """
    Where the proxies put what they see of calls.
    """

    def next_seq(self, observer: str) -> int:
        """
        @return: the number of the next event of C{observer}.
        """

    def record(self, event: CallStateEvent) -> None:
        """
        Keep an event; when this returns, its message may leave.
        """


def _nothing(asked: object) -> bool:
    """
    There are no gateways.
    """
    return False


@dataclass(frozen=True, slots=True)
class Cluster:
    """
    What both proxies of a node share with each other, and with other nodes.
    """

    domain: str
    secret: bytes
    authenticator: Authenticator
    locate: Callable[[Uri], Deferred[list[Hop]]]
    """Where a URI leads, in the order in which to try (RFC 3263)."""

    known: Callable[[Uri], list[Hop] | None]
    """The same, if nobody has to be asked; raises what the other fails with."""

    hop_failed: Callable[[Hop], None]
    """Hears of a hop that did not answer, so that it is tried last for a while."""

    hop_answered: Callable[[Hop], None]
    call_log: EventLog | None
    """C{None} on a node that logs no calls."""

    is_ours: Callable[[Uri], bool]
    """Whether a URI leads to a server of this cluster."""

    knows: Callable[[str], bool]
    """Whether an address is that of one of our nodes, or loopback."""

    is_gateway: Callable[[Uri], bool] = _nothing
    """Whether a URI leads to a gateway of the domain."""

    from_gateway: Callable[[str], bool] = _nothing
    """Whether an address is a gateway's."""


class Admission(NamedTuple):
    """
    A request was let in.
    """

    identity: str | None
    """Who proved to have sent it: C{user@host}, or nobody."""

    in_dialog: bool = False
    """Whether it belongs to a dialog that was let in before."""

    is_recorded: bool = False
    """Whether that dialog bears our own signature, so that its route set is to be followed."""

    way: Flow | Uri | None = None
    """Where a flow token says that it goes."""

    registers_over: Flow | None = None
    """The flow that a REGISTER promises to answer on."""

    names: CallerNames | None = None
    """The names of the caller of its dialog, if he has an alias there."""

    is_emergency: bool = False
    """Whether it is an emergency call, which nothing is asked of."""


class Refusal(NamedTuple):
    """
    A request was not let in.
    """

    status: int
    reason: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
