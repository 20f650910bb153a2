"""
What a DNS server says, beside what a cluster needs.

The records that are needed come from L{sipxha.config.zone}; what is there is
asked for elsewhere.  Lifetimes are the operator's own business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dns.name import Name
from dns.rdata import Rdata
from dns.rdatatype import RdataType

from sipxha.config.zone import ZoneRecord

Question = tuple[Name, RdataType]
Needs = dict[Question, frozenset[Rdata]]


class Finding(NamedTuple):
    """
    How it stands with the records of one name and type.
    """

    name: str
    type: str
    state: str
    """C{ok}, C{missing} (there are none), C{differs}, or C{no answer}."""

    missing: tuple[str, ...] = ()
    """What should be there, as in a zone file."""

    unexpected: tuple[str, ...] = ()
    """What should not."""


def needs_of(records: Iterable[ZoneRecord]) -> Needs:
    """
    Gather records by name and type, in the order of their first.
    """
    found: dict[Question, set[Rdata]] = {}
    for record in records:
        found.setdefault((record.owner, record.rdata.rdtype), set()).add(record.rdata)
    return {question: frozenset(values) for question, values in found.items()}


def compare(needs: Needs, there: Mapping[Question, frozenset[Rdata] | None]) -> list[Finding]:
    """
    Say of each name and type what is wrong.

    Other services of the domain that NAPTR records name are none of ours.

    @param there: What the server has; C{None} where it gave no answer.
    """
    return [_finding(*question, needed, there[question]) for question, needed in needs.items()]


def _finding(
    name: Name, kind: RdataType, needed: frozenset[Rdata], there: frozenset[Rdata] | None
) -> Finding:
    shown = name.to_text(omit_final_dot=True), kind.name
    if there is None:
        return Finding(*shown, "no answer")
    if kind == RdataType.NAPTR:
        ours = {_service(record) for record in needed}
        there = frozenset(record for record in there if _service(record) in ours)
    missing, unexpected = needed - there, there - needed
    state = "ok" if not (missing or unexpected) else "differs" if there else "missing"
    return Finding(*shown, state, _texts(missing), _texts(unexpected))


def _service(record: Rdata) -> bytes:
    # Only NAPTR records come here, whose class is made by dnspython as it goes.
    service: bytes = record.service  # type: ignore[attr-defined]
    return service.upper()


def _texts(records: Iterable[Rdata]) -> tuple[str, ...]:
    return tuple(sorted(record.to_text() for record in records))
