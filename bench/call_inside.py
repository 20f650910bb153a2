"""
Calls inside one process: the services of a node, without UDP sockets.

How often functions are called for a call does not depend on what else the
machine does, as every measured time does, so that one version can be told
from another on a machine that is shared.  The node is a real one, on the real
reactor, but for its datagrams, which two telephones of a few lines put in and
take out.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from bench.load import credential_xml
from bench.single_node import DOMAIN, NAME
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.services.node import Node
from tests.support.pair import free_network

PROXY, AUTHPROXY = 5060, 5080

CALLEE = ("127.0.0.9", 5062)
CALLER = ("127.0.0.9", 5064)

WARM = 100
BATCH = 50
BATCHES = 20
COUNTED = 20

_INVITE = (
    f"INVITE sip:u0@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER[0]}:{CALLER[1]};branch=z9hG4bK-%s-1;rport\r\n"
    'Max-Forwards: 70\r\nFrom: "A caller" <sip:caller@elsewhere.example.net>;tag=f%s\r\n'
    f"To: <sip:u0@{DOMAIN}>\r\nCall-ID: %s@inside\r\nCSeq: 1 INVITE\r\n"
    f"Contact: <sip:caller@{CALLER[0]}:{CALLER[1]}>\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n"
    "Content-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0"
)
_WITHIN = (
    f"%s sip:u0@{CALLEE[0]}:{CALLEE[1]} SIP/2.0\r\n"
    f"Via: SIP/2.0/UDP {CALLER[0]}:{CALLER[1]};branch=z9hG4bK-%s-%s;rport\r\nMax-Forwards: 70\r\nRoute: %s\r\n"
    'From: "A caller" <sip:caller@elsewhere.example.net>;tag=f%s\r\n'
    f"To: <sip:u0@{DOMAIN}>;tag=t\r\nCall-ID: %s@inside\r\nCSeq: %s %s\r\nContent-Length: 0\r\n\r\n"
)
_REGISTER = (
    f"REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLEE[0]}:{CALLEE[1]};branch=z9hG4bK-r;rport\r\n"
    f"Max-Forwards: 70\r\nFrom: <sip:u0@{DOMAIN}>;tag=r\r\nTo: <sip:u0@{DOMAIN}>\r\nCall-ID: r@inside\r\n"
    f"CSeq: 1 REGISTER\r\nContact: <sip:u0@{CALLEE[0]}:{CALLEE[1]}>\r\nContent-Length: 0\r\n\r\n"
)

_ANSWERED = (b"Via:", b"From:", b"Call-ID:", b"CSeq:", b"Record-Route:")


class _Port:
    """
    A UDP port that leads nowhere.
    """

    def __init__(self, host: str, port: int, protocol: DatagramProtocol) -> None:
        self.written: list[tuple[bytes, tuple[str, int]]] = []
        self.protocol = protocol
        self._address = IPv4Address("UDP", host, port)

    def getHost(self) -> IPv4Address:
        """
        Where it would be.
        """
        return self._address

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        """
        Keep a datagram.
        """
        self.written.append((data, address))

    def stopListening(self) -> Deferred[None]:
        """
        Nothing is open.
        """
        return succeed(None)


class _Wire:
    """
    The reactor, but for UDP.
    """

    def __init__(self, reactor: Any) -> None:
        self.ports: dict[int, _Port] = {}
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> _Port:
        """
        Open a port on no network.
        """
        made = self.ports[port] = _Port(interface, port, protocol)
        # It has of a port what the endpoint asks of one.
        protocol.makeConnection(made)  # type: ignore[arg-type]
        return made

    def exchange(self, port: int, data: bytes, source: tuple[str, int]) -> list[tuple[bytes, int]]:
        """
        Put a datagram in.

        @return: What came out for the callee, and at which port.
        """
        for each in self.ports.values():
            each.written.clear()
        self.ports[port].protocol.datagramReceived(data, source)
        return [
            (sent, number)
            for number, each in self.ports.items()
            for sent, address in each.written
            if address == CALLEE
        ]


def _answer(request: bytes, status: str, tag: bytes = b"") -> bytes:
    lines = [f"SIP/2.0 {status}".encode()]
    for line in request.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        if line.startswith(_ANSWERED):
            lines.append(line)
        elif line.startswith(b"To:"):
            lines.append(line + tag)
    contact = f"Contact: <sip:u0@{CALLEE[0]}:{CALLEE[1]}>".encode()
    return b"\r\n".join([*lines, contact, b"Content-Length: 0", b"", b""])


def _call(wire: _Wire, number: int) -> None:
    """
    INVITE, 100, 180, 200, ACK, BYE, 200.
    """
    name = str(number)
    ((invite, port),) = wire.exchange(PROXY, (_INVITE % (name, name, name)).encode(), CALLER)
    (recorded,) = (line for line in invite.split(b"\r\n") if line.startswith(b"Record-Route:"))
    route = recorded.partition(b": ")[2].decode()
    for status in ("180 Ringing", "200 OK"):
        wire.exchange(port, _answer(invite, status, b";tag=t"), CALLEE)
    ack = _WITHIN % ("ACK", name, 2, route, name, name, 1, "ACK")
    wire.exchange(AUTHPROXY, ack.encode(), CALLER)
    bye = _WITHIN % ("BYE", name, 3, route, name, name, 2, "BYE")
    ((bye_there, port),) = wire.exchange(AUTHPROXY, bye.encode(), CALLER)
    wire.exchange(port, _answer(bye_there, "200 OK"), CALLEE)


def _counted(work: Callable[[], None]) -> Counter[str]:
    """
    Calls of functions, by the module of the caller where they are not in Python.
    """
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call"):
            found[str(frame.f_globals.get("__name__"))] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def _measure(wire: _Wire) -> None:
    for number in range(WARM):
        _call(wire, number)
    best, number = float("inf"), WARM
    for _ in range(BATCHES):
        begun = time.thread_time()
        for _ in range(BATCH):
            _call(wire, number)
            number += 1
        best = min(best, (time.thread_time() - begun) / BATCH)

    def work() -> None:
        for each in range(COUNTED):
            _call(wire, number + each)

    found = _counted(work)
    found.pop(__name__, None)
    print(f"inside one process a call takes {best * 1e6:.0f} us, with warm caches and without sockets")
    print(f"functions called for each: {found.total() / COUNTED:.0f}")
    for module, count in found.most_common(25):
        print(f"  {count / COUNTED:6.1f}  {module}")


async def _run(reactor: Any, wire: _Wire, node: Node) -> None:
    node.startService()
    await node.ready
    wire.exchange(PROXY, _REGISTER.encode(), CALLEE)
    # Until it is on the disk.
    await deferLater(reactor, 1.0)
    _measure(wire)
    await node.stopService()


def inside(folder: Path) -> None:
    """
    Say what a call costs inside the process.
    """
    from twisted.internet import reactor

    make_cluster(folder, Cluster(DOMAIN, [Server(NAME, f"{free_network()}.1")], embedded=False))
    path = folder / NAME / "sipxha.xml"
    (path.parent / "credential.xml").write_text(credential_xml(["u0"], DOMAIN))
    # Events stay in the journal: there is no such database.
    text = path.read_text().replace('authenticate="true"', 'authenticate="false"')
    path.write_text(text.replace("<proxy udp=", '<proxy strangers="accept" udp='))
    wire = _Wire(reactor)
    node = Node(wire, load(path))
    ended: list[object] = []
    done = Deferred.fromCoroutine(_run(reactor, wire, node))
    done.addBoth(ended.append).addBoth(lambda _: wire.stop())
    wire.run()
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
