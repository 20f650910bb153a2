"""
All live transactions of one endpoint, and their timers.

Something that happened goes in with the time at which it did, a list of
L{Effect<sipxha.transaction.vocabulary.Effect>} comes out; what is to happen
next is a number that L{TransactionLayer.next_deadline} tells.  The layer opens
no socket, chooses no hop and invents no branch: requests come with their Via.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.transaction import tables
from sipxha.transaction.alarms import Alarm, Alarms
from sipxha.transaction.derived import ack_for, cancel_for
from sipxha.transaction.key import client_key, server_key
from sipxha.transaction.machine import step
from sipxha.transaction.resting import Kept, Resting
from sipxha.transaction.tables import Cells, Table, Verb
from sipxha.transaction.vocabulary import (
    FIRED,
    RELIABLE,
    T1,
    T2,
    UNRELIABLE,
    AckArrived,
    ClientFailed,
    ClientKey,
    ClientSilent,
    ClientTimedOut,
    Effect,
    Finished,
    Input,
    RepeatRequest,
    RepeatResponse,
    RequestArrived,
    ResponseArrived,
    SendRequest,
    SendResponse,
    ServerKey,
    ServerTimedOut,
    State,
    Timer,
)

# Looked up once: access to a member of an Enum costs more than the step that
# it is for.
_INITIAL = State.INITIAL
_TRYING = State.TRYING
_PROCEEDING = State.PROCEEDING
_TERMINATED = State.TERMINATED
_REQUEST = Input.REQUEST
_ACK = Input.ACK
_SEND = Input.SEND
_RECEIVE_1XX = Input.RECEIVE_1XX
_RECEIVE_2XX = Input.RECEIVE_2XX
_RECEIVE_FAILURE = Input.RECEIVE_FAILURE
_RESPOND_1XX = Input.RESPOND_1XX
_RESPOND_2XX = Input.RESPOND_2XX
_RESPOND_FAILURE = Input.RESPOND_FAILURE
_RESPOND_408 = Input.RESPOND_408

TARDY = 0.1
"""
Seconds that a timer may be late before nobody can be called silent: a process
that gets no processor finds its timers due before it has read what came.
"""

_PerformingCells = Cells[tuple[tuple[Callable[..., bool | None], Timer], ...]]
"""A table whose verbs are methods of a layer."""


_STATES = tuple(State)

# Past the constructor of a named tuple, which is slow.
_new = tuple.__new__


class _Client:
    __slots__ = ("ack", "alarms", "cells", "durations", "hop", "interval", "key", "request", "state")

    def __init__(
        self, key: ClientKey, cells: _PerformingCells, request: Request | None, hop: Hop | Flow
    ) -> None:
        self.key = key
        self.cells = cells
        self.state = _INITIAL
        self.durations = UNRELIABLE if hop.transport == "udp" else RELIABLE
        self.interval = T1
        self.alarms: tuple[Alarm[Any], ...] = ()
        self.request = request
        # What acknowledged a failure.
        self.ack: bytes | None = None
        self.hop = hop


class _Server:
    __slots__ = ("alarms", "answer", "cells", "durations", "flow", "interval", "key", "request", "state")

    def __init__(self, key: ServerKey, cells: _PerformingCells, request: Request | None, flow: Flow) -> None:
        self.key = key
        self.cells = cells
        self.state = _INITIAL
        self.durations = UNRELIABLE if flow.transport == "udp" else RELIABLE
        self.interval = T1
        self.alarms: tuple[Alarm[Any], ...] = ()
        self.request = request
        # As bytes: they are a quarter of a response, and few are asked for twice.
        self.answer: bytes | None = None
        self.flow = flow


_Transaction = _Client | _Server


def _place(values: list[Any]) -> Hop | Flow:
    # The one has fewer values than the other.
    return Hop._make(values) if len(values) == len(Hop._fields) else Flow._make(values)


class TransactionLayer:
    """
    The transactions of one endpoint.

    Memory is bounded by the transactions that are alive: each ends by a timer
    of its own, except that an INVITE which has been answered provisionally
    waits for as long as the transaction user lets it.  Of those that rest there
    are no objects but while something happens to them.
    """

    def __init__(self) -> None:
        self._clients: dict[ClientKey, _Client] = {}
        self._servers: dict[ServerKey, _Server] = {}
        self._alarms: Alarms[_Transaction] = Alarms()
        self._resting = Resting()
        verbs: dict[Verb, Callable[..., bool | None]] = {
            Verb.SEND: self._send,
            Verb.SEND_ONCE: self._send_once,
            Verb.SEND_ACK: self._send_ack,
            Verb.SEND_TRYING: self._send_trying,
            Verb.TELL_REQUEST: self._tell_request,
            Verb.TELL_ACK: self._tell_ack,
            Verb.TELL_RESPONSE: self._tell_response,
            Verb.TELL_SILENCE: self._tell_silence,
            Verb.TELL_TIMEOUT: self._tell_timeout,
            Verb.TELL_FAILURE: self._tell_failure,
            Verb.START: self._start,
            Verb.AGAIN: self._again,
            Verb.SLOW: self._slow,
            Verb.STOP: self._stop,
            Verb.FORGET_REQUEST: self._forget_request,
            Verb.REST: self._rest,
        }

        def performing(table: Table) -> _PerformingCells:
            return {
                cell: (state, tuple([(verbs[act.verb], act.timer) for act in acts]))
                for cell, (state, acts) in table.items()
            }

        self._invite_client = performing(tables.INVITE_CLIENT)
        self._non_invite_client = performing(tables.NON_INVITE_CLIENT)
        self._invite_server = performing(tables.INVITE_SERVER)
        self._non_invite_server = performing(tables.NON_INVITE_SERVER)

    @property
    def live(self) -> int:
        """
        How many transactions there are.
        """
        return len(self._clients) + len(self._servers) + len(self._resting)

    @property
    def unanswered(self) -> int:
        """
        How many requests still wait for their final answer; looks at all that
        do not rest.
        """
        return sum(1 for key in self._servers if self.is_open(key))

    # What happens

    def request_received(self, request: Request, flow: Flow, now: float) -> list[Effect]:
        """
        A request came in: a new one, a retransmission or an ACK.

        @raise MalformedField: It has no Via, CSeq, or what else tells which
            transaction it belongs to.
        """
        effects: list[Effect] = []
        key = server_key(request)
        server = self._server(key)
        if request.method == "ACK":
            if server is None:
                effects.append(AckArrived(request, flow))
            else:
                self._step(server, _ACK, now, effects, AckArrived(request, flow))
        else:
            if server is None:
                cells = self._invite_server if key.method == "INVITE" else self._non_invite_server
                server = self._servers[key] = _Server(key, cells, request, flow)
            self._step(server, _REQUEST, now, effects)
        return effects

    def knows(self, request: Request) -> bool:
        """
        Whether a request belongs to a transaction that is alive.

        @raise MalformedField: As L{request_received}.
        """
        key = server_key(request)
        return key in self._servers or key in self._resting

    def response_received(self, response: Response, now: float) -> list[Effect]:
        """
        A response came in.  One that answers nothing of ours is dropped (RFC
        6026 section 8.9).

        @raise MalformedField: It has no Via or CSeq.
        """
        effects: list[Effect] = []
        client = self._client(client_key(response))
        if client is not None:
            status = response.status
            happened = _RECEIVE_1XX if status < 200 else _RECEIVE_2XX if status < 300 else _RECEIVE_FAILURE
            self._step(client, happened, now, effects, response)
        return effects

    def transport_failed(self, key: ClientKey | ServerKey, now: float) -> list[Effect]:
        """
        What was to be sent for this transaction could not be.
        """
        effects: list[Effect] = []
        transaction = self._client(key) if isinstance(key, ClientKey) else self._server(key)
        if transaction is not None:
            self._step(transaction, Input.TRANSPORT_FAILED, now, effects)
        return effects

    # What the transaction user wants

    def send(
        self, request: Request, hop: Hop | Flow, now: float, patience: float | None = None
    ) -> list[Effect]:
        """
        Send a request, neither ACK nor CANCEL, in a transaction of its own.

        @param request: With our Via on top, and a fresh branch in it.

        @param patience: Seconds without any answer after which a
            L{ClientSilent} says so.
        """
        effects: list[Effect] = []
        key = client_key(request)
        cells = self._invite_client if key.method == "INVITE" else self._non_invite_client
        client = self._clients[key] = _Client(key, cells, request, hop)
        self._step(client, _SEND, now, effects)
        if patience is not None:
            self._run(client, Timer.PATIENCE, patience, now)
        return effects

    def cancel(self, key: ClientKey, reason: str | None, now: float) -> list[Effect]:
        """
        Send a CANCEL for an INVITE, unless there is nothing to cancel or that
        was done before.  It needs a provisional answer to be possible (RFC
        3261 section 9.1).
        """
        client = self._clients.get(key)
        if client is None or client.state is not _PROCEEDING or key.method != "INVITE":
            return []
        assert client.request is not None
        if any(alarm.timer is Timer.CANCEL for alarm in client.alarms):
            return []
        effects: list[Effect] = []
        self._step(client, Input.CANCELLED, now, effects)
        effects += self.send(cancel_for(client.request, reason), client.hop, now)
        return effects

    def respond(self, key: ServerKey, response: Response, now: float) -> list[Effect]:
        """
        Answer a request.

        Dropped, where the transaction is over or answered already, and where
        RFC 4320 forbids it.
        """
        effects: list[Effect] = []
        server = self._server(key)
        if server is not None:
            # First of all: one that cannot be printed must answer nothing.
            response.encode()
            status = response.status
            if status >= 300:
                happened = _RESPOND_408 if status == 408 and key.method != "INVITE" else _RESPOND_FAILURE
            else:
                happened = _RESPOND_2XX if status >= 200 else _RESPOND_1XX
            self._step(server, happened, now, effects, response)
        return effects

    # Questions

    def invite_of(self, cancel: ServerKey) -> ServerKey | None:
        """
        The INVITE that a CANCEL means (RFC 3261 section 9.2), if we know it.
        """
        key = cancel._replace(method="INVITE")
        return key if key in self._servers or key in self._resting else None

    def is_open(self, key: ServerKey) -> bool:
        """
        Whether this request still waits for its final answer.
        """
        server = self._servers.get(key)
        return server is not None and (server.state is _PROCEEDING or server.state is _TRYING)

    def rests(self, key: ClientKey) -> bool:
        """
        Whether this transaction is over but for repetitions of its answer.
        """
        return key in self._resting

    # Time

    def next_deadline(self) -> float | None:
        """
        When L{deadline_passed} should be called next.  That may be sooner than
        anything is due, for the sake of a timer that was stopped since.
        """
        soonest, over = self._alarms.next_deadline(), self._resting.next_deadline()
        return over if soonest is None else soonest if over is None else min(soonest, over)

    def deadline_passed(self, now: float) -> list[Effect]:
        """
        Let all timers fire that are due.
        """
        effects: list[Effect] = []
        for transaction, alarm in self._alarms.due(now):
            transaction.alarms = tuple([other for other in transaction.alarms if other is not alarm])
            if alarm.timer is Timer.PATIENCE and now - alarm.deadline > TARDY:
                # It was us who stood still: the answer may wait to be read.
                self._run(transaction, Timer.PATIENCE, TARDY, now)
                continue
            self._step(transaction, FIRED[alarm.timer], now, effects)
        for key in self._resting.due(now):
            # As in all tables: who rests has nothing to do at its end.
            effects.append(Finished(ClientKey._make(key) if len(key) == 2 else ServerKey._make(key)))
        return effects

    def _run(self, transaction: _Transaction, timer: Timer, seconds: float, now: float) -> None:
        alarm = self._alarms.start(transaction, timer, seconds, now)
        transaction.alarms = (*transaction.alarms, alarm)

    # Rest

    def _client(self, key: ClientKey) -> _Client | None:
        """
        A transaction to which something happens; out of what is kept of it,
        if it rests.
        """
        client = self._clients.get(key)
        if client is None and (kept := self._resting.find(key)) is not None:
            state, ack, *place = kept
            cells = self._invite_client if key.method == "INVITE" else self._non_invite_client
            client = _Client(key, cells, None, _place(place))
            client.state = _STATES[state]
            client.ack = ack
        return client

    def _server(self, key: ServerKey) -> _Server | None:
        """
        The same.
        """
        server = self._servers.get(key)
        if server is None and (kept := self._resting.find(key)) is not None:
            state, answer, *place = kept
            cells = self._invite_server if key.method == "INVITE" else self._non_invite_server
            server = _Server(key, cells, None, Flow._make(place))
            server.state = _STATES[state]
            server.answer = answer
        return server

    def _rest(self, transaction: _Transaction, timer: Timer, now: float, *_: Any) -> bool:
        seconds = transaction.durations[timer]
        if not seconds:
            return True
        for alarm in transaction.alarms:
            self._alarms.stop(alarm)
        transaction.alarms = ()
        # As a number: a member of an Enum is an object that the collector looks at.
        state = int(transaction.state)
        if isinstance(transaction, _Client):
            del self._clients[transaction.key]
            what: Kept = (state, transaction.ack, *transaction.hop)
        else:
            del self._servers[transaction.key]
            what = (state, transaction.answer, *transaction.flow)
        self._resting.keep(transaction.key, seconds, now, what)
        return False

    # Steps

    def _step(
        self,
        transaction: _Transaction,
        happened: Input,
        now: float,
        effects: list[Effect],
        brought: Response | AckArrived | None = None,
    ) -> None:
        """
        Take one step, and those that follow from it without time passing.

        @param brought: What came with it, for the verbs that want it.
        """
        state, acts = step(transaction.cells, transaction.state, happened, ())
        transaction.state = state
        due = None
        for perform, timer in acts:
            if perform(transaction, timer, now, effects, brought):
                due = timer
        if due is not None:
            self._step(transaction, FIRED[due], now, effects)
        elif state is _TERMINATED:
            self._finish(transaction, effects)

    def _finish(self, transaction: _Transaction, effects: list[Effect]) -> None:
        for alarm in transaction.alarms:
            self._alarms.stop(alarm)
        transaction.alarms = ()
        live: dict[Any, Any] = self._clients if isinstance(transaction, _Client) else self._servers
        if live.pop(transaction.key, None) is None:
            self._resting.drop(transaction.key)
        effects.append(Finished(transaction.key))

    # Verbs: all have the same parameters, and tell whether their timer is due
    # at once.

    def _start(self, transaction: _Transaction, timer: Timer, now: float, *_: Any) -> bool:
        seconds = transaction.durations[timer]
        if seconds:
            self._run(transaction, timer, seconds, now)
        return seconds == 0.0

    def _again(self, transaction: _Transaction, timer: Timer, now: float, *_: Any) -> None:
        # Only timer A knows no upper limit (RFC 3261 section 17.1.1.2).
        doubled = transaction.interval * 2
        transaction.interval = doubled if timer is Timer.A else min(doubled, T2)
        self._run(transaction, timer, transaction.interval, now)

    def _slow(self, transaction: _Transaction, timer: Timer, now: float, *_: Any) -> None:
        transaction.interval = T2
        self._run(transaction, timer, T2, now)

    def _stop(self, transaction: _Transaction, timer: Timer, *_: Any) -> None:
        for alarm in transaction.alarms:
            if alarm.timer is timer:
                self._alarms.stop(alarm)
                transaction.alarms = tuple([other for other in transaction.alarms if other is not alarm])
                break

    def _send(
        self,
        transaction: _Transaction,
        timer: Timer,
        now: float,
        effects: list[Effect],
        response: Response | None,
    ) -> None:
        if isinstance(transaction, _Client):
            assert transaction.request is not None
            effects.append(_new(SendRequest, (transaction.key, transaction.request, transaction.hop)))
        elif response is not None:
            transaction.answer = response.encode()
            effects.append(_new(SendResponse, (transaction.key, response, transaction.flow)))
        elif transaction.answer is not None:
            effects.append(RepeatResponse(transaction.key, transaction.answer, transaction.flow))

    def _send_once(
        self, server: _Server, timer: Timer, now: float, effects: list[Effect], response: Response
    ) -> None:
        server.answer = None
        effects.append(_new(SendResponse, (server.key, response, server.flow)))

    def _send_ack(
        self, client: _Client, timer: Timer, now: float, effects: list[Effect], response: Response
    ) -> None:
        if client.request is None:
            # It rests.  RFC 3261 section 17.1.1.2: the ACK is passed to the transport again.
            assert client.ack is not None
            effects.append(RepeatRequest(client.key, client.ack, client.hop))
            return
        ack = ack_for(client.request, response)
        client.ack = ack.encode()
        effects.append(SendRequest(client.key, ack, client.hop))

    def _send_trying(self, server: _Server, timer: Timer, now: float, effects: list[Effect], _: None) -> None:
        assert server.request is not None
        self._send(server, timer, now, effects, response_to(server.request, 100))

    def _forget_request(self, server: _Server, *_: Any) -> None:
        server.request = None

    def _tell_request(
        self, server: _Server, timer: Timer, now: float, effects: list[Effect], _: None
    ) -> None:
        assert server.request is not None
        effects.append(_new(RequestArrived, (server.key, server.request, server.flow)))

    def _tell_ack(
        self, server: _Server, timer: Timer, now: float, effects: list[Effect], arrived: AckArrived
    ) -> None:
        effects.append(arrived)

    def _tell_response(
        self, client: _Client, timer: Timer, now: float, effects: list[Effect], response: Response
    ) -> None:
        effects.append(_new(ResponseArrived, (client.key, response)))

    def _tell_silence(
        self, client: _Client, timer: Timer, now: float, effects: list[Effect], _: None
    ) -> None:
        effects.append(ClientSilent(client.key))

    def _tell_timeout(
        self, transaction: _Transaction, timer: Timer, now: float, effects: list[Effect], _: None
    ) -> None:
        if isinstance(transaction, _Client):
            effects.append(ClientTimedOut(transaction.key))
        else:
            effects.append(ServerTimedOut(transaction.key))

    def _tell_failure(
        self, client: _Client, timer: Timer, now: float, effects: list[Effect], _: None
    ) -> None:
        effects.append(ClientFailed(client.key))
