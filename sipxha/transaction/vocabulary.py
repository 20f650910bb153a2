"""
The words of the transaction machines.

States and inputs have the names of RFC 3261 section 17 and RFC 6026; timers
have the letters of RFC 3261 table 4.  Only values are here: what follows from
them is in L{sipxha.transaction.tables}.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import NamedTuple

from sipxha.sip.hop import Flow, Hop
from sipxha.sip.limits import UNLIMITED
from sipxha.sip.message import Request, Response
from sipxha.sip.parser import parse_message

T1 = 0.5
"""The estimate of a round trip, in seconds (RFC 3261 section 17.1.1.1)."""

T2 = 4.0
"""The longest pause between retransmissions, INVITE requests excepted."""

T4 = 5.0
"""How long a message can stay in the network."""


# IntEnum, because these are keys of the hottest dictionaries: the hash of an
# ordinary member is computed in Python.
@unique
class State(IntEnum):
    """
    Where a transaction is.
    """

    INITIAL = 0
    """Before the first input; no transaction rests here."""

    CALLING = 1
    TRYING = 2
    PROCEEDING = 3
    COMPLETED = 4
    CONFIRMED = 5
    ACCEPTED = 6
    """RFC 6026: a 2xx has passed, others of the same INVITE may follow."""

    TERMINATED = 7


@unique
class Timer(IntEnum):
    """
    The timers of RFC 3261 table 4 and RFC 6026, and three of our own.
    """

    A = 1
    B = 2
    D = 4
    E = 5
    F = 6
    G = 7
    H = 8
    I = 9  # noqa: E741, the RFC's letter
    J = 10
    K = 11
    L = 12
    M = 13

    TRYING = 20
    """RFC 4320: a non-INVITE request has been left without any answer."""

    CANCEL = 21
    """RFC 3261 section 9.1: a cancelled INVITE is not waited for any longer."""

    PATIENCE = 22
    """The sender would rather try its next hop."""


@unique
class Input(IntEnum):
    """
    What can happen to a transaction.
    """

    # Client transactions.
    SEND = 1
    RECEIVE_1XX = 2
    RECEIVE_2XX = 3
    RECEIVE_FAILURE = 4
    """300 to 699."""

    CANCELLED = 5
    """A CANCEL for this INVITE is on its way."""

    # Server transactions.
    REQUEST = 6
    """The first time, and each retransmission."""

    ACK = 7
    RESPOND_1XX = 8
    RESPOND_2XX = 9
    RESPOND_FAILURE = 10
    """300 to 699, but not L{RESPOND_408} where that is not INVITE's."""

    RESPOND_408 = 11
    """RFC 4320: never sent for anything but INVITE."""

    # Both.
    TRANSPORT_FAILED = 12

    TIMER_A = 101
    TIMER_B = 102
    TIMER_D = 104
    TIMER_E = 105
    TIMER_F = 106
    TIMER_G = 107
    TIMER_H = 108
    TIMER_I = 109
    TIMER_J = 110
    TIMER_K = 111
    TIMER_L = 112
    TIMER_M = 113
    TIMER_TRYING = 120
    TIMER_CANCEL = 121
    TIMER_PATIENCE = 122


FIRED = {timer: Input[f"TIMER_{timer.name}"] for timer in Timer}
"""The input that each timer is when it fires."""

UNRELIABLE = {
    Timer.A: T1,
    Timer.B: 64 * T1,
    Timer.D: 64 * T1,
    Timer.E: T1,
    Timer.F: 64 * T1,
    Timer.G: T1,
    Timer.H: 64 * T1,
    Timer.I: T4,
    Timer.J: 64 * T1,
    Timer.K: T4,
    Timer.L: 64 * T1,
    Timer.M: 64 * T1,
    # Timer E is reset to T2 when it fires for the third time, 0.5 + 1 + 2
    # seconds after the request (RFC 4320 section 4.1).
    Timer.TRYING: 7 * T1,
    Timer.CANCEL: 64 * T1,
}
"""Seconds for each timer where messages can be lost."""

RELIABLE = {
    **UNRELIABLE,
    # The retransmission timers are never started (section 17.1.1.2), and there
    # is nothing to wait for.
    Timer.A: None,
    Timer.E: None,
    Timer.G: None,
    Timer.D: 0.0,
    Timer.I: 0.0,
    Timer.J: 0.0,
    Timer.K: 0.0,
}
"""Seconds for each timer where nothing is lost; C{None}: it does not run."""


class ServerKey(NamedTuple):
    """
    Which server transaction (RFC 3261 section 17.2.3).
    """

    branch: str
    """The branch, or for a client of RFC 2543 what that RFC compares."""

    sent_by: str

    method: str
    """C{"INVITE"} for ACK too."""


class ClientKey(NamedTuple):
    """
    Which client transaction (RFC 3261 section 17.1.3).
    """

    branch: str
    method: str


class SendRequest(NamedTuple):
    """
    Put this request on the wire; also ACK for a failure, and CANCEL.
    """

    key: ClientKey
    """The transaction that wants to know if it cannot be sent."""

    request: Request
    hop: Hop | Flow


class RepeatRequest(NamedTuple):
    """
    Put an ACK on the wire that has been there before, as L{RepeatResponse}.
    """

    key: ClientKey
    """The transaction that wants to know if it cannot be sent."""

    data: bytes
    hop: Hop | Flow

    @property
    def request(self) -> Request:
        """
        What that is, read.
        """
        request = parse_message(self.data, UNLIMITED)
        assert isinstance(request, Request)
        return request


class SendResponse(NamedTuple):
    """
    Put this response on the wire.
    """

    key: ServerKey
    response: Response
    flow: Flow
    """Where the request came from."""


class RepeatResponse(NamedTuple):
    """
    Put a response on the wire that has been there before.

    As bytes: to read it would cost most when there is least time for it.
    """

    key: ServerKey
    answer: bytes
    flow: Flow
    """Where the request came from."""

    @property
    def response(self) -> Response:
        """
        What that is, read.
        """
        response = parse_message(self.answer, UNLIMITED)
        assert isinstance(response, Response)
        return response


class RequestArrived(NamedTuple):
    """
    A new request, and a transaction in which to answer it.
    """

    key: ServerKey
    request: Request
    flow: Flow


class AckArrived(NamedTuple):
    """
    The ACK for a 2xx: it is the transaction user's (RFC 6026 section 7.1).
    """

    request: Request
    flow: Flow


class ResponseArrived(NamedTuple):
    """
    A response that the sender of the request has not seen yet.
    """

    key: ClientKey
    response: Response


class ClientSilent(NamedTuple):
    """
    No answer at all within the sender's patience; the transaction lives on.
    """

    key: ClientKey


class ClientTimedOut(NamedTuple):
    """
    Timer B or F, or a cancelled INVITE that nobody ended.
    """

    key: ClientKey


class ClientFailed(NamedTuple):
    """
    The request could not be sent.
    """

    key: ClientKey


class ServerTimedOut(NamedTuple):
    """
    Nobody acknowledged the failure (timer H), nobody answered in time, or the
    answer could not be sent.
    """

    key: ServerKey


class Finished(NamedTuple):
    """
    The transaction is gone, and with it all that was kept for it.
    """

    key: ClientKey | ServerKey


Effect = (
    SendRequest
    | RepeatRequest
    | SendResponse
    | RepeatResponse
    | RequestArrived
    | AckArrived
    | ResponseArrived
    | ClientSilent
    | ClientTimedOut
    | ClientFailed
    | ServerTimedOut
    | Finished
)
