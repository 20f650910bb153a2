"""
Tests for L{sipxha.cli.cert}.
"""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.cert import cert
from sipxha.config.certificates import read_authority, read_certificate
from sipxha.config.init import Cluster, Server, make_cluster
from tests.support.certs import Authority

NODE = "sipx1.example.com"


class CertTests(SynchronousTestCase):
    """
    Tests for C{sipxha cert}.
    """

    def setUp(self) -> None:
        """
        Make an authority.
        """
        self.folder = Path(self.mktemp())
        self.ca = self.folder / "ca"
        made = self.run_cert("ca", str(self.ca), "--domain", "example.com")
        self.assertEqual(made.exit_code, 0, made.output)
        self.assertIn("ca.key to yourself", made.output)

    def run_cert(self, *arguments: str) -> Result:
        return CliRunner().invoke(cert, arguments)

    def test_a_node_gets_a_certificate(self) -> None:
        """
        In the folder that was named.
        """
        into = self.folder / "ssl"
        made = self.run_cert(
            "node", "SIPX1.example.com.", "--domain", "example.com", f"--ca={self.ca}", f"--into={into}"
        )
        self.assertEqual(made.exit_code, 0, made.output)
        certificate = read_certificate(into / "node.crt")
        self.assertIn(f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}", made.output)
        certificate.verify_directly_issued_by(read_authority(self.ca).certificate)
        shown = json.loads(self.run_cert("show", "--json", str(into / "node.crt")).stdout)
        self.assertEqual(
            shown[0]["names"], [f"DNS:{NODE}", "DNS:example.com", "URI:sip:example.com", f"URI:sip:{NODE}"]
        )
        self.assertTrue(shown[0]["not_after"].endswith("Z"))

    def test_a_renewed_key_is_as_readable_as_the_old_one(self) -> None:
        """
        The node has to read it, whoever renewed it.
        """
        into = self.folder / "ssl"
        arguments = ("node", NODE, "--domain", "example.com", f"--ca={self.ca}", f"--into={into}")
        self.assertEqual(self.run_cert(*arguments).exit_code, 0)
        key = into / "node.key"
        old = key.read_bytes()
        key.chmod(0o440)
        self.assertEqual(self.run_cert(*arguments).exit_code, 0)
        self.assertNotEqual(key.read_bytes(), old)
        self.assertEqual(key.stat().st_mode & 0o777, 0o440)

    def test_a_request_is_signed(self) -> None:
        """
        The certificate is printed and nothing else.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        request = self.folder / "node.csr"
        name = x509.Name([])
        request.write_bytes(
            x509.CertificateSigningRequestBuilder(name).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        )
        signed = self.run_cert("sign", str(request), NODE, "--domain", "example.com", f"--ca={self.ca}")
        self.assertEqual(signed.exit_code, 0, signed.output)
        certificate = x509.load_pem_x509_certificate(signed.stdout_bytes)
        self.assertEqual(certificate.public_key(), key.public_key())

    def test_what_cannot_be_done_is_one_line_and_exit_1(self) -> None:
        """
        A second authority, a missing one, no request, no certificate.
        """
        nowhere = str(self.folder / "nowhere")
        readme = self.folder / "readme"
        readme.write_text("read me")
        for arguments, why in (
            (("ca", str(self.ca), "--domain=example.com"), "never replaced"),
            (("node", NODE, "--domain=example.com", f"--ca={nowhere}"), "ca.crt cannot be read"),
            (("sign", nowhere, NODE, "--domain=example.com", f"--ca={self.ca}"), "nowhere cannot be read"),
            (("sign", str(readme), NODE, "--domain=example.com", f"--ca={self.ca}"), "signing request"),
            (("show", str(readme)), "readme is not a certificate in PEM"),
        ):
            failed = self.run_cert(*arguments)
            self.assertEqual(failed.exit_code, 1, arguments)
            self.assertIn(why, failed.stderr)
            self.assertEqual(failed.stderr.count("\n"), 1)

    def test_a_name_that_is_none_is_a_usage_error(self) -> None:
        """
        Exit status 2.
        """
        for arguments in (
            ("node", "a b", "--domain=example.com"),
            ("node", NODE, "--domain=-"),
            ("node", NODE),
        ):
            self.assertEqual(self.run_cert(*arguments).exit_code, 2, arguments)

    def test_what_ends_soon_is_said(self) -> None:
        """
        On standard error, so that programs can read the rest.
        """
        short = Authority(self.folder / "short").issue(NODE)
        shown = self.run_cert("show", "--json", str(short.certificate), str(self.ca / "ca.crt"))
        self.assertEqual((shown.exit_code, len(json.loads(shown.stdout))), (0, 2))
        self.assertRegex(shown.stderr, rf"^sipxha: {short.certificate} ends on [0-9-]+: renew it\n$")

    def test_without_a_file_those_of_the_node_are_shown(self) -> None:
        """
        Its own, and its authority's.
        """
        cluster = self.folder / "cluster"
        make_cluster(cluster, Cluster("example.com", [Server(NODE, "127.1.1.1")], True))
        shown = self.run_cert("show", "--config", str(cluster / NODE / "sipxha.xml"))
        self.assertEqual(shown.exit_code, 0, shown.output)
        self.assertIn("node.crt", shown.stdout)
        self.assertIn(f"DNS:{NODE}, DNS:example.com, URI:sip:example.com, URI:sip:{NODE}", shown.stdout)
        self.assertIn("ca.crt", shown.stdout)
