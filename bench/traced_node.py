"""
A node that notes when an update passes where, for L{bench.bench_sync}::

    python -m bench.traced_node twistd -n sipxha --config F

What it noted is in C{trace.json} beside the configuration when it has ended:
seconds of the machine's monotonic clock, so that those of two nodes compare.
"""

from __future__ import annotations

import time
from typing import Any

from bench.watched_node import be_twistd, replace
from sipxha.net import rpc_client, rpc_server
from sipxha.net.endpoint import Endpoint
from sipxha.registry.table import Registry
from sipxha.sync.batch import BATCH
from sipxha.sync.engine import Engine

_PUSH = f"{BATCH.prefix}.pushUpdates"
_NUMBER = 13
"""The column of a row's update number."""


class Trace:
    """
    What was noted.
    """

    def __init__(self) -> None:
        self.updates: dict[int, dict[str, float]] = {}
        self._came = 0.0
        self._heard = 0.0

    def note(self, number: int, stage: str, at: float) -> None:
        """
        An update was somewhere.
        """
        self.updates.setdefault(number, {}).setdefault(stage, at)

    def watch(self) -> None:
        """
        Look on from now on.
        """
        clock = time.perf_counter
        came = Endpoint.message_received
        register, apply = Registry.register, Registry.apply
        call, answered = rpc_client.RpcClient.call, Engine.call_answered
        hear = rpc_server._Connection.ended
        pushed: list[list[int]] = []

        def message_received(endpoint: Any, *given: Any) -> Any:
            self._came = clock()
            return came(endpoint, *given)

        def registering(registry: Any, *given: Any) -> Any:
            registered = register(registry, *given)
            self.note(registry.update_number, "came", self._came)
            self.note(registry.update_number, "registered", clock())
            return registered

        def calling(client: Any, peer: str, method: str, params: Any, *more: Any) -> Any:
            if method != _PUSH:
                return call(client, peer, method, params, *more)
            numbers = sorted({int(row.split("\t")[_NUMBER]) for row in params[2]})
            self._all(numbers, "called")
            made = call(client, peer, method, params, *more)
            self._all(numbers, "written")
            pushed.append(numbers)
            return made

        def hearing(connection: Any) -> None:
            self._heard = clock()
            hear(connection)

        def applying(registry: Any, rows: Any, *more: Any) -> Any:
            changed = apply(registry, rows, *more)
            for row in rows:
                self.note(row.update_number, "heard", self._heard)
                self.note(row.update_number, "visible", clock())
            return changed

        def call_answered(engine: Any, *given: Any) -> Any:
            if pushed:
                self._all(pushed.pop(0), "answered")
            return answered(engine, *given)

        for owner, name, put in (
            (Endpoint, "message_received", message_received),
            (Registry, "register", registering),
            (Registry, "apply", applying),
            (rpc_client.RpcClient, "call", calling),
            (rpc_server._Connection, "ended", hearing),
            (Engine, "call_answered", call_answered),
        ):
            replace(owner, name, put)

    def _all(self, numbers: list[int], stage: str) -> None:
        now = time.perf_counter()
        for number in numbers:
            self.note(number, stage, now)


def main() -> None:
    """
    Be twistd.
    """
    trace = Trace()
    trace.watch()
    be_twistd("trace.json", lambda: trace.updates)


if __name__ == "__main__":
    main()
