"""
One proxied request: its branches and the response that goes upstream.

The response context of RFC 3261 section 16.7, as values: what happened goes
in, L{Effect}s come out.  It knows neither addresses nor transactions; a branch
is a number that the proxy connects with a client transaction.  It makes no
message other than a choice among those that came.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from sipxha.sip.address import Address
from sipxha.sip.message import Response
from sipxha.sip.uri import Uri

TIMER_C = 181.0
"""Seconds that an INVITE branch may ring in silence (RFC 3261 section 16.6 step 11)."""

CANCEL_PATIENCE = 32.0
"""Seconds after which a cancelled branch counts as ended (RFC 3261 section 9.1)."""

MAX_TARGETS = 16
"""Targets that one request may have in all; the rest of a 3xx is not tried."""

_PREFERRED = frozenset({401, 407, 415, 420, 484})


class Target(NamedTuple):
    """
    Somewhere the request could go.
    """

    uri: Uri
    q: float = 1.0
    """Greater is tried first, equal ones together."""

    instance: str = ""
    """Whose flow this is; empty where it is no flow (RFC 5626)."""

    others: tuple[Target, ...] = ()
    """More flows of the same instance, for when this one has failed."""


class StartBranch(NamedTuple):
    """
    Send the request to C{uri}.
    """

    branch: int
    uri: Uri


class CancelBranch(NamedTuple):
    """
    Withdraw the request from a branch that has not answered finally.
    """

    branch: int


class Forward(NamedTuple):
    """
    Send C{response} upstream.
    """

    response: Response
    branch: int
    challenges: tuple[Response, ...] = ()
    """The other challenges that the response has to carry (16.7 step 7)."""


class Refuse(NamedTuple):
    """
    Answer upstream with C{status}: every branch ended and none said anything.
    """

    status: int


Effect = StartBranch | CancelBranch | Forward | Refuse


class _State(Enum):
    """
    How far a branch has come.
    """

    TRYING = auto()
    PROCEEDING = auto()
    CANCELLED = auto()
    ENDED = auto()


class _Branch:
    __slots__ = ("deadline", "others", "state")

    def __init__(self, deadline: float | None, others: tuple[Target, ...]) -> None:
        self.state = _State.TRYING
        self.deadline = deadline
        self.others = others


class ResponseContext:
    """
    The branches of one request, and what was sent upstream of it.
    """

    __slots__ = (
        "_best",
        "_branches",
        "_challenges",
        "_closed",
        "_decline_ends_search",
        "_given_up",
        "_is_invite",
        "_recurse",
        "_seen",
        "_waiting",
        "answered",
    )

    def __init__(self, method: str, *, recurse: bool, decline_ends_search: bool = True) -> None:
        """
        @param recurse: whether the contacts of a 3xx become targets.
        @param decline_ends_search: whether a 6xx ends the search, as RFC 3261
            has it, or is a failure like others, as sipX had it.
        """
        self._is_invite = method == "INVITE"
        self._recurse = recurse
        self._decline_ends_search = decline_ends_search
        self._branches: list[_Branch] = []
        self._waiting: list[Target] = []
        self._seen: list[Uri] = []
        self._best: tuple[Response, int] | None = None
        self._challenges: list[Response] = []
        self._closed = False
        self._given_up = False
        self.answered = False
        """Whether a final response went upstream."""

    @property
    def is_over(self) -> bool:
        """
        Whether nothing more can come of this request.
        """
        return self.answered and all(branch.state is _State.ENDED for branch in self._branches)

    def start(self, targets: Sequence[Target], now: float) -> list[Effect]:
        """
        Begin with the targets of the highest q.
        """
        self._waiting = self._fresh(targets)
        return self._start_group(self._waiting, now)

    def response_received(self, branch: int, response: Response, now: float) -> list[Effect]:
        """
        Take a response to a branch, our own Via already removed; what the
        transaction made of silence (408) and of a transport error (503)
        comes this way too.
        """
        held = self._branches[branch]
        status = response.status
        if status < 200:
            return self._provisional(held, branch, response, now)
        if held.state is _State.ENDED:
            # RFC 3261 16.7 step 5: any 2xx to an INVITE goes on, the late one too.
            return [Forward(response, branch)] if self._is_invite and status < 300 else []
        held.state = _State.ENDED
        held.deadline = None
        if status < 300:
            if self.answered and not self._is_invite:
                return []
            self.answered = True
            return [Forward(response, branch), *self._cancel_all(now)]
        if self._recurse and status < 400 and not self._closed:
            contacts = _one_of_each(self._fresh(_contacts(response)))
            if contacts:
                # The best of them stand in for the branch that named them.
                effects = self._start_group(contacts, now)
                self._waiting = sorted(self._waiting + contacts, key=_by_q)
                return effects
        self._keep(response, branch)
        if held.others and status in (408, 430) and not self._closed:
            # O06: this flow has failed, perhaps not the phone.
            following, *others = held.others
            return self._start_group([following._replace(others=tuple(others))], now)
        cancels = self._cancel_all(now) if status >= 600 and self._decline_ends_search else []
        return cancels + self._conclude(now)

    def cancelled(self, now: float) -> list[Effect]:
        """
        The caller gave up.
        """
        self._given_up = True
        return self._cancel_all(now) + self._conclude(now)

    def next_deadline(self) -> float | None:
        """
        @return: when L{deadline_passed} is due, if ever.
        """
        return min((b.deadline for b in self._branches if b.deadline is not None), default=None)

    def deadline_passed(self, now: float) -> list[Effect]:
        """
        Timer C (P18): a branch that rang too long is cancelled; one that stays
        silent even then has ended.
        """
        effects: list[Effect] = []
        for number, branch in enumerate(self._branches):
            if branch.deadline is None or branch.deadline > now:
                continue
            if branch.state is _State.CANCELLED:
                branch.state = _State.ENDED
                branch.deadline = None
            else:
                effects.append(self._cancel(number, branch, now))
        return effects + self._conclude(now)

    def _provisional(self, held: _Branch, branch: int, response: Response, now: float) -> list[Effect]:
        if held.state is _State.TRYING:
            held.state = _State.PROCEEDING
        if held.state is _State.PROCEEDING and self._is_invite and response.status > 100:
            held.deadline = now + TIMER_C
        if response.status == 100 or self.answered:
            return []
        return [Forward(response, branch)]

    def _fresh(self, targets: Sequence[Target]) -> list[Target]:
        """
        @return: the targets that were not tried yet (P11, P27), best first.
        """
        fresh: list[Target] = []
        for target in targets:
            if len(self._seen) >= MAX_TARGETS:
                break
            if not any(target.uri.equivalent(uri) for uri in self._seen):
                self._seen.append(target.uri)
                fresh.append(target)
        return sorted(fresh, key=_by_q)

    def _start_group(self, targets: list[Target], now: float) -> list[Effect]:
        """
        Start the best of C{targets}, all of equal q together, and remove them.
        """
        effects: list[Effect] = []
        q = targets[0].q if targets else 0.0
        while targets and targets[0].q == q:
            target = targets.pop(0)
            effects.append(StartBranch(len(self._branches), target.uri))
            self._branches.append(_Branch(now + TIMER_C if self._is_invite else None, target.others))
        return effects

    def _cancel_all(self, now: float) -> list[Effect]:
        self._closed = True
        self._waiting.clear()
        if not self._is_invite:
            return []
        return [
            self._cancel(number, branch, now)
            for number, branch in enumerate(self._branches)
            if branch.state in (_State.TRYING, _State.PROCEEDING)
        ]

    def _cancel(self, number: int, branch: _Branch, now: float) -> Effect:
        branch.state = _State.CANCELLED
        branch.deadline = now + CANCEL_PATIENCE
        return CancelBranch(number)

    def _keep(self, response: Response, branch: int) -> None:
        if response.status in (401, 407):
            self._challenges.append(response)
        if self._best is None or _rank(response.status) < _rank(self._best[0].status):
            self._best = (response, branch)

    def _conclude(self, now: float) -> list[Effect]:
        """
        Go on with the next group, or answer upstream when all branches ended.
        """
        if self.answered or any(branch.state is not _State.ENDED for branch in self._branches):
            return []
        if self._waiting:
            return self._start_group(self._waiting, now)
        self.answered = True
        if self._best is None or (self._given_up and self._best[0].status < 400):
            return [Refuse(487 if self._given_up else 408)]
        response, branch = self._best
        challenges = tuple(other for other in self._challenges if other is not response)
        return [Forward(response, branch, challenges if response.status in (401, 407) else ())]


def _contacts(response: Response) -> list[Target]:
    """
    @return: the contacts of a 3xx that can be tried, with their q.
    """
    return [
        Target(contact.uri, _q(contact), _instance(contact))
        for contact in response.contacts
        if contact.uri.host
    ]


def _instance(contact: Address) -> str:
    """
    @return: the instance that a contact is a flow to, if it is one.
    """
    return (contact.params.get("+sip.instance") or "") if "reg-id" in contact.params else ""


def _one_of_each(targets: list[Target]) -> list[Target]:
    """
    Of all flows to one instance keep the first, with the others behind it: no
    phone is to get a request twice (O06, RFC 5626 section 7).
    """
    firsts: dict[object, Target] = {}
    for target in targets:
        first = firsts.get(target.instance) if target.instance else None
        if first is None:
            firsts[target.instance or target.uri] = target
        else:
            firsts[target.instance] = first._replace(others=(*first.others, target))
    return list(firsts.values())


def _by_q(target: Target) -> float:
    return -target.q


def _q(contact: Address) -> float:
    try:
        q = float(contact.params.get("q") or 1)
    except ValueError:
        return 1.0
    return q if 0.0 <= q <= 1.0 else 1.0


def _rank(status: int) -> tuple[int, int, int]:
    """
    The order of RFC 3261 section 16.7 step 6 (P22): 6xx, then the lowest
    class, and within 4xx those that say how to try again; 503 only where there is
    nothing else, and 408, 430 and 487 behind what says more.
    """
    if status >= 600:
        return (0, 0, status)
    if status == 503:
        return (9, 0, status)
    within = 0 if status in _PREFERRED else 2 if status in (408, 430, 487) else 1
    return (status // 100, within, status)
