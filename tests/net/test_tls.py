"""
Tests for L{sipxha.net.tls}, over real connections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from sipxha.config.model import Tls
from sipxha.net.tls import MutualTls, TlsUnusable, dns_names, peer_names
from tests.support.certs import Authority

reactor: Any = _reactor


class _Talk(Protocol):
    """
    Says hello, and remembers who said it.
    """

    def __init__(self) -> None:
        self.heard: Deferred[frozenset[str]] = Deferred()
        self.lost: Deferred[str] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        if not self.heard.called:
            self.heard.callback(peer_names(self.transport))

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(str(reason.value))


class MutualTlsTests(TestCase):
    """
    Tests for who is let in, and to whom we talk.
    """

    def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()))
        self.node = self.authority.issue("sipx1.example.com", "example.com")

    async def talk(self, server: Tls, client: Any) -> tuple[_Talk, _Talk]:
        """
        Connect, and wait until either side heard the other or lost it.
        """
        ours, theirs = _Talk(), _Talk()
        wrapped = TLSMemoryBIOFactory(MutualTls(server), False, Factory.forProtocol(lambda: ours))
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(wrapped)
        self.addCleanup(port.stopListening)
        there = wrapClientTLS(client, TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port))
        await there.connect(Factory.forProtocol(lambda: theirs))
        return ours, theirs

    async def refused(self, server: Tls, client: Any) -> tuple[str, str]:
        ours, theirs = await self.talk(server, client)
        reasons = await ours.lost, await theirs.lost
        self.assertFalse(ours.heard.called)
        return reasons

    async def test_two_nodes_know_each_other(self) -> None:
        """
        Each side sees the names of the other's certificate.
        """
        peer = MutualTls(self.authority.issue("SIPX2.example.com"))
        ours, theirs = await self.talk(self.node, peer.client("sipx1.example.com"))
        self.assertEqual(await ours.heard, {"sipx2.example.com"})
        self.assertEqual(await theirs.heard, {"sipx1.example.com", "example.com"})
        assert theirs.transport is not None
        theirs.transport.loseConnection()
        await ours.lost
        await theirs.lost

    async def test_a_server_of_another_name_is_refused(self) -> None:
        """
        A certificate of our authority is not enough.
        """
        peer = MutualTls(self.authority.issue("sipx2.example.com"))
        _, reason = await self.refused(self.node, peer.client("sipx3.example.com"))
        self.assertIn("sipx3.example.com answered with a certificate for example.com, sipx1", reason)

    async def test_neither_wildcards_nor_common_names_count(self) -> None:
        """
        Only a dNSName that is the very name does.
        """
        peer = MutualTls(self.authority.issue("sipx2.example.com"))
        wild = self.authority.issue("*.example.com", common_name="sipx1.example.com")
        await self.refused(wild, peer.client("sipx1.example.com"))
        bare = self.authority.issue(common_name="sipx1.example.com")
        await self.refused(bare, peer.client("sipx1.example.com"))

    async def test_a_client_without_a_certificate_is_refused(self) -> None:
        """
        TLS alone opens nothing.
        """
        await self.refused(self.node, _Anonymous())

    async def test_a_client_of_another_authority_is_refused(self) -> None:
        """
        Its name does not matter then.
        """
        other = Authority(Path(self.mktemp()))
        strange = other.issue("sipx2.example.com")
        # It would talk to us, but we do not listen.
        peer = MutualTls(Tls(strange.certificate, strange.key, self.authority.path))
        await self.refused(self.node, peer.client("sipx1.example.com"))

    async def test_a_server_of_another_authority_is_refused(self) -> None:
        """
        The client checks the chain as well.
        """
        other = Authority(Path(self.mktemp()))
        peer = MutualTls(other.issue("sipx2.example.com"))
        await self.refused(self.node, peer.client("sipx1.example.com"))

    async def test_a_certificate_that_has_ended_is_refused(self) -> None:
        """
        On either side.
        """
        peer = MutualTls(self.authority.issue("sipx2.example.com"))
        await self.refused(
            self.authority.issue("sipx1.example.com", days=-1), peer.client("sipx1.example.com")
        )
        late = MutualTls(self.authority.issue("sipx2.example.com", days=-1))
        await self.refused(self.node, late.client("sipx1.example.com"))

    async def test_new_files_count_for_new_connections(self) -> None:
        """
        After a reload the node shows what the files hold now.
        """
        peer = MutualTls(self.node)
        fresh = self.authority.issue("sipx2.example.com")
        self.node.certificate.write_bytes(fresh.certificate.read_bytes())
        self.assertRaises(TlsUnusable, peer.reload)
        self.node.key.write_bytes(fresh.key.read_bytes())
        peer.reload()
        ours, theirs = await self.talk(
            self.authority.issue("sipx1.example.com"), peer.client("sipx1.example.com")
        )
        self.assertEqual(await ours.heard, {"sipx2.example.com"})
        assert theirs.transport is not None
        theirs.transport.loseConnection()
        await ours.lost


@implementer(IOpenSSLClientConnectionCreator)
class _Anonymous:
    """
    A client that trusts anybody and shows nothing.
    """

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(CertificateOptions().getContext(), None)


class DnsNamesTests(SynchronousTestCase):
    """
    Tests for the names in a certificate.
    """

    def names(self, *entries: x509.GeneralName) -> frozenset[str]:
        files = Authority(Path(self.mktemp())).issue(others=entries)
        return dns_names(x509.load_pem_x509_certificate(files.certificate.read_bytes()))

    def test_names_with_a_nul_are_no_names(self) -> None:
        """
        What C would read as sipx1.example.com is not that.
        """
        self.assertEqual(self.names(x509.DNSName("sipx1.example.com\0.evil.example")), frozenset())

    def test_only_dns_names_count(self) -> None:
        """
        A URI with the same text is another thing.
        """
        uri = x509.UniformResourceIdentifier("sip:example.com")
        self.assertEqual(self.names(uri, x509.DNSName("A.example.com")), {"a.example.com"})


class FilesTests(SynchronousTestCase):
    """
    Tests for files that cannot be used.
    """

    def test_each_file_is_named_when_it_is_at_fault(self) -> None:
        """
        The operator reads which file, and what is wrong with it.
        """
        authority = Authority(Path(self.mktemp()))
        good, other = authority.issue("a.example.com"), authority.issue("b.example.com")
        missing = authority.folder / "missing.pem"
        for files, path, cause in (
            (Tls(missing, good.key, good.authority), missing, "No such file"),
            (Tls(good.certificate, missing, good.authority), missing, "No such file"),
            (Tls(good.certificate, good.key, missing), missing, "No such file"),
            (Tls(good.certificate, good.certificate, good.authority), good.certificate, ""),
            (Tls(good.key, good.key, good.authority), good.key, ""),
            (Tls(good.certificate, other.key, good.authority), good.certificate, "do not belong together"),
        ):
            error = self.assertRaises(TlsUnusable, MutualTls, files)
            self.assertEqual(error.path, path)
            self.assertIn(f"{path}: ", str(error))
            self.assertIn(cause, str(error))
