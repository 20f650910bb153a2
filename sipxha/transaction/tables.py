"""
The four machines of RFC 3261 section 17, as data.

A cell is C{(State, Input): (State, acts)}.  A missing cell means that the
input is ignored and nothing changes.  A table knows neither time nor messages;
what an L{Act} does is in L{sipxha.transaction.layer}.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import NamedTuple, TypeVar

from sipxha.transaction.vocabulary import Input, State, Timer


@unique
class Verb(IntEnum):
    """
    What a transition asks for.
    """

    SEND = 1
    """The request of a client, the latest response of a server."""

    SEND_ONCE = 2
    """The response at hand, which is not kept: to repeat it is not ours."""

    SEND_ACK = 3
    SEND_TRYING = 4
    TELL_REQUEST = 5
    TELL_ACK = 6
    TELL_RESPONSE = 7
    TELL_SILENCE = 8
    TELL_TIMEOUT = 9
    TELL_FAILURE = 10
    START = 11
    AGAIN = 12
    """Start a retransmission timer with twice its last interval."""

    SLOW = 13
    """Start a retransmission timer with T2."""

    STOP = 14
    FORGET_REQUEST = 15
    """A server needs its request no more: what is left to do is to repeat the answer."""

    REST = 16
    """
    Start the last timer, in place of all others.  Until it goes off only
    repetitions can come, so that of the transaction no more is kept than these
    need.
    """


class Act(NamedTuple):
    """
    One thing to do in a transition.
    """

    verb: Verb
    timer: Timer = Timer.A
    """For the verbs about timers."""


Acts = tuple[Act, ...]

A = TypeVar("A")
Cells = dict[tuple[State, Input], tuple[State, A]]
Table = Cells[Acts]


def start(timer: Timer) -> Act:
    """
    Start C{timer} with its first interval.
    """
    return Act(Verb.START, timer)


def again(timer: Timer) -> Act:
    """
    Start C{timer} with twice its last interval.
    """
    return Act(Verb.AGAIN, timer)


def slow(timer: Timer) -> Act:
    """
    Start C{timer} with T2.
    """
    return Act(Verb.SLOW, timer)


def stop(timer: Timer) -> Act:
    """
    Stop C{timer}.
    """
    return Act(Verb.STOP, timer)


def rest(timer: Timer) -> Act:
    """
    Let nothing run but C{timer}, and end with it.
    """
    return Act(Verb.REST, timer)


SEND = Act(Verb.SEND)
SEND_ONCE = Act(Verb.SEND_ONCE)
SEND_ACK = Act(Verb.SEND_ACK)
SEND_TRYING = Act(Verb.SEND_TRYING)
TELL_REQUEST = Act(Verb.TELL_REQUEST)
TELL_ACK = Act(Verb.TELL_ACK)
TELL_RESPONSE = Act(Verb.TELL_RESPONSE)
TELL_SILENCE = Act(Verb.TELL_SILENCE)
TELL_TIMEOUT = Act(Verb.TELL_TIMEOUT)
TELL_FAILURE = Act(Verb.TELL_FAILURE)
FORGET_REQUEST = Act(Verb.FORGET_REQUEST)

INITIAL = State.INITIAL
CALLING = State.CALLING
TRYING = State.TRYING
PROCEEDING = State.PROCEEDING
COMPLETED = State.COMPLETED
CONFIRMED = State.CONFIRMED
ACCEPTED = State.ACCEPTED
TERMINATED = State.TERMINATED

INVITE_CLIENT: Table = {
    # RFC 3261 figure 5, as replaced by the figure of RFC 6026 section 8.4.
    (INITIAL, Input.SEND): (CALLING, (SEND, start(Timer.A), start(Timer.B))),
    (CALLING, Input.TIMER_A): (CALLING, (SEND, again(Timer.A))),
    (CALLING, Input.TIMER_B): (TERMINATED, (TELL_TIMEOUT,)),
    (CALLING, Input.TRANSPORT_FAILED): (TERMINATED, (TELL_FAILURE,)),
    # Ours: the sender turns to another hop.  We stop asking here, lest two
    # phones ring, and stay to hear whether this one does.
    (CALLING, Input.TIMER_PATIENCE): (CALLING, (stop(Timer.A), TELL_SILENCE)),
    (CALLING, Input.RECEIVE_1XX): (PROCEEDING, (stop(Timer.A), stop(Timer.B), TELL_RESPONSE)),
    (CALLING, Input.RECEIVE_2XX): (ACCEPTED, (TELL_RESPONSE, rest(Timer.M))),
    (CALLING, Input.RECEIVE_FAILURE): (COMPLETED, (SEND_ACK, TELL_RESPONSE, rest(Timer.D))),
    # No timer runs here but the one of section 9.1: how long a phone may ring
    # is the transaction user's to say (timer C).
    (PROCEEDING, Input.RECEIVE_1XX): (PROCEEDING, (TELL_RESPONSE,)),
    (PROCEEDING, Input.RECEIVE_2XX): (ACCEPTED, (TELL_RESPONSE, rest(Timer.M))),
    (PROCEEDING, Input.RECEIVE_FAILURE): (COMPLETED, (SEND_ACK, TELL_RESPONSE, rest(Timer.D))),
    (PROCEEDING, Input.CANCELLED): (PROCEEDING, (start(Timer.CANCEL),)),
    (PROCEEDING, Input.TIMER_CANCEL): (TERMINATED, (TELL_TIMEOUT,)),
    (COMPLETED, Input.RECEIVE_FAILURE): (COMPLETED, (SEND_ACK,)),
    # The figure informs the TU that an ACK could not be sent; it has had its
    # final answer and could do nothing.
    (COMPLETED, Input.TRANSPORT_FAILED): (TERMINATED, ()),
    (COMPLETED, Input.TIMER_D): (TERMINATED, ()),
    (ACCEPTED, Input.RECEIVE_2XX): (ACCEPTED, (TELL_RESPONSE,)),
    (ACCEPTED, Input.TIMER_M): (TERMINATED, ()),
}

NON_INVITE_CLIENT: Table = {
    # RFC 3261 figure 6.
    (INITIAL, Input.SEND): (TRYING, (SEND, start(Timer.E), start(Timer.F))),
    (TRYING, Input.TIMER_E): (TRYING, (SEND, again(Timer.E))),
    (TRYING, Input.TIMER_F): (TERMINATED, (TELL_TIMEOUT,)),
    (TRYING, Input.TRANSPORT_FAILED): (TERMINATED, (TELL_FAILURE,)),
    # Ours, as in INVITE_CLIENT.
    (TRYING, Input.TIMER_PATIENCE): (TRYING, (stop(Timer.E), TELL_SILENCE)),
    # Timer E runs on: it is slowed down when it fires.
    (TRYING, Input.RECEIVE_1XX): (PROCEEDING, (TELL_RESPONSE,)),
    (TRYING, Input.RECEIVE_2XX): (COMPLETED, (TELL_RESPONSE, rest(Timer.K))),
    (TRYING, Input.RECEIVE_FAILURE): (COMPLETED, (TELL_RESPONSE, rest(Timer.K))),
    (PROCEEDING, Input.TIMER_E): (PROCEEDING, (SEND, slow(Timer.E))),
    (PROCEEDING, Input.TIMER_F): (TERMINATED, (TELL_TIMEOUT,)),
    (PROCEEDING, Input.TRANSPORT_FAILED): (TERMINATED, (TELL_FAILURE,)),
    (PROCEEDING, Input.RECEIVE_1XX): (PROCEEDING, (TELL_RESPONSE,)),
    (PROCEEDING, Input.RECEIVE_2XX): (COMPLETED, (TELL_RESPONSE, rest(Timer.K))),
    (PROCEEDING, Input.RECEIVE_FAILURE): (COMPLETED, (TELL_RESPONSE, rest(Timer.K))),
    (COMPLETED, Input.TIMER_K): (TERMINATED, ()),
}

INVITE_SERVER: Table = {
    # RFC 3261 figure 7, as replaced by the figure of RFC 6026 section 8.5.
    # A transport error changes nothing here: the client's retransmissions may
    # still find a way to fetch the answer.
    (INITIAL, Input.REQUEST): (PROCEEDING, (TELL_REQUEST,)),
    (PROCEEDING, Input.REQUEST): (PROCEEDING, (SEND,)),
    (PROCEEDING, Input.RESPOND_1XX): (PROCEEDING, (SEND,)),
    # Retransmitting a 2xx is the business of who accepted the call.
    (PROCEEDING, Input.RESPOND_2XX): (ACCEPTED, (SEND_ONCE, rest(Timer.L))),
    (PROCEEDING, Input.RESPOND_FAILURE): (
        COMPLETED,
        (SEND, FORGET_REQUEST, start(Timer.G), start(Timer.H)),
    ),
    (COMPLETED, Input.REQUEST): (COMPLETED, (SEND,)),
    (COMPLETED, Input.TIMER_G): (COMPLETED, (SEND, again(Timer.G))),
    (COMPLETED, Input.TIMER_H): (TERMINATED, (TELL_TIMEOUT,)),
    (COMPLETED, Input.ACK): (CONFIRMED, (rest(Timer.I),)),
    (CONFIRMED, Input.TIMER_I): (TERMINATED, ()),
    (ACCEPTED, Input.RESPOND_2XX): (ACCEPTED, (SEND_ONCE,)),
    (ACCEPTED, Input.ACK): (ACCEPTED, (TELL_ACK,)),
    (ACCEPTED, Input.TIMER_L): (TERMINATED, ()),
}

NON_INVITE_SERVER: Table = {
    # RFC 3261 figure 8, with RFC 4320: no provisional answer but our own 100,
    # and no 408.
    (INITIAL, Input.REQUEST): (TRYING, (TELL_REQUEST, start(Timer.TRYING))),
    # Ours: an answer that comes after the client's timer F must not be sent
    # any more (RFC 4320 section 4.2), so nothing is waited for after that.
    (TRYING, Input.TIMER_TRYING): (PROCEEDING, (SEND_TRYING, start(Timer.F))),
    (TRYING, Input.RESPOND_2XX): (COMPLETED, (SEND, rest(Timer.J))),
    (TRYING, Input.RESPOND_FAILURE): (COMPLETED, (SEND, rest(Timer.J))),
    (TRYING, Input.RESPOND_408): (COMPLETED, (rest(Timer.J),)),
    (PROCEEDING, Input.REQUEST): (PROCEEDING, (SEND,)),
    (PROCEEDING, Input.TRANSPORT_FAILED): (TERMINATED, (TELL_TIMEOUT,)),
    (PROCEEDING, Input.TIMER_F): (TERMINATED, (TELL_TIMEOUT,)),
    (PROCEEDING, Input.RESPOND_2XX): (COMPLETED, (SEND, rest(Timer.J))),
    (PROCEEDING, Input.RESPOND_FAILURE): (COMPLETED, (SEND, rest(Timer.J))),
    (PROCEEDING, Input.RESPOND_408): (COMPLETED, (rest(Timer.J),)),
    (COMPLETED, Input.REQUEST): (COMPLETED, (SEND,)),
    (COMPLETED, Input.TRANSPORT_FAILED): (TERMINATED, (TELL_TIMEOUT,)),
    (COMPLETED, Input.TIMER_J): (TERMINATED, ()),
}
