"""
The DNS records that a cluster needs, as text, and such text read back.

L{zone_text} writes the fragment that C{sipxha dns} prints and C{sipxha init}
saves: phones find the domain by it, and the proxies find the registrar and the
authproxy of every node.  L{read_zone} reads any file of such records.  Nothing
here answers a query or asks one; that is L{sipxha.net.dns}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from dns.exception import DNSException
from dns.exception import SyntaxError as DNSSyntaxError
from dns.name import Name, root
from dns.rdata import Rdata
from dns.zone import from_text

from sipxha.config.model import Ports
from sipxha.errors import LocalError

TTL = 600
"""Seconds for which others may remember our records: short, so that a changed node is soon known."""

DEFAULT_TTL = 3600
"""For records in a file that names no lifetime."""

_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)


class NotAHostName(LocalError):
    """
    A name cannot stand in DNS: letters, digits and hyphens between dots are allowed.
    """


class ZoneUnreadable(LocalError):
    """
    A zone file cannot be used; the message names the file and, where one is to blame, the line.
    """


class ZonePorts(NamedTuple):
    """
    Where the services of every node listen; C{None} for a service that no node offers.
    """

    proxy: Ports | None = Ports(5060, 5060, 5061)
    registrar: Ports | None = Ports(5070, 5070, 5071)
    authproxy: Ports | None = Ports(5080, 5080, 5081)


STANDARD_PORTS = ZonePorts()


class ZoneRecord(NamedTuple):
    """
    One record of a zone file, as dnspython understood it.
    """

    owner: Name
    ttl: int
    rdata: Rdata


class _Record(NamedTuple):
    owner: str
    type: str
    value: str


class _Block(NamedTuple):
    comment: str
    records: list[_Record]


def host_name(text: str) -> str:
    """
    The usual form of a name: in lower case, and without a final dot.

    @raise NotAHostName: When it is none.
    """
    name = text.lower().removesuffix(".")
    if _HOST_NAME.fullmatch(name) is None:
        raise NotAHostName(f"{text!r} is not a host name")
    return name


def zone_text(
    domain: str,
    nodes: Sequence[tuple[str, str | None]],
    ports: ZonePorts = STANDARD_PORTS,
    apex: bool = False,
) -> str:
    """
    Write the records of a cluster as a fragment of a BIND zone file.

    Every name is complete, with its final dot, so that the fragment means the
    same in whatever zone it is included.

    @param nodes: Name and advertised address of every node.  C{None} for an
        address means that the record stands in another zone; a comment says so.
    @param apex: Whether the bare domain gets the addresses of all nodes, for
        phones that know neither NAPTR nor SRV.

    @raise NotAHostName: For a name that DNS, and this text, could not carry.
    """
    zone = host_name(domain) + "."
    servers = [(host_name(name) + ".", address) for name, address in nodes]
    blocks = [
        *_front_door(zone, servers, ports.proxy),
        *_services(servers, ports),
        _addresses(servers),
    ]
    if apex:
        blocks.append(_apex(zone, servers))
    width = max((len(record.owner) for block in blocks for record in block.records), default=0)
    lines = [
        f"; The DNS records of the SIP domain {zone[:-1]}, written by sipxha dns.",
        "; Include them in the zone of the domain; nothing else about the domain changes.",
    ]
    for block in blocks:
        lines.append("")
        lines += [f"; {line}" for line in block.comment.splitlines()]
        lines += [f"{owner:<{width}} {TTL} IN {type_:<5} {value}" for owner, type_, value in block.records]
    return "\n".join(lines) + "\n"


def _front_door(
    zone: str, servers: Sequence[tuple[str, str | None]], ports: Ports | None
) -> Iterator[_Block]:
    """
    How the world finds the domain: NAPTR for the transport, SRV for the nodes.
    """
    if ports is None:
        return
    offered = [
        (order, protocol, service, port)
        for order, protocol, service, port in (
            (50, "SIP+D2T", "_sip._tcp", ports.tcp),
            (90, "SIP+D2U", "_sip._udp", ports.udp),
            (100, "SIPS+D2T", "_sips._tcp", ports.tls),
        )
        if port
    ]
    yield _Block(
        "Which transport to use for the domain: the lowest first number is tried first (RFC 3263).",
        [
            _Record(zone, "NAPTR", f'{order} 50 "s" "{protocol}" "" {service}.{zone}')
            for order, protocol, service, _port in offered
        ],
    )
    yield _Block(
        "The forking proxies, where phones and the world enter.\n"
        "Priority, weight, port, server: they share the load, and step in for each other.",
        [
            _Record(f"{service}.{zone}", "SRV", f"1 100 {port} {name}")
            for _order, _protocol, service, port in offered
            for name, _address in servers
        ],
    )


def _services(servers: Sequence[tuple[str, str | None]], ports: ZonePorts) -> Iterator[_Block]:
    """
    How the proxies of one node find its registrar and its authproxy, and who steps in.
    """
    for name, _address in servers:
        if ports.registrar is not None:
            yield _Block(
                f"The registrar as {name[:-1]} sees it: its own first, then the others.\n"
                "Never UDP, so that a dead one is noticed at once.",
                [
                    *_own_first("_sip._tcp", "rr", name, servers, ports.registrar.tcp, 1),
                    *_own_first("_sips._tcp", "rr", name, servers, ports.registrar.tls, 1),
                ],
            )
        if ports.authproxy is not None:
            yield _Block(
                f"The authproxy as {name[:-1]} sees it: TCP before UDP, its own before the others.",
                [
                    *_own_first("_sip._tcp", "ap", name, servers, ports.authproxy.tcp, 1),
                    *_own_first("_sip._udp", "ap", name, servers, ports.authproxy.udp, 3),
                    *_own_first("_sips._tcp", "ap", name, servers, ports.authproxy.tls, 1),
                ],
            )


def _own_first(
    protocol: str,
    service: str,
    node: str,
    servers: Sequence[tuple[str, str | None]],
    port: int | None,
    priority: int,
) -> Iterator[_Record]:
    """
    SRV records of one service of one node: its own server at C{priority}, the others one below.
    """
    if port is None:
        return
    owner = f"{protocol}.{service}.{node}"
    yield _Record(owner, "SRV", f"{priority} 0 {port} {node}")
    for name, _address in servers:
        if name != node:
            yield _Record(owner, "SRV", f"{priority + 1} 100 {port} {name}")


def _addresses(servers: Sequence[tuple[str, str | None]]) -> _Block:
    missing = [name[:-1] for name, address in servers if address is None]
    comment = "The addresses of the nodes."
    if missing:
        comment += f"\nNot known here, so its record must exist elsewhere: {', '.join(missing)}"
    return _Block(
        comment, [_address_record(name, address) for name, address in servers if address is not None]
    )


def _apex(zone: str, servers: Sequence[tuple[str, str | None]]) -> _Block:
    return _Block(
        "The bare domain, for phones that know neither NAPTR nor SRV.\n"
        "Leave this out where the domain's own name belongs to a web or mail server.",
        [_address_record(zone, address) for _name, address in servers if address is not None],
    )


def _address_record(name: str, address: str) -> _Record:
    parsed = ip_address(address)
    return _Record(name, "A" if parsed.version == 4 else "AAAA", str(parsed))


def read_zone(path: Path) -> list[ZoneRecord]:
    """
    Read a file of DNS records: a fragment as L{zone_text} writes it.

    @raise ZoneUnreadable: Naming the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "it is not text"
        raise ZoneUnreadable(f"{path}: the zone file cannot be read: {reason}") from failure
    return parse_zone(text, str(path))


