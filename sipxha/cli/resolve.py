"""
C{sipxha resolve}: one pass of the call resolver.

What the pass would log, were it a node's, is printed on standard error.
The node need not run, unless its embedded server holds the databases.  Exit
status 0: all hosts were read; 3: some could not be, and their events are added
by a later pass; 1: nothing was done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from sipxha.cli.output import config_option, fail, json_option, print_json, read_config, table

if TYPE_CHECKING:
    from sipxha.cdr.window import Window
    from sipxha.config.model import Config
    from sipxha.services.call_resolver import PassReport
    from sipxha.services.cse_hosts import HostReport, Places

PARTIAL = 3

BUSY_LIMIT = 60
"""How often, once a second, it is tried again while a pass of the node is at work."""

HOST_COLUMNS = ("host", "events", "read_to", "missing")
CODE_COLUMNS = ("termination", "meaning", "calls")


@click.command()
@config_option
@click.option("--start", metavar="T", help="Resolve only calls with an event at or after this time.")
@click.option("--end", metavar="T", help="... and before this time.")
@click.option("--redo", is_flag=True, help="Resolve again what has a record already.")
@json_option
def resolve(config: Path, start: str | None, end: str | None, redo: bool, as_json: bool) -> None:
    """
    Make call detail records of the call events of all nodes.

    Reads on from where the last pass ended.  Times are ISO 8601 or RFC 2822, local unless
    they name a zone.
    """
    from sipxha.cdr.window import EmptyWindow, NotAMoment, Window, window

    try:
        told = window(start, end)
    except (NotAMoment, EmptyWindow) as error:
        raise click.UsageError(str(error)) from None
    settings = read_config(config)
    if settings.call_resolver is None:
        fail(
            f"{settings.path} has no <call-resolver>",
            "run this on the node that has it: the first, as 'sipxha init' makes them",
        )
    report = _run(settings, None if told == Window() else told, redo)
    _tell(report, as_json)
    if not any(host.fault is None for host in report.hosts):
        fail("no host could be read")
    if not report.is_complete:
        raise SystemExit(PARTIAL)


def own_databases(reactor: Any, config: Config) -> tuple[str, str]:
    """
    Say where this node's call detail records and call events are.

    @raise DatabaseUnavailable: They are in the embedded server, which is not running.
    """
    from sipxha.store.pool import DatabaseUnavailable, with_user_of
    from sipxha.store.postgres import EmbeddedPostgres

    assert config.call_resolver is not None
    embedded = EmbeddedPostgres(reactor, config.node.data / "pg")
    if config.call_resolver.dsn is None and not embedded.is_in_use():
        raise DatabaseUnavailable("the embedded database is not running: start the node first")
    dsn = config.call_resolver.dsn or embedded.dsn()
    if config.call_events is None:
        return dsn, dsn
    return dsn, with_user_of(config.call_events.dsn or embedded.dsn(), dsn)


def _places(reactor: Any, config: Config) -> Places:
    import random

    from sipxha.net.dns import Locator, resolver_for
    from sipxha.services.cse_hosts import Places
    from sipxha.services.gateway_hosts import find_gateways

    assert config.call_resolver is not None
    dsn, own_dsn = own_databases(reactor, config)
    locator = Locator(reactor, resolver_for(reactor, config.dns), random.random)
    return Places(
        config.call_resolver,
        dsn,
        own_dsn,
        config.tls,
        locator.addresses,
        lambda: find_gateways(config.domain.gateways, locator),
    )


async def alone(reactor: Any, run: Callable[[], Awaitable[PassReport]]) -> PassReport:
    """
    Run a pass when the node's own, which are short, leave room for it.

    @raise ResolverBusy: They did not for a minute.
    """
    from twisted.internet.task import deferLater

    from sipxha.services.call_resolver import ResolverBusy

    for _ in range(BUSY_LIMIT):
        try:
            return await run()
        except ResolverBusy:
            await deferLater(reactor, 1.0)
    return await run()


def _run(config: Config, window: Window | None, redo: bool) -> PassReport:
    """
    Run the pass in a reactor of its own, with a progress bar for people.
    """
    import gc

    from rich.console import Console
    from rich.progress import Progress
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react
    from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogBeginner

    from sipxha.errors import LocalError
    from sipxha.services.call_resolver import run_pass
    from sipxha.services.log_line import log_line
    from sipxha.services.skew import SkewLog

    def logged(event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.warn:
            _warn(log_line(event))

    globalLogBeginner.beginLoggingTo([cast(ILogObserver, logged)], redirectStandardIO=False)
    # As in a node: events in their hundred thousands are no garbage, and make no circles.
    gc.set_threshold(100_000, 20, 20)
    reports: list[PassReport] = []
    errors: list[LocalError] = []

    async def main(reactor: Any, progress: Callable[[HostReport], None]) -> None:
        try:
            places = _places(reactor, config)
            report = await alone(reactor, lambda: run_pass(reactor, places, window, redo, progress))
            SkewLog().tell(report, reactor.seconds())
            reports.append(report)
        except LocalError as error:
            errors.append(error)

    with Progress(console=Console(stderr=True), transient=True) as bar:
        bar.disable = not bar.console.is_terminal
        bars = {}

        def show(host: HostReport) -> None:
            if host.name not in bars:
                bars[host.name] = bar.add_task(host.name)
            # Whoever looks through a window does not know how much is in it.
            bar.update(bars[host.name], completed=host.events, total=host.expected or None)

        try:
            react(lambda reactor: Deferred.fromCoroutine(main(reactor, show)))
        except SystemExit as end:
            # react always exits; an error that is nobody's finding stays one.
            if end.code:
                raise
    if errors:
        fail(str(errors[0]))
    return reports[0]


def _tell(report: PassReport, as_json: bool) -> None:
    hosts = [
        {
            "host": host.name,
            "events": host.events,
            "read_to": None if host.read_to is None else datetime.fromtimestamp(host.read_to, UTC),
            "missing": host.fault,
        }
        for host in report.hosts
    ]
    codes = [
        {"termination": code.value, "meaning": code.name.lower().replace("_", " "), "calls": count}
        for code, count in sorted(report.terminations.items())
    ]
    if as_json:
        outcome = {
            "complete": report.is_complete,
            "written": report.written,
            "open_calls": report.open_calls,
            "dead_letters": report.dead_letters,
            "unresolved": report.unresolved,
        }
        print_json([*hosts, *codes, outcome])
    else:
        table(hosts, HOST_COLUMNS, title="Hosts of call events")
        title = f"Calls: {report.written} records written, {report.open_calls} may change"
        table(codes, CODE_COLUMNS, title=title)
    for name, reason in report.lost_gateways.items():
        _warn(f"gateway {name} is not found: {reason}")
    if report.dead_letters:
        _warn(f"{report.dead_letters} events cannot be used; they are in resolver_dead_letters")
    if report.unresolved:
        _warn(f"{report.unresolved} calls could not be resolved; their events are kept")


def _warn(message: str) -> None:
    click.echo(f"sipxha: {message}", err=True)
