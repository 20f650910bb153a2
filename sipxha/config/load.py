"""
sipxha.xml -> L{sipxha.config.model}, or every problem that it has.

A problem is one line, C{file:line: what is wrong}, and as many are found in
one reading as can be.  The document may not reach outside itself: no DTD, no
entities, no network.  What only a running system can tell (ports in use,
names that resolve, databases) is not looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, time
from ipaddress import ip_address
from pathlib import Path

from lxml import etree

from sipxha.auth.failures import FailureLimits
from sipxha.config import model
from sipxha.config.limits import ConnectionLimits, LoadLimits
from sipxha.config.pem_files import pem_problems, public_pem_problems
from sipxha.config.schema import NAMESPACE, Schema, line_of
from sipxha.errors import LocalError
from sipxha.routing.location import is_name
from sipxha.sip.limits import MessageLimits

SHORTEST_SECRET = 32
"""Bytes; what C{sipxha init} writes is twice as long."""

HEP_PORT = 9060

POSTGRES_PORT = 5432


class ConfigurationRefused(LocalError):
    """
    The configuration, or a file that it names, is not as it must be.

    @ivar problems: One line for each finding.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load(path: Path | str) -> model.Config:
    """
    Read a node's configuration and look at all the files that it names.

    @raise ConfigurationRefused: With every problem that was found.
    """
    path = Path(path)
    root = _parse(path)
    problems = [f"{path}:{problem.line}: {problem.text}" for problem in Schema().problems(root)]
    if problems:
        raise ConfigurationRefused(problems)
    reading = _Reading(path, root)
    config = reading.config()
    if reading.problems:
        raise ConfigurationRefused([f"{path}:{line}: {text}" for line, text in sorted(reading.problems)])
    return config


def _parse(path: Path) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(path.read_bytes(), parser)
    except OSError as error:
        raise ConfigurationRefused([f"{path}: {error.strerror}"]) from error
    except etree.XMLSyntaxError as error:
        # The position is given in front.
        raise ConfigurationRefused(
            [f"{path}:{error.lineno or 1}: {error.msg.partition(', line ')[0]}"]
        ) from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise ConfigurationRefused([f"{path}:1: a DOCTYPE is not allowed here"])
    return root


