"""
The authproxy: the last of our servers before a phone or a gateway.

Asks C{authrules.xml} what the target that is really dialled demands, and stays
in the dialog by Record-Route, so that it sees how calls end.  It does not fork
and follows no redirection; those go back to the forking proxy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sipxha.cdr import observe
from sipxha.net.endpoint import Remains
from sipxha.routing import route_state
from sipxha.routing.caller_alias import CallerAliases
from sipxha.routing.flow_token import is_token
from sipxha.routing.permissions import AuthRules, is_permitted
from sipxha.routing.route import OwnNames, adapt_to_strict_router, next_hop
from sipxha.routing.route_state import CallerNames
from sipxha.services.cluster import Admission, Cluster, Refusal
from sipxha.services.proxy import IDENTITY, OPENS_DIALOG, Proxy
from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField
from sipxha.sip.hop import Flow
from sipxha.sip.limits import UNLIMITED
from sipxha.sip.message import Request, Response
from sipxha.sip.parser import parse_message
from sipxha.sip.uri import Uri

LONGEST_NAME = 512
"""Characters of a From that go into a Record-Route, beside its alias."""

NO_ALIASES = CallerAliases()


class OwnRoutes(NamedTuple):
    """
    How requests inside a dialog find the authproxy: the URIs of its
    Record-Route.
    """

    plain: str
    """For whoever needs no other."""

    over_tcp: str
    """For whoever is reached over TCP only."""

    safe: str
    """For sips."""


class AuthProxy(Proxy):
    """
    The authproxy of a node.
    """

    service = "authproxy"

    def __init__(
        self,
        reactor: Any,
        cluster: Cluster,
        address: str,
        port: int,
        names: OwnNames,
        tls_port: int | None = None,
        *,
        routes: OwnRoutes,
        rules: AuthRules,
        aliases: CallerAliases = NO_ALIASES,
    ) -> None:
        """
        @param rules: can be replaced while running.

        @param aliases: can be replaced, too.
        """
        super().__init__(reactor, cluster, address, port, names, tls_port)
        self.rules = rules
        self.aliases = aliases
        self._routes = routes

    def admit(self, request: Request, taken: list[Uri], flow: Flow) -> Admission | Refusal:
        """
        Let in what belongs to a dialog that bears our signature; of anything
        else ask who sent it and whether they may.
        """
        if not request.request_uri.host:
            return Refusal(416)
        if request.to_tag and route_state.is_admitted(self.cluster.secret, request, taken):
            request.remove(IDENTITY)
            self.strip(request)
            return self._in_dialog(request, taken)
        proven = self.proven(request)
        if proven is None:
            return self.challenge(request)
        if isinstance(proven, Refusal) or proven.is_emergency:
            return proven
        required = self.rules.required(request.request_uri)
        users = self.cluster.authenticator.users
        held = users.permissions(proven.identity) if proven.identity else frozenset()
        if is_permitted(required, proven.identity, held):
            return proven
        if proven.identity is None:
            return self.challenge(request)
        return Refusal(403, f"Requires {'|'.join(sorted(required))}")

    def admit_ack(self, request: Request, taken: list[Uri], flow: Flow) -> Admission | None:
        """
        Let it pass inside a dialog of ours; any other is nobody's.
        """
        if not route_state.is_admitted(self.cluster.secret, request, taken):
            return None
        return self._in_dialog(request, taken)

    def _in_dialog(self, request: Request, taken: list[Uri]) -> Admission:
        names = route_state.names_of(self.cluster.secret, request, taken)
        return Admission(None, in_dialog=True, names=names)

    def address(self, request: Request, target: Uri, admission: Admission) -> Uri:
        """
        Send to where the request says; the signed identity does not leave our
        own servers.
        """
        hop = next_hop(request)
        if admission.names is not None:
            _rename(request, admission.names)
        names = self._give_alias(request) if self.aliases and not request.to_tag else None
        if request.method in OPENS_DIALOG and not request.to_tag:
            self._record(request, hop, names)
        # To a GRUU a dialog comes by the forking proxy, which does not know it; by a token it does.
        if self.cluster.is_ours(hop) and not (admission.in_dialog and is_token(hop.user)):
            # Whoever in our domain is called for help may not lead that call wherever he likes.
            self.vouch(request, admission._replace(is_emergency=False))
        adapt_to_strict_router(request)
        return hop

    def admitted(self, request: Request, admission: Admission) -> None:
        """
        Log that a call ended or was transferred: once, where the dialog is
        known.  What is for a GRUU comes a second time, in nobody's name.
        """
        if request.to_tag and not admission.in_dialog and admission.identity is None:
            return
        if request.method == "BYE":
            self.log_event(observe.ended, request)
        elif request.method == "REFER":
            self.log_event(observe.transferred, request)

    def returning(self, request: Request, response: Response, admission: Admission) -> None:
        """
        Give a caller his own name back.
        """
        if self._renames(admission):
            _take_back(request, response)

    def answering(self, request: Request, response: Response, admission: Admission) -> None:
        """
        Log that a call was set up.
        """
        if request.method == "INVITE" and 200 <= response.status < 300:
            self.log_event(observe.set_up, request, response)

    def remains(self, request: Request, admission: Admission) -> Remains:
        """
        The INVITE as it came, and whether somebody has another name in it.
        """
        return (request.encode(), self._renames(admission))

    def returning_late(self, remains: Remains, response: Response, *, is_repeated: bool) -> None:
        """
        Do the same as ever, for which the INVITE is read again.
        """
        written, renames = remains
        if is_repeated and not renames:
            return
        request = parse_message(written, UNLIMITED)
        assert isinstance(request, Request)
        if renames:
            _take_back(request, response)
        if not is_repeated:
            self.log_event(observe.set_up, request, response)

    def _renames(self, admission: Admission) -> bool:
        return bool(self.aliases) or admission.names is not None

    def _give_alias(self, request: Request) -> CallerNames | None:
        """
        Let the caller be known by another name where he calls, if the rules
        say so (proxy of sipX: fromalias).
        """
        caller = request.from_
        alias = self.aliases.alias(caller.uri, request.request_uri, self.cluster.domain)
        own = request.get("from") or ""
        if alias is None or len(own) > LONGEST_NAME:
            return None
        names = CallerNames(own, f"{alias};tag={caller.tag}" if caller.tag else alias)
        request.set("from", names.alias)
        return names

    def _record(self, request: Request, hop: Uri, names: CallerNames | None) -> None:
        """
        Stay in the dialog that a request opens: for both sides in one value
        where they can share it, else in one for each (RFC 5658, P14).  On a
        spiral the caller's side has its own already.
        """
        routes = self._routes
        if hop.scheme == "sips":
            callee = routes.safe
        else:
            callee = routes.over_tcp if (hop.params.get("transport") or "").lower() == "tcp" else routes.plain
        recorded = self._recorded(request)
        if recorded is None:
            caller = routes.safe if _is_safe(request) else routes.plain
            self._prepend_route(request, caller, names)
            if callee != caller:
                self._prepend_route(request, callee, names)
        elif names is not None or (callee != routes.plain and not str(recorded).startswith(callee)):
            self._prepend_route(request, callee, names)

    def _prepend_route(self, request: Request, route: str, names: CallerNames | None) -> None:
        secret, call_id = self.cluster.secret, request.call_id
        state = f";{route_state.PARAMETER}={route_state.sign(secret, call_id, request.from_tag or '')}"
        if names is not None:
            state += f";{route_state.CALLER_PARAMETER}={route_state.sign_names(secret, call_id, names)}"
        request.prepend("record-route", f"<{route}{state}>")

    def _recorded(self, request: Request) -> Uri | None:
        """
        The latest Record-Route of an authproxy, if there is one already.
        """
        if request.has("record-route"):
            for address in request.record_routes:
                if route_state.is_admitted(self.cluster.secret, request, [address.uri]):
                    return address.uri
        return None


def _rename(request: Request, names: CallerNames) -> None:
    """
    Inside a dialog call its caller what the receiver of C{request} knows him by.
    """
    tag = Address.parse(names.own).tag
    if request.from_tag == tag:
        request.set("from", names.alias)
    elif request.to_tag == tag:
        request.set("to", names.own)


def _take_back(request: Request, response: Response) -> None:
    """
    Name everybody as the sender of C{request} did.
    """
    response.set("from", request.get("from") or "")
    if request.to_tag:
        response.set("to", request.get("to") or "")


def _is_safe(request: Request) -> bool:
    """
    Whether the caller wants to be called back safely: his Contact is sips
    where his own request was (RFC 3261 section 12.1.1), whatever it became.
    """
    if "sips:" not in (request.get("contact") or "").lower():
        return False
    try:
        return bool(request.contacts) and request.contacts[0].uri.scheme == "sips"
    except MalformedField:
        return False
