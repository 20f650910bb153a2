"""
Tests for L{sipxha.services.shown_certificates}.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.certificates import SOON, CertificateUnusable, make_authority, make_node, write_node
from sipxha.config.model import Tls
from sipxha.errors import LocalError
from sipxha.services.shown_certificates import ShownCertificates

DOMAIN = "example.com"
NODE = "sipx1.example.com"


class ShownCertificatesTests(SynchronousTestCase):
    """
    Tests for certificates that are read again.
    """

    def setUp(self) -> None:
        """
        A node's own, and another one for phones.
        """
        self.folder = Path(self.mktemp())
        self.authority = make_authority("test")
        self.now = datetime.now(UTC).timestamp()
        self.own, self.public = self.issue("own"), self.issue("public")
        self.read: list[str] = []

    def issue(self, name: str, node: str = NODE) -> Tls:
        """
        Write a certificate.
        """
        folder = self.folder / name
        write_node(folder, make_node(self.authority, node, DOMAIN), self.authority)
        return Tls(folder / "node.crt", folder / "node.key", folder / "ca.crt")

    def shown(self, own: Tls | None, public: Tls | None) -> ShownCertificates:
        """
        Those of a node with such a configuration, shown by one.
        """
        config: Any = SimpleNamespace(
            domain=SimpleNamespace(name=DOMAIN),
            node=SimpleNamespace(name=NODE),
            tls=own,
            proxy=SimpleNamespace(tls=public),
        )
        found = ShownCertificates(config, lambda: self.now)
        found.shown_by(lambda: self.read.append("read"))
        return found

    def test_good_ones_are_shown_from_now_on(self) -> None:
        """
        And their ends are known.
        """
        shown = self.shown(self.own, self.public)
        shown.read_again()
        self.assertEqual(self.read, ["read"])
        keys = {self.own.key, self.public.key}
        self.assertEqual({*shown.ends()}, {str(path) for path in {*shown.paths} - keys})
        self.assertEqual(len(shown.ends()), 4)

    def test_nobody_shows_any_if_one_cannot_be_used(self) -> None:
        """
        Neither a node's own nor that for phones.
        """
        shown = self.shown(self.own, self.public)
        self.issue("own", "sipx9.example.com")
        self.assertRaises(CertificateUnusable, shown.read_again)
        self.issue("own")
        self.now += 100 * 365 * 86400
        self.assertRaises(CertificateUnusable, shown.read_again)
        self.now -= 100 * 365 * 86400
        self.public.key.write_text("nonsense")
        self.assertRaises(LocalError, shown.read_again)
        self.assertEqual(self.read, [])

    def test_those_that_end_soon_are_named(self) -> None:
        """
        Until they have been renewed.
        """
        lines: list[str] = []
        observer = cast(ILogObserver, lambda event: lines.append(formatEvent(event)))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        shown = self.shown(self.own, None)
        shown.remind()
        end = shown.ends()[str(self.own.certificate)]
        self.now = (end - SOON + timedelta(hours=1)).timestamp()
        shown.remind()
        self.own.certificate.unlink()
        shown.remind()
        self.assertEqual(lines, [f"{self.own.certificate} ends on {end:%Y-%m-%d}: renew it"])

    def test_a_node_may_have_none(self) -> None:
        """
        Then there is nothing to read.
        """
        shown = self.shown(None, None)
        shown.read_again()
        self.assertEqual((shown.paths, shown.ends()), ([], {}))
