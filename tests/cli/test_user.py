"""
Tests for L{sipxha.cli.user}.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipxha.auth.digest import ha1
from sipxha.auth.users import Users, Version
from sipxha.cli.user import user
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.rules import AUTH_NAMESPACE
from sipxha.config.users import load_users
from sipxha.services.console import Console

NODE = "sipx1.example.com"


RULES = f"""\
<mappings xmlns="{AUTH_NAMESPACE}"><hostMatch><hostPattern>gw1.example.com</hostPattern>
<userMatch><userPattern>.</userPattern><permissionMatch>
<permission>LocalDialing</permission><permission>Overseas</permission>
</permissionMatch></userMatch></hostMatch></mappings>
"""


class UserTests(SynchronousTestCase):
    """
    Tests for C{sipxha user}, on a node that C{sipxha init} made.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        make_cluster(folder, Cluster("example.com", (Server(NODE, "127.0.0.1"),), embedded=True))
        self.config = folder / NODE / "sipxha.xml"

    def run_(self, *arguments: str, text: str | None = None, status: int = 0) -> Result:
        """
        Run a verb and check its exit status.
        """
        result = CliRunner().invoke(user, [*arguments, "--config", str(self.config)], input=text)
        self.assertEqual(result.exit_code, status, result.output)
        return result

    def known(self) -> Users:
        """
        What the node will read.
        """
        return load_users(load(self.config).users, "example.com", "example.com")

    def assertPassword(self, password: str) -> None:
        """
        Check the password of 201.
        """
        self.assertEqual(
            self.known().ha1("201", "example.com", "MD5"), ha1("201", "example.com", password, "MD5")
        )

    def test_add_says_what_to_do_next(self) -> None:
        """
        A new user has no permissions.
        """
        result = self.run_("add", "201", "--password", "secret")
        self.assertIn("Added 201@example.com", result.output)
        self.assertIn("sipxha user permit 201", result.output)
        self.assertNotIn("secret", result.output)
        self.assertPassword("secret")

    def test_the_password_is_asked_for_twice(self) -> None:
        """
        When no option gives it.
        """
        self.run_("add", "201", text="secret\nsecret\n")
        self.assertPassword("secret")

    def test_the_password_may_come_from_standard_input(self) -> None:
        """
        For scripts; one line of it.
        """
        self.run_("add", "201@example.com", "--password-stdin", text="se cret\nmore\n")
        self.assertPassword("se cret")

    def test_passwd_changes_it(self) -> None:
        """
        Of users who are there.
        """
        self.run_("add", "201", "--password", "secret")
        self.run_("passwd", "201", "--password", "other")
        self.assertPassword("other")
        result = self.run_("passwd", "202", "--password", "other", status=1)
        self.assertIn("202@example.com is not a user; 'sipxha user list' shows who is\n", result.output)

    def test_what_can_be_done_about_it_is_said(self) -> None:
        """
        A user who exists, nobody to ask for a password, a permission that opens nothing.
        """
        self.run_("add", "201", "--password", "secret")
        result = self.run_("add", "201", "--password", "secret", status=1)
        self.assertIn("exists already; 'sipxha user passwd' gives another password", result.output)
        result = self.run_("add", "202", text="", status=2)
        self.assertIn("use --password-stdin", result.output)
        self.assertEqual(self.run_("permit", "201", "LocalDialing", "LongDistanceDialling").output, "")
        self.config.with_name("authrules.xml").write_text(RULES)
        result = self.run_("permit", "201", "LocalDialing", "LongDistanceDialling")
        self.assertEqual(
            result.output, "warning: no rule asks for LongDistanceDialling, but for LocalDialing, Overseas\n"
        )

    def test_permit_and_forbid(self) -> None:
        """
        Several at once.
        """
        self.run_("add", "201", "--password", "secret")
        self.run_("permit", "201", "LocalDialing", "Voicemail")
        self.run_("forbid", "201", "Voicemail")
        self.assertEqual(self.known().permissions("201@example.com"), {"LocalDialing"})
        self.run_("permit", "202", "LocalDialing", status=1)

    def test_remove(self) -> None:
        """
        Once.
        """
        self.run_("add", "201", "--password", "secret")
        self.run_("remove", "201")
        self.assertEqual(len(self.known()), 0)
        self.run_("remove", "201", status=1)

    def test_list_for_people_and_programs(self) -> None:
        """
        The same columns.
        """
        self.run_("add", "201", "--password", "secret")
        self.run_("permit", "201", "LocalDialing")
        self.assertIn("LocalDialing", self.run_("list").output)
        self.assertEqual(
            json.loads(self.run_("list", "--json").output),
            [
                {
                    "identity": "201@example.com",
                    "permissions": ["LocalDialing"],
                    "aliases": [],
                    "digest": ["MD5", "SHA-256"],
                }
            ],
        )

    def test_what_cannot_be_done_is_one_line(self) -> None:
        """
        And exit status 1.
        """
        self.run_("add", "201", "--password", "secret")
        for arguments in (
            ("add", "201", "--password", "x"),
            ("add", "202", "--password", ""),
            ("add", "a b", "--password", "x"),
        ):
            result = self.run_(*arguments, status=1)
            self.assertEqual(len(result.output.splitlines()), 1, result.output)

    def test_two_ways_to_give_a_password_are_a_usage_error(self) -> None:
        """
        Exit status 2.
        """
        self.run_("add", "201", "--password", "x", "--password-stdin", text="y", status=2)


