"""
A small certificate authority for one cluster.

Makes the authority, and certificates by which nodes prove to each other (and
to phones) who they are: a node is found in the C{subjectAltName} as
C{DNS:NODE}, the domain as C{DNS:DOMAIN} and C{URI:sip:DOMAIN}; phones that read
RFC 5922 strictly find the node as C{URI:sip:NODE}.
New keys are readable by their owner only.
Whether a peer's certificate is good is decided by the TLS layer, not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sipxha.config.whole_file import write_whole
from sipxha.errors import LocalError

AUTHORITY_LIFE = timedelta(days=3652)
"""Ten years."""

NODE_LIFE = timedelta(days=825)
"""The longest that today's TLS clients accept."""

SOON = timedelta(days=14)
"""How long before its end a certificate is worth a word."""

BACKDATED = timedelta(hours=1)
"""How far the clock of the node that checks may be behind ours."""

AUTHORITY_FILES = ("ca.crt", "ca.key")
NODE_FILES = ("node.crt", "node.key", "ca.crt")

_KINDS: Mapping[type, str] = {
    x509.DNSName: "DNS",
    x509.UniformResourceIdentifier: "URI",
    x509.IPAddress: "IP",
}


class CertificateUnusable(LocalError):
    """
    A certificate, key or signing request cannot be used; the message names the file and why.
    """


class Credential(NamedTuple):
    """
    A certificate and the private key that belongs to it.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """
        The certificate as it is written to a file.
        """
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """
        The private key as it is written to a file.
        """
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Description(NamedTuple):
    """
    What an operator wants to know about a certificate.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    """The C{subjectAltName}, each with its kind: C{DNS:sipx1.example.com}."""

    not_before: datetime
    not_after: datetime
    is_authority: bool


def make_authority(name: str) -> Credential:
    """
    Make a new, self-signed authority.

    @param name: What people will know it by; it is not checked by anyone.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = (
        _builder(subject, key.public_key(), AUTHORITY_LIFE)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    return Credential(builder.sign(key, hashes.SHA256()), key)


def make_node(authority: Credential, node: str, domain: str) -> Credential:
    """
    Make a key for a node, and its certificate.

    @param node: The full name by which peers know the node.
    @param domain: The SIP domain that the node serves.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    return Credential(_issue(authority, key.public_key(), node, domain), key)


def sign(authority: Credential, request: bytes, node: str, domain: str) -> x509.Certificate:
    """
    Make a certificate for a node that keeps its key to itself.

    The request proves only that its sender has the key: the names are those
    that the operator gives, never those that the request asks for.

    @param request: A PKCS #10 certificate signing request, PEM.

    @raise CertificateUnusable: When it is not one, or its signature is wrong.
    """
    try:
        asked = x509.load_pem_x509_csr(request)
        proven = asked.is_signature_valid
        public_key = asked.public_key()
    except (ValueError, UnsupportedAlgorithm) as failure:
        raise CertificateUnusable("not a certificate signing request in PEM") from failure
    if not proven:
        raise CertificateUnusable("the signing request is not signed with its own key")
    return _issue(authority, public_key, node, domain)


def _issue(
    authority: Credential,
    public_key: CertificatePublicKeyTypes,
    node: str,
    domain: str,
) -> x509.Certificate:
    names: Sequence[x509.GeneralName] = [
        x509.DNSName(node),
        *([x509.DNSName(domain)] if domain != node else []),
        x509.UniformResourceIdentifier(f"sip:{domain}"),
        # A sip URI hides all DNS names (RFC 5922 7.1), and the Record-Route names the node (7.5).
        *([x509.UniformResourceIdentifier(f"sip:{node}")] if domain != node else []),
    ]
    return (
        _builder(_subject(node), public_key, NODE_LIFE)
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, public_key: CertificatePublicKeyTypes, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    # X.520 allows a common name of 64 characters; who is meant is in the subjectAltName.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def write_authority(folder: Path, authority: Credential) -> None:
    """
    Write C{ca.crt} and C{ca.key}.

    @raise CertificateUnusable: When the folder has an authority already: to
        replace one would cut off every node that it has signed for.
    """
    for name in AUTHORITY_FILES:
        if (folder / name).exists():
            raise CertificateUnusable(f"{folder / name} exists; an authority is never replaced")
    write_whole(folder / "ca.key", authority.key_pem, 0o600)
    write_whole(folder / "ca.crt", authority.certificate_pem, 0o644)


def write_node(folder: Path, node: Credential, authority: Credential) -> None:
    """
    Write C{node.crt}, C{node.key} and, to check the peers by, C{ca.crt}.
    """
    write_whole(folder / "node.key", node.key_pem, 0o600)
    write_whole(folder / "node.crt", node.certificate_pem, 0o644)
    write_whole(folder / "ca.crt", authority.certificate_pem, 0o644)


def read_authority(folder: Path) -> Credential:
    """
    Read what L{write_authority} wrote.

    @raise CertificateUnusable: When a file is missing, damaged, no authority or of another pair.
    """
    certificate = read_certificate(folder / "ca.crt")
    path = folder / "ca.key"
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as failure:
        raise CertificateUnusable(f"{path} is not an unencrypted private key in PEM") from failure
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateUnusable(f"{path} is not an elliptic curve key")
    if key.public_key() != certificate.public_key():
        raise CertificateUnusable(f"{path} does not belong to {folder / 'ca.crt'}")
    if not _is_authority(certificate):
        raise CertificateUnusable(f"{folder / 'ca.crt'} is not the certificate of an authority")
    return Credential(certificate, key)


def read_certificate(path: Path) -> x509.Certificate:
    """
    Read the first certificate of a PEM file.

    @raise CertificateUnusable: Naming the file and why.
    """
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as failure:
        raise CertificateUnusable(f"{path} is not a certificate in PEM") from failure


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as failure:
        raise CertificateUnusable(f"{path} cannot be read: {failure.strerror}") from failure


def describe(path: Path) -> Description:
    """
    Tell what a certificate file says.

    @raise CertificateUnusable: Naming the file and why.
    """
    certificate = read_certificate(path)
    return Description(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=tuple(_alternative_names(certificate)),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_authority=_is_authority(certificate),
    )


def ends_soon(end: datetime, now: datetime) -> bool:
    """
    Whether a certificate has to be renewed now.
    """
    return end - now < SOON


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [f"{_KINDS.get(type(name), type(name).__name__)}:{name.value}" for name in names]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
