"""
One request on its way through a proxy (RFC 3261 sections 16.5 to 16.8).

A L{Forwarding} carries out what its
L{ResponseContext<sipxha.routing.fork.ResponseContext>} decides: it finds the
next hops, starts and cancels client transactions, and sends upstream what the
context chose.  Where requests may go, and who may send them, is its proxy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.errors import SipxhaError
from sipxha.net.endpoint import Branch, Endpoint, IBranchObserver, Remains
from sipxha.routing import fork
from sipxha.routing.flow_token import is_token
from sipxha.routing.route import next_hop
from sipxha.services.cluster import Admission, Cluster
from sipxha.sip.auth_fields import Challenge
from sipxha.sip.grammar import MalformedField
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.uri import Uri
from sipxha.transaction.vocabulary import ServerKey

FIRST_ANSWER = 0.8
"""Seconds that one of our own servers may be silent before the next is tried."""

EDGE_ANSWER = 4.0
"""
Seconds that the node may be silent that alone has a phone's connection.  There
is nowhere else to go, but a caller must not wait for timer B to hear so: a
line that was cut refuses nothing.
"""

GATEWAY_ANSWER = 4.0
"""Seconds that a gateway may be silent before the next one is tried."""

GATEWAY_HOP = 2.0
"""The same where it has more addresses than one, for each of them."""


class Forwarder(Protocol):
    """
    The proxy that a request is on its way through.
    """

    reactor: Any
    cluster: Cluster
    endpoint: Endpoint

    recurse: bool
    """Whether the contacts of a 3xx become targets."""

    decline_ends_search: bool

    def targets(self, request: Request, admission: Admission) -> list[fork.Target]:
        """
        Say where C{request} is to be tried first.
        """

    def address(self, request: Request, target: Uri, admission: Admission) -> Uri | Flow:
        """
        Rewrite the copy of a request that goes to C{target}.

        @return: the next hop: its URI, or a flow of ours.
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
        Say what has to be known of an INVITE, to send a late 2xx upstream.
        """

    def ended(self, transaction: ServerKey) -> None:
        """
        Forget a request of which nothing more can come.
        """


class Forwarding:
    """
    One request on its way through a proxy.
    """

    __slots__ = (
        "_admission",
        "_branches",
        "_context",
        "_dialogs",
        "_forwarded",
        "_is_performing",
        "_proxy",
        "_suffix",
        "_timer",
        "_transaction",
        "_waiting",
        "request",
    )

    _log = Logger()

    def __init__(
        self,
        proxy: Forwarder,
        transaction: ServerKey,
        request: Request,
        forwarded: Request,
        admission: Admission,
        suffix: str,
        breadth: int,
    ) -> None:
        """
        @param request: as it was received.

        @param breadth: how many branches may become of it (RFC 5393).

        @param forwarded: what the branches start from: checked, own routes
            removed, Max-Forwards counted down.
        """
        self.request = request
        self._proxy = proxy
        self._transaction = transaction
        self._forwarded = forwarded
        self._admission = admission
        self._suffix = suffix
        self._context = fork.ResponseContext(
            request.method,
            # Who sent it to a flow looks for others, too.
            recurse=proxy.recurse and admission.way is None,
            decline_ends_search=proxy.decline_ends_search,
            breadth=breadth,
            in_turn=admission.is_emergency,
            patience=self._patience(),
            is_gateway=proxy.cluster.is_gateway,
        )
        self._branches: list[_ForwardingBranch] = []
        self._dialogs: tuple[str | None, ...] = ()
        """The To tags of the 2xx that went upstream."""
        self._timer: Any = None
        self._waiting: list[fork.Effect] = []
        self._is_performing = False

    def _patience(self) -> float | None:
        """
        Whoever sends to a gateway does not wait long for it, for there may be
        another; inside a dialog there is none.
        """
        proxy = self._proxy
        if proxy.recurse or self.request.to_tag:
            return None
        if self._admission.is_emergency or proxy.cluster.is_gateway(next_hop(self._forwarded)):
            return GATEWAY_ANSWER
        return None

    def start(self) -> None:
        """
        Send the request to where it wants to go.
        """
        targets = self._proxy.targets(self._forwarded, self._admission)
        self._perform(self._context.start(targets, self._proxy.reactor.seconds()))

    def cancel(self, reason: str | None = None) -> None:
        """
        The sender gave up.

        @param reason: the Reason of the CANCEL.
        """
        self._perform(self._context.cancelled(self._proxy.reactor.seconds(), reason))

    def response_received(self, number: int, response: Response) -> None:
        """
        A branch was answered.
        """
        if not response.has("via"):
            # P26: what answers nothing but our own Via goes nowhere, and the search ends.
            response = self.own_response(502)
        self._perform(self._context.response_received(number, response, self._proxy.reactor.seconds()))

    def hop_failed(self, hop: Hop | Flow) -> None:
        """
        A server that a branch tried did not answer.
        """
        if isinstance(hop, Hop):
            self._proxy.cluster.hop_failed(hop)

    def hop_answered(self, number: int, hop: Hop | Flow) -> None:
        """
        A server that a branch tried is alive.
        """
        if self._context.awaits_life:
            self._context.heard(number, self._proxy.reactor.seconds())
        if isinstance(hop, Hop):
            self._proxy.cluster.hop_answered(hop)

    def _perform(self, effects: list[fork.Effect]) -> None:
        """
        What a branch brings while it is started waits for its turn: others,
        with lower numbers, may have to be started before.
        """
        waiting = self._waiting
        waiting += effects
        if self._is_performing:
            return
        self._is_performing = True
        try:
            while waiting:
                self._perform_one(waiting.pop(0))
        finally:
            self._is_performing = False
        self._arm()

    def _perform_one(self, effect: fork.Effect) -> None:
        match effect:
            case fork.Forward():
                self._forward(effect)
            case fork.StartBranch():
                self._start_branch(effect)
            case fork.CancelBranch(branch, reason):
                self._branches[branch].cancel(reason)
            case fork.Refuse(status):
                self._answer(self._proxy.endpoint.own_response(self.request, status))

    def _start_branch(self, effect: fork.StartBranch) -> None:
        proxy = self._proxy
        branch = _ForwardingBranch(self, effect.branch)
        self._branches.append(branch)
        request = self._forwarded.copy()
        request.set("max-breadth", str(effect.breadth))
        try:
            hop = proxy.address(request, effect.uri, self._admission)
            if not isinstance(hop, Flow):
                branch.leads_to_flow = is_token(hop.user)
                hops = proxy.cluster.known(hop)
        except SipxhaError as error:
            branch.unlocated(Failure(error))
            return
        if isinstance(hop, Flow):
            branch.located([hop], request, None)
            return
        # Silence of any other method may be a phone's, behind our server.
        patience = None
        if request.method in ("INVITE", "REGISTER"):
            if proxy.cluster.is_ours(hop):
                patience = FIRST_ANSWER
            elif proxy.cluster.is_gateway(hop):
                patience = GATEWAY_HOP
        if hops is not None:
            branch.located(hops, request, patience)
            return
        proxy.cluster.locate(hop).addCallbacks(
            branch.located, branch.unlocated, callbackArgs=(request, patience)
        ).addErrback(self._broken)

    def ask(self, number: int, request: Request, hop: Hop | Flow) -> bool:
        """
        Have a branch answered by a service of our own process that can do so
        at once.

        @return: Whether it is; if not, it has to be sent.
        """
        response = self._proxy.endpoint.ask(request, hop)
        if response is None:
            return False
        self.hop_answered(number, hop)
        self.response_received(number, response)
        return True

    def send(
        self,
        branch: _ForwardingBranch,
        request: Request,
        hops: Sequence[Hop | Flow],
        patience: float | None,
    ) -> Branch:
        """
        Give a branch its client transaction.
        """
        return self._proxy.endpoint.request(
            request,
            hops,
            branch,
            branch_suffix=self._suffix,
            first_answer=patience,
            last_answer=EDGE_ANSWER if branch.leads_to_flow and request.method == "INVITE" else None,
        )

    def own_response(self, status: int) -> Response:
        """
        @return: a response that this proxy makes itself.
        """
        return self._proxy.endpoint.own_response(self.request, status)

    def _broken(self, failure: Failure) -> None:
        self._log.failure("a branch of {call_id} broke", failure, call_id=self.request.call_id)

    def _forward(self, effect: fork.Forward) -> None:
        response = effect.response
        if response.status == 503:
            # P22: upstream would take it for a word about this proxy.
            self._answer(self.own_response(500))
            return
        if response.status == 430 and self._admission.way is None and self._proxy.recurse:
            # Only who looked the flow up can look for another one (RFC 5626 section 6).
            self._answer(self.own_response(480))
            return
        if effect.challenges:
            response = _with_challenges(response, effect.challenges)
        self._answer(response)

    def _answer(self, response: Response) -> None:
        if response.status == 408 and self.request.method != "INVITE":
            # RFC 4320 section 4.2: it would come too late for anybody.
            return
        self._proxy.returning(self.request, response, self._admission)
        if not (200 <= response.status < 300 and self._is_repeated(response)):
            self._proxy.answering(self.request, response, self._admission)
        self._proxy.endpoint.respond(self._transaction, response)

    def _is_repeated(self, response: Response) -> bool:
        """
        Whether a 2xx went upstream before: the one of an INVITE comes again
        until its ACK arrives.
        """
        tag = response.to_tag
        if tag in self._dialogs:
            return True
        self._dialogs += (tag,)
        return False

    def _arm(self) -> None:
        timer = self._timer
        if self._context.is_over:
            if timer is not None:
                timer.cancel()
                self._timer = None
            self._leave()
            self._proxy.ended(self._transaction)
            return
        deadline = self._context.next_deadline()
        if deadline is None:
            return
        # One that comes too early only arms itself again, which is cheaper
        # than to move it each time that something rings.
        if timer is None:
            self._timer = self._proxy.reactor.callLater(
                max(0.0, deadline - self._proxy.reactor.seconds()), self._deadline_passed
            )
        elif deadline < timer.getTime():
            timer.reset(max(0.0, deadline - self._proxy.reactor.seconds()))

    def _leave(self) -> None:
        """
        Keep nothing but what a late 2xx needs: it is what a node is full of, 32
        seconds for each call.
        """
        remains: Remains | None = None
        if self._dialogs and self.request.method == "INVITE":
            own = self._proxy.remains(self.request, self._admission)
            remains = (tuple(self._transaction), self._dialogs, *own)
        # What refers to itself stays in memory until the collector comes.
        for branch in self._branches:
            branch.forget(remains)
        self._branches.clear()

    def _deadline_passed(self) -> None:
        self._timer = None
        self._perform(self._context.deadline_passed(self._proxy.reactor.seconds()))


@implementer(IBranchObserver)
class _ForwardingBranch:
    """
    A branch of a response context, joined to its client transaction.
    """

    __slots__ = ("_branch", "_ended", "_forwarding", "_is_alive", "_number", "leads_to_flow")

    def __init__(self, forwarding: Forwarding, number: int) -> None:
        self._forwarding = forwarding
        self._number = number
        self._branch: Branch | None = None
        self._ended = False
        self.leads_to_flow = False
        self._is_alive = False

    def located(self, hops: Sequence[Hop | Flow], request: Request, patience: float | None) -> None:
        """
        The next hop's addresses are known.
        """
        if self._ended:
            return
        if self._forwarding.ask(self._number, request, hops[0]):
            self._ended = True
        else:
            self._branch = self._forwarding.send(self, request, hops, patience)

    def unlocated(self, failure: Failure) -> None:
        """
        The next hop cannot be found: as if it had answered 503 (P19).
        """
        failure.trap(SipxhaError)
        if not self._ended:
            self._end(430 if self.leads_to_flow else 503)

    def cancel(self, reason: str | None) -> None:
        """
        Withdraw the request, also while its next hop is still looked up.
        """
        if self._branch is not None:
            self._branch.cancel(reason)
        elif not self._ended:
            self._end(487)

    def forget(self, remains: Remains | None) -> None:
        """
        There will be nothing more to cancel.

        @param remains: what is left of the request, if there may be more answers.
        """
        if self._branch is not None and remains is not None:
            self._branch.leave(remains)
        self._branch = None

    def _end(self, status: int) -> None:
        self._ended = True
        self._forwarding.response_received(self._number, self._forwarding.own_response(status))

    def response_received(self, branch: Branch, response: Response) -> None:
        """
        The far end, or the transaction for it, answered.  When the edge of a
        flow cannot be reached, neither can the flow.
        """
        is_lost = response.status == 503 or (response.status == 408 and not self._is_alive)
        if self.leads_to_flow and is_lost:
            response = self._forwarding.own_response(430)
        self._forwarding.response_received(self._number, response)

    def hop_failed(self, branch: Branch, hop: Hop | Flow) -> None:
        """
        One address of the next hop did not answer.
        """
        self._forwarding.hop_failed(hop)

    def hop_answered(self, branch: Branch, hop: Hop | Flow) -> None:
        """
        One address of the next hop is alive.
        """
        self._is_alive = True
        self._forwarding.hop_answered(self._number, hop)


def _with_challenges(response: Response, others: tuple[Response, ...]) -> Response:
    """
    Put the challenges of all branches into the one response that goes upstream
    (P24), those of the same realm and algorithm once: phones loop otherwise.
    """
    merged = response.copy()
    seen: set[tuple[str, str, str]] = set()
    for name in ("www-authenticate", "proxy-authenticate"):
        merged.remove(name)
        for source in (response, *others):
            for row in source.rows(name):
                try:
                    params = Challenge.parse(row).params
                except MalformedField:
                    continue
                key = (name, params.get("realm", ""), params.get("algorithm", "MD5").upper())
                if key not in seen:
                    seen.add(key)
                    merged.add(name, row)
    return merged
