"""
Tests for L{sipxha.services.administration}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from sipxha.errors import RemoteError
from sipxha.registry.binding import Binding
from sipxha.registry.domain import ServedDomain
from sipxha.registry.gruu import Gruus
from sipxha.registry.register import RegistrationRefused, Terms
from sipxha.registry.table import Registry
from sipxha.services.administration import Administration, NoContact
from sipxha.services.change_log import ChangeLog
from sipxha.store.registrations import NotYetWritten, RegistrationStore
from tests.registry.rows import a_row

NAME = "sipx2.example.com"


class AdministrationCase(TestCase):
    """
    Has a registry and its disk.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        clock: Any = reactor
        self.store = RegistrationStore(self.path, clock)
        self.store.open()
        self.addCleanup(self.store.close)
        self.registry = Registry(NAME, 7200)
        self.updates: list[int] = []
        self.log = ChangeLog()
        self.deactivated: list[Binding] = []
        self.administration = Administration(
            clock,
            self.registry,
            self.store,
            Terms(ServedDomain("example.com"), 60, 3600, 7200, Gruus(b"secret", "example.com")),
            lambda identity: identity == "201@example.com",
            lambda: self.updates.append(self.registry.update_number),
            self.log,
            self.deactivated.extend,
        )


class ImportTests(AdministrationCase):
    """
    Tests for rows that are posted.
    """

    def setUp(self) -> None:
        super().setUp()
        clock: Any = reactor
        self.rows = [
            a_row(identity=f"{number}@example.com", primary="-", expires=int(clock.seconds()) + 1000)
            for number in (201, 202)
        ]

    def posted(self) -> list[Any]:
        """
        The rows as JSON brings them.
        """
        return [list(row[:-1]) for row in self.rows]

    async def test_they_are_on_the_disk_and_then_replicated(self) -> None:
        """
        Each is told whether it was news.
        """
        self.assertEqual(await self.administration.import_rows(self.posted()[:1]), [True])
        self.assertEqual(await self.administration.import_rows(self.posted()), [False, True])
        self.assertEqual(self.updates, [1, 2])
        await self.store.close()
        rows = RegistrationStore(self.path, self.store._reactor)
        held = rows.open()
        await rows.close()
        self.assertEqual(
            {(row.identity, row.primary) for row in held}, {(row.identity, NAME) for row in self.rows}
        )

    async def test_nothing_is_taken_of_what_holds_no_row(self) -> None:
        """
        However it is broken.
        """
        bad: list[Any] = [None, 1, [1], [[1, 2]], [{}], [[*self.posted()[0], 1.0]]]
        for column, value in ((1, ""), (1, 7), (5, "17"), (6, -1), (2, "x" * 5000), (12, None)):
            row = self.posted()[0]
            row[column] = value
            bad.append([self.posted()[1], row])
        for posted in bad:
            self.assertRaises(RemoteError, self.administration.import_rows, posted)
        self.assertEqual((len(self.registry), self.updates), (0, []))

    async def test_what_the_disk_refuses_is_refused_and_replicated(self) -> None:
        """
        It is in memory, and written later.
        """
        await self.store.close()
        await self.assertFailure(self.administration.import_rows(self.posted()), NotYetWritten)
        self.assertEqual(self.updates, [2])


class ContactTests(AdministrationCase):
    """
    Tests for contacts that an operator binds and ends.
    """

    def contacts(self) -> list[str]:
        """
        Those of 201.
        """
        clock: Any = reactor
        now = clock.seconds()
        return [row.contact for row in self.registry.current("201@example.com", now)]

    async def test_they_come_and_go(self) -> None:
        """
        On the disk, for the peers and in the log.
        """
        asked = {"user": "201", "contact": "sip:gw@10.9.9.9"}
        await self.administration.register(asked)
        self.assertEqual((self.contacts(), self.updates), (["<sip:gw@10.9.9.9>"], [1]))
        await self.administration.unregister(asked)
        self.assertEqual((self.contacts(), self.updates), ([], [1, 2]))
        self.assertEqual([row.update_number for row in self.deactivated], [2])
        self.assertEqual(self.log.changes["administrative"], 2)
        await self.store.close()
        rows = RegistrationStore(self.path, self.store._reactor)
        self.assertEqual([row.update_number for row in rows.open()], [2])
        await rows.close()

    def test_only_users_have_contacts(self) -> None:
        """
        And only what is bound can be ended.
        """
        asked = {"user": "999", "contact": "sip:gw@10.9.9.9"}
        for act in (self.administration.register, self.administration.unregister):
            self.assertRaises(RegistrationRefused, act, asked)
        asked = {"user": "201", "contact": "sip:gw@10.9.9.9"}
        self.assertRaises(RegistrationRefused, self.administration.unregister, asked)

    def test_what_names_no_user_and_contact_is_refused(self) -> None:
        """
        Whatever it is.
        """
        wrong: list[Any] = [None, [], {}, "x", {"user": "201"}, {"user": 201, "contact": "sip:x@y"}]
        for posted in wrong:
            self.assertRaises(NoContact, self.administration.register, posted)
