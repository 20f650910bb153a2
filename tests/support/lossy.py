"""
A network that loses datagrams, for whoever is given this reactor.

The sockets are real; what is lost is lost between them and their protocols,
in either direction.  Streams are left alone: TCP repairs what it loses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import DatagramProtocol


class LossyReactor:
    """
    A reactor whose UDP ports lose some of what they send and receive.

    @ivar lost: datagrams that nobody will see.

    @ivar carried: those that went through.
    """

    def __init__(self, reactor: Any, loses: Callable[[], bool]) -> None:
        """
        @param loses: asked of each datagram.
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

    def passes(self) -> bool:
        """
        Decide about one datagram.
        """
        if self._loses():
            self.lost += 1
            return False
        self.carried += 1
        return True


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
        if self._network.passes():
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
        if self._network.passes():
            self._transport.write(packet, addr)
