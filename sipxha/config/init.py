"""
The folders of a new cluster: all that its nodes need to start, but users.

Each node's folder is complete, so that it can be copied to its server and
started there.  Nothing that exists is touched: the cluster is made beside its
place and put there as a whole, or not at all.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from sipxha.config.certificates import make_authority, make_node, write_authority, write_node
from sipxha.config.whole_file import write_whole
from sipxha.config.zone import zone_text
from sipxha.errors import LocalError

PREPARED_DSN = "host=/run/postgresql dbname=SIPXCDR"
"""Where Debian's PostgreSQL is found on its own server."""

EVENTS_PORT = 5433
"""Where a node offers its call events to its peers."""

EMPTY_TABLES = {
    "credential.xml": '<items type="credential"/>\n',
    "permission.xml": '<items type="permission"/>\n',
    "alias.xml": '<items type="alias" xmlns="http://www.sipfoundry.org/sipX/schema/xml/alias-00-00"/>\n',
}

AUTH_RULES = """\
<!--
  What a caller must be allowed to do, judged on the target that is really
  dialled.  The first userMatch of the target's host that fits decides; a
  target that nothing here fits is open to everybody.  For a gateway:

  <hostMatch>
    <hostPattern>gw1.example.com</hostPattern>
    <userMatch>
      <userPattern>1[2-9]xxxxxxxxx</userPattern>
      <permissionMatch><permission>LongDistanceDialing</permission></permissionMatch>
    </userMatch>
    <userMatch>
      <userPattern>.</userPattern>
      <permissionMatch><permission>NoAccess</permission></permissionMatch>
    </userMatch>
  </hostMatch>
-->
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/urlauth-00-00"/>
"""

MAPPING_RULES = """\
<!--
  Further places where a user of the domain, or a number that is nobody's, is
  answered: besides the telephones that are registered.  The first userMatch of
  the host that fits decides.  In a userPattern x is any one character, a dot any
  run of them, [...] a class.  A permission is one that the called user must have.
  For voicemail, after <symbols mediaserver="vm.example.com"/> in sipxha.xml:

  <hostMatch>
    <hostPattern>example.com</hostPattern>
    <userMatch>
      <userPattern>2xx</userPattern>
      <permissionMatch>
        <permission>Voicemail</permission>
        <transform><url>&lt;sip:{digits}@{mediaserver}&gt;;q=0.1</url></transform>
      </permissionMatch>
    </userMatch>
  </hostMatch>
-->
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/urlmap-00-00"/>
"""

FALLBACK_RULES = """\
<!--
  Where a request goes to which no telephone, alias or mapping rule leads; the
  language is that of mappingrules.xml.  For a gateway, behind a 9:

  <hostMatch>
    <hostPattern>example.com</hostPattern>
    <userMatch>
      <userPattern>9.</userPattern>
      <permissionMatch>
        <transform><url>&lt;sip:{vdigits}@gw1.example.com&gt;</url></transform>
      </permissionMatch>
    </userMatch>
  </hostMatch>

  Who may dial it is said by authrules.xml.
-->
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/fallback-00-00"/>
"""


class ClusterRefused(LocalError):
    """
    A cluster cannot be made as it was asked for; the message says why.
    """


class Server(NamedTuple):
    """
    One node of the cluster.
    """

    name: str
    address: str


class Cluster(NamedTuple):
    """
    What was asked for.
    """

    domain: str
    servers: Sequence[Server]
    """The first one also runs the call resolver."""

    embedded: bool
    """Whether each node brings its own PostgreSQL."""

    dns: str | None = None
    """C{address:port} of a DNS server that knows the zone; without it each node answers it itself."""


def make_cluster(folder: Path, cluster: Cluster) -> None:
    """
    Write a cluster into a new folder.

    @raise ClusterRefused: When the folder exists, or names or addresses are
        not what they should be.
    @raise OSError: When something cannot be written.
    """
    if folder.exists():
        raise ClusterRefused(f"{folder} exists already")
    look_at_servers(cluster.servers)
    building = folder.with_name(f".{folder.name}.new-{secrets.token_hex(4)}")
    building.mkdir(parents=True)
    try:
        _write_cluster(building, cluster)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def look_at_servers(servers: Sequence[Server]) -> None:
    """
    Look whether these can be the nodes of one cluster.

    @raise ClusterRefused: They cannot.
    """
    for values, what in (
        ([server.name for server in servers], "name"),
        ([server.address for server in servers], "address"),
    ):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ClusterRefused(f"two nodes have the {what} {twice}")
    for server in servers:
        try:
            wildcard = ip_address(server.address).is_unspecified
        except ValueError:
            wildcard = True
        if wildcard:
            raise ClusterRefused(f"{server.address!r} is not the address of a server")


