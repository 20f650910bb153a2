"""
C{sipxha db}: the databases of call events and of call detail records.

Works on what the configuration names, whether the node runs or not; a node's
own embedded server is started for the command when it does not run.  Nothing
is ever deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from sipxha.cli.output import config_option, fail, json_option, read_config, table
from sipxha.errors import LocalError

if TYPE_CHECKING:
    from sipxha.config.model import Config
    from sipxha.store.pool import Pool
    from sipxha.store.postgres import EmbeddedPostgres

COLUMNS = ("purpose", "database", "schema", "version", "newest", "state", "missing_roles")


class DatabaseUnfit(LocalError):
    """
    A database cannot be reached, or does not let itself be brought into order.
    """


class Target(NamedTuple):
    """
    A database that the configuration names, for one purpose.
    """

    purpose: str
    """The element that names it."""

    dsn: str
    part: str
    """Of the schema."""


Act = Callable[[Any, Target, "Pool"], Coroutine[Any, Any, None]]


def targets(config: Config, embedded: EmbeddedPostgres) -> list[Target]:
    """
    List the databases of a node.
    """
    from sipxha.store.schema import CDR, CSE

    found = []
    if config.call_events is not None:
        found.append(Target("call-events", config.call_events.dsn or embedded.dsn(), CSE))
    if config.call_resolver is not None:
        found.append(Target("call-resolver", config.call_resolver.dsn or embedded.dsn(), CDR))
    return found


async def work_on(reactor: Any, config: Config, act: Act, user: str | None = None) -> list[dict[str, object]]:
    """
    Do something to each database of a node, and describe what is there then.

    @param user: Of the databases, instead of those of the configuration; the embedded one has its own.

    @raise DatabaseUnfit: One of them cannot be reached or does not obey.
    @raise PostgresUnusable: The embedded server cannot be started.
    """
    from psycopg2.extensions import make_dsn

    from sipxha.store.pool import Pool, with_user_of
    from sipxha.store.postgres import EmbeddedPostgres
    from sipxha.store.roles import missing_roles
    from sipxha.store.schema import steps, versions

    embedded = EmbeddedPostgres(reactor, config.node.data / "pg")
    chosen = targets(config, embedded)
    if user is not None:
        own = embedded.dsn()
        chosen = [
            target
            if target.dsn == own
            else target._replace(dsn=with_user_of(target.dsn, make_dsn(user=user)))
            for target in chosen
        ]
    needs_start = any(target.dsn == embedded.dsn() for target in chosen) and not embedded.is_in_use()
    rows: list[dict[str, object]] = []
    try:
        if needs_start:
            await embedded.start()
        for target in chosen:
            pool = Pool(reactor, target.dsn)
            try:
                await act(reactor, target, pool)
                version, newest = (await versions(pool)).get(target.part, 0), len(steps()[target.part])
                missing = await missing_roles(pool, (target.part,))
            except LocalError as error:
                raise DatabaseUnfit(f"{target.purpose}: {pool}: {error}") from error
            finally:
                pool.close()
            state = (
                "ok" if version == newest else "upgrade" if version < newest else "newer than this program"
            )
            rows.append(
                dict(
                    zip(
                        COLUMNS,
                        (target.purpose, str(pool), target.part, version, newest, state, missing),
                        strict=True,
                    )
                )
            )
    finally:
        if needs_start:
            await embedded.stop()
    return rows


async def _create(reactor: Any, target: Target, pool: Pool) -> None:
    from sipxha.store.roles import provide_roles
    from sipxha.store.schema import prepare

    await prepare(reactor, target.dsn, pool, (target.part,))
    await provide_roles(pool, (target.part,))


async def _upgrade(reactor: Any, target: Target, pool: Pool) -> None:
    from sipxha.store.schema import upgrade

    await upgrade(pool, (target.part,))


async def _look(reactor: Any, target: Target, pool: Pool) -> None:
    """
    Change nothing.
    """


def _run(path: Path, as_json: bool, act: Act, user: str | None = None) -> list[dict[str, object]]:
    from twisted.internet.task import react

    config = read_config(path)
    if config.call_events is None and config.call_resolver is None:
        fail(f"{config.path} has neither <call-events> nor <call-resolver>")
    rows: list[dict[str, object]] = []
    errors: list[LocalError] = []

    async def main(reactor: Any) -> None:
        try:
            rows.extend(await work_on(reactor, config, act, user))
        except LocalError as error:
            errors.append(error)

    try:
        react(lambda reactor: _deferred(main(reactor)))
    except SystemExit as end:
        # react always exits; an error that is nobody's finding stays one.
        if end.code:
            raise
    if errors:
        is_missing = "does not exist" in str(errors[0])
        fail(str(errors[0]), "'sipxha db init' makes what is missing" if is_missing else "")
    table(rows, COLUMNS, as_json, "Databases")
    return rows


def _deferred(work: Coroutine[Any, Any, None]) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(work)


_as_option = click.option(
    "--as",
    "user",
    metavar="USER",
    help="Connect as this user of the database, who owns it, instead of that of the configuration.",
)


@click.group()
def db() -> None:
    """Databases of call events and call detail records."""


@db.command(short_help="Create what is missing.")
@_as_option
@config_option
@json_option
def init(user: str | None, config: Path, as_json: bool) -> None:
    """Create what is missing: databases, tables, indexes, and roles where that is allowed."""
    _run(config, as_json, _create, user)


@db.command()
@_as_option
@config_option
@json_option
def upgrade(user: str | None, config: Path, as_json: bool) -> None:
    """Bring the schema of existing databases up to date."""
    _run(config, as_json, _upgrade, user)


@db.command(short_help="Compare the databases with what this program needs.")
@config_option
@json_option
def check(config: Path, as_json: bool) -> None:
    """Compare the databases with what this program needs; exit 1 if they lack something."""
    if any(row["state"] == "upgrade" for row in _run(config, as_json, _look)):
        raise SystemExit(1)
