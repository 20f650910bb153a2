"""
Tests for L{sipxha.registry.gruu}: who is meant, on every node, and by nobody
else's word.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.gruu import Gruus, Target
from sipxha.sip.uri import Uri
from tests.registry.rows import NOW, a_row

GRUUS = Gruus(b"a secret of the cluster", "example.com")
PHONE = "<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"
OTHER = "<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf7>"
ROW = a_row(instance_id=PHONE)

users = st.text("abcxyz019-_.!~*'()&=+$,;?/", min_size=1, max_size=70)


def read(gruu: str, gruus: Gruus = GRUUS) -> Target | None:
    """
    Whom a GRUU means.
    """
    uri = Uri.parse(gruu)
    return gruus.read(uri, uri.identity())


class PublicTests(SynchronousTestCase):
    """
    Tests for public GRUUs.
    """

    def test_G02_it_is_the_address_of_record_with_the_instance(self) -> None:
        """
        So it is the same on all nodes and after a restart.
        """
        gruu = "sip:201@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
        self.assertEqual(GRUUS.public(ROW), gruu)
        self.assertEqual(Gruus(b"another secret", "example.com").public(ROW), gruu)
        self.assertEqual(read(gruu), Target("201@example.com", PHONE[1:-1]))
        shouted = "sip:201@EXAMPLE.COM;gr=URN:UUID:F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"
        self.assertEqual(read(shouted), read(gruu))

    @given(st.text(min_size=1, max_size=40))
    def test_G02_whatever_the_instance_is_called(self, name: str) -> None:
        """
        What a URI cannot hold is escaped.
        """
        row = a_row(instance_id=f"<urn:x:{name.strip('<>')}>")
        target = read(GRUUS.public(row))
        assert target is not None
        self.assertEqual(GRUUS.rows(target, [row]), [row])

    def test_G05_what_is_no_instance_is_nobody(self) -> None:
        """
        We make none but of URNs.
        """
        self.assertIsNone(read("sip:201@example.com;gr=x"))

    def test_G07_a_sips_contact_has_sips_gruus(self) -> None:
        """
        RFC 5630 section 5.2.1; both lead to it.
        """
        row = ROW._replace(contact="<sips:201@10.1.1.7>")
        for gruu in (GRUUS.public(row), GRUUS.temporary(row)):
            self.assertTrue(gruu.startswith("sips:"), gruu)
            for scheme in ("sip:", "sips:"):
                target = read(gruu.replace("sips:", scheme, 1))
                assert target is not None
                self.assertEqual(GRUUS.rows(target, [row]), [row])


class TemporaryTests(SynchronousTestCase):
    """
    Tests for temporary GRUUs.
    """

    @given(users)
    def test_G03_every_node_with_the_secret_reads_it(self, user: str) -> None:
        """
        And makes the same one of the same row.
        """
        row = ROW._replace(identity=f"{user}@example.com")
        gruu = GRUUS.temporary(row)
        target = read(gruu, Gruus(b"a secret of the cluster", "example.com"))
        assert target is not None
        self.assertEqual(target.identity, row.identity)
        self.assertEqual(GRUUS.rows(target, [row, ROW._replace(instance_id=OTHER)]), [row])
        self.assertIsNone(read(gruu, Gruus(b"another secret", "example.com")))

    def test_G03_it_tells_nobody_whose_it_is(self) -> None:
        """
        Each REGISTER has another one, which shares nothing with the last, and
        all users' are of one length.
        """
        other = ROW._replace(identity="somebody-else@example.com", instance_id=OTHER)
        gruus = [GRUUS.temporary(row._replace(cseq=cseq)) for row in (ROW, other) for cseq in range(50)]
        self.assertEqual(len({gruu[10:26] for gruu in gruus}), 100)
        self.assertEqual(len({gruu[40:50] for gruu in gruus}), 100)
        self.assertEqual(len({len(gruu) for gruu in gruus}), 1)
        self.assertFalse(any("201" in gruu.partition("@")[0] for gruu in gruus[:1]))

    @given(st.integers(0, 79), st.sampled_from("Aa0_"))
    def test_G03_a_changed_one_is_nobody(self, place: int, letter: str) -> None:
        """
        Nor is one that is cut off, or too long.
        """
        scheme, token = GRUUS.temporary(ROW).split("tgruu.")
        changed = token[:place] + letter + token[place + 1 :]
        if changed != token:
            self.assertIsNone(read(f"{scheme}tgruu.{changed}"))
        self.assertIsNone(read(f"{scheme}tgruu.{token[:place]}@example.com;gr"))
        self.assertIsNone(read(f"{scheme}tgruu.{'A' * 9999}@example.com;gr"))
        self.assertIsNone(read("sip:201@example.com;gr"))

    def test_G03_it_is_valid_until_the_call_id_changes(self) -> None:
        """
        All that came before the newest are.
        """
        old = read(GRUUS.temporary(ROW))
        newest = ROW._replace(cseq=ROW.cseq + 1, update_number=2)
        assert old is not None
        self.assertEqual(GRUUS.rows(old, [newest]), [newest])
        rebooted = ROW._replace(callid="another", contact="<sip:201@10.1.1.8>", update_number=3)
        self.assertEqual(GRUUS.rows(old, [newest, rebooted]), [])
        self.assertEqual(GRUUS.rows(old, []), [])


class ChoiceTests(SynchronousTestCase):
    """
    Which rows of an instance a GRUU leads to.
    """

    def chosen(self, *rows: Binding) -> list[Binding]:
        """
        Those of the public GRUU, whatever the order of the rows.
        """
        target = read(GRUUS.public(ROW))
        assert target is not None
        found = GRUUS.rows(target, rows)
        self.assertEqual(set(GRUUS.rows(target, rows[::-1])), set(found))
        return found

    def test_G05_the_contact_that_was_refreshed_last(self) -> None:
        """
        Though the older one ends later; of this instance only.
        """
        old = ROW._replace(update_number=1, expires=int(NOW) + 7200)
        new = ROW._replace(update_number=2, callid="rebooted", contact="<sip:201@10.1.1.8>")
        foreign = ROW._replace(update_number=9, instance_id=OTHER, contact="<sip:201@10.1.1.9>")
        self.assertEqual(self.chosen(old, new, foreign, a_row(update_number=10)), [new])
        self.assertEqual(self.chosen(foreign), [])

    def test_G05_across_nodes_the_call_or_else_the_end_tells(self) -> None:
        """
        Two nodes' numbers cannot be compared.
        """
        there = ROW._replace(primary="sipx2.example.com", update_number=0, contact="<sip:201@10.1.1.8>")
        newer = there._replace(cseq=ROW.cseq + 1)
        self.assertEqual(self.chosen(ROW, newer), [newer])
        later = there._replace(callid="another", expires=ROW.expires + 1)
        self.assertEqual(self.chosen(ROW, later), [later])

    def test_G05_O06_all_flows_of_the_instance(self) -> None:
        """
        The proxy tries one after the other (RFC 5626 section 7).
        """
        flows = [ROW._replace(reg_id=n, update_number=n + 1) for n in (1, 2)]
        self.assertEqual(set(self.chosen(*flows)), set(flows))
        self.assertEqual(set(self.chosen(*flows, ROW)), set(flows))
        plain = ROW._replace(update_number=9)
        self.assertEqual(self.chosen(*flows, plain), [plain])
