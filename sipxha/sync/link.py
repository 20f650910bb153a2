"""
What one registrar believes about one peer, and what it should say next.

The states are SyncDesign 5.3's.  L{TABLE} says what each event does to them;
a L{Link} keeps the numbers, the retry delay and the list of what is still to
be asked.  It makes no calls and knows nothing of other peers: that is the
engine's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import inf

from sipxha.errors import SipxhaError
from sipxha.registry.digest import Digest
from sipxha.sync import rpc
from sipxha.sync.batch import BATCH
from sipxha.sync.dialect import Dialect

FIRST_DELAY = 1.0
"""Seconds until a lost peer is tried again the first time."""

MOST_DELAY = 30.0
"""The longest such delay, or an eighth of the longest registration if that is less."""


class State(Enum):
    """
    PeerSynchronizationState; the values are the words of the logs.
    """

    UNINITIALIZED = "Uninitialized"
    REACHABLE = "Reachable"
    UNREACHABLE = "UnReachable"
    INCOMPATIBLE = "Incompatible"


class Input(Enum):
    """
    What can happen between us and a peer.
    """

    PULLED = "our pull was answered"
    PULL_FAILED = "our pull failed"
    RESET_TAKEN = "our reset was answered"
    RESET_FAILED = "our reset failed"
    PUSH_TAKEN = "our push was answered"
    PUSH_FAILED = "our push failed"
    CHECKED = "our check was answered"
    CHECK_FAILED = "our check failed"
    PULL_CAME = "the peer pulls"
    RESET_CAME = "the peer resets"
    PUSH_CAME = "the peer pushes"
    CHECK_CAME = "the peer checks"
    PUSH_UNWELCOME = "the peer pushes, but was not reset"
    PUSH_REFUSED = "the peer pushes what we cannot take"
    BROKEN = "the peer speaks otherwise than its method says"


class Do(Enum):
    """
    What a change of state entails.
    """

    WELCOME = "number from the reset on, and look at what others lack of it"
    CALM = "the next failure is the first one again"
    LATER = "try again after the delay, which grows"
    AT_ONCE = "try again now"
    FAREWELL = "ask the others for its last rows"
    GIVE_UP = "never call it again"


class Illegal(SipxhaError):
    """
    An event in a state in which it cannot be.
    """


_U, _R, _N, _I = State.UNINITIALIZED, State.REACHABLE, State.UNREACHABLE, State.INCOMPATIBLE

Cell = tuple[State, tuple[Do, ...]]
ILLEGAL = None

# SyncDesign 5.3, 5.7 and 5.13; every cell is written.  Only a reset makes a
# peer Reachable.  A push that comes while our own reset is under way has
# overtaken its answer and is taken, so PUSH_CAME stands in U and N as well.
TABLE: dict[tuple[State, Input], Cell | None] = {
    (_U, Input.PULLED): (_U, ()),
    (_U, Input.PULL_FAILED): (_N, (Do.LATER,)),
    (_U, Input.RESET_TAKEN): (_R, (Do.WELCOME,)),
    (_U, Input.RESET_FAILED): (_N, (Do.LATER,)),
    (_U, Input.PUSH_TAKEN): ILLEGAL,
    (_U, Input.PUSH_FAILED): ILLEGAL,
    (_U, Input.CHECKED): ILLEGAL,
    (_U, Input.CHECK_FAILED): ILLEGAL,
    (_U, Input.PULL_CAME): (_U, ()),
    (_U, Input.RESET_CAME): (_R, (Do.WELCOME,)),
    (_U, Input.PUSH_CAME): (_U, ()),
    (_U, Input.CHECK_CAME): (_U, ()),
    # Our own reset is about to go.
    (_U, Input.PUSH_UNWELCOME): (_U, ()),
    (_U, Input.PUSH_REFUSED): (_N, (Do.LATER,)),
    (_U, Input.BROKEN): (_I, (Do.GIVE_UP,)),
    #
    (_R, Input.PULLED): (_R, ()),
    (_R, Input.PULL_FAILED): (_N, (Do.LATER, Do.FAREWELL)),
    (_R, Input.RESET_TAKEN): (_R, ()),
    (_R, Input.RESET_FAILED): (_N, (Do.LATER, Do.FAREWELL)),
    # Resets that succeed while pushes fail must not thrash (5.13).
    (_R, Input.PUSH_TAKEN): (_R, (Do.CALM,)),
    (_R, Input.PUSH_FAILED): (_N, (Do.LATER, Do.FAREWELL)),
    (_R, Input.CHECKED): (_R, ()),
    (_R, Input.CHECK_FAILED): (_N, (Do.LATER, Do.FAREWELL)),
    (_R, Input.PULL_CAME): (_R, ()),
    (_R, Input.RESET_CAME): (_R, ()),
    (_R, Input.PUSH_CAME): (_R, ()),
    (_R, Input.CHECK_CAME): (_R, ()),
    (_R, Input.PUSH_UNWELCOME): ILLEGAL,
    (_R, Input.PUSH_REFUSED): (_N, (Do.LATER, Do.FAREWELL)),
    (_R, Input.BROKEN): (_I, (Do.GIVE_UP, Do.FAREWELL)),
    #
    (_N, Input.PULLED): (_N, ()),
    (_N, Input.PULL_FAILED): (_N, (Do.LATER,)),
    (_N, Input.RESET_TAKEN): (_R, (Do.WELCOME,)),
    (_N, Input.RESET_FAILED): (_N, (Do.LATER,)),
    # The peer was lost otherwise while the push was under way.
    (_N, Input.PUSH_TAKEN): (_N, ()),
    (_N, Input.PUSH_FAILED): (_N, ()),
    (_N, Input.CHECKED): (_N, ()),
    (_N, Input.CHECK_FAILED): (_N, ()),
    (_N, Input.PULL_CAME): (_N, (Do.AT_ONCE,)),
    (_N, Input.RESET_CAME): (_R, (Do.WELCOME,)),
    (_N, Input.PUSH_CAME): (_N, ()),
    (_N, Input.CHECK_CAME): (_N, (Do.AT_ONCE,)),
    (_N, Input.PUSH_UNWELCOME): (_N, (Do.AT_ONCE,)),
    (_N, Input.PUSH_REFUSED): (_N, ()),
    (_N, Input.BROKEN): (_I, (Do.GIVE_UP,)),
    # Until this node is started again.
    **{(_I, each): (_I, ()) for each in Input},
}


class Pending:
    """
    A call to a peer that is under way.
    """

    __slots__ = ("call", "generation", "id", "made_at", "mine")

    def __init__(self, id: int, call: rpc.Call, generation: int, made_at: float, mine: Digest | None) -> None:
        self.id = id
        self.call = call
        self.generation = generation
        """The link's when the call was made."""

        self.made_at = made_at
        self.mine = mine
        """Our own digest when theirs was asked for."""


