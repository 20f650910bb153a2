"""
Tests for L{sipxha.services.registrar}: REGISTER from end to end, without
sockets.
"""

from __future__ import annotations

import re
from itertools import count
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipxha.auth.digest import Authenticator, ha1, response
from sipxha.auth.nonce import Nonces
from sipxha.auth.users import Credential, Users
from sipxha.net.endpoint import ITransactionUser
from sipxha.net.siblings import HANDED
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.register import Terms
from sipxha.registry.table import Registry
from sipxha.services.change_log import ChangeLog
from sipxha.services.registrar import FLOW_TIMER, RegistrarUser
from sipxha.sip.auth_fields import Challenge, Credentials
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request, Response
from sipxha.store.registrations import NotYetWritten
from sipxha.transaction.vocabulary import ServerKey
from tests.registry.rows import NOW
from tests.support.fakes import a_request

FLOW = Flow("udp", "127.0.0.1", 40000, "127.0.0.1", 5070)
KEY = cast(ServerKey, ("z9hG4bK-1", "10.1.1.7:5060", "REGISTER"))
CONTACT = ("Contact", "<sip:201@10.1.1.7:5060>")


class Answers:
    """
    Stands for the endpoint: keeps what is answered.
    """

    def __init__(self) -> None:
        self.sent: list[Response] = []

    def respond(self, transaction: ServerKey, response: Response) -> None:
        """
        As L{Endpoint.respond<sipxha.net.endpoint.Endpoint.respond>}.
        """
        assert transaction is KEY
        self.sent.append(Response(response.status, response.reason))
        self.sent[-1] = response


class Disk:
    """
    Stands for the store: commits when it is told to.
    """

    def __init__(self) -> None:
        self.result: Deferred[None] | None = None
        self.rows: list[Any] = []

    def commit(self, rows: Any, purged: Any = ()) -> Deferred[None]:
        """
        As L{RegistrationStore.commit<sipxha.store.registrations.RegistrationStore.commit>}.
        """
        self.rows += rows
        return succeed(None) if self.result is None else self.result


class RegistrarCase(SynchronousTestCase):
    """
    Has a registrar that authenticates two users.
    """

    authenticate = True
    acknowledged: Deferred[None] | None = None

    def setUp(self) -> None:
        numbers = count(1)

        def mint() -> str:
            return f"token-{next(numbers):012d}"

        self.clock = Clock()
        self.clock.advance(NOW)
        self.disk = Disk()
        self.registry = Registry("sipx1.example.com", 7200, max_contacts=2)
        users = Users(
            Credential(
                f"{name}@example.com",
                "example.com",
                name,
                {each: ha1(name, "example.com", "secret", each) for each in ("MD5", "SHA-256")},
            )
            for name in ("201", "202")
        )
        nonces = Nonces(b"a secret of the cluster", "sipx1")
        self.authenticator = Authenticator("example.com", ("SHA-256", "MD5"), users, nonces, mint)
        self.updates = 0
        self.log = ChangeLog()
        self.registrar = RegistrarUser(
            self.clock,
            Terms(
                ServedDomain("example.com", ["sip.example.com"]),
                60,
                3600,
                7200,
                Gruus(b"a secret of the cluster", "example.com"),
            ),
            self.registry,
            cast(Any, self.disk),
            self.authenticator,
            authenticate=self.authenticate,
            allowed=lambda address: address in ("127.0.0.1", "10.1.1.50"),
            updated=self.update,
            acknowledged=lambda number: self.acknowledged,
            mint=mint,
            change_log=self.log,
        )
        self.answers = Answers()
        self.registrar.endpoint = cast(Any, self.answers)
        self.cseq = count(1)

    def update(self) -> None:
        """
        Count what replication is told.
        """
        self.updates += 1

    def request(
        self,
        *fields: tuple[str, str],
        uri: str = "sip:example.com",
        to: str = "sip:201@example.com",
        cseq: int = 0,
    ) -> Request:
        """
        A REGISTER.
        """
        return Request(
            "REGISTER",
            uri,
            [
                ("Via", "SIP/2.0/UDP 10.1.1.7:5060;branch=z9hG4bK-1"),
                ("From", f"<{to}>;tag=1"),
                ("To", f"<{to}>"),
                ("Call-ID", "f00d@10.1.1.7"),
                ("CSeq", f"{cseq or next(self.cseq)} REGISTER"),
                *fields,
            ],
        )

    def send(self, request: Request, flow: Flow = FLOW) -> Response:
        """
        Deliver a request that is answered at once.
        """
        before = len(self.answers.sent)
        self.registrar.request_received(KEY, request, flow)
        self.assertEqual(len(self.answers.sent), before + 1)
        return self.answers.sent[-1]

    def credentials(self, challenge: str, password: str = "secret", as_: str = "201") -> tuple[str, str]:
        """
        The Authorization field for a challenge.
        """
        asked = Challenge.parse(challenge).params
        params = {
            "username": as_,
            "realm": asked["realm"],
            "nonce": asked["nonce"],
            "uri": "sip:example.com",
            "qop": "auth",
            "nc": "00000001",
            "cnonce": "c",
            "algorithm": asked["algorithm"],
        }
        digest = ha1(as_, asked["realm"], password, asked["algorithm"])
        params["response"] = response(
            digest, asked["nonce"], "00000001", "c", "REGISTER", "sip:example.com", asked["algorithm"]
        )
        return ("Authorization", str(Credentials("Digest", params)))

    def proof(self, **more: str) -> tuple[str, str]:
        """
        The Authorization field for a challenge of this moment.
        """
        return self.credentials(self.authenticator.challenges(NOW)[0], **more)

    def register(self, *fields: tuple[str, str], **more: Any) -> Response:
        """
        Send a REGISTER with credentials.
        """
        return self.send(self.request(*fields, self.proof(), **more))


