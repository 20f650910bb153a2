"""
Reads the rule files: C{forwardingrules.xml} and C{authrules.xml} of the
proxies, C{caller-alias.xml} of the authproxy, C{mappingrules.xml} and
C{fallbackrules.xml} of the redirect server.

Their formats are those of sipX.  A file that says anything else is refused
as a whole, with the line: a rule that is half understood would send calls to
the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from lxml import etree

from sipxha.errors import LocalError, SipxhaError
from sipxha.routing import mapping
from sipxha.routing.caller_alias import CallerAlias, CallerAliases
from sipxha.routing.permissions import AuthRules, HostMatch, UserMatch, compile_user_pattern
from sipxha.routing.rules import (
    BY_AUTHPROXY,
    DIRECT,
    FieldMatch,
    ForwardingRules,
    MethodMatch,
    Route,
    host_key,
)
from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField
from sipxha.sip.uri import Uri

FORWARDING_NAMESPACE = "http://www.sipfoundry.org/sipX/schema/xml/forwardingrules-00-00"
AUTH_NAMESPACE = "http://www.sipfoundry.org/sipX/schema/xml/urlauth-00-00"
MAPPING_NAMESPACE = "http://www.sipfoundry.org/sipX/schema/xml/urlmap-00-00"
CALLER_ALIAS_NAMESPACE = "http://www.sipfoundry.org/sipX/schema/xml/caller-alias-00-00"
FALLBACK_NAMESPACE = "http://www.sipfoundry.org/sipX/schema/xml/fallback-00-00"

_SAMPLE = Uri.parse("sip:201@example.com")
"""A request by which it is seen whether a transform can yield a contact."""

_SAMPLES = {
    **dict.fromkeys(mapping.SYMBOLS, "201"),
    "host": "example.com",
    "uri": str(_SAMPLE),
    "urlparams": "a=b",
    "headerparams": "a=b",
}


class RulesRefused(LocalError):
    """
    A rule file cannot be used; the text names file and line.
    """

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")


def load_forwarding_rules(path: Path) -> ForwardingRules:
    """
    @raise RulesRefused: if the file cannot be read or is not as described in
        the language of forwardingrules-00-00.
    """
    return ForwardingRules(
        _route(path, element)
        for element in _children(path, _root(path, (FORWARDING_NAMESPACE,), "routes"), "route")
    )


def load_auth_rules(path: Path) -> AuthRules:
    """
    @raise RulesRefused: if the file cannot be read or is not as described in
        the language of urlauth-00-00.
    """
    return AuthRules(
        _host_match(path, element)
        for element in _children(path, _root(path, (AUTH_NAMESPACE,), "mappings"), "hostMatch")
    )


def permissions_in(path: Path) -> frozenset[str]:
    """
    All permissions that a file of rules asks for, of whichever kind it is.

    @raise RulesRefused: if the file cannot be read.
    """
    found = _document(path).iter("{*}permission")
    return frozenset(_text(path, element) for element in found)


def load_mapping_rules(path: Path, symbols: Mapping[str, str]) -> mapping.MappingRules:
    """
    @param symbols: what C{{localhost}}, C{{mediaserver}} and C{{voicemail}}
        stand for, as far as they do.

    @raise RulesRefused: if the file cannot be read or is not as described in
        the language of urlmap-00-00.
    """
    return _mappings(path, symbols, MAPPING_NAMESPACE)


def load_fallback_rules(path: Path, symbols: Mapping[str, str]) -> mapping.MappingRules:
    """
    As L{load_mapping_rules}, in the language of fallback-00-00, which older
    files give the name of the other.

    @raise RulesRefused: if the file cannot be read or says something else.
    """
    return _mappings(path, symbols, FALLBACK_NAMESPACE, MAPPING_NAMESPACE)


def load_caller_aliases(path: Path) -> CallerAliases:
    """
    @raise RulesRefused: if the file cannot be read or is not as described in
        the language of caller-alias-00-00.
    """
    root = _root(path, (CALLER_ALIAS_NAMESPACE, ""), "items")
    if root.get("type") != "caller-alias":
        raise RulesRefused(path, root.sourceline, 'items of type="caller-alias" are expected')
    return CallerAliases(_caller_alias(path, element) for element in _children(path, root, "item"))


def _caller_alias(path: Path, element: etree._Element) -> CallerAlias:
    said = {
        _name(child): child
        for child in _children(path, element, "identity", "domain", "alias")
        if child.text and child.text.strip()
    }
    if "domain" not in said or "alias" not in said:
        raise RulesRefused(path, element.sourceline, "an item needs a domain and an alias")
    identity = ""
    if "identity" in said:
        text = _text(path, said["identity"])
        try:
            identity = Uri.parse(
                text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}"
            ).identity()
        except MalformedField as error:
            raise RulesRefused(path, said["identity"].sourceline, f"identity: {error}") from error
    text = _text(path, said["alias"])
    try:
        address = Address.parse(text)
    except MalformedField as error:
        raise RulesRefused(path, said["alias"].sourceline, f"alias: {error}") from error
    if address.tag is not None:
        raise RulesRefused(path, said["alias"].sourceline, "alias: a tag is the caller's own")
    return CallerAlias(identity, _host(path, said["domain"]), text if "<" in text else f"<{text}>")


def _route(path: Path, element: etree._Element) -> Route:
    hosts: set[tuple[str, int | None]] = set()
    domains: list[str] = []
    networks: list[IPv4Network] = []
    methods: list[MethodMatch] = []
    route_to: str | None = None
    allowed = ("description", "routeFrom", "routeIPv4subnet", "routeDnsWildcard", "methodMatch", "routeTo")
    for child in _children(path, element, *allowed):
        match _name(child):
            case "routeFrom":
                hosts.add(_host(path, child))
            case "routeIPv4subnet":
                networks.append(_network(path, child))
            case "routeDnsWildcard":
                domains.append(_domain(path, child))
            case "methodMatch":
                methods.append(_method_match(path, child))
            case "routeTo":
                route_to = _route_to(path, child)
    if not (hosts or domains or networks):
        raise RulesRefused(
            path, element.sourceline, "a route needs a routeFrom, routeIPv4subnet or routeDnsWildcard"
        )
    return Route(frozenset(hosts), tuple(methods), route_to, tuple(domains), tuple(networks))


def _method_match(path: Path, element: etree._Element) -> MethodMatch:
    methods: set[str] = set()
    fields: list[FieldMatch] = []
    route_to: str | None = None
    for child in _children(path, element, "description", "methodPattern", "fieldMatch", "routeTo"):
        match _name(child):
            case "methodPattern":
                methods.add(_text(path, child).upper())
            case "fieldMatch":
                fields.append(_field_match(path, child))
            case "routeTo":
                route_to = _route_to(path, child)
    return MethodMatch(frozenset(methods), tuple(fields), route_to)


def _field_match(path: Path, element: etree._Element) -> FieldMatch:
    name = element.get("fieldName")
    if not name:
        raise RulesRefused(path, element.sourceline, "a fieldMatch needs a fieldName")
    patterns: list[re.Pattern[str]] = []
    route_to: str | None = None
    for child in _children(path, element, "description", "fieldPattern", "routeTo"):
        if _name(child) == "fieldPattern":
            try:
                patterns.append(re.compile(_text(path, child)))
            except re.error as error:
                raise RulesRefused(path, child.sourceline, f"fieldPattern: {error}") from error
        elif _name(child) == "routeTo":
            route_to = _route_to(path, child)
    if route_to is None:
        raise RulesRefused(path, element.sourceline, "a fieldMatch needs a routeTo")
    return FieldMatch(name.lower(), tuple(patterns), route_to)


def _host_match(path: Path, element: etree._Element) -> HostMatch:
    hosts: set[tuple[str, int | None]] = set()
    users: list[UserMatch] = []
    for child in _children(path, element, "description", "hostPattern", "userMatch"):
        match _name(child):
            case "hostPattern":
                hosts.add(_host(path, child))
            case "userMatch":
                users.append(_user_match(path, child))
    if not hosts:
        raise RulesRefused(path, element.sourceline, "a hostMatch needs a hostPattern")
    return HostMatch(frozenset(hosts), tuple(users))


def _user_match(path: Path, element: etree._Element) -> UserMatch:
    patterns: list[re.Pattern[str]] = []
    permissions: set[str] | None = None
    for child in _children(path, element, "description", "userPattern", "permissionMatch"):
        if _name(child) == "userPattern":
            try:
                patterns.append(compile_user_pattern(_text(path, child)))
            except ValueError as error:
                raise RulesRefused(path, child.sourceline, f"userPattern: {error}") from error
        elif _name(child) == "permissionMatch":
            permissions = {_text(path, inner) for inner in _children(path, child, "permission")}
    if permissions is None:
        raise RulesRefused(path, element.sourceline, "a userMatch needs a permissionMatch")
    return UserMatch(tuple(patterns), frozenset(permissions))


def _mappings(path: Path, symbols: Mapping[str, str], *namespaces: str) -> mapping.MappingRules:
    root = _root(path, namespaces, "mappings")
    return mapping.MappingRules(
        _mapped_host(path, element, symbols) for element in _children(path, root, "hostMatch")
    )


def _mapped_host(path: Path, element: etree._Element, symbols: Mapping[str, str]) -> mapping.HostMatch:
    hosts: set[tuple[str, int | None]] = set()
    domains: list[str] = []
    networks: list[IPv4Network] = []
    users: list[mapping.UserMatch] = []
    for child in _children(path, element, "description", "hostPattern", "userMatch"):
        match _name(child), child.get("format", "url"):
            case "hostPattern", "url":
                hosts.add(_host(path, child))
            case "hostPattern", "DnsWildcard":
                domains.append(_domain(path, child))
            case "hostPattern", "IPv4subnet":
                networks.append(_network(path, child))
            case "hostPattern", other:
                raise RulesRefused(path, child.sourceline, f"hostPattern: the format {other!r} is not known")
            case "userMatch", _:
                users.append(_mapped_user(path, child, symbols))
    if not (hosts or domains or networks):
        raise RulesRefused(path, element.sourceline, "a hostMatch needs a hostPattern")
    return mapping.HostMatch(frozenset(hosts), tuple(domains), tuple(networks), tuple(users))


def _domain(path: Path, element: etree._Element) -> str:
    text = _text(path, element)
    if not text.startswith("*.") or "*" in text[1:]:
        raise RulesRefused(path, element.sourceline, f"{_name(element)}: {text!r} is not *.domain")
    return text[1:].lower()


def _network(path: Path, element: etree._Element) -> IPv4Network:
    try:
        return IPv4Network(_text(path, element), strict=False)
    except ValueError as error:
        raise RulesRefused(path, element.sourceline, f"{_name(element)}: {error}") from error


def _mapped_user(path: Path, element: etree._Element, symbols: Mapping[str, str]) -> mapping.UserMatch:
    """
    Files of fallback rules have transforms for everybody outside of a
    permissionMatch; a callTag is for statistics that we do not keep.
    """
    patterns: list[mapping.UserPattern] = []
    permissions: list[mapping.PermissionMatch] = []
    allowed = (
        "description",
        "userPattern",
        "callTag",
        "permissionMatch",
        "callerLocationMatch",
        "transform",
    )
    for child in _children(path, element, *allowed):
        match _name(child):
            case "userPattern":
                try:
                    patterns.append(mapping.read_user_pattern(_text(path, child)))
                except ValueError as error:
                    raise RulesRefused(path, child.sourceline, f"userPattern: {error}") from error
            case "permissionMatch":
                permissions.append(_permission_match(path, child, symbols))
            case "transform":
                transform = _transform(path, child, symbols)
                permissions.append(mapping.PermissionMatch(frozenset(), (transform,)))
            case "callerLocationMatch":
                raise RulesRefused(
                    path, child.sourceline, "callerLocationMatch: where callers are is not known here"
                )
    return mapping.UserMatch(tuple(patterns), tuple(permissions))


def _permission_match(
    path: Path, element: etree._Element, symbols: Mapping[str, str]
) -> mapping.PermissionMatch:
    permissions: set[str] = set()
    transforms: list[mapping.Transform] = []
    for child in _children(path, element, "description", "permission", "transform"):
        match _name(child):
            case "permission":
                permissions.add(_text(path, child))
            case "transform":
                transforms.append(_transform(path, child, symbols))
    return mapping.PermissionMatch(frozenset(permissions), tuple(transforms))


def _transform(path: Path, element: etree._Element, symbols: Mapping[str, str]) -> mapping.Transform:
    parts: dict[str, list[mapping.Template]] = {}
    for child in _children(
        path, element, "description", "url", "user", "host", "urlparams", "headerparams", "fieldparams"
    ):
        name = _name(child)
        if name == "description":
            continue
        try:
            parts.setdefault(name, []).append(mapping.read_template(_text(path, child), symbols))
        except ValueError as error:
            raise RulesRefused(path, child.sourceline, f"{name}: {error}") from error
        if len(parts[name]) > 1 and name in ("url", "user", "host"):
            raise RulesRefused(path, child.sourceline, f"a transform has one {name}")
    if not parts or ("url" in parts and len(parts) > 1):
        raise RulesRefused(path, element.sourceline, "a transform has a url alone, or else some of its parts")
    singles = {name: parts[name][0] for name in ("url", "user", "host") if name in parts}
    transform = mapping.Transform(
        **singles,
        urlparams=tuple(parts.get("urlparams", ())),
        headerparams=tuple(parts.get("headerparams", ())),
        fieldparams=tuple(parts.get("fieldparams", ())),
    )
    try:
        transform.contact(_SAMPLE, _SAMPLES)
    except SipxhaError as error:
        raise RulesRefused(path, element.sourceline, f"transform: {error}") from error
    return transform


def _route_to(path: Path, element: etree._Element) -> str:
    """
    @return: the target as a URI with scheme and C{lr}; the file leaves both out.
        What has no target says whether the authproxy is to be asked.
    """
    required = element.get("authRequired")
    if required is not None:
        if (element.text or "").strip() or len(element):
            raise RulesRefused(path, element.sourceline, "routeTo: authRequired is for one without a target")
        if required not in ("true", "false"):
            raise RulesRefused(
                path, element.sourceline, f"routeTo: authRequired is true or false, not {required!r}"
            )
        return BY_AUTHPROXY if required == "true" else DIRECT
    text = _text(path, element)
    inner = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    if not inner.lower().startswith(("sip:", "sips:")):
        inner = "sip:" + inner
    try:
        uri = Address.parse(f"<{inner}>").uri
    except MalformedField as error:
        raise RulesRefused(path, element.sourceline, f"routeTo: {error}") from error
    return str(uri if "lr" in uri.params else uri.replace(params=uri.params.with_("lr", None)))


def _host(path: Path, element: etree._Element) -> tuple[str, int | None]:
    text = _text(path, element)
    try:
        return host_key(Uri.parse("sip:" + text))
    except MalformedField as error:
        raise RulesRefused(
            path, element.sourceline, f"{_name(element)}: {text!r} is not host[:port]"
        ) from error


def _root(path: Path, namespaces: Sequence[str], name: str) -> etree._Element:
    root = _document(path)
    if root.tag not in [f"{{{namespace}}}{name}" if namespace else name for namespace in namespaces]:
        raise RulesRefused(path, root.sourceline, f"<{name}> in namespace {namespaces[0]} is expected")
    return root


def _document(path: Path) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        with path.open("rb") as file:
            tree = etree.parse(file, parser)
    except OSError as error:
        raise RulesRefused(path, None, error.strerror or str(error)) from error
    except etree.XMLSyntaxError as error:
        raise RulesRefused(path, error.lineno, error.msg or "not well-formed") from error
    if tree.docinfo.doctype:
        raise RulesRefused(path, 1, "a document type declaration is not allowed")
    return tree.getroot()


def _children(path: Path, element: etree._Element, *allowed: str) -> list[etree._Element]:
    """
    @return: the child elements, all of which have one of the C{allowed} names.
    """
    namespace = etree.QName(element).namespace
    children = [child for child in element if isinstance(child.tag, str)]
    for child in children:
        name = etree.QName(child)
        if name.namespace != namespace or name.localname not in allowed:
            raise RulesRefused(
                path, child.sourceline, f"<{name.localname}> is not known in <{_name(element)}>"
            )
    return children


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname


def _text(path: Path, element: etree._Element) -> str:
    text = (element.text or "").strip()
    if not text or len(element):
        raise RulesRefused(path, element.sourceline, f"<{_name(element)}> needs a text and nothing else")
    return text
