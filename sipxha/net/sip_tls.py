"""
SIP over TLS: what we show, and whom we believe (RFC 5922).

A server proves to be the domain that was asked for, never the host that DNS
named for it.  Clients need no certificate; one that they show counts when it
is good and is passed over when it is not.  The nodes of one cluster know each
other in another, stricter way: L{sipxha.net.tls}.  Revocation is not looked
at, and no session is ever resumed, so that every connection is judged itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.config import model
from sipxha.net.tls import NotThePeer, context_of, dns_names, read_certificates
from sipxha.routing.location import is_name
from sipxha.sip.grammar import MalformedField
from sipxha.sip.uri import Uri

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol


def identities(certificate: x509.Certificate) -> frozenset[str]:
    """
    The SIP domains that a certificate is for, in lower case (RFC 5922 section 7.1).

    Those of the sip URIs without a user in its subjectAltName; without any,
    the dNSNames there; without a subjectAltName, the common name.  What is no
    plain host name (a wildcard, a NUL within) is nobody.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        return _common_names(certificate)
    except (x509.DuplicateExtension, ValueError):
        return frozenset()
    return frozenset(_domains(uris)) or dns_names(certificate)


def _domains(uris: Iterable[str]) -> Iterable[str]:
    for text in uris:
        try:
            uri = Uri.parse(text)
        except MalformedField:
            continue
        host = uri.host.lower()
        if uri.scheme == "sip" and "@" not in text and (is_name(host) or isIPv6Address(host.strip("[]"))):
            yield host.strip("[]")


def _common_names(certificate: x509.Certificate) -> frozenset[str]:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return frozenset(str(each.value).lower() for each in found if is_name(str(each.value)))


def proved(transport: Any) -> frozenset[str]:
    """
    Whom the far end of a connection that L{SipTls} made has proved to be;
    nobody without a certificate that we trust (RFC 5922 section 7.4).

    @param transport: An L{twisted.internet.interfaces.ISSLTransport} whose
        handshake is over.
    """
    connection: _Connection = transport.getHandle()
    return frozenset() if connection.is_doubtful else connection.identities


class _Connection(SSL.Connection):
    """
    A connection that remembers what its handshake has shown of the far end.
    """

    identities: frozenset[str] = frozenset()

    is_doubtful = False
    """Whether there is anything wrong with the certificate or its authorities."""

    wanted: str | None = None
    """Whom it has to prove to be; nobody, if it called us."""

    protocol: ref[TLSMemoryBIOProtocol]
    """Who is told if it does not."""


@implementer(IOpenSSLServerConnectionCreator)
class SipTls:
    """
    The certificates of a SIP service, and the authorities that it trusts: the
    cluster's own, and those of the system.

    It is itself what the TLS factory of a server asks; L{client} makes the
    same for a client.  New connections use what L{reload} read last; open ones
    live on with what they began with.
    """

    def __init__(
        self,
        shown: Sequence[model.Tls],
        domain: str = "",
        is_ours: Callable[[str], bool] = lambda name: False,
    ) -> None:
        """
        @param shown: The files of each certificate; a client that names none
            of them (SNI) sees the first.
        @param domain: What our own nodes prove to be, under whatever name
            they are called.
        @param is_ours: Whether a name or address is one of theirs.

        @raise TlsUnusable: A file is missing, unreadable or does not fit the others.
        """
        self._shown = shown
        self._domain = domain
        self._is_ours = is_ours
        self._contexts = self._read()

    def reload(self) -> None:
        """
        Read the files again; when one cannot be used the old state goes on.

        @raise TlsUnusable: As at the start.
        """
        self._contexts = self._read()

    def _read(self) -> list[tuple[frozenset[str], SSL.Context]]:
        contexts = []
        for files in self._shown:
            own = read_certificates(files.certificate)[0].to_cryptography()
            context = context_of(files)
            context.set_default_verify_paths()
            # One for all connections: each of its own would refer to itself, and keep
            # the memory of OpenSSL until the garbage collector comes by.
            context.set_verify(SSL.VERIFY_PEER, _looked_at)
            contexts.append((dns_names(own) | identities(own), context))
        contexts[0][1].set_tlsext_servername_callback(_Choice(contexts))
        return contexts

    def wanted(self, name: str) -> str:
        """
        Who must prove to be there when C{name} is called.
        """
        return self._domain if self._is_ours(name) else name.lower()

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """
        A connection that asks the client for a certificate and goes on without.
        """
        return _Connection(self._contexts[0][1], None)

    def client(self, wanted: str) -> IOpenSSLClientConnectionCreator:
        """
        What connects to C{wanted} (see L{SipTls.wanted}) and to nobody else.
        """
        return _Client(self, wanted)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol, wanted: str) -> SSL.Connection:
        """
        A connection that ends unless the server proves to be C{wanted}.
        """
        # Towards other servers we are the node, whatever phones see.
        connection = _Connection(self._contexts[-1][1], None)
        if is_name(wanted) and not isIPAddress(wanted):
            connection.set_tlsext_host_name(wanted.encode("ascii"))
        connection.wanted = wanted
        connection.protocol = ref(tlsProtocol)
        return connection


def _looked_at(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
    assert isinstance(connection, _Connection)
    if ok and depth == 0:
        connection.identities = identities(certificate.to_cryptography())
    if connection.wanted is None:
        if not ok:
            connection.is_doubtful = True
        # Phones bear certificates of their makers, whom nobody knows.
        return True
    if depth or not ok or connection.wanted in connection.identities:
        return bool(ok)
    protocol = connection.protocol()
    if protocol is not None:
        protocol.failVerification(Failure(NotThePeer(connection.wanted, connection.identities)))
    return False


class _Choice:
    """
    Shows the client the certificate for the name that it asked for (RFC 6066 section 3).
    """

    def __init__(self, contexts: Sequence[tuple[frozenset[str], SSL.Context]]) -> None:
        # Held by the first context, which must not be held in turn.
        self._first = contexts[0][0]
        self._others = contexts[1:]

    def __call__(self, connection: SSL.Connection) -> None:
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        if name not in self._first:
            for names, context in self._others:
                if name in names:
                    connection.set_context(context)
                    return


@implementer(IOpenSSLClientConnectionCreator)
class _Client:
    """
    L{SipTls} towards one domain.
    """

    def __init__(self, tls: SipTls, wanted: str) -> None:
        self._tls = tls
        self._wanted = wanted

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return self._tls.clientConnectionForTLS(tlsProtocol, self._wanted)
