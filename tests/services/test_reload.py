"""
Tests for L{sipxha.services.reload}.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.users import Credential, Users
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.model import Log, Peer
from sipxha.errors import LocalError
from sipxha.services.reload import (
    LiveFiles,
    Outcome,
    fingerprint,
    need_restart,
    peers_outcome,
    users_outcome,
    with_live_parts,
)


class ReloadTests(SynchronousTestCase):
    """
    Tests for what differs, and how that reads.
    """

    def setUp(self) -> None:
        """
        Make a pair.
        """
        self.folder = Path(self.mktemp())
        servers = [Server(f"sipx{number}.example.com", f"127.0.0.{number}") for number in (1, 2)]
        make_cluster(self.folder, Cluster("example.com", servers, embedded=True))
        self.config = load(self.folder / "sipx1.example.com" / "sipxha.xml")

    def test_nothing_that_differs_is_nothing(self) -> None:
        """
        Read again, it is the same.
        """
        read = load(self.config.path)
        self.assertEqual(with_live_parts(self.config, read), self.config)
        self.assertEqual(need_restart(self.config, read), [])

    def test_peers_and_level_are_taken_over_and_all_else_needs_a_restart(self) -> None:
        """
        Each element is named once.
        """
        assert self.config.registrar is not None and self.config.registrar.replication is not None
        replication = replace(self.config.registrar.replication, peers=())
        registrar = replace(self.config.registrar, replication=replication)
        read = replace(self.config, log=Log("debug", None), registrar=registrar)
        self.assertEqual(need_restart(self.config, read), [])
        self.assertEqual(with_live_parts(self.config, read), read)
        other = replace(read, call_events=None, registrar=replace(registrar, max_contacts=3))
        self.assertEqual(
            {each.what for each in need_restart(self.config, other)}, {"<registrar>", "<call-events>"}
        )

    def test_gateways_are_taken_over(self) -> None:
        """
        What else there is in their element is not.
        """
        domain = replace(self.config.domain, gateways=("10.1.1.9",))
        read = replace(self.config, domain=domain)
        self.assertEqual(need_restart(self.config, read), [])
        self.assertEqual(with_live_parts(self.config, read), read)
        other = replace(read, domain=replace(domain, aliases=("other.net",)))
        self.assertEqual([each.what for each in need_restart(self.config, other)], ["<domain>"])

    def test_peers_are_told_by_name(self) -> None:
        """
        Who came, who went, who moved.
        """
        before = [Peer("a"), Peer("b"), Peer("c", "10.0.0.1")]
        after = [Peer("a"), Peer("c", "10.0.0.2"), Peer("d")]
        self.assertEqual(peers_outcome(before, after).detail, "d added, b removed, c moved")
        self.assertEqual(peers_outcome(before, before), ("peers", "unchanged", ""))

    def test_users_are_counted(self) -> None:
        """
        By identity.
        """
        old, new = (
            Users([Credential(f"{name}@e", "e", name, {}) for name in names]) for names in ("ab", "bcd")
        )
        self.assertEqual(
            users_outcome(old, new, is_same=False), ("users", "changed", "3 users, 2 added, 1 removed")
        )

    def test_a_fingerprint_is_of_contents(self) -> None:
        """
        Whether a file is there counts, too.
        """
        one, two = self.folder / "one", self.folder / "two"
        before = fingerprint([one, two])
        one.write_text("x")
        after = fingerprint([one, two])
        self.assertNotEqual(before, after)
        one.write_text("x")
        self.assertEqual(fingerprint([one, two]), after)


class LiveFilesTests(SynchronousTestCase):
    """
    Tests for L{LiveFiles}.
    """

    def test_a_bad_file_stays_news_until_it_can_be_read(self) -> None:
        """
        Nothing new is said to be unchanged, and only then.
        """
        path = Path(self.mktemp())
        path.write_text("good")
        files = LiveFiles()

        def read() -> None:
            if path.read_text() == "bad":
                raise LocalError("line 1")

        files.add("rules", read, path)
        for text, result, detail in (
            ("good", "unchanged", ""),
            ("bad", "refused", "line 1"),
            ("bad", "refused", "line 1"),
            ("better", "changed", ""),
            ("better", "unchanged", ""),
        ):
            path.write_text(text)
            self.assertEqual(files.read_again(), [Outcome("rules", result, detail)])