class RegisterTests(RegistrarCase):
    """
    Tests for the way of a REGISTER.
    """

    def test_it_is_a_transaction_user(self) -> None:
        """
        All of the interface; what needs no answer gets none.
        """
        verifyObject(ITransactionUser, self.registrar)
        self.registrar.ack_received(self.request(), FLOW)
        self.registrar.cancelled(KEY)
        self.registrar.server_failed(KEY)
        self.assertEqual(self.answers.sent, [])

    def test_R03_without_credentials_there_is_a_challenge_for_each_algorithm(self) -> None:
        """
        A01: 401, WWW-Authenticate, in the order of the configuration.
        """
        answer = self.send(self.request(CONTACT))
        self.assertEqual((answer.status, len(self.registry)), (401, 0))
        algorithms = [Challenge.parse(row).params["algorithm"] for row in answer.rows("www-authenticate")]
        self.assertEqual(algorithms, ["SHA-256", "MD5"])
        self.assertTrue(answer.to.tag)

    def test_R20_with_credentials_the_200_lists_what_is_bound(self) -> None:
        """
        Each with its seconds, and the Date.
        """
        challenge = self.send(self.request(CONTACT)).rows("www-authenticate")[1]
        contact = ("Contact", '<sip:201@10.1.1.7:5060>;q=0.5;+sip.instance="<urn:uuid:1>"')
        answer = self.send(self.request(contact, self.credentials(challenge)))
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            answer.rows("contact"),
            ['<sip:201@10.1.1.7:5060>;expires=3600;q=0.5;+sip.instance="<urn:uuid:1>"'],
        )
        self.assertEqual(answer.get("date"), "Fri, 24 Feb 2006 21:36:40 GMT")
        self.clock.advance(100)
        answer = self.register(("Contact", "<sip:b@10.1.1.8>"))
        self.assertEqual(
            [row.split(";")[1] for row in answer.rows("contact")], ["expires=3600", "expires=3500"]
        )

    def test_A15_unknown_users_are_challenged_like_any_other(self) -> None:
        """
        Before and after they answered.
        """
        one = self.send(self.request(CONTACT, self.proof(password="guess")))
        other = self.send(self.request(CONTACT, self.proof(as_="999"), to="sip:999@example.com"))
        for answer in (one, other):
            self.assertEqual((answer.status, answer.reason), (401, "Unauthorized"))
            self.assertFalse(any("stale" in row for row in answer.rows("www-authenticate")))

    def test_A15_A18_guesses_learn_nothing_and_leave_few_lines(self) -> None:
        """
        After five wrong passwords the right one is answered as they are, and
        all of them as an unknown user's; a phone elsewhere comes in.  No line
        holds credentials.
        """
        proof = self.proof()[1]
        answers = {}
        with capturedLogs() as events:
            for password, name in (("guess", "201"), ("guess", "999"), ("secret", "201")):
                for _ in range(7):
                    request = self.request(CONTACT, self.proof(password=password, as_=name))
                    answers[password, name] = self.send(request)
        changing = 'CSeq: .*\r\n|nonce="[^"]*"|token-[0-9]+'
        shapes = {re.sub(changing, "", answer.encode().decode()) for answer in answers.values()}
        self.assertEqual(len(shapes), 1, shapes)
        self.assertEqual(len(events), 10)
        for text in ("response=", "nonce", "cnonce", "guess", "secret", *re.findall("[0-9a-f]{32}", proof)):
            self.assertNotIn(
                text, "".join(formatEvent(event) + repr(event["log_format"]) for event in events)
            )
        phone = FLOW._replace(address="10.1.1.50")
        request = self.request(CONTACT, self.proof())
        request.add("via", "SIP/2.0/UDP 10.1.1.8")
        self.assertEqual(self.send(request, phone).status, 200)

    def test_A14_a_digest_uri_without_quotation_marks_is_malformed(self) -> None:
        """
        400, not one more challenge.
        """
        name, value = self.proof()
        bare = value.replace('uri="sip:example.com"', "uri=sip:example.com")
        self.assertEqual(self.send(self.request(CONTACT, (name, bare))).status, 400)

    def test_a_nonce_is_for_whom_it_was_given_to(self) -> None:
        """
        Anybody else who answers it is asked again.
        """
        challenge = self.send(self.request(CONTACT)).rows("www-authenticate")[0]
        elsewhere = FLOW._replace(address="10.1.1.50")
        request = self.request(CONTACT, self.credentials(challenge))
        request.add("via", "SIP/2.0/UDP 10.1.1.8")
        answer = self.send(request, elsewhere)
        self.assertEqual(answer.status, 401)
        self.assertTrue(all("stale=true" in row for row in answer.rows("www-authenticate")))
        self.assertEqual(self.send(self.request(CONTACT, self.credentials(challenge))).status, 200)

    def test_A10_an_old_nonce_is_answered_with_stale(self) -> None:
        """
        The phone tries again without asking anybody.
        """
        proof = self.proof()
        self.clock.advance(301)
        answer = self.send(self.request(CONTACT, proof))
        self.assertEqual(answer.status, 401)
        self.assertTrue(all("stale=true" in row for row in answer.rows("www-authenticate")))

    def test_M26_R04_nobody_registers_for_somebody_else(self) -> None:
        """
        Whether that user exists or not.
        """
        for to in ("sip:202@example.com", "sip:999@example.com"):
            answer = self.send(self.request(CONTACT, self.proof(), to=to))
            self.assertEqual((answer.status, len(self.registry)), (403, 0))

    def test_R01_R05_other_domains_are_not_found(self) -> None:
        """
        In the Request-URI and in To; aliases of ours are.
        """
        self.assertEqual(self.register(CONTACT, uri="sip:example.org").status, 404)
        self.assertEqual(self.register(CONTACT, to="sip:201@example.org").status, 404)
        self.assertEqual(self.register(CONTACT, to="sip:example.com").status, 404)
        answer = self.register(CONTACT, to="sip:201@sip.example.com")
        self.assertEqual(answer.status, 200)
        self.assertEqual(len(self.registry.current("201@example.com", NOW)), 1)

    def test_R06_a_to_that_is_no_sip_uri_is_malformed(self) -> None:
        """
        There is no such AOR.
        """
        self.assertEqual(self.register(CONTACT, to="tel:201").status, 400)

    def test_M23_R02_unknown_extensions_are_named(self) -> None:
        """
        Path is known.
        """
        answer = self.send(self.request(CONTACT, ("Require", "path, magic"), ("Require", "more")))
        self.assertEqual((answer.status, answer.get("unsupported")), (420, "magic, more"))
        self.assertEqual(self.register(CONTACT, ("Require", "path")).status, 200)

    def test_R14_too_brief_is_told_what_would_do(self) -> None:
        """
        Min-Expires.
        """
        answer = self.register(CONTACT, ("Expires", "10"))
        self.assertEqual((answer.status, answer.get("min-expires")), (423, "60"))

    def test_R16_out_of_order_is_500(self) -> None:
        """
        And R26, too many contacts, 403; neither changes anything.
        """
        self.register(CONTACT, cseq=5)
        self.assertEqual(self.register(("Contact", "<sip:x@y>"), cseq=4).status, 500)
        self.assertEqual(self.register(("Contact", "<sip:x@y>, <sip:z@y>"), cseq=6).status, 403)
        self.assertEqual(len(self.registry), 1)

    def test_R18_what_cannot_be_replicated_is_malformed(self) -> None:
        """
        Bytes that are no UTF-8 in a contact.
        """
        answer = self.register(("Contact", '<sip:201@10.1.1.7>;x="\udc80"'))
        self.assertEqual((answer.status, len(self.registry)), (400, 0))

    def test_a_field_that_cannot_be_read_is_malformed(self) -> None:
        """
        As a contact without its end.
        """
        self.assertEqual(self.register(("Contact", "<sip:201@10.1.1.7")).status, 400)

    def test_R21_record_route_does_not_come_back(self) -> None:
        """
        It means nothing in a REGISTER.
        """
        answer = self.register(CONTACT, ("Record-Route", "<sip:10.1.1.50;lr>"))
        self.assertFalse(answer.has("record-route"))

    def test_R10_a_query_is_answered_at_once(self) -> None:
        """
        It waits for no disk and tells nobody.
        """
        self.register(CONTACT)
        self.disk.result = Deferred()
        answer = self.register()
        self.assertEqual((answer.status, len(answer.rows("contact"))), (200, 1))
        self.assertEqual(self.updates, 1)

    def test_R12_a_star_removes_all(self) -> None:
        """
        The 200 lists nothing.
        """
        self.register(CONTACT)
        answer = self.register(("Contact", "*"), ("Expires", "0"))
        self.assertEqual((answer.status, answer.has("contact")), (200, False))
        self.assertEqual(self.updates, 2)

    def test_PA1_the_path_is_kept_and_shown(self) -> None:
        """
        In order, without Supported: only our nodes can have put it there.
        """
        answer = self.register(CONTACT, ("Path", "<sip:p1;lr>"), ("Path", "<sip:p2;lr>"))
        self.assertEqual(answer.rows("path"), ["<sip:p1;lr>", "<sip:p2;lr>"])
        self.assertEqual(self.disk.rows[0].path, "<sip:p1;lr>,<sip:p2;lr>")

    def test_PA2_PA4_the_path_of_the_last_register_counts(self) -> None:
        """
        With or without Supported: path.
        """
        for supported in ((), (("Supported", "path"),)):
            for path in ("<sip:p1;lr>", "<sip:p2;lr>"):
                self.register(CONTACT, ("Path", path), *supported)
                (row,) = self.registry.current("201@example.com", NOW)
                self.assertEqual(row.path, path)
        self.register(CONTACT)
        self.assertEqual(self.registry.current("201@example.com", NOW)[0].path, "")

    def test_R19_requests_are_done_in_the_order_in_which_they_come(self) -> None:
        """
        Though the disk has not written the first yet.
        """
        self.disk.result = Deferred()
        for cseq, seconds in ((1, "600"), (2, "0"), (3, "700")):
            request = self.request(CONTACT, ("Expires", seconds), self.proof(), cseq=cseq)
            self.registrar.request_received(KEY, request, FLOW)
        self.assertEqual(self.answers.sent, [])
        self.disk.result.callback(None)
        listed = [[row.rpartition("=")[2] for row in answer.rows("contact")] for answer in self.answers.sent]
        self.assertEqual(listed, [["600"], [], ["700"]])

    def test_what_changes_is_counted(self) -> None:
        """
        And what is refused.
        """
        self.register(CONTACT)
        self.register(CONTACT)
        self.register(CONTACT, ("Expires", "0"))
        self.register(CONTACT, ("Expires", "1"))
        counts = {cause: count for cause, count in self.log.changes.items() if count}
        self.assertEqual(counts, {"registered": 1, "refreshed": 1, "removed": 1})
        self.assertEqual(self.log.refusals, {423: 1})