class RunningNode:
    """
    Stands for the node: reads its users when it was asked a few times, or
    cannot.
    """

    is_ready = True
    is_degraded = False

    def __init__(self, config: Path, trouble: str | None = None) -> None:
        self.asked = 0
        self._config = config
        self._trouble = trouble

    def user_set(self) -> dict[str, Any]:
        """
        What it goes by.
        """
        self.asked += 1
        if self.asked < 3 or self._trouble:
            return {"version": "0", "users": 0, "trouble": self._trouble}
        users = load_users(load(self._config).users, "example.com", "example.com")
        return {"version": str(users.version), "users": len(users), "trouble": None}


class RunningNodeTests(TestCase):
    """
    Tests for verbs beside a node that runs.
    """

    def setUp(self) -> None:
        # The name of a socket is short, and trial's folders are deep.
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        make_cluster(folder / "c", Cluster("example.com", (Server(NODE, "127.0.0.1"),), embedded=True))
        self.config = folder / "c" / NODE / "sipxha.xml"

    def add(self, node: RunningNode) -> Deferred[Result]:
        """
        Add a user while the node serves.
        """
        node_name = load(self.config).node
        node_name.data.mkdir(exist_ok=True)
        console = Console(reactor, node, node_name.control_socket, None)  # type: ignore[arg-type]
        console.startService()
        self.addCleanup(console.stopService)
        arguments = ["add", "201", "--password", "secret", "--config", str(self.config)]
        return deferToThread(CliRunner().invoke, user, arguments)

    async def test_a_verb_waits_until_the_node_goes_by_it(self) -> None:
        """
        Then whoever types the next command finds it done.
        """
        node = RunningNode(self.config)
        result = await self.add(node)
        self.assertEqual((result.exit_code, node.asked), (0, 3), result.output)

    async def test_a_node_that_cannot_is_an_error(self) -> None:
        """
        With its reason; what was written stays written.
        """
        result = await self.add(RunningNode(self.config, "alias.xml:1: not well-formed"))
        self.assertEqual(result.exit_code, 1)
        self.assertIn("goes on with the old users: alias.xml:1: not well-formed", result.output)
        known = load_users(load(self.config).users, "example.com", "example.com")
        self.assertTrue(known.knows("201@example.com"))
        self.assertEqual(known.version, Version(1, NODE))
