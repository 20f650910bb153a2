"""
A node more, or one less: the folders of a cluster, as C{sipxha init} made them,
changed together.

A new node is made like one that is there, with what an operator has set and
added since, and with name, address, key and data of its own.  In the files of
the others only what names nodes is changed: peers, hosts of call events, zone.
All of it is made and read before anything is put in place.  What runs on
servers is not touched: who asked brings the folders there.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

from lxml import etree

from sipxha.config.certificates import make_node, read_authority
from sipxha.config.init import EVENTS_PORT, ClusterRefused, Server, look_at_servers
from sipxha.config.load import load
from sipxha.config.model import Config
from sipxha.config.schema import NAMESPACE
from sipxha.config.whole_file import write_whole
from sipxha.config.zone import ZonePorts, host_name, read_zone, zone_text

REPLICATION_PORT = 5077

REMOVED = ".removed"
"""What is put behind the name of a folder whose node is no longer one of the cluster."""

CONFIGURATION = "sipxha.xml"
ZONE = "zone.db"


def nodes_of(folder: Path) -> dict[str, Config]:
    """
    Read the configurations of all nodes of a cluster, by their names.

    @raise ClusterRefused: There are none.
    @raise ConfigurationRefused: One is not as it must be.
    """
    found = {}
    for home in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (home / CONFIGURATION).is_file() and not home.name.startswith(".") and REMOVED not in home.name:
            config = load(home / CONFIGURATION)
            if config.node.name != home.name:
                raise ClusterRefused(f"{home} holds the node {config.node.name}")
            found[home.name] = config
    if not found:
        raise ClusterRefused(f"{folder} holds no nodes; it must be what sipxha init made")
    return found


def add_node(folder: Path, server: Server) -> list[Path]:
    """
    Make the folder of a further node, and let the others know it.

    @return: The files beside it that were changed.

    @raise LocalError: It cannot be; then nothing was changed.
    @raise OSError: Something cannot be written.
    """
    server = Server(host_name(server.name), server.address)
    nodes = nodes_of(folder)
    servers = [*_servers(nodes.values()), server]
    look_at_servers(servers)
    home = folder / server.name
    if home.exists():
        raise ClusterRefused(f"{home} exists already")
    # One without the call resolver, which only one node has.
    model = min(nodes.values(), key=lambda config: (config.call_resolver is not None, config.node.name))
    building = folder / f".{server.name}.new-{secrets.token_hex(4)}"
    zone = _zone(folder, nodes, servers)
    try:
        _copy_node(model, building, server)
        _certify(model, building, server, folder / "ca")
        text = _revised(building / CONFIGURATION, [*nodes, server.name])
        write_whole(building / CONFIGURATION, text, 0o644)
        if (building / ZONE).exists():
            write_whole(building / ZONE, zone, 0o644)
        load(building / CONFIGURATION)
        files = _others(folder, nodes, zone, [*nodes, server.name])
        building.rename(home)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return _put_in_place(files)


def remove_node(folder: Path, name: str) -> list[Path]:
    """
    Have the others forget a node.  Its folder gets another name; nothing is deleted.

    @return: The files beside it that were changed.

    @raise LocalError: It cannot be; then nothing was changed.
    @raise OSError: Something cannot be written.
    """
    nodes = nodes_of(folder)
    config = nodes.pop(name, None)
    if config is None:
        raise ClusterRefused(f"there is no node {name} in {folder}, but {', '.join(nodes)}")
    if not nodes:
        raise ClusterRefused(f"{name} is the only node")
    if config.call_resolver is not None:
        raise ClusterRefused(
            f"{name} runs the call resolver: move <call-resolver> to another node's {CONFIGURATION} first"
        )
    gone = folder / f"{name}{REMOVED}"
    if gone.exists():
        raise ClusterRefused(f"{gone} is in the way: it is of an earlier node of that name")
    zone = _zone(folder, nodes, _servers(nodes.values()))
    files = _others(folder, nodes, zone, list(nodes), (name, config.node.address))
    changed = _put_in_place(files)
    (folder / name).rename(gone)
    return changed


def _servers(configs: Iterable[Config]) -> list[Server]:
    return [Server(config.node.name, config.node.address) for config in configs]


# --- the new node -----------------------------------------------------------


def _copy_node(model: Config, home: Path, server: Server) -> None:
    """
    Copy all that is not its own, and put name and address in place of the model's.
    """
    source, data = model.path.absolute().parent, model.node.data

    def own(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder, name) == data]

    shutil.copytree(source, home, ignore=own)
    if data.is_relative_to(source):
        (home / data.relative_to(source)).mkdir(mode=0o700)
    _rename(home / CONFIGURATION, model, server, server.address)
    if model.proxy is not None and model.proxy.forwarding_rules.is_relative_to(source):
        rules = home / model.proxy.forwarding_rules.relative_to(source)
        _rename(rules, model, server, f"[{server.address}]" if ":" in server.address else server.address)
    document = etree.parse(home / CONFIGURATION, _PARSER)
    root = document.getroot()
    for element in list(root.iter(_tag("call-resolver"))):
        _remove(element)
    for console in root.iter(_tag("console")):
        if not ip_address(console.get("address", "")).is_loopback:
            console.set("address", "127.0.0.1")
    write_whole(home / CONFIGURATION, _written(document), 0o644)


def _rename(path: Path, model: Config, server: Server, address: str) -> None:
    """
    Replace the model's own name and address in a file, as whole words.

    @param address: As the file spells it.
    """
    text = path.read_text()
    own = re.escape(model.node.address)
    for old, new in (
        (rf"\[{own}\]|(?<![\w.:]){own}(?![\w:]|\.\w)", address),
        (_word(model.node.name), server.name),
    ):
        text = re.sub(old, new, text, flags=re.IGNORECASE)
    write_whole(path, text.encode(), 0o644)


def _word(name: str) -> str:
    # rr.NAME and ap.NAME are names of its services.
    return rf"(?<![\w-]){re.escape(name)}(?![\w-]|\.\w)"


def _certify(model: Config, home: Path, server: Server, authority: Path) -> None:
    """
    Give it a key of its own, where the model has its.
    """
    source = model.path.absolute().parent
    if model.tls is None:
        return
    paths = model.tls.key, model.tls.certificate
    if not all(path.is_relative_to(source) for path in paths):
        raise ClusterRefused(
            f"the certificate of {model.node.name} is not in {source}: give the new node one"
        )
    made = make_node(read_authority(authority), server.name, model.domain.name)
    key, certificate = (home / path.relative_to(source) for path in paths)
    write_whole(key, made.key_pem, 0o600)
    write_whole(certificate, made.certificate_pem, 0o644)


# --- what names nodes -------------------------------------------------------


def _others(
    folder: Path, nodes: dict[str, Config], zone: bytes, names: Sequence[str], gone: Sequence[str] = ()
) -> dict[Path, bytes]:
    """
    What the files beside a node that comes or goes are to be, as far as they change.
    """
    files = {folder / ZONE: zone}
    for name in nodes:
        home = folder / name
        files[home / CONFIGURATION] = _revised(home / CONFIGURATION, names, gone)
        if (home / ZONE).exists():
            files[home / ZONE] = zone
        trial = home / f".{CONFIGURATION}.new"
        try:
            write_whole(trial, files[home / CONFIGURATION], 0o600)
            load(trial)
        finally:
            trial.unlink(missing_ok=True)
    return {path: text for path, text in files.items() if not path.exists() or path.read_bytes() != text}


def _put_in_place(files: dict[Path, bytes]) -> list[Path]:
    for path, text in files.items():
        write_whole(path, text, 0o644)
    return list(files)


def _zone(folder: Path, nodes: dict[str, Config], servers: Sequence[Server]) -> bytes:
    """
    The records of the cluster; with those of the bare domain where it has had them.
    """
    some = next(iter(nodes.values()))
    domain = some.domain.name
    path = folder / ZONE
    apex = path.exists() and any(
        record.owner.to_text(omit_final_dot=True) == domain and record.rdata.rdtype.name in ("A", "AAAA")
        for record in read_zone(path)
    )
    ports = ZonePorts(
        some.proxy.ports if some.proxy else None,
        some.registrar.ports if some.registrar else None,
        some.authproxy.ports if some.authproxy else None,
    )
    return zone_text(domain, sorted(servers), ports, apex).encode()


def _revised(path: Path, names: Sequence[str], gone: Sequence[str] = ()) -> bytes:
    """
    A node's configuration, as it is when the cluster has these nodes.

    What it knows besides, by an operator's hand, stays.

    @param names: The one that comes is the last.
    @param gone: Name and address of the one that goes.
    """
    document = etree.parse(path, _PARSER)
    root = document.getroot()
    own = next(root.iter(_tag("node"))).get("name", "").lower()
    is_alone = len(names) == 1
    for registrar in root.iter(_tag("registrar")):
        _revise_peers(registrar, names, gone)
    for events in root.iter(_tag("call-events")):
        if not is_alone and "listen" not in events.attrib:
            events.set("listen", str(EVENTS_PORT))
    for hosts in root.iter(_tag("cse-hosts")):
        _revise_hosts(hosts, None if gone or names[-1] == own else names[-1], gone)
        if not is_alone and "ca" not in hosts.attrib:
            hosts.set("ca", next(root.iter(_tag("tls"))).get("authority", ""))
    return _written(document)


def _revise_peers(registrar: etree._Element, names: Sequence[str], gone: Sequence[str]) -> None:
    replication = next(registrar.iter(_tag("replication")), None)
    if replication is None:
        if len(names) == 1:
            return
        replication = _append(registrar, "replication")
        replication.set("port", str(REPLICATION_PORT))
    known = {(peer.text or "").strip().lower(): peer for peer in replication.iter(_tag("peer"))}
    for name in [name for name in names if name not in known]:
        _append(replication, "peer").text = name
    for name in known.keys() & set(gone):
        _remove(known[name])


def _revise_hosts(hosts: etree._Element, came: str | None, gone: Sequence[str]) -> None:
    items = [item.strip() for item in (hosts.text or "").split(",")]
    wanted = [item for item in items if item.partition(":")[0].lower() not in gone]
    if came is not None:
        wanted.append(f"{came}:{EVENTS_PORT}")
    if wanted != items:
        hosts.text = ", ".join(wanted)


# --- the document -----------------------------------------------------------

_PARSER = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _written(document: etree._ElementTree) -> bytes:
    return etree.tostring(document, encoding="UTF-8", xml_declaration=False) + b"\n"


def _append(parent: etree._Element, name: str) -> etree._Element:
    """
    Add an element as the last one, on a line of its own.
    """
    depth = len(list(parent.iterancestors()))
    before = parent[-1] if len(parent) else None
    element = etree.SubElement(parent, _tag(name))
    element.tail = "\n" + "  " * depth
    if before is None:
        parent.text = element.tail + "  "
    else:
        before.tail = element.tail + "  "
    return element


def _remove(element: etree._Element) -> None:
    """
    Take an element away with its line.
    """
    before, parent = element.getprevious(), element.getparent()
    assert parent is not None
    if element.getnext() is None and before is not None:
        before.tail = element.tail
    elif element.getnext() is None:
        parent.text = element.tail
    parent.remove(element)
