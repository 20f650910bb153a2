"""
The scenarios by which the ancestor's integrators judged a pair, on two real
nodes: aliases, forks, gateways, loops, and the death of single services.

Their numbers, S1 to S20, are in the names.  S1 is in L{tests.system.test_pair},
and what the death of whole nodes costs is in L{tests.system.test_failover}.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol

from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.sip.uri import Uri
from tests.support.pair import DOMAIN
from tests.support.phone import Call, Phone
from tests.system.servers import PairTestCase, Server, reactor, until

GATEWAY_RULES = """\
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/urlauth-00-00">
  <hostMatch>
    <hostPattern>{gateway}</hostPattern>
    <userMatch>
      <userPattern>closed</userPattern>
      <permissionMatch><permission>NoAccess</permission></permissionMatch>
    </userMatch>
    <userMatch>
      <userPattern>.</userPattern>
      <permissionMatch><permission>LongDistanceDialing</permission></permissionMatch>
    </userMatch>
  </hostMatch>
</mappings>
"""

ALIASES = """\
<items type="alias" xmlns="http://www.sipfoundry.org/sipX/schema/xml/alias-00-00">
  <item><identity>desk@example.com</identity><contact>&lt;sip:{user}@example.com&gt;</contact></item>
  <item>
    <identity>office@example.com</identity><contact>&lt;sip:{user}@example.com?expires=1&gt;;q=0.9</contact>
  </item>
  <item><identity>office@example.com</identity><contact>&lt;sip:{other}@example.com&gt;;q=0.1</contact></item>
  <item><identity>tick@example.com</identity><contact>&lt;sip:tock@example.com&gt;</contact></item>
  <item><identity>tock@example.com</identity><contact>&lt;sip:tick@example.com&gt;</contact></item>
</items>
"""

PERMISSIONS = """\
<items type="permission">
  <item><identity>{user}@example.com</identity><permission>LongDistanceDialing</permission></item>
