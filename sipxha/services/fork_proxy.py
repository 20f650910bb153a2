"""
The forking proxy: the domain's front door.

Admits requests, sends those of the domain by C{forwardingrules.xml} (to the
registrar, mostly) and all others to the authproxy, and follows the contacts
that come back.  It stays out of the dialogs that it helps to set up, and asks
no permissions: those belong to the target that is really dialled, which the
authproxy sees.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from sipxha.cdr import observe
from sipxha.routing.route import OwnNames, adapt_to_strict_router, as_safe, push_route
from sipxha.routing.rules import ForwardingRules
from sipxha.services.cluster import Admission, Cluster, Refusal
from sipxha.services.proxy import Proxy
from sipxha.sip.grammar import split_list
from sipxha.sip.message import Request, Response
from sipxha.sip.uri import Uri


class ForkProxy(Proxy):
    """
    The forking proxy of a node.
    """

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
        accept_strangers: bool,
        decline_ends_search: bool,
    ) -> None:
        """
        @param rules: can be replaced while running.

        @param authproxy: where requests go that no rule applies to.
        """
        super().__init__(reactor, cluster, address, port, names, tls_port)
        self.rules = rules
        self.decline_ends_search = decline_ends_search
        self._authproxy = authproxy
        self._accept_strangers = accept_strangers

    def admit(self, request: Request, taken: list[Uri]) -> Admission | Refusal:
        """
        Ask a stranger for credentials before anything is looked up, so that
        scanners learn nothing.

        A REGISTER is the registrar's to challenge.  A request inside a dialog
        goes on without an identity: the authproxy knows by its own signature
        whether the dialog was let in.
        """
        proven = self.proven(request)
        if proven is not None:
            return proven
        if request.method == "REGISTER" or request.to.tag:
            return Admission(None, in_dialog=True)
        if self._accept_strangers and self.rules.serves(request.request_uri):
            return Admission(None)
        return self.challenge(request)

    def passes_ack(self, request: Request, taken: list[Uri]) -> bool:
        """
        Leave that to the authproxy, which everything goes to.
        """
        return True

    def address(self, request: Request, target: Uri, admission: Admission) -> Uri:
        """
        Send to the server of the rules, else to the authproxy; the Route that a
        redirect put into its contact comes after that.
        """
        if str(target) != request.uri:
            request.uri = str(target.bare())
            for name, value in _header_fields(target):
                if name == "route":
                    for route in reversed(split_list("route", value)):
                        request.prepend("route", route)
        if not admission.in_dialog:
            self.vouch(request, admission)
        rule = None if request.has("route") else self.rules.route(request.request_uri, request)
        hop = as_safe(self._authproxy if rule is None else Uri.parse(rule), request.request_uri)
        push_route(request, hop)
        adapt_to_strict_router(request)
        return hop

    def admitted(self, request: Request, admission: Admission) -> None:
        """
        Log that a call was requested.
        """
        if request.method == "INVITE" and not request.to.tag:
            self.log_event(observe.requested, request, caller_internal=admission.identity is not None)

    def answering(self, request: Request, response: Response) -> None:
        """
        Log that a call failed; a challenge is no failure.
        """
        if request.method != "INVITE" or request.to.tag:
            return
        if response.status >= 300 and response.status not in (401, 407):
            self.log_event(observe.failed, request, response)


def _header_fields(uri: Uri) -> list[tuple[str, str]]:
    """
    @return: the fields that a URI asks for (RFC 3261 section 19.1.1).
    """
    fields = []
    for part in uri.headers.split("&") if uri.headers else ():
        name, _, value = part.partition("=")
        fields.append((unquote(name).lower(), unquote(value)))
    return fields
