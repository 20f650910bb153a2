"""
The call flows of RFC 3665 section 3 through two real nodes: what each party
says and hears, in order, and the same with every single message lost once.

Alice calls through the first node, Bob has registered at the second.  The
traces are what RFC 3665 has at the parties' own lines, with these differences:
a caller is always asked who she is, once and at the first proxy; what lies
between the proxies is ours.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import groupby
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from tests.support.lossy import Wire
from tests.support.phone import Call, Phone
from tests.system.servers import PairTestCase, reactor, until

CHALLENGED = ["> INVITE", "< 407 INVITE", "> ACK"]
CALLS = [*CHALLENGED, "> INVITE", "< 100 INVITE", "< 180 INVITE", "< 200 INVITE", "> ACK"]
HANGS_UP = ["> BYE", "< 200 BYE"]
ANSWERS = ["< INVITE", "> 180 INVITE", "> 200 INVITE", "< ACK"]
IS_HUNG_UP = ["< BYE", "> 200 BYE"]


class _FlowTestCase(PairTestCase):
    """
    Two parties whose datagrams are seen.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        Alice and Bob have registered.
        """
        await super().setUp()
        self.alice_wire, self.bob_wire = Wire(reactor), Wire(reactor)
        self.alice = await self.registered(self.east, network=self.alice_wire)
        self.bob = await self.registered(self.west, network=self.bob_wire)
        for phone in (self.alice, self.bob):
            phone.patience = None

    def dial(
        self, ringing: Callable[[Response], None] | None = None, *, offers: bool = True
    ) -> Deferred[Call]:
        """
        Alice calls Bob through the first node.
        """
        return self.alice.call(self.bob.aor, ringing, self.east.address, offers=offers)

    async def both_say(self, call_id: str, alice: list[str], bob: list[str]) -> None:
        """
        Both parties see just these messages of a call.
        """
        await self.sees(self.alice_wire, call_id, alice)
        await self.sees(self.bob_wire, call_id, bob)

    async def sees(self, wire: Wire, call_id: str, expected: list[str]) -> None:
        """
        A party sees these messages of a call; the last may be on its way.
        """
        await until(
            lambda: len(wire.traces.get(call_id, [])) >= len(expected),
            f"{wire.traces.get(call_id)} instead of {expected}",
        )
        self.assertEqual(wire.traces[call_id], expected)

    async def recorded(self, call_id: str, types: str) -> None:
        """
        The events of a call are these, each once.
        """
        await until(
            lambda: self.east.events(call_id) == types,
            f"events {self.east.events(call_id)!r}, not {types!r}; at the other node {self.west.events(call_id)!r}",
        )


class GoldenTraceTests(_FlowTestCase):
    """
    Tests for who sees what when nothing is lost.
    """

    async def test_3_2_session_establishment_through_two_proxies(self) -> None:
        """
        Bob is hung up.
        """
        call = await self.dial()
        self.assertEqual((await call.hang_up()).status, 200)
        await self.both_say(call.call_id, CALLS + HANGS_UP, ANSWERS + IS_HUNG_UP)
        await self.recorded(call.call_id, "RSE")

    async def test_3_2_hung_up_by_the_called(self) -> None:
        """
        As in RFC 3665, where it is Bob.
        """
        call = await self.dial()
        await until(lambda: "< ACK" in self.bob_wire.traces[call.call_id], "no ACK comes")
        self.assertEqual((await self.bob.calls[call.call_id].hang_up()).status, 200)
        await self.both_say(call.call_id, [*CALLS, "< BYE", "> 200 BYE"], [*ANSWERS, "> BYE", "< 200 BYE"])
        await self.recorded(call.call_id, "RSE")

    async def test_3_3_multiple_proxy_authentication(self) -> None:
        """
        A proxy behind ours asks, too: it gets its own credentials, and not
        those that were for us.
        """

        self.bob.answers = asks_too
        call = await self.dial()
        self.assertEqual((await call.hang_up()).status, 200)
        await self.both_say(
            call.call_id,
            [*CHALLENGED, "> INVITE", "< 100 INVITE", "< 407 INVITE", "> ACK", *CALLS[3:], *HANGS_UP],
            ["< INVITE", "> 407 INVITE", "< ACK", *ANSWERS, *IS_HUNG_UP],
        )
        (credentials,) = self.bob.rung[-1].rows("proxy-authorization")
        self.assertIn('realm="biloxi.example.net"', credentials)

    async def test_3_4_proxy_failure(self) -> None:
        """
        The first proxy says nothing: Alice turns to the second one, and the
        call stays there.
        """
        self.alice.patience = 0.5
        self.east.send(signal.SIGSTOP)
        try:
            # DNS names both, in any order; the dead one has to be tried.
            traces = self.alice_wire.traces
            for _ in range(20):
                call = await self.alice.call(self.bob.aor)
                self.assertEqual((await call.hang_up()).status, 200)
                trace = traces[call.call_id]
                # The challenge, or what answers it, may have gone to the dead one first.
                self.assertEqual([said for said, _ in groupby(trace)], CALLS + HANGS_UP)
                if len(trace) > len(CALLS + HANGS_UP):
                    break
            else:
                self.fail("the dead proxy was never tried")
        finally:
            self.east.send(signal.SIGCONT)
        await self.sees(self.bob_wire, call.call_id, ANSWERS + IS_HUNG_UP)

    async def test_3_6_redirect_with_sdp_in_ack(self) -> None:
        """
        Bob redirects to Carol, and Alice hears nothing of it; what she offers
        comes in the ACK.
        """
        carol_wire = Wire(reactor)
        carol = self.phone(network=carol_wire)

        def redirects(request: Request) -> Response:
            response = response_to(request, 302, to_tag="bob")
            response.add("contact", f"<{carol.contact}>")
            return response

        self.bob.answers = redirects
        call = await self.dial(offers=False)
        self.assertEqual((await call.hang_up()).status, 200)
        await self.both_say(call.call_id, CALLS + HANGS_UP, ["< INVITE", "> 302 INVITE", "< ACK"])
        await self.sees(carol_wire, call.call_id, ANSWERS + IS_HUNG_UP)
        self.assertEqual(carol.rung[-1].body, b"")

    async def test_3_8_no_answer(self) -> None:
        """
        Alice hangs up while Bob's phone rings.
        """
        self.bob.answers = lambda request: None
        response = await self.refused(self.dial(lambda ringing: self.alice.give_up()))
        self.assertEqual(response.status, 487)
        await self.sees(
            self.bob_wire,
            response.call_id,
            ["< INVITE", "> 180 INVITE", "< CANCEL", "> 200 CANCEL", "> 487 INVITE", "< ACK"],
        )
        trace = self.alice_wire.traces[response.call_id]
        self.assertEqual(trace, [*CALLS[:6], "> CANCEL", "< 200 CANCEL", "< 487 INVITE", "> ACK"])
        await self.recorded(response.call_id, "RF")

    async def test_3_9_busy(self) -> None:
        """
        486 goes all the way.
        """
        self.bob.answers = lambda request: 486
        response = await self.refused(self.dial())
        self.assertEqual(response.status, 486)
        await self.both_say(
            response.call_id,
            [*CALLS[:6], "< 486 INVITE", "> ACK"],
            ["< INVITE", "> 180 INVITE", "> 486 INVITE", "< ACK"],
        )
        await self.recorded(response.call_id, "RF")

    async def test_3_11_temporarily_unavailable(self) -> None:
        """
        480 does, too.
        """
        self.bob.answers = lambda request: 480
        response = await self.refused(self.dial())
        self.assertEqual(response.status, 480)
        await self.both_say(
            response.call_id,
            [*CALLS[:6], "< 480 INVITE", "> ACK"],
            ["< INVITE", "> 180 INVITE", "> 480 INVITE", "< ACK"],
        )


class LossTests(_FlowTestCase):
    """
    Tests for flows of which every message is lost once, on the caller's line
    or on that of the called.
    """

    timeout = 180

    async def lose_each(
        self,
        said: int,
        heard: int,
        types: str,
        answers: Callable[[Phone, Request], int | Response | None],
        ends: Callable[[Deferred[Call]], Deferred[None]],
        *,
        offers: bool = True,
    ) -> None:
        """
        Make as many calls at once as a line has messages in one, and lose
        another one in each; then the same with the other line.

        @param said: how many messages of a call are on the caller's line.

        @param heard: how many on the line of the called.

        @param types: the events of each call.

        @param answers: what the called does; it knows who calls.

        @param ends: waits for the end that a call has to have.
        """
        for lossy, count in (("caller", said), ("called", heard)):
            # What comes first on a line is its registration, and all of it arrives.
            each = Wire(reactor, lambda number: number - 1 if number else None)
            caller = await self.registered(self.east, network=each if lossy == "caller" else reactor)
            called = await self.registered(self.west, network=each if lossy == "called" else reactor)
            caller.patience = called.patience = None
            called.answers = partial(answers, caller)
            calls = [caller.call(called.aor, None, self.east.address, offers=offers) for _ in range(count)]
            await gatherResults([ends(call) for call in calls], consumeErrors=True)
            self.assertEqual(each.lost, count, f"of the {lossy}'s messages")
            for request in called.rung:
                await self.recorded(request.call_id, types)

    async def test_a_call(self) -> None:
        """
        Each is set up and hung up, and recorded once.
        """

        async def is_hung_up(dialled: Deferred[Call]) -> None:
            call = await dialled
            self.assertEqual((await call.hang_up()).status, 200)

        await self.lose_each(
            len(CALLS + HANGS_UP),
            len(ANSWERS + IS_HUNG_UP),
            "RSE",
            lambda caller, request: 200,
            coroutine(is_hung_up),
        )

    async def test_a_call_that_another_proxy_asks_about(self) -> None:
        """
        3.3: all challenges get through, and all that answers them.
        """

        def asks(caller: Phone, request: Request) -> int | Response:
            return asks_too(request)

        async def is_hung_up(dialled: Deferred[Call]) -> None:
            call = await dialled
            self.assertEqual((await call.hang_up()).status, 200)

        said = len([*CHALLENGED, "> INVITE", "< 100 INVITE", "< 407 INVITE", "> ACK", *CALLS[3:], *HANGS_UP])
        heard = len(["< INVITE", "> 407 INVITE", "< ACK", *ANSWERS, *IS_HUNG_UP])
        await self.lose_each(said, heard, "RRSE", asks, coroutine(is_hung_up))

    async def test_a_call_that_is_redirected(self) -> None:
        """
        3.6: what is offered in the ACK arrives, and Alice hears of no 302.
        """
        carol = self.phone()

        def redirects(caller: Phone, request: Request) -> Response:
            response = response_to(request, 302, to_tag="bob")
            response.add("contact", f"<{carol.contact}>")
            return response

        async def is_hung_up(dialled: Deferred[Call]) -> None:
            call = await dialled
            self.assertIn(call.call_id, carol.calls)
            self.assertEqual((await call.hang_up()).status, 200)

        said, heard = len(CALLS + HANGS_UP), len(["< INVITE", "> 302 INVITE", "< ACK"])
        await self.lose_each(said, heard, "RSE", redirects, coroutine(is_hung_up), offers=False)
        self.assertFalse(carol.waits_for_ack)

    async def test_a_busy_phone(self) -> None:
        """
        486 comes through, and is acknowledged on both sides.
        """

        async def is_busy(dialled: Deferred[Call]) -> None:
            self.assertEqual((await self.refused(dialled)).status, 486)

        await self.lose_each(len(CALLS), len(ANSWERS), "RF", lambda caller, request: 486, coroutine(is_busy))

    async def test_a_caller_who_gives_up(self) -> None:
        """
        The phone stops ringing.
        """

        def rings(caller: Phone, request: Request) -> None:
            reactor.callLater(0, caller.give_up, request.call_id)

        async def is_given_up(dialled: Deferred[Call]) -> None:
            self.assertEqual((await self.refused(dialled)).status, 487)

        await self.lose_each(len(CALLS) + 2, len(ANSWERS) + 2, "RF", rings, coroutine(is_given_up))

    async def test_a_registration(self) -> None:
        """
        REGISTER, 401, REGISTER, 200.
        """
        phones = [self.phone(network=Wire(reactor, lambda _, lost=lost: lost)) for lost in range(4)]  # type: ignore[misc]
        for phone in phones:
            phone.patience = None
        answers = await gatherResults([phone.register(at=self.west.address) for phone in phones])
        self.assertEqual([answer.status for answer in answers], [200] * 4)
        await self.pair.level()
        for phone in phones:
            self.assertEqual(len(self.live(self.east, phone)), 1)

    async def test_3_10_no_response_from_the_phone(self) -> None:
        """
        Every message to it is lost: it was tried seven times, and Alice hears.
        """
        self.bob_wire._plan = lambda number: -1
        response = await self.refused(self.dial())
        self.assertEqual(response.status, 408)
        await self.sees(self.alice_wire, response.call_id, [*CALLS[:5], "< 408 INVITE", "> ACK"])
        self.assertEqual(self.bob_wire.traces[response.call_id], ["< INVITE"] * 7)
        await self.recorded(response.call_id, "RF")


def asks_too(request: Request) -> int | Response:
    """
    What a phone says with a proxy of its own before it, which wants to know who calls.
    """
    if request.has("proxy-authorization"):
        return 200
    response = response_to(request, 407, to_tag="far")
    response.add("proxy-authenticate", 'Digest realm="biloxi.example.net", nonce="n1", qop="auth"')
    return response


def coroutine(
    function: Callable[[Deferred[Call]], Coroutine[Any, Any, None]],
) -> Callable[[Deferred[Call]], Deferred[None]]:
    """
    Let a coroutine begin without being waited for.
    """
    return lambda call: Deferred.fromCoroutine(function(call))
