"""
Tests for L{sipxha.net.names}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import AuthoritativeDomainError, DNSNameError, DNSServerError, DomainError
from twisted.trial.unittest import SynchronousTestCase

from sipxha.net import names
from sipxha.net.dns_client import QUERY_LIMIT
from sipxha.net.names import DNSFailed, Names
from sipxha.net.zone_server import LONGEST_ALIAS, Answer
from sipxha.routing.location import Naptr, Srv

HOST = "sipx1.example.com"


def a_record(address: str = "10.1.1.50", ttl: int = 60, name: str = HOST) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), dns.A, dns.IN, ttl, dns.Record_A(address, ttl))


def alias(name: str, target: str, ttl: int = 60) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), dns.CNAME, dns.IN, ttl, dns.Record_CNAME(target, ttl))


def soa(minimum: int, ttl: int = 3600) -> dns.RRHeader:
    record = dns.Record_SOA(b"ns", b"root", 1, 2, 3, 4, minimum, ttl)
    return dns.RRHeader(b"example.com", dns.SOA, dns.IN, ttl, record)


class Asked(ResolverBase):
    """
    A resolver that keeps its questions until the test answers them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[tuple[str, Deferred[Answer]]] = []

    def _lookup(self, name: bytes, cls: int, type: int, timeout: object) -> Deferred[Answer]:
        answer: Deferred[Answer] = Deferred()
        self.questions.append((name.decode(), answer))
        return answer

    def answer(self, *answers: dns.RRHeader, authority: Sequence[dns.RRHeader] = ()) -> str:
        """
        Answer the oldest question.

        @return: What it was about.
        """
        name, waiting = self.questions.pop(0)
        waiting.callback((list(answers), list(authority), []))
        return name

    def fail(self, reason: Exception) -> None:
        """
        Fail the oldest question.
        """
        self.questions.pop(0)[1].errback(reason)


