"""
Keeps this node's registry and its peers' the same.

Drives L{sipxha.sync.engine.Engine}: carries its calls and the peers', commits
the rows that came, and writes the lines that an operator looks for.  What is
said to whom, and when, is the engine's; what becomes of a row is the
registry's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, TimeoutError, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipxha.auth.security_events import SecurityEvents
from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.live import LiveCalls
from sipxha.config import model
from sipxha.errors import SipxhaError
from sipxha.net.driver import Driver
from sipxha.net.rpc_client import Addresses, RpcClient
from sipxha.net.rpc_server import Exchange, RpcServer
from sipxha.net.tls import MutualTls
from sipxha.registry.table import Registry
from sipxha.services.acknowledgement import Acknowledgement
from sipxha.services.durations import Durations
from sipxha.services.user_exchange import UserExchange
from sipxha.services.user_files import UserFiles
from sipxha.store.registrations import NotYetWritten, RegistrationStore
from sipxha.sync import agreement, live_events, rpc, wire
from sipxha.sync import effects as fx
from sipxha.sync.dialects import DIALECTS, Spoken
from sipxha.sync.engine import Engine
from sipxha.sync.link import Link, State
from sipxha.sync.mesh import Settings

MOST_LIVE = 1 << 26
"""Octets of what a peer tells of its calls."""

PURGE_INTERVAL = 2.0
PURGE_SIZE = 1000
"""Rows that are forgotten at a time, which takes a few milliseconds."""


class Replication(Service):
    """
    The registrar's ties to its peers.

    @ivar live: The calls that this node sees, for peers that ask.
    @ivar resets: How often numbering was agreed on anew, by peer.
    @ivar differences: How often a peer was found to hold other rows than we, by peer.
    @ivar rows: How many rows came or went, by peer, direction (C{in} or C{out}) and what became of them.
    @ivar pushes: How long each push took until its answer, which waits for the peer's disk, by peer.
    @ivar ready: Fires when SIP may be served: C{True} when it must be without
        some peer's rows.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: model.Config,
        registry: Registry,
        store: RegistrationStore,
        addresses: Addresses,
        dialects: Spoken = DIALECTS,
        users: UserFiles | None = None,
        security: SecurityEvents | None = None,
    ) -> None:
        """
        @param registry: Holds what the store had.
        @param addresses: Where a name is, for peers without an address.

        @param dialects: What is spoken; fewer only in tests, as by a node of another age.

        @param users: What the nodes shall have the same of besides.
        @param security: Hears of who calls and is none of them.

        @raise TlsUnusable: The node's certificate, key or authority cannot be used.
        """
        assert config.registrar is not None and config.registrar.replication is not None
        assert config.tls is not None
        settings = config.registrar.replication
        self.ready: Deferred[bool] = Deferred()
        self._reactor = reactor
        self._registry = registry
        self._store = store
        self._listen = config.node.listen
        self._port = settings.port
        self._known = {peer.name: peer.address for peer in settings.peers}
        self._addresses = addresses
        self._tls = MutualTls(config.tls)
        self._client = RpcClient(reactor, self._tls, settings.port, self._where)
        self._users: UserExchange | None = None
        if users is not None:
            client = RpcClient(reactor, self._tls, settings.port, self._where)
            self._users = UserExchange(reactor, config.node.name, self._known, users, client)
        self._asking = RpcClient(reactor, self._tls, settings.port, self._where)
        self.live: LiveCalls | None = None
        self._met: Deferred[None] = succeed(None)
        self._startup_limit = settings.startup_limit
        self._server = RpcServer(reactor, self._tls, self, security)
        self._engine = Engine(
            config.node.name,
            self._known,
            registry,
            Settings(settings.startup_limit, config.registrar.max_expires, dialects),
        )
        self._driver: Driver[fx.Effect] = Driver(reactor, self._engine, self._perform)
        self._purging = LoopingCall(self._purge)
        self._purging.clock = reactor
        self._acknowledgement = Acknowledgement(reactor)
        self._listening: IListeningPort | None = None
        self.resets: Counter[str] = Counter()
        self.rows: Counter[tuple[str, str, str]] = Counter()
        self.pushes: defaultdict[str, Durations] = defaultdict(Durations)
        self.differences: Counter[str] = Counter()
        self._since = dict.fromkeys(self._engine.links, 0.0)
        self._round_trips: dict[str, float] = {}
        # What was our last update when, until the peer has it.
        self._marks: dict[str, tuple[int, float]] = {}
        self._exchanges: dict[int, Exchange] = {}
        self._last_exchange = 0
        self._offences = 0

    # --- life ---------------------------------------------------------------

    def startService(self) -> None:
        """
        Answer pulls, and begin the start-up phase.

        @raise twisted.internet.error.CannotListenError: The port is taken.
        """
        super().startService()
        self._listening = self._server.listen(self._reactor, self._listen, self._port)
        if self._users is not None:
            self._met = self._users.start().addTimeout(self._startup_limit, self._reactor)
            self._met.addErrback(lambda failure: failure.trap(TimeoutError) and None)
        self._since = dict.fromkeys(self._since, self._driver.now())
        self._driver.perform(self._engine.start(self._driver.now()))
        self._purging.start(PURGE_INTERVAL, now=False)

    def stopService(self) -> Deferred[Any]:
        """
        Say nothing any more and hear nothing.
        """
        super().stopService()
        self._driver.stop()
        self._acknowledgement.stop()
        if self._purging.running:
            self._purging.stop()
        listening, self._listening = self._listening, None
        closed = maybeDeferred(listening.stopListening) if listening is not None else succeed(None)
        closing = [closed, self._client.close(), self._asking.close(), self._server.close()]
        if self._users is not None:
            closing.append(self._users.stop())
        return DeferredList(closing, consumeErrors=True)

    def reload(self) -> None:
        """
        Read certificates and key again.

        @raise TlsUnusable: They cannot be used, and the old ones stay.
        """
        self._tls.reload()

    def set_peers(self, peers: Iterable[model.Peer]) -> None:
        """
        Have these peers from now on, and no others.
        """
        self._known = {peer.name: peer.address for peer in peers}
        now = self._driver.now()
        self._marks = {name: mark for name, mark in self._marks.items() if name in self._known}
        self._since = {name: self._since.get(name, now) for name in self._known}
        if self._users is not None:
            self._users.set_peers(self._known)
        self._driver.perform(self._engine.set_peers(self._known, now))

    # --- what others tell and ask -------------------------------------------

    def updated(self) -> None:
        """
        A REGISTER changed the registry.
        """
        self._driver.perform(self._engine.updated(self._driver.now()))

    def users_changed(self) -> None:
        """
        There are other users now, or other rules.
        """
        if self._users is not None:
            self._users.changed()

    def acknowledged(self, number: int) -> Deferred[None] | None:
        """
        An update of ours is on the disk.

        @return: Fires when a peer has it too, or when that takes too long; C{None} if there is no need to wait.
        """
        is_any_reachable = any(link.state is State.REACHABLE for link in self._engine.links.values())
        return self._acknowledgement.wait(number, is_any_reachable)

    @property
    def unacknowledged(self) -> int:
        """
        How many updates were not waited for until a peer had them.
        """
        return self._acknowledgement.missed

    def call_received(self, exchange: Exchange, method: str, params: list[wire.Value]) -> None:
        """
        A peer calls (L{sipxha.net.rpc_server.Callee}).
        """
        if self._users is not None and method in agreement.METHODS:
            self._users.call_received(exchange, method, params)
            return
        if method == live_events.CALLS:
            self._tell_calls(exchange, params)
            return
        self._last_exchange += 1
        self._exchanges[self._last_exchange] = exchange
        now = self._driver.now()
        self._driver.perform(self._engine.call_received(self._last_exchange, method, params, now))

    def calls_of(self, peer: str) -> Deferred[list[CallStateEvent]]:
        """
        Ask a peer for the events of the calls that it sees at the moment.  The question before must be over.

        @return: Fails with L{wire.Fault}, L{CallFailed} or L{rpc.Malformed}.
        """
        question = live_events.write_call(self._engine.name)
        answer = self._asking.call(peer, live_events.CALLS, question, live_events.read_event, most=MOST_LIVE)
        return answer.addCallback(live_events.read_events)

    def _tell_calls(self, exchange: Exchange, params: list[wire.Value]) -> None:
        name = rpc.caller_of(params)
        if name not in self._known:
            raise wire.Fault(rpc.UNCONFIGURED_PEER, f"Unconfigured peer '{name[:255]}'")
        events = [] if self.live is None else self.live.told(self._driver.now())
        exchange.answer_pieces(live_events.write_events(events))

    def states(self) -> dict[str, State]:
        """
        How it stands with each peer, by its name.
        """
        return {link.name: link.state for link in self._engine.links.values()}

    def mark(self) -> None:
        """
        Note how far each peer is; once a second is enough.
        """
        now = self._driver.now()
        for link in self._engine.links.values():
            if link.sent >= self._marks.get(link.name, (0, 0.0))[0]:
                self._marks[link.name] = (self._registry.largest_number(self._engine.name), now)

    def lag(self, peer: str) -> tuple[int, float]:
        """
        What a peer lacks of us.

        @return: How many updates, and for how many seconds it has lacked one of them.
        """
        sent = self._engine.links[peer].sent
        updates = self._registry.count_after(self._engine.name, sent)
        number, when = self._marks.get(peer, (0, 0.0))
        return updates, max(self._driver.now() - when, 0.0) if updates and sent < number else 0.0

    def peers(self) -> list[dict[str, Any]]:
        """
        A row for each peer, as C{sipxha peers} shows it.
        """
        return [self._row(link) for link in self._engine.links.values()]

    def _row(self, link: Link) -> dict[str, Any]:
        behind, lag = self.lag(link.name)
        round_trip = self._round_trips.get(link.name)
        certificate = self._client.certificate_end(link.name)
        return {
            "name": link.name,
            "state": link.state.value,
            "since": _iso(self._since[link.name]),
            "sent": link.sent,
            "received": link.received,
            "behind": behind,
            "lag": round(lag, 3),
            "round_trip": None if round_trip is None else round(round_trip, 6),
            "dialect": link.spoken.name,
            "users": None if self._users is None else self._users.version(link.name),
            "differs": [] if self._users is None else self._users.differing(link.name),
            "last_error": None if link.state is State.REACHABLE else link.last_fault or None,
            "next_try": None if link.next_try is None else _iso(link.next_try),
            "certificate_end": None if certificate is None else _iso(certificate.timestamp()),
        }

    @property
    def refused(self) -> int:
        """
        How many connections and calls were refused because of who made them or of what they held.
        """
        return self._server.refused + self._offences

    def is_same(self, peer: str) -> bool:
        """
        Whether the digests of what a peer and we hold were equal when they were compared last.
        """
        return not self._engine.links[peer].differences

    def disagreement(self) -> dict[str, list[str]]:
        """
        What peers have not the same of as we, for more than a moment, by their names.
        """
        return {} if self._users is None else self._users.lasting()

    # --- effects ------------------------------------------------------------

    def _perform(self, effect: fx.Effect) -> None:
        if isinstance(effect, fx.Call):
            self._call(effect)
        elif isinstance(effect, fx.Store):
            self._commit(effect)
        elif isinstance(effect, fx.Answer):
            self._exchanges.pop(effect.exchange).answer(wire.encode_answer(effect.value))
        elif isinstance(effect, fx.AnswerPage):
            self._answer_page(effect)
        elif isinstance(effect, fx.Refuse):
            self._refuse(effect)
        elif isinstance(effect, fx.Open):
            self._open(effect.is_degraded)
        else:
            self._report(effect)

    def _refuse(self, refuse: fx.Refuse) -> None:
        fault = refuse.fault
        if fault.code in rpc.OFFENCES and not refuse.is_ours:
            self._offences += 1
            self._log.warn("refused a call: {fault}", fault=str(fault)[:500])
        self._exchanges.pop(refuse.exchange).answer(wire.encode_fault(fault))

    def _answer_page(self, answer: fx.AnswerPage) -> None:
        exchange = self._exchanges.pop(answer.exchange)
        pieces = answer.dialect.write_page(answer.page, self._driver.now())
        if answer.dialect.is_chunked:
            exchange.answer_pieces(pieces)
        else:
            exchange.answer(b"".join(pieces))

    def _call(self, call: fx.Call) -> None:
        engine, driver = self._engine, self._driver
        began = monotonic()

        def answered(value: Any) -> None:
            took = self._round_trips[call.peer] = monotonic() - began
            if call.pushed:
                self.rows[call.peer, "out", "applied"] += call.pushed
                self.pushes[call.peer].took(took)
            driver.perform(engine.call_answered(call.id, value, driver.now()))

        def failed(failure: Failure) -> None:
            if not failure.check(SipxhaError):
                # Whatever it was, the engine waits for the end of its call.
                self._log.failure("calling {method} of {peer}", failure, method=call.method, peer=call.peer)
            if call.pushed:
                self.rows[call.peer, "out", "error"] += call.pushed
            code = failure.value.code if isinstance(failure.value, wire.Fault) else None
            driver.perform(engine.call_failed(call.id, failure.getErrorMessage(), driver.now(), code))

        read_row = None if call.rows is None else call.rows.read_row
        self._client.call(call.peer, call.method, call.params, read_row).addCallbacks(answered, failed)

    def _commit(self, store: fx.Store) -> None:
        engine, driver = self._engine, self._driver

        def stored(_: None) -> None:
            driver.perform(engine.stored(store.token, driver.now()))

        def failed(failure: Failure) -> None:
            failure.trap(NotYetWritten)
            driver.perform(engine.store_failed(store.token, driver.now()))

        self._store.commit(store.rows).addCallbacks(stored, failed)

    def _open(self, is_degraded: bool) -> None:
        self._log.info(
            "replication: start-up phase is over, update numbers go on from {number}",
            number=self._registry.update_number,
        )
        if not self.ready.called:
            self._met.addCallback(lambda _: self.ready.callback(is_degraded))

    def _report(self, effect: fx.Report) -> None:
        if isinstance(effect, fx.PeerChanged):
            self._since[effect.peer] = self._driver.now()
            if self._users is not None and effect.state is not State.REACHABLE:
                self._users.went(effect.peer)
            if effect.state is State.REACHABLE:
                self._log.info("peer '{peer}' is Reachable", peer=effect.peer)
            else:
                self._log.warn(
                    "peer '{peer}' is {state}: {reason}",
                    peer=effect.peer,
                    state=effect.state.value,
                    reason=effect.reason[:500],
                )
        elif isinstance(effect, fx.Synchronized):
            self.resets[effect.peer] += 1
            how = "received from" if effect.by_peer else "success to"
            self._log.info(
                "registrarSync.reset {how} '{peer}'; update numbering synchronized to {number}",
                how=how,
                peer=effect.peer,
                number=effect.number,
            )
            if self._users is not None:
                self._users.came(effect.peer)
        elif isinstance(effect, fx.Pulled):
            self._count(effect)
            self._log.info(
                "pulled {rows} rows of '{primary}' from '{peer}', {changed} were news",
                rows=effect.rows,
                primary=effect.primary,
                peer=effect.peer,
                changed=effect.changed,
            )
        elif isinstance(effect, fx.Taken):
            self._count(effect)
        elif isinstance(effect, fx.Acknowledged):
            self._acknowledgement.acknowledged(effect.number)
        elif isinstance(effect, fx.Spoken):
            self._log.info(
                "peer '{peer}' is called in the dialect {dialect}", peer=effect.peer, dialect=effect.dialect
            )
        elif isinstance(effect, fx.Diverged):
            self.differences[effect.peer] += 1
            self._log.warn(
                "peer '{peer}' holds {there} rows of '{primary}' and we {here}, or others: pulling all of them",
                peer=effect.peer,
                there=effect.there,
                primary=effect.primary,
                here=effect.here,
            )
        elif isinstance(effect, fx.NumberRaised):
            self._log.warn(
                "peer '{peer}' holds our update {number}, more than we counted: was the clock set back?",
                peer=effect.peer,
                number=effect.number,
            )

    def _count(self, came: fx.Pulled | fx.Taken) -> None:
        self.rows[came.peer, "in", "applied"] += came.changed
        self.rows[came.peer, "in", "stale"] += came.rows - came.changed

    # --- the rest -----------------------------------------------------------

    def _where(self, name: str) -> Deferred[list[str]]:
        address = self._known.get(name)
        return self._addresses(name) if address is None else succeed([address])

    def _purge(self) -> None:
        gone = self._registry.purge(self._driver.now(), PURGE_SIZE)
        if gone:
            # What could not be written is kept by the store and tried again.
            self._store.commit((), gone).addErrback(lambda failure: failure.trap(NotYetWritten) and None)


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
