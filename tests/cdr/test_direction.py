"""
Tests for L{sipxha.cdr.direction}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.direction import UNKNOWN, Direction, Gateways, direction_of, host_of, transport_of
from sipxha.cdr.resolve import resolve
from tests.cdr import calls

GATEWAYS = Gateways(frozenset({"gw1.example.com", "10.1.1.9", "2001:db8::1"}))
PHONE = "<sip:ann@10.1.1.7:5062;transport=tcp>"
GATEWAY = "<sip:5551234@10.1.1.9:5080>"

CONTACTS = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.text(alphabet='<>[]"\\;:@=.sip10ab ,?&', max_size=40),
    st.sampled_from([PHONE, GATEWAY]),
)


class DirectionTests(SynchronousTestCase):
    """
    Tests for in, out and neither.
    """

    def test_a_call_comes_in_goes_out_or_stays_inside(self) -> None:
        """
        The caller's side is looked at first, as in sipX; in and out again is known by its type.
        """
        for caller, callee, told in (
            (GATEWAY, PHONE, ("I", "incoming")),
            (PHONE, GATEWAY, ("O", "outgoing")),
            (GATEWAY, GATEWAY, ("I", "tandem")),
            (PHONE, PHONE, ("A", "internal")),
            (PHONE, None, ("A", "internal")),
            (None, None, ("A", "internal")),
        ):
            self.assertEqual(direction_of(GATEWAYS, caller, callee, True, None), told, (caller, callee))

    def test_without_gateways_there_is_no_direction(self) -> None:
        """
        As there was none before.
        """
        self.assertEqual(direction_of(None, GATEWAY, PHONE, False, "LD"), UNKNOWN)

    def test_a_stranger_calls_from_outside_without_a_gateway(self) -> None:
        """
        sipX's code knows gateways only; the type knows who proved what.
        """
        self.assertEqual(direction_of(GATEWAYS, PHONE, PHONE, False, None), ("A", "incoming"))
        self.assertEqual(direction_of(GATEWAYS, PHONE, PHONE, None, None), ("A", "internal"))

    def test_a_route_that_leaves_says_so_by_its_last_tag(self) -> None:
        """
        As a whole tag: INTN is abroad, INT is inside.
        """
        for route, kind in (
            ("INT,LD", "outgoing"),
            ("intn", "outgoing"),
            ("LD,INT", "internal"),
            ("", "internal"),
        ):
            self.assertEqual(direction_of(GATEWAYS, PHONE, PHONE, True, route), ("A", kind), route)

    def test_a_gateway_that_is_not_found_leaves_open_who_is_at_none(self) -> None:
        """
        Who is at another one is known all the same.
        """
        some = GATEWAYS._replace(is_complete=False)
        self.assertEqual(direction_of(some, PHONE, PHONE, True, None), UNKNOWN)
        self.assertEqual(direction_of(some, GATEWAY, PHONE, True, None), Direction("I"))
        self.assertEqual(direction_of(some, PHONE, GATEWAY, False, None), ("O", "tandem"))
        self.assertEqual(direction_of(some, GATEWAY, None, False, None), ("I", "incoming"))
        self.assertEqual(direction_of(some, PHONE, GATEWAY, True, None), ("O", "outgoing"))
        self.assertEqual(direction_of(some, PHONE, GATEWAY, None, None), Direction("O"))

    @given(CONTACTS, CONTACTS, st.sampled_from([True, False, None]), st.none() | st.text(max_size=20))
    def test_nothing_that_is_sent_breaks_it(
        self, caller: str | None, callee: str | None, internal: bool | None, route: str | None
    ) -> None:
        """
        Contacts are what strangers write.
        """
        code, kind = direction_of(GATEWAYS, caller, callee, internal, route)
        self.assertIn(code, ("I", "O", "A"))
        self.assertIn(kind, ("incoming", "outgoing", "tandem", "internal"))
        transport_of(caller)


class ContactTests(SynchronousTestCase):
    """
    Tests for what a Contact says.
    """

    def test_hosts_are_spelled_in_one_way(self) -> None:
        """
        Whatever stands around them.
        """
        for contact, host in (
            ('"A <b@c>" <sip:GW1.Example.com.:5062>', "gw1.example.com"),
            ("sip:10.1.1.9", "10.1.1.9"),
            ("<sip:5@[2001:DB8::0:1]:5060>", "2001:db8::1"),
            ("<sips:a@h?Subject=x@y>", "h"),
            ("<tel:112>", "112"),
            ("nothing", ""),
            ("<sip:[::g]>", "::g"),
        ):
            self.assertEqual(host_of(contact), host, contact)

    def test_transports_are_told_where_the_contact_tells(self) -> None:
        """
        RFC 3263 4.1: an address without a word is UDP, of a name only DNS knows.
        """
        for contact, transport in (
            (PHONE, "tcp"),
            ('"x; transport=udp" <sip:a@h;TRANSPORT=Tls;lr>;expires=5', "tls"),
            ("sip:a@10.1.1.1;transport=ws", "ws"),
            ("<sips:a@10.1.1.1;transport=tcp>", "tls"),
            ("<sip:a@10.1.1.1>;transport=tcp", "udp"),
            ("<sip:a@[::1]:5060>", "udp"),
            ("<sip:a@phone.example.com>", None),
            ("<sip:a@h;transport=>", None),
            ("junk", None),
            ("", None),
            (None, None),
        ):
            self.assertEqual(transport_of(contact), transport, contact)


class RecordTests(SynchronousTestCase):
    """
    Tests for the columns of a record.
    """

    def test_both_sides_and_who_hung_up(self) -> None:
        """
        By whichever side the BYE came.
        """
        record = resolve([calls.requested(), calls.set_up(), calls.ended()])
        self.assertEqual((record.caller_transport, record.callee_transport), ("tcp", "udp"))
        self.assertEqual((record.hung_up_by, record.call_direction, record.call_type), ("caller", None, None))
        record = resolve([calls.requested(), calls.set_up(), calls.ended_by_callee()])
        self.assertEqual(record.hung_up_by, "callee")

    def test_nobody_hung_up_a_call_that_goes_on_or_failed(self) -> None:
        """
        Who gives up before anybody answers does.
        """
        self.assertEqual(resolve([calls.requested(), calls.failed(487)]).hung_up_by, "caller")
        self.assertIsNone(resolve([calls.requested(), calls.failed(486)]).hung_up_by)
        self.assertIsNone(resolve([calls.requested(), calls.set_up()]).hung_up_by)

    def test_of_a_bye_alone_nobody_knows_whose_call_it_was(self) -> None:
        """
        With the answer it is known.
        """
        self.assertIsNone(resolve([calls.ended()]).hung_up_by)
        self.assertEqual(resolve([calls.set_up(), calls.ended_by_callee()]).hung_up_by, "callee")

    def test_the_direction_stands_in_the_record(self) -> None:
        """
        Of contacts with their parameters.
        """
        gateways = Gateways(frozenset({"10.1.2.8"}))
        record = resolve(
            [calls.requested(caller_internal=True), calls.set_up(), calls.ended()], None, gateways=gateways
        )
        self.assertEqual((record.call_direction, record.call_type), ("O", "outgoing"))
