"""
C{sipxha user}: the people of the domain.

Works on the files, whether the node runs or not; with a running one a verb
ends when the node goes by what was changed.  Passwords are asked for rather than taken from the command
line, where everybody on the machine could read them, unless told otherwise.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from sipxha.auth.users import Version
from sipxha.cli.completion import complete_user
from sipxha.cli.output import config_option, fail, json_option, read_config, table
from sipxha.cli.status import ask_node
from sipxha.config import users
from sipxha.config.model import Config
from sipxha.errors import LocalError

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE = 30.0
"""Seconds that a running node has to read what was changed."""

PAUSE = 0.05
"""Seconds between two questions whether it has."""


@click.group()
def user() -> None:
    """
    Users: credentials and permissions.

    USER without @ means USER@domain.
    """


def _password_options(command: F) -> F:
    command = click.option(
        "--password-stdin", "from_stdin", is_flag=True, help="Read the password from standard input."
    )(command)
    return click.option("--password", metavar="P", help="The password; seen by all users of this machine.")(
        command
    )


@user.command()
@click.argument("name", metavar="USER")
@_password_options
@config_option
def add(name: str, password: str | None, from_stdin: bool, config: Path) -> None:
    """
    Let USER register and call.

    A new user has no permissions: calls within the domain need none by the
    rules that 'sipxha init' writes, others are given by 'sipxha user permit'.
    """
    settings = read_config(config)
    with _failing():
        identity = users.identity_of(name, settings.domain.name)
        known = users.load_users(settings.users, settings.domain.name, settings.domain.realm)
        if known.knows(identity):
            raise users.UserExists(identity)
        password = _password(password, from_stdin)
        changed = users.add_user(
            settings.users, identity, settings.domain.realm, password, settings.node.name
        )
        _confirm(settings, changed)
    short = identity.partition("@")[0]
    click.echo(
        f"Added {identity}.  It may register with user name {short} in the realm {settings.domain.realm}."
    )
    click.echo(f"It has no permissions yet: sipxha user permit {short} PERMISSION...")


@user.command()
@click.argument("name", metavar="USER", shell_complete=complete_user)
@_password_options
@config_option
def passwd(name: str, password: str | None, from_stdin: bool, config: Path) -> None:
    """
    Give USER a new password.
    """
    settings = read_config(config)
    with _failing():
        identity = _known(settings, name)
        password = _password(password, from_stdin)
        changed = users.set_password(
            settings.users, identity, settings.domain.realm, password, settings.node.name
        )
        _confirm(settings, changed)


@user.command()
@click.argument("name", metavar="USER", shell_complete=complete_user)
@click.argument("permissions", metavar="PERMISSION...", nargs=-1, required=True)
@config_option
def permit(name: str, permissions: tuple[str, ...], config: Path) -> None:
    """
    Give USER permissions, by the names that authrules.xml asks for.
    """
    settings = read_config(config)
    with _failing():
        identity = _known(settings, name)
        _warn_of_unasked(settings, permissions)
        _confirm(settings, users.permit(settings.users, identity, permissions, settings.node.name))


@user.command()
@click.argument("name", metavar="USER", shell_complete=complete_user)
@click.argument("permissions", metavar="PERMISSION...", nargs=-1, required=True)
@config_option
def forbid(name: str, permissions: tuple[str, ...], config: Path) -> None:
    """
    Take permissions from USER.
    """
    settings = read_config(config)
    with _failing():
        identity = _known(settings, name)
        _confirm(settings, users.forbid(settings.users, identity, permissions, settings.node.name))


@user.command()
@click.argument("name", metavar="USER", shell_complete=complete_user)
@config_option
def remove(name: str, config: Path) -> None:
    """
    Forget USER, with permissions and aliases.

    Bindings that are there end with their time.
    """
    settings = read_config(config)
    with _failing():
        identity = users.identity_of(name, settings.domain.name)
        _confirm(settings, users.remove_user(settings.users, identity, settings.node.name))


@user.command("list", short_help="All users with what they may do.")
@json_option
@config_option
def list_(as_json: bool, config: Path) -> None:
    """
    All users with what they may do and how they can prove who they are.
    """
    settings = read_config(config)
    with _failing():
        known = users.load_users(settings.users, settings.domain.name, settings.domain.realm)
    lacking = known.lacking(users.PASSTOKENS)
    rows = []
    for identity in known.identities():
        digest = [name for name in users.PASSTOKENS if identity not in lacking[name]]
        row: dict[str, object] = {"identity": identity}
        for column, names in (
            ("permissions", sorted(known.permissions(identity))),
            ("aliases", list(known.aliases(identity))),
            ("digest", digest),
        ):
            row[column] = names if as_json else ", ".join(names)
        rows.append(row)
    table(rows, ("identity", "permissions", "aliases", "digest"), as_json)


def _warn_of_unasked(settings: Config, permissions: tuple[str, ...]) -> None:
    """
    Tell of names that open nothing, where others do: mostly they are misspelt.
    """
    from sipxha.config.rules import RulesRefused, permissions_in

    registrar, authproxy = settings.registrar, settings.authproxy
    files: list[Path | None] = [] if authproxy is None else [authproxy.auth_rules]
    files += [] if registrar is None else [registrar.mapping_rules, registrar.fallback_rules]
    try:
        asked = frozenset().union(*(permissions_in(file) for file in files if file is not None))
    except RulesRefused:
        # Which 'sipxha check' tells.
        return
    for name in permissions:
        if asked and name not in asked:
            click.echo(f"warning: no rule asks for {name}, but for {', '.join(sorted(asked))}", err=True)


def _known(settings: Config, name: str) -> str:
    """
    The identity of a user who exists.
    """
    identity = users.identity_of(name, settings.domain.name)
    known = users.load_users(settings.users, settings.domain.name, settings.domain.realm)
    if not known.knows(identity):
        raise users.UserUnknown(identity)
    return identity


def _confirm(settings: Config, changed: Version) -> None:
    """
    Wait until the node, if it runs, goes by what was changed.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        state = ask_node(settings.node, "/users")
        if state is None or (state["version"] and Version.parse(state["version"]) >= changed):
            return
        if state["trouble"]:
            fail(f"written, but the node {settings.node.name} goes on with the old users: {state['trouble']}")
        if time.monotonic() > deadline:
            fail(f"written, but the node {settings.node.name} has not read it within {PATIENCE:.0f} s")
        time.sleep(PAUSE)


def _password(password: str | None, from_stdin: bool) -> str:
    if password is not None and from_stdin:
        raise click.UsageError("--password and --password-stdin exclude each other")
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif password is None:
        try:
            password = str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise click.UsageError(
                "nobody is there to be asked for the password: use --password-stdin"
            ) from None
    if not password:
        fail("a password cannot be empty")
    return password


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except users.UserExists as error:
        fail(str(error), "'sipxha user passwd' gives another password")
    except users.UserUnknown as error:
        fail(str(error), "'sipxha user list' shows who is")
    except LocalError as error:
        fail(str(error))
