"""
What the wire of replication costs.

Rows per second through the codec and into the registry, and the time of one
push from one process to itself over loopback TLS, its answer included.  One
line each: what, how many, seconds, per second.  Run from the checkout:
C{python bench/bench_wire.py}.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import react

from sipxha.net.rpc_client import RpcClient
from sipxha.net.rpc_server import Exchange, RpcServer
from sipxha.net.tls import MutualTls
from sipxha.registry.binding import Binding
from sipxha.registry.table import Registry
from sipxha.sync import rpc, wire
from tests.support.certs import Authority

ROWS = 20_000
PUSHES = 2_000
PIECE = 16_384
NAME, PEER = "sipx1.example.com", "sipx2.example.com"


def rows(count: int) -> list[Binding]:
    """
    Registrations as a peer holds them.
    """
    return [
        Binding(
            uri=f"<sip:{number}@example.com>",
            identity=f"{number}@example.com",
            contact=f"<sip:{number}@10.1.1.7:5060;transport=tcp>",
            qvalue="",
            callid=f"f00dcafe-{number}@10.1.1.7",
            cseq=17,
            expires=4_000_000_000,
            instance_id="",
            reg_id=0,
            gruu="",
            path="",
            received="udp:10.1.1.7:5060",
            primary=NAME,
            update_number=number + 1,
        )
        for number in range(count)
    ]


def told(what: str, count: int, act: Callable[[], Any]) -> Any:
    """
    Do it, and print how long it took.
    """
    begin = time.perf_counter()
    result = act()
    line(what, count, time.perf_counter() - begin)
    return result


def line(what: str, count: int, seconds: float) -> None:
    """
    Print one figure.
    """
    print(f"{what:<28} {count:>7} {seconds:8.3f} s {count / seconds:>10.0f} /s")


def encode(some: list[Binding]) -> bytes:
    """
    The answer of a pull, whole.
    """
    head, name = rpc.pull_answer(rpc.MEMO, some)
    return b"".join(wire.encode_rows(head, name, (rpc.write_row(rpc.MEMO, row) for row in some)))


def decode(document: bytes) -> list[Binding]:
    """
    The rows of such an answer, read as it comes from a socket.
    """
    reader = wire.RowReader(rpc.row_reader(rpc.MEMO))
    for start in range(0, len(document), PIECE):
        reader.feed(document[start : start + PIECE])
    return rpc.rows_answered(rpc.MEMO, reader.close())


class Taker:
    """
    A peer that applies what it is pushed, and stores nothing.
    """

    def __init__(self) -> None:
        self.registry = Registry(PEER, 7200)

    def call_received(self, exchange: Exchange, method: str, params: list[wire.Value]) -> None:
        """
        A push came.
        """
        push = rpc.read_call(method, params)
        assert isinstance(push, rpc.Push)
        self.registry.apply(push.rows, time.time())
        exchange.answer(wire.encode_answer(wire.I8(push.rows[0].update_number)))


async def pushes(reactor: Any, some: list[Binding]) -> None:
    """
    Push rows one after the other, as the memo dialect does.
    """
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        server = RpcServer(reactor, MutualTls(authority.issue(PEER)), Taker())
        port: Any = server.listen(reactor, "127.0.0.1", 0)
        client = RpcClient(
            reactor,
            MutualTls(authority.issue(NAME)),
            port.getHost().port,
            lambda name: succeed(["127.0.0.1"]),
        )
        times = []
        last = 0
        for row in some:
            begin = time.perf_counter()
            method, params = rpc.write_call(rpc.MEMO, NAME, rpc.Push(last, [row]))
            last = await client.call(PEER, method, params)
            times.append(time.perf_counter() - begin)
        times.sort()
        line("push and answer over TLS", len(times), sum(times))
        print(
            f"{'':<28} p50 {times[len(times) // 2] * 1e3:.2f} ms, p99 {times[len(times) * 99 // 100] * 1e3:.2f} ms"
        )
        await client.close()
        await port.stopListening()
        await server.close()


def main(reactor: Any) -> Deferred[None]:
    """
    All figures.
    """
    some = rows(ROWS)
    document = told("encode rows", ROWS, lambda: encode(some))
    print(f"{'':<28} {len(document) / ROWS:.0f} octets per row")
    read = told("decode rows", ROWS, lambda: decode(document))
    told("apply rows", ROWS, lambda: Registry(PEER, 7200).apply(read, time.time()))
    return Deferred.fromCoroutine(pushes(reactor, some[:PUSHES]))


if __name__ == "__main__":
    react(main, (), _reactor)