class CommitTests(RegistrarCase):
    """
    A 200 means that it is on the disk.
    """

    def test_the_200_waits_for_the_commit(self) -> None:
        """
        The peers hear of it at once.
        """
        self.disk.result = Deferred()
        self.registrar.request_received(KEY, self.request(CONTACT, self.proof()), FLOW)
        self.assertEqual((self.answers.sent, self.updates), ([], 1))
        self.clock.advance(0.25)
        self.disk.result.callback(None)
        self.assertEqual((self.answers.sent[0].status, self.updates), (200, 1))
        self.assertEqual((sum(self.log.delays.counts), self.log.delays.total), (1, 0.25))

    def test_the_200_may_wait_for_a_peer_too(self) -> None:
        """
        For what it tells only; a query and a repetition tell nothing new.
        """
        self.disk.result, self.acknowledged = Deferred(), Deferred()
        self.registrar.request_received(KEY, self.request(CONTACT, self.proof(), cseq=5), FLOW)
        self.disk.result.callback(None)
        self.assertEqual(self.answers.sent, [])
        self.acknowledged.callback(None)
        self.assertEqual(self.answers.sent[0].status, 200)

    def test_R24_so_does_the_200_for_a_repetition(self) -> None:
        """
        The rows of the first may still be on their way.
        """
        self.register(CONTACT, cseq=5)
        self.disk.result = Deferred()
        self.registrar.request_received(KEY, self.request(CONTACT, self.proof(), cseq=5), FLOW)
        self.assertEqual(len(self.answers.sent), 1)
        self.disk.result.callback(None)
        self.assertEqual((self.answers.sent[-1].status, self.updates), (200, 1))

    def test_R18_a_disk_that_refuses_is_503(self) -> None:
        """
        What is in memory stays there, and travels to the peers.
        """
        self.disk.result = fail(NotYetWritten("full"))
        self.assertEqual(self.register(CONTACT).status, 503)
        self.assertEqual((len(self.registry), self.updates), (1, 1))