@dataclass(slots=True)
class Link:
    """
    One registrar's side of one peering.
    """

    name: str
    most_delay: float
    dialect: Dialect = BATCH
    spoken: Dialect = BATCH
    """The one in which the peer answered last."""

    state: State = State.UNINITIALIZED

    sent: int = 0
    """PeerSentDbUpdateNumber: the last own update that the peer acknowledged."""

    received: int = 0
    """PeerReceivedDbUpdateNumber: the last update of the peer that was looked at here."""

    is_waiting: bool = False
    """The disk must come first."""

    ready: rpc.Push | None = None
    """What is pushed when it has."""

    returned: int = 0
    """The last update of ours that the peer gave back to us."""

    calls: list[Pending] = field(default_factory=list)
    """What is under way, in its order: one call, or several pushes."""

    pulls: dict[str, int | None] = field(default_factory=dict)
    """
    The registrars whose rows this peer is still to be asked for, in order, and from
    which number on: C{None} for what we lack.
    """

    wants_reset: bool = False
    generation: int = 0
    """How often the peer has reset us: what was asked before is from another time."""

    is_falling: bool = False
    """The last call was of a method that the peer does not know."""

    climb_at: float = 0.0
    """When a peer that knows no newer dialect is asked again whether it does."""

    check_at: float = 0.0
    """When what we hold is compared with what the peer does, if there is nothing to push."""

    checks: list[str] = field(default_factory=list)
    """The registrars of which that is to be done now."""

    differences: dict[str, Digest] = field(default_factory=dict)
    """By how much the rows of a registrar differed the last time."""

    repaired: dict[str, float] = field(default_factory=dict)
    """When all rows of a registrar were last pulled for that."""

    all_at: float = -inf
    """When all rows were last asked for of a peer that knows no digests."""

    is_doubted: bool = True
    """They were not all given since the last reset."""

    delay: float = FIRST_DELAY
    next_try: float | None = None
    calm_at: float | None = None
    """When a peer that stays Reachable has proved itself without a push."""

    last_fault: str = ""

    @property
    def offered(self) -> int:
        """
        The last own update that the peer has, or will have when it has taken what is under way.
        """
        last = self.calls[-1] if self.calls else None
        if last is None or not isinstance(last.call, rpc.Push) or last.generation != self.generation:
            return self.sent
        return max(self.sent, last.call.rows[-1].update_number)

    def feed(self, event: Input, now: float) -> tuple[Do, ...]:
        """
        Let something have happened.

        @return: What the engine must do beyond this link.

        @raise Illegal: It cannot have.
        """
        cell = TABLE[self.state, event]
        if cell is None:
            raise Illegal(f"{event.value} while {self.name} is {self.state.value}")
        self.state, todo = cell
        for each in todo:
            if each is Do.LATER:
                self._wait(now)
            elif each is Do.AT_ONCE:
                self.wants_reset, self.next_try = True, None
            elif each is Do.CALM:
                self.delay, self.calm_at = FIRST_DELAY, None
            elif each is Do.WELCOME:
                self.wants_reset, self.next_try = False, None
                self.calm_at = now + self.delay if self.delay > FIRST_DELAY else None
            elif each is Do.GIVE_UP:
                self.wants_reset, self.next_try, self.calm_at = False, None, None
                self.pulls.clear()
        return todo

    def _wait(self, now: float) -> None:
        self.wants_reset, self.calm_at = False, None
        self.next_try = now + self.delay
        self.delay = min(self.delay * 2, self.most_delay)

    def doubt(self, now: float) -> None:
        """
        A reset: either side may have another disk than it had before.
        """
        self.wants_reset = False
        self.check_at, self.is_doubted = now, True
        self.checks.clear()

    def next_deadline(self) -> float | None:
        """
        When L{deadline_passed} should be called, if ever.
        """
        return self.next_try if self.calm_at is None else self.calm_at

    def deadline_passed(self, now: float, is_level: bool) -> None:
        """
        A time came that L{next_deadline} named.

        @param is_level: The peer has all that we could push.
        """
        if self.next_try is not None and self.next_try <= now:
            self.wants_reset, self.next_try = True, None
        if self.calm_at is not None and self.calm_at <= now:
            if is_level:
                self.delay, self.calm_at = FIRST_DELAY, None
            else:
                self.calm_at = now + self.delay
