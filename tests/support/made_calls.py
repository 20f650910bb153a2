"""
Made-up calls, and the truth about each.

Who makes a call up knows what happened in it.  So each comes with the record
that it has to get, which is written down as the story is told and never worked
out from the events.  What a proxy logs, and which proxies log more than ours
do, is in calls.md 1; times in events and records are those that the observer's
clock showed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, NamedTuple

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.record import NO_TAG, Cdr, Termination
from sipxha.cdr.resolve import LIMITS

BEGIN = 1_700_000_000.0
"""When the first call is made."""

LONGEST_WAIT = 900.0
"""Seconds by which a row may come later than what it tells of: a node was down, or its database."""

TOLD = tuple(name for name in Cdr._fields if name != "as_of")
"""The columns that the truth tells."""


class MadeHost(NamedTuple):
    """
    A node that logs calls.
    """

    address: str
    ahead: float = 0.0
    """By how many seconds its clock is."""


PAIR = (MadeHost("10.1.1.50"), MadeHost("10.1.2.50", 0.2))


class Seen(NamedTuple):
    """
    A row that one host has.
    """

    logged: float
    """When it gets there; by this each host's rows are ordered."""

    host: int
    event: CallStateEvent


class MadeCall(NamedTuple):
    """
    A call, by what was seen of it and what it was.
    """

    began: float
    """By a clock that is right; no row of it is older."""

    seen: tuple[Seen, ...]
    truth: Cdr
    """Its record as long as time decides nothing."""

    judged: Cdr
    """Its record when time has decided what it can."""


class Party(NamedTuple):
    """
    One side of a call.
    """

    tag: str
    url: str
    """From or To value, without the tag."""

    contact: str
    shown_contact: str
    """The same as a record shows it."""

    transport: str | None = None
    """The one over which it says that it is reached."""


def made_calls(
    chance: Random, number: int, hosts: Sequence[MadeHost] = PAIR, begin: float = BEGIN, rate: float = 50.0
) -> Iterator[MadeCall]:
    """
    Make up calls.

    @param hosts: Where their events are; one in ten calls is split over two of them.
    @param rate: How many begin each second.
    """
    numbers = [count(1) for _ in hosts]
    kinds = [kind for kind, _ in _KINDS]
    weights = [weight for _, weight in _KINDS]
    for serial, kind in enumerate(chance.choices(kinds, weights, k=number)):
        call = _Call(chance, serial, hosts, numbers)
        began = begin + serial / rate
        kind(call, began)
        yield call.told(began)


def in_order(calls: Iterator[MadeCall]) -> Iterator[Seen]:
    """
    Give the rows of all calls in the order in which they get to the databases, whose times are true.

    Holds only those of calls that are not over.
    """
    waiting: list[tuple[float, int, Seen]] = []
    serial = count()
    for call in calls:
        while waiting and waiting[0][0] <= call.began:
            yield heappop(waiting)[2]
        for seen in call.seen:
            heappush(waiting, (seen.logged, next(serial), seen))
    while waiting:
        yield heappop(waiting)[2]