class OutboundTests(RegistrarCase):
    """
    Phones that keep a flow (RFC 5626).
    """

    def flow(self, *fields: tuple[str, str], **more: Any) -> Response:
        """
        Register one, as a phone does that is next to an edge of ours.
        """
        contact = ("Contact", '<sip:201@10.1.1.7>;reg-id=1;+sip.instance="<urn:uuid:1>"')
        path = ("Path", "<sip:token@10.1.1.50:5060;lr;ob>")
        return self.register(contact, path, ("Supported", "outbound, path"), *fields, **more)

    def test_O01_the_200_says_that_the_flow_counts(self) -> None:
        """
        And for how long it may be silent.
        """
        answer = self.flow(("Require", "outbound"))
        self.assertEqual((answer.status, answer.get("require")), (200, "outbound"))
        self.assertEqual(answer.get("flow-timer"), str(FLOW_TIMER))
        self.assertEqual(
            answer.rows("contact"),
            ['<sip:201@10.1.1.7>;expires=3600;+sip.instance="<urn:uuid:1>";reg-id=1'],
        )
        answer = self.register(CONTACT, ("Supported", "outbound"))
        self.assertEqual(
            (answer.status, answer.has("require"), answer.has("flow-timer")), (200, False, False)
        )

    def test_O02_without_an_edge_it_is_439(self) -> None:
        """
        The phone then registers without.
        """
        contact = ("Contact", '<sip:201@10.1.1.7>;reg-id=1;+sip.instance="<urn:uuid:1>"')
        via = ("Via", "SIP/2.0/UDP 10.1.1.9:5060;branch=z9hG4bK-2")
        answer = self.register(via, contact, ("Supported", "outbound"))
        self.assertEqual((answer.status, answer.reason), (439, "First Hop Lacks Outbound Support"))

    def test_O07_a_closed_flow_ends_its_bindings(self) -> None:
        """
        On the disk and for the peers, too.
        """
        self.flow()
        self.registrar.flow_closed("token")
        self.assertEqual(self.registry.current("201@example.com", NOW), [])
        self.assertEqual((self.disk.rows[-1].deadline < NOW, self.updates), (True, 2))
        self.registrar.flow_closed("token")
        self.assertEqual((len(self.disk.rows), self.updates), (2, 2))

    def test_O07_a_disk_that_refuses_keeps_no_dead_flow_alive(self) -> None:
        """
        Memory and peers know.
        """
        self.flow()
        self.disk.result = fail(NotYetWritten("full"))
        self.registrar.flow_closed("token")
        self.assertEqual((self.registry.current("201@example.com", NOW), self.updates), ([], 2))


