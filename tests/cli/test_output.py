"""
Tests for L{sipxha.cli.output}.
"""

from __future__ import annotations

import getpass
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import click
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.output import as_owner, config_option, fail, json_option, read_config, table


@click.command()
@config_option
@json_option
@click.argument("what")
def verb(config: Path, as_json: bool, what: str) -> None:
    """
    A verb that does one of the things that all verbs do.
    """
    if what == "fail":
        fail("the first thing\nthe second")
    elif what == "read":
        read_config(config)
    elif what == "wide":
        table([{"user": "x" * 300}], ("user",), title="a title " * 30)
    elif what == "narrow":
        contact = "<sip:201@" + "x" * 60 + ">"
        table(
            [{"user": "201", "contact": contact, "live": True}, {"user": "202"}], ("user", "contact", "live")
        )
    elif what == "where":
        click.echo(str(config))
    else:
        rows = [
            {"user": "200", "expires": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "live": True},
            {"user": "\x1b[2Jé", "more": 1},
        ]
        table(rows, ("user", "expires", "live"), as_json, title="people")


def run(*arguments: str, **environment: str) -> Result:
    """
    Run the verb.
    """
    return CliRunner().invoke(verb, arguments, env={"SIPXHA_CONFIG": None, "TZ": None, **environment})


class OutputTests(SynchronousTestCase):
    """
    Tests for what all verbs share.
    """

    def test_who_has_no_configuration_is_told_where_to_get_one(self) -> None:
        """
        Or how to name it.
        """
        result = run("read", "--config", str(Path(self.mktemp())))
        self.assertEqual(result.exit_code, 1)
        self.assertIn("name it with --config F or in SIPXHA_CONFIG; 'sipxha init' makes one", result.stderr)

    def test_who_operates_a_node_is_its_owner(self) -> None:
        """
        By name, as far as it can be told.
        """
        owned = Path(self.mktemp())
        owned.touch()
        name = getpass.getuser()
        self.assertEqual(as_owner(owned), f"as the node's own user ({name}), or as root")
        self.assertEqual(as_owner(owned / "x"), "as the node's own user, or as root")

    def test_failure_is_one_line_and_status_1(self) -> None:
        """
        Scripts look at the status, people at the line.
        """
        result = run("fail")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(result.stderr, "sipxha: the first thing; the second\n")

    def test_wrong_usage_is_status_2(self) -> None:
        """
        As with every command made with click.
        """
        self.assertEqual(run("table", "--jason").exit_code, 2)

    def test_a_table_has_the_named_columns_in_local_time(self) -> None:
        """
        What a row lacks is empty, and a terminal is told nothing by a name.
        """
        lines = run("table").stdout.splitlines()
        local = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).astimezone()
        self.assertEqual(lines[0].strip(), "people")
        self.assertEqual(lines[1].split(), ["user", "expires", "live"])
        self.assertEqual(lines[3].split(), ["200", *f"{local:%Y-%m-%d %H:%M:%S %Z}".split(), "yes"])
        self.assertEqual(lines[4].split(), ["\\x1b[2Jé"])

    def test_nothing_is_folded_for_a_pipe(self) -> None:
        """
        Neither a title that is wider than its table, nor a cell that is wider than a terminal.
        """
        lines = run("wide").stdout.splitlines()
        self.assertEqual(lines[0], "a title " * 30)
        self.assertEqual(lines[3].split(), ["x" * 300])

    def test_a_pipe_is_not_filled_up(self) -> None:
        """
        With blanks that nobody sees, but diff does.
        """
        self.assertEqual([line for line in run("table").stdout.splitlines() if line != line.rstrip()], [])

    def test_a_row_that_does_not_fit_the_terminal_is_written_downwards(self) -> None:
        """
        A cell in one piece can be read and copied; empty ones are left out.
        """
        terminal = {"TTY_COMPATIBLE": "1", "TERM": "dumb"}
        lines = [line.rstrip() for line in run("narrow", COLUMNS="80", **terminal).stdout.splitlines()]
        contact = "<sip:201@" + "x" * 60 + ">"
        self.assertEqual(lines, ["user     201", f"contact  {contact}", "live     yes", "", "user     202"])
        wide = run("narrow", COLUMNS="120", TTY_COMPATIBLE="1", TERM="xterm").stdout
        self.assertIn("───", wide)

    def test_json_is_an_array_of_objects_in_utc(self) -> None:
        """
        Every object has every column.
        """
        self.assertEqual(
            json.loads(run("table", "--json").stdout),
            [
                {"user": "200", "expires": "2026-01-02T03:04:05Z", "live": True},
                {"user": "\x1b[2Jé", "expires": None, "live": None},
            ],
        )

    def test_every_problem_of_the_configuration_is_a_line(self) -> None:
        """
        And the status is 1.
        """
        path = Path(self.mktemp())
        path.write_text('<sipxha xmlns="urn:sipxha:config:1"/>\n')
        result = run("read", "--config", str(path))
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.stderr.splitlines(),
            [
                f"{path}:1: <sipxha> lacks the element <{name}>"
                for name in ("domain", "node", "secret", "users")
            ],
        )

    def test_the_configuration_is_named_by_option_environment_or_place(self) -> None:
        """
        In this order.
        """
        self.assertEqual(run("where", "--config", "a", SIPXHA_CONFIG="b").stdout, "a\n")
        self.assertEqual(run("where", SIPXHA_CONFIG="b").stdout, "b\n")
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        folder = Path(self.mktemp())
        (folder / "etc").mkdir(parents=True)
        os.chdir(folder)
        self.assertEqual(run("where").stdout, "/etc/sipxha/sipxha.xml\n")
        Path("etc/sipxha.xml").touch()
        self.assertEqual(run("where").stdout, "etc/sipxha.xml\n")
