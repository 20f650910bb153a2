"""
STUN on the SIP port: which address a phone has, seen from here.

Answers a Binding request with XOR-MAPPED-ADDRESS (RFC 8489, as far as RFC 5626
section 3.5.2 needs it), so that a phone behind a NAT can keep its mapping and
sees when it changes.  Whatever else is sent is not answered: no credentials,
no relaying, no requests of our own.
"""

from __future__ import annotations

from ipaddress import ip_address
from struct import Struct
from zlib import crc32

_HEADER = Struct("!HHI12s")
_ATTRIBUTE = Struct("!HH")
_COOKIE = 0x2112A442
_BINDING_REQUEST = 0x0001
_BINDING_SUCCESS = 0x0101
_BINDING_ERROR = 0x0111
_ERROR_CODE = 0x0009
_UNKNOWN_ATTRIBUTES = 0x000A
_XOR_MAPPED_ADDRESS = 0x0020
_FINGERPRINT = 0x8028
_FINGERPRINT_MASK = 0x5354554E
_OPTIONAL = 0x8000
"""From here on attributes may be ignored by who does not know them."""

_UNKNOWN_MOST = 8
"""How many unknown attributes an answer names, so that it stays as small as what it answers."""


def is_stun(datagram: bytes) -> bool:
    """
    Whether a datagram is STUN, which no SIP message can be: that begins with a letter.
    """
    return datagram[0] < 4 and len(datagram) >= _HEADER.size and datagram[4:8] == b"\x21\x12\xa4\x42"


def binding_answer(datagram: bytes, address: str, port: int) -> bytes | None:
    """
    @param datagram: That L{is_stun}.

    @return: What to send back to where it came from; C{None} for what is no
        Binding request, or is damaged.
    """
    kind, length, _, transaction = _HEADER.unpack_from(datagram)
    if kind != _BINDING_REQUEST or length % 4 or length != len(datagram) - _HEADER.size:
        return None
    unknown = []
    place = _HEADER.size
    while place < len(datagram):
        name, size = _ATTRIBUTE.unpack_from(datagram, place)
        end = place + _ATTRIBUTE.size + (size + 3) // 4 * 4
        if end > len(datagram):
            return None
        if name == _FINGERPRINT:
            if size != 4 or end != len(datagram) or datagram[-4:] != _fingerprint(datagram[:place]):
                return None
        elif name < _OPTIONAL:
            unknown.append(name)
        place = end
    if unknown:
        names = b"".join([name.to_bytes(2) for name in unknown[:_UNKNOWN_MOST]])
        body = _attribute(_ERROR_CODE, b"\0\0\4\x14") + _attribute(_UNKNOWN_ATTRIBUTES, names)
        return _message(_BINDING_ERROR, transaction, body)
    ip = ip_address(address.partition("%")[0])
    mask = _COOKIE.to_bytes(4) + transaction
    packed = bytes(each ^ other for each, other in zip(ip.packed, mask, strict=False))
    mapped = b"\0%c" % (1 if ip.version == 4 else 2) + (port ^ _COOKIE >> 16).to_bytes(2) + packed
    return _message(_BINDING_SUCCESS, transaction, _attribute(_XOR_MAPPED_ADDRESS, mapped))


def _attribute(name: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(name, len(value)) + value + bytes(-len(value) % 4)


def _message(kind: int, transaction: bytes, body: bytes) -> bytes:
    """
    With a FINGERPRINT, since the port is shared with SIP.
    """
    head = _HEADER.pack(kind, len(body) + 8, _COOKIE, transaction) + body
    return head + _attribute(_FINGERPRINT, _fingerprint(head))


def _fingerprint(before: bytes) -> bytes:
    """
    @param before: The message up to its last attribute, its length counting that.
    """
    return (crc32(before) ^ _FINGERPRINT_MASK).to_bytes(4)
