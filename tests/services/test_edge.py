"""
Tests for L{sipxha.services.edge}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.flow_token import TokenForged
from sipxha.services.edge import PING_INTERVAL, TICK, Edge, FlowGone
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request
from sipxha.sip.response import response_to
from sipxha.sip.uri import Uri
from tests.registry.rows import a_row
from tests.services.proxies import DOMAIN, Surroundings, a_request
from tests.support.fake_endpoint import FLOW

TCP = Flow("tcp", "10.1.1.7", 40000, "10.1.1.50", 5060, 3)
TLS = TCP._replace(transport="tls", connection=4)
NATED = Flow("udp", "192.0.2.1", 40000, "10.1.1.50", 5060)


def a_register(
    contact: str = "<sip:201@10.1.1.7>", via: str = "SIP/2.0/UDP 10.1.1.7;branch=z9hG4bKp", **fields: str
) -> Request:
    """
    @return: a REGISTER of 201, as the endpoint hands it on.
    """
    request = a_request("REGISTER", f"sip:{DOMAIN}", **fields)
    request.set("to", f"<sip:201@{DOMAIN}>")
    request.set("contact", contact)
    request.set("via", via)
    return request


class EdgeCase(SynchronousTestCase):
    """
    An edge at 10.1.1.50.
    """

    def setUp(self) -> None:
        """
        In its first life.
        """
        self.around = Surroundings()
        self.edge = self.make()

    def make(self, life: int = 1, address: str = "10.1.1.50", *, authenticated: bool = True) -> Edge:
        """
        @return: an edge that tells this test which flows are closed.
        """
        edge = self.around.edge(life, address, authenticated=authenticated)
        self.closed: list[str] = []
        edge.closed = self.closed.append
        return edge

    def token(self, flow: Flow) -> str:
        """
        @return: the token of a flow.
        """
        return Uri.parse(self.edge.route(flow)).user or ""

    def register(self, flow: Flow, expires: int = 3600, user: str = "201", edge: Edge | None = None) -> None:
        """
        Let a phone register over C{flow}.
        """
        request = a_register()
        request.set("to", f"<sip:{user}@{DOMAIN}>")
        response = response_to(request, 200)
        if expires:
            response.add("contact", f"<sip:201@10.1.1.7>;expires={expires}")
        (edge or self.edge).registered(request, response, flow)


class NeedTests(EdgeCase):
    """
    Tests for who gets a token.
    """

    def test_a_plain_phone_over_udp_does_without(self) -> None:
        """
        It comes from where it says that it is.
        """
        for via in (
            "SIP/2.0/UDP 10.1.1.7;branch=z9hG4bKp",
            "SIP/2.0/UDP 10.1.1.7:5060;branch=z9hG4bKp;rport=5060;received=10.1.1.7",
            "SIP/2.0/UDP phone.example.com;branch=z9hG4bKp;received=10.1.1.7",
        ):
            # The last but one binds another device.
            for contact in ("<sip:201@10.1.1.7>", "<sip:201@phone.example.com>", "<sip:201@10.1.1.9>", "*"):
                self.assertFalse(self.edge.needs_flow(a_register(contact, via), FLOW), (via, contact))

    def test_a_phone_behind_a_nat_needs_one(self) -> None:
        """
        Its Via tells of another address, or of another port.
        """
        for via, contact in (
            ("SIP/2.0/UDP 192.168.1.2;branch=z9hG4bKp;received=10.1.1.7", "<sip:201@192.168.1.2>"),
            ("SIP/2.0/UDP 10.1.1.7:5070;branch=z9hG4bKp;rport=5060;received=10.1.1.7", "<sip:201@10.1.1.7>"),
        ):
            self.assertTrue(self.edge.needs_flow(a_register(contact, via), FLOW), via)

    def test_who_goes_by_a_gruu_needs_one(self) -> None:
        """
        The ACK and the BYE to linphone went to the domain, and no further.
        """
        contact = '<sip:201@10.1.1.7>;+sip.instance="<urn:uuid:1>"'
        self.assertTrue(self.edge.needs_flow(a_register(contact, supported="outbound, GRUU"), FLOW))
        self.assertFalse(self.edge.needs_flow(a_register(contact, supported="outbound"), FLOW))
        self.assertFalse(self.edge.needs_flow(a_register(supported="gruu"), FLOW))
        invite = a_request("INVITE", f"sip:202@{DOMAIN}")
        invite.set("via", "SIP/2.0/UDP 10.1.1.7;branch=z9hG4bKp")
        for contact, needs in (
            (f"<sip:201@{DOMAIN};gr=urn:uuid:1>", True),
            ("<sip:201@10.1.1.7;grade=a>", False),
            ("<sip:201@10.1.1.7>", False),
            ("<sip:201@10.1.1.7;gr=1>, <>", False),
        ):
            invite.set("contact", contact)
            self.assertEqual(self.edge.needs_flow(invite, FLOW), needs, contact)

    def test_a_connection_is_always_needed(self) -> None:
        """
        Nobody can say whether the phone takes another one.
        """
        for flow in (TCP, TLS):
            self.assertTrue(self.edge.needs_flow(a_register(), flow))

    def test_what_another_proxy_sends_needs_none(self) -> None:
        """
        We are not next to the phone (RFC 5626 section 5.1).
        """
        request = a_register(
            contact='<sip:201@10.1.1.7>;reg-id=1;+sip.instance="<urn:uuid:1>"', supported="outbound"
        )
        self.assertTrue(self.edge.wants_outbound(request))
        request.prepend("via", "SIP/2.0/TCP 10.1.1.99;branch=z9hG4bKq")
        self.assertFalse(self.edge.needs_flow(request, TCP))
        self.assertFalse(self.edge.wants_outbound(request))

    def test_outbound_is_for_those_who_ask(self) -> None:
        """
        With both its option and a flow of its own.
        """
        self.assertFalse(self.edge.wants_outbound(a_register(supported="path, outbound")))
        contact = '<sip:201@10.1.1.7>;reg-id=1;+sip.instance="<urn:uuid:1>"'
        self.assertFalse(self.edge.wants_outbound(a_register(contact, supported="path")))
        self.assertTrue(self.edge.wants_outbound(a_register(contact, supported="path, outbound")))


class WayTests(EdgeCase):
    """
    Tests for where a token leads.
    """

    def way(self, route: str, source: Flow = FLOW, *, next_is_ours: bool = False) -> Flow | Uri | None:
        """
        @return: where a request goes that carried C{route}.
        """
        return self.edge.way([Uri.parse(route)], source, next_is_ours)

    def test_it_leads_to_its_flow(self) -> None:
        """
        Over each transport, and by a URI that uses the same.
        """
        for flow, place in (
            (NATED, "@10.1.1.50:5060;transport=udp;lr"),
            (TCP, "@10.1.1.50:5060;transport=tcp;lr"),
            (TLS, f"@sipx1.{DOMAIN}:5061;transport=tls;lr"),
        ):
            route = self.edge.route(flow)
            self.assertTrue(route.startswith("sip:flow_") and route.endswith(place), route)
            self.assertEqual(self.way(route), flow)

    def test_what_is_for_sips_comes_by_sips(self) -> None:
        """
        To the name that our certificate is for.
        """
        route = self.edge.route(TLS, safe=True)
        self.assertTrue(route.startswith("sips:flow_") and route.endswith(f"@sipx1.{DOMAIN}:5061;lr"), route)
        self.assertEqual(self.way(route), TLS)

    def test_other_routes_lead_nowhere_in_particular(self) -> None:
        """
        They are those of phones with an outbound proxy.
        """
        self.assertIsNone(self.way(f"sip:{DOMAIN};lr"))
        self.assertIsNone(self.way(f"sip:201@{DOMAIN};lr"))

    def test_what_comes_on_its_own_flow_goes_on(self) -> None:
        """
        So does what has another of our servers to go to: the phone may have
        got another port from its NAT, or another connection.
        """
        for flow in (NATED, TCP):
            self.assertIsNone(self.way(self.edge.route(flow), flow))
            self.assertIsNone(
                self.way(self.edge.route(flow), flow._replace(port=9, connection=9), next_is_ours=True)
            )

    def test_O11_a_forged_token_is_refused(self) -> None:
        """
        403.
        """
        self.assertRaises(TokenForged, self.way, self.edge.route(TCP).replace("flow_A", "flow_B"))

    def test_O11_a_dead_flow_is_gone(self) -> None:
        """
        430; and the registrar hears of it, who may not have yet.
        """
        self.around.endpoint.gone.add(TCP)
        self.assertRaises(FlowGone, self.way, self.edge.route(TCP))
        self.assertEqual(FlowGone.status, 430)
        self.assertEqual(self.closed, [self.token(TCP)])

    def test_O11_a_connection_of_an_earlier_life_is_gone(self) -> None:
        """
        Another one has its number now.
        """
        route = self.edge.route(TCP)
        self.edge = self.make(life=2)
        self.assertRaises(FlowGone, self.way, route)
        self.assertRaises(FlowGone, self.way, route, TCP)
        self.assertEqual(self.way(self.edge.route(TCP)), TCP)

    def test_a_flow_over_udp_outlives_us(self) -> None:
        """
        The NAT knows nothing of our lives.
        """
        route = self.edge.route(NATED)
        self.edge = self.make(life=2)
        self.assertEqual(self.way(route), NATED)

    def test_an_address_of_ipv6_is_ours_however_it_is_written(self) -> None:
        """
        A token has the canonical text.
        """
        self.edge = self.make(address="2001:DB8:0::50")
        route = self.edge.route(TCP)
        self.assertIn("@[2001:DB8:0::50]:5060;", route)
        way = self.way(route)
        assert isinstance(way, Flow)
        self.assertEqual(way.connection, TCP.connection)

    def test_O12_a_token_of_another_node_leads_there(self) -> None:
        """
        Under whichever name it came here.
        """
        route = self.make(address="10.1.2.50").route(TCP)
        way = self.way(route.replace("@10.1.2.50:5060", f"@{DOMAIN}"))
        self.assertEqual(str(way), f"sip:{Uri.parse(route).user}@10.1.2.50:5060;lr")


class LifeTests(EdgeCase):
    """
    Tests for flows that somebody is registered over.
    """

    def test_O07_the_registrar_hears_of_a_lost_connection(self) -> None:
        """
        Once, and only if somebody was registered over it.
        """
        self.register(TCP)
        self.edge.flow_closed(TLS)
        self.assertEqual(self.closed, [])
        self.edge.flow_closed(TCP)
        self.edge.flow_closed(TCP)
        self.assertEqual(self.closed, [self.token(TCP)])

    def test_O07_who_hangs_up_before_the_answer_was_never_there(self) -> None:
        """
        The registrar took the contact, and the connection was gone by then.
        """
        self.around.endpoint.gone.add(TCP)
        self.register(TCP)
        self.assertEqual(self.closed, [self.token(TCP)])

    def test_who_unregisters_leaves_nothing(self) -> None:
        """
        To be ended when the connection is.
        """
        self.register(TCP)
        self.register(TCP, 0)
        self.edge.flow_closed(TCP)
        self.assertEqual(self.closed, [])

    def test_a_question_changes_nothing(self) -> None:
        """
        A REGISTER without Contact.
        """
        self.register(TCP)
        request = a_register()
        request.remove("contact")
        self.edge.registered(request, response_to(request, 200), TCP)
        self.edge.flow_closed(TCP)
        self.assertEqual(len(self.closed), 1)

    def test_a_connection_tells_who_registered_over_it(self) -> None:
        """
        As long as he is registered.
        """
        invite = a_request()
        self.assertIsNone(self.edge.owner(invite, TCP))
        self.register(TCP)
        self.assertEqual(self.edge.owner(invite, TCP), f"201@{DOMAIN}")
        self.assertIsNone(self.edge.owner(invite, TLS))
        self.around.clock.advance(3600)
        self.assertIsNone(self.edge.owner(invite, TCP))

    def test_nobody_is_believed_to_be_another(self) -> None:
        """
        Nor who comes through another proxy.
        """
        self.register(TCP)
        other = a_request()
        other.set("from", f"<sip:202@{DOMAIN}>;tag=caller")
        self.assertIsNone(self.edge.owner(other, TCP))
        relayed = a_request()
        relayed.prepend("via", "SIP/2.0/TCP 10.1.1.99;branch=z9hG4bKq")
        self.assertIsNone(self.edge.owner(relayed, TCP))

    def test_a_connection_of_several_tells_nobody(self) -> None:
        """
        What is behind it may serve many.
        """
        self.register(TCP)
        self.register(TCP, user="202")
        self.assertIsNone(self.edge.owner(a_request(), TCP))
        self.edge.flow_closed(TCP)
        self.assertEqual(len(self.closed), 1)

    def test_datagrams_prove_nothing(self) -> None:
        """
        Their source can be forged.
        """
        self.register(NATED)
        self.assertIsNone(self.edge.owner(a_request(), NATED))

    def test_a_registration_without_proof_proves_nothing(self) -> None:
        """
        Where the registrar asks for no credentials.
        """
        self.edge = self.make(authenticated=False)
        self.register(TCP)
        self.assertIsNone(self.edge.owner(a_request(), TCP))


class PingTests(EdgeCase):
    """
    Tests for the phones behind a NAT.
    """

    def setUp(self) -> None:
        """
        The edge is running.
        """
        super().setUp()
        self.start()

    def start(self) -> None:
        """
        Start the edge.
        """
        self.edge.startService()
        self.addCleanup(self.edge.stopService)

    def pass_(self, seconds: float) -> list[tuple[str, int]]:
        """
        Let time go by.

        @return: who was pinged in that time.
        """
        self.around.endpoint.pinged.clear()
        self.around.clock.pump([TICK] * int(seconds / TICK))
        return [(flow.address, flow.port) for flow in self.around.endpoint.pinged]

    def test_a_registered_phone_is_pinged_every_25_seconds(self) -> None:
        """
        Once, however often it has registered.
        """
        self.register(NATED)
        self.register(NATED)
        self.assertEqual(self.pass_(PING_INTERVAL - 1), [])
        self.assertEqual(self.pass_(2), [("192.0.2.1", 40000)])
        self.assertEqual(len(self.pass_(10 * PING_INTERVAL)), 10)
        self.assertEqual(self.edge.mapped, 1)

    def test_until_it_is_registered_no_longer(self) -> None:
        """
        By time, or because it wants to.
        """
        self.register(NATED, 60)
        self.assertEqual(len(self.pass_(300)), 2)
        self.register(NATED, 3600)
        self.register(NATED, 0)
        self.assertEqual(self.pass_(300), [])
        self.assertEqual(self.edge.mapped, 0)
        self.register(NATED, 0)
        self.assertEqual(self.edge.mapped, 0)

    def test_connections_are_not_pinged(self) -> None:
        """
        Their phones do that themselves.
        """
        self.register(TCP)
        self.assertEqual(self.pass_(300), [])

    def test_who_was_registered_before_we_were_started_is_pinged_again(self) -> None:
        """
        By the rows that we have kept; those of other nodes are not ours to ping.
        """
        until = self.around.clock.seconds() + 3600
        other = self.make(address="10.1.2.50")
        paths = ["", "<sip:far.net;lr>", f"<{self.edge.route(TCP)}>", f"<{other.route(NATED)}>"]
        paths += [f"<{self.edge.route(NATED._replace(port=port))}>" for port in range(1, 51)]
        rows = [a_row(identity=f"{n}@{DOMAIN}", path=path, deadline=until) for n, path in enumerate(paths)]
        self.edge.take_up(rows)
        self.assertEqual(self.edge.mapped, 50)
        rounds = [len(self.pass_(1)) for _ in range(int(PING_INTERVAL))]
        self.assertEqual(sum(rounds), 50)
        self.assertLessEqual(max(rounds), 3)
