"""
Datagrams in, messages out, and back.

Knows no transaction: what it cannot read it reports, what it cannot send it
says so.  RFC 3261 section 18.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from sipxha.net.stun import binding_answer, is_stun
from sipxha.sip.hop import Flow
from sipxha.sip.limits import DEFAULT, MessageLimits
from sipxha.sip.message import MalformedMessage
from sipxha.sip.parser import parse_message

if TYPE_CHECKING:
    from sipxha.net.hep import Mirror
    from sipxha.net.transports import Receiver

_new = tuple.__new__

MAX_DATAGRAM = 65535
"""RFC 3261 section 18.1.1: whatever UDP can carry is taken."""

RECEIVE_BUFFER = 4 * 1024 * 1024
"""
Bytes that the kernel is asked to keep while we are busy; it may give less.
Without it a burst of some hundred REGISTERs is lost and comes again as many.
"""


class SipDatagrams(DatagramProtocol):
    """
    The UDP port of one endpoint.
    """

    noisy = False
    transport: IUDPTransport

    def __init__(
        self, receiver: Receiver, limits: MessageLimits = DEFAULT, mirror: Mirror | None = None
    ) -> None:
        self._receiver = receiver
        self._mirror = mirror
        self._limits = limits
        self._local = ("", 0)

    def startProtocol(self) -> None:
        """
        The port is bound.
        """
        host = self.transport.getHost()
        self._local = (host.host, host.port)
        handle = getattr(self.transport, "socket", None)
        if handle is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        One datagram came in; without a letter in it, it is a keep-alive: line
        ends, a zero or two, or STUN, which is answered (O10).
        """
        if len(datagram) <= 4 and not datagram.strip(b"\r\n \t\0"):
            return
        if is_stun(datagram):
            answer = binding_answer(datagram, *addr[:2])
            if answer is not None:
                self.send(answer, *addr[:2])
            return
        # Past the constructor of a named tuple, which is slow.
        flow = _new(Flow, ("udp", addr[0], addr[1], *self._local, 0))
        if self._mirror is not None:
            self._mirror.received(datagram, flow)
        try:
            message = parse_message(datagram, self._limits)
        except MalformedMessage as error:
            self._receiver.malformed_received(error, flow)
        else:
            self._receiver.message_received(message, flow)

    def send(self, data: bytes, address: str, port: int) -> bool:
        """
        Send one datagram.

        @return: Whether it could leave; not whether it arrives.
        """
        if self._mirror is not None and data[:1].isalpha():
            # Neither STUN nor what keeps a NAT awake.
            self._mirror.left(data, Flow("udp", address, port, *self._local))
        try:
            self.transport.write(data, (address, port))
        except MessageLengthError:
            return False
        except OSError as error:
            # No room for now is a loss like any other: it is sent again.
            return error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)
        return True
