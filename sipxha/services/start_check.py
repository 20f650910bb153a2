"""
What a start would fail on, found without starting.

L{sipxha.config.load} has read the configuration; this looks at what the
configuration leads to: the contents of the files, the data folder and the
ports.  Databases and peers are not asked for: a node serves without them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from ipaddress import ip_address

from sipxha.config.certificates import ends_soon, read_certificate
from sipxha.config.model import Config, Listener, NodeName
from sipxha.config.rules import (
    load_auth_rules,
    load_caller_aliases,
    load_fallback_rules,
    load_forwarding_rules,
    load_mapping_rules,
)
from sipxha.config.users import load_users
from sipxha.config.zone import read_zone
from sipxha.errors import LocalError
from sipxha.sip.uri import Uri

LONGEST_SOCKET_NAME = 107
"""Bytes, by the kernel."""


def start_problems(config: Config) -> list[str]:
    """
    All that would keep a node from starting now.

    @return: One line for each finding.
    """
    problems = [*file_problems(config), *_data_problems(config.node)]
    if is_running(config.node):
        return [*problems, f"the node {config.node.name} is running already, on {config.node.data}"]
    return [*problems, *port_problems(config.listeners())]


def file_problems(config: Config) -> list[str]:
    """
    What is wrong inside the files that the configuration names.
    """
    problems = []
    try:
        load_users(config.users, config.domain.name, config.domain.realm)
    except LocalError as error:
        problems.append(str(error))
    if config.proxy is not None:
        try:
            load_forwarding_rules(config.proxy.forwarding_rules)
        except LocalError as error:
            problems.append(str(error))
    if config.authproxy is not None:
        try:
            load_auth_rules(config.authproxy.auth_rules)
            if config.authproxy.caller_aliases is not None:
                load_caller_aliases(config.authproxy.caller_aliases)
        except LocalError as error:
            problems.append(str(error))
    if config.registrar is not None:
        for path, load in (
            (config.registrar.mapping_rules, load_mapping_rules),
            (config.registrar.fallback_rules, load_fallback_rules),
        ):
            if path is not None:
                try:
                    load(path, config.rule_symbols())
                except LocalError as error:
                    problems.append(str(error))
    if config.dns.zone is not None:
        try:
            read_zone(config.dns.zone)
        except LocalError as error:
            problems.append(str(error))
    return problems


def warnings(config: Config) -> list[str]:
    """
    What a node starts with all the same, but should not have.
    """
    found = [*_ending(config), *_helpless(config)]
    folder = config.node.data
    mode = folder.stat().st_mode & 0o777 if folder.is_dir() else 0
    if mode & 0o077:
        found.append(
            f"{folder} is open to others (mode {mode:04o}): they learn who calls whom; use chmod 700"
        )
    return found


def _ending(config: Config) -> list[str]:
    """
    Certificates that are good, but not for long.
    """
    public = config.proxy.tls if config.proxy is not None else None
    files = {path: None for tls in (config.tls, public) if tls for path in (tls.certificate, tls.authority)}
    now = datetime.now(UTC)
    ends = [(path, read_certificate(path).not_valid_after_utc) for path in files]
    return [f"{path} ends on {end:%Y-%m-%d}: renew it" for path, end in ends if ends_soon(end, now)]


def _helpless(config: Config) -> list[str]:
    """
    Emergency numbers that lead nowhere, by rules and users that can be read.
    """
    own = config.registrar
    if own is None or not config.emergency or config.domain.gateways:
        return []
    symbols, domain = config.rule_symbols(), config.domain.name
    try:
        users = load_users(config.users, domain, config.domain.realm)
        rules = [
            load(path, symbols)
            for path, load in (
                (own.mapping_rules, load_mapping_rules),
                (own.fallback_rules, load_fallback_rules),
            )
            if path is not None
        ]
    except LocalError:
        # That is a problem of its own.
        return []
    return [
        f"the emergency number {number} leads nowhere: neither mapping nor fallback rules know it in {domain}"
        for number in config.emergency
        if not users.aliases(f"{number}@{domain}")
        and not any(
            each.contacts(Uri.parse(f"sip:{number}@{domain}"), users.permissions(f"{number}@{domain}"))
            for each in rules
        )
    ]


def _data_problems(node: NodeName) -> list[str]:
    """
    Whether the data folder can be used, or made.
    """
    folder = node.data if node.data.exists() else node.data.parent
    if not folder.is_dir():
        return [f"{folder} is not a folder"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [f"{folder} cannot be written"]
    if len(os.fsencode(node.control_socket)) > LONGEST_SOCKET_NAME:
        return [f"{node.control_socket}: a socket's name may have {LONGEST_SOCKET_NAME} bytes at most"]
    return []


def is_running(node: NodeName) -> bool:
    """
    Whether a process answers on the control socket.  A killed node leaves its
    socket behind, on which nobody does.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(node.control_socket))
        except OSError:
            return False
    return True


def port_problems(listeners: Iterable[Listener]) -> list[str]:
    """
    Bind every port for a moment, all at once.
    """
    problems = []
    with ExitStack() as bound:
        for transport, address, port, service in listeners:
            family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
            kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
            probe = bound.enter_context(socket.socket(family, kind))
            if transport != "udp":
                # As Twisted does: connections of an earlier run may linger.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                where = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
                problems.append(f"{service}: cannot listen on {transport} {where}: {error.strerror}")
    return problems
