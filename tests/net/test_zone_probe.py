"""
Tests for L{sipxha.net.zone_probe}, with a real DNS server.
"""

from __future__ import annotations

from typing import Any

from dns.message import from_wire
from dns.name import Name
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from sipxha.config.zone import parse_zone, zone_text
from sipxha.config.zone_check import needs_of
from sipxha.net.dns import serve_zone
from sipxha.net.zone_probe import ask

reactor: Any = _reactor

# As many as make an answer too long for a datagram.
NODES = [
    (f"a-server-with-quite-a-long-name-{number}.example.com", f"10.1.1.{number}") for number in range(1, 40)
]


class _Silent(DatagramProtocol):
    """
    Hears, and says nothing.
    """

    def __init__(self) -> None:
        self.asked: set[Name] = set()

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.asked.update(question.name for question in from_wire(datagram).question)


class AskTests(TestCase):
    """
    Tests for questions.
    """

    async def test_what_is_served_is_found(self) -> None:
        """
        Also what needs TCP; a name that is not there has nothing.
        """
        text = zone_text("example.com", NODES)
        server = serve_zone(reactor, text)
        self.addCleanup(server.stop)
        needs = needs_of(parse_zone(text))
        strange = needs_of(parse_zone("nowhere.example.com. 60 IN A 10.1.1.1\nexample.com. 60 IN A 10.1.1.1"))
        chosen = dict(list(needs.items())[:5] + list(needs.items())[-1:]) | strange
        found = await deferToThread(ask, ("127.0.0.1", server.port), chosen)
        self.assertEqual(found, {key: needs.get(key, frozenset()) for key in chosen})

    async def test_a_server_that_is_silent_is_asked_one_question(self) -> None:
        """
        However many there are; an operator waits for it once.
        """
        silent = _Silent()
        port = reactor.listenUDP(0, silent, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        needs = needs_of(parse_zone(zone_text("example.com", NODES)))
        found = await deferToThread(ask, ("127.0.0.1", port.getHost().port), needs)
        self.assertEqual(set(found.values()), {None})
        self.assertEqual(silent.asked, {next(iter(needs))[0]})
