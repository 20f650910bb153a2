"""
Tests for L{sipxha.config.certificates}.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config import certificates
from sipxha.config.certificates import (
    CertificateUnusable,
    Credential,
    describe,
    make_authority,
    make_node,
    read_authority,
    sign,
    write_authority,
    write_node,
)
from sipxha.config.whole_file import write_whole

NODE, DOMAIN = "sipx1.example.com", "example.com"


def request_for(key: ec.EllipticCurvePrivateKey, asks_for: str = "evil.example.net") -> bytes:
    """
    A signing request that asks for a name.
    """
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, asks_for)]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(asks_for)]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


class MakeTests(SynchronousTestCase):
    """
    Tests for what is in a certificate.
    """

    def setUp(self) -> None:
        """
        Make an authority and a node.
        """
        self.authority = make_authority("example.com authority")
        self.node = make_node(self.authority, NODE, DOMAIN)

    def names(self, certificate: x509.Certificate) -> list[object]:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return [name.value for name in extension.value]

    def test_a_node_is_known_by_its_name_the_domain_and_the_sip_uri(self) -> None:
        """
        The three names of the design.
        """
        self.assertEqual(self.names(self.node.certificate), [NODE, DOMAIN, f"sip:{DOMAIN}", f"sip:{NODE}"])
        alone = make_node(self.authority, DOMAIN, DOMAIN)
        self.assertEqual(self.names(alone.certificate), [DOMAIN, f"sip:{DOMAIN}"])

    def test_a_strict_verifier_takes_a_node_as_server_and_as_client(self) -> None:
        """
        The chain, the extensions and the names are as RFC 5280 and the browsers want them.
        """
        policy = PolicyBuilder().store(Store([self.authority.certificate])).time(datetime.now(UTC))
        for name in (NODE, DOMAIN):
            policy.build_server_verifier(x509.DNSName(name)).verify(self.node.certificate, [])
        policy.build_client_verifier().verify(self.node.certificate, [])
        usage = self.node.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(set(usage), {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})

    def test_another_authority_of_the_same_name_is_not_taken(self) -> None:
        """
        A name proves nothing.
        """
        other = make_authority("example.com authority")
        policy = PolicyBuilder().store(Store([other.certificate])).time(datetime.now(UTC))
        verifier = policy.build_server_verifier(x509.DNSName(NODE))
        self.assertRaises(x509.verification.VerificationError, verifier.verify, self.node.certificate, [])

    def test_lives_are_ten_years_and_825_days(self) -> None:
        """
        And both begin an hour ago, for clocks that are behind.
        """
        for credential, life in (
            (self.authority, certificates.AUTHORITY_LIFE),
            (self.node, certificates.NODE_LIFE),
        ):
            certificate = credential.certificate
            lasting = certificate.not_valid_after_utc - certificate.not_valid_before_utc
            self.assertEqual(lasting, life + certificates.BACKDATED)

    def test_a_long_name_is_no_obstacle(self) -> None:
        """
        A common name ends at 64 characters, the subjectAltName does not.
        """
        name = ".".join(["a" * 60, "b" * 60, "example.com"])
        self.assertIn(name, self.names(make_node(self.authority, name, DOMAIN).certificate))

    def test_a_request_gets_the_names_that_the_operator_gives(self) -> None:
        """
        Not those that it asks for; the key is its own.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = sign(self.authority, request_for(key), NODE, DOMAIN)
        self.assertEqual(self.names(certificate), [NODE, DOMAIN, f"sip:{DOMAIN}", f"sip:{NODE}"])
        self.assertEqual(certificate.public_key(), key.public_key())

    def test_what_is_no_request_is_refused(self) -> None:
        """
        Also when it is signed with another key than its own.
        """
        for nonsense in (b"", b"nonsense", self.node.certificate_pem):
            self.assertRaises(CertificateUnusable, sign, self.authority, nonsense, NODE, DOMAIN)
        good = x509.load_pem_x509_csr(request_for(ec.generate_private_key(ec.SECP256R1())))
        forged = bytearray(good.public_bytes(serialization.Encoding.DER))
        forged[forged.index(b"evil")] ^= 1
        pem = x509.load_der_x509_csr(bytes(forged)).public_bytes(serialization.Encoding.PEM)
        self.assertRaises(CertificateUnusable, sign, self.authority, pem, NODE, DOMAIN)


