"""
Tests for L{sipxha.net.sip_tls}, over real connections, and of how
L{sipxha.net.transports} uses them.
"""

from __future__ import annotations

import gc
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

from cryptography import x509
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from sipxha.config.certificates import make_authority, make_node
from sipxha.config.limits import ConnectionLimits
from sipxha.config.model import Limits, Ports, Tls
from sipxha.net.endpoint import Endpoint
from sipxha.net.sip_tls import SipTls, identities, proved
from sipxha.net.tls import TlsUnusable
from sipxha.net.transports import Transports
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to
from sipxha.transaction.vocabulary import ClientKey, ServerKey
from tests.support.certs import Authority
from tests.support.fakes import RecordingObserver, RecordingReceiver, RecordingUser, a_request, counting_mint

reactor: Any = _reactor

KEY = ClientKey("z9hG4bK-1", "OPTIONS")
OTHER = ClientKey("z9hG4bK-2", "OPTIONS")


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


class IdentitiesTests(SynchronousTestCase):
    """
    Tests for L{identities}.
    """

    def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()))

    def of(self, *entries: x509.GeneralName, common_name: str = "cn.example.com") -> frozenset[str]:
        files = self.authority.issue(common_name=common_name, others=entries)
        return identities(x509.load_pem_x509_certificate(files.certificate.read_bytes()))

    def test_C01_sip_uris_stand_above_dns_names(self) -> None:
        """
        Case does not matter, nor port or parameters.
        """
        names = (x509.DNSName("sipx1.example.com"), uri("SIP:Example.COM"), uri("sip:b.example.com:5061;x=y"))
        self.assertEqual(self.of(*names), {"example.com", "b.example.com"})

    def test_C01_without_sip_uris_dns_names_count(self) -> None:
        """
        A URI of another scheme is none, sips neither.
        """
        names = (x509.DNSName("A.example.com"), uri("sips:example.com"), uri("https://example.org/"))
        self.assertEqual(self.of(*names), {"a.example.com"})

    def test_C01_the_common_name_counts_only_without_any_alternative(self) -> None:
        """
        Also when those are nobody's names.
        """
        self.assertEqual(self.of(), {"cn.example.com"})
        self.assertEqual(self.of(uri("https://example.com/")), frozenset())
        self.assertEqual(self.of(common_name="not a host"), frozenset())

    def test_C11_what_a_node_shows_is_for_its_name_and_its_domain(self) -> None:
        """
        A phone finds the host of our Record-Route in the certificate behind
        it, though sip URIs hide all DNS names (RFC 5922 section 7.5).
        """
        node = make_node(make_authority("example.com"), "sipx1.example.com", "example.com")
        self.assertEqual(identities(node.certificate), {"sipx1.example.com", "example.com"})

    def test_C02_the_uri_of_a_user_is_no_domain(self) -> None:
        """
        Whoever has it speaks for one user only.
        """
        for text in ("sip:bob@example.com", "sip:bob:pw@example.com", "sip:@example.com"):
            self.assertEqual(self.of(uri(text)), frozenset(), text)

    def test_C03_a_wildcard_is_nobody(self) -> None:
        """
        However it is written.
        """
        for name in (x509.DNSName("*.example.com"), x509.DNSName(".example.com"), uri("sip:*.example.com")):
            self.assertEqual(self.of(name), frozenset(), name)
        self.assertEqual(self.of(common_name="*.example.com"), frozenset())

    def test_C04_a_name_with_a_nul_is_nobody(self) -> None:
        """
        What C would read as example.com is not that.
        """
        for name in (x509.DNSName("example.com\0.evil.example"), uri("sip:example.com\0.evil.example")):
            self.assertEqual(self.of(name), frozenset(), name)


class WireCase(TestCase):
    """
    A server and clients on loopback.
    """

    timeout = 10
    address = "127.0.0.1"

    def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()))
        self.node = self.authority.issue("sipx1.example.com", others=[uri("sip:example.com")])

    def start(self, tls: SipTls, **options: Any) -> tuple[Transports, RecordingReceiver]:
        receiver = RecordingReceiver()
        transports = Transports(reactor, self.address, Ports(None, None, 0), receiver, tls, **options)
        transports.bind()
        self.addCleanup(transports.unbind)
        return transports, receiver

    def hop(self, transports: Transports, name: str) -> Hop:
        port = transports.port("tls")
        assert port is not None
        return Hop("tls", self.address, port, name)

    async def until(self, condition: Callable[[], object]) -> None:
        """
        Let the reactor turn until something is so; trial's limit ends a test
        in which it never is.
        """
        while not condition():
            await deferLater(reactor, 0.005)