class GruuTests(RegistrarCase):
    """
    Phones that want to be called as one instance (RFC 5627).
    """

    CONTACT = ("Contact", '<sip:201@10.1.1.7>;+sip.instance="<urn:uuid:1>"')

    def test_G01_the_200_tells_both_gruus(self) -> None:
        """
        To those who know what they are; the temporary one is new each time.
        """
        answer = self.register(self.CONTACT, ("Supported", "gruu"), ("Require", "gruu"))
        (contact,) = answer.contacts
        self.assertEqual(contact.params.get("pub-gruu"), '"sip:201@example.com;gr=urn:uuid:1"')
        temporary = contact.params.text("temp-gruu") or ""
        self.assertTrue(temporary.startswith("sip:tgruu.") and temporary.endswith("@example.com;gr"))
        self.assertEqual(self.disk.rows[-1].gruu, "201@example.com;gr=urn:uuid:1")
        again = self.register(self.CONTACT, ("Supported", "gruu")).contacts[0].params
        self.assertNotEqual(again.text("temp-gruu"), temporary)
        query = self.register(("Supported", "gruu")).contacts[0].params
        self.assertEqual(query.text("temp-gruu"), again.text("temp-gruu"))
        self.assertFalse("pub-gruu" in self.register().contacts[0].params)

    def test_G05_who_calls_a_gruu_is_led_to_its_instance(self) -> None:
        """
        Inside a dialog, too, where it is somebody's Contact.
        """
        told = self.register(self.CONTACT, ("Supported", "gruu")).contacts[0].params
        self.register(("Contact", "<sip:201@10.1.1.8>"))
        for name in ("pub-gruu", "temp-gruu"):
            for method, tag in (("INVITE", ""), ("BYE", ";tag=2")):
                answer = self.send(
                    Request(
                        method,
                        told.text(name) or "",
                        [
                            ("Via", "SIP/2.0/UDP 10.1.1.7:5060;branch=z9hG4bK-1"),
                            ("From", "<sip:202@example.com>;tag=1"),
                            ("To", f"<sip:201@example.com>{tag}"),
                            ("Call-ID", "f00d@10.1.1.9"),
                            ("CSeq", f"1 {method}"),
                        ],
                    )
                )
                self.assertEqual(answer.rows("contact"), ["<sip:201@10.1.1.7>;expires=3600"])


