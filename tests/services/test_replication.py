"""
Tests for L{sipxha.services.replication}: two nodes in one process, with real
HTTPS and real stores.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, globalLogPublisher

from sipxha.registry.register import Offer, Registration, RegistrationRefused
from sipxha.services.replication import Replication
from sipxha.store.registrations import RegistrationStore
from sipxha.sync import effects as fx
from sipxha.sync.batch import MOST_ROWS
from sipxha.sync.dialects import DIALECTS
from sipxha.sync.wire import Value
from tests.support.registrars import NAMES, RegistrarsCase, RegistrarServer

reactor: Any = _reactor


class ReplicationTests(RegistrarsCase):
    """
    Tests for a pair of registrars.
    """

    async def test_a_registration_reaches_the_other_node(self) -> None:
        """
        In both directions, and operators see that nobody is behind.
        """
        one, two = await self.pair()
        await one.register(1)
        await two.register(2)
        await self.until(lambda: one.users() == two.users() == 2)
        await self.until(lambda: one.peer()["behind"] == two.peer()["behind"] == 0)
        self.assertEqual(one.peer()["name"], NAMES[1])
        self.assertEqual(one.peer()["sent"], one.registry.update_number)
        self.assertEqual(one.peer()["received"], two.registry.update_number)
        self.assertIsNone(two.peer()["next_try"])

    async def test_both_log_what_operators_look_for(self) -> None:
        """
        The memo's words, once each.
        """
        await self.pair()
        for wanted in (
            "registrarSync.reset success to 'sipx1.example.com'; update numbering synchronized",
            "registrarSync.reset received from 'sipx2.example.com'; update numbering synchronized",
            "peer 'sipx2.example.com' is Reachable",
            "peer 'sipx1.example.com' is Reachable",
        ):
            self.assertEqual(sum(1 for line in self.log.lines if line.startswith(wanted)), 1, wanted)

    async def test_a_lost_peer_is_seen_and_comes_back_with_its_disk(self) -> None:
        """
        What happened meanwhile is pushed or pulled.
        """
        one, two = await self.pair()
        await one.register(1)
        await self.until(lambda: two.users() == 1 and one.peer()["behind"] == 0)
        self.assertEqual(one.service.rows[NAMES[1], "out", "applied"], 1)
        self.assertEqual(sum(one.service.pushes[NAMES[1]].counts), 1)
        self.assertEqual(two.service.rows[NAMES[0], "in", "applied"], 1)
        await two.stop()
        await one.register(2)
        await self.until(lambda: one.peer()["state"] == "UnReachable")
        self.assertEqual(one.peer()["behind"], 1)
        one.service.mark()
        updates, seconds = one.service.lag(NAMES[1])
        self.assertEqual((updates, seconds > 0), (1, True))
        self.assertIn("onnection", one.peer()["last_error"])
        self.assertTrue(one.peer()["next_try"].endswith("Z"))
        self.assertFalse(await two.start())
        self.assertEqual(two.users(), 2)
        await self.until(lambda: one.peer()["state"] == "Reachable")

    async def test_rows_that_do_not_arrive_are_counted(self) -> None:
        """
        They are sent again, and count again.
        """
        one, _ = await self.pair()
        params: list[Value] = [NAMES[0], 0, []]
        one.service._call(fx.Call(0, "nowhere.example.com", "registrarSync2.pushUpdates", params, pushed=3))
        await self.until(lambda: one.service.rows["nowhere.example.com", "out", "error"] == 3)
        self.assertEqual(one.service.rows["nowhere.example.com", "out", "applied"], 0)

    async def test_a_node_that_lost_its_disk_gets_everything_back(self) -> None:
        """
        Before it says that it is ready.
        """
        one, two = await self.pair()
        for user in range(1, 5):
            await (one, two)[user % 2].register(user)
        await self.until(lambda: one.users() == two.users() == 4)
        await two.stop()
        for file in two.file.parent.glob(f"{two.file.name}*"):
            file.unlink()
        self.assertFalse(await two.start())
        self.assertEqual(two.users(), 4)
        await two.stop()
        again = RegistrationStore(two.file, reactor)
        self.assertEqual(len(again.open()), 4)
        await again.close()

    async def test_a_pull_that_was_cut_short_goes_on_where_it_was(self) -> None:
        """
        The node dies after the first page; its next life asks for what its
        disk lacks, and the donor is none the worse.
        """
        one, two = await self.pair()
        await two.stop()
        await gatherResults([Deferred.fromCoroutine(one.register(user)) for user in range(2500)])
        cut_short: list[Deferred[None]] = []

        def first_page_came(event: LogEvent) -> None:
            if event.get("log_format", "").startswith("pulled ") and event["rows"] and not cut_short:
                self.assertEqual(event["rows"], MOST_ROWS)
                cut_short.append(
                    deferLater(reactor, 0).addCallback(lambda _: Deferred.fromCoroutine(two.stop()))
                )

        observer: Any = first_page_came
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        two.start()
        await self.until(lambda: cut_short)
        await cut_short[0]
        self.assertEqual(two.users(), MOST_ROWS)
        self.assertFalse(await two.start())
        self.assertEqual(two.users(), 2500)
        self.assertEqual(two.service.rows[NAMES[0], "in", "applied"], 1500)
        await self.until(lambda: one.peer()["state"] == "Reachable" and not one.peer()["behind"])

    async def test_what_a_registrar_refused_or_ended_is_so_on_all(self) -> None:
        """
        A peer applies what became of a REGISTER, and not its own opinion of it:
        who has as many contacts as are allowed has them everywhere.
        """
        one, two = await self.pair()

        def send(server: RegistrarServer, cseq: int, contacts: range, expires: int = 3600) -> None:
            offers = tuple(Offer(f"<sip:201@10.1.1.{host}>", None, "", expires) for host in contacts)
            registration = Registration(
                "<sip:201@example.com>", "201@example.com", f"call-{contacts[0]}", cseq, offers
            )
            registered = server.registry.register(registration, reactor.seconds())
            server.store.commit(registered.rows)
            server.service.updated()

        def hosts(server: RegistrarServer) -> set[int]:
            rows = server.registry.all_current(reactor.seconds())
            return {int(row.contact.rpartition(".")[2].strip(">")) for row in rows}

        assert one.config.registrar is not None
        limit = one.config.registrar.max_contacts
        send(one, 1, range(1, 1 + limit // 2))
        await self.until(lambda: len(hosts(two)) == limit // 2)
        send(two, 1, range(101, 101 + limit - limit // 2))
        await self.until(lambda: len(hosts(one)) == limit)
        for server in (one, two):
            self.assertRaises(RegistrationRefused, send, server, 1, range(200, 201))
        send(one, 2, range(101, 102), 0)
        await self.until(lambda: hosts(one) == hosts(two) and len(hosts(two)) == limit - 1)
        send(two, 1, range(200, 201))
        await self.until(lambda: hosts(one) == hosts(two) and 200 in hosts(one))

    async def test_nodes_of_different_ages_understand_each_other(self) -> None:
        """
        All nine pairs: what both know is spoken, and rows come by push, pull and after a restart.
        """
        one, two = self.servers
        names = ("batch", "memo", "sipX")
        for place, (mine, yours) in enumerate(product(range(3), repeat=2)):
            one.dialects, two.dialects = DIALECTS[mine:], DIALECTS[yours:]
            await self.pair()
            await one.register(2 * place)
            await two.register(2 * place + 1)
            wanted = 3 * place + 2
            await self.until(lambda wanted=wanted: one.users() == two.users() == wanted)
            spoken = (names[max(mine, yours)], "Reachable")
            for server in self.servers:
                # The rows may have come before this side asked for anything.
                await self.until(
                    lambda peer=server.peer, spoken=spoken: (peer()["dialect"], peer()["state"]) == spoken
                )
            await two.stop()
            await one.register(100 + place)
            await one.stop()

    async def test_an_update_is_acknowledged_when_a_peer_has_it(self) -> None:
        """
        Without a peer nobody waits, and it is counted.
        """
        one, two = await self.pair()
        for user in range(1, 20):
            missed = one.service.unacknowledged
            await one.register(user)
            number = one.registry.update_number
            waiting = one.service.acknowledged(number)
            if waiting is not None:
                await waiting
            # A machine that was busy for all that time proves nothing.
            if one.service.unacknowledged == missed:
                break
        self.assertEqual((two.users(), one.service.unacknowledged), (user, missed))
        await two.stop()
        await one.register(0)
        await self.until(lambda: one.peer()["state"] == "UnReachable")
        self.assertIsNone(one.service.acknowledged(number + 1))
        self.assertEqual(one.service.unacknowledged, missed + 1)

    async def test_a_port_in_use_is_an_error_at_start(self) -> None:
        """
        Not a node without replication.
        """
        one = self.servers[0]
        await self.start(0)
        config = replace(one.config)
        again = Replication(reactor, config, one.registry, one.store, one.where)
        self.assertRaises(CannotListenError, again.startService)