class MemoryTests(WireCase):
    """
    What is left of connections that were closed.
    """

    async def lost(self, *, politely: bool) -> tuple[int, int]:
        """
        How many of ten connections are still in memory when they were closed,
        and after a look at what has been new since they were there.
        """
        server, there = self.start(SipTls([self.node]))
        context = ssl.create_default_context(cafile=str(self.node.authority))
        port = server.port("tls")

        def connect() -> ssl.SSLSocket:
            raw = socket.create_connection((self.address, port or 0))
            made = context.wrap_socket(raw, server_hostname="sipx1.example.com")
            made.send(a_request("OPTIONS").encode())
            return made

        clients = [await deferToThread(connect) for _ in range(10)]
        await self.until(lambda: len(there.messages) == 10)
        streams = server.connections._streams
        kept: list[ref[Any]] = [ref(stream) for stream in streams.values()]
        transports: list[Any] = [stream.transport for stream in streams.values()]
        kept += [ref(transport.getHandle()) for transport in transports]
        transports.clear()
        gc.collect()
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        gc.disable()
        self.addCleanup(gc.enable)
        for client in clients:
            plain: socket.socket = client
            if politely:
                plain = await deferToThread(client.unwrap)
            plain.close()
        await self.until(lambda: not streams)
        # The turn in which the last one was lost has to end.
        await deferLater(reactor, 0)
        closed = sum(each() is not None for each in kept)
        gc.collect()
        return closed, sum(each() is not None for each in kept)

    async def test_a_connection_that_is_closed_leaves_memory_at_once(self) -> None:
        """
        It does not wait for the collector, with all that OpenSSL has for it.
        """
        self.assertEqual(await self.lost(politely=True), (0, 0))

    async def test_one_that_breaks_off_is_not_lost_memory(self) -> None:
        """
        Though the collector has been told not to look at it again.
        """
        self.assertEqual((await self.lost(politely=False))[1], 0)


class ClientTests(WireCase):
    """
    Tests for whom we talk to.
    """

    async def reaches(self, shown: Tls, name: str, **options: Any) -> bool:
        """
        Whether a request for C{name} gets to a server with this certificate.
        """
        server, there = self.start(SipTls([shown]))
        client, here = self.start(SipTls([self.node], **options))
        client.send(a_request("OPTIONS").encode(), self.hop(server, name), KEY)
        await self.until(lambda: there.messages or here.failed)
        return bool(there.messages)

    async def test_C05_the_domain_that_was_asked_for_must_be_proved(self) -> None:
        """
        Not the server that DNS named for it.
        """
        self.assertTrue(await self.reaches(self.node, "Example.com"))
        self.assertFalse(await self.reaches(self.node, "sipx1.example.com"))
        self.assertFalse(await self.reaches(self.authority.issue("sipx1.example.com"), "example.com"))

    async def test_C03_neither_a_wildcard_nor_a_suffix_matches(self) -> None:
        """
        Whole names only.
        """
        for name in ("*.example.com", ".example.com", "com"):
            self.assertFalse(await self.reaches(self.authority.issue(name), "sipx1.example.com"), name)

    async def test_C07_a_certificate_must_be_in_force_and_of_a_known_authority(self) -> None:
        """
        Whatever its names.
        """
        strange = Authority(Path(self.mktemp())).issue("example.com")
        for shown in (self.authority.issue("example.com", days=-1), strange):
            self.assertFalse(await self.reaches(shown, "example.com"))

    async def test_our_own_servers_prove_to_be_the_domain(self) -> None:
        """
        Under whatever name we call them, an address or the name of a service.
        """
        for name in ("ap.sipx1.example.com", self.address):
            self.assertFalse(await self.reaches(self.node, name))
            self.assertTrue(
                await self.reaches(self.node, name, domain="example.com", is_ours={name}.__contains__)
            )

    async def test_a_server_that_does_not_shake_hands_is_given_up(self) -> None:
        """
        What waits for it fails, once.
        """
        silent = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface=self.address)
        self.addCleanup(silent.stopListening)
        client, here = self.start(
            SipTls([self.node]), limits=Limits(connection=ConnectionLimits(handshake_time=0.01))
        )
        client.send(b"x", Hop("tls", self.address, silent.getHost().port, "example.com"), KEY)
        await self.until(lambda: here.failed)
        self.assertEqual(here.failed, [KEY])

    async def test_what_waits_for_a_handshake_can_be_withdrawn(self) -> None:
        """
        As what waits for a connection can.
        """
        server, there = self.start(SipTls([self.node]))
        client, _ = self.start(SipTls([self.node]))
        hop = self.hop(server, "example.com")
        client.send(a_request("BYE").encode(), hop, KEY)
        client.send(a_request("OPTIONS").encode(), hop, OTHER)
        self.assertTrue(client.withdraw(hop, KEY))
        await self.until(lambda: there.messages)
        ((message, flow),) = there.messages
        assert isinstance(message, Request)
        self.assertEqual((message.method, flow.transport), ("OPTIONS", "tls"))


