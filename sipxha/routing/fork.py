"""
One proxied request: its branches and the response that goes upstream.

The response context of RFC 3261 section 16.7, as values: what happened goes
in, L{Effect}s come out.  It knows neither addresses nor transactions; a branch
is a number that the proxy connects with a client transaction.  It makes no
message other than a choice among those that came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from sipxha.sip.address import Address
from sipxha.sip.message import Response
from sipxha.sip.uri import Uri

TIMER_C = 181.0
"""Seconds that an INVITE branch may ring in silence (RFC 3261 section 16.6 step 11)."""

CANCEL_PATIENCE = 32.0
"""Seconds after which a cancelled branch counts as ended (RFC 3261 section 9.1)."""

SERIAL_RING = 20.0
"""Seconds that a target may ring while others wait for their turn, unless its contact says otherwise."""

MAX_TARGETS = 16
"""Targets that one request may have in all; the rest of a 3xx is not tried."""

MAX_BREADTH = 60
"""Branches of one call that may be alive at once, on all servers together (RFC 5393 section 5.3.3)."""

ANSWERED_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
RANG_TOO_LONG = 'SIP;cause=408;text="Request Timeout"'

_FLOW_FAILED = frozenset({408, 430})
_GATEWAY_FAILED = frozenset({408, 430, 500, 502, 503, 504})
"""Out of reach, or not able to; what a gateway says of whom it called is not among them."""

# Past the constructor of a named tuple, which is slow.
_new = tuple.__new__

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
    """More flows of the same instance, or more gateways, for when this one has failed."""

    ring: float | None = None
    """Seconds that it may ring, where its contact says so."""

    is_gateway: bool = False
    """Of gateways that are wanted alike one gets the call, not all at once."""


class StartBranch(NamedTuple):
    """
    Send the request to C{uri}.
    """

    branch: int
    uri: Uri
    breadth: int = MAX_BREADTH
    """How many branches may become of it (RFC 5393)."""


class CancelBranch(NamedTuple):
    """
    Withdraw the request from a branch that has not answered finally.
    """

    branch: int
    reason: str | None = None
    """The value of a Reason header (RFC 3326), if any."""


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


# Looked up once, as in L{sipxha.transaction.layer}.
_TRYING = _State.TRYING
_PROCEEDING = _State.PROCEEDING
_CANCELLED = _State.CANCELLED
_ENDED = _State.ENDED


class _Branch:
    __slots__ = ("breadth", "deadline", "others", "ring_end", "state")

    def __init__(self, deadline: float | None, others: tuple[Target, ...], breadth: int) -> None:
        self.state = _TRYING
        self.deadline = deadline
        self.others = others
        self.breadth = breadth
        self.ring_end: float | None = None


class ResponseContext:
    """
    The branches of one request, and what was sent upstream of it.
    """

    __slots__ = (
        "_best",
        "_branches",
        "_breadth",
        "_challenges",
        "_closed",
        "_decline_ends_search",
        "_given_up",
        "_in_turn",
        "_is_gateway",
        "_is_invite",
        "_live",
        "_patience",
        "_recurse",
        "_seen",
        "_waiting",
        "_went_round",
        "answered",
    )

    def __init__(
        self,
        method: str,
        *,
        recurse: bool,
        decline_ends_search: bool = True,
        breadth: int = MAX_BREADTH,
        in_turn: bool = False,
        patience: float | None = None,
        is_gateway: Callable[[Uri], bool] | None = None,
    ) -> None:
        """
        @param recurse: whether the contacts of a 3xx become targets.
        @param decline_ends_search: whether a 6xx ends the search, as RFC 3261
            has it, or is a failure like others, as sipX had it.
        @param breadth: how many branches may be alive at once (RFC 5393); 1 at least.
        @param in_turn: whether one target is tried after the other, whatever
            its q, and each for as long as it rings.
        @param patience: seconds after which a branch of an INVITE that gave no
            sign of life is given up.
        @param is_gateway: whether a URI leads to a gateway, if there are any.
        """
        self._is_invite = method == "INVITE"
        self._recurse = recurse
        self._decline_ends_search = decline_ends_search
        self._breadth = breadth
        self._in_turn = in_turn
        self._is_gateway = is_gateway
        self._patience = patience if self._is_invite else None
        self._branches: list[_Branch] = []
        self._live = 0
        """How many of the branches have not ended."""

        self._waiting: list[Target] = []
        self._seen: list[Uri] = []
        self._best: tuple[Response, int] | None = None
        self._challenges: list[Response] = []
        self._closed = False
        self._given_up = False
        self._went_round = False
        self.answered = False
        """Whether a final response went upstream."""

    @property
    def is_over(self) -> bool:
        """
        Whether nothing more can come of this request.
        """
        return self.answered and not self._live

    @property
    def awaits_life(self) -> bool:
        """
        Whether L{heard} makes any difference.
        """
        return self._patience is not None

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
        if held.state is _ENDED:
            # RFC 3261 16.7 step 5: any 2xx to an INVITE goes on, the late one too.
            return [Forward(response, branch)] if self._is_invite and status < 300 else []
        was_cancelled = held.state is _CANCELLED
        self._end(held)
        if status < 300:
            if self.answered and not self._is_invite:
                return []
            self.answered = True
            return [_new(Forward, (response, branch, ())), *self._cancel_all(now, ANSWERED_ELSEWHERE)]
        if self._recurse and status < 400 and not self._closed:
            named = targets_of(response.contacts, self._is_gateway)
            contacts = self._fresh(named)
            if not self._in_turn:
                contacts = _one_of_each(contacts)
            if contacts:
                # The best of them stand in for the branch that named them.
                effects = self._start_group(contacts, now)
                self._waiting = sorted(self._waiting + contacts, key=_by_q)
                return effects
            if named and all(map(self._is_seen, named)):
                # Nothing is left of it for the caller (RFC 3261 16.7 step 4).
                self._went_round = True
                return self._conclude(now)
        if not (was_cancelled and status == 487) or self._given_up:
            # The caller has cancelled nothing, and is not told that somebody did.
            self._keep(response, branch)
        if held.others and not self._closed and not was_cancelled:
            following, *others = held.others
            # O06: this flow has failed, perhaps not the phone; nor what others know the way to.
            if status in (_GATEWAY_FAILED if following.is_gateway else _FLOW_FAILED):
                return self._start_group([following._replace(others=tuple(others))], now)
        is_end = status >= 600 and self._decline_ends_search and not self._in_turn
        cancels = self._cancel_all(now, f"SIP;cause={status}") if is_end else []
        return cancels + self._conclude(now)

    def heard(self, branch: int, now: float) -> None:
        """
        A branch gave a sign of life, if only a 100.
        """
        held = self._branches[branch]
        if self._patience is not None and held.state is _TRYING:
            held.state = _PROCEEDING
            held.deadline = now + TIMER_C

    def cancelled(self, now: float, reason: str | None = None) -> list[Effect]:
        """
        The caller gave up.

        @param reason: what he says why (RFC 3326).
        """
        self._given_up = True
        return self._cancel_all(now, reason) + self._conclude(now)

    def next_deadline(self) -> float | None:
        """
        @return: when L{deadline_passed} is due, if ever.
        """
        soonest = None
        for branch in self._branches:
            deadline = branch.deadline
            if deadline is not None and (soonest is None or deadline < soonest):
                soonest = deadline
        return soonest

    def deadline_passed(self, now: float) -> list[Effect]:
        """
        Timer C (P18), or less where somebody else waits: a branch that rang
        too long is cancelled; one that stays silent even then has ended.
        """
        effects: list[Effect] = []
        for number, branch in enumerate(self._branches):
            if branch.deadline is None or branch.deadline > now:
                continue
            is_silent = branch.state is _TRYING and self._patience is not None
            if branch.state is not _CANCELLED:
                effects.append(self._cancel(number, branch, now, RANG_TOO_LONG))
                if not is_silent:
                    continue
            self._end(branch)
        return effects + self._conclude(now)

    def _end(self, branch: _Branch) -> None:
        branch.state = _ENDED
        branch.deadline = None
        self._live -= 1

    def _provisional(self, held: _Branch, branch: int, response: Response, now: float) -> list[Effect]:
        if held.state is _TRYING:
            held.state = _PROCEEDING
        if held.state is _PROCEEDING and self._is_invite and response.status > 100:
            if response.body:
                # Somebody is told something: that is more than ringing.
                held.ring_end = None
            held.deadline = _earlier(now + TIMER_C, held.ring_end)
        if response.status == 100 or self.answered:
            return []
        return [_new(Forward, (response, branch, ()))]

    def _fresh(self, targets: Sequence[Target]) -> list[Target]:
        """
        @return: the targets that were not tried yet (P11, P27), best first.
        """
        fresh: list[Target] = []
        for target in targets:
            if len(self._seen) >= MAX_TARGETS:
                break
            if not (self._seen and self._is_seen(target)):
                self._seen.append(target.uri)
                fresh.append(target)
        return sorted(fresh, key=_by_q) if len(fresh) > 1 else fresh

    def _is_seen(self, target: Target) -> bool:
        return any(target.uri.equivalent(uri) for uri in self._seen)

    def _start_group(self, targets: list[Target], now: float) -> list[Effect]:
        """
        Start the best of C{targets}, all of equal q together as far as there
        is breadth for them (LA2), and remove them.
        """
        if not targets:
            return []
        count = 1
        while count < len(targets) and targets[count].q == targets[0].q and not self._in_turn:
            count += 1
        free = self._breadth
        if self._live:
            free -= sum(each.breadth for each in self._branches if each.state is not _ENDED)
        # Whatever starts others has ended itself, and left its own.
        count = min(count, free)
        group = targets[:count]
        del targets[:count]
        serial = SERIAL_RING if targets or self._waiting else None
        effects: list[Effect] = []
        for place, target in enumerate(group):
            breadth = (free + place) // count
            effects.append(_new(StartBranch, (len(self._branches), target.uri, breadth)))
            branch = _Branch(None, target.others, breadth)
            self._branches.append(branch)
            self._live += 1
            if not self._is_invite:
                continue
            ring = None if self._in_turn else serial if target.ring is None else target.ring
            if ring is not None:
                branch.ring_end = now + ring
            branch.deadline = _earlier(now + (self._patience or TIMER_C), branch.ring_end)
        return effects

    def _cancel_all(self, now: float, reason: str | None) -> list[Effect]:
        self._closed = True
        self._waiting.clear()
        if not (self._is_invite and self._live):
            return []
        return [
            self._cancel(number, branch, now, reason)
            for number, branch in enumerate(self._branches)
            if branch.state in (_TRYING, _PROCEEDING)
        ]

    def _cancel(self, number: int, branch: _Branch, now: float, reason: str | None) -> Effect:
        branch.state = _CANCELLED
        branch.deadline = now + CANCEL_PATIENCE
        return CancelBranch(number, reason)

    def _keep(self, response: Response, branch: int) -> None:
        if response.status in (401, 407):
            self._challenges.append(response)
        if self._best is None or self._rank(response.status) < self._rank(self._best[0].status):
            self._best = (response, branch)

    def _rank(self, status: int) -> tuple[int, int, int]:
        """
        Who gave up hears that it was this, whatever was tried before.
        """
        return (1, 0, status) if status == 487 and self._given_up else _rank(status)

    def _conclude(self, now: float) -> list[Effect]:
        """
        Go on with the next group, or answer upstream when all branches ended.
        """
        if self.answered or self._live:
            return []
        if self._waiting:
            return self._start_group(self._waiting, now)
        self.answered = True
        if self._best is None or (self._given_up and self._best[0].status < 400):
            return [Refuse(487 if self._given_up else 482 if self._went_round else 408)]
        response, branch = self._best
        challenges = tuple(other for other in self._challenges if other is not response)
        return [Forward(response, branch, challenges if response.status in (401, 407) else ())]


def targets_of(contacts: Iterable[Address], is_gateway: Callable[[Uri], bool] | None = None) -> list[Target]:
    """
    @return: those of some contacts that can be tried, with their q.
    """
    return [
        Target(
            contact.uri,
            _q(contact),
            _instance(contact),
            ring=_ring(contact.uri),
            is_gateway=is_gateway is not None and is_gateway(contact.uri),
        )
        for contact in contacts
        if contact.uri.host
    ]


def _instance(contact: Address) -> str:
    """
    @return: the instance that a contact is a flow to, if it is one.
    """
    return (contact.params.get("+sip.instance") or "") if "reg-id" in contact.params else ""


def _ring(uri: Uri) -> float | None:
    """
    @return: the seconds after C{?expires=} in a contact, by which sipX says how
        long it is to ring.
    """
    if not uri.headers:
        return None
    for part in uri.headers.split("&"):
        name, _, value = part.partition("=")
        if name.lower() == "expires" and value.isascii() and value.isdecimal():
            return float(value[:9])
    return None


def _earlier(one: float, other: float | None) -> float:
    return one if other is None else min(one, other)


def _one_of_each(targets: list[Target]) -> list[Target]:
    """
    Of all flows to one instance keep the first, with the others behind it: no
    phone is to get a request twice (O06, RFC 5626 section 7).  The same of all
    gateways that are wanted alike: the call would leave the house twice.
    """
    firsts: dict[object, Target] = {}
    for target in targets:
        key: object = target.instance or (target.q if target.is_gateway else target.uri)
        first = firsts.get(key)
        firsts[key] = target if first is None else first._replace(others=(*first.others, target))
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