def parse_zone(text: str, origin: str = "zone") -> list[ZoneRecord]:
    """
    Read DNS records from text.

    C{$ORIGIN} and C{$TTL} are understood; C{$INCLUDE} and C{$GENERATE} are not,
    nor the SOA of a whole zone.  Before an C{$ORIGIN} a name without a final
    dot is taken as complete.

    @param origin: What to call the text in a complaint.

    @raise ZoneUnreadable: Naming C{origin} and the line.
    """
    try:
        return _records(text)
    except DNSSyntaxError as failure:
        _, reported, what = str(failure).split(":", 2)
        raise ZoneUnreadable(f"{origin}:{_line_at_fault(text, int(reported))}:{what}") from failure
    except (DNSException, ValueError) as failure:
        raise ZoneUnreadable(f"{origin}: {failure}") from failure


def _records(text: str) -> list[ZoneRecord]:
    zone = from_text(
        f"$TTL {DEFAULT_TTL}\n{text}",
        origin=root,
        relativize=False,
        filename="",
        check_origin=False,
        allow_directives=("$ORIGIN", "$TTL"),
    )
    return [ZoneRecord(*record) for record in zone.iterate_rdatas()]


def _line_at_fault(text: str, reported: int) -> int:
    """
    The line to look at, counted from 1.

    The parser counts one line too many when it stumbles over the last word of
    a line, and we put one line in front: so it is the line before when the
    text up to there is already wrong.
    """
    line = reported - 1
    before = "\n".join(text.split("\n")[: line - 1])
    try:
        _records(before)
    except (DNSException, ValueError):
        return line - 1
    return line
