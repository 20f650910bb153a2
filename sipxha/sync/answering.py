"""
What peers ask of this node, and what it answers.

A call that is granted is answered now, or when the disk has what it brought;
one that is not gets a fault, and maybe changes what we think of the caller
(SyncDesign 5.8).
"""

from __future__ import annotations

from collections.abc import Sequence

from sipxha.sync import rpc
from sipxha.sync.batch import whole
from sipxha.sync.dialect import Dialect
from sipxha.sync.dialects import spoken_in
from sipxha.sync.effects import Answer, AnswerPage, Refuse, Synchronized, Taken
from sipxha.sync.healing import digest_answer
from sipxha.sync.link import Input, Link, State
from sipxha.sync.mesh import Mesh, Phase
from sipxha.sync.numbering import Numbering
from sipxha.sync.updates import number_of_push
from sipxha.sync.wire import Fault, Value


class Answering:
    """
    The called side of one node.
    """

    def __init__(self, mesh: Mesh, numbering: Numbering) -> None:
        self._mesh = mesh
        self._numbering = numbering

    def call_received(self, exchange: int, method: str, params: Sequence[Value]) -> None:
        """
        A peer calls; that it is who it says was checked before.
        """
        mesh = self._mesh
        try:
            dialect = spoken_in(mesh.settings.dialects, method)
            link = self._caller(params)
            try:
                self._grant(exchange, link, dialect, dialect.read_call(method, params, mesh.now))
            except Fault as fault:
                self._blame(link, fault)
                raise
        except Fault as fault:
            mesh.emit(Refuse(exchange, fault))

    def _grant(self, exchange: int, link: Link, dialect: Dialect, call: rpc.Call) -> None:
        if isinstance(call, rpc.Pull):
            self._pull(exchange, link, dialect, call)
        elif isinstance(call, rpc.Reset):
            self._reset(exchange, link, dialect, call)
        elif isinstance(call, rpc.Push):
            self._push(exchange, link, dialect, call)
        else:
            digest = self._mesh.registry.digest(call.primary, call.horizon)
            self._mesh.emit(Answer(exchange, digest_answer(digest)))
            self._mesh.feed(link, Input.CHECK_CAME)

    def _caller(self, params: Sequence[Value]) -> Link:
        name = rpc.caller_of(params)
        link = self._mesh.links.get(name)
        if link is None:
            raise Fault(rpc.UNCONFIGURED_PEER, f"Unconfigured peer '{name[:255]}'")
        if link.state is State.INCOMPATIBLE:
            raise Fault(rpc.INCOMPATIBLE_PEER, f"RegistrarPeer state for '{name}' is Incompatible")
        return link

    def _blame(self, link: Link, fault: Fault) -> None:
        if fault.code in (rpc.INVALID_PARAMETER, rpc.MIXED_NUMBERS):
            self._mesh.feed(link, Input.BROKEN, str(fault))
        elif fault.code in (rpc.UPDATE_FAILED, rpc.OUT_OF_ORDER):
            self._mesh.feed(link, Input.PUSH_REFUSED, str(fault))

    def _require_offered(self, link: Link) -> None:
        if self._mesh.phase < Phase.GREETING:
            raise Fault(rpc.UNREACHABLE_PEER, f"'{self._mesh.name}' is still starting up for '{link.name}'")

    def _pull(self, exchange: int, link: Link, dialect: Dialect, call: rpc.Pull) -> None:
        registry = self._mesh.registry
        rows = registry.rows_after(call.primary, call.number, call.limit or None)
        if call.limit:
            rows = whole(rows)
        last = rows[-1].update_number if rows else call.number
        page = rpc.Page(rows, last, last < registry.largest_number(call.primary))
        # Rows that are missing were replaced, maybe by some that a crash would take back.
        self._mesh.store([], AnswerPage(exchange, dialect, page))
        self._mesh.feed(link, Input.PULL_CAME)

    def _reset(self, exchange: int, link: Link, dialect: Dialect, call: rpc.Reset) -> None:
        self._require_offered(link)
        self._numbering.peer_holds(link, call.number)
        link.sent = call.number
        link.generation += 1
        self._mesh.feed(link, Input.RESET_CAME)
        link.doubt(self._mesh.now)
        self._mesh.emit(Synchronized(link.name, True, call.number))
        self._mesh.emit(Answer(exchange, dialect.number(link.received)))

    def _push(self, exchange: int, link: Link, dialect: Dialect, call: rpc.Push) -> None:
        mesh = self._mesh
        self._require_offered(link)
        is_resetting = bool(link.calls) and isinstance(link.calls[0].call, rpc.Reset)
        if link.state is not State.REACHABLE and not is_resetting:
            mesh.feed(link, Input.PUSH_UNWELCOME)
            raise Fault(rpc.UNREACHABLE_PEER, f"push from UnReachable peer '{link.name}'")
        if call.last_sent > link.received:
            raise Fault(
                rpc.OUT_OF_ORDER, f"last sent is {call.last_sent:#x}, but last received is {link.received:#x}"
            )
        number = number_of_push(link.name, call.rows, are_many=dialect.most_rows > 0)
        link.received = max(link.received, number)
        mesh.feed(link, Input.PUSH_CAME)
        changed = mesh.registry.apply(call.rows, mesh.now)
        mesh.emit(Taken(link.name, len(call.rows), len(changed)))
        # Also where nothing changed: the first copy may not be on disk yet.
        mesh.store(changed, Answer(exchange, dialect.number(link.received)))