def _write_cluster(folder: Path, cluster: Cluster) -> None:
    zone = zone_text(cluster.domain, cluster.servers).encode()
    secret = secrets.token_hex(32).encode() + b"\n"
    authority = make_authority(f"{cluster.domain} sipxha authority")

    write_whole(folder / "zone.db", zone, 0o644)
    (folder / "ca").mkdir(mode=0o700)
    write_authority(folder / "ca", authority)
    for server in cluster.servers:
        home = folder / server.name
        home.mkdir()
        (home / "data").mkdir(mode=0o700)
        write_whole(home / "secret.key", secret, 0o600)
        write_whole(home / "sipxha.xml", _configuration(cluster, server).encode(), 0o644)
        write_whole(home / "zone.db", zone, 0o644)
        for name, table in EMPTY_TABLES.items():
            write_whole(home / name, table.encode(), 0o600)
        write_whole(home / "forwardingrules.xml", _forwarding_rules(cluster.domain, server).encode(), 0o644)
        for name, rules in (
            ("authrules.xml", AUTH_RULES),
            ("mappingrules.xml", MAPPING_RULES),
            ("fallbackrules.xml", FALLBACK_RULES),
        ):
            write_whole(home / name, rules.encode(), 0o644)
        write_node(home / "ssl", make_node(authority, server.name, cluster.domain), authority)


def _configuration(cluster: Cluster, server: Server) -> str:
    """
    The C{sipxha.xml} of one node.  Names and addresses were looked at, so
    nothing in them needs escaping.
    """
    others = [other.name for other in cluster.servers if other != server]
    dns = f'server="{cluster.dns}"' if cluster.dns else 'zone="zone.db"'
    database = 'embedded="true"' if cluster.embedded else f'dsn="{PREPARED_DSN}"'
    console = server.address if ip_address(server.address).is_loopback else "127.0.0.1"

    lines = [
        '<sipxha xmlns="urn:sipxha:config:1">',
        f'  <domain name="{cluster.domain}" realm="{cluster.domain}"/>',
        f'  <node name="{server.name}" address="{server.address}" data="data"/>',
        '  <secret file="secret.key"/>  <!-- the same on all nodes -->',
        '  <tls certificate="ssl/node.crt" key="ssl/node.key" authority="ssl/ca.crt"/>',
        f"  <dns {dns}/>",
        '  <users credentials="credential.xml" permissions="permission.xml" aliases="alias.xml"/>',
        "",
        '  <proxy udp="5060" tcp="5060" tls="5061">',
        '    <forwarding-rules file="forwardingrules.xml"/>',
        "  </proxy>",
        '  <authproxy udp="5080" tcp="5080" tls="5081">',
        '    <auth-rules file="authrules.xml"/>',
        "  </authproxy>",
        '  <registrar udp="5070" tcp="5070" tls="5071" authenticate="true">',
        '    <mapping-rules file="mappingrules.xml"/>',
        '    <fallback-rules file="fallbackrules.xml"/>',
    ]
    if others:
        lines += [
            '    <replication port="5077">',
            *(f"      <peer>{name}</peer>" for name in [other.name for other in cluster.servers]),
            "    </replication>",
        ]
    lines += ["  </registrar>", ""]
    lines += [
        f'  <call-events {database} listen="{EVENTS_PORT}"/>' if others else f"  <call-events {database}/>"
    ]
    if server == cluster.servers[0]:
        ca = ' ca="ssl/ca.crt"' if others else ""
        hosts = ", ".join(["localhost", *(f"{name}:{EVENTS_PORT}" for name in others)])
        lines += [
            '  <call-resolver follow="10">'
            if cluster.embedded
            else f'  <call-resolver {database} follow="10">',
            f"    <cse-hosts{ca}>{hosts}</cse-hosts>",
            '    <retain cdr-days="35" cse-days="7"/>',
            "  </call-resolver>",
        ]
    lines += [
        f'  <console address="{console}" port="8080"/>',
        '  <log level="info"/>',
        "</sipxha>",
    ]
    return "\n".join(lines) + "\n"


def _forwarding_rules(domain: str, server: Server) -> str:
    address = f"[{server.address}]" if ":" in server.address else server.address
    return f"""\
<!-- Which server a request in our domain is for.  The registrar is found by DNS SRV: the own one first. -->
<routes xmlns="http://www.sipfoundry.org/sipX/schema/xml/forwardingrules-00-00">
  <route mappingType="home">
    <description>the domain, and this node under its own name and address</description>
    <routeFrom>{domain}</routeFrom>
    <routeFrom>{server.name}</routeFrom>
    <routeFrom>{address}</routeFrom>
    <routeTo>&lt;rr.{server.name};transport=tcp&gt;</routeTo>
  </route>
</routes>
"""
