"""
What the forking proxy and the authproxy have in common: how a request comes
in (RFC 3261 sections 16.3 and 16.4) and who vouches for it.

A L{Proxy} takes each request through the checks that every proxy makes, asks
its subclass whether to admit it and where it goes, and leaves it to a
L{Forwarding}.  It keeps nothing about a request that is over, and no dialogs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.auth import identity as signed_identity
from sipxha.auth.security_events import REFUSED
from sipxha.cdr.event import CallStateEvent
from sipxha.errors import SipxhaError
from sipxha.net.endpoint import Endpoint, ITransactionUser, Remains
from sipxha.routing import loop
from sipxha.routing.fork import MAX_BREADTH, Target
from sipxha.routing.route import OwnNames, take_own_maddr, take_own_routes
from sipxha.services.cluster import Admission, Cluster, Refusal
from sipxha.services.forwarding import Forwarding
from sipxha.services.neighbours import entrance, origin
from sipxha.sip.auth_fields import Credentials
from sipxha.sip.grammar import MalformedField
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request, Response
from sipxha.sip.uri import Uri
from sipxha.transaction.vocabulary import ServerKey

IDENTITY = signed_identity.HEADER.lower()
"""The field in which a proved identity travels between our own servers."""

NOBODY = "anonymous@anonymous.invalid"
"""Whom our servers name to each other when a stranger was let in (RFC 3323)."""

EMERGENCY = "emergency@anonymous.invalid"
"""The same for whoever it is that calls for help, which needs no permission."""

OPENS_DIALOG = frozenset({"INVITE", "SUBSCRIBE", "REFER"})
"""Methods whose Record-Route becomes a route set."""

MAX_FORWARDS = 70
"""For requests that come without (RFC 3261 section 16.6 step 3)."""


@implementer(ITransactionUser)
class Proxy:
    """
    One proxy of a node.
    """

    service: str
    """Its element in the configuration."""

    recurse = False
    """Whether the contacts of a 3xx become targets."""

    decline_ends_search = True

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        cluster: Cluster,
        address: str,
        port: int,
        names: OwnNames,
        tls_port: int | None = None,
    ) -> None:
        """
        @param address: what this proxy puts into Via and Record-Route.

        @param names: under which it finds itself in Route headers.
        """
        self.reactor = reactor
        self.cluster = cluster
        self.observer = f"{address}:{port}"
        self.names = names
        self._host = f"[{address}]" if ":" in address else address
        self._sent_by = frozenset({(self._host, port), (self._host, None if port == 5060 else port)})
        if tls_port is not None:
            self._sent_by |= {(self._host, tls_port)}
        self._forwardings: dict[ServerKey, Forwarding] = {}
        self.endpoint: Endpoint

    @property
    def live(self) -> int:
        """
        Requests that are being forwarded.
        """
        return len(self._forwardings)

    # What the two proxies differ in

    def admit(self, request: Request, taken: list[Uri], flow: Flow) -> Admission | Refusal:
        """
        Decide whether a request may pass.

        @param taken: the own routes that it carried; they are removed already.

        @param flow: how it came.
        """
        raise NotImplementedError

    def admit_ack(self, request: Request, taken: list[Uri], flow: Flow) -> Admission | None:
        """
        Decide whether the ACK of a 2xx may pass; nobody can be asked anything.
        """
        raise NotImplementedError

    def targets(self, request: Request, admission: Admission) -> list[Target]:
        """
        Say where C{request} is to be tried first: where it says itself.
        """
        return [Target(request.request_uri)]

    def address(self, request: Request, target: Uri, admission: Admission) -> Uri | Flow:
        """
        Rewrite the copy of a request that goes to C{target}.

        @return: the next hop: its URI, or a flow of ours.
        """
        raise NotImplementedError

    def admitted(self, request: Request, admission: Admission) -> None:
        """
        Hear of a request that was let in, before it is sent anywhere.
        """

    def returning(self, request: Request, response: Response, admission: Admission) -> None:
        """
        Make of a response what the sender of the request can understand.
        """

    def answering(self, request: Request, response: Response, admission: Admission) -> None:
        """
        Hear of a response to a request, before it is sent upstream; not of the
        repetition of a 2xx.
        """

    def remains(self, request: Request, admission: Admission) -> Remains:
        """
        Say what L{returning_late} has to know of an INVITE that was answered.
        """
        return ()

    def returning_late(self, remains: Remains, response: Response, *, is_repeated: bool) -> None:
        """
        Do L{returning}, and L{answering} if this is a further dialog, with
        what is left of the INVITE.
        """

    # ITransactionUser

    def request_received(self, transaction: ServerKey, request: Request, flow: Flow) -> None:
        """
        Forward a request, or say why not.
        """
        key = loop.loop_key(self.cluster.secret, request)
        refusal = self._refusal(request, key)
        if refusal is not None:
            self._refuse(transaction, request, refusal)
            return
        forwarded = request.copy()
        take_own_maddr(forwarded, self.names)
        taken = take_own_routes(forwarded, self.names)
        admission = self.admit(forwarded, taken, flow)
        if isinstance(admission, Refusal):
            self._refuse(transaction, request, admission)
            return
        breadth = _breadth(request) or int(admission.is_emergency)
        if breadth == 0:
            self._refuse(transaction, request, Refusal(440))
            return
        if request.method == "INVITE":
            self.endpoint.trying(transaction, request)
        self.admitted(request, admission)
        _count_down(forwarded)
        forwarding = Forwarding(
            self, transaction, request, forwarded, admission, loop.branch_suffix(key), breadth
        )
        self._forwardings[transaction] = forwarding
        forwarding.start()

    def ack_received(self, request: Request, flow: Flow) -> None:
        """
        Pass on the ACK of a 2xx; it is never answered (P31).
        """
        if request.max_forwards == 0 or not request.request_uri.host:
            return
        ack = request.copy()
        ack.remove(IDENTITY)
        self.strip(ack)
        admission = self.admit_ack(ack, take_own_routes(ack, self.names), flow)
        if admission is None:
            return
        _count_down(ack)
        hop = self.address(ack, ack.request_uri, admission)
        if isinstance(hop, Flow):
            self.endpoint.send_ack(ack, [hop])
            return
        try:
            hops = self.cluster.known(hop)
        except SipxhaError as error:
            self._not_acknowledged(Failure(error))
            return
        if hops is not None:
            self.endpoint.send_ack(ack, hops)
            return
        located = self.cluster.locate(hop)
        located.addCallback(lambda hops: self.endpoint.send_ack(ack, hops))
        located.addErrback(self._not_acknowledged)

    def _not_acknowledged(self, failure: Failure) -> None:
        self._log.info("an ACK could not be sent: {error}", error=failure.value)

    def cancelled(self, transaction: ServerKey, reason: str | None = None) -> None:
        """
        Withdraw an INVITE from all its branches, for the same reason.
        """
        forwarding = self._forwardings.get(transaction)
        if forwarding is not None:
            forwarding.cancel(reason)

    def answered_late(self, remains: Remains, response: Response) -> Remains:
        """
        Pass on a 2xx that comes again, or from one more phone (RFC 3261
        section 16.7 step 5); without a Via it has nowhere to go (P26).
        """
        if not response.has("via"):
            return remains
        transaction, dialogs, *own = remains
        tag = response.to_tag
        is_repeated = tag in dialogs
        self.returning_late(tuple(own), response, is_repeated=is_repeated)
        self.endpoint.respond(ServerKey._make(transaction), response)
        return remains if is_repeated else (transaction, (*dialogs, tag), *own)

    def server_failed(self, transaction: ServerKey) -> None:
        """
        Upstream is gone: nobody waits for the branches any more.
        """
        forwarding = self._forwardings.get(transaction)
        if forwarding is not None:
            forwarding.cancel()

    # For our forwardings

    def ended(self, transaction: ServerKey) -> None:
        """
        Forget a request of which nothing more can come.
        """
        self._forwardings.pop(transaction, None)

    def log_event(
        self, observe: Callable[..., CallStateEvent], *messages: Request | Response, **columns: bool
    ) -> None:
        """
        Log what these messages say of a call.

        @param observe: one of the functions of L{sipxha.cdr.observe}.

        @param columns: what that function wants to know beyond the messages.
        """
        log = self.cluster.call_log
        if log is not None:
            now = self.reactor.seconds()
            log.record(observe(*messages, self.observer, log.next_seq(self.observer), now, **columns))

    def challenge(self, request: Request, stale: bool = False) -> Refusal:
        """
        @return: what asks the sender of C{request} for credentials.
        """
        now, authenticator = self.reactor.seconds(), self.cluster.authenticator
        transport, source = entrance(request.vias, self.cluster.knows)
        if not request.has("proxy-authorization"):
            authenticator.asked(source, now, transport, self.service, request.method, request.uri)
        challenges = authenticator.challenges(now, stale, source)
        return Refusal(407, None, tuple(("proxy-authenticate", value) for value in challenges))

    def proven(self, request: Request) -> Admission | Refusal | None:
        """
        Look for a proof of who sent C{request}: the signature of one of our own
        servers, or credentials, which are removed, for nobody beyond needs them.

        @return: C{None} where the sender claims nothing.
        """
        now = self.reactor.seconds()
        claims = request.rows(IDENTITY)
        request.remove(IDENTITY)
        for claim in claims:
            identity = signed_identity.verify(
                self.cluster.secret, claim, request.call_id, request.from_tag or "", now
            )
            if identity == EMERGENCY:
                return Admission(None, is_emergency=True)
            if identity is not None:
                return Admission(None if identity == NOBODY else identity)
        credentials = request.rows("proxy-authorization")
        if not credentials:
            return None
        authenticator = self.cluster.authenticator
        source = origin(request.vias, self.cluster.knows)
        verdict = authenticator.judge(credentials, request.method, request.uri, now, source)
        if verdict.identity is not None:
            self.strip(request)
            return Admission(verdict.identity)
        return self.challenge(request, verdict.stale)

    def intruded(self, request: Request, what: str) -> None:
        """
        Hear of a request that nobody sends by mistake.
        """
        transport, source = entrance(request.vias, self.cluster.knows)
        self.cluster.authenticator.security.saw(
            REFUSED,
            source,
            self.reactor.seconds(),
            transport=transport,
            service=self.service,
            method=request.method,
            detail=what,
        )

    def strip(self, request: Request) -> None:
        """
        Take off the credentials for us: beyond us nobody needs them, and who
        has them may guess the password (A17).
        """
        credentials = request.rows("proxy-authorization")
        if credentials:
            request.remove("proxy-authorization")
            for row in credentials:
                if not _is_for(row, self.cluster.authenticator.realm):
                    request.add("proxy-authorization", row)

    def vouch(self, request: Request, admission: Admission) -> None:
        """
        Tell our other servers that C{request} was let in, and whose it is.
        """
        request.set(
            IDENTITY,
            signed_identity.sign(
                self.cluster.secret,
                EMERGENCY if admission.is_emergency else admission.identity or NOBODY,
                request.call_id,
                request.from_tag or "",
                self.reactor.seconds(),
            ),
        )

    def _refusal(self, request: Request, key: str) -> Refusal | None:
        """
        The checks of RFC 3261 section 16.3 that are left after parsing.
        """
        if request.max_forwards == 0:
            return Refusal(483)
        options = request.values("proxy-require")
        if options:
            return Refusal(420, None, (("unsupported", ", ".join(options)),))
        request.via_count  # noqa: B018  (reading is the check: of more than there may be the sender is told 400)
        if loop.is_loop(request, self._sent_by, key):
            return Refusal(482)
        return None

    def _refuse(self, transaction: ServerKey, request: Request, refusal: Refusal) -> None:
        response = self.endpoint.own_response(request, refusal.status, refusal.reason)
        for name, value in refusal.fields:
            response.add(name, value)
        self.endpoint.respond(transaction, response)


def _is_for(credentials: str, realm: str) -> bool:
    try:
        return Credentials.parse(credentials).params.get("realm") == realm
    except MalformedField:
        return False


def _breadth(request: Request) -> int:
    """
    How many branches may become of a request (RFC 5393 section 5.3.3, LA2).

    @raise MalformedField: it says so in other than a number.
    """
    value = request.get("max-breadth")
    if value is None:
        return MAX_BREADTH
    if not (value.isascii() and value.isdecimal()):
        raise MalformedField("max-breadth", value)
    return min(int(value[:9]), MAX_BREADTH)


def _count_down(request: Request) -> None:
    """
    RFC 3261 section 16.6 step 3 (P02).
    """
    left = request.max_forwards
    request.max_forwards = MAX_FORWARDS if left is None else left - 1