class _Reading:
    """
    One pass over a document that the schema has accepted.
    """

    def __init__(self, path: Path, root: etree._Element) -> None:
        self.problems: list[tuple[int, str]] = []
        self._path = path.absolute()
        self._root = root

    def config(self) -> model.Config:
        """
        The whole model.  Only if L{problems} is still empty it is worth anything.
        """
        node = self._node()
        tls = self._tls(node)
        call_events = self._call_events(tls)
        domain = self._domain()
        config = model.Config(
            path=self._path,
            domain=domain,
            node=node,
            secret=self._secret(),
            tls=tls,
            dns=self._dns(),
            users=self._users(),
            proxy=self._proxy(domain, tls),
            authproxy=self._authproxy(tls),
            registrar=self._registrar(node, tls),
            call_events=call_events,
            call_resolver=self._call_resolver(tls, call_events),
            console=self._console(),
            log=self._log(),
            limits=self._limits(),
            symbols=self._symbols(),
            emergency=self._emergency(),
            hep=self._hep(),
        )
        self._look_for_port_collisions(config)
        return config

    # One method for each element, in the order of the document.

    def _domain(self) -> model.Domain:
        element = self._must("domain")
        name = _text(element, "name").lower()
        aliases = tuple((alias.text or "").strip().lower() for alias in _each(element, "alias"))
        return model.Domain(name, _text(element, "realm", name), aliases, self._gateways(element))

    def _gateways(self, domain: etree._Element) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for listed in _each(domain, "gateways"):
            for item in (listed.text or "").split(","):
                name = item.strip().lower().removesuffix(".")
                if _is_address(name):
                    name = str(ip_address(name))
                elif not is_name(name):
                    self._refuse(listed, f"{item.strip()!r} is neither the name nor the address of a gateway")
                found[name] = None
        return tuple(found)

    def _node(self) -> model.NodeName:
        element = self._must("node")
        address = self._address(element, "address")
        listen = self._address(element, "listen") if "listen" in element.attrib else address
        if address in ("0.0.0.0", "::"):
            self._refuse(
                element, "address is what phones and peers are told, so it cannot be a wildcard; use listen"
            )
        return model.NodeName(
            _text(element, "name").lower(), address, listen, self._resolved(_text(element, "data", "data"))
        )

    def _secret(self) -> bytes:
        element = self._must("secret")
        path = self._file(element, "file")
        try:
            secret = path.read_bytes().strip()
        except OSError:
            return b""
        if len(secret) < SHORTEST_SECRET:
            self._refuse(
                element, f"the secret in {path} has {len(secret)} bytes; it needs at least {SHORTEST_SECRET}"
            )
        return secret

    def _tls(self, node: model.NodeName) -> model.Tls | None:
        element = self._maybe("tls")
        if element is None:
            return None
        before = len(self.problems)
        tls = model.Tls(*(self._file(element, name) for name in ("certificate", "key", "authority")))
        if len(self.problems) == before:
            for problem in pem_problems(tls, node.name, datetime.now(UTC)):
                self._refuse(element, problem)
        return tls

    def _dns(self) -> model.Dns:
        element = self._maybe("dns")
        if element is None:
            return model.Dns()
        zone = self._file(element, "zone") if "zone" in element.attrib else None
        server: tuple[str, int] | None = None
        if "server" in element.attrib:
            address, port = _split_port(_text(element, "server"), 53)
            if port is None or not _is_address(address):
                self._refuse(element, f"server must be address:port, not {_text(element, 'server')!r}")
            else:
                server = (address, port)
        return model.Dns(zone, server)

    def _symbols(self) -> model.Symbols:
        element = self._maybe("symbols")
        if element is None:
            return model.Symbols()
        return model.Symbols(
            *(
                _text(element, name) if name in element.attrib else None
                for name in ("voicemail", "mediaserver")
            )
        )

    def _emergency(self) -> tuple[str, ...]:
        element = self._maybe("emergency")
        return () if element is None else tuple(dict.fromkeys((element.text or "").split()))

    def _hep(self) -> model.Hep | None:
        element = self._maybe("hep")
        if element is None:
            return None
        address, port = _split_port(_text(element, "address"), HEP_PORT)
        if port is None or not _is_address(address):
            self._refuse(element, f"address must be address:port, not {_text(element, 'address')!r}")
            return None
        return model.Hep((address, port), int(_text(element, "id")))

    def _users(self) -> model.Users:
        element = self._must("users")
        return model.Users(*(self._file(element, name) for name in ("credentials", "permissions", "aliases")))

    def _proxy(self, domain: model.Domain, tls: model.Tls | None) -> model.Proxy | None:
        element = self._maybe("proxy")
        if element is None:
            return None
        return model.Proxy(
            self._ports(element, tls),
            _text(element, "strangers", "challenge"),
            _text(element, "decline-ends-search", "true") == "true",
            self._file(_inside(element, "forwarding-rules"), "file"),
            self._public_tls(element, domain, tls),
        )

    def _public_tls(
        self, proxy: etree._Element, domain: model.Domain, tls: model.Tls | None
    ) -> model.Tls | None:
        element = next(_each(proxy, "tls"), None)
        if element is None:
            return None
        if "tls" not in proxy.attrib:
            self._refuse(element, "<tls> is for the port of the attribute tls, which <proxy> lacks")
        if tls is None:
            return None
        before = len(self.problems)
        public = model.Tls(self._file(element, "certificate"), self._file(element, "key"), tls.authority)
        if len(self.problems) == before:
            for problem in public_pem_problems(public, domain.name, datetime.now(UTC)):
                self._refuse(element, problem)
        return public

    def _authproxy(self, tls: model.Tls | None) -> model.AuthProxy | None:
        element = self._maybe("authproxy")
        if element is None:
            return None
        return model.AuthProxy(
            self._ports(element, tls),
            self._file(_inside(element, "auth-rules"), "file"),
            _text(element, "record-route", "address"),
            self._rules(element, "caller-aliases"),
        )

    def _registrar(self, node: model.NodeName, tls: model.Tls | None) -> model.Registrar | None:
        element = self._maybe("registrar")
        if element is None:
            return None
        least, usual, most = (
            int(_text(element, name, default))
            for name, default in (("min-expires", "60"), ("default-expires", "3600"), ("max-expires", "7200"))
        )
        if not least <= usual <= most:
            self._refuse(
                element,
                f"min-expires {least}, default-expires {usual}, max-expires {most}: they must not fall",
            )
        return model.Registrar(
            ports=self._ports(element, tls),
            min_expires=least,
            default_expires=usual,
            max_expires=most,
            max_contacts=int(_text(element, "max-contacts", "10")),
            spread=int(_text(element, "spread", "0")),
            expire_unlisted=_text(element, "unlisted", "keep") == "expire",
            authenticate=_text(element, "authenticate", "true") == "true",
            digest=tuple(_text(element, "digest", "SHA-256 MD5").split()),
            replication=self._replication(element, node, tls),
            mapping_rules=self._rules(element, "mapping-rules"),
            fallback_rules=self._rules(element, "fallback-rules"),
        )

    def _rules(self, service: etree._Element, name: str) -> Path | None:
        element = next(_each(service, name), None)
        return None if element is None else self._file(element, "file")

    def _replication(
        self, registrar: etree._Element, node: model.NodeName, tls: model.Tls | None
    ) -> model.Replication | None:
        element = next(_each(registrar, "replication"), None)
        if element is None:
            return None
        if tls is None:
            self._refuse(element, "<replication> needs <tls>: peers know each other by certificate")
        peers: dict[str, model.Peer] = {}
        for peer in _each(element, "peer"):
            name = (peer.text or "").strip().lower()
            address = self._address(peer, "address") if "address" in peer.attrib else None
            if name in peers:
                self._refuse(peer, f"peer {name} is listed twice")
            peers[name] = model.Peer(name, address)
        # One list serves all nodes, so a node finds itself in it.
        peers.pop(node.name, None)
        return model.Replication(
            int(_text(element, "port")),
            float(_text(element, "startup-limit", "20")),
            tuple(peers.values()),
            _text(element, "acknowledge", "local") == "peer",
        )

    def _call_events(self, tls: model.Tls | None) -> model.CallEvents | None:
        element = self._maybe("call-events")
        if element is None:
            return None
        listen = int(_text(element, "listen")) if "listen" in element.attrib else None
        if listen is not None and tls is None:
            self._refuse(element, "listen needs <tls>: peers know each other by certificate")
        return model.CallEvents(_text(element, "dsn") if "dsn" in element.attrib else None, listen)

    def _call_resolver(
        self, tls: model.Tls | None, call_events: model.CallEvents | None
    ) -> model.CallResolver | None:
        element = self._maybe("call-resolver")
        if element is None:
            return None
        dsn = _text(element, "dsn") if "dsn" in element.attrib else None
        if dsn is None and (call_events is None or call_events.dsn is not None):
            self._refuse(element, '<call-resolver> needs a dsn, or <call-events embedded="true"> beside it')
        listed = _inside(element, "cse-hosts")
        ca = self._file(listed, "ca") if "ca" in listed.attrib else None
        if ca is not None and tls is None:
            self._refuse(listed, "ca needs <tls>: the other node asks for our certificate")
        hosts: list[model.CseHost] = []
        for item in (listed.text or "").split(","):
            name, port = _split_port(item.strip(), POSTGRES_PORT)
            if not name or port is None or " " in name:
                self._refuse(listed, f"{item.strip()!r} is not a host, or host:port")
                continue
            if (
                ca is None
                and name != "localhost"
                and not (_is_address(name) and ip_address(name).is_loopback)
            ):
                self._refuse(listed, f"{name} can only be reached over TLS, which needs the attribute ca")
            hosts.append(model.CseHost(name.lower(), port))
        if len(set(hosts)) < len(hosts):
            self._refuse(listed, "a host is listed twice")
        retain = next(_each(element, "retain"), None)
        return model.CallResolver(
            dsn,
            tuple(hosts),
            ca,
            int(_text(element, "follow")) if "follow" in element.attrib else None,
            time.fromisoformat(_text(element, "run-daily")) if "run-daily" in element.attrib else None,
            int(_text(element, "max-call", "28800")),
            int(_text(element, "max-ringing", "120")),
            model.Retain(_days(retain, "cdr-days", 35), _days(retain, "cse-days", 7)),
        )

    def _console(self) -> model.Console | None:
        element = self._maybe("console")
        if element is None:
            return None
        address = self._address(element, "address")
        if _is_address(address) and not ip_address(address).is_loopback:
            self._refuse(
                element, f"the console is for this machine only, so {address} must be a loopback address"
            )
        return model.Console(address, int(_text(element, "port")))

    def _log(self) -> model.Log:
        element = self._maybe("log")
        if element is None:
            return model.Log("info", None)
        files = [
            self._resolved(_text(element, name)) if name in element.attrib else None
            for name in ("file", "security")
        ]
        for file in files:
            if file is not None and not file.parent.is_dir():
                self._refuse(element, f"{file.parent} is not a folder")
        if None not in files and files[0] == files[1]:
            self._refuse(element, "file and security cannot be one file")
        return model.Log(
            _text(element, "level", "info"), files[0], _text(element, "format", "text"), files[1]
        )

    def _limits(self) -> model.Limits:
        element = self._maybe("limits")
        if element is None:
            return model.DEFAULT_LIMITS
        return model.Limits(
            MessageLimits(**_numbers(element, MessageLimits)),
            ConnectionLimits(**_numbers(element, ConnectionLimits)),
            FailureLimits(**_numbers(element, FailureLimits)),
            LoadLimits(**_numbers(element, LoadLimits)),
        )

    def _look_for_port_collisions(self, config: model.Config) -> None:
        """
        No two services of a node can have one port.
        """
        taken: dict[tuple[str, str, int], str] = {}
        for transport, address, port, service in config.listeners():
            # TLS is spoken over TCP.
            transport = "tcp" if transport == "tls" else transport
            other = taken.setdefault((transport, address, port), service)
            if other != service:
                self._refuse(self._root, f"{service} and {other} both want {transport} port {port}")

    # What the methods above share.

    def _refuse(self, element: etree._Element, text: str) -> None:
        self.problems.append((line_of(element), text))

    def _must(self, name: str) -> etree._Element:
        return _inside(self._root, name)

    def _maybe(self, name: str) -> etree._Element | None:
        return next(_each(self._root, name), None)

    def _resolved(self, name: str) -> Path:
        return self._path.parent / name

    def _file(self, element: etree._Element, attribute: str) -> Path:
        path = self._resolved(_text(element, attribute))
        try:
            path.open("rb").close()
        except OSError as error:
            self._refuse(element, f"{attribute} {path}: {error.strerror}")
        return path

    def _address(self, element: etree._Element, attribute: str) -> str:
        address = _text(element, attribute)
        if not _is_address(address):
            self._refuse(element, f"{attribute} must be an IPv4 or IPv6 address, not {address!r}")
        return address

    def _ports(self, element: etree._Element, certificate: model.Tls | None) -> model.Ports:
        name = etree.QName(element).localname
        udp, tcp, tls = (
            int(_text(element, transport)) if transport in element.attrib else None
            for transport in ("udp", "tcp", "tls")
        )
        if udp is None and tcp is None:
            self._refuse(element, f"<{name}> listens nowhere: it needs udp, tcp or both")
        if tls is not None and certificate is None:
            self._refuse(element, f"the attribute tls of <{name}> needs <tls>: phones ask for a certificate")
        if tls is not None and tls == tcp:
            self._refuse(element, f"tcp and tls of <{name}> cannot have one port")
        return model.Ports(udp, tcp, tls)


