"""
What two real nodes change in a message that passes through them, and what not.

RFC 3261 section 16 is clear about it: as little as possible.  So this looks at
the octets of both ends, which no parser of ours has touched.
"""

from __future__ import annotations

import re
from functools import partial

from twisted.internet.defer import Deferred

from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from tests.support.lossy import LossyReactor
from tests.support.pair import DOMAIN
from tests.support.phone import Call
from tests.system.servers import PairTestCase, reactor, until


class _Line:
    """
    The datagrams of one phone.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.said: list[str] = []
        self.is_deaf = False
        self.network = LossyReactor(reactor, self._loses)

    def _loses(self, datagram: bytes, is_sent: bool) -> bool:
        (self.said if is_sent else self.heard).append(datagram.decode())
        return self.is_deaf and not is_sent

    def first(self, start: str) -> str | None:
        """
        The first message heard that begins so.
        """
        return next((text for text in self.heard if text.startswith(start)), None)


def rows(message: str, *names: str) -> list[str]:
    """
    The header fields of these names, as they came, in order.
    """
    head = message.partition("\r\n\r\n")[0].split("\r\n")[1:]
    return [row for row in head if row.partition(":")[0].strip().lower() in names]


def branches(message: str) -> list[str]:
    """
    The branches of all Vias, from the top.
    """
    return re.findall(r"branch=([^;,\s]+)", "\n".join(rows(message, "via", "v")))


class PassingOnTests(PairTestCase):
    """
    Alice calls through one node, Bob has registered at the other.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        Both have registered, and somebody listens on their lines.
        """
        await super().setUp()
        self.alice_line, self.bob_line = _Line(), _Line()
        self.alice = await self.registered(self.east, network=self.alice_line.network)
        self.bob = await self.registered(self.west, network=self.bob_line.network)
        await self.pair.level()
        for line in (self.alice_line, self.bob_line):
            line.heard.clear()
            line.said.clear()

    def dial(self, *fields: tuple[str, str], target: str = "") -> Deferred[Call]:
        """
        Alice calls Bob.
        """
        return self.alice.call(target or self.bob.aor, None, self.east.address, *fields)

    async def bob_hears(self, start: str) -> str:
        """
        What comes to Bob and begins so.
        """
        return str(await until(partial(self.bob_line.first, start), f"Bob hears no {start}"))

    async def say(self, method: str, *fields: tuple[str, str], body: bytes = b"") -> Response:
        """
        Alice sends Bob a request outside of any dialog.
        """
        return await self.alice.send(self.request(method, *fields, body=body), self.door(self.east))

    def request(self, method: str, *fields: tuple[str, str], body: bytes = b"") -> Request:
        """
        A request of Alice for Bob, which says no more than it must.
        """
        request = Request(
            method,
            self.bob.aor,
            [
                ("from", f"<{self.alice.aor}>;tag=says"),
                ("to", f"<{self.bob.aor}>"),
                ("call-id", f"{method}-{self.alice.user}@{DOMAIN}"),
                ("cseq", f"1 {method}"),
                *fields,
            ],
        )
        request.body = body
        return request

    async def test_P02_max_forwards_is_counted_down_and_added(self) -> None:
        """
        From what the sender said, or from 70.
        """
        for fields, most in (((), 70), ((("max-forwards", "20"),), 20)):
            self.bob_line.heard.clear()
            self.assertEqual((await self.say("MESSAGE", *fields)).status, 200)
            (left,) = re.findall(r"\d+", rows(await self.bob_hears("MESSAGE"), "max-forwards")[0])
            self.assertIn(int(left), range(most - 6, most))

    async def test_P09_nobody_is_404_and_nobody_there_480(self) -> None:
        """
        An address that the domain does not have, and one without a phone.
        """
        away = self.phone()
        self.assertEqual((await self.refused(self.dial(target=f"sip:no-such-user@{DOMAIN}"))).status, 404)
        self.assertEqual((await self.refused(self.dial(target=away.aor))).status, 480)

    async def test_P10_an_address_is_the_same_however_it_is_written(self) -> None:
        """
        With escapes, capitals, the default port and a parameter.
        """
        escaped = "".join(f"%{ord(digit):02x}" for digit in self.bob.user)
        call = await self.dial(target=f"sip:{escaped}@{DOMAIN.upper()}:5060;user=phone")
        self.assertEqual((await call.hang_up()).status, 200)

    async def test_P12_body_and_order_are_left_alone(self) -> None:
        """
        Rows of one name stay in their order, unknown ones too, and every
        octet of the body.
        """
        body = bytes(range(1, 127)) + b"\r\n\r\nINVITE sip:x SIP/2.0\r\n"
        fields = [
            ("x-order", "first"),
            ("supported", "timer, 100rel"),
            ("x-order", "second,  with two blanks"),
            ("supported", "x-unheard-of"),
            ("x-order", ""),
            ("content-type", "application/x-odd"),
        ]
        self.assertEqual((await self.say("MESSAGE", *fields, body=body)).status, 200)
        came = await self.bob_hears("MESSAGE")
        self.assertEqual(came.partition("\r\n\r\n")[2].encode(), body)
        for name in ("x-order", "supported"):
            sent = rows(self.alice_line.said[-1], name)
            self.assertEqual(len(sent), {"x-order": 3, "supported": 2}[name])
            self.assertEqual(rows(came, name), sent)

    async def test_P16_every_branch_has_a_via_of_its_own(self) -> None:
        """
        Two phones of a user hear the same call with different branches, each
        with the cookie of RFC 3261.
        """
        other_line = _Line()
        other = self.phone(user=self.bob.user, network=other_line.network)
        await self.register(other, self.east)
        await self.pair.level()
        call = await self.dial()
        mine = branches(await self.bob_hears("INVITE"))
        others = branches(str(await until(partial(other_line.first, "INVITE"), "the other phone is silent")))
        self.assertNotEqual(mine[0], others[0])
        self.assertEqual((len(set(mine)), len(set(others))), (len(mine), len(others)))
        self.assertTrue(all(branch.startswith("z9hG4bK") for branch in mine + others))
        await call.hang_up()

    async def test_P25_the_to_tag_is_the_phones(self) -> None:
        """
        In what rings and in what answers.
        """
        call = await self.dial()
        (answered,) = {rows(text, "to")[0] for text in self.bob_line.said if text.startswith("SIP/2.0 200")}
        for status in (180, 200):
            heard = self.alice_line.first(f"SIP/2.0 {status}")
            assert heard is not None
            self.assertEqual(rows(heard, "to"), [answered], status)
        await call.hang_up()

    async def test_P30_a_cancel_follows_its_invite_unchallenged(self) -> None:
        """
        Each with the same Via, one of them, and no credentials asked for.
        """
        self.bob.answers = lambda request: None
        ended = self.alice.call(self.bob.aor, lambda response: self.alice.give_up(), self.east.address)
        self.assertEqual((await self.refused(ended)).status, 487)
        cancel = await self.bob_hears("CANCEL")
        self.assertEqual(branches(cancel), branches(await self.bob_hears("INVITE"))[:1])
        self.assertEqual(branches(await self.bob_hears("ACK")), branches(cancel))
        asked = [text for text in self.alice_line.heard if " 407 " in text.partition("\r\n")[0]]
        self.assertEqual([rows(text, "cseq")[0].split()[-1] for text in asked], ["INVITE"])

    async def test_P32_a_caller_hears_100_while_the_phone_says_nothing(self) -> None:
        """
        Before anything came of the call.
        """
        self.bob.answers = lambda request: None
        self.bob_line.is_deaf = True
        call = self.alice.call(self.bob.aor, None, self.east.address)
        await self.bob_hears("INVITE")
        await until(partial(self.alice_line.first, "SIP/2.0 100"), "Alice hears nothing")
        self.assertIsNone(self.alice_line.first("SIP/2.0 180"))
        self.alice.give_up()
        self.bob_line.is_deaf = False
        await self.refused(call)

    async def test_P34_what_was_added_to_a_via_stays_in_it(self) -> None:
        """
        A caller behind a NAT finds the address that it was seen at in the
        Via of each answer, and nothing else there that it did not put in.
        """
        line = _Line()
        caller = self.phone(believes="192.0.2.1", network=line.network)
        call = await caller.call(self.bob.aor, None, self.east.address)
        seen = rows(await self.bob_hears("INVITE"), "via")
        self.assertIn(f"received={caller.address}", seen[-1])
        for text in line.heard:
            if text.startswith("SIP/2.0"):
                (via,) = rows(text, "via")
                self.assertIn("192.0.2.1", via)
                self.assertIn(f"received={caller.address}", via)
        await call.hang_up()

    async def test_P35_what_others_agree_on_is_not_ours(self) -> None:
        """
        Session timers, replacement, referrals, privacy and signed identities
        pass as they are, and so do the requests of those who use them.
        """
        fields = [
            ("session-expires", "90;refresher=uac"),
            ("min-se", "90"),
            ("replaces", "12345@elsewhere;to-tag=1;from-tag=2"),
            ("referred-by", f"<sip:somebody@{DOMAIN}>"),
            ("privacy", "none"),
            ("identity", "eyJ0;info=<https://example.net/c.pem>"),
        ]
        call = await self.dial(*fields)
        came = await self.bob_hears("INVITE")
        for name, value in fields:
            self.assertEqual([row.partition(":")[2].strip() for row in rows(came, name)], [value])
        for method in ("PRACK", "UPDATE", "INFO"):
            response = await self.alice.send(call.request(method), call.first_hop())
            self.assertEqual(response.status, 200, method)
            await self.bob_hears(method)
        await call.hang_up()

    async def test_P35_too_short_a_session_is_told_as_it_was_said(self) -> None:
        """
        422 with its Min-SE.
        """

        def refuse(request: Request) -> Response:
            response = response_to(request, 422, to_tag="short")
            response.add("min-se", "1800")
            return response

        self.bob.answers = refuse
        self.assertEqual((await self.refused(self.dial())).status, 422)
        heard = self.alice_line.first("SIP/2.0 422")
        assert heard is not None
        self.assertEqual([row.partition(":")[2].strip() for row in rows(heard, "min-se")], ["1800"])

    async def test_P26_an_answer_with_no_via_left_goes_nowhere(self) -> None:
        """
        A phone that answers with nothing but the Via of its own neighbour
        loses its answer, and its caller hears so at once; the next call is set
        up.
        """

        def forget(request: Request) -> Response:
            response = response_to(request, 200, to_tag="forgetful")
            response.set("via", request.rows("via")[0].partition(",")[0])
            response.add("contact", f"<{self.bob.contact}>")
            return response

        self.bob.answers = forget
        self.assertEqual((await self.refused(self.dial())).status, 502)
        self.assertIsNone(self.alice_line.first("SIP/2.0 200"))
        self.bob.answers = lambda request: 200
        again = await self.dial()
        self.assertEqual((await again.hang_up()).status, 200)
