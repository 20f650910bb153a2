"""
Tests for L{sipxha.services.auth_proxy}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth import identity as signed_identity
from sipxha.routing.caller_alias import CallerAlias, CallerAliases
from sipxha.routing.permissions import AuthRules, HostMatch, UserMatch, compile_user_pattern
from sipxha.routing.route import OwnNames
from sipxha.routing.route_state import PARAMETER
from sipxha.services.auth_proxy import AuthProxy, OwnRoutes
from sipxha.services.forwarding import EDGE_ANSWER, GATEWAY_ANSWER, GATEWAY_HOP
from sipxha.services.proxy import EMERGENCY, IDENTITY, NOBODY
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request
from tests.services.proxies import DOMAIN, SECRET, Surroundings, a_request, receive
from tests.support.fake_endpoint import FLOW, FakeBranch

PHONE = "sip:202@10.1.1.9:5062"
ROUTES = OwnRoutes(
    "sip:10.1.1.50:5080;lr", "sip:10.1.1.50:5080;transport=tcp;lr", "sips:sipx1.example.com:5081;lr"
)
RULES = AuthRules(
    [
        HostMatch(
            frozenset({("gw1.net", None)}),
            (
                UserMatch((compile_user_pattern("9xxx"),), frozenset({"LocalDialing"})),
                UserMatch((compile_user_pattern("."),), frozenset({"LongDistanceDialing", "NoAccess"})),
            ),
        )
    ]
)


class AuthProxyTests(SynchronousTestCase):
    """
    The last of our servers before a phone or a gateway.
    """

    def setUp(self) -> None:
        """
        An authproxy at 10.1.1.50:5080.
        """
        self.around = Surroundings()
        self.endpoint = self.around.endpoint
        self.proxy = AuthProxy(
            self.around.clock,
            self.around.cluster,
            "10.1.1.50",
            5080,
            OwnNames([("10.1.1.50", 5080), ("sipx1.example.com", 5081), ("ap.sipx1.example.com", None)]),
            5081,
            routes=ROUTES,
            rules=RULES,
        )
        self.around.attach(self.proxy)

    def signed(self, request: Request, identity: str = "201@example.com") -> Request:
        """
        @return: C{request} as the forking proxy sends it on.
        """
        now = self.around.clock.seconds()
        request.set(IDENTITY, signed_identity.sign(SECRET, identity, request.call_id, "caller", now))
        request.prepend("route", "<sip:ap.sipx1.example.com;lr>")
        return request

    def invite(self, uri: str = PHONE, **fields: str) -> FakeBranch:
        """
        @return: the branch of an INVITE that the forking proxy let in.
        """
        receive(self.proxy, self.signed(a_request("INVITE", uri, **fields)))
        return self.endpoint.branches[-1]

    def test_a_call_goes_to_the_phone_with_our_record_route(self) -> None:
        """
        Our Route is gone, the signed identity stays inside.
        """
        branch = self.invite()
        self.assertEqual(branch.hops, [Hop("udp", "10.1.1.9", 5062)])
        self.assertFalse(branch.request.has("route"))
        self.assertFalse(branch.request.has(IDENTITY))
        (record,) = branch.request.record_routes
        self.assertEqual(
            (record.uri.host, record.uri.port, "lr" in record.uri.params), ("10.1.1.50", 5080, True)
        )
        self.assertIsNone(branch.first_answer)

    def test_the_setup_is_logged_when_the_phone_answers(self) -> None:
        """
        S with the callee's contact and the INVITE's own branch.
        """
        branch = self.invite()
        branch.answer(180)
        branch.answer(200, "<sip:202@10.1.1.9:5062>")
        self.assertEqual(self.around.log.types, "S")
        event = self.around.log.events[0]
        self.assertEqual(
            (event.contact, event.branch_id, event.to_tag), ("<sip:202@10.1.1.9:5062>", "z9hG4bKphone", "far")
        )
        self.assertEqual(self.endpoint.statuses, [100, 180, 200])

    def test_an_answer_that_comes_again_is_logged_once(self) -> None:
        """
        All of them go upstream; a second phone's is another dialog.
        """
        branch = self.invite()
        for _ in range(3):
            branch.answer(200, "<sip:202@10.1.1.9:5062>")
        self.assertEqual(self.around.log.types, "S")
        branch.answer(200, "<sip:202@10.1.1.10>", to_tag="other")
        branch.answer(200, "<sip:202@10.1.1.10>", to_tag="other")
        self.assertEqual(self.around.log.types, "SS")
        self.assertEqual(self.endpoint.statuses, [100, 200, 200, 200, 200, 200])
        first, *_, last = self.around.log.events
        self.assertEqual((last.to_tag, last.contact), ("other", "<sip:202@10.1.1.10>"))
        self.assertEqual((last.branch_id, last.via_count), (first.branch_id, first.via_count))

    def test_failures_are_the_forking_proxys_to_log(self) -> None:
        """
        It alone sees what becomes of the call as a whole.
        """
        self.invite().answer(486)
        self.assertEqual((self.around.log.types, self.endpoint.statuses), ("", [100, 486]))

    def test_a_redirection_is_left_to_the_forking_proxy(self) -> None:
        """
        302 goes up as it came.
        """
        self.invite().answer(302, "<sip:other@10.1.1.10>")
        self.assertEqual((self.endpoint.statuses, len(self.endpoint.branches)), ([100, 302], 1))

    def test_G05_a_dialog_with_a_gruu_goes_on_by_the_forking_proxy(self) -> None:
        """
        Which does not know the dialog, and takes our word for it; a token it
        knows by itself.
        """
        bye = self.in_dialog("BYE")
        bye.uri = f"sip:201@{DOMAIN};gr=urn:uuid:1"
        receive(self.proxy, bye)
        self.assertTrue(self.endpoint.branches[-1].request.has(IDENTITY))
        bye = self.in_dialog("BYE")
        bye.add("route", f"<{self.around.edge(address='10.1.2.50').route(FLOW)}>")
        receive(self.proxy, bye)
        self.assertFalse(self.endpoint.branches[-1].request.has(IDENTITY))

    def test_O06_an_edge_that_is_gone_is_a_flow_that_is_gone(self) -> None:
        """
        430, so that the forking proxy tries the phone's other flow; not 500.
        Also when a cut line says nothing, but not when the phone does not.
        """
        route = self.around.edge(address="10.1.2.50").route(Flow("udp", "192.0.2.1", 5060, "", 0))
        for status, is_heard, final in ((503, False, 430), (408, False, 430), (408, True, 408)):
            branch = self.invite("sip:202@192.168.1.2", route=f"<{route}>")
            self.assertEqual(branch.last_answer, EDGE_ANSWER)
            if is_heard:
                branch.hear()
            branch.answer(status)
            self.assertEqual(self.endpoint.statuses[-1], final, (status, is_heard))

    def in_dialog(self, method: str) -> Request:
        """
        @return: a request of the callee, along the route set of the call.
        """
        (record,) = self.invite().request.rows("record-route")
        request = a_request(method, "sip:201@10.1.1.7", "caller", route=record)
        request.set("from", f"<{PHONE}>;tag=callee")
        return request

    def test_S13_in_dialog_requests_pass_unchallenged(self) -> None:
        """
        A BYE of either side bears our signature; the end is logged.
        """
        receive(self.proxy, self.in_dialog("BYE"))
        self.assertEqual(self.endpoint.branches[-1].hops, [Hop("udp", "10.1.1.7", 5060)])
        self.assertEqual(self.around.log.types, "E")

    def test_A17_credentials_for_us_go_no_further(self) -> None:
        """
        Also where nobody had to look at them: whoever gets them may guess the
        password.  Those for others stay.
        """
        foreign = 'Digest realm="elsewhere.net", username="x"'
        for method in ("BYE", "ACK"):
            request = self.in_dialog(method)
            request.add("proxy-authorization", self.around.credentials(method, "sip:201@10.1.1.7"))
            request.add("proxy-authorization", foreign)
            if method == "ACK":
                self.proxy.ack_received(request, FLOW)
                sent = self.endpoint.acks[-1][0]
            else:
                receive(self.proxy, request)
                sent = self.endpoint.branches[-1].request
            self.assertEqual(sent.rows("proxy-authorization"), [foreign])

    def test_A04_acks_are_never_challenged(self) -> None:
        """
        Nor answered at all, whatever credentials they carry.
        """
        before = len(self.endpoint.responses)
        self.proxy.ack_received(self.in_dialog("ACK"), FLOW)
        request = a_request("ACK", PHONE, "callee")
        request.add("proxy-authorization", self.around.credentials("INVITE", PHONE, "guess"))
        self.proxy.ack_received(request, FLOW)
        statuses = self.endpoint.statuses[before:]
        self.assertEqual((len(self.endpoint.acks), set(statuses) - {100}), (1, set()))

    def test_a_transfer_is_logged(self) -> None:
        """
        T with its Refer-To.
        """
        request = self.in_dialog("REFER")
        request.set("refer-to", "<sip:203@example.com>")
        receive(self.proxy, request)
        self.assertEqual(self.around.log.types, "T")
        self.assertEqual(self.around.log.events[0].refer_to, "<sip:203@example.com>")

    def test_P31_the_ack_of_a_dialog_passes_and_no_other(self) -> None:
        """
        Nobody can be asked, so only what we signed goes on.
        """
        self.proxy.ack_received(self.in_dialog("ACK"), FLOW)
        self.assertEqual(len(self.endpoint.acks), 1)
        self.proxy.ack_received(a_request("ACK", PHONE, "callee"), FLOW)
        self.assertEqual(len(self.endpoint.acks), 1)

    def test_every_other_method_is_challenged(self) -> None:
        """
        Default deny, with a To tag too.
        """
        for method in ("INVITE", "MESSAGE", "SUBSCRIBE", "REFER", "BYE", "OPTIONS", "FOO"):
            for to_tag in ("", "made-up"):
                receive(self.proxy, a_request(method, PHONE, to_tag))
                self.assertEqual(self.endpoint.statuses[-1], 407, method)
        self.assertEqual((self.endpoint.branches, self.around.log.types), ([], ""))

    def test_S12_permissions_are_asked_of_the_target(self) -> None:
        """
        201 may dial locally; for the rest 403 says what is missing.
        """
        self.invite("sip:9555@gw1.net")
        self.assertEqual(len(self.endpoint.branches), 1)
        receive(self.proxy, self.signed(a_request("INVITE", "sip:15551234@gw1.net")))
        response = self.endpoint.responses[-1][1]
        self.assertEqual((response.status, response.reason), (403, "Requires LongDistanceDialing|NoAccess"))
        self.assertEqual(len(self.endpoint.branches), 1)

    def test_an_accepted_stranger_reaches_phones_but_no_gateway(self) -> None:
        """
        The gateway asks who it is.
        """
        receive(self.proxy, self.signed(a_request("INVITE", PHONE), NOBODY))
        self.assertEqual(len(self.endpoint.branches), 1)
        receive(self.proxy, self.signed(a_request("INVITE", "sip:9555@gw1.net"), NOBODY))
        self.assertEqual(self.endpoint.statuses[-1], 407)

    def test_S5_a_spiral_is_recorded_once(self) -> None:
        """
        The Record-Route of the first pass is enough, also on another node.
        """
        record = self.invite().request.get("record-route") or ""
        branch = self.invite(record_route=record)
        self.assertEqual(branch.request.rows("record-route"), [record])

    def test_P14_C11_what_goes_safely_comes_back_safely(self) -> None:
        """
        The Record-Route of a sips request is a sips URI, with the name that
        our certificate is for (C11) and without a transport; it is ours.
        """
        request = a_request("INVITE", "sips:202@10.1.1.9:5062")
        request.set("contact", "<sips:201@10.1.1.7>")
        receive(self.proxy, self.signed(request))
        branch = self.endpoint.branches[-1]
        (record,) = branch.request.record_routes
        uri = record.uri
        self.assertEqual((uri.scheme, uri.host, uri.port), ("sips", "sipx1.example.com", 5081))
        self.assertFalse("transport" in uri.params)
        bye = a_request("BYE", "sips:201@10.1.1.7", "caller", route=str(record))
        bye.set("from", f"<{PHONE}>;tag=callee")
        receive(self.proxy, bye)
        self.assertFalse(self.endpoint.branches[-1].request.has("route"))

    def test_P14_two_sides_that_differ_have_a_route_each(self) -> None:
        """
        RFC 5658: to the callee the one that it can use, to the caller his own;
        both are ours, whichever way a request comes back.
        """
        for uri, expected in (
            ("sips:202@10.1.1.9", ROUTES.safe),
            ("sip:202@10.1.1.9;transport=tcp", ROUTES.over_tcp),
        ):
            records = self.invite(uri).request.rows("record-route")
            self.assertEqual(
                [row[1:].partition(";sipX-route")[0] for row in records], [expected, ROUTES.plain]
            )
            bye = a_request("BYE", "sip:201@10.1.1.7", "caller", route=", ".join(records))
            bye.set("from", f"<{uri}>;tag=callee")
            receive(self.proxy, bye)
            self.assertFalse(self.endpoint.branches[-1].request.has("route"))
            self.assertEqual(self.endpoint.branches[-1].hops, [Hop("udp", "10.1.1.7", 5060)])

    def test_P14_a_spiral_records_the_side_that_it_turns_to(self) -> None:
        """
        The caller's side stays as the first pass has it.
        """
        (record,) = self.invite(f"sip:203@{DOMAIN}").request.rows("record-route")
        records = self.invite("sips:202@10.1.1.9", record_route=record).request.rows("record-route")
        self.assertEqual((len(records), records[1]), (2, record))
        again = self.invite("sips:202@10.1.1.9", record_route=", ".join(records))
        self.assertEqual(again.request.values("record-route"), records)

    def test_S20_route_state_outlives_its_proxy_and_its_node(self) -> None:
        """
        An authproxy that was started since, on another node even, knows the
        dialog by the secret that all share; by the name it is served there.
        """
        bye = self.in_dialog("BYE")
        for names in ([("10.1.1.50", 5080)], [("10.1.1.51", 5080), ("ap.sipx1.example.com", None)]):
            other = AuthProxy(
                self.around.clock,
                self.around.cluster,
                names[0][0],
                5080,
                OwnNames(names),
                routes=ROUTES,
                rules=RULES,
            )
            self.around.attach(other)
            request = bye.copy()
            if len(names) == 2:
                route = (bye.get("route") or "").replace("10.1.1.50:5080", "ap.sipx1.example.com")
                request.set("route", route)
            receive(other, request)
            self.assertEqual(self.endpoint.branches[-1].hops, [Hop("udp", "10.1.1.7", 5060)])

    def test_the_end_of_a_call_is_logged_once(self) -> None:
        """
        A BYE to a GRUU comes back by the forking proxy, and passes again.
        """
        bye = self.in_dialog("BYE")
        bye.uri = f"sip:201@{DOMAIN};gr=urn:uuid:1"
        receive(self.proxy, bye)
        sent = self.endpoint.branches[-1].request
        self.assertEqual(self.around.log.types, "E")
        again = sent.copy()
        again.uri = "sip:201@10.1.1.7"
        again.prepend("route", "<sip:ap.sipx1.example.com;lr>")
        receive(self.proxy, again)
        self.assertEqual(self.endpoint.branches[-1].hops, [Hop("udp", "10.1.1.7", 5060)])
        self.assertEqual(self.around.log.types, "E")

    def test_a_caller_may_have_another_name_at_a_gateway(self) -> None:
        """
        Each side goes on to see the name that it knows, in requests of both
        directions and in their answers; also after the rules are gone.
        """
        alias = '"Ann" <sip:555@example.com>'
        self.proxy.aliases = CallerAliases([CallerAlias("201@example.com", ("gw1.net", None), alias)])
        own, shown = f"<sip:201@{DOMAIN}>;tag=caller", f"{alias};tag=caller"
        branch = self.invite("sip:9555@gw1.net")
        self.assertEqual(branch.request.get("from"), shown)
        for tag in ("far", "far", "other"):
            # The first, the same again, and that of one more phone behind the gateway.
            branch.answer(200, "<sip:gw1.net>", to_tag=tag)
            self.assertEqual(self.endpoint.responses[-1][1].get("from"), own)
        self.assertEqual([event.from_url for event in self.around.log.events], [own, own])
        (record,) = branch.request.rows("record-route")
        self.proxy.aliases = CallerAliases()
        there = a_request("INFO", "sip:gw1.net", "far", route=record)
        receive(self.proxy, there)
        branch = self.endpoint.branches[-1]
        self.assertEqual(branch.request.get("from"), shown)
        branch.answer(200)
        self.assertEqual(self.endpoint.responses[-1][1].get("from"), own)
        ack = there.copy()
        ack.set("cseq", "1 ACK")
        self.proxy.ack_received(ack, FLOW)
        self.assertEqual(self.endpoint.acks[-1][0].get("from"), shown)
        back = a_request("BYE", "sip:201@10.1.1.7", "caller", route=record)
        back.set("from", "<sip:9555@gw1.net>;tag=far")
        back.set("to", shown)
        receive(self.proxy, back)
        branch = self.endpoint.branches[-1]
        self.assertEqual(branch.request.get("to"), own)
        branch.answer(200)
        self.assertEqual(self.endpoint.responses[-1][1].get("to"), shown)

    def test_any_one_permission_suffices(self) -> None:
        """
        What nobody has shuts out nobody where it stands beside others;
        alone it shuts out everybody, and a valid user is anybody with a name.
        """

        def rule(user: str, *permissions: str) -> UserMatch:
            return UserMatch((compile_user_pattern(user),), frozenset(permissions))

        rules = (
            rule("1", "LongDistanceDialing", "LocalDialing"),
            rule("2", "NoAccess"),
            rule("3", "ValidUser"),
            rule("4", "LocalDialing", "NoAccess"),
        )
        self.proxy.rules = AuthRules([HostMatch(frozenset({("gw1.net", None)}), rules)])
        for user, status, stranger in (("1", 100, 407), ("2", 403, 407), ("3", 100, 407), ("4", 100, 407)):
            for identity, expected in (("201@example.com", status), (NOBODY, stranger)):
                receive(self.proxy, self.signed(a_request("INVITE", f"sip:{user}@gw1.net"), identity))
                self.assertEqual(self.endpoint.statuses[-1], expected, user)

    def test_an_emergency_call_needs_no_permission(self) -> None:
        """
        But whoever it leads to in our own domain may not lead it further with
        that; and a gateway that gives no sign of life is left soon.
        """
        receive(self.proxy, self.signed(a_request("INVITE", "sip:112@gw1.net"), EMERGENCY))
        branch = self.endpoint.branches[-1]
        self.assertEqual(branch.hops, [Hop("udp", "gw1.net", 5060)])
        self.assertFalse(branch.request.has(IDENTITY))
        self.around.clock.advance(GATEWAY_ANSWER)
        self.assertEqual((branch.is_cancelled, self.endpoint.statuses), (True, [100, 408]))
        receive(self.proxy, self.signed(a_request("INVITE", f"sip:203@{DOMAIN}"), EMERGENCY))
        branch = self.endpoint.branches[-1]
        self.assertIn(NOBODY, branch.request.get(IDENTITY) or "")
        branch.hear()
        self.around.clock.advance(GATEWAY_ANSWER)
        self.assertFalse(branch.is_cancelled)

    def test_a_gateway_that_says_nothing_is_left_soon(self) -> None:
        """
        Each of its addresses, and then all of it; what rings may ring.
        """
        self.around.gateways.add("gw2.net")
        branch = self.invite("sip:5551234@gw2.net")
        self.assertEqual(branch.first_answer, GATEWAY_HOP)
        self.around.clock.advance(GATEWAY_ANSWER)
        self.assertEqual((branch.is_cancelled, self.endpoint.statuses), (True, [100, 408]))
        branch = self.invite("sip:5551234@gw2.net")
        branch.hear()
        self.around.clock.advance(GATEWAY_ANSWER)
        self.assertFalse(branch.is_cancelled)

    def test_a_gateway_has_all_its_time_inside_a_dialog(self) -> None:
        """
        There is no other, and a 408 would end the call (RFC 5057).
        """
        self.around.gateways.add("gw2.net")
        record = self.invite("sip:5551234@gw2.net").request.get("record-route") or ""
        again = a_request("INVITE", "sip:5551234@gw2.net", "callee", route=record)
        receive(self.proxy, again)
        branch = self.endpoint.branches[-1]
        self.around.clock.advance(GATEWAY_ANSWER)
        self.assertFalse(branch.is_cancelled)

    def test_M25_numbers_and_services_are_not_for_here(self) -> None:
        """
        The front door turns those that lead somewhere into SIP URIs.
        """
        receive(self.proxy, self.signed(a_request("INVITE", "urn:service:sos"), EMERGENCY))
        self.assertEqual(self.endpoint.statuses, [416])

    def test_a_spiral_keeps_its_identity(self) -> None:
        """
        A target in our own domain goes back to the front door, which believes
        the signature.
        """
        branch = self.invite("sip:203@example.com")
        self.assertTrue(branch.request.has(IDENTITY))

    def test_forged_route_state_does_not_open_the_door(self) -> None:
        """
        A Route with somebody's own signature is challenged.
        """
        request = a_request(
            "BYE", PHONE, "callee", route=f"<sip:10.1.1.50:5080;lr;{PARAMETER}=Y2FsbGVy!AAAA>"
        )
        receive(self.proxy, request)
        self.assertEqual(self.endpoint.statuses, [407])
