"""
Mirrors SIP to a collector, such as Homer: HEP version 3 over UDP.

Each message goes out once more, wrapped, as it was on the wire, but for what
could be used: answers to challenges and our own servers' identities are
masked.  Nothing waits for the collector, and nobody misses it: what cannot be
sent is counted and forgotten.  What passes between two services of one process
was on no wire and is not mirrored.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from sipxha.auth.identity import HEADER
from sipxha.sip.hop import Flow

_SIP = 1
_PROTOCOLS = {"udp": 17, "tcp": 6, "tls": 6}
_FAMILIES = {4: 2, 6: 10}
"""By version of IP: the numbers of the address families, as Linux has them."""

# Chunks of vendor 0.
_FAMILY, _PROTOCOL = 0x0001, 0x0002
_SOURCE, _TARGET = {4: 0x0003, 6: 0x0005}, {4: 0x0004, 6: 0x0006}
_SOURCE_PORT, _TARGET_PORT = 0x0007, 0x0008
_SECONDS, _MICROSECONDS = 0x0009, 0x000A
_KIND, _AGENT = 0x000B, 0x000C
_PAYLOAD, _CORRELATION, _NODE = 0x000F, 0x0011, 0x0013

_LONGEST = 65535
"""What the length of a packet can say."""

_RESPONSE = re.compile(rb'(?i)(\bresponse\s*=\s*)(?:"[^"]*"|[^\s,;"]*)')
_VALUE = rb"[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*"
_CREDENTIALS = re.compile(rb"(?im)^((?:proxy-)?authorization[ \t]*:)(?!\s*digest\s)" + _VALUE)
_IDENTITY = re.compile(rb"(?im)^(%s[ \t]*:)" % HEADER.encode() + _VALUE)
_CALL_ID = re.compile(rb"(?im)^(?:call-id|i)[ \t]*:[ \t]*([^\r\n]+?)[ \t]*\r?$")


def masked(message: bytes) -> bytes:
    """
    A message without what whoever reads it could use: the answers of digest
    credentials, all other credentials, and identities that our servers signed.
    """
    head, end, body = message.partition(b"\r\n\r\n")
    folded = head.lower()
    if b"authorization" in folded:
        head = _CREDENTIALS.sub(rb"\1 ***", _RESPONSE.sub(rb'\1"***"', head))
    if HEADER.lower().encode() in folded:
        head = _IDENTITY.sub(rb"\1 ***", head)
    return head + end + body


def encode(
    message: bytes,
    transport: str,
    source: tuple[str, int],
    target: tuple[str, int],
    now: float,
    agent: int,
    node: str,
) -> bytes:
    """
    Wrap a SIP message.

    @param source: Address and port that it came from.
    @param agent: The number of this node as the collector knows it.

    @raise MessageLengthError: It is too long to be wrapped.
    """
    here, there = _address(source[0]), _address(target[0])
    payload = masked(message)
    found = _CALL_ID.search(payload.partition(b"\r\n\r\n")[0])
    chunks = b"".join(
        (
            _chunk(_FAMILY, struct.pack("!B", _FAMILIES[here.version])),
            _chunk(_PROTOCOL, struct.pack("!B", _PROTOCOLS[transport])),
            _chunk(_SOURCE[here.version], here.packed),
            _chunk(_TARGET[there.version], there.packed),
            _chunk(_SOURCE_PORT, struct.pack("!H", source[1])),
            _chunk(_TARGET_PORT, struct.pack("!H", target[1])),
            _chunk(_SECONDS, struct.pack("!I", int(now) & 0xFFFFFFFF)),
            _chunk(_MICROSECONDS, struct.pack("!I", int(now % 1 * 1_000_000))),
            _chunk(_KIND, struct.pack("!B", _SIP)),
            _chunk(_AGENT, struct.pack("!I", agent)),
            _chunk(_NODE, node.encode()),
            _chunk(_CORRELATION, found[1]) if found is not None else b"",
            _chunk(_PAYLOAD, payload),
        )
    )
    return struct.pack("!4sH", b"HEP3", _fitting(6 + len(chunks))) + chunks


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    # A socket for both families shows those of IPv4 so.
    return getattr(address, "ipv4_mapped", None) or address


def _chunk(kind: int, value: bytes) -> bytes:
    return struct.pack("!HHH", 0, kind, _fitting(6 + len(value))) + value


def _fitting(length: int) -> int:
    if length > _LONGEST:
        raise MessageLengthError(f"{length} bytes")
    return length


class Mirror(Service):
    """
    The way to a collector.

    @ivar sent: How many messages were given to the network.
    @ivar lost: How many could not be.
    """

    def __init__(
        self, reactor: Any, collector: tuple[str, int], agent: int, node: str, advertised: str
    ) -> None:
        """
        @param collector: Its address and port.
        @param agent: The number of this node, by which the collector knows it.
        @param advertised: The address of this node where a socket is bound to all.
        """
        self.sent = 0
        self.lost = 0
        self._reactor = reactor
        self._collector = collector
        self._agent = agent
        self._node = node
        self._advertised = advertised
        self._port: Any = None
        self._protocol = _Sender()

    def startService(self) -> None:
        """
        Take a port to send from.
        """
        super().startService()
        everywhere = "::" if ":" in self._collector[0] else "0.0.0.0"
        self._port = self._reactor.listenUDP(0, self._protocol, everywhere)

    def stopService(self) -> Deferred[None]:
        """
        Give it back.
        """
        super().stopService()
        port, self._port = self._port, None
        return succeed(None) if port is None else maybeDeferred(port.stopListening)

    def received(self, message: bytes, flow: Flow) -> None:
        """
        Mirror what came in.
        """
        self._mirror(message, flow, (flow.address, flow.port), self._local(flow))

    def left(self, message: bytes, flow: Flow) -> None:
        """
        Mirror what went out.
        """
        self._mirror(message, flow, self._local(flow), (flow.address, flow.port))

    def _local(self, flow: Flow) -> tuple[str, int]:
        is_all = flow.local_address in ("0.0.0.0", "::", "")
        return self._advertised if is_all else flow.local_address, flow.local_port

    def _mirror(self, message: bytes, flow: Flow, source: tuple[str, int], target: tuple[str, int]) -> None:
        if self._port is None:
            return
        try:
            packet = encode(
                message, flow.transport, source, target, self._reactor.seconds(), self._agent, self._node
            )
            self._protocol.transport.write(packet, self._collector)
        except (OSError, MessageLengthError):
            # Where nobody listens, or there is no way, the next one may have more luck.
            self.lost += 1
        else:
            self.sent += 1


class _Sender(DatagramProtocol):
    """
    Says nothing of its own, and hears nothing.
    """

    noisy = False
    transport: IUDPTransport
