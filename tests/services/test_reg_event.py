"""
Tests for L{sipxha.services.reg_event}: SUBSCRIBE and NOTIFY, without sockets.
"""

from __future__ import annotations

from itertools import count
from typing import Any, ClassVar, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth import identity as signed_identity
from sipxha.auth.digest import Authenticator, ha1, response
from sipxha.auth.nonce import Nonces
from sipxha.auth.users import Credential, Users
from sipxha.errors import RemoteError
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.notifier import SPACING
from sipxha.registry.register import Terms
from sipxha.registry.table import Registry
from sipxha.services.reg_event import RegEvents
from sipxha.services.registrar import RegistrarUser
from sipxha.sip.auth_fields import Challenge, Credentials
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.uri import Uri
from sipxha.transaction.vocabulary import ServerKey
from tests.registry.rows import NOW, a_registration, a_row, an_offer
from tests.support.fake_endpoint import FakeBranch, FakeEndpoint

SECRET = b"a secret of the cluster"
FLOW = Flow("udp", "127.0.0.1", 40000, "127.0.0.1", 5070)
KEY = cast(ServerKey, ("z9hG4bK-1", "10.1.1.50:5060", "SUBSCRIBE"))
PROXY = "<sip:10.1.1.50:5060;lr>"


class Endpoint(FakeEndpoint):
    """
    Has an address, too.
    """

    advertised = "10.1.1.50"
    ports: ClassVar[dict[str, int]] = {"udp": 5070, "tcp": 5070, "tls": 5071}

    def port(self, transport: str) -> int | None:
        """
        As L{Endpoint.port<sipxha.net.endpoint.Endpoint.port>}.
        """
        return self.ports.get(transport)


class Case(SynchronousTestCase):
    """
    Has a registrar with two users, and a watcher behind a proxy.
    """

    def setUp(self) -> None:
        numbers = count(1)

        def mint() -> str:
            return f"token-{next(numbers):012d}"

        self.clock = Clock()
        self.clock.advance(NOW)
        self.registry = Registry("sipx1.example.com", 7200)
        users = Users(
            Credential(
                f"{name}@example.com",
                "example.com",
                name,
                {each: ha1(name, "example.com", "secret", each) for each in ("MD5", "SHA-256")},
            )
            for name in ("201", "202")
        )
        terms = Terms(ServedDomain("example.com"), 60, 3600, 7200, Gruus(SECRET, "example.com"))
        registrar = RegistrarUser(
            self.clock,
            terms,
            self.registry,
            cast(Any, None),
            Authenticator("example.com", ("SHA-256", "MD5"), users, Nonces(SECRET, "sipx1"), mint),
            authenticate=True,
            allowed=lambda address: address in ("127.0.0.1", "10.1.1.50"),
            updated=lambda: None,
            mint=mint,
        )
        self.located: list[Uri] = []
        self.events = RegEvents(
            self.clock,
            terms,
            self.registry,
            SECRET,
            registrar.authorize,
            self.locate,
            "sipx1.example.com",
            mint,
        )
        registrar.reg_events = self.events
        self.registrar = registrar
        self.endpoint = Endpoint()
        self.events.endpoint = registrar.endpoint = cast(Any, self.endpoint)
        self.events.startService()
        self.cseq = count(1)

    def locate(self, uri: Uri) -> Deferred[list[Hop]]:
        """
        Everything is at one place.
        """
        self.located.append(uri)
        return succeed([Hop("udp", "10.1.1.50", 5060)])

    def request(
        self,
        *fields: tuple[str, str],
        event: str = "reg",
        uri: str = "sip:201@example.com",
        to_tag: str = "",
        call_id: str = "watch@10.1.1.7",
        sender: str = "201@example.com",
        contact: str = "<sip:201@10.1.1.7:5060>",
    ) -> Request:
        """
        A SUBSCRIBE as the forking proxy passes it on.
        """
        request = Request(
            "SUBSCRIBE",
            uri,
            [
                ("Via", "SIP/2.0/UDP 10.1.1.50:5060;branch=z9hG4bK-1"),
                ("From", "<sip:201@example.com>;tag=theirs"),
                ("To", f"<sip:201@example.com>{to_tag and ';tag='}{to_tag}"),
                ("Call-ID", call_id),
                ("CSeq", f"{next(self.cseq)} SUBSCRIBE"),
                *([("Contact", contact)] if contact else []),
                *fields,
            ],
        )
        if event:
            request.add("Event", event)
        if sender:
            claim = signed_identity.sign(SECRET, sender, call_id, "theirs", self.clock.seconds())
            request.add(signed_identity.HEADER, claim)
        return request

    def answer(self, request: Request) -> Response:
        """
        What the registrar answers.
        """
        before = len(self.endpoint.responses)
        self.registrar.request_received(KEY, request, FLOW)
        self.assertEqual(len(self.endpoint.responses), before + 1)
        return self.endpoint.responses[-1][1]

    def subscribe(self, *fields: tuple[str, str], **parts: Any) -> Response:
        """
        Subscribe, and expect success.
        """
        answer = self.answer(self.request(("Record-Route", PROXY), *fields, **parts))
        self.assertEqual(answer.status, 200)
        return answer

    def register(self, expires: int = 3600) -> None:
        """
        201 registers, and watchers are told.
        """
        registration = a_registration(an_offer(expires=expires), cseq=next(self.cseq))
        self.registry.register(registration, self.clock.seconds())
        self.clock.advance(0)

    def take(self) -> FakeBranch:
        """
        The one request that was sent since the last time.
        """
        (branch,) = self.endpoint.branches
        self.endpoint.branches.clear()
        return branch

    def told(self, status: int = 200) -> tuple[str, str]:
        """
        Answer the one NOTIFY that was sent.

        @return: its Subscription-State and body.
        """
        branch = self.take()
        branch.answer(status)
        return branch.request.get("subscription-state") or "", branch.request.body.decode()