class SourceTests(RegistrarCase):
    """
    Who is served, and where requests really come from.
    """

    def send_from(self, address: str, *vias: str) -> Response:
        """
        A REGISTER that passed some proxies.
        """
        request = self.request(CONTACT, self.proof())
        request.remove("via")
        for via in vias:
            request.add("via", f"SIP/2.0/{via};branch=z9hG4bK-1")
        return self.send(request, FLOW._replace(address=address))

    def received(self) -> str:
        """
        What the last row says.
        """
        return str(self.disk.rows[-1].received)

    def test_only_our_own_nodes_are_served(self) -> None:
        """
        Phones go through the proxy.
        """
        self.assertEqual(self.send_from("10.9.9.9", "UDP 10.9.9.9").status, 403)
        request = Request("INVITE", "sip:201@example.com", [("Via", "SIP/2.0/UDP h;branch=z9hG4bK-1")])
        self.assertEqual(self.send(request, FLOW._replace(address="10.9.9.9")).status, 403)

    def test_who_tries_what_is_not_for_him_is_a_security_event(self) -> None:
        """
        The port of the nodes, or somebody else's address.
        """
        lines: list[str] = []
        self.authenticator.security.write = lines.append
        self.send_from("10.9.9.9", "UDP 10.9.9.9")
        self.send(self.request(CONTACT, self.proof(), to="sip:202@example.com"))
        self.assertEqual(
            [line.partition(" sipxha ")[2] for line in lines],
            [
                "event=refused source=10.9.9.9 transport=udp service=registrar method=REGISTER"
                ' detail="a port of the nodes"',
                "event=refused source=127.0.0.1 transport=udp service=registrar method=REGISTER"
                ' detail="201@example.com for 202@example.com"',
            ],
        )

    def test_without_a_proxy_it_is_the_sender(self) -> None:
        """
        The flow itself.
        """
        self.send_from("127.0.0.1", "UDP 10.1.1.7")
        self.assertEqual(self.received(), "udp:127.0.0.1:40000")

    def test_N01_behind_our_proxy_it_is_what_the_proxy_saw(self) -> None:
        """
        Stamped into the phone's Via, or else the Via itself.
        """
        self.send_from("10.1.1.50", "TCP 10.1.1.50", "UDP 192.168.1.7:5066;received=10.8.8.8;rport=1024")
        self.assertEqual(self.received(), "udp:10.8.8.8:1024")
        self.send_from("10.1.1.50", "TCP 10.1.1.50", "TCP 10.8.8.8:5066;rport")
        self.assertEqual(self.received(), "tcp:10.8.8.8:5066")

    def test_what_a_stranger_put_below_is_not_believed(self) -> None:
        """
        Only Vias that one of our nodes stamped count.
        """
        self.send_from("10.1.1.50", "TCP 10.1.1.50", "UDP 10.8.8.8:5060", "UDP 1.2.3.4")
        self.assertEqual(self.received(), "udp:10.8.8.8:5060")


