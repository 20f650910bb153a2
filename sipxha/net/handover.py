"""
A request that one endpoint of the process gave to another, without transactions.

Between them nothing is lost, repeated or late, so that neither needs what RFC
3261 section 17 is for.  What is left of it are its rules about answers: one
that is final, after that only further 2xx of an INVITE, nothing provisional
for anything else, and an end for what nobody answers.

A L{Handover} delivers nothing itself: each word of one side reaches the other
by way of L{Siblings<sipxha.net.siblings.Siblings>}, later and in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from sipxha.errors import RemoteError
from sipxha.net.traffic import Counts
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.transaction.vocabulary import T1, ServerKey

if TYPE_CHECKING:
    from sipxha.net.branch import Branch

Remains = tuple[Any, ...]
"""
What is left of an INVITE that was answered: plain tuples, strings, bytes and
numbers, for which the garbage collector has no work.
"""

Place = tuple[str, str, int]
"""The transport, address and port of an endpoint."""

PATIENCE = 64 * T1
"""
Seconds for which an answer to anything but an INVITE is waited for (timer F),
and for which further 2xx of an INVITE are let through (timers L and M).
"""


class Taker(Protocol):
    """
    The endpoint that a request is handed to.
    """

    def request_handed(self, handover: Handover, request: Request, flow: Flow) -> None:
        """
        Take it; it is well-formed, and its Via is right as it is.
        """

    def handover_cancelled(self, handover: Handover, reason: str | None) -> None:
        """
        The sender gave up; it may be answered by now.
        """

    def handover_expired(self, handover: Handover) -> None:
        """
        Nobody waits for the answer any more.
        """


class Sender(Protocol):
    """
    The endpoint that hands a request over.
    """

    @property
    def sent(self) -> Counts:
        """
        The messages that went out.
        """

    received: Counts

    def answered_late(self, remains: Remains, response: Response) -> Remains:
        """
        Take a further 2xx of an INVITE of which only this is left.

        @return: What is left now.
        """


class Passing(Protocol):
    """
    What brings the words of one side to the other.
    """

    def pass_on(self, act: Callable[[Any], None], what: Any) -> None:
        """
        Call C{act} with C{what}, later and after all that was passed on before.
        """

    def is_bound(self, sibling: object) -> bool:
        """
        Whether an endpoint has ports.
        """

    def opened(self, handover: Handover) -> None:
        """
        A final answer is waited for.
        """

    def accepted(self, handover: Handover) -> None:
        """
        An INVITE was answered 2xx, so that others may follow for a while.
        """

    def answered_late(self, what: tuple[ServerKey, Response]) -> None:
        """
        Let the sender have a further 2xx, without the Via of the request.
        """

    def left(self, handover: Handover, sender: Place, remains: Remains) -> None:
        """
        All that the sender wants to know of it then is this.
        """

    def closed(self, handover: Handover) -> None:
        """
        Nothing more can come.
        """


class Handover(ServerKey):
    """
    What stands for both transactions of a request between siblings.

    For the user of the endpoint that took it this is the key by which it
    answers.  It knows the way back, so that nothing is looked up, and is kept
    only by who may still answer.
    """

    sender: Sender
    taker: Taker
    deadline: float
    """Until when an answer is waited for; kept for who sees to it."""

    is_open: bool
    """Whether a final answer is waited for."""

    _passing: Passing
    _branch: Branch | None
    _hop: Hop
    _flow: Flow
    _via: str
    _is_accepted: bool
    _is_cancelled: bool

    def begin(
        self, passing: Passing, sender: Sender, branch: Branch, hop: Hop, taker: Taker, flow: Flow
    ) -> None:
        """
        Say who takes part.

        @param sender: The endpoint of C{branch}, which hears of answers.
        @param flow: From the sender's port to C{hop}.
        """
        self._passing = passing
        self.sender = sender
        self._branch = branch
        self._hop = hop
        self._flow = flow
        self.taker = taker
        self.is_open = True
        self._is_accepted = self._is_cancelled = False

    # Of who hands it over

    def send(self, request: Request) -> None:
        """
        Hand a request over.

        @param request: With the Via that the key tells of on top, which all
            answers have to bear; the taker's from now on.
        """
        self._via = request.first_line("via")
        self._passing.opened(self)
        self._passing.pass_on(self._take, request)

    def leave(self, remains: Remains) -> None:
        """
        Keep no more of an INVITE that was answered 2xx than this.
        """
        if self._is_accepted and self._branch is not None:
            self._branch = None
            flow = self._flow
            self._passing.left(self, (flow.transport, flow.address, flow.port), remains)

    def cancel(self, reason: str | None) -> None:
        """
        Ask for an end of this INVITE; its answer still comes.
        """
        if self.is_open and not self._is_cancelled and self.method == "INVITE":
            self._is_cancelled = True
            self._passing.pass_on(self._cancel, reason)

    # Of who has taken it

    def trying(self) -> bool:
        """
        Say that an answer to this INVITE takes its time, as a 100 would.

        @return: As L{respond}.
        """
        if self.is_open:
            self._passing.pass_on(self._hear, None)
        return self.is_open

    def respond(self, response: Response) -> bool:
        """
        Send an answer back, which is the sender's from now on.

        @return: Whether that could be: not where it comes too late, or where
            RFC 4320 forbids it.
        """
        status = response.status
        is_invite = self.method == "INVITE"
        if not self.is_open:
            # Each 2xx of an INVITE is a dialog, or comes until its ACK does.
            if not (self._is_accepted and 200 <= status < 300):
                return False
        elif not is_invite and (status < 200 or status == 408):
            return False
        if not (response.drop_first("via", self._via) or take_off_via(response, self)):
            # Who is behind the taker has changed it: over a socket this would find nobody.
            if status >= 200:
                self.fail(408)
            return False
        if status >= 200 and self.is_open:
            if is_invite and status < 300:
                self.is_open = False
                self._is_accepted = True
                self._passing.accepted(self)
            else:
                self._close()
        self._passing.pass_on(self._answer, response)
        return True

    # Of what is between them

    def fail(self, status: int) -> None:
        """
        Let no answer come any more.

        @param status: What the sender hears in place of it.
        """
        if self.is_open:
            self._close()
            self._passing.pass_on(self._fail, status)

    def expire(self) -> None:
        """
        The time is over in which an answer is waited for.
        """
        if self.is_open:
            self.fail(408)
            self._passing.pass_on(self.taker.handover_expired, self)
        else:
            self._is_accepted = False
            self._branch = None
            self._passing.closed(self)

    def _close(self) -> None:
        self.is_open = False
        self._passing.closed(self)

    # What is passed on

    def _take(self, request: Request) -> None:
        if self._passing.is_bound(self.taker):
            self.taker.request_handed(self, request, self._flow)
        else:
            self.fail(503)

    def _cancel(self, reason: str | None) -> None:
        if self._passing.is_bound(self.taker):
            self.taker.handover_cancelled(self, reason)

    def _hear(self, _: None) -> None:
        if self._branch is not None and self._passing.is_bound(self.sender):
            self._branch.sign_of_life(self, self._hop)

    def _answer(self, response: Response) -> None:
        branch = self._branch
        if branch is None:
            # It was left while this was on its way.
            self._passing.answered_late((self, response))
        elif self._passing.is_bound(self.sender):
            branch.answer_received(self, self._hop, response)

    def _fail(self, status: int) -> None:
        if self._branch is not None and self._passing.is_bound(self.sender):
            self._branch.attempt_failed(self, self._hop, status)


def take_off_via(response: Response, key: ServerKey) -> bool:
    """
    Take off the Via of whoever handed a request over.

    @return: Whether it is there, in whatever words.
    """
    try:
        outline = response.outline
    except RemoteError:
        return False
    if (outline.branch, outline.sent_by) != (key.branch, key.sent_by):
        return False
    response.remove_first("via")
    return True
