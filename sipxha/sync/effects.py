"""
What the engine asks its driver to do, and what it has to report.

Values only; L{sipxha.services.replication} performs them.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from sipxha.registry.binding import Binding
from sipxha.sync import rpc
from sipxha.sync.dialect import Dialect
from sipxha.sync.link import State
from sipxha.sync.wire import Fault, Value


class Call(NamedTuple):
    """
    Call a peer; then say L{Engine.call_answered} or L{Engine.call_failed}.
    """

    id: int
    peer: str
    method: str
    params: list[Value]
    rows: Dialect | None = None
    """Whose rows the answer holds one by one, for they may be many; C{None} for a short answer."""

    pushed: int = 0
    """How many rows it brings to the peer."""


class Answer(NamedTuple):
    """
    The answer to a call that came.
    """

    exchange: int
    value: Value


class AnswerPage(NamedTuple):
    """
    The answer to a pull that came.
    """

    exchange: int
    dialect: Dialect
    page: rpc.Page


class Refuse(NamedTuple):
    """
    The fault that answers a call that came.
    """

    exchange: int
    fault: Fault
    is_ours: bool = False
    """The call was good, but our disk is not."""


class Store(NamedTuple):
    """
    Commit rows, and all that was handed over before even if there are none;
    then say L{Engine.stored} or L{Engine.store_failed}.
    """

    token: int
    rows: list[Binding]


class Open(NamedTuple):
    """
    Start-up is over: SIP may be served.
    """

    is_degraded: bool
    """Some peer could not be asked, or not in time."""


class PeerChanged(NamedTuple):
    """
    A link is in another state than before.
    """

    peer: str
    state: State
    reason: str


class Synchronized(NamedTuple):
    """
    A reset succeeded.
    """

    peer: str
    by_peer: bool
    number: int
    """The last update of ours that the peer holds."""


class Pulled(NamedTuple):
    """
    Rows came by a pull.
    """

    peer: str
    primary: str
    rows: int
    changed: int


class Taken(NamedTuple):
    """
    Rows came by a push.
    """

    peer: str
    rows: int
    changed: int


class Acknowledged(NamedTuple):
    """
    A Reachable peer has updates of ours on its disk.
    """

    peer: str
    number: int
    """The last of them."""


class Spoken(NamedTuple):
    """
    A peer is called in another dialect than before.
    """

    peer: str
    dialect: str


class Diverged(NamedTuple):
    """
    A peer holds other rows of a registrar than we do, and it is not for what is under way.
    """

    peer: str
    primary: str
    here: int
    """How many rows there are here."""

    there: int


class NumberRaised(NamedTuple):
    """
    A peer holds more of our updates than we have counted: our clock was set back.
    """

    peer: str
    number: int


Report: TypeAlias = (
    PeerChanged | Synchronized | Pulled | Taken | Acknowledged | Spoken | Diverged | NumberRaised
)
"""What the driver only passes on."""

Effect: TypeAlias = Call | Answer | AnswerPage | Refuse | Store | Open | Report
