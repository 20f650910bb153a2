"""
Tests for C{sipxha db}.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner
from lxml import etree
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.cli.db import DatabaseUnfit, _create, _look, _upgrade, db, targets, work_on
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.model import CallEvents, CallResolver, Config
from sipxha.store.postgres import EmbeddedPostgres
from sipxha.store.schema import CDR, CSE, steps
from tests.support.pair import run
from tests.support.postgres import PostgresForTests

NODE = "sipx1.example.com"


def a_config(folder: Path) -> Config:
    """
    Read what C{sipxha init --embedded} writes.
    """
    make_cluster(folder, Cluster("example.com", [Server(NODE, "127.0.0.1")], embedded=True))
    return load(folder / NODE / "sipxha.xml")


def outline(rows: Sequence[dict[str, object]]) -> list[tuple[object, ...]]:
    """
    Reduce rows to what tests look at.
    """
    return [(row["purpose"], row["version"], row["state"]) for row in rows]


class OptionTests(SynchronousTestCase):
    """
    Tests that need no database.
    """

    def test_a_node_without_databases_is_told_so(self) -> None:
        """
        There is nothing to create for it.
        """
        folder = Path(self.mktemp())
        config = a_config(folder)
        tree = etree.parse(config.path)
        for element in ("call-events", "call-resolver"):
            found = tree.find(f"{{*}}{element}")
            assert found is not None
            tree.getroot().remove(found)
        tree.write(config.path)
        result = CliRunner().invoke(db, ["check", "--config", str(config.path)])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("neither <call-events> nor <call-resolver>", result.output)

    def test_each_purpose_has_its_database(self) -> None:
        """
        The embedded one where no other is named.
        """
        folder = Path(self.mktemp())
        config = a_config(folder)
        embedded = EmbeddedPostgres(reactor, config.node.data / "pg")
        here = [(target.purpose, target.dsn, target.part) for target in targets(config, embedded)]
        self.assertEqual(here, [("call-events", embedded.dsn(), CSE), ("call-resolver", embedded.dsn(), CDR)])
        elsewhere = replace(config, call_events=CallEvents(dsn="host=db", listen=None), call_resolver=None)
        self.assertEqual([target.dsn for target in targets(elsewhere, embedded)], ["host=db"])


class DatabaseTests(TestCase):
    """
    Tests with real databases.
    """

    def setUp(self) -> None:
        """
        A node in a short folder.
        """
        folder = Path(tempfile.mkdtemp(prefix="sipxha-db-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.config = a_config(folder / "c")
        self.text = self.config.path.read_text()

    def with_dsn(self, dsn: str) -> Config:
        resolver = self.config.call_resolver
        assert isinstance(resolver, CallResolver)
        return replace(
            self.config,
            call_events=CallEvents(dsn=dsn, listen=None),
            call_resolver=replace(resolver, dsn=dsn),
        )

    async def test_check_init_check(self) -> None:
        """
        First all is missing, then nothing is; C{check} changes nothing.
        """
        config = self.with_dsn(PostgresForTests.shared().fresh())
        cse, cdr = len(steps()[CSE]), len(steps()[CDR])
        for _ in range(2):
            rows = await work_on(reactor, config, _look)
            expected = [("call-events", 0, "upgrade"), ("call-resolver", 0, "upgrade")]
            self.assertEqual(outline(rows), expected)
        expected = [("call-events", cse, "ok"), ("call-resolver", cdr, "ok")]
        for act in (_create, _upgrade, _look):
            self.assertEqual(outline(await work_on(reactor, config, act)), expected)

    async def test_the_owner_prepares_what_others_use(self) -> None:
        """
        With the configuration as the node has it.
        """
        dsn = PostgresForTests.shared().fresh()
        config = self.with_dsn(dsn.replace("user=postgres", "user=sipxha_writer password=secret"))
        rows = await work_on(reactor, config, _create, "postgres")
        self.assertEqual([row["missing_roles"] for row in rows], [[], []])
        self.assertNotIn("secret", str(rows))
        self.assertEqual({row["state"] for row in await work_on(reactor, config, _look)}, {"ok"})

    async def test_init_makes_the_database(self) -> None:
        """
        C{upgrade} and C{check} want it to be there.
        """
        config = self.with_dsn(PostgresForTests.shared().dsn("made by init"))
        for act in (_upgrade, _look):
            with self.assertRaises(DatabaseUnfit) as unfit:
                await work_on(reactor, config, act)
            self.assertIn("made by init", str(unfit.exception))
        rows = await work_on(reactor, config, _create)
        self.assertEqual({row["state"] for row in rows}, {"ok"})

    async def test_a_database_that_is_ahead_is_named(self) -> None:
        """
        Another node was upgraded first.
        """
        dsn = PostgresForTests.shared().fresh()
        await work_on(reactor, self.with_dsn(dsn), _create)
        PostgresForTests.shared().execute("INSERT INTO sipxha_schema VALUES ('cse', 99)", dsn)
        rows = await work_on(reactor, self.with_dsn(dsn), _upgrade)
        self.assertEqual(outline(rows)[0], ("call-events", 99, "newer than this program"))

    async def test_an_embedded_server_is_started_for_the_command(self) -> None:
        """
        And stopped, unless the node is running it.
        """
        pg = self.config.node.data / "pg"
        pg.mkdir(mode=0o700, parents=True)
        shutil.copytree(PostgresForTests.template(), pg / "cluster")
        server = EmbeddedPostgres(reactor, pg)
        self.addCleanup(server.stop)
        await work_on(reactor, self.config, _create)
        self.assertFalse(server.is_in_use())
        await server.start()
        rows = await work_on(reactor, self.config, _look)
        self.assertEqual({row["state"] for row in rows}, {"ok"})
        self.assertTrue(server.is_in_use())

    async def test_the_command_s_status_tells_what_is_missing(self) -> None:
        """
        1 while something is, or when a server cannot be reached, and then in
        one line.
        """
        path = self.config.path
        here = PostgresForTests.shared().fresh()
        for dsn, verb, status in ((here, "check", 1), (here, "init", 0), (here, "check", 0)):
            path.write_text(_with_dsn(self.text, dsn))
            self.assertEqual((await run(reactor, "sipxha", "db", verb, "--config", str(path)))[0], status)
        path.write_text(_with_dsn(self.text, "host=/nowhere dbname=x"))
        status, out, err = await run(reactor, "sipxha", "db", "check", "--config", str(path))
        self.assertEqual((status, out, err.count("\n")), (1, "", 1), err)


def _with_dsn(text: str, dsn: str) -> str:
    text = text.replace('embedded="true"', f'dsn="{dsn}"')
    return text.replace("<call-resolver ", f'<call-resolver dsn="{dsn}" ')
