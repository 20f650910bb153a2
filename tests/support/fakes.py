"""
A reactor without a network, and recorders for both sides of an endpoint.

L{SipReactor} adds to Twisted's own fake what that lacks: UDP.  Nothing here
moves by itself: bytes are taken out and put in by the test.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IReactorUDP, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.config.model import Ports
from sipxha.net.branch import Branch, IBranchObserver
from sipxha.net.endpoint import Endpoint, ITransactionUser
from sipxha.net.handover import Remains
from sipxha.net.siblings import Siblings
from sipxha.net.stream import SipStream
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import MalformedMessage, Request, Response
from sipxha.sip.parser import parse_message
from sipxha.sip.values import Message
from sipxha.transaction.vocabulary import ClientKey, ServerKey


@implementer(IUDPTransport)
class FakeDatagramTransport:
    """
    A UDP port that keeps what is written to it.

    @ivar written: C{(bytes, (address, port))}, oldest first.

    @ivar error: Raised by the next writes, if set.
    """

    def __init__(self, host: str, port: int, protocol: DatagramProtocol) -> None:
        self.written: list[tuple[bytes, tuple[str, int]]] = []
        self.error: Exception | None = None
        self._address = IPv4Address("UDP", host, port)
        self._protocol = protocol

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        """
        Keep one datagram, or raise L{error}.
        """
        if self.error is not None:
            raise self.error
        assert addr is not None
        self.written.append((packet, addr))

    def take(self) -> list[tuple[Message, tuple[str, int]]]:
        """
        What was sent since the last time, read.
        """
        written, self.written = self.written, []
        return [(parse_message(data), address) for data, address in written]

    def receive(self, data: bytes, address: str = "10.0.0.9", port: int = 5060) -> None:
        """
        Let one datagram arrive.
        """
        self._protocol.datagramReceived(data, (address, port))

    def getHost(self) -> IPv4Address:
        """
        The bound address.
        """
        return self._address

    def connect(self, host: str, port: int) -> None:
        """
        Not for SIP.
        """
        raise NotImplementedError

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """
        Not for SIP.
        """
        raise NotImplementedError

    def getBroadcastAllowed(self) -> bool:
        """
        Never.
        """
        return False

    def startListening(self) -> None:
        """
        Already done.
        """

    def stopListening(self) -> Deferred[None]:
        """
        Close the port.
        """
        self._protocol.doStop()
        return succeed(None)


class FakeStreamTransport(StringTransport):
    """
    A TCP connection that keeps what is written to it.
    """

    def __init__(self, protocol: SipStream, host: IPv4Address, peer: IPv4Address) -> None:
        super().__init__(hostAddress=host, peerAddress=peer)
        self.stream = protocol

    def receive(self, data: bytes) -> None:
        """
        Let some bytes arrive.
        """
        self.stream.dataReceived(data)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Nothing waits here.
        """

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Nothing is lost here unnoticed.
        """

    def loseConnection(self) -> None:
        """
        The connection is lost at once, all is written.
        """
        if not self.disconnecting:
            self.disconnecting = True
            self.stream.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """
        The same here.
        """
        self.loseConnection()

    def take(self) -> list[Message]:
        """
        What was sent since the last time, read; it must be whole messages.
        """
        data, messages = self.value(), []
        self.clear()
        while data:
            message = parse_message(data)
            messages.append(message)
            data = data[len(message.encode()) :]
        return messages


@implementer(IReactorUDP)
class SipReactor(MemoryReactorClock):
    """
    A clock, and ports that lead nowhere.

    @ivar udp: The latest UDP port.

    @ivar taken: Port numbers, with their transport, that are in use.
    """

    udp: FakeDatagramTransport

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[tuple[str, int]] = set()

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> Any:
        """
        Make L{udp}.
        """
        if ("udp", port) in self.taken:
            raise CannotListenError(interface, port, OSError("in use"))
        self.udp = FakeDatagramTransport(interface, port or 50600, protocol)
        protocol.makeConnection(self.udp)
        return self.udp

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """
        As Twisted's, but for L{taken}.
        """
        if ("tcp", port) in self.taken:
            raise CannotListenError(interface, port, OSError("in use"))
        return super().listenTCP(port, factory, backlog, interface)

    def accept(self, address: str = "10.0.0.9", port: int = 40000) -> FakeStreamTransport:
        """
        Let somebody connect to the latest TCP port.
        """
        factory = self.tcpServers[-1][1]
        return self._join(factory, address, port)

    def open(self) -> FakeStreamTransport:
        """
        Let the oldest attempt to connect succeed.
        """
        address, port, factory = self.tcpClients.pop(0)[:3]
        self.connectors.pop(0)
        return self._join(factory, address, port)

    def refuse(self) -> None:
        """
        Let the oldest attempt to connect fail.
        """
        factory = self.tcpClients.pop(0)[2]
        factory.clientConnectionFailed(self.connectors.pop(0), Failure(ConnectionRefusedError()))

    def _join(self, factory: Any, address: str, port: int) -> FakeStreamTransport:
        stream = factory.buildProtocol(None)
        transport = FakeStreamTransport(
            stream, IPv4Address("TCP", "10.0.0.1", 5060), IPv4Address("TCP", address, port)
        )
        stream.makeConnection(transport)
        return transport


class RecordingReceiver:
    """
    A L{Receiver<sipxha.net.transports.Receiver>} that keeps what it is told.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[Message, Flow]] = []
        self.malformed: list[tuple[MalformedMessage, Flow]] = []
        self.failed: list[ClientKey | ServerKey] = []

    def message_received(self, message: Message, flow: Flow) -> None:
        """
        Keep it.
        """
        self.messages.append((message, flow))

    def malformed_received(self, error: MalformedMessage, flow: Flow) -> None:
        """
        Keep it.
        """
        self.malformed.append((error, flow))

    def answer_at_once(self, request: Request, flow: Flow) -> Response | None:
        """
        It cannot.
        """
        return None

    def send_failed(self, key: ClientKey | ServerKey) -> None:
        """
        Keep it.
        """
        self.failed.append(key)


