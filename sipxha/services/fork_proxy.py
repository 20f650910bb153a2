"""
The forking proxy: the domain's front door.

Admits requests, sends those of the domain by C{forwardingrules.xml} (to the
registrar, mostly) and all others to the authproxy, and follows the contacts
that come back.  It asks no permissions: those belong to the target that is
really dialled, which the authproxy sees.

It stays out of the dialogs that it helps to set up, but for those that need
it: of phones that can only be reached on a flow of ours (L{Edge}), and
subscriptions to a server of ours, which listens to nobody else.  Requests
inside such a dialog follow its route set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from sipxha.cdr import observe
from sipxha.routing import route_state
from sipxha.routing.emergency import NO_NUMBERS, EmergencyNumbers
from sipxha.routing.flow_token import TokenForged
from sipxha.routing.fork import Target, targets_of
from sipxha.routing.route import OwnNames, adapt_to_strict_router, as_safe, next_hop, push_route
from sipxha.routing.rules import DIRECT, ForwardingRules
from sipxha.services.call_attempts import CallAttempts
from sipxha.services.cluster import Admission, Cluster, Refusal
from sipxha.services.edge import Edge, FlowGone
from sipxha.services.neighbours import origin
from sipxha.services.proxy import IDENTITY, OPENS_DIALOG, Proxy
from sipxha.services.reg_event import ALLOW_EVENTS, OF_USERS, package
from sipxha.sip.address import Address
from sipxha.sip.grammar import split_list
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request, Response
from sipxha.sip.uri import Uri


class ForkProxy(Proxy):
    """
    The forking proxy of a node.
    """

    service = "proxy"
    recurse = True

    def __init__(
        self,
        reactor: Any,
        cluster: Cluster,
        address: str,
        port: int,
        names: OwnNames,
        tls_port: int | None = None,
        *,
        rules: ForwardingRules,
        authproxy: Uri,
        edge: Edge,
        emergency: EmergencyNumbers = NO_NUMBERS,
        own_authproxy: Uri | None = None,
        accept_strangers: bool,
        decline_ends_search: bool,
    ) -> None:
        """
        @param rules: can be replaced while running.

        @param authproxy: where requests go that no rule applies to.

        @param edge: knows the flows of this proxy.

        @param own_authproxy: that of this node, if it has one, by its address:
            where emergency calls go, which wait for no DNS.
        """
        super().__init__(reactor, cluster, address, port, names, tls_port)
        self.rules = rules
        self.decline_ends_search = decline_ends_search
        self.edge = edge
        self.emergency = emergency
        self.gateways: Callable[[Uri], list[str]] = _nobody
        """Where the rules of this node lead an emergency call, best first."""

        self.emergencies = 0
        """How many of them there were."""

        self.attempts = CallAttempts()
        """How the calls fare that come in here."""

        self._authproxy = authproxy
        self._own_authproxy = own_authproxy
        self._accept_strangers = accept_strangers

    def admit(self, request: Request, taken: list[Uri], flow: Flow) -> Admission | Refusal:
        """
        Ask a stranger for credentials before anything is looked up, so that
        scanners learn nothing; and see to it that the answer, and whatever
        follows, finds the flow that the request came on or goes to.

        A REGISTER is the registrar's to challenge.  A request inside a dialog
        goes on without an identity, unless it wants to be looked up: the
        authproxy knows by its own signature whether the dialog was let in, and
        says so when the far end is a GRUU.

        Of an emergency call nothing is asked at all, not even for a way that
        it knows.
        """
        emergency = self.emergency.called(request)
        if emergency is not None:
            return self._emergency(request, emergency, flow)
        if not request.request_uri.host:
            return Refusal(416)
        if request.method == "SUBSCRIBE" and self._is_unserved(request):
            return Refusal(489, None, (ALLOW_EVENTS,))
        try:
            way = self.edge.way(taken, flow, self._next_is_ours(request))
        except (TokenForged, FlowGone) as error:
            if isinstance(error, TokenForged):
                self.intruded(request, "a forged flow token")
            return Refusal(error.status)
        admission = self._admission(request, taken, flow, way)
        if isinstance(admission, Refusal):
            return admission
        if request.method == "REGISTER":
            if way is None and (self.edge.needs_flow(request, flow) or self.edge.wants_outbound(request)):
                return self._promise(request, flow, admission)
        elif request.method in OPENS_DIALOG and not request.to_tag:
            safe = request.request_uri.scheme == "sips"
            if self.edge.needs_flow(request, flow):
                self._record(request, self.edge.route(flow, safe=safe))
            if isinstance(way, Flow):
                self._record(request, self.edge.route(way, safe=safe))
        return admission

    def admit_ack(self, request: Request, taken: list[Uri], flow: Flow) -> Admission | None:
        """
        Leave that to the authproxy, which everything goes to but what has a
        flow of ours to go to.
        """
        try:
            way = self.edge.way(taken, flow, self._next_is_ours(request))
        except (TokenForged, FlowGone):
            return None
        is_recorded = self._is_recorded(request, taken)
        if way is not None and not is_recorded:
            return None
        return Admission(None, in_dialog=True, is_recorded=is_recorded, way=way)

    def _emergency(self, request: Request, uri: Uri, flow: Flow) -> Admission:
        """
        Let an emergency call in, to where the rules lead and nowhere else.
        """
        self.emergencies += 1
        source = origin(request.vias, self.cluster.knows)
        self._log.warn(
            "emergency call to {number} from {source}, by {caller}, Call-ID {call_id}",
            number=uri.user,
            source=source,
            caller=str(request.from_.uri)[:200],
            call_id=request.call_id,
        )
        request.uri = str(uri)
        for name in ("route", IDENTITY):
            request.remove(name)
        self.strip(request)
        if self.edge.needs_flow(request, flow):
            self._record(request, self.edge.route(flow, safe=uri.scheme == "sips"))
        return Admission(None, is_emergency=True)

    def targets(self, request: Request, admission: Admission) -> list[Target]:
        """
        The gateways for an emergency call, as far as this node knows them; for
        all else, and where it knows none, the server of the rules will say.
        """
        if admission.is_emergency:
            gateways = self.gateways(request.request_uri)
            if gateways:
                return targets_of([Address.parse(gateway) for gateway in gateways])
        return super().targets(request, admission)

    def _admission(
        self, request: Request, taken: list[Uri], flow: Flow, way: Flow | Uri | None
    ) -> Admission | Refusal:
        is_in_dialog = bool(request.to_tag)
        if is_in_dialog and self._is_recorded(request, taken):
            request.remove(IDENTITY)
            self.strip(request)
            return Admission(None, in_dialog=True, is_recorded=True, way=way)
        proven = self.proven(request)
        if proven is not None:
            return proven._replace(way=way) if isinstance(proven, Admission) else proven
        if request.method == "REGISTER" or is_in_dialog:
            if way is not None:
                # A flow is open to those who have proved something.
                self.intruded(request, "a flow of somebody else")
                return Refusal(403)
            if is_in_dialog and not request.has("route") and self.rules.serves(request.request_uri):
                # A tag is easily made up, and whether there is such a user is not for strangers.
                return self.challenge(request)
            return Admission(None, in_dialog=True)
        owner = self.edge.owner(request, flow) if way is None else None
        if owner is not None:
            return Admission(owner)
        is_welcome = self._accept_strangers or self.cluster.from_gateway(flow.address)
        # To our own users only: by a Route it could be led anywhere.
        is_for_us = not request.has("route") and self.rules.serves(request.request_uri)
        if is_welcome and way is None and is_for_us:
            return Admission(None)
        return self.challenge(request)

    def _is_unserved(self, request: Request) -> bool:
        """
        Whether a subscription asks for what no server of ours tells.  Phones
        try again and again; and they are not to ask each other.
        """
        if request.to.tag or request.has("route") or package(request) not in OF_USERS:
            return False
        uri = request.request_uri
        return self.rules.serves(uri) and not self.rules.singles_out(uri, request)

    def _is_recorded(self, request: Request, taken: list[Uri]) -> bool:
        """
        Whether a request belongs to a dialog that we have put ourselves into.
        """
        return route_state.is_admitted(self.cluster.secret, request, taken, route_state.EDGE_PARAMETER)

    def _next_is_ours(self, request: Request) -> bool:
        """
        Whether a request has a route, and that to one of our servers.
        """
        return request.has("route") and self.cluster.is_ours(request.routes[0].uri)

    def _promise(self, request: Request, flow: Flow, admission: Admission) -> Admission:
        """
        Have requests for a phone that registers sent here, and to its flow
        (RFC 3327 section 5.1, RFC 5626 section 5.1).
        """
        outbound = ";ob" if self.edge.wants_outbound(request) else ""
        safe = request.to.uri.scheme == "sips"
        request.prepend("path", f"<{self.edge.route(flow, safe=safe)}{outbound}>")
        return admission._replace(registers_over=flow)

    def _record(self, request: Request, route: str) -> None:
        """
        Stay in the dialog that a request opens.  What follows passes unasked,
        for the route bears our signature.
        """
        tag = request.from_tag or ""
        state = route_state.sign(self.cluster.secret, request.call_id, tag, route_state.EDGE_PARAMETER)
        request.prepend("record-route", f"<{route};{route_state.EDGE_PARAMETER}={state}>")

    def address(self, request: Request, target: Uri, admission: Admission) -> Uri | Flow:
        """
        Send where a token leads or the route set of a dialog of ours; else to
        the server of the rules, else to the authproxy.  The Route that a
        redirect put into its contact comes after that.
        """
        if str(target) == request.uri:
            if isinstance(admission.way, Flow):
                adapt_to_strict_router(request)
                return admission.way
            if admission.way is not None:
                if not admission.in_dialog:
                    self.vouch(request, admission)
                push_route(request, admission.way)
                return admission.way
            if admission.is_recorded:
                hop = next_hop(request)
                adapt_to_strict_router(request)
                return hop
        else:
            request.request_uri = target.bare()
            for name, value in _header_fields(target):
                if name == "route":
                    for route in reversed(split_list("route", value)):
                        request.prepend("route", route)
            if admission.is_emergency:
                return self._to_gateway(request, admission)
        uri = request.request_uri
        rule = None if request.has("route") else self.rules.route(uri, request)
        if rule == DIRECT:
            return uri
        if not admission.in_dialog:
            self.vouch(request, admission)
        if rule is not None and request.method == "SUBSCRIBE" and not request.to_tag:
            self._stay_with_server(request)
        hop = as_safe(self._authproxy if rule is None else _server(rule), uri)
        push_route(request, hop)
        adapt_to_strict_router(request)
        return hop

    def _to_gateway(self, request: Request, admission: Admission) -> Uri:
        """
        Send an emergency call to where the rules lead it, by the authproxy of
        this node.
        """
        own = self._own_authproxy
        is_safe = request.request_uri.scheme == "sips"
        hop = self._authproxy if own is None or is_safe else own
        hop = as_safe(hop, request.request_uri)
        self.vouch(request, admission)
        push_route(request, hop)
        return hop

    def _stay_with_server(self, request: Request) -> None:
        """
        Be in the dialog of a subscription that a server of the rules will
        notify: it listens to nobody but us (regevent: SUBSCRIBE and NOTIFY
        inside it follow their route set, and pass without a challenge).  Over a
        flow we are in it already.
        """
        if not self._is_recorded(request, [address.uri for address in request.record_routes]):
            self._record(request, f"sip:{self.observer};lr")

    def admitted(self, request: Request, admission: Admission) -> None:
        """
        Log that a call was requested.
        """
        if request.method == "INVITE" and not request.to_tag and admission.way is None:
            self.attempts.begun(request, self.reactor.seconds())
            self.log_event(observe.requested, request, caller_internal=admission.identity is not None)

    def answering(self, request: Request, response: Response, admission: Admission) -> None:
        """
        Log that a call failed; a challenge is no failure, and of a call that
        only passes on its way to a flow another proxy tells.  Remember who is
        registered over which flow.
        """
        if admission.registers_over is not None and 200 <= response.status < 300:
            self.edge.registered(request, response, admission.registers_over)
        if request.method != "INVITE" or request.to_tag or admission.way is not None:
            return
        self.attempts.answered(request, response.status, self.reactor.seconds())
        if response.status >= 300 and response.status not in (401, 407):
            self.log_event(observe.failed, request, response)
        if admission.is_emergency and response.status >= 300:
            self._log.error(
                "the emergency call {call_id} failed: {status} {reason}",
                call_id=request.call_id,
                status=response.status,
                reason=response.reason,
            )


# The few that the rules name.
_server = lru_cache(maxsize=64)(Uri.parse)


def _nobody(uri: Uri) -> list[str]:
    """
    A node without a registrar has no rules for numbers.
    """
    return []


def _header_fields(uri: Uri) -> list[tuple[str, str]]:
    """
    @return: the fields that a URI asks for (RFC 3261 section 19.1.1).
    """
    fields = []
    for part in uri.headers.split("&") if uri.headers else ():
        name, _, value = part.partition("=")
        fields.append((unquote(name).lower(), unquote(value)))
    return fields
