"""
Tests for L{sipxha.registry.table}: the registrar's rules, and replication's.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import MARKER, Binding
from sipxha.registry.register import RegistrationRefused
from sipxha.registry.table import Registered, Registry
from sipxha.registry.validate import RowRefused
from tests.registry.rows import NOW, a_registration, a_row, an_offer, contents, rows

AOR = "201@example.com"
MAX = 7200


def a_registry(name: str = "sipx1.example.com", **settings: Any) -> Registry:
    """
    An empty one.
    """
    return Registry(name, MAX, **settings)


class RegistryCase(SynchronousTestCase):
    """
    Has a registry.
    """

    def setUp(self) -> None:
        self.registry = a_registry()

    def register(self, *contacts: str, now: float = NOW, expires: int = 3600, **fields: object) -> Registered:
        """
        Register contacts of 201.
        """
        offers = [an_offer(contact, expires) for contact in contacts]
        return self.registry.register(a_registration(*offers, **fields), now)  # type: ignore[arg-type]

    def current(self, now: float = NOW) -> list[str]:
        """
        The current contacts of 201, in order of their text.
        """
        return sorted(row.contact for row in self.registry.current(AOR, now))

    def assertRefused(self, status: int, *contacts: str, **fields: object) -> None:
        """
        A refused REGISTER changes nothing.
        """
        before, number = contents(self.registry), self.registry.update_number
        refused = self.assertRaises(RegistrationRefused, self.register, *contacts, **fields)
        self.assertEqual(refused.status, status)
        self.assertEqual((contents(self.registry), self.registry.update_number), (before, number))


A, B, C = "<sip:a@10.1.1.7:5060>", "<sip:b@10.1.1.8:5060>", "<sip:c@10.1.1.9:5060>"


class RegisterTests(RegistryCase):
    """
    RFC 3261 section 10.3, and design section 4.
    """

    def test_contacts_are_bound_under_one_number(self) -> None:
        """
        A REGISTER is one update, whatever it holds.
        """
        registered = self.register(A, B)
        self.assertEqual([row.update_number for row in registered.rows], [1, 1])
        self.assertEqual(set(registered.bindings), set(registered.rows))
        self.assertEqual(self.current(), [A, B])
        row = registered.rows[0]
        self.assertEqual((row.primary, row.expires), ("sipx1.example.com", int(NOW) + 3600))

    def test_R10_a_query_changes_nothing(self) -> None:
        """
        Nor does it need a new CSeq.
        """
        self.register(A)
        registered = self.register()
        self.assertEqual((registered.rows, len(registered.bindings)), ([], 1))
        self.assertEqual(self.registry.update_number, 1)

    def test_a_refresh_replaces_its_row(self) -> None:
        """
        There is one row for one contact of one Call-ID.
        """
        self.register(A)
        self.register(A, cseq=2, now=NOW + 1800)
        self.assertEqual(len(contents(self.registry)), 1)
        self.assertEqual(self.current(NOW + 5000), [A])

    def test_a_binding_ends_by_itself(self) -> None:
        """
        At its deadline, not later.
        """
        self.register(A, expires=60)
        self.assertEqual(self.current(NOW + 59.9), [A])
        self.assertEqual(self.current(NOW + 60), [])
        self.assertTrue(self.registry.known(AOR))

    def test_contacts_that_are_not_listed_stay(self) -> None:
        """
        A REGISTER changes what it names.
        """
        self.register(A)
        self.register(B, cseq=2)
        self.assertEqual(self.current(), [A, B])

    def test_a_contact_is_removed_alone(self) -> None:
        """
        By an expiry of 0; the row is kept and ended.
        """
        self.register(A, B)
        registered = self.register(A, expires=0, cseq=2)
        self.assertEqual(self.current(), [B])
        self.assertEqual([(row.cseq, row.expires) for row in registered.rows], [(2, int(NOW) - 1)])

    def test_R16_a_lower_cseq_is_out_of_order(self) -> None:
        """
        And nothing is changed.
        """
        self.register(A, cseq=5)
        self.assertRefused(500, A, cseq=4)
        self.assertRefused(500, B, cseq=4)

    def test_R16_an_equal_cseq_with_other_contacts_is_out_of_order(self) -> None:
        """
        Only an exact repetition is taken for one.
        """
        self.register(A, B, cseq=5)
        self.assertRefused(500, A, cseq=5)
        self.assertRefused(500, A, B, C, cseq=5)
        self.assertRefused(500, A, B, cseq=5, expires=0)
        self.assertRefused(500, cseq=5, remove_all=True)

    def test_R24_a_repetition_is_confirmed_again(self) -> None:
        """
        Its first answer was lost, perhaps with the node that sent it.
        """
        rows = self.register(A, B, cseq=5).rows
        registered = self.register(A, B, cseq=5, now=NOW + 3)
        self.assertEqual((registered.rows, set(registered.bindings)), ([], set(rows)))
        self.assertEqual(self.registry.update_number, 1)

    def test_R24_so_is_the_repetition_of_a_removal(self) -> None:
        """
        Of one contact, and of all.
        """
        self.register(A)
        self.register(A, cseq=2, expires=0)
        self.assertEqual(self.register(A, cseq=2, expires=0), Registered([], [], []))
        self.register(cseq=3, remove_all=True)
        self.assertEqual(self.register(cseq=3, remove_all=True), Registered([], [], []))

    def test_R25_an_ended_binding_remembers_its_cseq(self) -> None:
        """
        A late REGISTER does not revive it.
        """
        self.register(A, cseq=5)
        self.register(A, cseq=6, expires=0)
        self.assertRefused(500, A, cseq=5, now=NOW + MAX)

    def test_R25_so_does_a_binding_that_never_was(self) -> None:
        """
        The removal overtook its registration.
        """
        self.register(A, cseq=6, expires=0)
        self.assertRefused(500, A, cseq=5)

    def test_R17_the_same_contact_under_a_new_call_id_replaces(self) -> None:
        """
        The old row is ended with the CSeq that it had.
        """
        self.register(A, callid="old", cseq=70)
        registered = self.register(A, callid="new", cseq=1)
        self.assertEqual([row.callid for row in registered.bindings], ["new"])
        ended = self.registry.held((AOR, "old", A, 0))
        assert ended is not None
        self.assertEqual((ended.cseq, ended.expires, ended.update_number), (70, int(NOW) - 1, 2))

    def test_R17_it_is_also_removed_under_a_new_call_id(self) -> None:
        """
        A phone that lost its memory can clean up.
        """
        self.register(A, callid="old", cseq=70)
        self.register(A, callid="new", cseq=1, expires=0)
        self.assertEqual(self.current(), [])

    def test_R15_an_equal_contact_of_another_spelling_is_ended(self) -> None:
        """
        RFC 3261 section 19.1.4; the new text takes its place in the same
        update.
        """
        self.register("<sip:a@pc.example.com;transport=tcp>")
        self.register("<sip:%61@PC.example.com;transport=TCP>", cseq=2)
        self.assertEqual(self.current(), ["<sip:%61@PC.example.com;transport=TCP>"])
        ended = self.registry.held((AOR, "f00d@10.1.1.7", "<sip:a@pc.example.com;transport=tcp>", 0))
        assert ended is not None
        self.assertEqual((ended.cseq, ended.update_number), (2, 2))

    def test_R15_what_another_registrar_kept_is_equal_to_nothing(self) -> None:
        """
        Though it cannot be read.
        """
        self.registry.apply([a_row(contact="a@10.1.1.7:5060 by hand", callid="old")], NOW)
        self.register(A, cseq=1)
        self.assertEqual(len(self.current()), 2)

    def test_R15_a_default_port_is_not_an_explicit_one(self) -> None:
        """
        So these are two bindings.
        """
        self.register("<sip:a@10.1.1.7>", "<sip:a@10.1.1.7:5060>")
        self.assertEqual(len(self.current()), 2)

    def test_R12_a_star_ends_all_of_every_call_id(self) -> None:
        """
        Rows of other Call-IDs keep their CSeq.
        """
        self.register(A, callid="one", cseq=9)
        self.register(B, callid="two", cseq=1)
        registered = self.register(callid="two", cseq=2, remove_all=True)
        self.assertEqual((self.current(), registered.bindings), ([], []))
        self.assertEqual({row.contact: row.cseq for row in registered.rows}, {A: 9, B: 2, MARKER: 2})

    def test_R12_an_old_star_removes_nothing(self) -> None:
        """
        The CSeq of its Call-ID must be higher.
        """
        self.register(A, cseq=5)
        self.assertRefused(500, cseq=5, remove_all=True)
        self.assertRefused(500, cseq=4, remove_all=True)

    def test_a_star_is_remembered_though_there_was_nothing_to_end(self) -> None:
        """
        An older REGISTER of its Call-ID is refused, and one that arrives from
        elsewhere never counts.
        """
        self.register(cseq=5, remove_all=True)
        self.assertRefused(500, A, cseq=4)
        self.registry.apply([a_row(contact=A, cseq=4, primary="sipx2.example.com")], NOW)
        self.assertEqual(self.current(), [])
        self.register(A, cseq=6)
        self.assertEqual(self.current(), [A])

    def test_R26_too_many_contacts_are_refused_together(self) -> None:
        """
        But what is there may always be refreshed, replaced and removed.
        """
        self.registry = a_registry(max_contacts=2)
        self.assertRefused(403, A, B, C)
        self.register(A, B)
        self.assertRefused(403, C, cseq=2)
        self.register(A, B, cseq=2)
        self.register(A, callid="new")
        self.register(B, callid="new", cseq=2, expires=0)
        self.register(C, callid="new", cseq=3)
        self.assertEqual(self.current(), [A, C])

    def test_R18_what_cannot_be_a_row_spoils_the_whole_request(self) -> None:
        """
        The wire could not carry it to the other nodes.
        """
        self.assertRaises(RowRefused, self.register, A, callid="\x01")
        self.assertRaises(RowRefused, self.register, callid="\x01", remove_all=True)
        self.assertEqual((len(self.registry), self.registry.update_number), (0, 0))

    def test_O05_a_flow_is_replaced_by_its_next_contact(self) -> None:
        """
        Flows of one instance with other reg-ids stay, though their contact is
        the same (RFC 5626).
        """
        for cseq, (contact, reg_id) in enumerate(((A, 1), (A, 2), (B, 1)), 1):
            offer = an_offer(contact, instance_id="<urn:uuid:1>", reg_id=reg_id)
            self.registry.register(a_registration(offer, cseq=cseq), NOW)
        current = {(row.contact, row.reg_id) for row in self.registry.current(AOR, NOW)}
        self.assertEqual(current, {(A, 2), (B, 1)})


class UnlistedTests(RegistryCase):
    """
    C{unlisted="expire"}, and its default.
    """

    def test_what_a_register_does_not_list_is_left_alone(self) -> None:
        """
        RFC 3261 section 10.3.
        """
        self.register(A, B)
        self.register(C, cseq=2)
        self.assertEqual(self.current(), [A, B, C])

    def test_what_it_does_not_list_of_its_call_id_can_be_ended(self) -> None:
        """
        SyncDesign 4.2; not what others registered, and no flow (RFC 5626).
        """
        self.registry = Registry("sipx1.example.com", MAX, expire_unlisted=True)
        flow = an_offer("<sip:flow@10.1.1.7>", instance_id="<urn:uuid:1>", reg_id=1)
        self.registry.register(a_registration(flow, cseq=1), NOW)
        self.register(A, B, cseq=2)
        self.register("<sip:other@10.1.1.7>", callid="other")
        registered = self.register(B, C, cseq=3)
        self.assertEqual(self.current(), [B, C, "<sip:flow@10.1.1.7>", "<sip:other@10.1.1.7>"])
        self.assertEqual({row.cseq for row in registered.rows}, {3})
        self.assertEqual({row.update_number for row in registered.rows}, {4})
        again = self.register(B, C, cseq=3)
        self.assertEqual(again.rows, [])
        self.register(C, cseq=4, expires=0)
        self.assertEqual(self.current(), ["<sip:flow@10.1.1.7>", "<sip:other@10.1.1.7>"])


class FlowTests(RegistryCase):
    """
    What becomes of rows whose flow is no more.
    """

    def test_O07_what_is_bound_over_a_closed_flow_ends(self) -> None:
        """
        Of every AOR, whoever took the REGISTER, under new numbers of ours; no
        other flow and nothing that ended already.
        """
        path = "<sip:other@10.1.1.50:5060;lr>,<sip:token@10.1.1.50:5060;transport=tcp;lr>"
        dead = [
            a_row(contact=A, path=path, update_number=1),
            a_row(contact=B, path=path, update_number=2, primary="sipx2.example.com"),
            a_row(contact=A, path=path, update_number=3, identity="202@example.com"),
        ]
        alive = [
            a_row(contact=C, path="<sip:other@10.1.1.50:5060;lr>", update_number=4),
            a_row(contact=C, path=path, update_number=5, callid="old", expires=int(NOW) - 9),
        ]
        self.registry.apply([*dead, *alive], NOW)
        ended = self.registry.end_flow("token", NOW)
        self.assertEqual({row.key for row in ended}, {row.key for row in dead})
        self.assertEqual(self.current(), [C])
        self.assertEqual({(row.primary, row.cseq) for row in ended}, {("sipx1.example.com", 17)})
        numbers: dict[str, set[int]] = {}
        for row in ended:
            numbers.setdefault(row.identity, set()).add(row.update_number)
        self.assertEqual(sorted(map(sorted, numbers.values())), [[6], [7]])
        self.assertEqual(self.registry.end_flow("token", NOW), [])
        self.assertTrue(set(alive) <= contents(self.registry))

    def test_O07_a_phone_that_came_back_is_not_bound_over_its_old_flow(self) -> None:
        """
        Whichever is heard first.
        """
        offer = an_offer(A)
        old, new = ("<sip:one@10.1.1.50;lr>", "<sip:two@10.1.1.50;lr>")
        self.registry.register(a_registration(offer, cseq=1, path=old), NOW)
        self.registry.register(a_registration(offer, cseq=2, path=new), NOW)
        self.assertEqual(self.registry.end_flow("one", NOW), [])
        self.assertEqual(self.current(), [A])
        self.assertEqual(len(self.registry.end_flow("two", NOW)), 1)
        self.registry.register(a_registration(offer, cseq=3, path=new), NOW)
        self.assertEqual(self.current(), [A])


class ReplicationTests(RegistryCase):
    """
    Rows of other nodes, and update numbers.
    """

    def test_a_row_from_a_peer_is_current_here(self) -> None:
        """
        It keeps its primary and its number.
        """
        row = a_row(primary="sipx2.example.com", update_number=77)
        self.assertEqual(self.registry.apply([row], NOW), [row])
        self.assertEqual(self.registry.current(AOR, NOW), [row])
        self.assertEqual(self.registry.largest_number("sipx2.example.com"), 77)
        self.assertEqual(self.registry.update_number, 0)

    def test_a_row_without_a_deadline_ends_when_it_says(self) -> None:
        """
        The memo's dialect says only by the other node's clock.
        """
        row = a_row(primary="sipx2.example.com", deadline=0.0)
        self.assertEqual(self.registry.apply([row], NOW)[0].deadline, float(row.expires))

    def test_a_deadline_of_our_own_clock_is_kept(self) -> None:
        """
        The other clock may be an hour fast.
        """
        row = a_row(primary="sipx2.example.com", expires=int(NOW) + 7200, deadline=NOW + 3600)
        self.registry.apply([row], NOW)
        self.assertEqual(self.registry.current(AOR, NOW + 3600), [])

    def test_a_second_copy_changes_nothing(self) -> None:
        """
        Being sent rows twice is harmless (SyncDesign 5.8.3).
        """
        row = a_row(primary="sipx2.example.com")
        self.registry.apply([row], NOW)
        self.assertEqual(self.registry.apply([row, row._replace(deadline=NOW + 9)], NOW), [])

    def test_what_would_be_purged_is_not_taken(self) -> None:
        """
        It would only come and go.
        """
        row = a_row(expires=int(NOW) - 2 * MAX)
        self.assertEqual(self.registry.apply([row], NOW), [])

    def test_own_rows_from_a_peer_count_as_given_numbers(self) -> None:
        """
        A node that lost its disk does not give them again.
        """
        self.registry.apply([a_row(update_number=40)], NOW)
        self.assertEqual(self.register(B, cseq=99).rows[0].update_number, 41)

    def test_numbers_never_go_down(self) -> None:
        """
        Whatever the clock says.
        """
        self.registry.raise_update_number(10)
        self.registry.raise_update_number(5)
        self.assertEqual(self.registry.update_number, 10)

    def test_updates_come_whole_and_in_order(self) -> None:
        """
        A page may be larger than its limit, never smaller than an update.
        """
        self.register(A, B)
        self.register(C, cseq=2)
        name = self.registry.name
        self.assertEqual([row.update_number for row in self.registry.rows_after(name, 0)], [1, 1, 2])
        self.assertEqual(len(self.registry.rows_after(name, 0, limit=1)), 2)
        self.assertEqual([row.contact for row in self.registry.next_update(name, 1)], [C])
        self.assertEqual(self.registry.next_update(name, 2), [])
        self.assertEqual(self.registry.next_update("sipx9.example.com", 0), [])
        self.assertEqual(self.registry.largest_number("sipx9.example.com"), 0)

    def test_numbers_that_were_overwritten_leave_gaps(self) -> None:
        """
        Only what is current of an update is sent.
        """
        self.register(A, B)
        self.register(A, cseq=2)
        self.assertEqual([row.contact for row in self.registry.next_update(self.registry.name, 0)], [B])

    def test_renumbered_rows_keep_together_and_in_order(self) -> None:
        """
        And rows that are not as they were are passed over.
        """
        old = [
            a_row(contact=A, update_number=1),
            a_row(contact=B, update_number=1),
            a_row(contact=C, update_number=2),
        ]
        self.registry.apply(old, NOW)
        self.registry.raise_update_number(100)
        other = a_row(primary="sipx2.example.com", contact="<sip:x@y>")
        self.registry.apply([other], NOW)
        renumbered = self.registry.renumber([*reversed(old), other, a_row(contact="<sip:gone@y>")])
        self.assertEqual(
            sorted((row.contact, row.update_number) for row in renumbered), [(A, 101), (B, 101), (C, 102)]
        )
        self.assertEqual(contents(self.registry), {*renumbered, other})
        self.assertEqual(self.register("<sip:d@y>", cseq=99).rows[0].update_number, 103)

    def test_the_rows_of_the_store_come_back(self) -> None:
        """
        With the numbers that they imply.
        """
        self.register(A, B)
        self.register(A, cseq=2, expires=0)
        again = a_registry()
        again.load(contents(self.registry))
        self.assertEqual(contents(again), contents(self.registry))
        self.assertEqual(again.update_number, 2)
        self.assertEqual([row.contact for row in again.all_current(NOW)], [B])

    def test_a_partition_leaves_one_row_in_a_slot(self) -> None:
        """
        The contact registered on both sides shows once.
        """
        self.register(A, callid="one")
        later = a_row(contact=A, callid="two", expires=int(NOW) + 3601, primary="sipx2.example.com")
        self.registry.apply([later], NOW)
        self.assertEqual(self.registry.current(AOR, NOW), [later])
        self.assertEqual(len(contents(self.registry)), 2)


class AgreementTests(SynchronousTestCase):
    """
    Nodes that were given the same rows hold the same.
    """

    @given(st.lists(rows, max_size=12), st.randoms(use_true_random=False))
    def test_the_order_of_arrival_does_not_matter(self, some: list[Binding], chance: object) -> None:
        """
        Nor does it matter who they are, or what came twice.
        """
        one, other = a_registry("sipx1.example.com"), a_registry("sipx9.example.com")
        shuffled = [*some, *some[:3]]
        chance.shuffle(shuffled)  # type: ignore[attr-defined]
        one.apply(some, NOW)
        for row in shuffled:
            other.apply([row], NOW)
        self.assertEqual(contents(one), contents(other))
        for identity in (AOR, "202@example.com"):
            for now in (NOW - 1, NOW, NOW + 1):
                self.assertEqual(set(one.current(identity, now)), set(other.current(identity, now)))

    @given(
        st.lists(
            st.tuples(st.sampled_from((A, B)), st.sampled_from(("one", "two")), st.booleans()), max_size=12
        )
    )
    def test_at_most_one_row_of_a_slot_is_live(self, requests: list[tuple[str, str, bool]]) -> None:
        """
        On the node that took the REGISTERs, whatever they were.
        """
        registry = a_registry()
        for cseq, (contact, callid, is_bound) in enumerate(requests, 1):
            offer = an_offer(contact, 60 if is_bound else 0)
            registry.register(a_registration(offer, callid=callid, cseq=cseq), NOW)
        live = [row for row in contents(registry) if row.deadline > NOW]
        self.assertEqual(len({row.slot for row in live}), len(live))
        self.assertEqual(set(live), set(registry.current(AOR, NOW)))
