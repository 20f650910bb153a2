"""
Tests for L{sipxha.registry.adopt}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.adopt import adopt
from sipxha.registry.binding import Binding
from sipxha.registry.register import RegistrationRefused
from sipxha.registry.table import Registry
from tests.registry.rows import NOW, a_registration, a_row, an_offer

NAME = "sipx2.example.com"
MAX = 7200

FOREIGN = a_row(primary="-", update_number=0, deadline=0.0)


class AdoptTests(SynchronousTestCase):
    """
    Tests for rows that come from another registrar.
    """

    def setUp(self) -> None:
        self.registry = Registry(NAME, MAX)
        self.registry.raise_update_number(100)

    def adopt(self, *rows: Binding) -> list[Binding]:
        """
        Take over rows.
        """
        return adopt(self.registry, rows, MAX, NOW)

    def test_they_become_rows_of_this_node(self) -> None:
        """
        An update for each address-of-record; all else stays.
        """
        other = FOREIGN._replace(contact="<sip:201@10.1.1.8>")
        elsewhere = FOREIGN._replace(identity="202@example.com")
        changed = self.adopt(FOREIGN, elsewhere, other)
        expected = [
            row._replace(primary=NAME, update_number=number, deadline=float(row.expires))
            for row, number in ((FOREIGN, 101), (elsewhere, 102), (other, 101))
        ]
        self.assertEqual(changed, expected)
        self.assertEqual(self.registry.update_number, 102)
        self.assertEqual(len(self.registry.current("201@example.com", NOW)), 2)
        self.assertEqual(self.registry.next_update(NAME, 100), [expected[0], expected[2]])

    def test_a_second_time_changes_nothing(self) -> None:
        """
        Nor does an older file.
        """
        self.adopt(FOREIGN)
        self.assertEqual(self.adopt(FOREIGN, FOREIGN._replace(cseq=16)), [])
        self.assertEqual(self.registry.update_number, 101)

    def test_what_was_registered_here_since_stays(self) -> None:
        """
        Whatever Call-ID it has.
        """
        self.registry.register(
            a_registration(an_offer(FOREIGN.contact, expires=60), callid="new", cseq=1), NOW
        )
        self.assertEqual(self.adopt(FOREIGN), [])

    def test_nothing_is_held_longer_than_is_granted_here(self) -> None:
        """
        Or a peer could hold it live when its end is forgotten.
        """
        (row,) = self.adopt(FOREIGN._replace(expires=(1 << 31) - 1))
        self.assertEqual((row.expires, row.deadline), (int(NOW) + MAX, NOW + MAX))

    def test_the_phone_goes_on_as_if_it_had_been_here(self) -> None:
        """
        Its next REGISTER replaces the row, and a late one is refused.
        """
        self.adopt(FOREIGN)
        offer = an_offer(FOREIGN.contact)
        late = a_registration(offer, callid=FOREIGN.callid, cseq=FOREIGN.cseq - 1)
        self.assertRaises(RegistrationRefused, self.registry.register, late, NOW)
        self.registry.register(a_registration(offer, callid=FOREIGN.callid, cseq=FOREIGN.cseq + 1), NOW)
        (row,) = self.registry.current("201@example.com", NOW)
        self.assertEqual(row.cseq, FOREIGN.cseq + 1)