class _Call:
    """
    A call while its story is told.

    Each telling method logs an event, and returns the time that its host noted.
    """

    def __init__(
        self, chance: Random, serial: int, hosts: Sequence[MadeHost], numbers: Sequence[Iterator[int]]
    ) -> None:
        self.chance = chance
        self._hosts = hosts
        self._numbers = numbers
        self._seen: list[Seen] = []
        self.front = serial % len(hosts)
        """The host whose forking proxy lets the call in."""

        split = len(hosts) > 1 and chance.random() < 0.1
        self.inner = (self.front + 1) % len(hosts) if split else self.front
        """The host whose authproxy is in its dialogs."""

        self.call_id = f"{chance.getrandbits(96):024x}@10.{serial % 250}.1.7"
        self.branch = self.token("z9hG4bK-")
        self.caller = self.party(f"{200 + serial % 300}")
        self.callee = self.party(f"{500 + serial % 300}")
        self.facts: dict[str, Any] = {
            "call_id": self.call_id,
            "from_tag": self.caller.tag,
            "to_tag": NO_TAG,
            "caller_aor": self.caller.url,
            "callee_aor": self.callee.url,
            "termination": Termination.REQUESTED,
        } | dict.fromkeys(_UNTOLD)

    def token(self, prefix: str = "") -> str:
        return f"{prefix}{self.chance.getrandbits(40):010x}"

    def party(self, user: str) -> Party:
        name = self.chance.choice(_NAMES)
        place = f"sip:{user}@10.{self.chance.randrange(250)}.2.9:5062"
        params, field_params, transport = self.chance.choice(_CONTACT_PARAMS)
        return Party(
            self.token(),
            f"{name}<sip:{user}@example.com>" if name is not None else f"sip:{user}@example.com",
            f"<{place}{params}>{field_params}",
            f"<{place}>",
            transport,
        )

    def requested(self, at: float, cseq: int = 1, *, internal: bool = True, **columns: Any) -> float:
        told: dict[str, Any] = {
            "contact": self.caller.contact,
            "request_uri": "sip:500@example.com",
            "caller_internal": internal,
            "branch_id": self.branch,
            "via_count": 1,
        } | columns
        return self._saw("R", at, cseq, self.caller, Party("", self.callee.url, "", ""), **told)

    def answered(
        self, at: float, by: Party, cseq: int = 1, *, of: Party | None = None, **columns: Any
    ) -> float:
        """
        @param of: Who sent the INVITE; the caller, but for a re-INVITE of the callee.
        """
        told: dict[str, Any] = {
            "contact": by.contact,
            "branch_id": self.token("z9hG4bK-"),
            "via_count": 2,
        } | columns
        return self._saw("S", at, cseq, of or self.caller, by, **told)

    def failed(self, at: float, status: int, by: Party, cseq: int = 1, **columns: Any) -> float:
        told: dict[str, Any] = {
            "failure_status": status,
            "failure_reason": _REASONS[status],
            "branch_id": self.branch,
            "via_count": 1,
        } | columns
        return self._saw("F", at, cseq, self.caller, by, **told)

    def referred(self, at: float, by: Party, to: Party, cseq: int) -> float:
        target = "<sip:carol@example.com>"
        return self._saw(
            "T",
            at,
            cseq,
            by,
            to,
            contact=by.contact,
            refer_to=target,
            referred_by=by.url,
            request_uri=to.shown_contact[1:-1],
        )

    def ended(self, at: float, by: Party, to: Party, cseq: int, **columns: Any) -> float:
        return self._saw("E", at, cseq, by, to, **columns)

    def _saw(
        self,
        kind: str,
        at: float,
        cseq: int,
        sender: Party,
        other: Party,
        host: int | None = None,
        **columns: Any,
    ) -> float:
        if host is None:
            host = self.front if kind in "RF" else self.inner
        place = self._hosts[host]
        noted = round(at + place.ahead, 3)
        port = 5060 if kind in "RF" else 5080
        event = CallStateEvent(
            f"{place.address}:{port}",
            next(self._numbers[host]),
            noted,
            kind,
            cseq,
            self.call_id,
            sender.tag,
            other.tag or None,
            f"{sender.url};tag={sender.tag}",
            f"{other.url};tag={other.tag}" if other.tag else other.url,
            **columns,
        )
        self._seen.append(Seen(at, host, event))
        return noted

    def lose(self, kinds: str) -> None:
        """
        Forget the events of some types: a journal was full.
        """
        self._seen = [seen for seen in self._seen if seen.event.event_type not in kinds]

    def told(self, began: float) -> MadeCall:
        """
        End the story.
        """
        facts, seen = self.facts, self._seen
        facts["events"] = len(seen)
        chance = self.chance.random()
        if chance < 0.01:
            # A host was down, and has caught up since.
            late = self.chance.choice(seen).host
            wait = self.chance.uniform(0.0, LONGEST_WAIT)
            seen = [one._replace(logged=one.logged + wait) if one.host == late else one for one in seen]
        elif chance < 0.03:
            twice = self.chance.choice(seen)
            elsewhere = self.chance.randrange(len(self._hosts))
            seen = [*seen, Seen(twice.logged + self.chance.uniform(0, 60), elsewhere, twice.event)]
        truth = Cdr(**facts)
        return MadeCall(began, tuple(seen), truth, truth._replace(**_JUDGED.get(truth.termination, {})))


_UNTOLD = (
    *("start_time", "connect_time", "end_time", "failure_status", "failure_reason", "reference"),
    *("caller_contact", "callee_contact", "caller_internal", "callee_route"),
    *("hung_up_by", "caller_transport", "callee_transport"),
)

_JUDGED: dict[Termination, dict[str, Any]] = {
    Termination.IN_PROGRESS: {"termination": Termination.UNKNOWN},
    Termination.REQUESTED: {
        "termination": Termination.FAILED,
        "failure_status": 408,
        "failure_reason": "Request Timeout",
    },
}

_NAMES = (None, "", '"Alice" ', '"O\'Brien; tag=none" ', '"A\\"B, \\\\" ', "Jürgen ", '"漢\ttab" ')

_CONTACT_PARAMS = (
    ("", "", "udp"),
    (";transport=tcp", "", "tcp"),
    (";transport=TLS", ";expires=60", "tls"),
    ("", ";q=0.5", "udp"),
)

_REASONS = {
    302: "Moved Temporarily",
    401: "Unauthorized",
    404: "Not Found",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    503: "",
    603: "Decline",
}


