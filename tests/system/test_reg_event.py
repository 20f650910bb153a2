"""
Phones that watch where their user is registered (RFC 3680).
"""

from __future__ import annotations

from xml.etree import ElementTree

from twisted.internet.defer import Deferred, gatherResults

from sipxha.sip.message import Response
from tests.support.phone import Call, CallFailed, Phone
from tests.system.servers import PairTestCase, Server, until

NS = "{urn:ietf:params:xml:ns:reginfo}"
Contact = tuple[str | None, str | None, str | None]

BEHIND_NAT = "192.0.2.7"
"""An address at which nobody is."""


class RegEventTests(PairTestCase):
    """
    Tests for subscriptions to registrations, through the front door.
    """

    async def told(self, phone: Phone, version: int) -> tuple[str, list[Contact]]:
        """
        Wait for a notification.

        @return: its Subscription-State without the seconds, and state, event
            and URI of each contact.
        """
        await until(lambda: len(phone.notified) > version, f"{phone.user} is not told a {version + 1}. time")
        self.assertEqual(len(phone.notified), version + 1)
        notify = phone.notified[version]
        root = ElementTree.fromstring(notify.body)
        self.assertEqual((root.get("version"), root.get("state")), (str(version), "full"))
        self.assertEqual(root[0].get("aor"), phone.aor)
        contacts = [(each.get("state"), each.get("event"), each.findtext(f"{NS}uri")) for each in root[0]]
        return (notify.get("subscription-state") or "").partition(";expires")[0], contacts

    async def again(self, watching: Call, phone: Phone, expires: int) -> Response:
        """
        SUBSCRIBE inside the dialog.
        """
        request = watching.request("SUBSCRIBE")
        request.add("event", "reg")
        request.add("expires", str(expires))
        return await phone.send(request, watching.first_hop())

    async def assert_watches(self, watcher: Phone, node: Server, other: Server) -> None:
        """
        A watcher at one node hears of a phone that comes and goes at the other.
        """
        phone = self.phone(user=watcher.user)
        watching = await watcher.watch(watcher.aor, node.address)
        self.assertEqual(await self.told(watcher, 0), ("active", []))
        await self.register(phone, other)
        there = ("active", "registered", phone.contact)
        self.assertEqual(await self.told(watcher, 1), ("active", [there]))
        self.assertEqual((await self.again(watching, watcher, 300)).status, 200)
        self.assertEqual(await self.told(watcher, 2), ("active", [there]))
        await phone.register(0, at=other.address)
        gone = ("terminated", "unregistered", phone.contact)
        self.assertEqual(await self.told(watcher, 3), ("active", [gone]))
        self.assertEqual((await self.again(watching, watcher, 0)).status, 200)
        self.assertEqual(await self.told(watcher, 4), ("terminated;reason=timeout", []))
        self.assertEqual((await self.again(watching, watcher, 300)).status, 481)

    async def test_E03_what_happens_at_one_node_is_told_by_the_other(self) -> None:
        """
        To a phone that can be reached, and to such that can not but on the
        flow that they opened: over TCP, and over UDP behind a NAT.
        """
        hidden = [self.phone(transport, believes=BEHIND_NAT) for transport in ("tcp", "udp")]
        await gatherResults(
            [
                Deferred.fromCoroutine(self.assert_watches(self.phone(), self.east, self.west)),
                Deferred.fromCoroutine(self.assert_watches(hidden[0], self.west, self.east)),
                Deferred.fromCoroutine(self.assert_watches(hidden[1], self.east, self.west)),
            ]
        )

    async def test_a_connection_that_is_lost_is_no_phone_that_left(self) -> None:
        """
        The watcher learns that it was the node that gave it up.
        """
        watcher, hidden = self.phone(), self.phone("tcp", believes=BEHIND_NAT)
        hidden.user, hidden.aor = watcher.user, watcher.aor
        await self.register(hidden, self.east)
        await watcher.watch(watcher.aor, self.east.address)
        self.assertEqual((await self.told(watcher, 0))[1][0][:2], ("active", "registered"))
        await hidden.stopService()
        self.assertEqual((await self.told(watcher, 1))[1][0][:2], ("terminated", "deactivated"))

    async def test_E01_nobody_else_is_watched(self) -> None:
        """
        Nor does a wrong password help.
        """
        watcher, other = self.phone(), self.phone()
        wrong = self.phone(user=watcher.user, password="wrong")
        for phone, target, status in ((watcher, other.aor, 403), (wrong, wrong.aor, 407)):
            with self.assertRaises(CallFailed) as caught:
                await phone.watch(target, self.east.address)
            self.assertEqual(caught.exception.response.status, status)

    async def test_a_node_that_stops_sends_its_watchers_elsewhere(self) -> None:
        """
        Where they are told what there is.
        """
        watcher = self.phone()
        await watcher.watch(watcher.aor, self.east.address)
        await self.told(watcher, 0)
        self.assertEqual(await self.east.stop(), 0)
        self.assertEqual((await self.told(watcher, 1))[0], "terminated;reason=deactivated")
        watcher.notified.clear()
        await watcher.watch(watcher.aor)
        self.assertEqual(await self.told(watcher, 0), ("active", []))