</items>
"""


class _ScenarioTestCase(PairTestCase):
    """
    What the scenarios have in common.
    """

    async def another(self, phone: Phone, q: str = "", first_q: str = "") -> Phone:
        """
        A second phone of the same user, at the other node.

        @param first_q: how much the first one is wanted from now on.
        """
        second = self.phone(user=phone.user)
        self.assertEqual((await second.register(at=self.west.address, q=q)).status, 200)
        if first_q:
            self.assertEqual((await phone.register(at=self.east.address, q=first_q)).status, 200)
        await self.pair.level()
        return second

    def ask(self, method: str, target: str, caller: Phone, *fields: tuple[str, str]) -> Request:
        """
        A request outside of any dialog.
        """
        return Request(
            method,
            target,
            [
                *fields,
                ("from", f"<{caller.aor}>;tag=asks"),
                ("to", f"<{target}>"),
                ("call-id", f"{method}-{caller.user}@{DOMAIN}"),
                ("cseq", f"1 {method}"),
                ("contact", f"<{caller.contact}>"),
            ],
        )

    async def reread(self, name: str, text: str, says: str) -> None:
        """
        Give both nodes another text of a file, until the test ends.

        @param says: the line of their log by which they have read it.
        """
        for node in self.pair.nodes:
            path = node.folder / name
            self.addCleanup(self._write_and_tell, node, name, path.read_text())
            count = sum(says in line for line in node.lines)
            self._write_and_tell(node, name, text)
            await until(
                lambda node=node, count=count: sum(says in line for line in node.lines) > count,  # type: ignore[misc]
                f"{node.name} does not read {name}",
            )

    def _write_and_tell(self, node: Server, name: str, text: str) -> None:
        (node.folder / name).write_text(text)
        if node.is_running:
            node.send(signal.SIGHUP)


class ForkTests(_ScenarioTestCase):
    """
    Tests for calls to somebody with several phones.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        One who calls, and one who has a phone already.
        """
        await super().setUp()
        self.caller = await self.registered(self.east)
        self.first = await self.registered(self.east)

    def dial(self, ringing: Callable[[Response], None] | None = None) -> Deferred[Call]:
        """
        Call that user through the first node.
        """
        return self.caller.call(self.first.aor, ringing, self.east.address)

    async def test_S06_phones_that_are_wanted_alike_ring_together(self) -> None:
        """
        Who answers first ends the ringing of the other.
        """
        second = await self.another(self.first)
        self.first.answers = lambda request: None
        call = await self.dial()
        await until(lambda: self.first.rung and not self.first.is_ringing, "it rings on")
        self.assertEqual((len(self.first.rung), len(second.rung)), (1, 1))
        self.assertIn(call.call_id, second.calls)
        self.assertEqual((await call.hang_up()).status, 200)

    async def test_S07_a_busy_phone_is_followed_by_the_next(self) -> None:
        """
        The less wanted one rings only then.
        """
        second = await self.another(self.first, "0.9", "1.0")
        self.first.answers = lambda request: 486
        call = await self.dial()
        self.assertIn(call.call_id, second.calls)
        self.assertEqual((len(self.first.rung), len(second.rung)), (1, 1))
        self.assertEqual((await call.hang_up()).status, 200)

    async def test_S09_who_gives_up_is_tried_nowhere_else(self) -> None:
        """
        487, and the less wanted phone never rings.
        """
        second = await self.another(self.first, "0.9", "1.0")
        self.first.answers = lambda request: None
        response = await self.refused(self.dial(lambda ringing: self.caller.give_up()))
        self.assertEqual(response.status, 487)
        await until(lambda: not self.first.is_ringing, "it rings on")
        self.assertEqual(second.rung, [])

    async def test_S10_who_declines_ends_the_search(self) -> None:
        """
        As RFC 3261 has it: the other phone rings no more, and 603 goes up.
        """
        second = await self.another(self.first)
        second.answers = lambda request: None
        self.first.answers = lambda request: 603
        self.assertEqual((await self.refused(self.dial())).status, 603)
        await until(lambda: not second.is_ringing, "it rings on")

    async def test_S11_a_challenge_is_worth_more_than_busy(self) -> None:
        """
        The caller may have the password.
        """
        second = await self.another(self.first)
        self.first.answers = lambda request: 486

        def asks(request: Request) -> Response:
            response = response_to(request, 407, to_tag="far")
            response.add("proxy-authenticate", 'Digest realm="elsewhere", nonce="n", qop="auth"')
            return response

        second.answers = asks
        response = await self.refused(self.dial())
        self.assertEqual(response.status, 407)
        self.assertIn('realm="elsewhere"', str(response.rows("proxy-authenticate")))


class AliasTests(_ScenarioTestCase):
    """
    Tests for names that stand for others.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        A desk and its voicemail, and two aliases that lead to each other.
        """
        await super().setUp()
        self.caller = await self.registered(self.east)
        self.desk = await self.registered(self.west)
        self.voicemail = await self.registered(self.west)
        aliases = ALIASES.format(user=self.desk.user, other=self.voicemail.user)
        await self.reread("alias.xml", aliases, "the users were read")

    async def test_S05_a_spiral_passes_the_authproxy_once(self) -> None:
        """
        So there is one Record-Route.
        """
        call = await self.caller.call(f"sip:desk@{DOMAIN}", through=self.east.address)
        self.assertEqual((await call.hang_up()).status, 200)
        (request,) = self.desk.rung
        self.assertEqual(len(request.values("record-route")), 1)

    async def test_S08_what_rings_for_too_long_is_followed_by_the_next(self) -> None:
        """
        After the ring time of the contact; without one it would be 20 seconds.
        """
        self.desk.answers = lambda request: None
        call = await self.caller.call(f"sip:office@{DOMAIN}", through=self.east.address)
        self.assertIn(call.call_id, self.voicemail.calls)
        self.assertEqual(len(self.desk.rung), 1)
        await until(lambda: not self.desk.is_ringing, "it rings on")
        self.assertEqual((await call.hang_up()).status, 200)

    async def test_S17_aliases_that_lead_to_each_other_come_to_an_end(self) -> None:
        """
        At once.
        """
        response = await self.refused(self.caller.call(f"sip:tick@{DOMAIN}", None, self.east.address))
        self.assertEqual(response.status, 482)


class RequestTests(_ScenarioTestCase):
    """
    Tests for requests that are refused, or need repair.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        Two phones at two nodes.
        """
        await super().setUp()
        self.caller = await self.registered(self.east)
        self.called = await self.registered(self.west)

    async def test_S04_a_challenge_of_one_node_is_answered_at_the_other(self) -> None:
        """
        Nonces are the domain's; at most it asks once more, because it cannot
        know how often this one was used.
        """
        phone = self.phone()
        request = self.ask("REGISTER", f"sip:{DOMAIN}", phone, ("max-forwards", "70"))
        request.set("to", f"<{phone.aor}>")
        challenge = await phone.exchange(request, self.door(self.east))
        self.assertEqual(challenge.status, 401)
        again = request.copy()
        again.set("authorization", phone.credentials(challenge.rows("www-authenticate"), again))
        again.set("cseq", "2 REGISTER")
        answer = await phone.exchange(again, self.door(self.west))
        self.assertEqual(answer.status, 401)
        challenges = answer.rows("www-authenticate")
        self.assertTrue(all("stale=true" in text for text in challenges), challenges)
        again.set("authorization", phone.credentials(challenges, again))
        again.set("cseq", "3 REGISTER")
        self.assertEqual((await phone.exchange(again, self.door(self.west))).status, 200)

    async def test_S15_no_hops_left(self) -> None:
        """
        483, from the first proxy.
        """
        request = self.ask("OPTIONS", self.called.aor, self.caller, ("max-forwards", "0"))
        self.assertEqual((await self.caller.exchange(request, self.door(self.east))).status, 483)

    async def test_a_transfer_tells_how_it_goes(self) -> None:
        """
        The callee, at the other node, is sent on to a third, and says by NOTIFY
        in that dialog what becomes of it: unasked, byte for byte, and through
        both nodes when the caller's connection is the first one's.
        """
        third = await self.registered(self.east)
        caller = await self.registered(self.east, "tcp")
        call = await caller.call(self.called.aor, through=self.east.address)
        far = self.called.calls[call.call_id]
        refer = call.request("REFER")
        refer.add("refer-to", f"<{third.aor}>")
        refer.add("referred-by", f"<{caller.aor}>")
        self.assertEqual((await caller.exchange(refer, call.first_hop())).status, 200)
        (referred,) = self.called.referred
        self.assertEqual(referred.get("refer-to"), f"<{third.aor}>")
        onward = await self.called.call(
            third.aor, None, self.west.address, ("referred-by", referred.get("referred-by") or "")
        )
        self.assertEqual(third.rung[0].get("referred-by"), f"<{caller.aor}>")
        for state, fragment in (
            ("active", b"SIP/2.0 100 Trying\r\n"),
            ("terminated;reason=noresource", b"SIP/2.0 200 OK\r\n"),
        ):
            notify = far.request("NOTIFY")
            for name, value in (
                ("event", f"refer;id={referred.cseq.number}"),
                ("subscription-state", state),
                ("content-type", "message/sipfrag;version=2.0"),
            ):
                notify.add(name, value)
            notify.body = fragment
            self.assertEqual((await self.called.exchange(notify, far.first_hop())).status, 200)
            heard = caller.notified[-1]
            self.assertEqual((heard.body, heard.get("subscription-state")), (fragment, state))
        self.assertEqual(len(caller.notified), 2)
        for each in (call, onward):
            self.assertEqual((await each.hang_up()).status, 200)
        await until(lambda: self.east.events(call.call_id) == "RSTE", "the transfer is not recorded")

    async def test_S16_an_extension_that_a_proxy_must_know(self) -> None:
        """
        420, which names it.
        """
        fields = (("max-forwards", "70"), ("proxy-require", "x"))
        request = self.ask("OPTIONS", self.called.aor, self.caller, *fields)
        response = await self.caller.exchange(request, self.door(self.east))
        self.assertEqual((response.status, response.values("unsupported")), (420, ["x"]))

    async def test_S18_somebody_elses_route_goes_through_the_authproxy(self) -> None:
        """
        Which stays in the dialog, and asks for permissions.
        """
        route = ("route", f"<sip:{self.called.contact.partition('@')[2].partition(';')[0]};lr>")
        call = await self.caller.call("sip:someone@elsewhere.example.net", None, self.east.address, route)
        (request,) = self.called.rung
        self.assertEqual(request.uri, "sip:someone@elsewhere.example.net")
        self.assertIn(f"sip:{self.east.address}:5080", request.values("record-route")[0])
        self.assertEqual((await call.hang_up()).status, 200)

    async def test_S19_what_a_strict_router_did_is_undone(self) -> None:
        """
        It puts the next route into the Request-URI, and the target last.
        """
        call = await self.caller.call(self.called.aor, through=self.east.address)
        request = call.request("BYE")
        (route,) = (Uri.parse(each.strip("<>")) for each in call.routes)
        request.uri = str(route)
        request.remove("route")
        request.add("route", f"<{call.target}>")
        self.assertEqual((await self.caller.exchange(request, route)).status, 200)
        self.assertNotIn(call.call_id, self.called.calls)

    async def test_S20_a_call_outlives_its_authproxy(self) -> None:
        """
        The node that set it up is killed; its next life takes the BYE, unasked.
        """
        call = await self.caller.call(self.called.aor, through=self.east.address)
        self.east.kill()
        await self.east.start()
        response = await self.caller.exchange(call.request("BYE"), call.first_hop())
        self.assertEqual(response.status, 200)
        await until(lambda: self.east.events(call.call_id) == "RSE", "the events are not there")


class GatewayTests(_ScenarioTestCase):
    """
    Tests for numbers that not everybody may dial.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        A gateway, one who may dial, and one who may not.
        """
        await super().setUp()
        self.gateway = self.phone()
        self.host = self.gateway.contact.partition("@")[2].partition(":")[0]
        self.number = f"sip:5551234@{self.host}"
        self.allowed = await self.registered(self.east)
        self.forbidden = await self.registered(self.east)
        await self.reread("permission.xml", PERMISSIONS.format(user=self.allowed.user), "the users were read")
        await self.reread(
            "authrules.xml", GATEWAY_RULES.format(gateway=self.host), "authorization rules were read"
        )

    async def test_S12_without_the_permission(self) -> None:
        """
        403 says which; who does not say who they are is asked.
        """
        response = await self.refused(self.forbidden.call(self.number, None, self.east.address))
        self.assertEqual((response.status, response.reason), (403, "Requires LongDistanceDialing"))
        request = self.ask("INVITE", self.number, self.forbidden, ("max-forwards", "70"))
        self.assertEqual((await self.forbidden.exchange(request, self.door(self.east))).status, 407)
        self.assertEqual(self.gateway.rung, [])

    async def test_S13_inside_a_dialog_nobody_is_asked(self) -> None:
        """
        A re-INVITE, an INFO, and the BYE, of either side.
        """
        call = await self.allowed.call(self.number, None, self.east.address)
        far = self.gateway.calls[call.call_id]
        for method in ("INVITE", "INFO"):
            request = call.request(method)
            response = await self.allowed.exchange(request, call.first_hop())
            self.assertEqual(response.status, 200, method)
            if method == "INVITE":
                ack = call.request("ACK", request.cseq.number)
                self.allowed.endpoint.send_ack(ack, await self.directory().locate(call.first_hop()))
        response = await self.gateway.exchange(far.request("BYE"), far.first_hop())
        self.assertEqual(response.status, 200)

    async def test_S14_an_ack_passes_to_where_nobody_may_call(self) -> None:
        """
        The gateway answers under a name that is closed: the ACK and the BYE
        belong to a dialog that was let in.
        """
        self.gateway.contact = f"sip:closed@{self.host}:5060;transport=udp"
        response = await self.refused(self.allowed.call(f"sip:closed@{self.host}", None, self.east.address))
        self.assertEqual(response.status, 403)
        call = await self.allowed.call(self.number, None, self.east.address)
        await until(lambda: not self.gateway.waits_for_ack, "no ACK comes")
        self.assertEqual((await call.hang_up()).status, 200)


class _Mute(Protocol):
    """
    Takes what comes and says nothing.
    """

    heard = b""

    def dataReceived(self, data: bytes) -> None:
        type(self).heard += data


class RegistrarTests(_ScenarioTestCase):
    """
    Tests for a node whose registrar is dead while the rest of it lives.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        The first node's registrar is not where DNS says.
        """
        await super().setUp()
        config = self.east.config
        text = config.read_text()
        self.addCleanup(self._restore, text)
        await self.east.stop()
        moved = re.sub(r'<registrar udp="5070" tcp="5070"', '<registrar udp="5072" tcp="5072"', text)
        self.assertNotEqual(moved, text)
        config.write_text(moved)
        await self.east.start()
        await self.pair.level()

    async def _restore(self, text: str) -> None:
        await self.east.stop()
        self.east.config.write_text(text)

    async def test_S02_a_refused_connection_costs_nothing(self) -> None:
        """
        A phone registers and is called through the node, by the other one's
        registrar.
        """
        phone = await self.registered(self.east)
        (row,) = self.live(self.west, phone)
        self.assertEqual(row["primary"], self.west.name)
        call = await (await self.registered(self.west)).call(phone.aor, through=self.east.address)
        self.assertEqual((await call.hang_up()).status, 200)

    async def test_S03_silence_is_noticed_once(self) -> None:
        """
        After less than a second the next one is asked, and for a while first.
        """
        port: IListeningPort = reactor.listenTCP(
            5070, Factory.forProtocol(_Mute), interface=self.east.address
        )
        self.addCleanup(port.stopListening)
        _Mute.heard = b""
        for _ in range(4):
            phone = self.phone()
            # Longer than a phone's own patience.
            phone.patience = None
            await self.register(phone, self.east)
            self.assertEqual([row["primary"] for row in self.live(self.west, phone)], [self.west.name])
        self.assertEqual(_Mute.heard.count(b"REGISTER sip:"), 1)
