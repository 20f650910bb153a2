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
from functools import partial
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
from sipxha.sync.batch import BATCH
from sipxha.sync.dialect import Dialect
from sipxha.sync.structs import MEMO
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
            deadline=4_000_000_000.0,
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


def pages(dialect: Dialect, some: list[Binding]) -> list[list[Binding]]:
    """
    Rows as they travel together.
    """
    most = dialect.most_rows or len(some)
    return [some[start : start + most] for start in range(0, len(some), most)]


def encode(dialect: Dialect, some: list[Binding]) -> list[bytes]:
    """
    The answers of pulls.
    """
    now = time.time()
    return [
        b"".join(dialect.write_page(rpc.Page(page, page[-1].update_number, page[-1] is not some[-1]), now))
        for page in pages(dialect, some)
    ]


def decode(dialect: Dialect, documents: list[bytes]) -> list[Binding]:
    """
    The rows of such answers, read as they come from a socket.
    """
    found: list[Binding] = []
    for document in documents:
        if dialect.is_streamed:
            reader = wire.RowReader(dialect.read_row)
            for start in range(0, len(document), PIECE):
                reader.feed(document[start : start + PIECE])
            value = reader.close()
        else:
            value = wire.decode_answer(document)
        found += dialect.read_page(value, 0, time.time()).rows
    return found


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
        now = time.time()
        push = (BATCH if method in BATCH.methods else MEMO).read_call(method, params, now)
        assert isinstance(push, rpc.Push)
        self.registry.apply(push.rows, now)
        exchange.answer(wire.encode_answer(wire.I8(push.rows[-1].update_number)))


async def pushes(reactor: Any, some: list[Binding]) -> None:
    """
    Push rows one after the other, as the memo dialect does, and a hundred at a time.
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
        for dialect, each in ((MEMO, 1), (BATCH, 1), (BATCH, 100)):
            times = []
            last = 0
            for start in range(0, len(some), each):
                begin = time.perf_counter()
                push = rpc.Push(last, some[start : start + each])
                method, params = dialect.write_call(NAME, push, time.time())
                last = await client.call(PEER, method, params)
                times.append(time.perf_counter() - begin)
            line(f"push over TLS, {dialect.name}, by {each}", len(some), sum(times))
            times.sort()
            middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
            print(f"{'':<28} p50 {middle * 1e3:.2f} ms, p99 {late * 1e3:.2f} ms")
        await client.close()
        await port.stopListening()
        await server.close()


def main(reactor: Any) -> Deferred[None]:
    """
    All figures.
    """
    some = rows(ROWS)
    for dialect in (MEMO, BATCH):
        documents = told(f"encode rows, {dialect.name}", ROWS, partial(encode, dialect, some))
        print(f"{'':<28} {sum(map(len, documents)) / ROWS:.0f} octets per row")
        read = told(f"decode rows, {dialect.name}", ROWS, partial(decode, dialect, documents))
    told("apply rows", ROWS, lambda: Registry(PEER, 7200).apply(read, time.time()))
    return Deferred.fromCoroutine(pushes(reactor, some[:PUSHES]))


if __name__ == "__main__":
    react(main, (), _reactor)
