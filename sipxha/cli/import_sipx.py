"""
C{sipxha import-sipx}: take over what a sipXpbx server knew.

Reads copies of its tables and settings, and says of each item what became of
it.  Nothing that is here already is changed, so it can be done again.
Registrations go to the running node, or into the file of one that does not
run; all else goes into the files of the node.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sipxha.cli.output import config_option, fail, json_option, read_config, table
from sipxha.cli.status import tell

if TYPE_CHECKING:
    from sipxha.config.model import Config
    from sipxha.config.takeover import Outcome
    from sipxha.registry.binding import Binding

COLUMNS = ("file", "line", "item", "outcome", "reason")

AT_ONCE = 500
"""Rows in one request to a running node."""


@click.command("import-sipx")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
@config_option
def import_sipx(folder: Path, as_json: bool, config: Path) -> None:
    """
    Take over what a sipXpbx server knew: registration.xml, credential.xml,
    permission.xml, alias.xml and its settings, from DIR or from the places
    below it that they had on the server.

    Nothing that is here already is changed, so it can be done again. Settings
    count from the node's next start on.
    """
    from sipxha.config.sipx import setting_files, table_file
    from sipxha.config.takeover import take_aliases, take_credentials, take_permissions, take_settings
    from sipxha.errors import LocalError

    settings = read_config(config)
    takers = {
        "credential": take_credentials,
        "permission": take_permissions,
        "alias": take_aliases,
        "registration": take_registrations,
    }
    outcomes: list[Outcome] = []
    absent = []
    try:
        for kind, take in takers.items():
            path = table_file(folder, kind)
            if path is None:
                absent.append(f"{kind}.xml")
            else:
                outcomes += take(path, settings)
        for path in setting_files(folder):
            outcomes += take_settings(path, config, settings)
    except LocalError as error:
        # What was taken stays, and is known the next time.
        _report(outcomes, as_json)
        fail(str(error))
    if not outcomes and len(absent) == len(takers):
        fail(f"{folder} holds none of {', '.join(absent)}")
    _report(outcomes, as_json)
    if absent and not as_json:
        click.echo(f"Not there: {', '.join(absent)}.", err=True)


def _report(outcomes: list[Outcome], as_json: bool) -> None:
    """
    Print what became of each item; for people, only the sums and what was
    left.
    """
    from sipxha.config.takeover import KNOWN, LEFT, TAKEN

    if as_json:
        table((outcome._asdict() for outcome in outcomes), COLUMNS, as_json=True)
        return
    sums = Counter((outcome.file, outcome.outcome) for outcome in outcomes)
    files = dict.fromkeys(outcome.file for outcome in outcomes)
    kinds = (TAKEN, KNOWN, LEFT)
    table(({"file": file, **{kind: sums[file, kind] for kind in kinds}} for file in files), ("file", *kinds))
    left = [outcome._asdict() for outcome in outcomes if outcome.outcome == LEFT]
    if left:
        click.echo()
        table(left, ("file", "line", "item", "reason"), title="Left:")


def take_registrations(path: Path, config: Config) -> list[Outcome]:
    """
    Take who is registered, and where.

    @raise LocalError: The file is no such table, or the node's own cannot be
        used; then nothing of it is taken.
    """
    from sipxha.config.takeover import KNOWN, LEFT, TAKEN, Outcome
    from sipxha.registry.domain import ServedDomain
    from sipxha.store.registration_xml import read_registrations

    if config.registrar is None:
        return [Outcome(path, 1, "all", LEFT, "this node has no registrar")]
    now = time.time()
    domain = ServedDomain(config.domain.name, config.domain.aliases)
    outcomes: list[Outcome] = []
    rows: dict[int, Binding] = {}
    places: dict[object, int] = {}
    for found in read_registrations(path, domain):
        if found.row is None:
            outcomes.append(Outcome(path, found.line, found.name, LEFT, found.problem))
        elif found.row.expires <= now:
            outcomes.append(Outcome(path, found.line, found.name, LEFT, "it has ended"))
        else:
            # The last one counts, as it did there.
            before = places.get(found.row.slot)
            if before is not None:
                del rows[before]
                reason = f"line {found.line} has it again"
                outcomes[before] = outcomes[before]._replace(outcome=LEFT, reason=reason)
            places[found.row.slot] = len(outcomes)
            rows[len(outcomes)] = found.row
            outcomes.append(Outcome(path, found.line, found.name, TAKEN))
    for place, is_news in zip(rows, _adopt(list(rows.values()), config, now), strict=True):
        if not is_news:
            outcomes[place] = outcomes[place]._replace(outcome=KNOWN)
    return outcomes


def _adopt(rows: list[Binding], config: Config, now: float) -> list[bool]:
    """
    Give rows to the node, whether it runs or not.

    @return: Of each, whether it was news.
    """
    from sipxha.services.start_check import is_running

    if not is_running(config.node):
        return _write(rows, config, now)
    news: list[bool] = []
    for start in range(0, len(rows), AT_ONCE):
        # A node has its own deadlines.
        posted = [row[:-1] for row in rows[start : start + AT_ONCE]]
        news += tell(config.node, "/import", posted)
    return news


def _write(rows: list[Binding], config: Config, now: float) -> list[bool]:
    """
    Put rows into the file of a node that does not run.
    """
    from contextlib import closing

    from sipxha.config.whole_file import owner_to_be
    from sipxha.registry.adopt import adopt
    from sipxha.registry.table import Registry
    from sipxha.store.registry_file import StoreUnusable, open_file, write

    assert config.registrar is not None
    path = config.node.data / "registry.sqlite"
    is_new = not path.exists()
    opened = open_file(path)
    owner = owner_to_be(None, path.parent.stat(), os.geteuid()) if is_new else None
    if owner is not None:
        # Or the node could not open what root made.
        os.chown(path, *owner)
    with closing(opened.database):
        registry = Registry(config.node.name, config.registrar.max_expires)
        registry.load(opened.rows)
        # Above every number that it gave before, also if its file was lost since.
        registry.raise_update_number(int(now) << 32)
        changed = adopt(registry, rows, config.registrar.max_expires, now)
        error = write(opened.database, {row.key: row for row in changed}) if changed else opened.refusal
    if error is not None:
        raise StoreUnusable(path, error)
    keys = {row.key for row in changed}
    return [row.key in keys for row in rows]