@implementer(ITransactionUser)
class RecordingUser:
    """
    A transaction user that keeps what it is told.

    @ivar heard: Tuples that begin with the name of the method.

    @ivar answer: Called with each new request's arguments, if set.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.answer: Callable[[ServerKey, Request, Flow], None] | None = None

    def request_received(self, transaction: ServerKey, request: Request, flow: Flow) -> None:
        """
        Keep it, and answer it if so asked.
        """
        self.heard.append(("request", transaction, request, flow))
        if self.answer is not None:
            self.answer(transaction, request, flow)

    def ack_received(self, request: Request, flow: Flow) -> None:
        """
        Keep it.
        """
        self.heard.append(("ack", request, flow))

    def cancelled(self, transaction: ServerKey, reason: str | None = None) -> None:
        """
        Keep it.
        """
        self.heard.append(("cancelled", transaction))

    def answered_late(self, remains: Remains, response: Response) -> Remains:
        """
        Keep it, and add its status to what is left.
        """
        self.heard.append(("late", remains, response))
        return (*remains, response.status)

    def server_failed(self, transaction: ServerKey) -> None:
        """
        Keep it.
        """
        self.heard.append(("server failed", transaction))


@implementer(IBranchObserver)
class RecordingObserver:
    """
    An observer that keeps what it is told.

    @ivar heard: The status of each response, C{("failed", hop)} and
        C{("answered", hop)}, in order.

    @ivar responses: The responses themselves.
    """

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.responses: list[Response] = []

    def response_received(self, branch: Branch, response: Response) -> None:
        """
        Keep it.
        """
        self.heard.append(response.status)
        self.responses.append(response)

    def hop_failed(self, branch: Branch, hop: Hop | Flow) -> None:
        """
        Keep it.
        """
        self.heard.append(("failed", hop))

    def hop_answered(self, branch: Branch, hop: Hop | Flow) -> None:
        """
        Keep it.
        """
        self.heard.append(("answered", hop))


def counting_mint() -> Callable[[], str]:
    """
    A mint whose tokens are in order.
    """
    numbers = count(1)
    return lambda: f"minted{next(numbers):016}"


def a_request(
    method: str = "INVITE",
    *,
    uri: str = "sip:bob@example.com",
    via: str | None = "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-phone-1",
    to_tag: str = "",
    cseq: int = 1,
    cseq_method: str | None = None,
    call_id: str = "call-1@10.0.0.9",
    fields: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
) -> Request:
    """
    A request of alice's phone.
    """
    return Request(
        method,
        uri,
        [
            *([] if via is None else [("Via", via)]),
            ("Max-Forwards", "70"),
            ("From", "<sip:alice@example.com>;tag=alice-1"),
            ("To", f"<sip:bob@example.com>{to_tag and ';tag=' + to_tag}"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {cseq_method or method}"),
            *fields,
        ],
        body,
    )


def a_sibling(
    reactor: SipReactor,
    siblings: Siblings,
    address: str,
    port: int,
    user: RecordingUser,
    mint: Callable[[], str],
) -> Endpoint:
    """
    One of the endpoints of a process, started, and known by another address
    than it listens on.
    """
    ports = Ports(port, port)
    made = Endpoint(reactor, f"at {port}", ports, "0.0.0.0", address, user, mint, siblings=siblings)
    made.startService()
    return made