def _each(element: etree._Element, name: str) -> Iterator[etree._Element]:
    return element.iterchildren(f"{{{NAMESPACE}}}{name}")


def _inside(element: etree._Element, name: str) -> etree._Element:
    return next(_each(element, name))


def _text(element: etree._Element, attribute: str, default: str = "") -> str:
    return str(element.get(attribute, default)).strip()


def _days(retain: etree._Element | None, attribute: str, default: int) -> int | None:
    """
    For how long something is kept; L{None} for ever.
    """
    days = str(default) if retain is None else _text(retain, attribute, str(default))
    return None if days == "forever" else int(days)


def _numbers(
    element: etree._Element, of: type[MessageLimits | ConnectionLimits | FailureLimits | LoadLimits]
) -> dict[str, int]:
    """
    The attributes that have the names of fields of a class.
    """
    names = {field.name: field.name.replace("_", "-") for field in fields(of)}
    return {field: int(_text(element, name)) for field, name in names.items() if name in element.attrib}


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _split_port(text: str, default: int) -> tuple[str, int | None]:
    """
    Part C{host:port}; the port of an IPv6 address needs brackets around it.

    @return: Host and port; C{None} for a port that is none.
    """
    if _is_address(text):
        return text, default
    host, colon, port = text.rpartition(":")
    if not colon:
        return text.strip("[]"), default
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return host, None
    return host.strip("[]"), int(port)