class ReuseTests(WireCase):
    """
    Tests for when a connection serves another request.
    """

    def setUp(self) -> None:
        super().setUp()
        names = [uri("sip:example.com"), uri("sip:example.org")]
        self.server, self.there = self.start(SipTls([self.authority.issue(others=names)]))

    async def flows(self, tls: SipTls, *names: str) -> list[int]:
        """
        The connections, as the server counts them, that requests for these names take.
        """
        client, _ = self.start(tls)
        flows = []
        for name in names:
            client.send(a_request("OPTIONS").encode(), self.hop(self.server, name), None)
            await self.until(lambda: self.there.messages)
            flows.append(self.there.messages.pop()[1].connection)
        return flows

    async def test_C08_another_name_is_looked_for_in_the_certificate(self) -> None:
        """
        Of the connection that is there; the same name needs no look.
        """
        names = ("example.com", "example.com", "example.org")
        self.assertEqual(await self.flows(SipTls([self.node]), *names), [1, 1, 1])

    async def test_C10_a_name_that_is_not_there_gets_a_connection_of_its_own(self) -> None:
        """
        Which then fails, as it must.
        """
        client, here = self.start(SipTls([self.node]))
        client.send(a_request("OPTIONS").encode(), self.hop(self.server, "example.com"), None)
        await self.until(lambda: self.there.messages)
        client.send(a_request("OPTIONS").encode(), self.hop(self.server, "example.net"), KEY)
        await self.until(lambda: here.failed)
        self.assertEqual(len(self.there.messages), 1)

    async def backwards(self, tls: SipTls, name: str, port: int) -> bool:
        """
        Whether a request to C{name}, at the port that a client named with
        alias and nobody listens on, takes the connection of that client.
        """
        client, here = self.start(tls)
        client.send(a_request("OPTIONS").encode(), self.hop(self.server, "example.com"), None)
        await self.until(lambda: self.there.messages)
        ((_, flow),) = self.there.messages
        self.there.messages.clear()
        self.server.connections.add_alias(flow, port)
        self.server.send(a_request("OPTIONS").encode(), Hop("tls", self.address, port, name), KEY)
        await self.until(lambda: here.messages or self.there.failed)
        self.there.failed.clear()
        return bool(here.messages)

    async def test_C09_an_alias_counts_for_whom_the_client_has_proved_to_be(self) -> None:
        """
        And for nobody else; without a good certificate it does not count.
        """
        strange = Authority(Path(self.mktemp())).issue("example.com")
        foreign = Tls(strange.certificate, strange.key, self.authority.path)
        self.assertTrue(await self.backwards(SipTls([self.node]), "example.com", 1))
        self.assertFalse(await self.backwards(SipTls([self.node]), "example.net", 2))
        self.assertFalse(await self.backwards(SipTls([foreign]), "example.com", 3))

    async def test_C09_the_alias_of_a_request_is_what_counts(self) -> None:
        """
        Endpoints ask for it themselves: a request comes back on the connection
        that the other one opened.
        """
        tls = SipTls([self.node])
        users = [RecordingUser(), RecordingUser()]
        one, two = (
            Endpoint(
                reactor, "test", Ports(None, None, 0), self.address, self.address, user, counting_mint(), tls
            )
            for user in users
        )
        ports = []
        for endpoint in (one, two):
            endpoint.startService()
            self.addCleanup(endpoint.stopService)
            port = endpoint.port("tls")
            assert port is not None
            ports.append(port)
        there, back = (Hop("tls", self.address, port, "example.com") for port in reversed(ports))
        one.request(a_request("OPTIONS", via=None), [there], RecordingObserver())
        await self.until(lambda: users[1].heard)
        two.request(a_request("OPTIONS", via=None), [back], RecordingObserver())
        await self.until(lambda: users[0].heard)
        flow = users[0].heard[0][3]
        self.assertEqual((flow.port, flow.local_port), (ports[1], users[1].heard[0][3].port))

    async def test_a_phone_is_reached_on_its_own_connection(self) -> None:
        """
        At the very address and port that it has: nobody else can be there.
        """
        strange = Authority(Path(self.mktemp())).issue("phone")
        client, here = self.start(SipTls([Tls(strange.certificate, strange.key, self.authority.path)]))
        client.send(a_request("OPTIONS").encode(), self.hop(self.server, "example.com"), None)
        await self.until(lambda: self.there.messages)
        ((_, flow),) = self.there.messages
        self.server.send(
            a_request("OPTIONS").encode(), Hop("tls", flow.address, flow.port, self.address), KEY
        )
        await self.until(lambda: here.messages)


