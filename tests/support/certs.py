"""
Authorities and certificates for tests, made on the spot.

Elliptic keys, because a test wants dozens and RSA would take seconds.  What
an operator's cluster uses is made elsewhere; here it must also be possible to
make certificates that are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sipxha.config.model import Tls

_DAY = timedelta(days=1)


class Authority:
    """
    A certificate authority that signs whatever a test asks for.
    """

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        """
        @param folder: Where files go; made when it is not there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._builder(self._name, self._key.public_key(), days=10)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / "ca.crt"
        self.path.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(
        self, *names: str, common_name: str = "node", days: int = 5, others: Sequence[x509.GeneralName] = ()
    ) -> Tls:
        """
        Make the files of one node.

        @param names: The dNSNames; none at all leaves subjectAltName out.
        @param days: How long it is valid; negative: how long ago it ended.
        @param others: Entries of subjectAltName that are no dNSNames.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = self._builder(subject, key.public_key(), days).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        entries = [x509.DNSName(name) for name in names] + list(others)
        if entries:
            builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        stem = f"node{len(list(self.folder.iterdir()))}"
        tls = Tls(self.folder / f"{stem}.crt", self.folder / f"{stem}.key", self.path)
        tls.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        tls.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return tls

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int
    ) -> x509.CertificateBuilder:
        end = datetime.now(UTC) + days * _DAY
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - 30 * _DAY)
            .not_valid_after(end)
        )
