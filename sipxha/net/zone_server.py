"""
DNS records that we answer ourselves.

L{Zone} answers from records that L{sipxha.config.zone} has read: for a node
with C{<dns zone="…"/>} in its own process, and for demos and tests through
L{serve_zone} on a real port.  Nothing here asks another server, transfers a
zone or refers to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from dns.rdata import Rdata
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import DomainError
from twisted.names.server import DNSServerFactory

from sipxha.config.zone import ZoneRecord, parse_zone, read_zone

Answer = tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]]
"""The answer, authority and additional sections."""

LONGEST_ALIAS = 5
"""How many CNAMEs are followed in a row."""


class Zone(ResolverBase):
    """
    An L{twisted.internet.interfaces.IResolver} over some records.

    It need not hold a whole zone, and mostly holds a fragment of one.  What the
    records say about a host is taken as all there is about that host and its
    services (C{_sip._tcp.HOST}); of other names, also of the same domain, it
    knows nothing and fails with L{DomainError}, so that another resolver may
    be asked.
    """

    def __init__(self, records: Iterable[ZoneRecord]) -> None:
        super().__init__()
        self._records: dict[bytes, list[dns.RRHeader]] = {}
        self._hosts: set[bytes] = set()
        for owner, ttl, rdata in records:
            name = owner.to_text(omit_final_dot=True).lower().encode("ascii")
            header = dns.RRHeader(name, int(rdata.rdtype), dns.IN, ttl, _payload(rdata, ttl), auth=True)
            self._records.setdefault(name, []).append(header)
            self._hosts.add(_host(name))

    def _lookup(self, name: bytes, cls: int, type: int, timeout: object) -> Deferred[Answer]:
        name = name.lower().removesuffix(b".")
        if _host(name) not in self._hosts:
            return fail(DomainError(name))
        found: list[dns.RRHeader] = []
        for _step in range(LONGEST_ALIAS):
            here = self._records.get(name, [])
            found += [header for header in here if type in (header.type, dns.ALL_RECORDS)]
            aliases = [header for header in here if header.type == dns.CNAME]
            if not aliases or type in (dns.CNAME, dns.ALL_RECORDS):
                break
            found += aliases
            name = alias_of(aliases[0]).name.lower()
        return succeed((found, [], []))


def alias_of(header: dns.RRHeader) -> dns.Name:
    """
    What a CNAME record leads to.
    """
    record = header.payload
    assert isinstance(record, dns.Record_CNAME)
    return record.name


def _host(name: bytes) -> bytes:
    """
    The host whose service a name like C{_sip._tcp.example.com} is, or the name itself.
    """
    while name.startswith(b"_"):
        _label, _dot, name = name.partition(b".")
    return name


def _payload(rdata: Rdata, ttl: int) -> dns.IEncodableRecord:
    """
    Turn dnspython's record into one of Twisted's, through the form that both know.
    """
    wire = rdata.to_wire()
    assert wire is not None  # there is no file to write to
    record = dns.Message().lookupRecordType(int(rdata.rdtype))(ttl=ttl)
    record.decode(BytesIO(wire), len(wire))
    return record


class ZoneServer:
    """
    A DNS server over UDP and TCP on one port; L{serve_zone} makes it.
    """

    def __init__(self, factory: DNSServerFactory, ports: Sequence[IListeningPort], port: int) -> None:
        self._factory = factory
        self._ports = ports
        self.port = port

    def stop(self) -> Deferred[None]:
        """
        Close the port and what is open on it.
        """
        for connection in list(self._factory.connections):
            connection.transport.abortConnection()
        closed = gatherResults(
            [maybeDeferred(port.stopListening) for port in self._ports], consumeErrors=True
        )
        return closed.addCallback(lambda _: None)


class _QuietFactory(DNSServerFactory):
    noisy = False


class _QuietDatagrams(dns.DNSDatagramProtocol):
    noisy = False


def serve_zone(reactor: Any, zone: Path | str, address: str = "127.0.0.1", port: int = 0) -> ZoneServer:
    """
    Answer DNS questions on a port from a zone file, or from the text of one.

    @param reactor: With TCP, UDP and time.
    @param port: 0 for any that is free for both UDP and TCP.

    @raise ZoneUnreadable: When the zone is wrong.
    @raise CannotListenError: When the port is taken.
    """
    records = read_zone(zone) if isinstance(zone, Path) else parse_zone(zone)
    factory = _QuietFactory(authorities=[Zone(records)])
    for attempts_left in range(0 if port else 9, -1, -1):
        stream = reactor.listenTCP(port, factory, interface=address)
        chosen = cast(IPv4Address | IPv6Address, stream.getHost()).port
        try:
            datagrams = reactor.listenUDP(
                chosen, _QuietDatagrams(factory, reactor=reactor), interface=address, maxPacketSize=4096
            )
        except CannotListenError:
            stream.stopListening()
            if not attempts_left:
                raise
        else:
            return ZoneServer(factory, (stream, datagrams), chosen)
    raise AssertionError("the last attempt returns or raises")