class ServerTests(WireCase):
    """
    Tests for who gets in, seen from a client that is none of ours.
    """

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.path))

    def connect(self, port: int, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
        return context.wrap_socket(socket.create_connection((self.address, port), 5), server_hostname=name)

    async def shown(self, tls: SipTls, name: str) -> set[str]:
        """
        The dNSNames of what a client that asks for C{name} is shown.
        """
        server, _ = self.start(tls)
        context = self.trusting()
        context.check_hostname = False

        def look() -> set[str]:
            with self.connect(self.hop(server, "").port, context, name) as wire:
                certificate: Any = wire.getpeercert()
                return {value for kind, value in certificate["subjectAltName"] if kind == "DNS"}

        return await deferToThread(look)

    async def test_a_client_without_a_certificate_is_served(self) -> None:
        """
        OPTIONS over TLS is answered, on the same connection.
        """
        user = RecordingUser()
        tls = SipTls([self.node])
        ports = Ports(None, None, 0)
        endpoint = Endpoint(reactor, "test", ports, self.address, self.address, user, counting_mint(), tls)
        user.answer = lambda transaction, request, flow: endpoint.respond(
            transaction, response_to(request, 200)
        )
        endpoint.startService()
        self.addCleanup(endpoint.stopService)
        port = endpoint.port("tls")
        assert port is not None

        def ask() -> tuple[bytes, str | None]:
            with self.connect(port, self.trusting(), "sipx1.example.com") as wire:
                wire.sendall(a_request("OPTIONS", via="SIP/2.0/TLS phone;branch=z9hG4bK-1;rport").encode())
                return wire.recv(65536), wire.version()

        answer, version = await deferToThread(ask)
        response = parse_message(answer)
        assert isinstance(response, Response)
        self.assertEqual((response.status, response.via.received), (200, self.address))
        self.assertEqual(version, "TLSv1.3")

    async def test_C06_a_client_without_a_good_certificate_is_nobody(self) -> None:
        """
        It is served all the same; one with a good certificate is known.
        """
        seen: list[frozenset[str]] = []
        found: list[frozenset[str]] = []

        @implementer(IHandshakeListener)
        class Seeing(Protocol):
            def handshakeCompleted(self) -> None:
                seen.append(proved(self.transport))

        factory = TLSMemoryBIOFactory(SipTls([self.node]), False, Factory.forProtocol(Seeing))
        port = reactor.listenTCP(0, factory, interface=self.address)
        self.addCleanup(port.stopListening)
        strange = Authority(Path(self.mktemp())).issue("example.com")
        shown = [self.node, self.authority.issue("example.com", days=-1), strange, None]
        for files in shown:
            context = self.trusting()
            if files is not None:
                context.load_cert_chain(files.certificate, files.key)
            wire = await deferToThread(self.connect, port.getHost().port, context, "sipx1.example.com")
            await self.until(lambda: seen)
            found.append(seen.pop())
            wire.close()
        self.assertEqual(found, [{"example.com"}, frozenset(), frozenset(), frozenset()])

    async def test_a_client_that_does_not_read_is_cut_off(self) -> None:
        """
        TLS keeps no more for it than TCP does.
        """
        server, there = self.start(
            SipTls([self.node]), limits=Limits(connection=ConnectionLimits(unread=100_000))
        )
        wire = await deferToThread(
            self.connect, self.hop(server, "").port, self.trusting(), "sipx1.example.com"
        )
        self.addCleanup(wire.close)
        wire.sendall(a_request("OPTIONS").encode())
        await self.until(lambda: there.messages)
        ((_, flow),) = there.messages
        sent = 0
        while not there.failed:
            server.send(bytes(10_000), flow, KEY)
            sent += 10_000
            await deferLater(reactor, 0)
        # Beyond what we keep there is what the kernel does, on both sides.
        self.assertLess(sent, 30_000_000)

    async def test_tls_1_1_is_refused(self) -> None:
        """
        RFC 8996.
        """
        server, _ = self.start(SipTls([self.node]))
        context = self.trusting()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        connecting = deferToThread(self.connect, self.hop(server, "").port, context, "sipx1.example.com")
        await self.assertFailure(connecting, ssl.SSLError, OSError)

    async def test_a_client_that_names_a_host_sees_its_certificate(self) -> None:
        """
        Any other one the first.
        """
        public = self.authority.issue("example.com", "www.example.com")
        tls = SipTls([public, self.node])
        for name, shown in (
            ("example.com", {"example.com", "www.example.com"}),
            ("sipx1.example.com", {"sipx1.example.com"}),
            ("elsewhere.net", {"example.com", "www.example.com"}),
        ):
            self.assertEqual(await self.shown(tls, name), shown)

    async def test_new_files_count_for_new_connections(self) -> None:
        """
        After a reload; files that do not fit change nothing.
        """
        files = self.authority.issue("a.example.com")
        tls = SipTls([files])
        fresh = self.authority.issue("b.example.com")
        files.certificate.write_bytes(fresh.certificate.read_bytes())
        self.assertRaises(TlsUnusable, tls.reload)
        self.assertEqual(await self.shown(tls, "x"), {"a.example.com"})
        files.key.write_bytes(fresh.key.read_bytes())
        tls.reload()
        self.assertEqual(await self.shown(tls, "x"), {"b.example.com"})

    async def test_a_client_that_does_not_shake_hands_is_cut_off(self) -> None:
        """
        It is not there to hold a place.
        """
        server, _ = self.start(
            SipTls([self.node]), limits=Limits(connection=ConnectionLimits(handshake_time=0.01))
        )
        port = self.hop(server, "").port

        def wait() -> bytes:
            with socket.create_connection((self.address, port), 5) as wire:
                try:
                    return wire.recv(1)
                except ConnectionResetError:
                    return b""

        self.assertEqual(await deferToThread(wait), b"")

    async def test_who_does_not_speak_tls_is_cut_off(self) -> None:
        """
        And no message is heard.
        """
        server, there = self.start(SipTls([self.node]))
        port = self.hop(server, "").port

        def talk() -> bytes:
            with socket.create_connection((self.address, port), 5) as wire:
                wire.sendall(a_request("OPTIONS").encode())
                try:
                    while wire.recv(65536):
                        pass
                except ConnectionResetError:
                    pass
                return b""

        await deferToThread(talk)
        self.assertEqual((there.messages, there.malformed), ([], []))


class Ipv6Tests(TestCase):
    """
    Tests for endpoints on ::1, over each transport.
    """

    timeout = 10

    def setUp(self) -> None:
        authority = Authority(Path(self.mktemp()))
        self.tls = SipTls([authority.issue(others=[uri("sip:example.com")])])
        self.user = RecordingUser()
        self.server = self.start(self.user)
        self.user.answer = self.answer

    def start(self, user: RecordingUser) -> Endpoint:
        # What is advertised may be spelled as an operator likes.
        endpoint = Endpoint(
            reactor, "test", Ports(0, 0, 0), "::1", "0:0::1".upper(), user, counting_mint(), self.tls
        )
        endpoint.startService()
        self.addCleanup(endpoint.stopService)
        return endpoint

    def answer(self, transaction: ServerKey, request: Request, flow: Flow) -> None:
        self.server.respond(transaction, response_to(request, 200, to_tag="bob-1"))

    async def exchange(self, transport: str) -> None:
        """
        A second endpoint asks, the first one answers.
        """
        done: Deferred[Response] = Deferred()

        class Waiting(RecordingObserver):
            def response_received(self, branch: Any, response: Response) -> None:
                done.callback(response)

        client = self.start(RecordingUser())
        port = self.server.port(transport)
        assert port is not None
        hop = Hop(transport, "::1", port, "example.com")
        client.request(a_request("OPTIONS", via=None), [hop], Waiting())
        self.assertEqual((await done).status, 200)
        ((_, _, request, flow),) = self.user.heard
        self.assertEqual((flow.transport, flow.address, request.via.host), (transport, "::1", "[0:0::1]"))
        self.assertEqual(request.via.received, "::1")

    async def test_a_request_over_udp_is_answered(self) -> None:
        """
        From and to ::1.
        """
        await self.exchange("udp")

    async def test_a_request_over_tcp_is_answered(self) -> None:
        """
        The same.
        """
        await self.exchange("tcp")

    async def test_a_request_over_tls_is_answered(self) -> None:
        """
        The same.
        """
        await self.exchange("tls")
