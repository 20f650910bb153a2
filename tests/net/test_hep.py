"""
Tests for L{sipxha.net.hep}.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import MessageLengthError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.config.model import Ports
from sipxha.net.endpoint import Endpoint
from sipxha.net.hep import Mirror, encode, masked
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Response
from tests.support.fakes import RecordingObserver, RecordingUser, a_request, counting_mint

reactor: Any = _reactor

NOW = 1_795_324_440.25

REGISTER = (
    b"REGISTER sip:example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n"
    b"i: f00d@192.0.2.7\r\n"
    b'Authorization: Digest username="201", realm="example.com", nonce="n", uri="sip:example.com",\r\n'
    b' response="0123456789abcdef0123456789abcdef", qop=auth, nc=00000001, cnonce="c"\r\n'
    b"Content-Length: 0\r\n\r\n"
)

KINDS = {
    (1, "family"): "!B",
    (2, "protocol"): "!B",
    (7, "source port"): "!H",
    (8, "target port"): "!H",
    (9, "seconds"): "!I",
    (10, "microseconds"): "!I",
    (11, "kind"): "!B",
    (12, "agent"): "!I",
}
"""The numbers of HEP3 that are numbers: chunk, our name for it, layout."""


def decode(packet: bytes) -> dict[str, Any]:
    """
    What a collector reads, by the published layout: "HEP3", the length of all;
    then chunks of vendor, type and length, which counts these six bytes too.
    """
    assert packet[:4] == b"HEP3" and struct.unpack("!H", packet[4:6]) == (len(packet),)
    formats = {number: (name, layout) for (number, name), layout in KINDS.items()}
    texts = {15: "payload", 17: "correlation", 19: "node"}
    found: dict[str, Any] = {}
    rest = packet[6:]
    while rest:
        vendor, kind, length = struct.unpack("!HHH", rest[:6])
        assert vendor == 0 and 6 <= length <= len(rest)
        value, rest = rest[6:length], rest[length:]
        if kind in formats:
            name, layout = formats[kind]
            (found[name],) = struct.unpack(layout, value)
        elif kind in texts:
            found[texts[kind]] = value
        else:
            assert (kind, len(value)) in ((3, 4), (4, 4), (5, 16), (6, 16))
            found["source" if kind in (3, 5) else "target"] = str(ip_address(value))
    return found


class EncodingTests(SynchronousTestCase):
    """
    Tests for a packet.
    """

    def test_a_packet_is_what_the_format_says_byte_by_byte(self) -> None:
        """
        The head and the first chunks, as they were written down by hand.
        """
        packet = encode(b"x", "udp", ("192.0.2.7", 5062), ("10.1.1.50", 5060), NOW, 2001, "a")
        expected = (
            "48455033 006b"  # HEP3, 107 bytes
            "0000 0001 0007 02"  # IPv4
            "0000 0002 0007 11"  # UDP
            "0000 0003 000a c0000207"
            "0000 0004 000a 0a010132"
            "0000 0007 0008 13c6"
            "0000 0008 0008 13c4"
            "0000 0009 000a 6b027a18"
            "0000 000a 000a 0003d090"  # 250,000 microseconds
            "0000 000b 0007 01"  # SIP
            "0000 000c 000a 000007d1"
            "0000 0013 0007 61"
            "0000 000f 0007 78"
        )
        self.assertEqual(packet.hex(), expected.replace(" ", ""))

    def test_a_collector_reads_what_was_on_the_wire(self) -> None:
        """
        Who, when, and which call.
        """
        for transport, protocol in (("udp", 17), ("tcp", 6), ("tls", 6)):
            packet = encode(REGISTER, transport, ("::ffff:192.0.2.7", 5062), ("10.1.1.50", 5060), NOW, 7, "n")
            self.assertEqual(
                decode(packet),
                {
                    "family": 2,
                    "protocol": protocol,
                    "source": "192.0.2.7",
                    "target": "10.1.1.50",
                    "source port": 5062,
                    "target port": 5060,
                    "seconds": int(NOW),
                    "microseconds": 250_000,
                    "kind": 1,
                    "agent": 7,
                    "node": b"n",
                    "correlation": b"f00d@192.0.2.7",
                    "payload": masked(REGISTER),
                },
            )
        read = decode(encode(REGISTER, "udp", ("2001:db8::7", 1), ("fe80::1%eth0", 2), NOW, 7, "n"))
        self.assertEqual((read["family"], read["source"], read["target"]), (10, "2001:db8::7", "fe80::1"))

    def test_what_is_too_long_is_no_packet(self) -> None:
        """
        A length has two bytes.
        """
        for length in (65_530, 65_400):
            call = (b"x" * length, "udp", ("192.0.2.7", 1), ("192.0.2.8", 2), NOW, 7, "n" * 200)
            self.assertRaises(MessageLengthError, encode, *call)

    def test_a_call_id_is_told_without_the_blanks_around_it(self) -> None:
        """
        However many there are: they cost one look each.
        """
        blanks = b" \t" * 10_000
        for between in (b" ", blanks):
            line = between.join((b"Call-ID", b":", b"a@b", b"\r\n"))
            message = b"OPTIONS sip:x SIP/2.0\r\n" + line + b"To: x\r\n\r\n"
            packet = encode(message, "udp", ("192.0.2.7", 1), ("192.0.2.8", 2), NOW, 7, "n")
            self.assertEqual(decode(packet)["correlation"], b"a@b")

    @given(st.binary(max_size=300))
    def test_any_bytes_can_be_wrapped(self, data: bytes) -> None:
        """
        What is no SIP is looked at most of all.
        """
        packet = encode(data, "udp", ("192.0.2.7", 1), ("192.0.2.8", 2), NOW, 7, "n")
        self.assertEqual(decode(packet)["payload"], masked(data))


class MaskTests(SynchronousTestCase):
    """
    Tests for what a collector is not told.
    """

    def test_the_answer_to_a_challenge_is_not_told(self) -> None:
        """
        However it is written; all else is.
        """
        for answer in (b'response="0123456789abcdef0123456789abcdef"', b"RESPONSE = 0123456789abcdef"):
            message = REGISTER.replace(b'response="0123456789abcdef0123456789abcdef"', answer)
            shown = masked(message)
            self.assertNotIn(b"0123456789abcdef", shown)
            self.assertIn(b'username="201"', shown)
            self.assertIn(b"nc=00000001", shown)
            self.assertTrue(shown.endswith(b"Content-Length: 0\r\n\r\n"))

    def test_other_credentials_are_not_told_at_all(self) -> None:
        """
        Nor is an identity that our servers signed; folded lines included.
        """
        for line, shown in (
            (b"Authorization: Basic c2VjcmV0", b"Authorization: ***"),
            (b"proxy-authorization :Bearer\r\n c2VjcmV0", b"proxy-authorization : ***"),
            (b"X-Sipx-Identity: <sip:201@x;signature=c2VjcmV0>", b"X-Sipx-Identity: ***"),
        ):
            before, after = b"INVITE sip:1@x SIP/2.0\r\n", b"\r\nCSeq: 1 INVITE\r\n\r\nresponse=1"
            self.assertEqual(masked(before + line + after), before + shown + after)


class _Collector(DatagramProtocol):
    """
    Waits for packets.
    """

    def __init__(self, wanted: int) -> None:
        self.packets: list[dict[str, Any]] = []
        self.complete: Deferred[None] = Deferred()
        self._wanted = wanted

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """
        Read one.
        """
        self.packets.append(decode(datagram))
        if len(self.packets) == self._wanted:
            self.complete.callback(None)


class MirrorTests(TestCase):
    """
    Tests for L{Mirror}, over sockets.
    """

    timeout = 30

    def mirror(self, port: int) -> Mirror:
        """
        One to a port of this machine.
        """
        mirror = Mirror(reactor, ("127.0.0.1", port), 7, "sipx1.example.com", "127.0.0.1")
        mirror.startService()
        self.addCleanup(mirror.stopService)
        return mirror

    def endpoint(self, user: RecordingUser, mirror: Mirror | None = None) -> Endpoint:
        """
        One with ports of its own.
        """
        endpoint = Endpoint(
            reactor, "test", Ports(0, 0), "127.0.0.1", "127.0.0.1", user, counting_mint(), mirror=mirror
        )
        endpoint.startService()
        self.addCleanup(endpoint.stopService)
        return endpoint

    async def exchange(self, mirror: Mirror, transport: str) -> int:
        """
        Somebody asks an endpoint that is mirrored, and keeps a NAT open before.

        @return: The port that was asked.
        """
        user = RecordingUser()
        endpoint = self.endpoint(user, mirror)
        user.answer = lambda key, request, flow: endpoint.respond(key, endpoint.own_response(request, 200))
        phone = self.endpoint(RecordingUser())
        answered: Deferred[None] = Deferred()

        class Waiting(RecordingObserver):
            def response_received(self, branch: Any, response: Response) -> None:
                answered.callback(None)

        port = endpoint.port(transport)
        assert port is not None
        phone.ping(Flow("udp", "127.0.0.1", port, "127.0.0.1", 0))
        phone.request(a_request("OPTIONS", via=None), [Hop(transport, "127.0.0.1", port)], Waiting())
        await answered
        return port

    async def test_what_comes_and_goes_is_mirrored(self) -> None:
        """
        Over UDP and TCP, both ways; what keeps a NAT open is not.
        """
        for transport in ("udp", "tcp"):
            collector = _Collector(2)
            port = reactor.listenUDP(0, collector, "127.0.0.1")
            self.addCleanup(port.stopListening)
            mirror = self.mirror(port.getHost().port)
            asked = await self.exchange(mirror, transport)
            await collector.complete
            request, answer = collector.packets
            self.assertTrue(request["payload"].startswith(b"OPTIONS "))
            self.assertTrue(answer["payload"].startswith(b"SIP/2.0 200 "))
            self.assertEqual((request["target port"], answer["source port"]), (asked, asked))
            self.assertEqual(request["source port"], answer["target port"])
            self.assertEqual((mirror.sent, mirror.lost), (2, 0))

    async def test_a_collector_that_is_dead_costs_nothing(self) -> None:
        """
        Answers go out as ever; and so they do where there is no way to it.
        """
        gone = reactor.listenUDP(0, DatagramProtocol(), "127.0.0.1")
        port = gone.getHost().port
        await gone.stopListening()
        mirror = self.mirror(port)
        for transport in ("udp", "tcp", "udp"):
            await self.exchange(mirror, transport)
        self.assertEqual(mirror.sent + mirror.lost, 6)
        # A broadcast is not allowed to a socket that did not ask for it.
        nowhere = Mirror(reactor, ("255.255.255.255", 9), 7, "n", "127.0.0.1")
        nowhere.startService()
        self.addCleanup(nowhere.stopService)
        await self.exchange(nowhere, "udp")
        self.assertEqual((nowhere.sent, nowhere.lost), (0, 2))

    def test_where_a_socket_is_bound_to_all_the_advertised_address_is_told(self) -> None:
        """
        A wildcard is nobody.
        """
        clock = Clock()
        clock.advance(NOW)
        mirror = Mirror(clock, ("127.0.0.1", 9), 7, "n", "10.1.1.50")
        sent: list[bytes] = []
        mirror._port, mirror._protocol = (
            object(),
            SimpleNamespace(  # type: ignore[assignment]
                transport=SimpleNamespace(write=lambda packet, collector: sent.append(packet))
            ),
        )
        mirror.received(REGISTER, Flow("udp", "192.0.2.7", 5062, "0.0.0.0", 5060))
        mirror.left(REGISTER, Flow("udp", "192.0.2.7", 5062, "10.9.9.9", 5060))
        self.assertEqual([decode(each)["target"] for each in sent], ["10.1.1.50", "192.0.2.7"])
        self.assertEqual(decode(sent[1])["source"], "10.9.9.9")
