"""
C{sipxha status}, C{peers} and C{registrations}: what a running node says.

They ask the node over C{data/control.sock}; nothing is read from its files,
which belong to the node while it runs.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

import click

from sipxha.cli.completion import complete_user
from sipxha.cli.output import as_owner, as_text, config_option, fail, json_option, read_config, table

if TYPE_CHECKING:
    from sipxha.config.model import NodeName

PATIENCE = 10.0
"""Seconds for an answer."""

STATUS_COLUMNS = (
    "node",
    "ready",
    "degraded",
    "trouble",
    "started",
    "users",
    "registrations",
    "changes",
    "refusals",
    "shed",
    "emergency_calls",
    "update_number",
    "peers",
    "peers_reachable",
    "unacknowledged",
    "call_resolver",
    "transactions",
)

PEER_COLUMNS = (
    "name",
    "state",
    "since",
    "sent",
    "received",
    "behind",
    "lag",
    "round_trip",
    "dialect",
    "users",
    "differs",
    "last_error",
    "next_try",
    "certificate_end",
)

REGISTRATION_COLUMNS = (
    "uri",
    "identity",
    "contact",
    "qvalue",
    "callid",
    "cseq",
    "expires",
    "instance_id",
    "reg_id",
    "gruu",
    "path",
    "received",
    "primary",
    "update_number",
)
"""The columns of the registry."""

SHORT_REGISTRATION_COLUMNS = (
    "identity",
    "contact",
    "qvalue",
    "expires",
    "received",
    "primary",
    "update_number",
)
"""Those that fit a terminal."""

TIMES = frozenset({"started", "expires", "next_try", "since", "certificate_end"})


class _ControlConnection(http.client.HTTPConnection):
    """
    HTTP over a Unix socket.
    """

    def __init__(self, path: Path, patience: float) -> None:
        super().__init__("localhost", timeout=patience)
        self._path = path

    def connect(self) -> None:
        """
        Connect to the socket instead of to a host.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(config: Path, page: str, **query: str) -> Any:
    """
    Ask the running node, or end the command.

    @param page: The path, as L{sipxha.services.console} lists them.
    """
    node = read_config(config).node
    answer = ask_node(node, page, **query)
    return _not_running(node) if answer is None else answer


def ask_node(node: NodeName, page: str, **query: str) -> Any | None:
    """
    Ask the running node, or end the command.

    @return: L{None} when it is not running.
    """
    return _request(node, "GET", f"{page}?{urlencode(query)}" if query else page)


def tell(node: NodeName, page: str, value: object, patience: float = PATIENCE) -> Any:
    """
    Have the running node change something, or end the command.

    @param patience: Seconds for the answer.
    """
    answer = _request(node, "POST", page, json.dumps(value).encode(), patience)
    return _not_running(node) if answer is None else answer


def _not_running(node: NodeName) -> NoReturn:
    fail(
        f"the node {node.name} is not running",
        "start it: systemctl start sipxha, or twistd sipxha --config F",
    )


def _request(
    node: NodeName, method: str, page: str, body: bytes | None = None, patience: float = PATIENCE
) -> Any | None:
    connection = _ControlConnection(node.control_socket, patience)
    try:
        if not node.control_socket.exists():
            # Its path may be longer than a socket's can be.
            return None
        connection.request(method, page, body)
        response = connection.getresponse()
        answer = response.read()
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except PermissionError:
        fail(f"{node.control_socket}: Permission denied", f"run this {as_owner(node.data)}")
    except TimeoutError:
        fail(
            f"the node {node.name} does not answer within {patience:.0f} s",
            "its log, and top, say what it does",
        )
    except (OSError, http.client.HTTPException) as error:
        fail(f"the node {node.name} does not answer: {error or type(error).__name__}")
    finally:
        connection.close()
    if response.status != http.client.OK:
        fail(
            _reason(answer)
            or f"the node {node.name} answered {response.status} {response.reason}: is it of another version?"
        )
    return json.loads(answer)


def _reason(answer: bytes) -> str:
    """
    Why it was refused, as far as the node says.
    """
    try:
        value = json.loads(answer)
    except ValueError:
        return ""
    return str(value["error"]) if isinstance(value, dict) and "error" in value else ""


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    """
    The row with its times as times.
    """
    return {
        name: datetime.fromisoformat(value) if name in TIMES and value else value
        for name, value in row.items()
    }


@click.command()
@config_option
@json_option
def status(config: Path, as_json: bool) -> None:
    """
    Show how the running node is.
    """
    state = _timed(ask(config, "/status"))
    if as_json:
        table([state], STATUS_COLUMNS, as_json=True)
        return
    # One object reads better downwards.
    names = [name for name in STATUS_COLUMNS if name != "call_resolver"]
    table([{"what": name.replace("_", " "), "value": state.get(name)} for name in names], ("what", "value"))
    if state.get("call_resolver"):
        click.echo()
        _show_resolver(state["call_resolver"])


def _show_resolver(resolver: dict[str, Any]) -> None:
    """
    Show how far each host of call events has been read, and whose clock is wrong.
    """
    last, skews = resolver["last_pass"], resolver["skews"]
    hosts = [
        {
            "host": host,
            "read_to": read_to and datetime.fromisoformat(read_to),
            "clock": f"{skews['by_clock'][host]:+.1f} s" if host in skews["by_clock"] else None,
            "missing": resolver["missing"].get(host),
        }
        for host, read_to in resolver["read_to"].items()
    ]
    passed = "no pass yet" if last is None else f"last pass {as_text(datetime.fromisoformat(last))}"
    open_calls = resolver["open_calls"]
    title = f"Call resolver: {passed}" + ("" if open_calls is None else f", {open_calls} calls may change")
    if hosts:
        table(hosts, ("host", "read_to", "clock", "missing"), title=title)
    else:
        click.echo(title)
    for skew in skews["by_events"]:
        click.echo(
            "the clock of {ahead} is at least {seconds:.1f} s ahead of that of {behind}".format(**skew)
        )


@click.command()
@config_option
@json_option
def peers(config: Path, as_json: bool) -> None:
    """
    Show the registrars that the running node replicates with.
    """
    table([_timed(row) for row in ask(config, "/peers")], PEER_COLUMNS, as_json)


@click.command()
@click.argument("user", required=False, shell_complete=complete_user)
@click.option("--xml", "as_xml", is_flag=True, help="Print a registration.xml, as sipX kept it.")
@config_option
@json_option
def registrations(user: str | None, as_xml: bool, config: Path, as_json: bool) -> None:
    """
    Show who is registered, and where; USER without @ is a user of the domain.
    """
    if as_xml:
        if as_json:
            raise click.UsageError("--xml and --json exclude each other")
        query = {} if user is None else {"user": user}
        _print_xml(ask(config, "/registrations", **query))
        return
    show_registrations(user, config, as_json)


def show_registrations(user: str | None, config: Path, as_json: bool) -> None:
    """
    Show what the running node holds, of one user or of all.
    """
    query = {} if user is None else {"user": user}
    rows = [_timed(row) for row in ask(config, "/registrations", **query)]
    table(rows, REGISTRATION_COLUMNS if as_json else SHORT_REGISTRATION_COLUMNS, as_json)


def _print_xml(rows: list[dict[str, Any]]) -> None:
    from sipxha.store.registration_xml import write_registrations

    for row in rows:
        row["expires"] = int(datetime.fromisoformat(row["expires"]).timestamp())
    for piece in write_registrations(rows, time.time()):
        click.echo(piece, nl=False)
