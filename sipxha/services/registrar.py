"""
The registrar: the transaction user of a registrar's endpoint.

Takes each REGISTER through RFC 3261 section 10.3 in its order, answers 200
only when what it changed is on the disk, and hands all other requests to the
redirect server.  It keeps no state of its own: what is registered is the
registry's, retransmissions are the transaction layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.auth.digest import Authenticator
from sipxha.auth.security_events import REFUSED
from sipxha.errors import LocalError, RemoteError
from sipxha.net.endpoint import Endpoint, ITransactionUser, Remains
from sipxha.registry.binding import Binding
from sipxha.registry.gruu import Gruus
from sipxha.registry.register import (
    GRUU,
    OUTBOUND,
    Registration,
    RegistrationRefused,
    Terms,
    read_register,
    supports,
)
from sipxha.registry.table import Registered, Registry
from sipxha.services.change_log import ChangeLog
from sipxha.services.redirect import Redirect, bracketed
from sipxha.services.reg_event import ALLOW_EVENTS, OF_USERS, RegEvents, package
from sipxha.sip import ids
from sipxha.sip.grammar import quote
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.sip.via import Via
from sipxha.store.registrations import NotYetWritten, RegistrationStore
from sipxha.transaction.vocabulary import ServerKey

_SUPPORTED = frozenset(("path", OUTBOUND, GRUU))
"""Extensions that a REGISTER may require."""

FLOW_TIMER: Final = 120
"""How many seconds a flow may be silent (RFC 5626 section 4.4); the edge allows some more."""

Field = tuple[str, str]

_KEPT: Final = (("Require", OUTBOUND), ("Flow-Timer", str(FLOW_TIMER)))
"""What the 200 says to a phone whose flow counts."""


@implementer(ITransactionUser)
class RegistrarUser:
    """
    Registrar and redirect server of a node.

    @ivar endpoint: Where answers go; set before the first request comes.
    @ivar redirect: What answers all that is no REGISTER.
    @ivar reg_events: Takes subscriptions to registrations.
    """

    reg_events: RegEvents | None = None

    endpoint: Endpoint

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        terms: Terms,
        registry: Registry,
        store: RegistrationStore,
        authenticator: Authenticator,
        *,
        authenticate: bool,
        allowed: Callable[[str], bool],
        updated: Callable[[], None],
        acknowledged: Callable[[int], Deferred[None] | None] | None = None,
        mint: Callable[[], str],
        change_log: ChangeLog | None = None,
    ) -> None:
        """
        @param authenticator: Its users are the users of the domain, whether
            or not they have to prove who they are.
        @param allowed: Whether an address belongs to us or to another node;
            requests are served, and the Vias that were stamped there
            believed, from nowhere else.
        @param updated: Called when there is something new to replicate.
        @param acknowledged: Tells of an update that is on the disk when a peer
            has it too, and the 200 may go; without it the own disk is enough.
        @param change_log: Shared with others who change registrations.
        """
        self._reactor = reactor
        self._terms = terms
        self._registry = registry
        self._store = store
        self._authenticator = authenticator
        self._authenticate = authenticate
        self._allowed = allowed
        self._updated = updated
        self._acknowledged = acknowledged
        self._mint = mint
        self._change_log = ChangeLog() if change_log is None else change_log
        self.redirect = Redirect(terms.domain, terms.gruus, registry, lambda: authenticator.users)

    # -- ITransactionUser --------------------------------------------------

    def request_received(self, transaction: ServerKey, request: Request, flow: Flow) -> None:
        """
        Register, or redirect.
        """
        try:
            if not self._allowed(flow.address):
                self._intruded(request, f"{flow.transport}:{flow.address}:", "a port of the nodes")
                raise RegistrationRefused(403, "Forbidden")
            if request.method == "REGISTER":
                self._register(transaction, request, flow)
            elif request.method == "SUBSCRIBE" and package(request) == "reg" and self.reg_events is not None:
                received = _source(request, flow, self._allowed)
                self.reg_events.subscribed(transaction, request, received)
            else:
                answer = self.redirect.answer(request, self._reactor.seconds())
                if request.method == "SUBSCRIBE" and (answer.status != 302 or package(request) in OF_USERS):
                    raise RegistrationRefused(489, "Bad Event", (ALLOW_EVENTS,))
                self._respond(transaction, request, answer.status, fields=answer.fields)
        except RegistrationRefused as refused:
            self._refuse(transaction, request, flow, refused.status, refused.reason, refused.fields)
        except (RemoteError, LocalError) as error:
            self._refuse(transaction, request, flow, error.status, None, ())

    def answer_at_once(self, request: Request, flow: Flow) -> Response | None:
        """
        Redirect a request of a proxy that is in our own process.

        @return: C{None} for what is not told in a redirection: the proxy sends
            it, and hears in L{request_received}'s own way.
        """
        if request.method in ("REGISTER", "SUBSCRIBE") or not self._allowed(flow.address):
            return None
        try:
            answer = self.redirect.answer(request, self._reactor.seconds())
        except (RemoteError, LocalError):
            return None
        if answer.status != 302:
            return None
        return response_to(request, 302, to_tag=ids.tag(self._mint), fields=answer.fields)

    def ack_received(self, request: Request, flow: Flow) -> None:
        """
        Drop it: we send no 2xx to an INVITE.
        """

    def cancelled(self, transaction: ServerKey, reason: str | None = None) -> None:
        """
        Nothing to do: an INVITE is answered as soon as it is there.
        """

    def answered_late(self, remains: Remains, response: Response) -> Remains:
        """
        Nothing: it invites nobody.
        """
        return remains

    def server_failed(self, transaction: ServerKey) -> None:
        """
        Nothing to do: nothing is kept for an answer.
        """

    # -- flows -------------------------------------------------------------

    def flow_closed(self, token: str) -> None:
        """
        A flow of this node is no more: nobody is bound over it any longer, on
        any node (RFC 5626 section 7).

        @param token: The user part of the Path URI that named it.
        """
        now = self._reactor.seconds()
        rows = self._registry.end_flow(token, now)
        if rows:
            if self.reg_events is not None:
                self.reg_events.deactivated(rows)
            self._change_log.changed(rows, "flow closed", now)
            committed = self._store.commit(rows)
            # What could not be written is written later, and replicated now.
            committed.addErrback(lambda failure: failure.trap(NotYetWritten) and None)
            self._updated()

    # -- REGISTER ----------------------------------------------------------

    def _register(self, transaction: ServerKey, request: Request, flow: Flow) -> None:
        """
        RFC 3261 section 10.3, step by step.
        """
        now = self._reactor.seconds()
        identity = self._identity(request)
        received = _source(request, flow, self._allowed)
        self.authorize(request, identity, received, now)
        registration = read_register(request, identity, received, self._terms)
        registered = self._registry.register(registration, now)
        if registration.is_query:
            self._confirm(transaction, request, registration, registered.bindings, now)
            return
        # Without rows it is a repetition, whose rows may still be on their way.
        committed = self._store.commit(registered.rows)
        if registered.rows and self._acknowledged is not None:
            committed.addCallback(self._await_peer, registered.rows[0].update_number)
        committed.addCallbacks(
            self._committed,
            self._not_committed,
            callbackArgs=(transaction, request, registration, registered, now),
            errbackArgs=(transaction, request, flow, registered, now),
        )
        committed.addErrback(self._failed, request)
        if registered.rows:
            # Peers are told while the disk is at work.
            self._updated()

    def _identity(self, request: Request) -> str:
        """
        Steps 1, 2 and 5: whose registration this is.
        """
        domain = self._terms.domain
        if not domain.serves(request.request_uri):
            raise RegistrationRefused(404, "Domain Is Not Served Here")
        if request.has("require"):
            unsupported = [tag for tag in request.values("require") if tag.lower() not in _SUPPORTED]
            if unsupported:
                raise RegistrationRefused(420, "Bad Extension", (("Unsupported", ", ".join(unsupported)),))
        to = request.to.uri
        if to.scheme not in ("sip", "sips"):
            raise RegistrationRefused(400, "To Is No SIP URI")
        identity = domain.identity(to)
        if identity is None:
            raise RegistrationRefused(404, "Not Found")
        return identity

    def authorize(self, request: Request, identity: str, received: str, now: float) -> None:
        """
        Steps 3 and 4: only its owner may change an address-of-record, or
        watch it.

        @raise RegistrationRefused: It is not proven that C{identity} sent this.
        """
        if not self._authenticate:
            if not self._authenticator.users.knows(identity):
                raise RegistrationRefused(404, "Not Found")
            return
        values = request.rows("authorization")
        transport, _, place = received.partition(":")
        source = place.rpartition(":")[0]
        if not values:
            to = request.get("to") or ""
            self._authenticator.asked(source, now, transport, "registrar", request.method, to)
        verdict = self._authenticator.judge(values, request.method, request.uri, now, source)
        if verdict.identity is None:
            if verdict.is_wrong:
                self._log.info(
                    "wrong password for {to} from {address}",
                    to=(request.get("to") or "")[:200],
                    address=received,
                )
            challenges = self._authenticator.challenges(now, verdict.stale, source)
            fields = tuple(("WWW-Authenticate", challenge) for challenge in challenges)
            raise RegistrationRefused(401, "Unauthorized", fields)
        if verdict.identity != identity:
            self._intruded(request, received, f"{verdict.identity} for {identity}")
            raise RegistrationRefused(403, "Forbidden")

    def _intruded(self, request: Request, received: str, what: str) -> None:
        """
        Hear of a request that nobody sends by mistake.
        """
        transport, _, place = received.partition(":")
        self._authenticator.security.saw(
            REFUSED,
            place.rpartition(":")[0],
            self._reactor.seconds(),
            transport=transport,
            service="registrar",
            method=request.method,
            detail=what,
        )

    def _await_peer(self, _: None, number: int) -> Deferred[None] | None:
        return None if self._acknowledged is None else self._acknowledged(number)

    def _committed(
        self,
        _: None,
        transaction: ServerKey,
        request: Request,
        registration: Registration,
        registered: Registered,
        now: float,
    ) -> None:
        self._confirm(transaction, request, registration, registered.bindings, now)
        # Nobody waits for the log.
        self._change_log.registered(registered.rows, registered.before, now)

    def _not_committed(
        self,
        failure: Failure,
        transaction: ServerKey,
        request: Request,
        flow: Flow,
        registered: Registered,
        now: float,
    ) -> None:
        failure.trap(NotYetWritten)
        # What is in memory is written later, and was replicated.
        self._refuse(transaction, request, flow, 503, None, ())
        self._change_log.registered(registered.rows, registered.before, now)

    def _failed(self, failure: Failure, request: Request) -> None:
        self._log.failure("REGISTER {callid} was not answered", failure, callid=request.call_id)

    # -- answers -----------------------------------------------------------

    def _confirm(
        self,
        transaction: ServerKey,
        request: Request,
        registration: Registration,
        bindings: Sequence[Binding],
        now: float,
    ) -> None:
        """
        Step 8: all that is current now.
        """
        self._change_log.confirmed += 1
        self._change_log.delays.took(self._reactor.seconds() - now)
        gruus = self._terms.gruus if supports(request, GRUU) else None
        fields: list[Field] = [("Contact", _listed(row, now, gruus)) for row in bindings]
        if request.has("path"):
            fields += [("Path", value) for value in request.rows("path")]
        if registration.is_outbound:
            fields += _KEPT
        fields.append(("Date", _date(int(now))))
        self._respond(transaction, request, 200, fields=fields)

    def _refuse(
        self,
        transaction: ServerKey,
        request: Request,
        flow: Flow,
        status: int,
        reason: str | None,
        fields: Sequence[Field],
    ) -> None:
        if request.method == "REGISTER":
            self._change_log.refusals[status] += 1
        if status != 401:
            self._log.info(
                "{method} for {to} from {address} refused: {status} {reason}",
                method=request.method,
                to=(request.get("to") or "")[:200],
                address=_source(request, flow, self._allowed),
                status=status,
                reason=reason or "",
            )
        self._respond(transaction, request, status, reason, fields)

    def _respond(
        self,
        transaction: ServerKey,
        request: Request,
        status: int,
        reason: str | None = None,
        fields: Sequence[Field] = (),
    ) -> None:
        response = response_to(request, status, reason, to_tag=ids.tag(self._mint), fields=fields)
        self.endpoint.respond(transaction, response)


def _listed(row: Binding, now: float, gruus: Gruus | None) -> str:
    """
    A binding as the 200 shows it, with the seconds that are left.

    @param gruus: Shown to those who know what they are (RFC 5627 section 5.2).
    """
    contact = f"{bracketed(row.contact)};expires={max(round(row.deadline - now), 1)}"
    if row.qvalue:
        contact += f";q={row.qvalue}"
    if row.instance_id:
        contact += f";+sip.instance={quote(row.instance_id)}"
        if gruus is not None:
            contact += f";pub-gruu={quote(gruus.public(row))};temp-gruu={quote(gruus.temporary(row))}"
    if row.reg_id:
        contact += f";reg-id={row.reg_id}"
    return contact


def _source(request: Request, flow: Flow, allowed: Callable[[str], bool]) -> str:
    """
    Where a request came into the cluster.

    Each Via was stamped by who received it: the top one here, the next one by
    the sender of the top one.  The chain is believed as far as those are ours.
    """
    transport, address, port = flow.transport, flow.address, flow.port
    if allowed(address):
        for value in request.values("via")[1:]:
            via = Via.parse(value)
            transport = via.transport.lower()
            address = via.received or via.host.strip("[]")
            port = int(via.rport or via.port or 5060)
            if not allowed(address):
                break
    return f"{transport}:{address}:{port}"


@lru_cache(maxsize=8)
def _date(now: int) -> str:
    """
    The Date field (RFC 3261 section 20.17), formatted once a second.
    """
    return formatdate(now, usegmt=True)
