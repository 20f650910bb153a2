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
from functools import lru_cache
from ipaddress import ip_address
from struct import Struct
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

_CORRELATION, _NODE, _PAYLOAD = 0x0011, 0x0013, 0x000F
"""Chunks of vendor 0 of which each packet has its own length; all others stand in L{_heads}."""

_CHUNK = Struct("!HHH")

_LONGEST = 65535
"""What the length of a packet can say."""

_VALUE = rb"[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*"
_MASKS = (
    (b"response", re.compile(rb'(?i)(response\s*=\s*)(?:"[^"]*"|[^\s,;"]*)'), b'"***"'),
    (b"authorization", re.compile(rb"(?i)(authorization[ \t]*:)(?!\s*digest\s)" + _VALUE), b" ***"),
    (HEADER.lower().encode(), re.compile(rb"(?i)(%s[ \t]*:)" % HEADER.encode() + _VALUE), b" ***"),
)
"""What may need a mask, how it is recognised where that word stands, and what is put in place of it."""

_CALL_ID = re.compile(rb"(?im)^(?:call-id|i)[ \t]*:([^\r\n]*)")


def masked(message: bytes) -> bytes:
    """
    A message without what whoever reads it could use: the answers of digest
    credentials, all other credentials, and identities that our servers signed.
    """
    head, end, body = message.partition(b"\r\n\r\n")
    folded = head.lower()
    if b"authorization" not in folded and _MASKS[-1][0] not in folded:
        return message
    for word, pattern, mask in _MASKS:
        head = _masked(head, word, pattern, mask)
    return head + end + body


def _masked(head: bytes, word: bytes, pattern: re.Pattern[bytes], mask: bytes) -> bytes:
    """
    Mask wherever the word stands and the pattern fits: to look for the pattern
    itself costs several times as much.
    """
    folded = head.lower()
    parts, done = [], 0
    start = folded.find(word)
    while start >= 0:
        match = pattern.match(head, start) if start >= done else None
        if match is not None:
            parts += [head[done : match.end(1)], mask]
            done = match.end()
        start = folded.find(word, start + 1)
    return b"".join((*parts, head[done:]))


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
    family, here = _address(source[0])
    _, there = _address(target[0])
    payload = masked(message)
    call_id = _call_id(message.partition(b"\r\n\r\n")[0])
    rest = b"".join(
        (
            _chunk(_NODE, node.encode()),
            b"" if call_id is None else _chunk(_CORRELATION, call_id),
            _chunk(_PAYLOAD, payload),
        )
    )
    fixed, source_kind, target_kind = _HEADS[family]
    length = 6 + len(here)
    return (
        fixed.pack(
            *(b"HEP3", _fitting(fixed.size + len(rest))),
            *(0, 0x0001, 7, family),
            *(0, 0x0002, 7, _PROTOCOLS[transport]),
            *(0, source_kind, length, here),
            *(0, target_kind, length, there),
            *(0, 0x0007, 8, source[1]),
            *(0, 0x0008, 8, target[1]),
            *(0, 0x0009, 10, int(now) & 0xFFFFFFFF),
            *(0, 0x000A, 10, int(now % 1 * 1_000_000)),
            *(0, 0x000B, 7, _SIP),
            *(0, 0x000C, 10, agent),
        )
        + rest
    )


_HEADS: dict[int, tuple[Struct, int, int]] = {
    family: (Struct(f"!4sH HHHB HHHB HHH{size}s HHH{size}s HHHH HHHH HHHI HHHI HHHB HHHI"), *kinds)
    for family, size, kinds in ((2, 4, (0x0003, 0x0004)), (10, 16, (0x0005, 0x0006)))
}
"""
By address family: "HEP3" and the length of all, then family, protocol, source, target, both
ports, seconds, microseconds, kind and agent, each after vendor, type and length; and the types of the
two addresses.
"""


@lru_cache(maxsize=4096)
def _address(text: str) -> tuple[int, bytes]:
    """
    @return: Its family, and its bytes.
    """
    address = ip_address(text.partition("%")[0])
    # A socket for both families shows those of IPv4 so.
    plain = getattr(address, "ipv4_mapped", None) or address
    return _FAMILIES[plain.version], plain.packed


def _call_id(head: bytes) -> bytes | None:
    start = head.find(b"\r\nCall-ID:")
    if start >= 0:
        # As nearly everybody writes it.
        return head[start + 10 :].partition(b"\r\n")[0].strip()
    found = _CALL_ID.search(head)
    return None if found is None else found[1].strip()


def _chunk(kind: int, value: bytes) -> bytes:
    return _CHUNK.pack(0, kind, _fitting(6 + len(value))) + value


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
