"""
C{sipxha cert}: the certificates by which the nodes of a cluster know each other.

The folders are those of C{sipxha init}, where these verbs are best used.  A
running node reads its certificate when it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from cryptography.hazmat.primitives.serialization import Encoding

from sipxha.cli.output import config_option, fail, json_option, read_config, table
from sipxha.config.certificates import (
    CertificateUnusable,
    describe,
    ends_soon,
    make_authority,
    make_node,
    read_authority,
    sign,
    write_authority,
    write_node,
)
from sipxha.config.zone import NotAHostName, host_name
from sipxha.errors import LocalError

COLUMNS = ("file", "subject", "names", "issuer", "not_before", "not_after")

F = TypeVar("F", bound=Callable[..., Any])


def _name(ctx: click.Context, option: click.Parameter, value: str) -> str:
    try:
        return host_name(value)
    except NotAHostName as problem:
        raise click.BadParameter(str(problem)) from None


_domain_option: Callable[[F], F] = click.option(
    "--domain", required=True, callback=_name, help="The SIP domain that the node serves."
)
_authority_option: Callable[[F], F] = click.option(
    "--ca",
    "authority",
    type=click.Path(path_type=Path),
    default=Path("ca"),
    show_default=True,
    metavar="DIR",
    help="The folder with ca.crt and ca.key.",
)


def _look_for(authority: Path) -> None:
    if not (authority / "ca.crt").exists():
        fail(
            f"{authority / 'ca.crt'} cannot be read: No such file or directory",
            "--ca DIR names the folder of the authority, 'sipxha cert ca' makes one",
        )


@click.group()
def cert() -> None:
    """
    Make, sign and show the certificates of a cluster.
    """


@cert.command(short_help="Make an authority.")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=Path("ca"))
@click.option("--domain", required=True, callback=_name, help="The SIP domain of the cluster.")
def ca(folder: Path, domain: str) -> None:
    """
    Make an authority in DIR ("ca"): ca.crt, which every node needs, and
    ca.key, which no node needs and nobody else may have.
    """
    try:
        write_authority(folder, make_authority(f"{domain} sipxha authority"))
    except LocalError as problem:
        fail(str(problem))
    except OSError as problem:
        fail(f"{problem.filename}: {problem.strerror}")
    click.echo(f"{folder}/ca.crt and {folder}/ca.key are made; keep ca.key to yourself")


@cert.command(short_help="Make the key and the certificate of a node.")
@click.argument("name", metavar="NODE", callback=_name)
@_domain_option
@_authority_option
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where node.crt, node.key and ca.crt go; NODE/ssl unless given.",
)
def node(name: str, domain: str, authority: Path, into: Path | None) -> None:
    """
    Make the key and the certificate of NODE, or make them anew before the old
    ones expire.
    """
    folder = into or Path(name, "ssl")
    _look_for(authority)
    try:
        signer = read_authority(authority)
        made = make_node(signer, name, domain)
        write_node(folder, made, signer)
    except LocalError as problem:
        fail(str(problem))
    except OSError as problem:
        fail(f"{problem.filename}: {problem.strerror}")
    click.echo(f"{folder}/node.crt is valid until {made.certificate.not_valid_after_utc:%Y-%m-%d}")


@cert.command("sign", short_help="Sign the key of a node that keeps it to itself.")
@click.argument("request", metavar="REQUEST", type=click.Path(path_type=Path))
@click.argument("name", metavar="NODE", callback=_name)
@_domain_option
@_authority_option
def sign_request(request: Path, name: str, domain: str, authority: Path) -> None:
    """
    Sign the key of a node that keeps it to itself: print the certificate for
    NODE and the key in REQUEST, a signing request in PEM.  The names that the
    request itself asks for do not count.
    """
    _look_for(authority)
    try:
        made = sign(read_authority(authority), request.read_bytes(), name, domain)
    except CertificateUnusable as problem:
        fail(f"{request}: {problem}")
    except OSError as problem:
        fail(f"{request} cannot be read: {problem.strerror}")
    click.echo(made.public_bytes(Encoding.PEM), nl=False)


@cert.command(short_help="Show whose certificates files are, and until when.")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@config_option
@json_option
def show(files: tuple[Path, ...], config: Path, as_json: bool) -> None:
    """
    Show whose certificates the FILEs are, and until when they are valid;
    without a FILE those of the node and of its authority.  Says on standard
    error which of them end within two weeks.
    """
    if not files:
        tls = read_config(config).tls
        if tls is None:
            fail(f"{config} names no certificates")
        files = (tls.certificate, tls.authority)
    try:
        descriptions = [(file, describe(file)) for file in files]
    except LocalError as problem:
        fail(str(problem))
    rows = [
        {
            **description._asdict(),
            "file": str(file),
            "names": description.names if as_json else ", ".join(description.names),
        }
        for file, description in descriptions
    ]
    table(rows, COLUMNS, as_json)
    now = datetime.now(UTC)
    for file, description in descriptions:
        if ends_soon(description.not_after, now):
            verb = "ends" if description.not_after > now else "ended"
            click.echo(f"sipxha: {file} {verb} on {description.not_after:%Y-%m-%d}: renew it", err=True)
