"""
Mutual TLS between the nodes of one cluster.

Both ends show a certificate of the cluster's own authority, and each is known
by the dNSNames in the subjectAltName of the one that it showed.  Used by the
replication of the registry and by the gate before the call event database.
What phones see is another matter and is not here.  No wildcard, no common
name and no address is ever taken for a name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.config import model
from sipxha.errors import LocalError, RemoteError

# A name that holds a NUL or a wildcard does not match, and is then nobody's.
_HOST_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?\Z")


class TlsUnusable(LocalError):
    """
    A certificate, key or authority cannot be used.
    """

    def __init__(self, path: Path, cause: Exception) -> None:
        reason = cause.strerror if isinstance(cause, OSError) else cause
        super().__init__(f"{path}: {reason}")
        self.path = path


class NotThePeer(RemoteError):
    """
    The server that answered holds a certificate for other names.
    """

    def __init__(self, wanted: str, names: frozenset[str]) -> None:
        super().__init__(f"{wanted} answered with a certificate for {', '.join(sorted(names)) or 'nobody'}")
        self.wanted = wanted
        self.names = names


def dns_names(certificate: x509.Certificate) -> frozenset[str]:
    """
    The dNSNames of the subjectAltName, lower-cased; those that are no plain host name are left out.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return frozenset()
    return frozenset(name.lower() for name in found if _HOST_NAME.match(name.lower()))


def peer_names(transport: Any) -> frozenset[str]:
    """
    Who is at the other end of a connection that L{MutualTls} made.

    The context refused the connection unless the certificate was verified,
    so that what stands in it is what our authority signed.

    @param transport: An L{twisted.internet.interfaces.ISSLTransport}.

    @return: Lower-cased names; empty where there is no certificate.
    """
    certificate = transport.getPeerCertificate()
    return frozenset() if certificate is None else dns_names(certificate.to_cryptography())


@implementer(IOpenSSLServerConnectionCreator)
class MutualTls:
    """
    The node's own certificate, and the authority that it trusts.

    It is itself what C{listenSSL} and C{startTLS} ask of a server; L{client}
    makes the same for a client.  New connections use what L{reload} read
    last; open ones live on with what they began with.
    """

    def __init__(self, files: model.Tls) -> None:
        """
        @raise TlsUnusable: A file is missing, unreadable or does not fit the others.
        """
        self._files = files
        self._context = context_of(files)

    def reload(self) -> None:
        """
        Read the files again; when one cannot be used the old state goes on.

        @raise TlsUnusable: As at the start.
        """
        self._context = context_of(self._files)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """
        A connection that asks the client for a certificate and ends without one.
        """
        return SSL.Connection(self._context, None)

    def client(self, name: str) -> IOpenSSLClientConnectionCreator:
        """
        What connects to the peer C{name} and to nobody else.
        """
        return _Client(self, name.lower())

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol, name: str) -> SSL.Connection:
        """
        A connection that ends unless the server proves to be C{name}.
        """
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(name.encode("ascii"))

        def verified(_: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
            if depth or not ok:
                return bool(ok)
            names = dns_names(certificate.to_cryptography())
            if name in names:
                return True
            tlsProtocol.failVerification(Failure(NotThePeer(name, names)))
            return False

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verified)
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class _Client:
    """
    L{MutualTls} towards one peer.
    """

    def __init__(self, tls: MutualTls, name: str) -> None:
        self._tls = tls
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return self._tls.clientConnectionForTLS(tlsProtocol, self._name)


class PromptTls(TLSMemoryBIOProtocol):
    """
    TLS for messages that are written as a whole and waited for.

    Twisted's own gathers what is written until the next turn, and hands it to
    the socket in the one after that: who waits for each message waits for
    both, behind all that comes in meanwhile.
    """

    def write(self, bytes: bytes) -> None:
        super().write(bytes)
        transport: Any = self.transport
        # What cannot be taken now is written by the reactor, which also finds what went wrong.
        if transport.connected and not transport.disconnecting and transport.producer is None:
            transport.doWrite()


class PromptTlsFactory(TLSMemoryBIOFactory):
    """
    Connections of that kind.
    """

    protocol = PromptTls


def context_of(files: model.Tls) -> SSL.Context:
    """
    What connections with these files are made from: TLS 1.2 or newer, no
    session ever taken up again.

    @raise TlsUnusable: A file is missing, unreadable or does not fit the others.
    """
    certificates = read_certificates(files.certificate)
    authorities = read_certificates(files.authority)
    try:
        key = crypto.PKey.from_cryptography_key(
            load_pem_private_key(files.key.read_bytes(), password=None)  # type: ignore[arg-type]
        )
    except (OSError, ValueError, TypeError) as error:
        raise TlsUnusable(files.key, error) from error
    try:
        # Twisted's own lower bound is TLS 1.2, and the higher of the two counts.
        options = ssl.CertificateOptions(
            privateKey=key,
            certificate=certificates[0],
            extraCertChain=certificates[1:],
            trustRoot=ssl.trustRootFromCertificates([ssl.Certificate(each) for each in authorities]),
            raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
        )
        return options.getContext()
    except (SSL.Error, ValueError) as error:
        raise TlsUnusable(files.certificate, _mismatch(error)) from error


def _mismatch(error: Exception) -> Exception:
    """
    Say what OpenSSL means when it lists its error stack.
    """
    return ValueError("key and certificate do not belong together") if "mismatch" in str(error) else error


def tls_reason(error: BaseException | None) -> str:
    """
    Why a connection ended, in OpenSSL's words.
    """
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return "TLS: " + ", ".join(str(each[-1]) for each in error.args[0])
    return "TLS: " + (str(error) or type(error).__name__)


def read_certificates(path: Path) -> list[crypto.X509]:
    """
    All certificates of a PEM file.

    @raise TlsUnusable: It holds none, or cannot be read.
    """
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TlsUnusable(path, error) from error
    return [crypto.X509.from_cryptography(each) for each in found]