class OtherRequestTests(RegistrarCase):
    """
    Everything but REGISTER is redirected.
    """

    def invite(self, user: str) -> Response:
        """
        Call somebody.
        """
        request = self.request(uri=f"sip:{user}@example.com")
        fields = [(name, request.get(name) or "") for name in ("via", "from", "to", "call-id")]
        return self.send(Request("INVITE", request.uri, [*fields, ("CSeq", "1 INVITE")]))

    def test_302_480_and_404(self) -> None:
        """
        Bound, absent, unknown; and new users count at once.
        """
        self.register(CONTACT)
        answer = self.invite("201")
        self.assertEqual((answer.status, answer.reason), (302, "Moved Temporarily"))
        self.assertEqual(answer.rows("contact"), ["<sip:201@10.1.1.7:5060>;expires=3600"])
        self.assertEqual(self.invite("202").status, 480)
        self.assertEqual(self.invite("999").status, 404)
        self.authenticator.users = Users()
        self.assertEqual(self.invite("202").status, 404)

    def test_a_proxy_of_this_process_hears_of_contacts_at_once(self) -> None:
        """
        In the same words; all that is no redirection has to be sent, and so
        has what changes something.
        """
        self.register(CONTACT)
        flow = Flow("tcp", "10.1.1.50", 5060, "10.1.1.50", 5070, HANDED)

        def answer(uri: str, method: str = "INVITE") -> Response | None:
            return self.registrar.answer_at_once(a_request(method, uri=uri), flow)

        answered = answer("sip:201@example.com")
        assert answered is not None
        self.assertEqual((answered.status, answered.rows("contact")), (302, [f"{CONTACT[1]};expires=3600"]))
        self.assertTrue(answered.to.tag)
        for uri, method in (
            ("sip:202@example.com", "INVITE"),
            ("sip:999@example.com", "INVITE"),
            ("tel:201", "INVITE"),
            ("sip:201@example.com", "SUBSCRIBE"),
            ("sip:example.com", "REGISTER"),
        ):
            self.assertIsNone(answer(uri, method), (uri, method))
        stranger = flow._replace(address="10.8.8.8")
        self.assertIsNone(self.registrar.answer_at_once(a_request(uri="sip:201@example.com"), stranger))


class WithoutDigestTests(RegistrarCase):
    """
    C{authenticate="false"}: nobody has to prove anything.
    """

    authenticate = False

    def test_R05_only_users_can_be_registered(self) -> None:
        """
        Others are not there.
        """
        self.assertEqual(self.send(self.request(CONTACT)).status, 200)
        self.assertEqual(self.send(self.request(CONTACT, to="sip:999@example.com")).status, 404)
