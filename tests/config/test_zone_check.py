"""
Tests for L{sipxha.config.zone_check}.
"""

from __future__ import annotations

from dns.rdatatype import RdataType
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.zone import parse_zone, zone_text
from sipxha.config.zone_check import Finding, Needs, compare, needs_of

NODES = [("sipx1.example.com", "10.1.1.50"), ("sipx2.example.com", "10.1.1.51")]
NEEDS = needs_of(parse_zone(zone_text("example.com", NODES)))


def wrong(there: Needs) -> list[Finding]:
    """
    All that is not as it should be.
    """
    answers = {question: there.get(question, frozenset()) for question in NEEDS}
    return [finding for finding in compare(NEEDS, answers) if finding.state != "ok"]


def changed(old: str, new: str) -> Needs:
    """
    What a server has whose zone differs in this.
    """
    text = zone_text("example.com", NODES)
    assert old in text, old
    return needs_of(parse_zone(text.replace(old, new)))


class CompareTests(SynchronousTestCase):
    """
    Tests for what is said to be wrong.
    """

    def test_what_is_needed_is_enough(self) -> None:
        """
        Names may be written in any case, and stand in any order; lifetimes are anybody's.
        """
        self.assertEqual(wrong(NEEDS), [])
        text = zone_text("example.com", NODES).replace("sipx2.example.com", "SIPX2.Example.COM")
        lines = [line for line in text.replace(" 300 ", " 77 ").splitlines() if not line.startswith(";")]
        self.assertEqual(wrong(needs_of(parse_zone("\n".join(reversed(lines))))), [])

    def test_a_name_without_records(self) -> None:
        """
        All of what should be there is told.
        """
        there = {key: value for key, value in NEEDS.items() if key[1] != RdataType.NAPTR}
        (finding,) = wrong(there)
        self.assertEqual((finding.name, finding.type, finding.state), ("example.com", "NAPTR", "missing"))
        self.assertEqual(len(finding.missing), 3)
        self.assertIn('50 50 "s" "SIP+D2T" "" _sip._tcp.example.com.', finding.missing)

    def test_an_address_of_yesterday(self) -> None:
        """
        Both are told, the right one and the wrong one.
        """
        self.assertEqual(
            wrong(changed("IN A     10.1.1.51", "IN A 10.1.1.99")),
            [Finding("sipx2.example.com", "A", "differs", ("10.1.1.51",), ("10.1.1.99",))],
        )

    def test_a_node_that_is_gone(self) -> None:
        """
        Its SRV records lead phones astray.
        """
        extra = "_sip._udp.example.com. 300 IN SRV 1 100 5060 old.example.com.\n"
        there = needs_of(parse_zone(zone_text("example.com", NODES) + extra))
        (finding,) = wrong(there)
        self.assertEqual((finding.state, finding.missing), ("differs", ()))
        self.assertEqual(finding.unexpected, ("1 100 5060 old.example.com.",))

    def test_other_services_of_the_domain_are_its_own(self) -> None:
        """
        NAPTR records are not for SIP alone.
        """
        extra = 'example.com. 300 IN NAPTR 10 10 "s" "AAA+D2T" "" _diameter._tcp.example.com.\n'
        self.assertEqual(wrong(needs_of(parse_zone(zone_text("example.com", NODES) + extra))), [])

    def test_a_server_that_does_not_answer(self) -> None:
        """
        Nothing is said to be missing.
        """
        findings = compare(NEEDS, dict.fromkeys(NEEDS))
        self.assertEqual({(finding.state, finding.missing) for finding in findings}, {("no answer", ())})
