"""
How a node is: what the console shows of its parts.

An L{Overview} is filled by the node as its parts come to life, and only reads
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed

from sipxha.auth.failures import Failures
from sipxha.auth.security_events import SecurityEvents
from sipxha.config.model import Config
from sipxha.net.endpoint import Endpoint
from sipxha.net.hep import Mirror
from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry
from sipxha.services.call_log import CallLog
from sipxha.services.change_log import ChangeLog
from sipxha.services.fork_proxy import ForkProxy
from sipxha.services.gate import Gate
from sipxha.services.live_calls import ClusterCalls
from sipxha.services.loop_lag import LoopLag
from sipxha.services.replication import Replication
from sipxha.services.resolution import Resolution
from sipxha.services.user_files import UserFiles
from sipxha.store.registrations import RegistrationStore
from sipxha.sync.link import State

_COLUMNS = tuple(name for name in Binding._fields if name != "deadline")


@dataclass(slots=True)
class Overview:
    """
    The parts of a node, as far as they are there.
    """

    config: Config
    now: Callable[[], float]
    started: float = 0.0
    is_ready: bool = False
    """Whether SIP is open."""

    is_draining: bool = False
    """Whether the node is about to end, and takes nothing new."""

    users: UserFiles | None = None
    registry: Registry | None = None
    store: RegistrationStore | None = None
    replication: Replication | None = None
    call_log: CallLog | None = None
    resolution: Resolution | None = None
    endpoints: Sequence[Endpoint] = ()
    change_log: ChangeLog | None = None
    fork_proxy: ForkProxy | None = None
    gate: Gate | None = None
    failures: Failures | None = None
    mirror: Mirror | None = None
    security: SecurityEvents = field(default_factory=SecurityEvents)
    cluster_calls: ClusterCalls | None = None
    loop_lag: LoopLag = field(default_factory=partial(LoopLag, time.monotonic))
    certificates: Mapping[str, datetime] = field(default_factory=dict)
    """When those that are shown end, by their files."""

    def tick(self) -> None:
        """
        Once a second: note what can only be seen as time goes by.
        """
        self.loop_lag.tick()
        if self.replication is not None:
            self.replication.mark()

    @property
    def is_degraded(self) -> bool:
        """
        Whether something is missing that an operator should look at.
        """
        return bool(self._troubles())

    def status(self) -> dict[str, Any]:
        """
        The node as a whole.
        """
        states = self.states()
        registry = self.registry
        troubles = self._troubles()
        return {
            "node": self.config.node.name,
            "ready": self.is_ready,
            "degraded": bool(troubles),
            "trouble": "; ".join(troubles) or None,
            "started": _time(self.started),
            "users": 0 if self.users is None else len(self.users.users),
            "registrations": 0 if registry is None else sum(registry.live(self.now()).values()),
            "changes": {} if self.change_log is None else dict(self.change_log.changes),
            "refusals": {} if self.change_log is None else dict(sorted(self.change_log.refusals.items())),
            "shed": {} if self.gate is None else dict(sorted(self.gate.shed.items())),
            "emergency_calls": 0 if self.fork_proxy is None else self.fork_proxy.emergencies,
            "update_number": None if registry is None else registry.update_number,
            "peers": len(states),
            "peers_reachable": sum(1 for state in states.values() if state is State.REACHABLE),
            "unacknowledged": 0 if self.replication is None else self.replication.unacknowledged,
            "call_resolver": {} if self.resolution is None else self.resolution.status(),
            "transactions": {endpoint.name: endpoint.transactions for endpoint in self.endpoints},
        }

    def registrations(self, user: str | None) -> Iterable[dict[str, Any]]:
        """
        The current bindings of everybody or of one user, as they are when it
        is their turn: there may be very many.
        """
        if self.registry is None:
            return
        rows: Iterable[Binding]
        if user is None:
            rows = self.registry.all_current(self.now())
        else:
            identity = user if "@" in user else f"{user}@{self.config.domain.name}"
            rows = self.registry.current(identity, self.now())
        for row in rows:
            yield {**{name: getattr(row, name) for name in _COLUMNS}, "expires": _time(row.expires)}

    def user_set(self) -> dict[str, Any]:
        """
        Which users the node goes by; their files are looked at, and what is
        new in them is here a moment later.
        """
        files = self.users
        if files is None:
            return {"version": None, "users": 0, "trouble": None}
        files.look()
        return {
            "version": str(files.version),
            "users": len(files.users),
            "trouble": None if files.is_reading else files.trouble,
        }

    def peers(self) -> Sequence[dict[str, Any]]:
        """
        The other registrars.
        """
        return [] if self.replication is None else self.replication.peers()

    def calls(self) -> Deferred[dict[str, Any]]:
        """
        The calls that are not over, on all nodes.
        """
        if self.cluster_calls is None:
            return succeed({"calls": [], "missing": {}})
        return self.cluster_calls.tell()

    def states(self) -> dict[str, State]:
        """
        How it stands with each peer, by its name.
        """
        return {} if self.replication is None else self.replication.states()

    def _troubles(self) -> list[str]:
        # Until SIP opens, an Uninitialized peer is one that we are about to greet.
        expected = {State.REACHABLE} if self.is_ready else {State.REACHABLE, State.UNINITIALIZED}
        troubles = [
            f"{name} is {state.value}" for name, state in self.states().items() if state not in expected
        ]
        if self.replication is not None:
            for name, differs in self.replication.disagreement().items():
                troubles.append(f"{name} has not the same as we have: {', '.join(differs)}")
        if self.store is not None and self.store.degraded:
            troubles.append(f"{self.store.path} cannot be written")
        if self.users is not None and self.users.trouble is not None:
            troubles.append(f"the users stay as they were: {self.users.trouble}")
        for part in (self.call_log, self.resolution):
            trouble = None if part is None else part.trouble()
            if trouble is not None:
                troubles.append(trouble)
        return troubles


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
