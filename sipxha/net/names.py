"""
What DNS says about names, asked for once and remembered.

Turns records into values, follows aliases, and tells an answer that there is
nothing from no answer at all.  Who is asked is decided by
L{sipxha.net.dns.resolver_for}; what an answer means for a request, by
L{sipxha.routing.location}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.interfaces import IReactorTime, IResolver
from twisted.logger import Logger
from twisted.names import dns
from twisted.names.error import AuthoritativeDomainError, DNSNameError, DomainError
from twisted.python.failure import Failure

from sipxha.errors import LocalError
from sipxha.net.dns_client import QUERY_LIMIT
from sipxha.net.zone_server import LONGEST_ALIAS, Answer, alias_of
from sipxha.routing.location import Naptr, Srv, is_name

LONGEST_LIFE = 86_400.0
"""Seconds for which an answer is remembered at most, and for which it is kept beyond its end."""

NEGATIVE_LIFE = 300.0
"""Seconds for which the absence of a record is remembered at most (RFC 2308 section 5)."""

UNSIGNED_NEGATIVE_LIFE = 5.0
"""The same where no SOA says how long."""

FAILURE_LIFE = 5.0
"""Seconds for which a failure of DNS itself is remembered, so that not every call waits for it."""

REMEMBERED = 10_000
"""How many answers are kept; the oldest is forgotten first."""


TIMED_OUT = "no answer in time"


class DNSFailed(LocalError):
    """
    DNS gave no answer about a name, good or bad, and none is remembered.
    """

    status = 503

    def __init__(self, name: str, trouble: str) -> None:
        super().__init__(f"DNS says nothing about {name}: {trouble}")
        self.timed_out = trouble is TIMED_OUT


class _Remembered(NamedTuple):
    values: Sequence[Any]
    until: float
    """Until when nobody is asked again."""

    last_resort: float = 0.0
    """Until when the values may be used if DNS fails."""

    trouble: str | None = None
    """Why there are no values, where it is DNS that failed."""


def _text(name: dns.Name) -> str:
    return name.name.decode("ascii", "replace").lower()


def _srv(record: dns.Record_SRV) -> Srv:
    return Srv(record.priority, record.weight, record.port, _text(record.target))


def _naptr(record: dns.Record_NAPTR) -> Naptr:
    flags, service = (field.string.decode("ascii", "replace") for field in (record.flags, record.service))
    return Naptr(record.order, record.preference, flags, service, _text(record.replacement))


def _address(record: dns.Record_A | dns.Record_AAAA) -> str:
    assert record.address is not None
    return str(ip_address(record.address))


_VALUE_OF: Mapping[int, Callable[[Any], Any]] = {
    dns.A: _address,
    dns.AAAA: _address,
    dns.SRV: _srv,
    dns.NAPTR: _naptr,
}


class Names:
    """
    What DNS says about names: asked for once, and remembered.

    A record is used until its time to live is over, the absence of one for as
    long as the zone's SOA allows.  When DNS fails, what it said last is used
    for up to a day more (RFC 8767): calls go on when DNS does not.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, resolver: IResolver) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._remembered: dict[tuple[str, int], _Remembered] = {}
        self._waiting: dict[tuple[str, int], list[Deferred[Sequence[Any]]]] = {}

    def ask(self, name: str, record_type: int) -> Deferred[Sequence[Any]]:
        """
        Look up the records of one type of a name, aliases followed.

        @param record_type: A, AAAA, SRV or NAPTR, as twisted.names numbers them.

        @return: Fires with addresses as text, or L{Srv} or L{Naptr} values;
            with none if there are none or no such name.  Fails with
            L{DNSFailed}, and with nothing else, after L{QUERY_LIMIT} at most
            for each alias.
        """
        key = (name, record_type)
        held = self._remembered.get(key)
        if held is not None and held.until > self._reactor.seconds():
            return _result(name, held)
        answer: Deferred[Sequence[Any]] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(answer)
        else:
            self._waiting[key] = [answer]
            looked_up = Deferred.fromCoroutine(self._look_up(name, record_type))
            looked_up.addCallbacks(self._found, self._broken, (key,), {}, (key,))
        return answer

    def _found(self, found: _Remembered, key: tuple[str, int]) -> None:
        if found.trouble is not None:
            self._log.warn("DNS says nothing about {name}: {trouble}", name=key[0], trouble=found.trouble)
        self._remembered.pop(key, None)
        self._remembered[key] = found
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        for answer in self._waiting.pop(key):
            _result(key[0], found).chainDeferred(answer)

    def _broken(self, failure: Failure, key: tuple[str, int]) -> None:
        # Nobody is left waiting for what cannot come.
        for answer in self._waiting.pop(key):
            answer.errback(failure)

    async def _look_up(self, name: str, record_type: int) -> _Remembered:
        asked = name
        life = LONGEST_LIFE
        for _step in range(LONGEST_ALIAS):
            query = dns.Query(asked.encode("ascii"), record_type, dns.IN)
            answers: Sequence[dns.RRHeader] = ()
            authority: Sequence[dns.RRHeader] = ()
            try:
                # Twisted's annotation forgets that each section is a list.
                answer = cast(Deferred[Answer], self._resolver.query(query, (int(QUERY_LIMIT),)))
                answers, authority, _additional = await answer.addTimeout(QUERY_LIMIT, self._reactor)
            except TimeoutError:
                return self._without_dns((name, record_type), TIMED_OUT)
            except (DNSNameError, AuthoritativeDomainError) as no_such_name:
                authority = getattr(no_such_name.args[0], "authority", ())
            except DomainError as refusal:
                # Of a plain one nobody knows; a leaf is what a server had to say.
                if type(refusal) is not DomainError:
                    return self._without_dns((name, record_type), type(refusal).__name__)
            values, alias, life = _read(answers, asked, record_type, life)
            if values:
                until = self._reactor.seconds() + life
                return _Remembered(values, until, until + LONGEST_LIFE)
            if alias == asked:
                return _Remembered((), self._reactor.seconds() + min(life, _negative_life(authority)))
            asked = alias
        return _Remembered((), self._reactor.seconds() + UNSIGNED_NEGATIVE_LIFE)

    def _without_dns(self, key: tuple[str, int], trouble: str) -> _Remembered:
        """
        Fall back on what was known before, for a short while.
        """
        now = self._reactor.seconds()
        before = self._remembered.get(key)
        if before is not None and now < before.last_resort:
            return before._replace(until=now + FAILURE_LIFE)
        return _Remembered((), now + FAILURE_LIFE, trouble=trouble)