class SubscribeTests(Case):
    """
    Who may watch what.
    """

    def test_E01_who_subscribes_is_told_at_once(self) -> None:
        """
        Inside the dialog that the SUBSCRIBE opened.
        """
        self.register()
        answer = self.subscribe(("Expires", "600"))
        self.assertEqual(answer.get("expires"), "600")
        self.assertEqual(answer.rows("record-route"), [PROXY])
        self.assertEqual(answer.get("contact"), "<sip:10.1.1.50:5070;transport=udp>")
        branch = self.take()
        notify = branch.request
        self.assertEqual((notify.method, notify.uri), ("NOTIFY", "sip:201@10.1.1.7:5060"))
        self.assertEqual(branch.hops, [Hop("udp", "10.1.1.50", 5060)])
        self.assertEqual([str(uri) for uri in self.located], ["sip:10.1.1.50:5060;lr"])
        for name, value in (
            ("route", PROXY),
            ("from", answer.get("to")),
            ("to", answer.get("from")),
            ("call-id", "watch@10.1.1.7"),
            ("cseq", "1 NOTIFY"),
            ("contact", answer.get("contact")),
            ("event", "reg"),
            ("subscription-state", "active;expires=600"),
            ("content-type", "application/reginfo+xml"),
            ("max-forwards", "70"),
        ):
            self.assertEqual(notify.get(name), value, name)
        self.assertIn(b'version="0" state="full"', notify.body)
        self.assertIn(b"<uri>sip:201@10.1.1.7:5060</uri>", notify.body)

    def test_E01_only_the_owner_may_watch(self) -> None:
        """
        By the word of our proxies, or by its password.
        """
        self.assertEqual(self.answer(self.request(sender="202@example.com")).status, 403)
        challenged = self.answer(self.request(sender=""))
        self.assertEqual(challenged.status, 401)
        self.assertEqual(self.answer(self.request(sender="anonymous@anonymous.invalid")).status, 401)
        lifted = self.request()
        lifted.set("Call-ID", "another@10.1.1.7")
        self.assertEqual(self.answer(lifted).status, 401)
        nonce = Challenge.parse(challenged.rows("www-authenticate")[0]).params["nonce"]
        for name, status in (("201", 200), ("202", 403)):
            request = self.request(sender="")
            params = {
                "username": name,
                "realm": "example.com",
                "nonce": nonce,
                "uri": request.uri,
                "algorithm": "SHA-256",
                "qop": "auth",
                "nc": "00000001" if name == "201" else "00000002",
                "cnonce": "c",
            }
            secret = ha1(name, "example.com", "secret", "SHA-256")
            params["response"] = response(
                secret, nonce, params["nc"], "c", "SUBSCRIBE", request.uri, "SHA-256"
            )
            request.add("Authorization", str(Credentials("Digest", params)))
            self.assertEqual(self.answer(request).status, status, name)
        self.assertEqual(len(self.events), 1)

    def test_E02_other_packages_are_refused(self) -> None:
        """
        Unless there is a phone to ask; of presence, dialogs and messages no
        phone is asked, and C{reg} is not for other places.
        """
        for event in ("", "conference", "dialog;sla", "presence", "message-summary", "Reg"):
            answer = self.answer(self.request(event=event))
            self.assertEqual((answer.status, answer.get("allow-events")), (489, "reg"), event)
        self.register()
        for event, status in (("conference", 302), ("dialog;sla", 489), ("", 489)):
            self.assertEqual(self.answer(self.request(event=event)).status, status, event)
        self.assertEqual(self.answer(self.request(uri="sip:example.com")).status, 404)
        self.assertEqual(self.endpoint.branches, [])

    def test_E05_a_subscription_that_is_too_short_is_refused(self) -> None:
        """
        With the shortest that is not; one that is too long is shortened, and
        one that does not say lasts for 3761 s (RFC 3680 section 4.4).
        """
        answer = self.answer(self.request(("Expires", "59")))
        self.assertEqual((answer.status, answer.get("min-expires")), (423, "60"))
        for asked, granted in (("60", "60"), ("99999", "7200"), ("", "3761")):
            fields = [("Expires", asked)] if asked else []
            self.assertEqual(self.subscribe(*fields, call_id=f"{granted}@here").get("expires"), granted)

    def test_what_a_watcher_cannot_read_it_is_not_sent(self) -> None:
        """
        RFC 3680 section 4.5.
        """
        answer = self.answer(self.request(("Accept", "application/pidf+xml")))
        self.assertEqual((answer.status, answer.get("accept")), (406, "application/reginfo+xml"))
        self.subscribe(("Accept", "application/pidf+xml, Application/Reginfo+xml;q=0.5"))

    def test_M23_no_extension_is_known_here(self) -> None:
        """
        RFC 3261 section 8.2.2.3.
        """
        answer = self.answer(self.request(("Require", "eventlist, outbound")))
        self.assertEqual((answer.status, answer.get("unsupported")), (420, "eventlist, outbound"))

    def test_a_watcher_needs_one_place_to_be_told_at(self) -> None:
        """
        400, and nothing is kept.
        """
        for contact in ("", "<sip:a@10.1.1.7>, <sip:b@10.1.1.7>", "<tel:+1>"):
            self.assertEqual(self.answer(self.request(contact=contact)).status, 400)
        self.assertEqual(self.answer(self.request(("Record-Route", "<nowhere"))).status, 400)
        self.assertEqual(len(self.events), 0)

    def test_what_is_safe_stays_safe(self) -> None:
        """
        A sips SUBSCRIBE gets a sips Contact, in the name of the certificate.
        """
        answer = self.subscribe(uri="sips:201@example.com", contact="<sips:201@10.1.1.7>")
        self.assertEqual(answer.get("contact"), "<sips:sipx1.example.com:5071>")

    def test_the_contact_is_a_port_that_is_open(self) -> None:
        """
        Rather than the transport that it came by.
        """
        self.patch(Endpoint, "ports", {"tcp": 5070})
        self.assertEqual(self.subscribe().get("contact"), "<sip:10.1.1.50:5070;transport=tcp>")
        self.patch(Endpoint, "advertised", "2001:db8::1")
        answer = self.subscribe(call_id="other@10.1.1.7")
        self.assertEqual(answer.get("contact"), "<sip:[2001:db8::1]:5070;transport=tcp>")


