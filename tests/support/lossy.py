"""
A network that loses datagrams, for whoever is given this reactor.

The sockets are real; what is lost is lost between them and their protocols,
in either direction.  Streams are left alone: TCP repairs what it loses.
A L{Wire} is one that loses what it is told to, and keeps a trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import DatagramProtocol

from sipxha.sip.message import Response
from sipxha.sip.parser import parse_message


class LossyReactor:
    """
    A reactor whose UDP ports lose some of what they send and receive.

    @ivar lost: datagrams that nobody will see.

    @ivar carried: those that went through.
    """

    def __init__(self, reactor: Any, loses: Callable[[bytes, bool], bool]) -> None:
        """
        @param loses: asked of each datagram, and whether it is sent from here.
        """
        self.lost = 0
        self.carried = 0
        self._reactor = reactor
        self._loses = loses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> Any:
        """
        As the reactor does, but for the losses.
        """
        return self._reactor.listenUDP(port, _Lossy(self, protocol), interface, maxPacketSize)

    def passes(self, datagram: bytes, is_sent: bool) -> bool:
        """
        Decide about one datagram.
        """
        if self._loses(datagram, is_sent):
            self.lost += 1
            return False
        self.carried += 1
        return True


class Wire(LossyReactor):
    """
    The datagrams of one phone, as somebody beside it sees them.

    @ivar traces: what it said (C{>}) and heard (C{<}) in each call, in order:
        C{> INVITE}, C{< 180 INVITE}.  What is lost is there, too.
    """

    def __init__(self, reactor: Any, plan: Callable[[int], int | None] = lambda number: None) -> None:
        """
        @param plan: which message of a call is lost, counted from 0; of the
            first call that is seen here, the second, and so on.  C{-1} means
            that all are.
        """
        super().__init__(reactor, self._loses_it)
        self.traces: dict[str, list[str]] = {}
        self._plan = plan
        self._lost: dict[str, int | None] = {}

    def _loses_it(self, datagram: bytes, is_sent: bool) -> bool:
        if not datagram.strip():
            return False
        message = parse_message(datagram)
        method = message.cseq.method
        what = f"{message.status} {method}" if isinstance(message, Response) else method
        call_id = message.call_id
        trace = self.traces.setdefault(call_id, [])
        if call_id not in self._lost:
            self._lost[call_id] = self._plan(len(self._lost))
        trace.append(f"{'>' if is_sent else '<'} {what}")
        return self._lost[call_id] in (-1, len(trace) - 1)


class _Lossy(DatagramProtocol):
    noisy = False

    def __init__(self, network: LossyReactor, inner: Any) -> None:
        self._network = network
        self._inner = inner

    def startProtocol(self) -> None:
        self._inner.makeConnection(_LossyTransport(self._network, self.transport))

    def stopProtocol(self) -> None:
        self._inner.doStop()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if self._network.passes(datagram, False):
            self._inner.datagramReceived(datagram, addr)

    def connectionRefused(self) -> None:
        self._inner.connectionRefused()


class _LossyTransport:
    def __init__(self, network: LossyReactor, transport: Any) -> None:
        self._network = network
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        if self._network.passes(packet, True):
            self._transport.write(packet, addr)
