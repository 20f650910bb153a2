"""
What fails besides nodes: name servers, phones, and connections in the middle
of a call.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred, gatherResults

from sipxha.sip.message import Request
from sipxha.sip.response import response_to
from tests.support.phone import Call, CallFailed
from tests.system.servers import PairTestCase, reactor

T = TypeVar("T")


class NameServerTests(PairTestCase):
    """
    Tests for a name server that is silent.
    """

    async def test_what_was_looked_up_before_is_known(self) -> None:
        """
        Calls and registrations go on through both nodes.
        """
        phones = [await self.registered(node) for node in self.pair.nodes]
        call = await phones[0].call(phones[1].aor, through=self.east.address)
        self.assertEqual((await call.hang_up()).status, 200)
        call = await phones[1].call(phones[0].aor, through=self.west.address)
        self.assertEqual((await call.hang_up()).status, 200)
        with self.pair.silent_dns():
            for caller, node in ((phones[0], self.west), (phones[1], self.east)):
                called = phones[1] if caller is phones[0] else phones[0]
                call = await caller.call(called.aor, through=node.address)
                self.assertEqual((await call.hang_up()).status, 200)
                await self.register(self.phone(), node)


class PhoneTests(PairTestCase):
    """
    Tests for a phone that cannot take a call.
    """

    async def test_a_503_of_a_phone_says_nothing_about_the_proxy(self) -> None:
        """
        The caller hears 500 (P22); the second phone of the user is asked first.
        """
        caller, called = await self.registered(self.east), await self.registered(self.west)
        called.answers = lambda request: response_to(request, 503, to_tag="busy")
        with self.assertRaises(CallFailed) as caught:
            await caller.call(called.aor, through=self.east.address)
        self.assertEqual(caught.exception.response.status, 500)
        second = self.phone(user=called.user)
        self.assertEqual((await second.register(at=self.east.address, q="0.5")).status, 200)
        self.assertEqual((await called.register(at=self.east.address, q="1.0")).status, 200)
        await self.pair.level()
        call = await caller.call(called.aor, through=self.east.address)
        self.assertIn(call.call_id, second.calls)
        self.assertEqual((await call.hang_up()).status, 200)


class Loss(NamedTuple):
    """
    A phone that is switched off at some moment of a call.
    """

    name: str
    caller_dies: bool
    before: bool
    """Whether before the called phone says what it says, or after."""

    status: int
    """What the called phone answers."""

    expected: int | None
    """What the caller hears, if somebody is there."""


LOSSES = (
    Loss("the caller, before a refusal", True, True, 486, None),
    Loss("the caller, after a refusal", True, False, 486, None),
    Loss("the caller, before the answer", True, True, 200, None),
    Loss("the caller, after the answer", True, False, 200, None),
    Loss("the called, after a refusal", False, False, 486, 486),
    Loss("the called, after the answer", False, False, 200, 200),
)


class ConnectionTests(PairTestCase):
    """
    Tests for connections of phones that are lost in the middle of a call.
    """

    async def test_at_every_moment_of_a_call(self) -> None:
        """
        Who is left hears how it ends.
        """
        await gatherResults([Deferred.fromCoroutine(self.lose(loss)) for loss in LOSSES], consumeErrors=True)

    async def lose(self, loss: Loss) -> None:
        """
        Make one call, of phones over TCP.
        """
        caller = await self.registered(self.east, "tcp")
        called = await self.registered(self.west, "tcp")
        await self.pair.level()
        victim = caller if loss.caller_dies else called
        gone: Deferred[None] = Deferred()

        def die() -> None:
            victim.stopService().addBoth(lambda _: gone.callback(None))

        def answers(request: Request) -> int:
            if loss.before:
                die()
            else:
                # When the answer has been written.
                reactor.callLater(0, die)
            return loss.status

        called.answers = answers
        call = caller.call(called.aor, None, self.east.address)

        def ended(result: T) -> T:
            # Nobody dies if the call does not get there.
            if not called.rung:
                gone.errback(AssertionError(f"{loss.name}: the call never arrives: {result}"))
            return result

        call.addBoth(ended)
        await gone
        if loss.expected is None:
            return
        self.assertEqual(await self.end_of(call), loss.expected, loss.name)

    async def end_of(self, dialled: Deferred[Call]) -> int:
        """
        The final status of a call, which is hung up if it was set up.
        """
        try:
            call = await dialled
        except CallFailed as failed:
            return failed.response.status
        self.assertIn((await call.hang_up()).status, (480, 430))
        return 200
