"""
Tests for L{sipxha.services.fork_proxy}, and through it for L{sipxha.services.proxy}.
"""

from __future__ import annotations

import gc
import re
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.failures import Burst
from sipxha.net.endpoint import IBranchObserver
from sipxha.routing.emergency import EmergencyNumbers
from sipxha.routing.loop import branch_suffix, loop_key
from sipxha.routing.route import OwnNames
from sipxha.routing.rules import DIRECT, FieldMatch, ForwardingRules, MethodMatch, Route
from sipxha.services.cluster import Admission
from sipxha.services.fork_proxy import ForkProxy
from sipxha.services.forwarding import FIRST_ANSWER, Forwarding
from sipxha.services.proxy import EMERGENCY, IDENTITY, NOBODY
from sipxha.sip.grammar import MalformedField
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.sip.uri import Uri
from sipxha.transaction.vocabulary import ServerKey
from tests.services.proxies import DOMAIN, Surroundings, Unlocatable, a_request, receive
from tests.support.fake_endpoint import FLOW, FakeBranch

TCP = Flow("tcp", "10.1.1.7", 40000, "10.1.1.50", 5060, 3)
RULES = ForwardingRules([Route(frozenset({(DOMAIN, None)}), (), f"sip:rr.{DOMAIN};lr")])
AUTHPROXY = Uri.parse(f"sip:ap.{DOMAIN};lr")
TARGET = f"sip:202@{DOMAIN}"


