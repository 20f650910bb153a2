"""
One request on its way through several hops.

A L{Branch} decides which hop is tried next and what its observer hears of the
answers (RFC 3263 section 4.3); the transactions, hand-overs and sockets are
those of its L{Endpoint<sipxha.net.endpoint.Endpoint>}.  It looks no hop up, and
remembers none as bad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Interface

from sipxha.net.handover import Handover, Remains
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.transaction.vocabulary import ClientKey

if TYPE_CHECKING:
    from sipxha.net.endpoint import Endpoint

# ruff: noqa: N805  (the methods of an Interface have no self)

SILENT, UNREACHABLE, UNAVAILABLE = FAILINGS = ("silent", "unreachable", "unavailable")
"""Why a hop is left for the next one: it said nothing, could not be sent to, or answered 503."""


class IBranchObserver(Interface):
    """
    Who waits for the answers to a request that was sent.

    Nothing is called before L{Endpoint.request} has returned.
    """

    def response_received(branch: Branch, response: Response) -> None:
        """
        Provisional answers other than 100; exactly one final answer, after
        which only further 2xx to an INVITE follow.  Our own Via is removed.
        A 408 or 503 of our own making stands for no answer, or for no hop
        that could be reached; 430 for a flow that is gone; 487 for each of
        them once the branch was cancelled.
        """

    def hop_failed(branch: Branch, hop: Hop | Flow) -> None:
        """
        This hop could not be reached, did not answer, or answered 503.
        """

    def hop_answered(branch: Branch, hop: Hop | Flow) -> None:
        """
        This hop gave its first sign of life.
        """


class Branch:
    """
    One request on its way to the first of several hops that answers.

    Made by L{Endpoint.request}.  A hop that stays silent for longer than our
    patience is left, not forgotten: it may have got the request.  So what it
    says later is cancelled, or, if it is a 2xx, passed on like that of any
    other fork.
    """

    __slots__ = (
        "_answered",
        "_cancelled",
        "_endpoint",
        "_fallback",
        "_hops",
        "_is_invite",
        "_is_sent",
        "_key",
        "_reason",
        "_request",
        "ended",
        "first_answer",
        "hop",
        "last_answer",
        "observer",
        "suffix",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        request: Request,
        hops: list[Hop | Flow],
        observer: IBranchObserver,
        suffix: str,
        first_answer: float | None,
        last_answer: float | None,
    ) -> None:
        self.observer = observer
        self.suffix = suffix
        self.first_answer = first_answer
        self.last_answer = last_answer
        self.hop: Hop | Flow | None = None
        self.ended = False
        self._endpoint = endpoint
        self._request: Request | None = request
        """Until the end; with the Via of the first try on top, once there was one."""

        self._is_sent = False
        self._is_invite = request.method == "INVITE"
        self._hops = hops
        self._fallback: Hop | Flow | None = None
        self._key: ClientKey | Handover | None = None
        self._answered = False
        self._cancelled = False
        self._reason: str | None = None

    def cancel(self, reason: str | None = None) -> None:
        """
        Ask the far end to give up this INVITE.

        The CANCEL leaves as soon as a provisional answer allows it (RFC 3261
        section 9.1); the final answer still comes through the observer, and
        no further hop is tried.

        @param reason: The value of a Reason header (RFC 3326), if any.
        """
        if self.ended or self._cancelled:
            return
        self._cancelled = True
        self._reason = reason
        if self._answered and self._key is not None:
            self._endpoint.cancel(self._key, reason)

    def leave(self, remains: Remains) -> None:
        """
        Have our observer hear no more of this INVITE.

        A further 2xx is told to the transaction user, together with
        C{remains}, unless it comes from a hop that we had left.
        """
        if self._key is not None:
            self._endpoint.leave(self._key, remains)

    def next_hop(self) -> None:
        """
        Try the next hop; called by the L{Endpoint}.
        """
        if self._hops:
            self.hop = self._hops.pop(0)
            self._try(self.hop, may_detour=True)
        else:
            self._end(503)

    def sign_of_life(self, key: ClientKey | Handover, hop: Hop | Flow) -> None:
        """
        One of our attempts was answered with a 100, or as good as that; called
        by the L{Endpoint}.
        """
        if key != self._key:
            self._late_life(key)
            return
        if not self._answered:
            self._answered = True
            self.observer.hop_answered(self, self.hop or hop)
        if self._cancelled:
            self._endpoint.cancel(key, self._reason)

    def answer_received(self, key: ClientKey | Handover, hop: Hop | Flow, response: Response) -> None:
        """
        One of our attempts was answered; called by the L{Endpoint}.

        @param response: Without our Via.
        """
        if key != self._key:
            self._late_answer_received(key, response)
            return
        status = response.status
        if status < 200:
            self.sign_of_life(key, hop)
            if status > 100 and not self.ended:
                self.observer.response_received(self, response)
            return
        if not self._answered:
            self._answered = True
            if status != 503:
                self.observer.hop_answered(self, self.hop or hop)
        if self.ended:
            # Each 2xx of an INVITE is a dialog that somebody must end.
            if status < 300 and self._is_invite:
                self.observer.response_received(self, response)
            return
        if status == 503:
            self._report_failed(hop)
            if self._hops and not self._cancelled:
                self._endpoint.failovers[UNAVAILABLE] += 1
                self.next_hop()
                return
        self._finish()
        self.observer.response_received(self, response)

    def attempt_failed(self, key: ClientKey | Handover, hop: Hop | Flow, status: int) -> None:
        """
        One of our attempts came to nothing; called by the L{Endpoint}.

        @param status: What to tell the observer if there is no other hop.
        """
        if key != self._key or self.ended:
            return
        if not self._answered:
            if self._fallback is not None and status == 503:
                self._try(self._fallback, may_detour=False)
                return
            self._report_failed(hop)
            if self._hops and not self._cancelled:
                self._endpoint.failovers[SILENT if status == 408 else UNREACHABLE] += 1
                self.next_hop()
                return
        self._end(status)

    def patience_ended(self, key: ClientKey, hop: Hop | Flow) -> None:
        """
        The hop has not answered in time; called by the L{Endpoint}.
        """
        if key == self._key and not self.ended:
            self.attempt_failed(key, hop, 408)
            self._endpoint.withdraw(key, hop)

    def _try(self, hop: Hop | Flow, *, may_detour: bool) -> None:
        request = self._request
        assert request is not None
        if self._is_sent:
            # What was sent stays as it was: its transaction may want it again.
            request = request.copy()
            request.remove_first("via")
        self._is_sent = True
        self._answered = False
        # Patience is for those who have somewhere else to go.
        patience = self.first_answer if self._hops else self.last_answer
        self._key, detoured = self._endpoint.attempt(self, request, hop, patience, may_detour=may_detour)
        self._fallback = hop if detoured else None

    def _late_life(self, key: ClientKey | Handover) -> None:
        if self._is_invite:
            self._endpoint.cancel(key, None)

    def _late_answer_received(self, key: ClientKey | Handover, response: Response) -> None:
        """
        A hop that we had left answers after all.
        """
        status = response.status
        if status < 200:
            self._late_life(key)
            return
        if self._is_invite:
            if status >= 300:
                return
        elif status == 503 or self.ended:
            return
        if not self.ended:
            # Whoever we turned to instead is not wanted any more.
            self.cancel(None)
            self._finish()
        self.observer.response_received(self, response)

    def _report_failed(self, hop: Hop | Flow) -> None:
        # A large request's detour over TCP is our own idea, and its failure
        # says nothing about the UDP hop that we were given.
        if hop == self.hop:
            self.observer.hop_failed(self, hop)

    def _end(self, status: int) -> None:
        if self._cancelled:
            status = 487
        elif status == 503 and isinstance(self.hop, Flow):
            status = 430
        assert self._request is not None
        response = self._endpoint.own_response(self._request, status)
        if self._is_sent:
            response.remove_first("via")
        self._finish()
        self.observer.response_received(self, response)

    def _finish(self) -> None:
        # A branch is kept for as long as a 2xx may come again.
        self.ended = True
        self._request = None