class FileTests(SynchronousTestCase):
    """
    Tests for reading and writing.
    """

    def setUp(self) -> None:
        """
        Make an authority and a folder.
        """
        self.authority = make_authority("example.com authority")
        self.folder = Path(self.mktemp())

    def test_an_authority_is_read_back(self) -> None:
        """
        And what it signs then is good.
        """
        write_authority(self.folder, self.authority)
        again = read_authority(self.folder)
        self.assertEqual(again.certificate, self.authority.certificate)
        make_node(again, NODE, DOMAIN).certificate.verify_directly_issued_by(self.authority.certificate)

    def test_keys_are_for_their_owner_only(self) -> None:
        """
        Certificates are for everybody.
        """
        write_authority(self.folder, self.authority)
        write_node(self.folder / "ssl", make_node(self.authority, NODE, DOMAIN), self.authority)
        modes = {
            str(path.relative_to(self.folder)): path.stat().st_mode & 0o777
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        self.assertEqual(
            modes,
            {
                "ca.crt": 0o644,
                "ca.key": 0o600,
                "ssl/ca.crt": 0o644,
                "ssl/node.crt": 0o644,
                "ssl/node.key": 0o600,
            },
        )

    def test_an_authority_is_never_replaced(self) -> None:
        """
        Every node that it has signed for would be cut off.
        """
        write_authority(self.folder, self.authority)
        other = make_authority("another")
        self.assertRaises(CertificateUnusable, write_authority, self.folder, other)
        self.assertEqual(read_authority(self.folder).certificate, self.authority.certificate)

    def test_a_node_is_renewed_in_place(self) -> None:
        """
        Key and certificate belong together again.
        """
        for _ in range(2):
            node = make_node(self.authority, NODE, DOMAIN)
            write_node(self.folder, node, self.authority)
        self.assertEqual((self.folder / "node.crt").read_bytes(), node.certificate_pem)
        self.assertEqual((self.folder / "node.key").read_bytes(), node.key_pem)

    def test_an_authority_that_is_none_is_refused(self) -> None:
        """
        With the file, and why.
        """
        node = make_node(self.authority, NODE, DOMAIN)
        other = make_authority("another")
        rsa_key = rsa.generate_private_key(65537, 1024).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for certificate, key, why in (
            (None, None, "ca.crt cannot be read: No such file or directory"),
            (b"nonsense", None, "ca.crt is not a certificate in PEM"),
            (self.authority.certificate_pem, None, "ca.key cannot be read: No such file or directory"),
            (self.authority.certificate_pem, b"nonsense", "ca.key is not an unencrypted private key in PEM"),
            (self.authority.certificate_pem, rsa_key, "ca.key is not an elliptic curve key"),
            (self.authority.certificate_pem, other.key_pem, "ca.key does not belong to"),
            (node.certificate_pem, node.key_pem, "ca.crt is not the certificate of an authority"),
        ):
            folder = Path(self.mktemp())
            if certificate is not None:
                write_whole(folder / "ca.crt", certificate, 0o644)
            if key is not None:
                write_whole(folder / "ca.key", key, 0o600)
            self.assertIn(why, str(self.assertRaises(CertificateUnusable, read_authority, folder)))

    def test_a_certificate_is_described(self) -> None:
        """
        As an operator wants to know it.
        """
        node = make_node(self.authority, NODE, DOMAIN)
        write_node(self.folder, node, self.authority)
        described = describe(self.folder / "node.crt")
        self.assertEqual(described.subject, f"CN={NODE}")
        self.assertEqual(described.issuer, "CN=example.com authority")
        self.assertEqual(
            described.names, (f"DNS:{NODE}", f"DNS:{DOMAIN}", f"URI:sip:{DOMAIN}", f"URI:sip:{NODE}")
        )
        self.assertEqual(described.not_after, node.certificate.not_valid_after_utc)
        self.assertFalse(described.is_authority)
        self.assertTrue(describe(self.folder / "ca.crt").is_authority)
        self.assertEqual(describe(self.folder / "ca.crt").names, ())

    def test_a_foreign_certificate_without_extensions_is_described_too(self) -> None:
        """
        It is no authority, and has no names.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + certificates.NODE_LIFE)
        ).sign(key, hashes.SHA256())
        write_whole(self.folder / "old.crt", Credential(certificate, key).certificate_pem, 0o644)
        described = describe(self.folder / "old.crt")
        self.assertEqual((described.names, described.is_authority), ((), False))
