"""
The sockets of one endpoint: RFC 3261 section 18.

Takes and gives back its ports, and says when that cannot be done; sends by
datagram or by one of the L{Connections}.  It changes no message and looks into
none but for the address in a response's top Via.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from sipxha.config.model import DEFAULT_LIMITS, Limits, Ports
from sipxha.errors import LocalError
from sipxha.net.connections import Connections
from sipxha.net.hep import Mirror
from sipxha.net.sip_tls import SipTls
from sipxha.net.traffic import count_request, no_messages
from sipxha.net.udp import MAX_DATAGRAM, SipDatagrams
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import MalformedMessage, Request, Response
from sipxha.sip.values import Message
from sipxha.transaction.vocabulary import ClientKey, ServerKey

BACKLOG = 512
"""Connections that may wait to be accepted: phones come back all at once."""

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}


class Receiver(Protocol):
    """
    Who is told what the sockets bring.
    """

    def message_received(self, message: Message, flow: Flow) -> None:
        """
        A message came in.
        """

    def malformed_received(self, error: MalformedMessage, flow: Flow) -> None:
        """
        Something came in that is no message.
        """

    def send_failed(self, key: ClientKey | ServerKey) -> None:
        """
        What was to be sent with this key could not be, or was lost with the
        connection that it took.  Never called while it is being sent.
        """


class CannotBind(LocalError):
    """
    A port is taken, or not ours to take.

    @ivar transport: C{"udp"}, C{"tcp"} or C{"tls"}.
    """

    def __init__(self, transport: str, address: str, port: int, why: str) -> None:
        host = f"[{address}]" if ":" in address else address
        super().__init__(f"cannot listen on {host}:{port}/{transport}: {why}")
        self.transport = transport
        self.address = address
        self.port = port


class Transports:
    """
    The UDP port, the TCP and TLS ports and the connections of one endpoint.

    @ivar receiver: Who is told what comes in.

    @ivar connections: Those over TCP and TLS.

    @ivar bound: The ports that are bound, by transport.

    @ivar sent: The messages that were given to a socket or handed to a sibling, repetitions included.
    """

    def __init__(
        self,
        reactor: Any,
        listen: str,
        ports: Ports,
        receiver: Receiver,
        tls: SipTls | None = None,
        limits: Limits = DEFAULT_LIMITS,
        is_neighbour: Callable[[str], bool] = lambda address: False,
        mirror: Mirror | None = None,
    ) -> None:
        """
        @param tls: Must be there if a TLS port is.
        @param is_neighbour: Whether an address is that of a server of ours,
            which may open any number of connections.
        @param mirror: Sees what passes through the sockets.
        """
        self.receiver = receiver
        self.sent = no_messages()
        self.connections = Connections(reactor, listen, receiver, tls, limits, is_neighbour, mirror)
        self._mirror = mirror
        self._reactor = reactor
        self._listen = listen
        self._limits = limits.message
        self._ports = {"udp": ports.udp, "tcp": ports.tcp, "tls": ports.tls}
        self._datagrams: SipDatagrams | None = None
        self._listening: list[IListeningPort] = []
        self.bound: dict[str, int] = {}

    def bind(self) -> None:
        """
        Take all ports, unless they are taken already.

        @raise CannotBind: One of them is not to be had; then none is kept.
        """
        if self._listening:
            return
        for transport, port in self._ports.items():
            if port is None:
                continue
            try:
                listening = self._bind(transport, port)
            except CannotListenError as error:
                self._release()
                raise CannotBind(transport, self._listen, port, str(error.socketError)) from error
            self._listening.append(listening)
            address: Any = listening.getHost()
            self.bound[transport] = address.port
        self.connections.is_wanted = True

    def _bind(self, transport: str, port: int) -> IListeningPort:
        listening: IListeningPort
        if transport == "udp":
            datagrams = SipDatagrams(self.receiver, self._limits, self._mirror)
            listening = self._reactor.listenUDP(port, datagrams, self._listen, MAX_DATAGRAM)
            self._datagrams = datagrams
        else:
            factory = self.connections.accepting(transport)
            listening = self._reactor.listenTCP(port, factory, BACKLOG, self._listen)
        return listening

    def _release(self) -> Deferred[Any]:
        listening, self._listening = self._listening, []
        self.bound.clear()
        self._datagrams = None
        return gatherResults([maybeDeferred(port.stopListening) for port in listening])

    def unbind(self) -> Deferred[None]:
        """
        Give back all ports and close all connections.
        """
        released = self._release()
        return self.connections.close().addCallback(lambda _: released).addCallback(lambda _: None)

    def port(self, transport: str) -> int | None:
        """
        The port for C{"udp"}, C{"tcp"} or C{"tls"}: the bound one, if it is.
        """
        return self.bound.get(transport, self._ports.get(transport))

    def speaks(self, hop: Hop | Flow) -> bool:
        """
        Whether we have the transport that this hop needs.
        """
        return hop.transport in self.bound

    # Sending

    def request(self, request: Request, hop: Hop | Flow, key: ClientKey | None) -> None:
        """
        L{send} a request, and count it.
        """
        count_request(self.sent[hop.transport], request.method)
        self.send(request.encode(), hop, key)

    def send(self, data: bytes, hop: Hop | Flow, key: ClientKey | ServerKey | None) -> None:
        """
        Send a request.  A L{Hop} over TCP uses any connection to its place,
        over TLS one whose far end has proved to be whom the hop is for; a
        L{Flow} only its own.

        @param key: Whom L{Receiver.send_failed} is told of, if anyone.
        """
        transport = hop.transport
        if transport == "udp" and self._datagrams is not None:
            if not self._datagrams.send(data, hop.address, hop.port):
                self.connections.fail_later(key)
        elif transport != "udp" and transport in self.bound:
            self.connections.send(data, hop, key)
        else:
            self.connections.fail_later(key)

    def respond(self, response: Response, flow: Flow, key: ServerKey | None) -> None:
        """
        Send a response the way that its request came, or as near as can be
        (RFC 3261 section 18.2.2, RFC 3581 section 4).
        """
        self.sent[flow.transport][response.status // 100] += 1
        data = response.encode()
        if flow.transport == "udp":
            address, port = flow.address, flow.port
            top = response.first_line("via")
            # The usual case is not worth parsing.
            if ";rport=" not in top or "maddr" in top:
                address, port = _reply_address(response, flow)
            self._send_datagram(data, address, port, key)
            return
        is_registered = key is not None and key.method == "REGISTER" and 200 <= response.status < 300
        has_timer = is_registered and response.has("flow-timer")
        if self.connections.answer(data, flow, is_registered=is_registered, has_timer=has_timer):
            return
        via = response.via
        port = via.port or DEFAULT_PORTS[flow.transport]
        self.send(data, Hop(flow.transport, flow.address, port, via.host.strip("[]").lower()), key)

    def repeat(self, data: bytes, flow: Flow, key: ServerKey) -> bool:
        """
        Send a response again, if its bytes tell where it goes.

        @return: Whether they do; if not, it has to be read, and L{respond}.
        """
        start = data.find(b"\r\n") + 2
        end = data.find(b"\r\n", start)
        top = data[start:end]
        is_usual = top.startswith(b"Via:") and b";rport=" in top and b"maddr" not in top
        if flow.transport != "udp" or not is_usual or data[end + 2 : end + 3] in b" \t":
            return False
        # SIP/2.0 and a space come before the status.
        self.sent["udp"][data[8] - 48] += 1
        self._send_datagram(data, flow.address, flow.port, key)
        return True

    def _send_datagram(self, data: bytes, address: str, port: int, key: ClientKey | ServerKey | None) -> None:
        if self._datagrams is None or not self._datagrams.send(data, address, port):
            self.connections.fail_later(key)

    def withdraw(self, hop: Hop | Flow, key: ClientKey) -> bool:
        """
        This transaction waits for its connection no longer.

        @return: Whether its request had not been sent yet, and now never will.
        """
        return hop.transport != "udp" and self.connections.withdraw(hop, key)


def _reply_address(response: Response, flow: Flow) -> tuple[str, int]:
    """
    Where an answer over UDP goes when the sender did not ask for its own port.
    """
    via = response.via
    maddr = (via.params.get("maddr") or "").strip("[]")
    if isIPAddress(maddr) or isIPv6Address(maddr):
        return maddr, via.port or DEFAULT_PORTS["udp"]
    if via.rport:
        return flow.address, flow.port
    return flow.address, via.port or DEFAULT_PORTS["udp"]