class NamesTests(SynchronousTestCase):
    """
    Tests for L{Names}.
    """

    def setUp(self) -> None:
        """
        Start with an empty memory.
        """
        self.clock = Clock()
        self.dns = Asked()
        self.names = Names(self.clock, self.dns)

    def ask(self, name: str = HOST, record_type: int = dns.A) -> Deferred[Sequence[Any]]:
        return self.names.ask(name, record_type)

    def assert_remembered(self, expected: Sequence[Any], seconds: float) -> None:
        """
        For so long, and no longer.
        """
        self.clock.advance(seconds - 0.5)
        found: Sequence[Any] = self.successResultOf(self.ask())
        self.assertEqual(list(found), list(expected))
        self.clock.advance(0.5)
        self.assertNoResult(self.ask())
        self.assertEqual(len(self.dns.questions), 1)

    def test_records_become_values(self) -> None:
        """
        Addresses as text, and what L{sipxha.routing.location} understands.
        """
        for record, value in (
            (dns.Record_A("10.1.1.50"), "10.1.1.50"),
            (dns.Record_AAAA("2001:DB8::1"), "2001:db8::1"),
            (dns.Record_SRV(1, 2, 5060, "Sipx1.example.com"), Srv(1, 2, 5060, HOST)),
            (dns.Record_SRV(0, 0, 0, b""), Srv(0, 0, 0, "")),
            (
                dns.Record_NAPTR(50, 60, b"s", b"SIP+D2T", b"", "_sip._tcp.example.com"),
                Naptr(50, 60, "s", "SIP+D2T", "_sip._tcp.example.com"),
            ),
        ):
            name = f"{len(self.names._remembered)}.example.com"
            answer = self.ask(name, record.TYPE)
            self.dns.answer(dns.RRHeader(name.upper().encode(), record.TYPE, dns.IN, 60, record))
            self.assertEqual(self.successResultOf(answer), [value])

    def test_L11_an_answer_is_remembered_for_its_time_to_live(self) -> None:
        """
        The shortest among its records.
        """
        answer = self.ask()
        self.dns.answer(a_record(ttl=60), a_record("10.1.1.51", ttl=30))
        self.assertEqual(self.successResultOf(answer), ["10.1.1.50", "10.1.1.51"])
        self.assert_remembered(["10.1.1.50", "10.1.1.51"], 30)

    def test_an_answer_without_a_life_is_used_once(self) -> None:
        """
        Its zone wants to be asked each time.
        """
        for _ in range(2):
            answer = self.ask()
            self.dns.answer(a_record(ttl=0))
            self.assertEqual(self.successResultOf(answer), ["10.1.1.50"])

    def test_one_question_serves_all_who_ask_meanwhile(self) -> None:
        """
        Also when one of them gives up.
        """
        first, second, third = self.ask(), self.ask(), self.ask()
        self.assertEqual(len(self.dns.questions), 1)
        second.addErrback(lambda _: None)
        second.cancel()
        self.dns.answer(a_record())
        for answer in (first, third):
            self.assertEqual(self.successResultOf(answer), ["10.1.1.50"])

    def test_L04_aliases_are_followed_in_the_answer_and_beyond(self) -> None:
        """
        And the shortest life on the way counts.
        """
        answer = self.ask()
        self.dns.answer(alias(HOST, "Host.example.net", 50), alias("host.example.net", "far.example.org", 20))
        self.assertEqual(self.dns.answer(a_record(name="far.example.org")), "far.example.org")
        self.assertEqual(self.successResultOf(answer), ["10.1.1.50"])
        self.assert_remembered(["10.1.1.50"], 20)

    def test_a_circle_of_aliases_leads_nowhere(self) -> None:
        """
        Within one answer or over several.
        """
        answer = self.ask()
        self.dns.answer(alias(HOST, "b.example.com"), alias("b.example.com", HOST))
        while self.dns.questions:
            self.dns.answer(alias(HOST, "b.example.com"))
        self.assertEqual(self.successResultOf(answer), ())
        answer = self.ask("a1.example.com")
        for step in range(1, LONGEST_ALIAS + 1):
            self.dns.answer(alias(f"a{step}.example.com", f"a{step + 1}.example.com"))
        self.assertEqual(self.successResultOf(answer), ())

    def test_an_alias_that_is_no_name_is_not_followed(self) -> None:
        """
        It came from outside.
        """
        answer = self.ask()
        self.dns.answer(alias(HOST, "a b.example.com"))
        self.assertEqual(self.successResultOf(answer), ())

    def test_L12_records_of_other_names_are_not_taken(self) -> None:
        """
        Neither as the answer nor into memory.
        """
        answer = self.ask()
        self.dns.answer(a_record("10.9.9.9", name="evil.example.net"))
        self.assertEqual(self.successResultOf(answer), ())
        self.assertNoResult(self.ask("evil.example.net"))

    def test_L11_absence_is_remembered_as_the_soa_says(self) -> None:
        """
        Whether the name or only the record is missing; five minutes at most.
        """
        for minimum, ttl, life in ((20, 3600, 20.0), (3600, 30, 30.0), (86400, 86400, names.NEGATIVE_LIFE)):
            message = dns.Message()
            message.authority = [soa(minimum, ttl)]
            self.setUp()
            answer = self.ask()
            self.dns.fail(DNSNameError(message))
            self.assertEqual(self.successResultOf(answer), ())
            self.assert_remembered((), life)
            self.dns.answer(authority=[soa(minimum, ttl)])
            self.assert_remembered((), life)

    def test_L11_absence_without_an_soa_is_remembered_for_a_moment(self) -> None:
        """
        As our own zones answer, and hosts files.
        """
        for reason in (AuthoritativeDomainError(HOST), DomainError(HOST)):
            self.setUp()
            answer = self.ask()
            self.dns.fail(reason)
            self.assertEqual(self.successResultOf(answer), ())
            self.assert_remembered((), names.UNSIGNED_NEGATIVE_LIFE)

    def test_L11_a_failure_of_dns_is_not_an_absence(self) -> None:
        """
        It fails, and is remembered so that not every call waits for it.
        """
        answer = self.ask()
        self.dns.fail(DNSServerError())
        self.assertFalse(self.failureResultOf(answer, DNSFailed).value.timed_out)
        self.failureResultOf(self.ask(), DNSFailed)
        self.clock.advance(names.FAILURE_LIFE)
        self.assertNoResult(self.ask())

    def test_a_server_that_never_answers_is_given_up_in_time(self) -> None:
        """
        Whatever the resolver does by itself.
        """
        answer = self.ask()
        self.clock.advance(QUERY_LIMIT)
        failure = self.failureResultOf(answer, DNSFailed).value
        self.assertTrue(failure.timed_out)
        self.assertEqual(failure.status, 503)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_when_dns_fails_what_it_said_last_is_used(self) -> None:
        """
        For a day more, asking again now and then.
        """
        self.ask()
        self.dns.answer(a_record(ttl=60))
        self.clock.advance(60)
        for _ in range(3):
            answer = self.ask()
            self.dns.fail(DNSServerError())
            self.assertEqual(self.successResultOf(answer), ["10.1.1.50"])
            self.assertEqual(self.successResultOf(self.ask()), ["10.1.1.50"])
            self.clock.advance(names.FAILURE_LIFE)
        self.clock.advance(names.LONGEST_LIFE)
        answer = self.ask()
        self.dns.fail(DNSServerError())
        self.failureResultOf(answer, DNSFailed)

    def test_an_absence_is_not_used_when_dns_fails(self) -> None:
        """
        That something was missing then does not mean that it is now.
        """
        self.ask()
        self.dns.answer()
        self.clock.advance(names.UNSIGNED_NEGATIVE_LIFE)
        answer = self.ask()
        self.dns.fail(DNSServerError())
        self.failureResultOf(answer, DNSFailed)

    def test_a_broken_resolver_leaves_nobody_waiting(self) -> None:
        """
        Its exception reaches those who asked, and the next may ask again.
        """
        answer = self.ask()
        self.dns.fail(ZeroDivisionError())
        self.failureResultOf(answer, ZeroDivisionError)
        self.assertNoResult(self.ask())

    def test_memory_is_bounded(self) -> None:
        """
        The oldest answers are forgotten first.
        """
        for number in range(names.REMEMBERED + 1):
            self.ask(f"h{number}.example.com")
            self.dns.answer(a_record(name=f"h{number}.example.com"))
        self.successResultOf(self.ask("h1.example.com"))
        self.assertNoResult(self.ask("h0.example.com"))