class ForkProxyTests(SynchronousTestCase):
    """
    The domain's front door.
    """

    def setUp(self) -> None:
        """
        A forking proxy at 10.1.1.50.
        """
        self.around = Surroundings()
        self.endpoint = self.around.endpoint
        self.proxy = self.make()

    def make(self, *, accept_strangers: bool = False, own_authproxy: Uri | None = None) -> ForkProxy:
        """
        @return: a forking proxy on this test's endpoint.
        """
        proxy = ForkProxy(
            self.around.clock,
            self.around.cluster,
            "10.1.1.50",
            5060,
            OwnNames([("10.1.1.50", None), (DOMAIN, None)]),
            5061,
            rules=RULES,
            authproxy=AUTHPROXY,
            edge=self.around.edge(),
            emergency=EmergencyNumbers(["112"], DOMAIN, self.around.cluster.is_ours),
            own_authproxy=own_authproxy,
            accept_strangers=accept_strangers,
            decline_ends_search=True,
        )
        self.around.attach(proxy)
        return proxy

    def invite(self, uri: str = TARGET, **fields: str) -> FakeBranch:
        """
        @return: the first branch of an INVITE with good credentials.
        """
        self.key = receive(
            self.proxy,
            a_request("INVITE", uri, proxy_authorization=self.around.credentials("INVITE", uri), **fields),
        )
        return self.endpoint.branches[0]

    def test_a_stranger_is_challenged_before_anything_is_looked_up(self) -> None:
        """
        407 with a challenge, and nothing was sent or logged.
        """
        receive(self.proxy, a_request())
        ((_, response),) = self.endpoint.responses
        self.assertEqual(response.status, 407)
        self.assertIn(f'realm="{DOMAIN}"', response.get("proxy-authenticate") or "")
        self.assertEqual((self.endpoint.branches, self.around.log.types, self.proxy.live), ([], "", 0))

    def test_wrong_credentials_are_challenged_again(self) -> None:
        """
        In the same words as none.
        """
        receive(
            self.proxy,
            a_request(proxy_authorization=self.around.credentials("INVITE", TARGET, "wrong")),
        )
        self.assertEqual(self.endpoint.statuses, [407])

    def test_A01_a_proxy_asks_with_407(self) -> None:
        """
        Never with 401, which is for whoever the request is for.
        """
        receive(self.proxy, a_request())
        ((_, response),) = self.endpoint.responses
        self.assertEqual((response.status, len(response.rows("proxy-authenticate"))), (407, 1))
        self.assertFalse(response.has("www-authenticate"))

    def test_A04_an_ack_with_the_credentials_of_its_invite_passes(self) -> None:
        """
        Unchallenged, and without them; a CANCEL needs none.
        """
        branch = self.invite()
        branch.answer(180)
        self.proxy.cancelled(self.key)
        self.assertTrue(branch.is_cancelled)
        ack = a_request("ACK", TARGET, "far", proxy_authorization=self.around.credentials("INVITE", TARGET))
        self.proxy.ack_received(ack, FLOW)
        self.assertEqual((len(self.endpoint.acks), self.endpoint.statuses), (1, [100, 180]))
        self.assertFalse(self.endpoint.acks[0][0].has("proxy-authorization"))

    def test_A15_A18_guesses_learn_nothing_and_leave_no_line(self) -> None:
        """
        The right password after five wrong ones is as wrong as they were.
        """
        with capturedLogs() as events:
            for password in [*["guess"] * 6, "secret"]:
                receive(
                    self.proxy,
                    a_request(proxy_authorization=self.around.credentials("INVITE", TARGET, password)),
                )
        self.assertEqual((self.endpoint.statuses, self.endpoint.branches, events), ([407] * 7, [], []))
        (burst,) = self.around.cluster.authenticator.failures.take_bursts()
        self.assertEqual(burst, Burst("10.1.1.7", "201"))
        self.around.clock.advance(13)
        self.assertEqual(len(self.invite().hops), 1)

    def test_a_user_is_let_in_and_the_call_is_logged(self) -> None:
        """
        100 at once, R in the log, and the request goes to the registrar with
        the identity signed and the credentials gone.
        """
        branch = self.invite()
        self.assertEqual(self.endpoint.statuses, [100])
        self.assertEqual(self.around.log.types, "R")
        self.assertEqual(self.around.log.events[0].caller_internal, True)
        self.assertEqual(branch.hops, [Hop("udp", f"rr.{DOMAIN}", 5060)])
        self.assertEqual(branch.request.values("route"), [f"<sip:rr.{DOMAIN};lr>"])
        self.assertEqual(branch.request.max_forwards, 69)
        self.assertTrue(branch.request.has(IDENTITY))
        self.assertFalse(branch.request.has("proxy-authorization"))
        self.assertEqual(branch.first_answer, FIRST_ANSWER)

    def test_what_is_for_sips_goes_on_safely(self) -> None:
        """
        To the server of the rules and to the authproxy, whatever their URIs
        say (RFC 3261 section 16.6 step 7).
        """
        branch = self.invite(f"sips:202@{DOMAIN}")
        self.assertEqual(branch.request.values("route"), [f"<sips:rr.{DOMAIN};lr>"])
        branch.answer(302, "<sips:202@10.1.1.9>")
        self.assertEqual(self.endpoint.branches[1].request.values("route"), [f"<sips:ap.{DOMAIN};lr>"])

    def test_a_signed_identity_of_our_own_servers_is_believed(self) -> None:
        """
        A request that comes back from the authproxy is not challenged again.
        """
        branch = self.invite()
        signed = branch.request.get(IDENTITY) or ""
        receive(self.proxy, a_request(**{IDENTITY: signed}))
        self.assertEqual(len(self.endpoint.branches), 2)

    def test_a_forged_identity_is_removed(self) -> None:
        """
        What we did not sign for this call says nothing.
        """
        receive(self.proxy, a_request(**{IDENTITY: "<sip:201@example.com>;signature=0:" + "0" * 32}))
        self.assertEqual(self.endpoint.statuses, [407])

    def test_a_register_is_the_registrars_to_challenge(self) -> None:
        """
        It goes on without credentials, which stay for the registrar.
        """
        receive(self.proxy, a_request("REGISTER", f"sip:{DOMAIN}", authorization="Digest x=y"))
        (branch,) = self.endpoint.branches
        self.assertEqual(branch.request.get("authorization"), "Digest x=y")
        self.assertEqual(self.endpoint.statuses, [])

    def test_accepted_strangers_reach_our_users_only(self) -> None:
        """
        The world may call us, but not through us.
        """
        self.proxy = self.make(accept_strangers=True)
        receive(self.proxy, a_request())
        self.assertEqual(len(self.endpoint.branches), 1)
        receive(self.proxy, a_request(uri="sip:x@elsewhere.net"))
        self.assertEqual(self.endpoint.statuses[-1], 407)

    def test_subscriptions_that_nobody_serves_end_here(self) -> None:
        """
        489 without a challenge or a hop, whoever asks; C{reg} and what is
        about no user go on, and so does what is for elsewhere.
        """
        for event in ("dialog;sla", "presence", "message-summary"):
            receive(self.proxy, a_request("SUBSCRIBE", event=event))
            answer = self.endpoint.responses[-1][1]
            self.assertEqual((answer.status, answer.get("allow-events")), (489, "reg"), event)
        receive(self.proxy, a_request("SUBSCRIBE"))
        self.assertEqual((self.endpoint.statuses[-1], self.endpoint.branches), (489, []))
        for uri, event in ((TARGET, "reg"), (TARGET, "conference"), ("sip:x@elsewhere.net", "presence")):
            receive(self.proxy, a_request("SUBSCRIBE", uri, event=event))
            self.assertEqual(self.endpoint.statuses[-1], 407)
        receive(self.proxy, a_request("SUBSCRIBE", TARGET, "far", event="presence"))
        self.assertEqual(self.endpoint.statuses[-1], 407)

    def test_subscriptions_that_a_rule_leads_somewhere_go_there(self) -> None:
        """
        To the server of voicemail, for one.
        """
        match = FieldMatch("event", (re.compile("message-summary"),), "sip:vm.example.com;lr")
        method = MethodMatch(frozenset({"SUBSCRIBE"}), (match,), None)
        self.proxy.rules = ForwardingRules(
            [Route(frozenset({(DOMAIN, None)}), (method,), f"sip:rr.{DOMAIN};lr")]
        )
        credentials = self.around.credentials("SUBSCRIBE", TARGET)
        receive(self.proxy, a_request("SUBSCRIBE", event="message-summary", proxy_authorization=credentials))
        self.assertEqual(self.endpoint.branches[-1].hops[0].address, "vm.example.com")
        receive(self.proxy, a_request("SUBSCRIBE", event="presence"))
        self.assertEqual(self.endpoint.statuses, [489])

    def test_gateways_reach_our_users_only(self) -> None:
        """
        Not through us, neither by a target elsewhere nor by a Route; who
        claims to be one of our users proves it.
        """
        self.around.gateways.add(FLOW.address)
        receive(self.proxy, a_request())
        (branch,) = self.endpoint.branches
        self.assertIn(NOBODY, branch.request.get(IDENTITY) or "")
        receive(self.proxy, a_request(uri="sip:x@elsewhere.net"))
        receive(self.proxy, a_request(route="<sip:elsewhere.net;lr>"))
        receive(self.proxy, a_request(proxy_authorization=self.around.credentials("INVITE", TARGET, "wrong")))
        self.assertEqual(self.endpoint.statuses[1:], [407, 407, 407])

    def test_gateways_are_tried_in_turn(self) -> None:
        """
        One gets the call; the next when that fails.
        """
        self.around.gateways |= {"gw1.net", "gw2.net"}
        self.invite().answer(302, "<sip:9@gw1.net>", "<sip:9@gw2.net>")
        self.assertEqual([branch.request.uri for branch in self.endpoint.branches[1:]], ["sip:9@gw1.net"])
        self.endpoint.branches[1].answer(503)
        self.assertEqual(self.endpoint.branches[-1].request.uri, "sip:9@gw2.net")
        self.assertEqual(self.endpoint.statuses, [100])

    def test_P01_no_hops_left(self) -> None:
        """
        Max-Forwards 0 is answered 483.
        """
        request = a_request()
        request.set("max-forwards", "0")
        receive(self.proxy, request)
        self.assertEqual(self.endpoint.statuses, [483])

    def test_P03_an_extension_that_a_proxy_must_know(self) -> None:
        """
        420, naming what we do not support.
        """
        receive(self.proxy, a_request(proxy_require="foo, bar"))
        ((_, response),) = self.endpoint.responses
        self.assertEqual((response.status, response.get("unsupported")), (420, "foo, bar"))

    def test_P08_foreign_targets_go_to_the_authproxy(self) -> None:
        """
        With the Request-URI as it came.
        """
        branch = self.invite("sip:x@elsewhere.net")
        self.assertEqual(branch.request.values("route"), [f"<sip:ap.{DOMAIN};lr>"])
        self.assertEqual(branch.request.uri, "sip:x@elsewhere.net")

    def test_P06_own_routes_go_and_foreign_ones_lead_through_the_authproxy(self) -> None:
        """
        A phone with an outbound proxy, and one that wants to go further.
        """
        branch = self.invite(route=f"<sip:{DOMAIN};lr>, <sip:far.net;lr>")
        self.assertEqual(branch.request.values("route"), [f"<sip:ap.{DOMAIN};lr>", "<sip:far.net;lr>"])

    def test_a_302_is_followed_through_the_authproxy(self) -> None:
        """
        Every contact rings; the Route header of a contact comes behind ours.
        """
        self.invite().answer(
            302, "<sip:202@10.1.1.9:5062?Route=%3Csip%3Aedge%3Blr%3E>", "<sip:202@10.1.1.10>"
        )
        first, second = self.endpoint.branches[1:]
        self.assertEqual(first.request.uri, "sip:202@10.1.1.9:5062")
        self.assertEqual(first.request.values("route"), [f"<sip:ap.{DOMAIN};lr>", "<sip:edge;lr>"])
        self.assertEqual(second.request.uri, "sip:202@10.1.1.10")
        self.assertEqual(self.endpoint.statuses, [100])

    def test_what_a_service_of_this_process_knows_is_not_sent(self) -> None:
        """
        Its answer counts like any other, and its place as alive.
        """
        self.endpoint.at_once = self.redirect
        self.invite()
        self.assertEqual([str(branch.request.uri) for branch in self.endpoint.branches], ["sip:202@10.1.1.8"])
        self.assertEqual(self.around.answered, [Hop("udp", f"rr.{DOMAIN}", 5060)])
        self.endpoint.branches[0].answer(200)
        self.assertEqual(self.endpoint.statuses, [100, 200])

    def test_branches_that_end_at_once_leave_the_others_their_numbers(self) -> None:
        """
        Two users ring together of whom one leads to a third: each hears only
        of his own.
        """
        self.endpoint.at_once = self.redirect
        self.invite(f"sip:both@{DOMAIN}")
        first, second = self.endpoint.branches
        self.assertEqual([first.request.uri, second.request.uri], ["sip:203@10.1.1.9", "sip:202@10.1.1.8"])
        first.answer(180)
        second.answer(200)
        self.assertTrue(first.is_cancelled)
        self.assertFalse(second.is_cancelled)

    def redirect(self, request: Request, hop: Hop | Flow) -> Response | None:
        """
        The redirect server of this process.
        """
        if not request.routes[0].uri.host.startswith("rr."):
            return None
        contacts = {
            TARGET: ["<sip:202@10.1.1.8>"],
            f"sip:both@{DOMAIN}": [f"<{TARGET}>", "<sip:203@10.1.1.9>"],
        }[request.uri]
        return response_to(request, 302, fields=[("contact", contact) for contact in contacts])

    def test_a_contact_in_the_domain_goes_back_to_the_registrar(self) -> None:
        """
        An alias is looked up again.
        """
        self.invite().answer(302, f"<sip:203@{DOMAIN}>")
        self.assertEqual(self.endpoint.branches[1].request.values("route"), [f"<sip:rr.{DOMAIN};lr>"])

    def test_the_first_answer_cancels_the_other_phones(self) -> None:
        """
        180, then 200 upstream; the other branch is cancelled; nothing is left.
        """
        self.invite().answer(302, "<sip:202@10.1.1.9>", "<sip:202@10.1.1.10>")
        first, second = self.endpoint.branches[1:]
        first.answer(180)
        second.answer(200)
        self.assertTrue(first.is_cancelled)
        first.answer(487)
        self.assertEqual(self.endpoint.statuses, [100, 180, 200])
        self.assertEqual((self.around.log.types, self.proxy.live), ("R", 0))
        attempts = self.proxy.attempts
        self.assertEqual((attempts.outcomes["established"], sum(attempts.delays.counts)), (1, 1))

    def test_a_failed_call_is_logged(self) -> None:
        """
        F with what went upstream and with the branch of the INVITE.
        """
        self.invite().answer(404)
        event = self.around.log.events[-1]
        self.assertEqual(self.around.log.types, "RF")
        self.assertEqual((event.failure_status, event.branch_id, event.via_count), (404, "z9hG4bKphone", 1))
        self.assertEqual(self.proxy.attempts.outcomes["failed"], 1)

    def test_P22_a_lone_503_goes_up_as_500(self) -> None:
        """
        The caller must not take this proxy for broken.
        """
        self.invite().answer(503)
        self.assertEqual(self.endpoint.statuses, [100, 500])

    def test_P19_a_next_hop_that_cannot_be_found_is_as_503(self) -> None:
        """
        One of two contacts has no address: the other one rings.
        """
        self.proxy = self.make()
        self.around.pending[f"ap.{DOMAIN}"] = Deferred()
        branch = self.invite()
        branch.answer(302, "<sip:202@10.1.1.9>")
        self.around.pending[f"ap.{DOMAIN}"].errback(Unlocatable())
        self.assertEqual(self.endpoint.statuses, [100, 500])
        self.assertEqual(self.proxy.live, 0)

    def test_P26_an_answer_with_no_via_left_is_a_bad_gateway(self) -> None:
        """
        Only for the caller: it goes nowhere itself, and neither does one that
        comes late.
        """
        branch = self.invite()
        for statuses in ([100, 502], [100, 502]):
            response = response_to(branch.request, 200, to_tag="far")
            response.remove("via")
            branch.receive(response)
            self.assertEqual(self.endpoint.statuses, statuses)
        self.assertEqual(self.proxy.live, 0)

    def test_P26_a_late_2xx_with_no_via_left_goes_nowhere(self) -> None:
        """
        Where the call was set up before.
        """
        branch = self.invite()
        branch.answer(200)
        self.assertIsNotNone(branch.remains)
        response = response_to(branch.request, 200, to_tag="another")
        response.remove("via")
        branch.receive(response)
        self.assertEqual(self.endpoint.statuses, [100, 200])

    def test_P29_cancel_reaches_every_branch(self) -> None:
        """
        Also one whose address is still being looked up.
        """
        branch = self.invite()
        branch.answer(302, "<sip:202@10.1.1.9>")
        self.around.pending[f"ap.{DOMAIN}"] = Deferred()
        phone = self.endpoint.branches[1]
        phone.answer(180)
        self.proxy.cancelled(self.key, 'SIP;cause=487;text="Gone"')
        self.assertTrue(phone.is_cancelled)
        self.assertEqual(phone.reason, 'SIP;cause=487;text="Gone"')
        phone.answer(487)
        self.assertEqual(self.endpoint.statuses, [100, 180, 487])
        self.assertEqual(self.proxy.live, 0)

    def test_P29_cancel_before_the_lookup_ended(self) -> None:
        """
        487 at once, and nothing is sent when the address comes.
        """
        self.around.pending[f"rr.{DOMAIN}"] = Deferred()
        key = receive(self.proxy, a_request(proxy_authorization=self.around.credentials("INVITE", TARGET)))
        self.proxy.cancelled(key)
        self.around.pending[f"rr.{DOMAIN}"].callback([Hop("udp", "10.1.1.50", 5070)])
        self.assertEqual((self.endpoint.statuses, self.endpoint.branches), ([100, 487], []))

    def test_P24_challenges_are_merged_once_for_each_realm(self) -> None:
        """
        Two gateways of one realm and one of another: two challenges.
        """
        self.invite().answer(302, *(f"<sip:202@10.1.1.{n}>" for n in (1, 2, 3)))
        for branch, realm in zip(self.endpoint.branches[1:], ("a", "a", "b"), strict=True):
            branch.answer(407, proxy_authenticate=f'Digest realm="{realm}", nonce="{realm}"')
        response = self.endpoint.responses[-1][1]
        self.assertEqual(
            response.rows("proxy-authenticate"),
            ['Digest realm="a", nonce="a"', 'Digest realm="b", nonce="b"'],
        )
        self.assertEqual(self.around.log.types, "R")

    def test_M24_a_request_that_was_merged_is_forwarded_like_any_other(self) -> None:
        """
        Two branches of one request meet here: a proxy tells them apart by their
        transactions (RFC 3261 section 16.3), and never answers 482 for that.
        """
        self.invite()
        self.around.clock.advance(1)
        again = a_request(proxy_authorization=self.around.credentials("INVITE", TARGET))
        again.replace_first("via", "SIP/2.0/UDP 10.1.1.7;branch=z9hG4bKother")
        self.proxy.request_received(ServerKey("z9hG4bKother", "10.1.1.7", "INVITE"), again, FLOW)
        self.assertEqual((self.endpoint.statuses, len(self.endpoint.branches)), ([100, 100], 2))

    def test_an_emergency_call_is_asked_nothing_and_tries_every_gateway(self) -> None:
        """
        Wrong credentials do not matter, nor a Route to somewhere else; each
        gateway has its turn, by the authproxy of this node, whatever the
        others say.
        """
        own = Uri.parse("sip:10.1.1.50:5080;transport=tcp;lr")
        self.proxy = self.make(own_authproxy=own)
        self.proxy.gateways = lambda uri: [f"<sip:{uri.user}@gw{n}.net>;q=0.{9 - n}" for n in (1, 2, 3)]
        uri = f"sip:112@sipx1.{DOMAIN};user=phone"
        with capturedLogs() as events:
            receive(
                self.proxy,
                a_request(
                    "INVITE",
                    uri,
                    route="<sip:elsewhere.net;lr>",
                    proxy_authorization="Digest x",
                    max_breadth="0",
                ),
                TCP,
            )
            for status in (603, 403, 503):
                self.endpoint.branches[-1].answer(status)
        sent = [branch.request for branch in self.endpoint.branches]
        self.assertEqual([request.uri for request in sent], [f"sip:112@gw{n}.net" for n in (1, 2, 3)])
        for request in sent:
            self.assertEqual(request.values("route"), [f"<{own}>"])
            self.assertIn(EMERGENCY, request.get(IDENTITY) or "")
            # The caller is on a connection, by which he is reached again.
            self.assertTrue(request.has("record-route"))
        self.assertEqual((self.endpoint.statuses, self.around.log.types), ([100, 603], "RF"))
        levels = [event["log_level"].name for event in events]
        self.assertEqual((levels, self.proxy.emergencies), (["warn", "error"], 1))

    def test_help_is_called_by_a_number_or_a_service(self) -> None:
        """
        A gateway gets a Request-URI that it can take (RFC 5031, RFC 3966).
        """
        self.proxy.gateways = lambda uri: [f"<sip:{uri.user}@gw1.net>"]
        for uri in ("tel:112", "urn:service:sos", "urn:service:sos.fire"):
            receive(self.proxy, a_request("INVITE", uri))
            sent = self.endpoint.branches[-1].request
            self.assertEqual((sent.uri, sent.get("to")), ("sip:112@gw1.net", f"<{uri}>"))

    def test_M25_other_numbers_and_services_are_not_dialled(self) -> None:
        """
        416, whoever calls; an ACK for them is dropped.
        """
        for uri in ("tel:201", "urn:service:counseling"):
            credentials = self.around.credentials("INVITE", uri)
            receive(self.proxy, a_request("INVITE", uri, proxy_authorization=credentials))
            self.proxy.ack_received(a_request("ACK", uri, "callee"), FLOW)
        self.assertEqual((self.endpoint.statuses, self.endpoint.acks), ([416, 416], []))

    def test_where_a_node_has_no_rules_another_is_asked(self) -> None:
        """
        The registrar that the forwarding rules name says where the gateways are.
        """
        receive(self.proxy, a_request("INVITE", f"sip:112@{DOMAIN}"))
        branch = self.endpoint.branches[0]
        self.assertEqual(branch.hops, [Hop("udp", f"rr.{DOMAIN}", 5060)])
        branch.answer(302, f"<sip:112@gw1.{DOMAIN}>", "<sip:112@gw2.net>")
        self.assertEqual(len(self.endpoint.branches), 2)
        self.endpoint.branches[1].answer(486)
        for branch, gateway in zip(self.endpoint.branches[1:], (f"gw1.{DOMAIN}", "gw2.net"), strict=True):
            self.assertEqual(branch.request.uri, f"sip:112@{gateway}")
            self.assertEqual(branch.request.values("route"), [f"<{AUTHPROXY}>"])
            self.assertIn(EMERGENCY, branch.request.get(IDENTITY) or "")

    def test_LA1_a_loop_is_answered_482(self) -> None:
        """
        The request that we sent comes back unchanged.
        """
        branch = self.invite()
        for via in ("SIP/2.0/UDP 10.1.1.50:5060", "SIP/2.0/TLS 10.1.1.50:5061"):
            looped = a_request()
            suffix = self.proxy_suffix(looped)
            looped.prepend("via", f"{via};branch=z9hG4bKx{suffix}")
            self.assertIsNotNone(branch)
            receive(self.proxy, looped)
            self.assertEqual(self.endpoint.statuses[-1], 482)

    def test_LA2_every_request_has_one_max_breadth(self) -> None:
        """
        60 where there was none or more; the branches share it.
        """
        for given, first in (({}, "60"), ({"max_breadth": "100"}, "60"), ({"max_breadth": "3"}, "3")):
            self.endpoint.branches.clear()
            branch = self.invite(**given)
            self.assertEqual(branch.request.rows("max-breadth"), [first])
            branch.answer(302, "<sip:a@h>", "<sip:b@h>")
            shares = [int(each.request.get("max-breadth") or 0) for each in self.endpoint.branches[1:]]
            self.assertEqual((len(shares), sum(shares)), (2, int(first)))
            self.around.clock.advance(1)

    def test_LA2_where_no_breadth_is_left_the_answer_is_440(self) -> None:
        """
        And what is no number is 400, by the endpoint.
        """
        fields = {"proxy_authorization": self.around.credentials("INVITE", TARGET)}
        receive(self.proxy, a_request(**fields, max_breadth="0"))
        self.assertEqual(self.endpoint.statuses, [440])
        self.around.clock.advance(1)
        fields = {"proxy_authorization": self.around.credentials("INVITE", TARGET)}
        with self.assertRaises(MalformedField):
            receive(self.proxy, a_request(**fields, max_breadth="many"))

    def test_LA3_users_that_lead_to_each_other_cost_little(self) -> None:
        """
        The attack of RFC 5393 section 3: both have two contacts, each of which
        leads back to one of them.  Never more than 60 requests are alive,
        and soon there are none.
        """
        contacts = [f"<sip:{user}@{DOMAIN};{way}>" for user in ("201", "202") for way in ("a", "b")]
        self.invite()
        sent = most = 0
        while sent < len(self.endpoint.branches):
            branch = self.endpoint.branches[sent]
            sent += 1
            if branch.hops[0].address.startswith("rr."):
                branch.answer(302, *contacts)
                most = max(most, len(self.endpoint.branches) - sent)
                continue
            # By the authproxy it comes back to the front door.
            again = branch.request.copy()
            again.prepend("via", f"SIP/2.0/UDP 10.1.1.50:5060;branch=z9hG4bK{sent}{branch.suffix}")
            again.remove("route")
            answered = len(self.endpoint.responses)
            key = ServerKey(f"z9hG4bK{sent}", "10.1.1.50", "INVITE")
            self.proxy.request_received(key, again, FLOW)
            ((_, response),) = self.endpoint.responses[answered:][:1]
            if response.status != 100:
                branch.answer(response.status)
        self.assertLessEqual(most, 60)
        self.assertLess(sent, 600)

    def test_hosts_that_need_no_authproxy_are_reached_directly(self) -> None:
        """
        Without an identity that is for our own servers.
        """
        self.proxy.rules = ForwardingRules([Route(frozenset(), (), DIRECT, domains=(".free.net",))])
        branch = self.invite("sip:1@gw.free.net")
        self.assertEqual(branch.hops, [Hop("udp", "gw.free.net", 5060)])
        self.assertFalse(branch.request.has("route") or branch.request.has(IDENTITY))

    def proxy_suffix(self, request: Request) -> str:
        """
        @return: what the proxy puts at the end of a branch of C{request}.
        """
        return branch_suffix(loop_key(self.around.cluster.secret, request))

    def test_T15_silence_is_no_answer_to_other_methods(self) -> None:
        """
        408 goes upstream for INVITE only (RFC 4320).
        """
        receive(
            self.proxy,
            a_request("MESSAGE", proxy_authorization=self.around.credentials("MESSAGE", TARGET)),
        )
        self.endpoint.branches[0].answer(408)
        self.assertEqual(self.endpoint.statuses, [])

    def test_silence_of_a_phone_behind_the_authproxy_is_not_impatience(self) -> None:
        """
        Only what our servers answer themselves is hurried.
        """
        receive(
            self.proxy,
            a_request(
                "MESSAGE",
                "sip:x@elsewhere.net",
                proxy_authorization=self.around.credentials("MESSAGE", "sip:x@elsewhere.net"),
            ),
        )
        self.assertIsNone(self.endpoint.branches[0].first_answer)

    def test_hops_that_fail_are_reported_for_quarantine(self) -> None:
        """
        And those that answer, too.
        """
        branch = self.invite()
        observer: IBranchObserver = branch._observer
        observer.hop_failed(branch, Hop("tcp", "a", 1))  # type: ignore[arg-type]
        observer.hop_answered(branch, Hop("tcp", "b", 1))  # type: ignore[arg-type]
        self.assertEqual(
            (self.around.failed, self.around.answered), ([Hop("tcp", "a", 1)], [Hop("tcp", "b", 1)])
        )

    def test_what_is_over_leaves_the_memory_at_once(self) -> None:
        """
        It does not wait for the collector, which seldom comes to a node.
        """

        def forwardings() -> int:
            return sum(isinstance(each, Forwarding) for each in gc.get_objects())

        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = forwardings()
        self.invite().answer(302, "<sip:202@10.1.1.9>", "<sip:202@10.1.1.10>")
        self.endpoint.branches[1].answer(200)
        self.endpoint.branches[2].answer(487)
        self.assertEqual((self.endpoint.statuses, self.proxy.live), ([100, 200], 0))
        self.endpoint.branches.clear()
        self.assertEqual(forwardings(), before)

    def test_P31_an_ack_goes_on_without_a_response(self) -> None:
        """
        Along its Route, through the authproxy.
        """
        self.proxy.ack_received(
            a_request("ACK", "sip:202@10.1.1.9", "callee", route=f"<sip:{DOMAIN};lr>"), FLOW
        )
        ((ack, hops),) = self.endpoint.acks
        self.assertEqual(hops, [Hop("udp", f"ap.{DOMAIN}", 5060)])
        self.assertEqual((ack.max_forwards, self.endpoint.responses), (69, []))

    def recorded(self, branch: FakeBranch) -> list[str]:
        """
        @return: the Record-Route of a request that was sent.
        """
        return branch.request.values("record-route")

    def test_O01_a_phone_over_tcp_registers_with_a_path_to_its_flow(self) -> None:
        """
        With C{ob} if it asks for outbound; a Path that it brings along stays.
        """
        contact = '<sip:201@10.1.1.7>;reg-id=1;+sip.instance="<urn:uuid:1>"'
        for fields, outbound in (({"supported": "path"}, ""), ({"supported": "path, outbound"}, ";ob")):
            request = a_request("REGISTER", f"sip:{DOMAIN}", path="<sip:their.net;lr>", **fields)
            request.set("contact", contact)
            receive(self.proxy, request, TCP)
            token, theirs = self.endpoint.branches[-1].request.values("path")
            self.assertEqual(token, f"<{self.proxy.edge.route(TCP)}{outbound}>")
            self.assertEqual(theirs, "<sip:their.net;lr>")

    def test_PA1_a_phone_over_plain_udp_registers_without(self) -> None:
        """
        It can be reached where it says.
        """
        receive(self.proxy, a_request("REGISTER", f"sip:{DOMAIN}"))
        self.assertFalse(self.endpoint.branches[0].request.has("path"))

    def test_O01_outbound_over_udp_has_a_path(self) -> None:
        """
        Whatever it looks like.
        """
        request = a_request("REGISTER", f"sip:{DOMAIN}", supported="outbound")
        request.set("contact", '<sip:201@10.1.1.7>;reg-id=1;+sip.instance="<urn:uuid:1>"')
        receive(self.proxy, request)
        self.assertIn(";ob>", self.endpoint.branches[0].request.get("path") or "")

    def test_O07_a_registration_is_bound_to_its_connection(self) -> None:
        """
        From the 200 on, and with it the identity of whoever calls over it.
        """
        closed: list[str] = []
        self.proxy.edge.closed = closed.append
        receive(self.proxy, a_request("REGISTER", f"sip:201@{DOMAIN}"), TCP)
        self.endpoint.branches[0].answer(200, "<sip:201@10.1.1.7>;expires=60")
        receive(self.proxy, a_request(), TCP)
        self.assertEqual(self.endpoint.statuses, [200, 100])
        self.assertEqual(self.around.log.events[0].caller_internal, True)
        self.proxy.edge.flow_closed(TCP)
        self.assertEqual(len(closed), 1)
        receive(self.proxy, a_request(), TCP)
        self.assertEqual(self.endpoint.statuses[-1], 407)

    def signed(self, request: Request) -> Request:
        """
        @return: the request, as the authproxy sends it.
        """
        self.proxy.vouch(request, Admission(f"201@{DOMAIN}"))
        request.prepend("via", "SIP/2.0/UDP 10.1.1.50:5080;branch=z9hG4bKap")
        return request

    def test_a_token_leads_to_its_flow(self) -> None:
        """
        Past the rules, without the identity, and in no log: that the call was
        requested is said already.  The dialog will come this way again.
        """
        route = self.proxy.edge.route(TCP)
        receive(self.proxy, self.signed(a_request(uri="sip:201@192.168.1.2", route=f"<{route}>")))
        (branch,) = self.endpoint.branches
        self.assertEqual((branch.hops, branch.request.uri), ([TCP], "sip:201@192.168.1.2"))
        self.assertFalse(branch.request.has("route") or branch.request.has(IDENTITY))
        (recorded,) = self.recorded(branch)
        self.assertTrue(recorded.startswith(f"<{route};sipX-edge="), recorded)
        branch.answer(486)
        self.assertEqual((self.endpoint.statuses, self.around.log.types), ([100, 486], ""))

    def test_what_a_phone_behind_a_flow_redirects_to_goes_up(self) -> None:
        """
        To the proxy that follows it, and tells.
        """
        receive(self.proxy, self.signed(a_request(route=f"<{self.proxy.edge.route(TCP)}>")))
        self.endpoint.branches[0].answer(302, "<sip:x@far.net>")
        self.assertEqual(self.endpoint.statuses, [100, 302])

    def test_a_flow_is_not_open_to_strangers(self) -> None:
        """
        Not even with a tag.
        """
        route = f"<{self.proxy.edge.route(TCP)}>"
        receive(self.proxy, a_request(route=route))
        receive(self.proxy, a_request(to_tag="x", route=route))
        self.assertEqual((self.endpoint.statuses, self.endpoint.branches), ([407, 403], []))
        self.proxy = self.make(accept_strangers=True)
        receive(self.proxy, a_request(route=route))
        self.assertEqual(self.endpoint.statuses[-1], 407)

    def test_O11_a_forged_token_is_403_and_a_dead_flow_430(self) -> None:
        """
        An ACK is just dropped.
        """
        route = self.proxy.edge.route(TCP)
        for path in (route, route.replace("flow_", "flow_A")):
            self.endpoint.gone.add(TCP)
            receive(self.proxy, self.signed(a_request(route=f"<{path}>")))
            self.proxy.ack_received(a_request("ACK", to_tag="x", route=f"<{path}>"), FLOW)
        self.assertEqual((self.endpoint.statuses, self.endpoint.acks), ([430, 403], []))

    def test_who_tries_what_is_not_for_him_is_a_security_event(self) -> None:
        """
        A forged token, a flow without a proof; a flow that is gone is nobody's fault.
        """
        route = self.proxy.edge.route(TCP)
        counts = self.around.cluster.authenticator.security.counts
        receive(self.proxy, a_request(route=f"<{route.replace('flow_', 'flow_A')}>"))
        receive(self.proxy, a_request(to_tag="x", route=f"<{route}>"))
        self.assertEqual(counts["refused"], 2)
        self.endpoint.gone.add(TCP)
        receive(self.proxy, self.signed(a_request(route=f"<{route}>")))
        self.assertEqual(counts["refused"], 2)

    def test_a_stranger_is_one_until_somebody_proves_himself_there(self) -> None:
        """
        Phones ask without credentials first, each time.
        """
        counts = self.around.cluster.authenticator.security.counts
        receive(self.proxy, a_request())
        self.assertEqual(counts["stranger"], 1)
        uri = f"sip:202@{DOMAIN}"
        receive(self.proxy, a_request(proxy_authorization=self.around.credentials("INVITE", uri)))
        receive(self.proxy, a_request())
        self.assertEqual((counts["stranger"], counts["auth-failed"]), (1, 0))

    def test_O12_a_token_of_another_node_goes_there(self) -> None:
        """
        With a signed identity, which that node asks for.
        """
        route = self.around.edge(address="10.1.2.50").route(TCP).replace("@10.1.2.50", "@10.1.1.50")
        receive(self.proxy, self.signed(a_request(route=f"<{route}>")))
        (branch,) = self.endpoint.branches
        self.assertEqual(branch.hops, [Hop("udp", "10.1.2.50", 5060)])
        self.assertTrue(branch.request.has(IDENTITY))
        self.assertEqual(self.around.log.types, "")

    def test_O06_a_flow_that_is_gone_looks_to_the_caller_like_a_phone_that_is_away(self) -> None:
        """
        480 and not 430, of which he makes nothing.
        """
        self.invite().answer(302, self.behind_a_flow())
        self.endpoint.branches[1].answer(430)
        self.assertEqual(self.endpoint.statuses, [100, 480])

    def behind_a_flow(self) -> str:
        """
        @return: a contact with a Path to another node.
        """
        route = self.around.edge(address="10.1.2.50").route(TCP)
        return f"<sip:202@192.168.1.2?Route={quote(f'<{route}>', safe='')}>"

    def dialog(self) -> tuple[str, str]:
        """
        201 calls over TCP.

        @return: the Record-Route that the call got, and its tag.
        """
        receive(self.proxy, a_request(proxy_authorization=self.around.credentials("INVITE", TARGET)), TCP)
        (recorded,) = self.recorded(self.endpoint.branches.pop())
        return recorded, "callee"

    def test_P14_a_phone_over_tcp_that_calls_is_found_again(self) -> None:
        """
        By a BYE of the callee, which comes through the authproxy; the ACK of a
        re-INVITE too.
        """
        recorded, tag = self.dialog()
        self.assertTrue(recorded.startswith(f"<{self.proxy.edge.route(TCP)};sipX-edge="))
        bye = a_request("BYE", "sip:201@10.1.1.7", "caller", route=recorded)
        bye.set("from", f"<sip:202@{DOMAIN}>;tag={tag}")
        receive(self.proxy, bye)
        (branch,) = self.endpoint.branches
        self.assertEqual((branch.hops, branch.request.uri), ([TCP], "sip:201@10.1.1.7"))
        ack = a_request("ACK", "sip:201@10.1.1.7", "caller", route=recorded)
        ack.set("from", f"<sip:202@{DOMAIN}>;tag={tag}")
        self.proxy.ack_received(ack, FLOW)
        self.assertEqual(self.endpoint.acks[0][1], [TCP])

    def test_P14_what_the_phone_sends_follows_its_route_set(self) -> None:
        """
        To the authproxy that the call went through, on whichever node.
        """
        recorded, tag = self.dialog()
        routes = f"{recorded}, <sip:10.1.2.50.{DOMAIN}:5080;lr;sipX-route=x>"
        for flow in (TCP, TCP._replace(connection=9)):
            self.endpoint.branches.clear()
            receive(self.proxy, a_request("BYE", "sip:202@10.1.1.9", tag, route=routes), flow)
            (branch,) = self.endpoint.branches
            self.assertEqual(branch.hops, [Hop("udp", f"10.1.2.50.{DOMAIN}", 5080)])
            self.assertEqual(len(branch.request.values("route")), 1)
        self.proxy.ack_received(a_request("ACK", "sip:202@10.1.1.9", tag, route=routes), TCP)
        self.assertEqual(self.endpoint.acks[0][1], [Hop("udp", f"10.1.2.50.{DOMAIN}", 5080)])

    def test_a_subscription_to_the_registrar_goes_through_us(self) -> None:
        """
        Both ways, without a flow, and without a challenge: the registrar
        listens to nobody but us.
        """
        request = a_request(
            "SUBSCRIBE", proxy_authorization=self.around.credentials("SUBSCRIBE", TARGET), event="reg"
        )
        receive(self.proxy, request)
        branch = self.endpoint.branches.pop()
        (recorded,) = self.recorded(branch)
        self.assertTrue(recorded.startswith("<sip:10.1.1.50:5060;lr;sipX-edge="), recorded)
        notify = a_request("NOTIFY", "sip:201@10.1.1.7", "caller", route=recorded)
        notify.set("from", f"<{TARGET}>;tag=registrar")
        receive(self.proxy, notify)
        again = a_request("SUBSCRIBE", f"sip:rr.{DOMAIN}:5070", "registrar", route=recorded)
        receive(self.proxy, again)
        self.assertEqual(
            [branch.hops for branch in self.endpoint.branches],
            [[Hop("udp", "10.1.1.7", 5060)], [Hop("udp", f"rr.{DOMAIN}", 5070)]],
        )
        stranger = a_request("SUBSCRIBE", f"sip:rr.{DOMAIN}:5070", "registrar", route=recorded)
        stranger.set("call-id", "another")
        receive(self.proxy, stranger)
        self.assertEqual(self.endpoint.branches[-1].request.values("route"), [f"<sip:ap.{DOMAIN};lr>"])

    def test_a_subscription_over_a_flow_is_recorded_once(self) -> None:
        """
        The route of its flow serves both.
        """
        request = a_request(
            "SUBSCRIBE", proxy_authorization=self.around.credentials("SUBSCRIBE", TARGET), event="reg"
        )
        receive(self.proxy, request, TCP)
        (recorded,) = self.recorded(self.endpoint.branches[0])
        self.assertTrue(recorded.startswith(f"<{self.proxy.edge.route(TCP)};"))

    def test_a_tag_does_not_open_the_directory(self) -> None:
        """
        Whoever makes one up is asked for credentials like anybody else; what
        the authproxy vouches for, in a dialog with a GRUU, is looked up.
        """
        receive(self.proxy, a_request("BYE", f"sip:202@{DOMAIN};gr=x", "callee"))
        self.assertEqual((self.endpoint.statuses, self.endpoint.branches), ([407], []))
        receive(self.proxy, self.signed(a_request("BYE", f"sip:202@{DOMAIN};gr=x", "callee")))
        self.assertEqual(self.endpoint.branches[0].hops, [Hop("udp", f"rr.{DOMAIN}", 5060)])

    def test_in_dialog_requests_are_left_to_the_authproxy(self) -> None:
        """
        No challenge, no identity, no event.
        """
        receive(self.proxy, a_request("BYE", "sip:202@10.1.1.9", "callee"))
        (branch,) = self.endpoint.branches
        self.assertFalse(branch.request.has(IDENTITY))
        self.assertEqual(branch.request.values("route"), [f"<sip:ap.{DOMAIN};lr>"])
        self.assertEqual(self.around.log.types, "")
