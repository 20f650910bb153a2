"""
How fast transactions go: the layer alone, and OPTIONS over loopback UDP.

Each line is: name, how many, seconds, per second, microseconds each, and that
as a ratio to a calibration loop.  Both ends of the loopback run in this
process, so an exchange costs an endpoint about half of what its line says.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from itertools import count
from typing import Any

from twisted.internet import reactor as default_reactor
from twisted.internet.protocol import DatagramProtocol

from bench.allocations import blocks_held, peak_bytes
from bench.calibration import calibrate
from sipxha.config.model import Ports
from sipxha.net.endpoint import Endpoint
from sipxha.services.pauses import THRESHOLDS
from sipxha.sip.check import check
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from sipxha.transaction.layer import TransactionLayer
from sipxha.transaction.vocabulary import RequestArrived, ServerKey

OPTIONS = (
    b"OPTIONS sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK-bench-%d;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:alice@example.com>;tag=alice\r\n"
    b"To: <sip:bob@example.com>\r\n"
    b"Call-ID: %d@bench\r\n"
    b"CSeq: 1 OPTIONS\r\n"
    b"Content-Length: 0\r\n\r\n"
)
FLOW = Flow("udp", "127.0.0.1", 5999, "127.0.0.1", 5060)
IN_FLIGHT = 32
BATCH = 100


def report(name: str, number: int, seconds: float, loop: float) -> None:
    """
    Print one line.
    """
    each = seconds / number
    print(
        f"{name:34} {number:8} {seconds:8.3f} s {1 / each:10.0f} /s {each * 1e6:8.2f} us  [{each / loop:.2f}]"
    )


def options(first: int) -> list[Request]:
    """
    A batch of requests, parsed and checked.
    """
    requests = []
    for n in range(first, first + BATCH):
        request = parse_message(OPTIONS % (5999, n, n))
        assert isinstance(request, Request)
        check(request)
        requests.append(request)
    return requests


def exchange(layer: TransactionLayer, requests: list[Request], now: float) -> None:
    """
    They arrive and are answered with 200; who is 32 seconds old ends.
    """
    for request in requests:
        for effect in layer.request_received(request, FLOW, now):
            if isinstance(effect, RequestArrived):
                layer.respond(effect.key, response_to(effect.request, 200, to_tag="bench"), now)
    layer.deadline_passed(now)


def bench_layer(number: int, loop: float, note: str) -> None:
    """
    Time the batches.  At 1000 a second 32,000 transactions are alive; the
    fastest tenth leaves out what else the machine does.
    """
    layer = TransactionLayer()
    spent = []
    for first in range(0, number, BATCH):
        requests = options(first)
        began = time.perf_counter()
        exchange(layer, requests, first / 1000)
        spent.append(time.perf_counter() - began)
    steady = spent[len(spent) * 2 // 3 :]
    report(f"layer, OPTIONS, {note}", BATCH, sorted(steady)[len(steady) // 10], loop)
    report("  the mean of all batches", BATCH, sum(steady) / len(steady), loop)


def weigh_layer(number: int) -> None:
    """
    Print what is kept for a transaction that is answered.
    """
    layer = TransactionLayer()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for first in range(0, number, BATCH):
        exchange(layer, options(first), 0.0)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"memory of an answered transaction   {(after - before) / number:8.0f} bytes, {layer.live} alive")


def count_blocks() -> None:
    """
    Print what the making and the answering of a transaction allocate, the
    parsed request included.
    """
    layer = TransactionLayer()
    exchange(layer, options(0), 0.0)
    serial = count(BATCH)

    def transact() -> object:
        request = parse_message(OPTIONS % (5999, next(serial), 0))
        assert isinstance(request, Request)
        for effect in layer.request_received(request, FLOW, 0.0):
            if isinstance(effect, RequestArrived):
                layer.respond(effect.key, response_to(effect.request, 200, to_tag="bench"), 0.0)
        return request

    print(
        f"parsed, made and answered           {blocks_held(transact):8} blocks, {peak_bytes(transact)} bytes"
    )


class Echo:
    """
    Answers everything with 200.
    """

    endpoint: Endpoint

    def request_received(self, transaction: ServerKey, request: Request, flow: Flow) -> None:
        """
        Answer.
        """
        self.endpoint.respond(transaction, response_to(request, 200, to_tag="bench"))


class Client(DatagramProtocol):
    """
    Keeps some requests in flight until all are answered.
    """

    transport: Any

    def __init__(self, reactor: Any, number: int, server: tuple[str, int]) -> None:
        self.reactor = reactor
        self.left = self.unsent = number
        self.server = server
        self.serial = count()

    def send(self) -> None:
        """
        Send one more, if there is one.
        """
        if self.unsent:
            self.unsent -= 1
            n = next(self.serial)
            self.transport.write(OPTIONS % (self.transport.getHost().port, n, n), self.server)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        One is answered.
        """
        self.left -= 1
        if self.left:
            self.send()
        else:
            self.reactor.stop()


def bench_endpoint(reactor: Any, number: int, loop: float) -> None:
    """
    A real endpoint and a client that parses nothing.
    """
    tokens = count(10**16)
    user: Any = Echo()
    endpoint = Endpoint(
        reactor, "bench", Ports(0, None), "127.0.0.1", "127.0.0.1", user, lambda: str(next(tokens))
    )
    user.endpoint = endpoint
    endpoint.startService()
    client = Client(reactor, number, ("127.0.0.1", endpoint.port("udp") or 0))
    reactor.listenUDP(0, client, interface="127.0.0.1", maxPacketSize=65535)
    for _ in range(IN_FLIGHT):
        client.send()
    began, used = time.perf_counter(), time.process_time()
    reactor.run()
    report("loopback UDP, OPTIONS", number, time.perf_counter() - began, loop)
    report("  of that processor time", number, time.process_time() - used, loop)


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    calibration = calibrate()
    bench_layer(wanted, calibration, "gc as it comes")
    gc.collect()
    # As the node sets it.
    gc.set_threshold(*THRESHOLDS)
    bench_layer(wanted, calibration, "gc as in a node")
    weigh_layer(5_000)
    count_blocks()
    bench_endpoint(default_reactor, wanted, calibration)
