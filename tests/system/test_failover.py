"""
A node dies, without warning and in the middle of its work.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimedOut
from twisted.internet.task import LoopingCall

from tests.support.pair import pause, run, sipxha
from tests.support.phone import Call, CallFailed, Phone
from tests.system.servers import PATIENCE, PairTestCase, Row, Server, reactor, until

INTERVAL = 0.1
"""Seconds between two calls."""

TALK = 0.2
ANSWER_LIMIT = 4.0
"""Seconds after which the people on the phone give up."""


class Traffic:
    """
    Phones that call each other through whichever node DNS names.

    @ivar answered: Call-IDs of the calls that were set up.
    @ivar unended: those whose BYE nobody has answered.
    @ivar byes: how often a BYE was answered with which status.
    @ivar dialled: how many calls were tried.
    """

    def __init__(self, phones: list[Phone]) -> None:
        self._phones = phones
        self._loop = LoopingCall(self._dial)
        self._open: list[Deferred[None]] = []
        self.dialled = 0
        self.answered: list[str] = []
        self.unended: list[Call] = []
        self.byes: Counter[int] = Counter()
        self._loop.start(INTERVAL)

    async def stop(self) -> None:
        """
        Dial no more and let all calls come to their end.
        """
        if self._loop.running:
            self._loop.stop()
        await DeferredList(self._open)

    def _dial(self) -> None:
        count = len(self._phones)
        caller = self._phones[self.dialled % count]
        callee = self._phones[(self.dialled + 1 + self.dialled // count % (count - 1)) % count]
        self.dialled += 1
        self._open.append(Deferred.fromCoroutine(self._call(caller, callee)))

    async def _call(self, caller: Phone, callee: Phone) -> None:
        try:
            call = await caller.call(callee.aor).addTimeout(ANSWER_LIMIT, reactor)
        except (CallFailed, DeferredTimedOut):
            return
        self.answered.append(call.call_id)
        await pause(reactor, TALK)
        await self.hang_up(call)

    async def hang_up(self, call: Call) -> None:
        """
        BYE, and keep the call if nobody took it.
        """
        try:
            response = await call.hang_up().addTimeout(ANSWER_LIMIT, reactor)
        except DeferredTimedOut:
            self.unended.append(call)
            return
        self.byes[response.status] += 1
        # 481: a BYE had come through, and only its answer died with the node.
        # 480: the connection to the other phone did, and with it the only way there.
        if response.status not in (200, 480, 481):
            self.unended.append(call)


class FailoverTests(PairTestCase):
    """
    Tests for what the death of nodes costs: nothing that was acknowledged.
    """

    async def phones(self) -> list[Phone]:
        """
        Two phones at each node.
        """
        return [
            await self.registered(node, transport) for node in self.pair.nodes for transport in ("udp", "tcp")
        ]

    async def test_a_dead_machine_costs_no_registration_and_no_record(self) -> None:
        """
        The second node and its database are killed.
        """
        await self.survive(self.west, self.east, database=True)

    async def test_a_dead_process_costs_no_registration_and_no_record(self) -> None:
        """
        The first node is killed; its database is left behind and taken over.
        """
        await self.survive(self.east, self.west, database=False)

    async def survive(self, victim: Server, survivor: Server, *, database: bool) -> None:
        """
        Kill a node while calls are made and phones register.
        """
        phones = await self.phones()
        for phone in phones:
            phone.comes_back = True
        traffic = Traffic(phones)
        self.addCleanup(traffic.stop)
        await until(lambda: len(traffic.answered) > 5, "no calls are set up")

        newcomer = await self.registered(victim)
        await until(lambda: self.live(survivor, newcomer), "the last registration does not get across")
        victim.kill(database=database)
        died = traffic.dialled

        # Whom the other node knows can be called, and who was at the dead node is served by the other.
        await until(lambda: traffic.dialled > died + 10, "the traffic stands still")
        await until(lambda: all(phone.is_back for phone in phones), "a phone does not find the other node")
        for phone in [*phones, newcomer]:
            call = (
                await phones[0].call(phone.aor) if phone is not phones[0] else await newcomer.call(phone.aor)
            )
            traffic.answered.append(call.call_id)
            self.assertEqual((await call.hang_up()).status, 200)
        for phone in phones:
            await self.register(phone)
        await traffic.stop()

        await victim.start()
        await self.pair.level()
        for node in self.pair.nodes:
            for phone in [*phones, newcomer]:
                self.assertEqual(len(self.live(node, phone)), 1, f"{phone.user} at {node.name}")
        # The proxy's part of a dialog is in the messages, so its next life ends the calls of the last one.
        unended, traffic.unended = traffic.unended, []
        for call in unended:
            await traffic.hang_up(call)
        self.assertEqual(traffic.unended, [], traffic.byes)
        await self.assert_recorded(traffic.answered)

    async def assert_recorded(self, calls: list[str]) -> None:
        """
        Each of the calls has exactly one record, as completed.
        """
        config = ["--config", str(self.east.config)]
        deadline = time.monotonic() + PATIENCE
        status, err = 3, ""
        missing = set(calls)
        records: list[Row] = []
        while (missing or status) and time.monotonic() < deadline:
            # Databases come up, and events come to them, a moment after the calls.
            status, _, err = await run(reactor, "sipxha", "resolve", *config)
            if status == 1 and "database is not running" in err:
                # A node serves before its database does.
                continue
            self.assertIn(status, (0, 3), err)
            out = await sipxha(reactor, "cdr", "list", "--json", *config)
            records = [record for record in json.loads(out) if record["call_id"] in calls]
            missing = set(calls) - {record["call_id"] for record in records}
        self.assertEqual(status, 0, err)
        self.assertEqual(missing, set(), f"of {len(calls)} calls")
        self.assertEqual(len(records), len(calls))
        self.assertEqual(Counter(record["termination"] for record in records), {"C": len(calls)})

    async def test_a_node_without_its_disk_gets_the_registry_from_its_peer(self) -> None:
        """
        Rows of its own, too; and what it acknowledges then is news to its peer.
        """
        phones = await self.phones()
        before = await self.pair.level()
        self.west.kill(database=True)
        # A database that was killed while it was being made clears up after itself at the same time.
        await until(lambda: is_gone(self.west.folder / "data"), "the disk cannot be lost")

        self.assertEqual(await self.west.start(), "ready")
        self.assertEqual(self.west.registrations(), before)

        await self.register(phones[3], self.west)
        rows = await self.pair.level()
        self.assertEqual(len(rows), len(before))
        self.assertEqual([row["primary"] for row in self.live(self.east, phones[3])], [self.west.name])

    async def test_both_nodes_die_and_the_first_comes_back_first(self) -> None:
        """
        All registrations are there, from the disks.
        """
        await self.survive_both(self.east, self.west)

    async def test_both_nodes_die_and_the_second_comes_back_first(self) -> None:
        """
        All registrations are there, from the disks.
        """
        await self.survive_both(self.west, self.east)

    async def survive_both(self, first: Server, second: Server) -> None:
        """
        Kill both at the moment of an acknowledgement, and start one by one.
        """
        phones = await self.phones()
        await self.pair.level()
        last = [self.phone(), self.phone()]
        for phone, node in zip(last, self.pair.nodes, strict=True):
            await self.register(phone, node)
        for node in self.pair.nodes:
            node.kill(database=True)

        # Alone, a node says so, and serves all that it has acknowledged or heard of.
        self.assertEqual(await first.start(), "ready degraded")
        own = last[self.pair.nodes.index(first)]
        for phone in [*phones, own]:
            self.assertEqual(len(self.live(first, phone)), 1, phone.user)
        call = await phones[0].call(own.aor)
        self.assertEqual((await call.hang_up()).status, 200)

        await second.start()
        await self.pair.level()
        for node in self.pair.nodes:
            for phone in [*phones, *last]:
                self.assertEqual(len(self.live(node, phone)), 1, f"{phone.user} at {node.name}")


def is_gone(folder: Path) -> bool:
    """
    Remove a folder with all that is in it, as far as that can be done at once.
    """
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
