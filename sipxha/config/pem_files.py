"""
Whether a node's certificate, its key and the cluster's authority belong
together and are in force.

A node that starts with a wrong certificate looks well and is alone: no peer
will have it.  So this is asked before the start.  Nothing here makes or
writes a certificate; L{sipxha.config.certificates} does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from sipxha.config.model import Tls


def pem_problems(tls: Tls, node: str, now: datetime) -> list[str]:
    """
    All that is wrong with a node's PEM files, which can be read.

    @param node: The name that the certificate must be for.
    @param now: An aware time.
    """
    try:
        chain = x509.load_pem_x509_certificates(tls.certificate.read_bytes())
    except ValueError:
        return [f"{tls.certificate} holds no PEM certificate"]
    try:
        authorities = x509.load_pem_x509_certificates(tls.authority.read_bytes())
    except ValueError:
        return [f"{tls.authority} holds no PEM certificate"]
    certificate = chain[0]

    problems = _common_problems(tls, certificate, node, now)
    if not _issued_by_any(certificate, [*chain[1:], *authorities]):
        problems.append(f"{tls.certificate} was not issued by the authority in {tls.authority}")
    return [*problems, *_key_problems(tls, certificate)]


def public_pem_problems(tls: Tls, domain: str, now: datetime) -> list[str]:
    """
    All that is wrong with the PEM files that phones see, which can be read.
    Whom phones trust is not known here.

    @param domain: The name that the certificate must be for.
    @param now: An aware time.
    """
    try:
        certificate = x509.load_pem_x509_certificates(tls.certificate.read_bytes())[0]
    except ValueError:
        return [f"{tls.certificate} holds no PEM certificate"]
    return [*_common_problems(tls, certificate, domain, now), *_key_problems(tls, certificate)]


def _common_problems(tls: Tls, certificate: x509.Certificate, name: str, now: datetime) -> list[str]:
    problems = []
    if now > certificate.not_valid_after_utc:
        problems.append(f"{tls.certificate} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if now < certificate.not_valid_before_utc:
        problems.append(f"{tls.certificate} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}")
    names = _dns_names(certificate)
    if name not in names:
        held = ", ".join(names) or "no name"
        problems.append(f"{tls.certificate} is for {held}, not for {name}")
    return problems


def _key_problems(tls: Tls, certificate: x509.Certificate) -> list[str]:
    try:
        key = load_pem_private_key(tls.key.read_bytes(), password=None)
    except TypeError:
        return [f"{tls.key} is protected by a password"]
    except (ValueError, UnsupportedAlgorithm):
        return [f"{tls.key} holds no PEM private key"]
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        return [f"{tls.key} is not the key of {tls.certificate}"]
    return []


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def _issued_by_any(certificate: x509.Certificate, issuers: Iterable[x509.Certificate]) -> bool:
    for issuer in issuers:
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False