class DialogTests(Case):
    """
    What happens in the dialog of a subscription.
    """

    def setUp(self) -> None:
        super().setUp()
        self.tag = self.subscribe(("Expires", "600"), event="reg;id=7").to_tag or ""
        self.assertIn('state="init"', self.told()[1])

    def again(self, *fields: tuple[str, str], **parts: Any) -> Response:
        """
        SUBSCRIBE inside the dialog, as the proxy passes it on.
        """
        parts = {"event": "reg;id=7", "to_tag": self.tag, "sender": "", **parts}
        return self.answer(self.request(*fields, uri="sip:10.1.1.50:5070;transport=udp", **parts))

    def test_a_refresh_is_confirmed_and_told(self) -> None:
        """
        To where the watcher is now; without another proof.
        """
        answer = self.again(("Expires", "300"), contact="<sip:201@10.1.1.9>")
        self.assertEqual((answer.status, answer.get("expires")), (200, "300"))
        notify = self.take().request
        self.assertEqual((notify.uri, notify.get("cseq")), ("sip:201@10.1.1.9", "2 NOTIFY"))
        self.assertEqual(notify.get("subscription-state"), "active;expires=300")
        self.assertEqual(notify.get("event"), "reg;id=7")
        self.assertIn(b'version="1"', notify.body)

    def test_E02_an_end_is_confirmed_and_told(self) -> None:
        """
        C{Expires: 0}; then there is no such subscription.
        """
        self.assertEqual(self.again(("Expires", "0")).status, 200)
        self.assertEqual(self.told()[0], "terminated;reason=timeout")
        self.assertEqual(self.again().status, 481)
        self.assertEqual((len(self.events), self.registry.watched), (0, {}))

    def test_what_belongs_to_no_subscription_is_refused(self) -> None:
        """
        Wrong tag, id or Call-ID: 481; somebody else: 403; out of order: 500.
        """
        for parts in ({"to_tag": "other"}, {"event": "reg"}, {"call_id": "other@10.1.1.7"}):
            self.assertEqual(self.again(**parts).status, 481, parts)
        self.assertEqual(self.again(sender="202@example.com").status, 403)
        self.cseq = count(1)
        self.assertEqual(self.again().status, 500)
        self.assertEqual((len(self.events), self.endpoint.branches), (1, []))

    def test_E03_a_change_on_another_node_is_told(self) -> None:
        """
        As soon as its row is here.
        """
        self.clock.advance(SPACING)
        self.registry.apply([a_row(primary="sipx2.example.com")], self.clock.seconds())
        self.assertEqual(self.endpoint.branches, [])
        self.clock.advance(0)
        state, body = self.told()
        self.assertEqual(state, "active;expires=595")
        self.assertIn('event="registered"', body)

    def test_contacts_come_and_go(self) -> None:
        """
        Registered, refreshed, unregistered, expired; each is told.
        """
        for expires, said in (
            (3600, 'state="active" event="registered"'),
            (3600, 'state="active" event="refreshed"'),
            (0, 'state="terminated" event="unregistered"'),
            (60, 'state="active" event="registered"'),
        ):
            self.clock.advance(SPACING)
            self.register(expires)
            self.assertIn(said, self.told()[1])
        self.clock.advance(59)
        self.assertEqual(self.endpoint.branches, [])
        self.clock.advance(1)
        self.assertIn('state="terminated" event="expired"', self.told()[1])

    def test_others_registrations_tell_nobody(self) -> None:
        """
        Nor cost anything.
        """
        self.registry.register(a_registration(an_offer())._replace(identity="202@example.com"), NOW)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(SPACING)
        self.assertEqual(self.endpoint.branches, [])

    def test_E04_who_refuses_to_be_told_is_forgotten(self) -> None:
        """
        Also who is nowhere to be found.
        """
        self.clock.advance(SPACING)
        self.register()
        self.told(481)
        self.assertEqual((len(self.events), self.registry.watched), (0, {}))
        self.register()
        self.assertEqual(self.endpoint.branches, [])
        self.assertEqual(self.again().status, 481)

    def test_E04_who_cannot_be_found_is_forgotten(self) -> None:
        """
        As if it had answered 503.
        """
        self.events._locate = lambda uri: fail(RemoteError("no such host"))
        self.again()
        self.assertEqual(len(self.events), 0)

    def test_a_fault_of_ours_costs_one_subscription(self) -> None:
        """
        And is logged.
        """
        self.events._locate = lambda uri: fail(ZeroDivisionError())
        self.again()
        self.assertEqual((len(self.events), len(self.flushLoggedErrors(ZeroDivisionError))), (0, 1))

    def test_a_subscription_ends_by_time(self) -> None:
        """
        And says so.
        """
        self.clock.advance(600)
        self.assertEqual(self.told()[0], "terminated;reason=timeout")
        self.assertEqual((len(self.events), self.clock.getDelayedCalls()), (0, []))

    def test_at_its_end_the_node_sends_watchers_elsewhere(self) -> None:
        """
        And waits for their answers, but not long; it takes no new ones.
        """
        stopped = self.events.stopService()
        self.assertNoResult(stopped)
        self.assertEqual(self.answer(self.request()).status, 503)
        self.assertEqual(self.told()[0], "terminated;reason=deactivated")
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_watcher_that_is_silent_does_not_hold_up_the_end(self) -> None:
        """
        Two seconds.
        """
        stopped = self.events.stopService()
        self.clock.advance(2)
        self.successResultOf(stopped)
        self.take().answer(200)
        self.assertEqual(self.clock.getDelayedCalls(), [])
