"""
Asks one DNS server for what a cluster needs, for a command that waits.

It blocks, so nothing that runs in a reactor may use it.  What the answers mean
is L{sipxha.config.zone_check}'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from dns.exception import DNSException
from dns.rdata import Rdata
from dns.resolver import NXDOMAIN, Resolver

from sipxha.config.zone_check import Question

PATIENCE = 3.0
"""Seconds for an answer; the server is asked again within."""


def ask(server: tuple[str, int], questions: Iterable[Question]) -> dict[Question, frozenset[Rdata] | None]:
    """
    Ask a server, one question after the other.  One that once gave no answer is not asked again.

    @return: C{None} for a question that was not answered.
    """
    resolver = Resolver(configure=False)
    resolver.nameservers = [server[0]]
    resolver.port = server[1]
    resolver.lifetime = PATIENCE
    found: dict[Question, frozenset[Rdata] | None] = {}
    is_silent = False
    for question in questions:
        found[question] = None
        if is_silent:
            continue
        name, kind = question
        try:
            answer = resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
        except NXDOMAIN:
            found[question] = frozenset()
        except DNSException:
            is_silent = True
        else:
            found[question] = frozenset(answer.rrset or ())
    return found