def _result(name: str, held: _Remembered) -> Deferred[Sequence[Any]]:
    return succeed(held.values) if held.trouble is None else fail(DNSFailed(name, held.trouble))


def _read(
    answers: Sequence[dns.RRHeader], name: str, record_type: int, life: float
) -> tuple[list[Any], str, float]:
    """
    Find the records of a name among the answers, through the aliases that are among them.

    Records of any other name are none of ours, however they came there.

    @return: The values, the name at which they were found or to ask for next,
        and for how long all this holds.
    """
    for _step in range(LONGEST_ALIAS):
        here = [header for header in answers if _text(header.name) == name]
        records = [header for header in here if header.type == record_type]
        if records:
            life = min(life, *(header.ttl for header in records))
            return [_VALUE_OF[record_type](header.payload) for header in records], name, life
        alias = next((header for header in here if header.type == dns.CNAME), None)
        if alias is None or not is_name(_text(alias_of(alias))):
            break
        life = min(life, alias.ttl)
        name = _text(alias_of(alias))
    return [], name, life


def _negative_life(authority: Iterable[dns.RRHeader]) -> float:
    """
    For how long there is nothing: what the zone's SOA says (RFC 2308 section 5).
    """
    for header in authority:
        if isinstance(header.payload, dns.Record_SOA):
            return min(float(header.ttl), float(header.payload.minimum), NEGATIVE_LIFE)
    return UNSIGNED_NEGATIVE_LIFE
