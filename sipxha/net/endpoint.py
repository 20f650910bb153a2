"""
One SIP service's ends of the wire, and the transactions on them.

An L{Endpoint} joins L{TransactionLayer}, L{Transports} and a transaction user:
what a service (registrar, proxy) sees of SIP are whole new requests, answers
to its own, and the loss of either.  It tries the hops that it is given in
order (RFC 3263 section 4.3), but does not look them up, and it makes no
decision about a request beyond whether it can be understood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sipxha.auth.security_events import MALFORMED, SecurityEvents
from sipxha.config.model import DEFAULT_LIMITS, Limits, Ports
from sipxha.errors import LocalError, RemoteError
from sipxha.net.branch import FAILINGS, Branch, IBranchObserver
from sipxha.net.driver import Driver
from sipxha.net.handover import Handover, Remains, Sender
from sipxha.net.hep import Mirror
from sipxha.net.own_via import OwnVia
from sipxha.net.siblings import HANDED, Siblings
from sipxha.net.sip_tls import SipTls
from sipxha.net.traffic import INSIDE, Counts, count_request, no_messages
from sipxha.net.transaction_user import ITransactionUser
from sipxha.net.transports import DEFAULT_PORTS, Transports
from sipxha.sip import ids
from sipxha.sip.check import check
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import MalformedMessage, Request, Response
from sipxha.sip.response import response_to
from sipxha.sip.stamp import stamp
from sipxha.sip.values import Message
from sipxha.transaction import vocabulary
from sipxha.transaction.layer import TransactionLayer
from sipxha.transaction.vocabulary import AckArrived, ClientKey, Effect, RequestArrived, ServerKey

__all__ = ["Branch", "Endpoint", "IBranchObserver", "ITransactionUser", "Remains"]

LARGE = 1300
"""More bytes than this do not go over UDP if it can be helped (RFC 3261 section 18.1.1)."""

# Past the constructor of a named tuple, which is slow.
_new = tuple.__new__

DRAIN_RETRY = 60
"""Seconds for which others need not try a node again that is about to end."""


class Endpoint(Service):
    """
    The SIP address of one service.

    @ivar advertised: The address that other elements use for us.
    @ivar is_draining: Whether what is new is to go to other nodes: it is answered 503.
    @ivar sent: The messages that went out.
    @ivar received: The messages that came in, repetitions and such as belong to nothing included.
    @ivar malformed: How many messages came in that are none, or against the rules.
    @ivar failovers: How often a request of ours went on to its next hop, by what was wrong with the one before.

    @ivar gate: Asked about each new request; one that it turns away with a
        number of seconds is answered 503, and forgotten.
    @ivar spares: Whether a request is served even while we drain: a call for help.
    @ivar at_once: What our user can answer without a transaction, if a sibling
        asks; else C{None}.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        name: str,
        ports: Ports,
        listen: str,
        advertised: str,
        user: ITransactionUser,
        mint: Callable[[], str],
        tls: SipTls | None = None,
        limits: Limits = DEFAULT_LIMITS,
        is_neighbour: Callable[[str], bool] = lambda address: False,
        siblings: Siblings | None = None,
        security: SecurityEvents | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        """
        @param tls: Must be there if a TLS port is.
        @param is_neighbour: Whether an address is that of a server of ours,
            which may open any number of connections.
        @param siblings: The other endpoints of this process.
        @param security: Hears of what is no SIP.
        @param mirror: Sees what passes through the sockets.
        """
        self.setName(name)
        self.advertised = advertised
        self.gate: Callable[[Request, Flow], int | None] | None = None
        self.spares: Callable[[Request], bool] = lambda request: False
        self.at_once: Callable[[Request, Flow], Response | None] | None = None
        self._host = (f"[{advertised}]" if ":" in advertised else advertised).lower()
        self._user = user
        self._mint = mint
        self._security = security or SecurityEvents()
        self._reactor = reactor
        self._layer = TransactionLayer()
        self._driver: Driver[Effect] = Driver(reactor, self._layer, self._perform, self._perform_failed)
        self._siblings = Siblings(reactor) if siblings is None else siblings
        self._transports = Transports(reactor, listen, ports, self, tls, limits, is_neighbour, mirror)
        self._own_vias: dict[str, OwnVia] = {}
        self._attempts: dict[ClientKey, tuple[Branch, Hop | Flow]] = {}
        """Each request as it was sent to one hop."""

        self._left: dict[tuple[str, ...], Remains] = {}
        self._held: dict[tuple[str, ...], tuple[Any, ...]] = {}
        self.is_draining = False
        self._own_addresses = frozenset((listen, advertised))
        self.sent: Counts = self._transports.sent
        self.received = no_messages()
        self.malformed = 0
        self.failovers = dict.fromkeys(FAILINGS, 0)
        self._performers: dict[type, Callable[[Any], None]] = {
            vocabulary.SendRequest: self._send_request,
            vocabulary.RepeatRequest: self._repeat_request,
            vocabulary.SendResponse: self._send_response,
            vocabulary.RepeatResponse: self._repeat_response,
            vocabulary.RequestArrived: self._request_arrived,
            vocabulary.AckArrived: self._ack_arrived,
            vocabulary.ResponseArrived: self._response_arrived,
            vocabulary.ClientSilent: self._client_silent,
            vocabulary.ClientTimedOut: self._client_timed_out,
            vocabulary.ClientFailed: self._client_failed,
            vocabulary.ServerTimedOut: self._server_timed_out,
            vocabulary.Finished: self._finished,
        }

    # Life

    def bind(self) -> None:
        """
        Take the ports, and serve from now on; nothing happens if we have them.

        @raise CannotBind: A port is not to be had; then none is kept.
        """
        self._transports.bind()
        for transport, port in self._transports.bound.items():
            self._own_vias[transport] = OwnVia(transport, self._host, port)
            self._siblings.add(transport, self.advertised, port, self)

    def startService(self) -> None:
        """
        L{bind}, unless that was done before.
        """
        Service.startService(self)
        self.bind()

    def stopService(self) -> Deferred[None]:
        """
        Close every port and connection, and forget all transactions.
        """
        Service.stopService(self)
        self._driver.stop()
        self._siblings.remove(self)
        return self._transports.unbind()

    def port(self, transport: str) -> int | None:
        """
        The port that is bound for C{"udp"}, C{"tcp"} or C{"tls"}, or that would be.
        """
        return self._transports.port(transport)

    def is_alive(self, flow: Flow) -> bool:
        """
        Whether a request can be sent on a flow; over UDP, whenever we can send at all.
        """
        if flow.transport == "udp":
            return self._transports.speaks(flow)
        return self._transports.connections.is_alive(flow.connection)

    def ping(self, flow: Flow) -> None:
        """
        Keep the NAT awake that a flow over UDP goes through: two line ends,
        which phones ignore (RFC 5626 section 3.5.1 has them for connections).
        """
        self._transports.send(b"\r\n\r\n", flow, None)

    def watch(self, closed: Callable[[Flow], None]) -> None:
        """
        Have C{closed} told of each connection that is lost.
        """
        self._transports.connections.closed = closed

    @property
    def transactions(self) -> int:
        """
        How many transactions are alive, and requests that siblings handed over
        and that have no answer.
        """
        return self._layer.live + self._siblings.unanswered(self)

    @property
    def unanswered(self) -> int:
        """
        How many requests still wait for their final answer.
        """
        return self._layer.unanswered + self._siblings.unanswered(self)

    @property
    def open_connections(self) -> dict[str, int]:
        """
        How many connections there are, by transport.
        """
        return self._transports.connections.open

    @property
    def refused_connections(self) -> int:
        """
        How many were closed at once, for their address had too many.
        """
        return self._transports.connections.refused

    # For the transaction user

    def respond(self, transaction: ServerKey, response: Response) -> None:
        """
        Answer a request.  An answer that comes too late is dropped.

        @param response: Not to be changed any more.
        """
        if isinstance(transaction, Handover):
            if transaction.respond(response):
                self._count_answer(transaction.sender, response.status)
            return
        effects = self._layer.respond(transaction, response, self._driver.now())
        self._driver.perform(effects)
        if not effects and transaction.method == "INVITE":
            sender = self._siblings.respond_late(transaction, response)
            if sender is not None:
                self._count_answer(sender, response.status)

    def trying(self, transaction: ServerKey, request: Request) -> None:
        """
        Say that the answer to an INVITE will take its time: 100.
        """
        if not isinstance(transaction, Handover):
            self.respond(transaction, response_to(request, 100))
        elif transaction.trying():
            self._count_answer(transaction.sender, 100)

    def request(
        self,
        request: Request,
        hops: Sequence[Hop | Flow],
        observer: IBranchObserver,
        *,
        branch_suffix: str = "",
        first_answer: float | None = None,
        last_answer: float | None = None,
    ) -> Branch:
        """
        Send a request to the first of these hops that takes it.

        @param request: Without our Via; ours from now on.

        @param branch_suffix: Added to each branch parameter (RFC 3261 section
            16.6, point 8).

        @param first_answer: Seconds after which a silent hop is left for the
            next one; without, that takes until timer B or F.

        @param last_answer: The same for the last of them, which ends in 408.
        """
        bound = self._transports.bound
        spoken = [hop for hop in hops if hop.transport in bound]
        branch = Branch(self, request, spoken, observer, branch_suffix, first_answer, last_answer)
        if spoken:
            branch.next_hop()
        else:
            self._reactor.callLater(0, branch.next_hop)
        return branch

    def ask(self, request: Request, hop: Hop | Flow) -> Response | None:
        """
        Have a service of this process answer a request on the spot.

        Two transactions for what a look into a table tells cost a third of a
        call.

        @param request: Without our Via; it is not changed.

        @return: C{None} where this hop has to be sent it.
        """
        sibling = self._siblings.at(hop)
        if sibling is None or sibling.at_once is None or hop.transport not in self._transports.bound:
            return None
        response = sibling.answer_at_once(request, self._flow_to(hop))
        if response is not None:
            count_request(self.sent[INSIDE], request.method)
            self.received[INSIDE][response.status // 100] += 1
        return response

    def send_ack(self, request: Request, hops: Sequence[Hop | Flow]) -> None:
        """
        Forward the ACK of a 2xx, without a transaction, to the first hop whose
        transport we speak.

        Its branch follows from what came (RFC 3261 section 16.11), so that the
        ACK of a repeated 2xx is known again where it goes.

        @param request: As for L{request}.
        """
        branch = _derived_branch(request) if request.has("via") else ids.branch(self._mint)
        for hop in hops:
            if self._transports.speaks(hop):
                self._own_vias[hop.transport].put_on(request, branch)
                sibling = self._siblings.at(hop)
                if sibling is None:
                    self._transports.request(request, hop, None)
                else:
                    self.sent[INSIDE]["ACK"] += 1
                    self._siblings.pass_on(sibling.ack_handed, AckArrived(request, self._flow_to(hop)))
                return

    def send_stateless_response(self, response: Response, flow: Flow) -> None:
        """
        Answer a request that has no transaction.
        """
        self._transports.respond(response, flow, None)

    def own_response(self, request: Request, status: int, reason: str | None = None) -> Response:
        """
        A response that this element makes itself, with a To tag of its own.
        """
        return response_to(request, status, reason, to_tag=ids.tag(self._mint))

    # For our branches

    def attempt(
        self, branch: Branch, request: Request, hop: Hop | Flow, patience: float | None, *, may_detour: bool
    ) -> tuple[ClientKey | Handover, bool]:
        """
        Send a branch's request to one hop; called by L{Branch}.

        @param request: Without our Via; the hop's from now on.

        @param may_detour: Whether a request that is too large for UDP goes
            over TCP instead.

        @return: The transaction, and whether such a detour was taken.
        """
        branch_id = ids.branch(self._mint) + branch.suffix
        via = self._own_vias[hop.transport]
        via.put_on(request, branch_id)
        sibling = self._siblings.at(hop)
        if sibling is not None:
            assert isinstance(hop, Hop)
            # It cannot be dead while we live, and when we are late, so is it:
            # patience would do nothing but harm.
            handover = Handover(branch_id, via.sent_by, request.method)
            handover.begin(self._siblings, self, branch, hop, sibling, self._flow_to(hop))
            handover.send(request)
            count_request(self.sent[INSIDE], request.method)
            return handover, False
        detoured = False
        if may_detour and hop.transport == "udp" and isinstance(hop, Hop) and len(request.encode()) > LARGE:
            over_tcp = hop._replace(transport="tcp")
            if self._transports.speaks(over_tcp):
                detoured = True
                hop = over_tcp
                request.replace_first("via", self._own_vias["tcp"].value(branch_id))
        key = _new(ClientKey, (branch_id, request.method))
        self._attempts[key] = (branch, hop)
        self._driver.perform(self._layer.send(request, hop, self._driver.now(), patience))
        return key, detoured

    def cancel(self, key: ClientKey | Handover, reason: str | None) -> None:
        """
        Cancel an INVITE that has been answered provisionally; called by
        L{Branch}.
        """
        if isinstance(key, Handover):
            key.cancel(reason)
        else:
            self._driver.perform(self._layer.cancel(key, reason, self._driver.now()))

    def withdraw(self, key: ClientKey, hop: Hop | Flow) -> None:
        """
        Do not send this request if it still waits for a connection; called by
        L{Branch}.
        """
        if self._transports.withdraw(hop, key):
            self.send_failed(key)

    def leave(self, key: ClientKey | Handover, remains: Remains) -> None:
        """
        Keep no more of an INVITE that had its 2xx than C{remains}; called by
        L{Branch}.
        """
        if isinstance(key, Handover):
            key.leave(remains)
        elif key in self._attempts and self._layer.rests(key):
            self._settle(key)
            self._left[tuple(key)] = remains

    # For our transports

    def message_received(self, message: Message, flow: Flow) -> None:
        """
        Something well-formed came in.
        """
        is_held = self._siblings.hold()
        try:
            self._take(message, flow)
        finally:
            if is_held:
                self._siblings.release()

    def _take(self, message: Message, flow: Flow) -> None:
        received = self.received[flow.transport]
        if isinstance(message, Request):
            count_request(received, message.method)
            try:
                if not self._is_let_in(message, flow):
                    return
                effects = self._layer.request_received(message, flow, self._driver.now())
            except MalformedMessage as error:
                self.malformed_received(error, flow)
                return
            except RemoteError as error:
                self._refuse(message, flow, error)
                return
        else:
            assert isinstance(message, Response)
            received[message.status // 100] += 1
            try:
                check(message)
                # RFC 3261 section 18.1.2: not ours, or misrouted.
                if message.outline.host != self._host:
                    return
                effects = self._layer.response_received(message, self._driver.now())
            except RemoteError:
                return
        self._driver.perform(effects)

    def _is_let_in(self, request: Request, flow: Flow) -> bool:
        """
        Whether a request from a socket is to be served; if not, it is answered.
        """
        check(request)
        stamp(request, flow.address, flow.port)
        if flow.transport == "tls":
            self._note_alias(request, flow)
        return self.gate is None or not self._is_turned_away(request, flow, self.gate)

    def malformed_received(self, error: MalformedMessage, flow: Flow) -> None:
        """
        Something came in that is not SIP, or hardly.
        """
        self.malformed += 1
        self._security.saw(
            MALFORMED,
            flow.address,
            self._driver.now(),
            transport=flow.transport,
            service=str(self.name),
            method="" if error.request is None else error.request.method,
            detail=str(error),
        )
        request = error.request
        if request is not None:
            try:
                stamp(request, flow.address, flow.port)
            except RemoteError:
                # Without a Via there is no way back.
                return
            self._refuse(request, flow, error)

    def send_failed(self, key: ClientKey | ServerKey) -> None:
        """
        What was to be sent for this transaction could not be.
        """
        self._driver.perform(self._layer.transport_failed(key, self._driver.now()))

    # For our siblings

    def answer_at_once(self, request: Request, flow: Flow) -> Response | None:
        """
        A sibling wants to know something.
        """
        response = None if self.at_once is None else self.at_once(request, flow)
        if response is not None:
            count_request(self.received[INSIDE], request.method)
            self.sent[INSIDE][response.status // 100] += 1
        return response

    def request_handed(self, handover: Handover, request: Request, flow: Flow) -> None:
        """
        A sibling, which has looked at it, hands us a request.
        """
        count_request(self.received[INSIDE], request.method)
        self._driver.perform((_new(RequestArrived, (handover, request, flow)),))

    def ack_handed(self, arrived: AckArrived) -> None:
        """
        A sibling hands us the ACK of a 2xx.
        """
        self.received[INSIDE]["ACK"] += 1
        self._driver.perform((arrived,))

    def handover_cancelled(self, handover: Handover, reason: str | None) -> None:
        """
        A sibling gave up an INVITE.
        """
        self.received[INSIDE]["CANCEL"] += 1
        handover.sender.sent[INSIDE]["CANCEL"] += 1
        self._count_answer(handover.sender, 200)
        if handover.is_open:
            self._user.cancelled(handover, reason)

    def answered_late(self, remains: Remains, response: Response) -> Remains:
        """
        A sibling has a further 2xx of an INVITE of which only this is left.
        """
        return self._user.answered_late(remains, response)

    def handover_expired(self, handover: Handover) -> None:
        """
        Our user has left a request of a sibling without an answer.
        """
        self._user.server_failed(handover)

    def _flow_to(self, hop: Hop | Flow) -> Flow:
        """
        How what we hand to a sibling comes to it.
        """
        transport = hop.transport
        here = self._transports.bound[transport]
        return _new(Flow, (transport, self.advertised, here, hop.address, hop.port, HANDED))

    def _count_answer(self, sender: Sender, status: int) -> None:
        self.sent[INSIDE][status // 100] += 1
        sender.received[INSIDE][status // 100] += 1

    def _note_alias(self, request: Request, flow: Flow) -> None:
        via = request.via
        if "alias" in via.params:
            self._transports.connections.add_alias(flow, via.port or DEFAULT_PORTS["tls"])

    def _is_turned_away(
        self, request: Request, flow: Flow, gate: Callable[[Request, Flow], int | None]
    ) -> bool:
        if request.method in ("ACK", "CANCEL") or self._layer.knows(request):
            return False
        seconds = gate(request, flow)
        if seconds is None:
            return False
        response = self.own_response(request, 503)
        response.add("retry-after", str(seconds))
        self.send_stateless_response(response, flow)
        return True

    def _refuse(self, request: Request, flow: Flow, error: RemoteError) -> None:
        if request.method == "ACK":
            return
        reason = error.reason if isinstance(error, MalformedMessage) else None
        response = response_to(request, error.status, reason, to_tag=ids.tag(self._mint))
        self.send_stateless_response(response, flow)

    def _settle(self, key: ClientKey) -> None:
        """
        Nobody has to hear any more of what was sent.
        """
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self._transports.withdraw(attempt[1], key)

    # Effects

    def _perform(self, effect: Effect) -> None:
        self._performers[effect.__class__](effect)

    def _perform_failed(self, effect: Effect, error: Exception) -> None:
        """
        The transaction user raised: that costs one request its answer.
        """
        if not isinstance(error, RemoteError):
            self._log.failure(
                "{service} could not perform {effect}", service=self.name, effect=type(effect).__name__
            )
        if isinstance(effect, vocabulary.RequestArrived):
            status = error.status if isinstance(error, RemoteError | LocalError) else 500
            self.respond(effect.key, self.own_response(effect.request, status))

    def _send_request(self, effect: vocabulary.SendRequest) -> None:
        # A CANCEL that cannot be sent is one that nobody answers.
        key = effect.key if effect.key in self._attempts else None
        self._transports.request(effect.request, effect.hop, key)

    def _repeat_request(self, effect: vocabulary.RepeatRequest) -> None:
        self.sent[effect.hop.transport]["ACK"] += 1
        self._transports.send(effect.data, effect.hop, effect.key)

    def _send_response(self, effect: vocabulary.SendResponse) -> None:
        self._transports.respond(effect.response, effect.flow, effect.key)

    def _repeat_response(self, effect: vocabulary.RepeatResponse) -> None:
        if not self._transports.repeat(effect.answer, effect.flow, effect.key):
            self._transports.respond(effect.response, effect.flow, effect.key)

    def _request_arrived(self, effect: vocabulary.RequestArrived) -> None:
        if effect.request.method == "CANCEL":
            self._cancel_arrived(effect.key, effect.request)
            return
        if (
            self.is_draining
            and effect.flow.address not in self._own_addresses
            and not effect.request.to_tag
            and not self.spares(effect.request)
        ):
            answer = self.own_response(effect.request, 503)
            answer.add("retry-after", str(DRAIN_RETRY))
            self.respond(effect.key, answer)
            return
        if effect.key.method == "INVITE" and effect.flow.connection > 0:
            # A phone may ring for longer than a connection may be silent.
            # As plain tuples: it is for half a minute more than the phone rings.
            key = tuple(effect.key)
            self._held[key] = tuple(effect.flow)
            self._transports.connections.hold(effect.flow, key)
        self._user.request_received(*effect)

    def _cancel_arrived(self, key: ServerKey, request: Request) -> None:
        invite = self._layer.invite_of(key)
        self.respond(key, self.own_response(request, 481 if invite is None else 200))
        # RFC 3261 section 9.2: no effect on an INVITE that is answered.
        if invite is not None and self._layer.is_open(invite):
            self._user.cancelled(invite, ", ".join(request.rows("reason")) or None)

    def _ack_arrived(self, effect: vocabulary.AckArrived) -> None:
        self._user.ack_received(effect.request, effect.flow)

    def _response_arrived(self, effect: vocabulary.ResponseArrived) -> None:
        key, response = effect
        status = response.status
        response.remove_first("via")
        attempt = self._attempts.get(key)
        if attempt is None:
            remains = self._left.get(key)
            if remains is not None:
                self._left[key] = self._user.answered_late(remains, response)
            return
        if status >= 300 or (status >= 200 and key.method != "INVITE"):
            # What comes now the transaction keeps to itself.
            self._settle(key)
        branch, hop = attempt
        branch.answer_received(key, hop, response)

    def _client_silent(self, effect: vocabulary.ClientSilent) -> None:
        attempt = self._attempts.get(effect.key)
        if attempt is not None:
            branch, hop = attempt
            branch.patience_ended(effect.key, hop)

    def _client_timed_out(self, effect: vocabulary.ClientTimedOut) -> None:
        attempt = self._attempts.get(effect.key)
        if attempt is not None:
            branch, hop = attempt
            branch.attempt_failed(effect.key, hop, 408)

    def _client_failed(self, effect: vocabulary.ClientFailed) -> None:
        attempt = self._attempts.get(effect.key)
        if attempt is not None:
            branch, hop = attempt
            branch.attempt_failed(effect.key, hop, 503)

    def _server_timed_out(self, effect: vocabulary.ServerTimedOut) -> None:
        if effect.key.method != "CANCEL":
            self._user.server_failed(effect.key)

    def _finished(self, effect: vocabulary.Finished) -> None:
        key = effect.key
        if isinstance(key, ClientKey):
            if self._left.pop(key, None) is None:
                self._settle(key)
        elif (flow := self._held.pop(key, None)) is not None:
            self._transports.connections.let_go(Flow._make(flow), key)


def _derived_branch(request: Request) -> str:
    outline = request.outline
    text = f"{outline.branch}\n{outline.sent_by}\n{request.uri}\n{request.call_id}"
    return ids.MAGIC_COOKIE + blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
