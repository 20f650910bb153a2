"""
Tests for L{sipxha.config.pem_files}.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.certificates import make_authority, make_node, write_node
from sipxha.config.model import Tls
from sipxha.config.pem_files import pem_problems, public_pem_problems

NOW = datetime.now(UTC)


class PemProblemsTests(SynchronousTestCase):
    """
    Tests for what is found out before a node is alone with a bad certificate.
    """

    def setUp(self) -> None:
        """
        Make good files.
        """
        folder = Path(self.mktemp())
        self.authority = make_authority("test")
        self.node = make_node(self.authority, "a.example.com", "example.com")
        write_node(folder, self.node, self.authority)
        self.tls = Tls(folder / "node.crt", folder / "node.key", folder / "ca.crt")

    def problems(self, node: str = "a.example.com", now: datetime = NOW) -> list[str]:
        """
        The problems, with bare file names.
        """
        folder = f"{self.tls.certificate.parent}/"
        return [problem.replace(folder, "") for problem in pem_problems(self.tls, node, now)]

    def test_good_files_have_no_problem(self) -> None:
        """
        Certificate, key and authority belong together.
        """
        self.assertEqual(self.problems(), [])

    def test_a_certificate_is_for_a_time(self) -> None:
        """
        Neither too early nor too late.
        """
        first, last = self.node.certificate.not_valid_before_utc, self.node.certificate.not_valid_after_utc
        self.assertEqual(
            self.problems(now=last + timedelta(seconds=1)), [f"node.crt expired on {last:%Y-%m-%d}"]
        )
        self.assertEqual(
            self.problems(now=first - timedelta(seconds=1)), [f"node.crt is valid only from {first:%Y-%m-%d}"]
        )

    def test_a_certificate_is_for_a_node(self) -> None:
        """
        Its names are given, so that the mix-up is seen.
        """
        self.assertEqual(
            self.problems(node="b.example.com"),
            ["node.crt is for a.example.com, example.com, not for b.example.com"],
        )

    def test_another_authority_is_found_out(self) -> None:
        """
        Also one of the same name.
        """
        self.tls.authority.write_bytes(make_authority("test").certificate_pem)
        self.assertEqual(self.problems(), ["node.crt was not issued by the authority in ca.crt"])

    def test_another_key_is_found_out(self) -> None:
        """
        Every key is compared with the certificate.
        """
        other = make_node(self.authority, "a.example.com", "example.com")
        self.tls.key.write_bytes(other.key_pem)
        self.assertEqual(self.problems(), ["node.key is not the key of node.crt"])

    def test_a_key_with_a_password_cannot_be_used(self) -> None:
        """
        Nobody is there to give it.
        """
        self.tls.key.write_bytes(
            self.node.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        )
        self.assertEqual(self.problems(), ["node.key is protected by a password"])

    def test_files_that_are_no_pem_are_named(self) -> None:
        """
        Whatever else they are.
        """
        self.tls.key.write_bytes(b"\xff\x00")
        self.assertEqual(self.problems(), ["node.key holds no PEM private key"])
        self.tls.authority.write_bytes(b"")
        self.assertEqual(self.problems(), ["ca.crt holds no PEM certificate"])
        self.tls.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
        self.assertEqual(self.problems(), ["node.crt holds no PEM certificate"])

    def test_what_phones_see_may_be_of_any_authority(self) -> None:
        """
        But must be for the domain, in force and with its key.
        """
        self.tls.authority.write_bytes(make_authority("test").certificate_pem)
        self.assertEqual(public_pem_problems(self.tls, "example.com", NOW), [])
        other = make_node(self.authority, "a.example.com", "example.com")
        self.tls.key.write_bytes(other.key_pem)
        found = public_pem_problems(self.tls, "example.org", self.node.certificate.not_valid_after_utc)
        self.assertEqual(len(found), 2)
        self.assertIn("is for a.example.com, example.com, not for example.org", found[0])
        self.assertIn("is not the key of", found[1])
        self.tls.certificate.write_bytes(b"")
        (problem,) = public_pem_problems(self.tls, "example.com", NOW)
        self.assertIn("holds no PEM certificate", problem)