def _begin(call: _Call, at: float, **columns: Any) -> None:
    """
    The INVITE is let in.
    """
    call.facts |= {
        "start_time": call.requested(at, **columns),
        "caller_contact": call.caller.shown_contact,
        "caller_transport": call.caller.transport,
        "caller_internal": True,
    }


def _answer(call: _Call, at: float, by: Party, cseq: int = 1, **columns: Any) -> None:
    """
    This is the answer that counts.
    """
    call.facts |= {
        "connect_time": call.answered(at, by, cseq, **columns),
        "to_tag": by.tag,
        "callee_contact": by.shown_contact,
        "callee_transport": by.transport,
        "termination": Termination.IN_PROGRESS,
    }


def _end(
    call: _Call, at: float, by_caller: bool, cseq: int, code: Termination = Termination.COMPLETED
) -> None:
    """
    This is the BYE that counts.
    """
    sides = (call.caller, call.callee) if by_caller else (call.callee, call.caller)
    call.facts |= {
        "end_time": call.ended(at, *sides, cseq),
        "termination": code,
        "hung_up_by": "caller" if by_caller else "callee",
    }


def _fail(call: _Call, at: float, status: int, by: Party, cseq: int = 1, **columns: Any) -> None:
    """
    This is the failure that the caller hears of.
    """
    call.facts |= {
        "end_time": call.failed(at, status, by, cseq, **columns),
        "to_tag": by.tag,
        "termination": Termination.ABANDONED if status == 487 else Termination.FAILED,
        "failure_status": status,
        "failure_reason": _REASONS[status] or None,
        "hung_up_by": "caller" if status == 487 else None,
    }


def _rings(call: _Call, at: float) -> float:
    # Some wait in a queue for longer than phones ring.
    longest = 20.0 if call.chance.random() < 0.97 else 2 * LIMITS.max_ringing
    return at + call.chance.uniform(0.5, longest)


def _talks(call: _Call, at: float) -> float:
    return at + 0.5 + call.chance.expovariate(1 / 120)


def _completed(call: _Call, at: float) -> None:
    _begin(call, at)
    answered = _rings(call, at)
    _answer(call, answered, call.callee)
    by_caller = call.chance.random() < 0.5
    # The callee counts its own requests.
    _end(call, _talks(call, answered), by_caller, 2 if by_caller else call.chance.randrange(1, 5000))


def _both_hang_up(call: _Call, at: float) -> None:
    _begin(call, at)
    answered = _rings(call, at)
    _answer(call, answered, call.callee)
    ended = _talks(call, answered)
    call.ended(ended, call.callee, call.caller, 1)
    _end(call, ended + 0.05, True, 2)


def _challenged(call: _Call, at: float) -> None:
    """
    By a proxy that logs the INVITE before it knows who calls.
    """
    _begin(call, at, internal=False)
    call.failed(at + 0.01, 407, call.party("proxy"))
    call.branch = call.token("z9hG4bK-")
    call.requested(at + 0.1, 2)
    answered = _rings(call, at + 0.1)
    _answer(call, answered, call.callee, 2)
    ended = _talks(call, answered)
    # So is the BYE.
    call.ended(ended, call.caller, call.callee, 3)
    _end(call, ended + 0.1, True, 4)


def _through_an_old_proxy(call: _Call, at: float) -> None:
    """
    Its authproxy knows routes, and tells the failure of each branch.
    """
    reference = f"{call.token()}@10.1.1.7;rel=chain"
    _begin(call, at, reference=reference)
    other, third = call.party("501"), call.party("502")
    answered = _rings(call, at)
    inner: dict[str, Any] = {"host": call.inner, "via_count": 2}
    call.failed(answered - 0.2, 486, other, branch_id=call.token(), **inner)
    _answer(call, answered, call.callee, callee_route="AL,INT")
    call.failed(answered + 0.1, 487, third, branch_id=call.token(), **inner)
    call.facts |= {"callee_route": "AL,INT", "reference": reference}
    _end(call, _talks(call, answered), False, 1)


def _two_answer(call: _Call, at: float) -> None:
    """
    A fork where two phones are picked up at once: the caller ends one.
    """
    _begin(call, at)
    answered = _rings(call, at)
    other = call.party("501")
    call.answered(answered, other)
    _answer(call, answered + 0.05, call.callee)
    call.ended(answered + 0.3, call.caller, other, 2)
    _end(call, _talks(call, answered + 0.5), call.chance.random() < 0.5, 2)


def _nobody_free(call: _Call, at: float) -> None:
    """
    All branches fail, and one failure goes up to the caller.
    """
    _begin(call, at)
    over = _rings(call, at)
    status = call.chance.choice([302, 404, 408, 480, 486, 486, 503, 603])
    for user in call.chance.choice([(), ("501", "502")]):
        call.failed(
            over - call.chance.uniform(0, 0.3),
            call.chance.choice([480, 486, 487]),
            call.party(user),
            branch_id=call.token("z9hG4bK-"),
            via_count=2,
        )
    _fail(call, over, status, call.callee)


