"""
All live transactions of one endpoint, and their timers.

Something that happened goes in with the time at which it did, a list of
L{Effect<sipxha.transaction.vocabulary.Effect>} comes out; what is to happen
next is a number that L{TransactionLayer.next_deadline} tells.  The layer opens
no socket, chooses no hop and invents no branch: requests come with their Via.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response, response_to
from sipxha.transaction import tables
from sipxha.transaction.derived import ack_for, cancel_for
from sipxha.transaction.key import client_key, server_key
from sipxha.transaction.machine import step
from sipxha.transaction.tables import Table, Verb
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

_SLACK = 1024
"""Dead entries of the heap that are not worth a cleaning."""


class _Transaction:
    """
    What both sides have: a state, and timers.
    """

    __slots__ = ("durations", "interval", "key", "state", "table", "timers")

    key: ClientKey | ServerKey

    def __init__(self, table: Table, transport: str) -> None:
        self.table = table
        self.state = _INITIAL
        self.durations = UNRELIABLE if transport == "udp" else RELIABLE
        self.interval = T1
        # The running timers, each with the number of its entry in the heap.
        self.timers: dict[Timer, int] = {}


class _Client(_Transaction):
    __slots__ = ("hop", "request")

    key: ClientKey

    def __init__(self, key: ClientKey, request: Request, hop: Hop | Flow) -> None:
        super().__init__(
            tables.INVITE_CLIENT if key.method == "INVITE" else tables.NON_INVITE_CLIENT, hop.transport
        )
        self.key = key
        self.request = request
        self.hop = hop


class _Server(_Transaction):
    __slots__ = ("flow", "request", "response")

    key: ServerKey

    def __init__(self, key: ServerKey, request: Request, flow: Flow) -> None:
        super().__init__(
            tables.INVITE_SERVER if key.method == "INVITE" else tables.NON_INVITE_SERVER, flow.transport
        )
        self.key = key
        self.request: Request | None = request
        self.flow = flow
        self.response: Response | None = None


class TransactionLayer:
    """
    The transactions of one endpoint.

    Memory is bounded by the transactions that are alive: each ends by a timer
    of its own, except that an INVITE which has been answered provisionally
    waits for as long as the transaction user lets it.
    """

    def __init__(self) -> None:
        self._clients: dict[ClientKey, _Client] = {}
        self._servers: dict[ServerKey, _Server] = {}
        # Entries are dead when their number is not that of a running timer.
        self._heap: list[tuple[float, int, ClientKey | ServerKey, Timer]] = []
        self._entries = 0
        self._running = 0
        self._verbs: dict[Verb, Callable[..., bool | None]] = {
            Verb.SEND: self._send,
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
        }

    @property
    def live(self) -> int:
        """
        How many transactions there are.
        """
        return len(self._clients) + len(self._servers)

    # What happens

    def request_received(self, request: Request, flow: Flow, now: float) -> list[Effect]:
        """
        A request came in: a new one, a retransmission or an ACK.

        @raise MalformedField: It has no Via, CSeq, or what else tells which
            transaction it belongs to.
        """
        effects: list[Effect] = []
        key = server_key(request)
        server = self._servers.get(key)
        if request.method == "ACK":
            if server is None:
                effects.append(AckArrived(request, flow))
            else:
                self._step(server, _ACK, now, effects, request, flow)
        else:
            if server is None:
                server = self._servers[key] = _Server(key, request, flow)
            self._step(server, _REQUEST, now, effects)
        return effects

    def response_received(self, response: Response, now: float) -> list[Effect]:
        """
        A response came in.  One that answers nothing of ours is dropped (RFC
        6026 section 8.9).

        @raise MalformedField: It has no Via or CSeq.
        """
        effects: list[Effect] = []
        client = self._clients.get(client_key(response))
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
        transaction = self._transaction(key)
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
        client = self._clients[key] = _Client(key, request, hop)
        self._step(client, _SEND, now, effects)
        if patience is not None:
            self._run(client, Timer.PATIENCE, now + patience)
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
        if Timer.CANCEL in client.timers:
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
        server = self._servers.get(key)
        if server is not None:
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
        return key if key in self._servers else None

    def is_open(self, key: ServerKey) -> bool:
        """
        Whether this request still waits for its final answer.
        """
        server = self._servers.get(key)
        return server is not None and (server.state is _PROCEEDING or server.state is _TRYING)

    # Time

    def next_deadline(self) -> float | None:
        """
        When L{deadline_passed} should be called next.
        """
        heap = self._heap
        while heap:
            deadline, entry, key, timer = heap[0]
            transaction = self._transaction(key)
            if transaction is not None and transaction.timers.get(timer) == entry:
                return deadline
            heappop(heap)
        return None

    def deadline_passed(self, now: float) -> list[Effect]:
        """
        Let all timers fire that are due.
        """
        effects: list[Effect] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, entry, key, timer = heappop(heap)
            transaction = self._transaction(key)
            if transaction is not None and transaction.timers.get(timer) == entry:
                self._stop(transaction, timer)
                self._step(transaction, FIRED[timer], now, effects)
        return effects

    def _transaction(self, key: ClientKey | ServerKey) -> _Client | _Server | None:
        if isinstance(key, ClientKey):
            return self._clients.get(key)
        return self._servers.get(key)

    def _run(self, transaction: _Transaction, timer: Timer, deadline: float) -> None:
        self._entries += 1
        if timer not in transaction.timers:
            self._running += 1
        transaction.timers[timer] = self._entries
        heappush(self._heap, (deadline, self._entries, transaction.key, timer))
        if len(self._heap) > 2 * self._running + _SLACK:
            self._clean()

    def _clean(self) -> None:
        """
        Drop the dead entries.  Done when they are the greater part, this costs
        each entry a constant.
        """
        live = []
        for item in self._heap:
            transaction = self._transaction(item[2])
            if transaction is not None and transaction.timers.get(item[3]) == item[1]:
                live.append(item)
        self._heap[:] = live
        heapify(self._heap)

    # Steps

    def _step(
        self,
        transaction: _Client | _Server,
        happened: Input,
        now: float,
        effects: list[Effect],
        message: Request | Response | None = None,
        flow: Flow | None = None,
    ) -> None:
        """
        Take one step, and those that follow from it without time passing.
        """
        state, acts = step(transaction.table, transaction.state, happened)
        transaction.state = state
        verbs = self._verbs
        due = None
        for verb, timer in acts:
            if verbs[verb](transaction, timer, now, effects, message, flow):
                due = timer
        if due is not None:
            self._step(transaction, FIRED[due], now, effects)
        elif state is _TERMINATED:
            self._finish(transaction, effects)

    def _finish(self, transaction: _Client | _Server, effects: list[Effect]) -> None:
        self._running -= len(transaction.timers)
        if isinstance(transaction, _Client):
            del self._clients[transaction.key]
        else:
            del self._servers[transaction.key]
        effects.append(Finished(transaction.key))

    # Verbs: all have the same parameters, and tell whether their timer is due
    # at once.

    def _start(self, transaction: _Transaction, timer: Timer, now: float, *_: Any) -> bool:
        seconds = transaction.durations[timer]
        if seconds:
            self._run(transaction, timer, now + seconds)
        return seconds == 0.0

    def _again(self, transaction: _Transaction, timer: Timer, now: float, *_: Any) -> None:
        # Only timer A knows no upper limit (RFC 3261 section 17.1.1.2).
        doubled = transaction.interval * 2
        transaction.interval = doubled if timer is Timer.A else min(doubled, T2)
        self._run(transaction, timer, now + transaction.interval)

    def _slow(self, transaction: _Transaction, timer: Timer, now: float, *_: Any) -> None:
        transaction.interval = T2
        self._run(transaction, timer, now + T2)

    def _stop(self, transaction: _Transaction, timer: Timer, *_: Any) -> None:
        if transaction.timers.pop(timer, None) is not None:
            self._running -= 1

    def _send(
        self,
        transaction: _Client | _Server,
        timer: Timer,
        now: float,
        effects: list[Effect],
        message: Request | Response | None,
        *_: Any,
    ) -> None:
        if isinstance(transaction, _Client):
            effects.append(SendRequest(transaction.key, transaction.request, transaction.hop))
            return
        if isinstance(message, Response):
            transaction.response = message
        if transaction.response is not None:
            effects.append(SendResponse(transaction.key, transaction.response, transaction.flow))

    def _send_ack(
        self, client: _Client, timer: Timer, now: float, effects: list[Effect], response: Response, *_: Any
    ) -> None:
        effects.append(SendRequest(client.key, ack_for(client.request, response), client.hop))

    def _send_trying(self, server: _Server, timer: Timer, now: float, effects: list[Effect], *_: Any) -> None:
        assert server.request is not None
        server.response = response_to(server.request, 100)
        effects.append(SendResponse(server.key, server.response, server.flow))

    def _forget_request(self, server: _Server, *_: Any) -> None:
        server.request = None

    def _tell_request(
        self, server: _Server, timer: Timer, now: float, effects: list[Effect], *_: Any
    ) -> None:
        assert server.request is not None
        effects.append(RequestArrived(server.key, server.request, server.flow))

    def _tell_ack(
        self,
        server: _Server,
        timer: Timer,
        now: float,
        effects: list[Effect],
        request: Request,
        flow: Flow,
    ) -> None:
        effects.append(AckArrived(request, flow))

    def _tell_response(
        self, client: _Client, timer: Timer, now: float, effects: list[Effect], response: Response, *_: Any
    ) -> None:
        effects.append(ResponseArrived(client.key, response))

    def _tell_silence(
        self, client: _Client, timer: Timer, now: float, effects: list[Effect], *_: Any
    ) -> None:
        effects.append(ClientSilent(client.key))

    def _tell_timeout(
        self, transaction: _Client | _Server, timer: Timer, now: float, effects: list[Effect], *_: Any
    ) -> None:
        if isinstance(transaction, _Client):
            effects.append(ClientTimedOut(transaction.key))
        else:
            effects.append(ServerTimedOut(transaction.key))

    def _tell_failure(
        self, client: _Client, timer: Timer, now: float, effects: list[Effect], *_: Any
    ) -> None:
        effects.append(ClientFailed(client.key))
