"""
Somebody calls for help when nothing works.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall

from sipxha.cli.status import ask
from sipxha.sip.message import Request
from tests.support.pair import DOMAIN
from tests.support.phone import Phone, mint
from tests.system.servers import PairTestCase, reactor, until

RULES = """\
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/fallback-00-00">
  <hostMatch>
    <hostPattern>{domain}</hostPattern>
    <userMatch>
      <userPattern>112</userPattern>
      <permissionMatch>{transforms}</permissionMatch>
    </userMatch>
  </hostMatch>
</mappings>
"""

PERMISSIONS = """\
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/urlauth-00-00">
  <hostMatch>
    <hostPattern>{gateway}</hostPattern>
    <userMatch><userPattern>.</userPattern><permissionMatch><permission>NoAccess</permission></permissionMatch></userMatch>
  </hostMatch>
</mappings>
"""

REGISTER = """\
REGISTER sip:{domain} SIP/2.0
Via: SIP/2.0/UDP {source};branch=z9hG4bKflood{number}
Max-Forwards: 70
From: <sip:1000@{domain}>;tag=flood
To: <sip:1000@{domain}>
Call-ID: flood-{number}
CSeq: 1 REGISTER
Content-Length: 0

"""


class Flood(DatagramProtocol):
    """
    Somebody who sends REGISTERs, more and more until some are refused, and
    does not stop.

    @ivar refused: How many were answered 503 with Retry-After.
    """

    def __init__(self, target: str, source: str) -> None:
        self.refused = 0
        self._target = target
        self._sent = 0
        self._burst = 40
        self._port = reactor.listenUDP(0, self, interface=source)
        self._source = f"{source}:{self._port.getHost().port}"
        self._sending = LoopingCall(self._send)
        self._sending.start(0.02)

    def stop(self) -> Any:
        """
        Stop all the same.
        """
        self._sending.stop()
        return self._port.stopListening()

    def _send(self) -> None:
        if not self.refused:
            self._burst += 1
        for _ in range(self._burst):
            self._sent += 1
            request = REGISTER.format(source=self._source, number=self._sent, domain=DOMAIN)
            assert self.transport is not None
            self.transport.write(request.replace("\n", "\r\n").encode(), (self._target, 5060))

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Count the refusals.
        """
        self.refused += datagram.startswith(b"SIP/2.0 503") and b"\r\nRetry-After: " in datagram


class EmergencyTests(PairTestCase):
    """
    A node that knows three gateways, of which one lives.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        Nobody may dial that one, and the other two are dead.
        """
        await super().setUp()
        self.gateway = self.phone()
        gateways = [
            f"{self.pair.network}.250;transport=tcp",
            f"{self.pair.network}.251",
            self.gateway.address,
        ]
        transforms = "".join(f"<transform><url>&lt;sip:112@{each}&gt;</url></transform>" for each in gateways)
        folder = self.east.folder
        self.change(folder / "fallbackrules.xml", RULES.format(domain=DOMAIN, transforms=transforms))
        self.change(folder / "authrules.xml", PERMISSIONS.format(gateway=self.gateway.address))
        text = self.east.config.read_text()
        self.change(self.east.config, text.replace("</sipxha>", "<emergency>112 911</emergency></sipxha>"))
        await self.east.stop()
        await self.east.start()
        # What a flood of datagrams leaves no room for in a socket, no server ever sees.
        self.stranger = self.phone("tcp", user="nobody", password="wrong")

    async def test_help_is_reached_when_all_else_is_gone(self) -> None:
        """
        From a phone that nobody knows and from one whose password has expired,
        with the other node and the database dead and the first gateways in
        quarantine: by number and by service.  The call goes on like any other.
        """
        self.west.kill()
        self.east.kill_database()
        old = self.phone("tcp", user="1000", password="expired")
        question = self.east_asks(old)
        challenge = await old.exchange(question, old.server(self.east.address))
        self.assertEqual(challenge.status, 407)
        credentials = old.credentials(challenge.rows("proxy-authenticate"), question)
        logged = self.east.logged
        fields = ("proxy-authorization", credentials)
        calling = [
            phone.call(uri, None, self.east.address, *more)
            for uri in (f"sip:112@{self.east.address}", "urn:service:sos")
            for phone, more in ((self.stranger, ()), (old, (fields,)))
        ]
        calling.append(self.stranger.call("tel:112", None, self.east.address))
        for each in calling:
            call = await each
            self.assertEqual((await call.hang_up()).status, 200)
        self.assertEqual({request.uri for request in self.gateway.rung}, {f"sip:112@{self.gateway.address}"})
        # By now they are in quarantine.
        call = await self.stranger.call("urn:service:sos", None, self.east.address)
        self.assertEqual((await call.hang_up()).status, 200)
        warnings = [line for line in self.east.lines_after(logged) if "emergency call to 112" in line]
        status = ask(self.east.config, "/status")
        self.assertEqual((len(warnings), status["emergency_calls"]), (6, 6))

    async def test_who_calls_a_service_may_give_up(self) -> None:
        """
        The CANCEL names the service as well, and so does the ACK of the 487;
        what no gateway is for is refused.
        """
        self.gateway.answers = lambda request: None
        calling = self.stranger.call(
            "urn:service:sos.fire", lambda ringing: self.stranger.give_up(), self.east.address
        )
        self.assertEqual((await self.refused(calling)).status, 487)
        await until(lambda: not self.gateway.is_ringing, "it rings on")
        response = await self.refused(self.stranger.call("urn:service:counseling", None, self.east.address))
        self.assertEqual(response.status, 416)

    async def test_H04_help_is_reached_under_a_flood(self) -> None:
        """
        A node that is behind for long turns REGISTERs away, and takes the call.
        """
        await self.overload()
        flood = self.flood()
        await until(lambda: flood.refused, "nothing is turned away")
        for uri in (f"sip:112@{DOMAIN}", "urn:service:sos"):
            call = await self.stranger.call(uri, through=self.east.address)
            self.assertEqual((await call.hang_up()).status, 200)
        status = ask(self.east.config, "/status")
        self.assertGreater(status["shed"]["REGISTER"], 0)
        self.assertEqual(status["emergency_calls"], 2)

    async def overload(self) -> None:
        """
        Let the node be behind as soon as there is anything to do.
        """
        text = self.east.config.read_text()
        self.change(self.east.config, text.replace("</sipxha>", '<limits lag="1"/></sipxha>'))
        await self.east.stop()
        await self.east.start()

    def flood(self) -> Flood:
        """
        @return: somebody who has begun to send more than is good.
        """
        flood = Flood(self.east.address, f"{self.pair.network}.{next(self.pair.hosts)}")
        self.addCleanup(flood.stop)
        return flood

    def east_asks(self, phone: Phone) -> Request:
        """
        @return: a request that the node wants a password for.
        """
        fields = [
            ("max-forwards", "70"),
            ("from", f"<{phone.aor}>;tag={mint()}"),
            ("to", f"<sip:201@{DOMAIN}>"),
            ("call-id", mint()),
            ("cseq", "1 OPTIONS"),
        ]
        return Request("OPTIONS", f"sip:201@{DOMAIN}", fields)