def _second_try(call: _Call, at: float) -> None:
    """
    The phone has no answer of one node in time, and asks the other.
    """
    elsewhere = (call.front + 1) % len(call._hosts)
    _begin(call, at)
    again = call.requested(at + 0.8, host=elsewhere, branch_id=call.token("z9hG4bK-"))
    # Nothing but the clocks tells which came first.
    call.facts["start_time"] = min(call.facts["start_time"], again)
    answered = _rings(call, at + 0.8)
    _answer(call, answered, call.callee)
    _end(call, _talks(call, answered), True, 2)


def _cancelled(call: _Call, at: float) -> None:
    _begin(call, at)
    _fail(call, _rings(call, at), 487, call.callee)


def _reinvited(call: _Call, at: float) -> None:
    """
    Hold and back, by both sides; one of them is refused and changes nothing.
    """
    _begin(call, at)
    answered = _rings(call, at)
    _answer(call, answered, call.callee)
    moved = call.caller._replace(contact="<sip:elsewhere@10.9.9.9>")
    call.answered(answered + 5, call.callee._replace(contact="<sip:moved@10.9.9.8>"), 2)
    call.answered(answered + 6, moved, 1, of=call.callee)
    call.failed(answered + 7, 488, call.callee, 3, host=call.inner, via_count=2, branch_id=call.token())
    _end(call, _talks(call, answered + 7), call.chance.random() < 0.5, 4)


def _gone(call: _Call, at: float) -> None:
    """
    The phone lost its power, and a re-INVITE finds the dialog gone.
    """
    _begin(call, at)
    answered = _rings(call, at)
    _answer(call, answered, call.callee)
    lost = _talks(call, answered)
    inner: dict[str, Any] = {"host": call.inner, "via_count": 2, "branch_id": call.token()}
    _fail(call, lost, call.chance.choice([408, 481]), call.callee, 2, **inner)


def _transferred(call: _Call, at: float) -> None:
    """
    Either side may refer the other, and who is referred may hang up first.
    """
    _begin(call, at)
    answered = _rings(call, at)
    _answer(call, answered, call.callee)
    sides = [call.caller, call.callee]
    call.chance.shuffle(sides)
    referred = _talks(call, answered)
    call.referred(referred, sides[0], sides[1], 2)
    _end(call, referred + 1.0, call.chance.random() < 0.5, 3, Termination.TRANSFERRED)


def _transfer_refused(call: _Call, at: float) -> None:
    """
    Who could not transfer takes the other one back.
    """
    _begin(call, at)
    answered = _rings(call, at)
    _answer(call, answered, call.callee)
    sides = [call.caller, call.callee]
    call.chance.shuffle(sides)
    referred = _talks(call, answered)
    call.referred(referred, sides[0], sides[1], 11)
    call.answered(referred + 3.0, sides[1], 12, of=sides[0])
    _end(call, _talks(call, referred + 3.0), sides[0] is call.caller, 13)


def _never_answered(call: _Call, at: float) -> None:
    _begin(call, at)


def _never_ended(call: _Call, at: float) -> None:
    _begin(call, at)
    _answer(call, _rings(call, at), call.callee)


def _for_hours(call: _Call, at: float) -> None:
    """
    For longer than calls are believed to last.
    """
    _begin(call, at)
    _answer(call, _rings(call, at), call.callee)
    _end(call, at + LIMITS.max_call + 3600.0, True, 2)


def _without_request(call: _Call, at: float) -> None:
    """
    The setup stands in for it where it says the same.
    """
    _completed(call, at)
    call.lose("R")
    call.facts |= {
        "start_time": None,
        "caller_contact": None,
        "caller_transport": None,
        "caller_internal": None,
    }


def _without_setup(call: _Call, at: float) -> None:
    _completed(call, at)
    call.lose("S")
    call.facts |= {"connect_time": None, "callee_contact": None, "callee_transport": None}


_KINDS: tuple[tuple[Callable[[_Call, float], None], float], ...] = (
    (_completed, 44),
    (_cancelled, 11),
    (_nobody_free, 11),
    (_challenged, 8),
    (_reinvited, 6),
    (_two_answer, 4),
    (_transferred, 4),
    (_through_an_old_proxy, 3),
    (_second_try, 2),
    (_transfer_refused, 1.5),
    (_both_hang_up, 1),
    (_never_answered, 1),
    (_never_ended, 1),
    (_gone, 1),
    (_without_request, 0.7),
    (_without_setup, 0.7),
    (_for_hours, 0.1),
)
"""What happens, and how often in a hundred."""
