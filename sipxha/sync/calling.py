"""
What this node asks of its peers, and what becomes of it.

One call at a time to each: pulls first, then a reset, then pushes, and when
there is nothing to push, now and then a comparison (design 5.3, 5.8).  Only
pushes need not wait for each other, in a dialect whose speakers take them in
their order.  A peer that does not know a method is called in an
older dialect.
"""

from __future__ import annotations

from sipxha.registry.digest import Digest
from sipxha.sync import rpc
from sipxha.sync.batch import whole
from sipxha.sync.effects import Acknowledged, Call, Pulled, Spoken, Synchronized
from sipxha.sync.healing import Healing, digest_answered
from sipxha.sync.link import Input, Link, Pending, State
from sipxha.sync.mesh import Mesh, Phase
from sipxha.sync.numbering import Numbering
from sipxha.sync.updates import is_gapless, newest_of_pull
from sipxha.sync.wire import Fault

CLIMB = 300.0
"""Seconds after which a peer is asked again whether it knows a newer dialect."""

CROWD = 4
PACE = 0.004
"""
Where so many pushes are under way, the next one leaves so many seconds after
the last at the earliest: what comes meanwhile travels together, which is
cheaper for both.  The answer to any of them is a reason to look again.
"""

_FAILED: dict[type[rpc.Call], Input] = {
    rpc.Pull: Input.PULL_FAILED,
    rpc.Reset: Input.RESET_FAILED,
    rpc.Push: Input.PUSH_FAILED,
    rpc.Ask: Input.CHECK_FAILED,
}


class Calling:
    """
    The calling side of one node.
    """

    def __init__(self, mesh: Mesh, numbering: Numbering) -> None:
        self._mesh = mesh
        self._numbering = numbering
        self._healing = Healing(mesh)
        self._calls: dict[int, Link] = {}

    # --- what to do next ----------------------------------------------------

    def next_call(self, link: Link) -> None:
        """
        Make the next call to a peer, if it is idle and there is one to make.
        """
        if link.is_waiting or link.state is State.INCOMPATIBLE:
            return
        if link.calls:
            if self._may_follow(link):
                self._next_push(link)
            return
        if link.state is State.UNREACHABLE and not link.wants_reset:
            return
        mesh = self._mesh
        if mesh.now >= link.climb_at and not link.is_falling:
            self._speak(link, 0)
        if link.pulls:
            primary, number = next(iter(link.pulls.items()))
            self._call(link, rpc.Pull(primary, self._numbering.known(primary) if number is None else number))
        elif mesh.phase < Phase.GREETING:
            return
        elif link.wants_reset:
            if not link.is_falling:
                self._speak(link, 0)
            self._call(link, rpc.Reset(link.received))
        elif link.state is not State.REACHABLE:
            return
        elif mesh.is_behind(link):
            self._next_push(link)
        else:
            check = self._healing.next_call(link)
            if check is not None:
                self._call(link, *check)

    def _may_follow(self, link: Link) -> bool:
        """
        Whether there is something to push, and it may leave before the pushes that are under way are answered.
        """
        last = link.calls[-1]
        return (
            len(link.calls) < link.dialect.most_pushes
            and (len(link.calls) < CROWD or self._mesh.now >= last.made_at + PACE)
            and isinstance(last.call, rpc.Push)
            and link.state is State.REACHABLE
            and last.generation == link.generation
            and not (link.pulls or link.wants_reset)
            and link.offered < self._mesh.registry.largest_number(self._mesh.name)
        )

    def _next_push(self, link: Link) -> None:
        """
        Push what the peer lacks, as much as may travel at once.

        Numbers that are missing were given up: their rows were replaced.  A
        crash would bring those back whose replacement is not on disk yet, and
        a peer that has been told a greater number would never be sent them.
        So the disk comes first, and then what was looked at before it.
        """
        mesh = self._mesh
        push, link.ready = link.ready, None
        offered = link.offered
        if push is None or push.last_sent != offered:
            if link.dialect.most_rows:
                rows = whole(mesh.registry.rows_after(mesh.name, offered, link.dialect.most_rows))
            else:
                rows = mesh.registry.next_update(mesh.name, offered)
            push = rpc.Push(offered, rows)
            if not is_gapless(push.last_sent, rows):
                link.ready, link.is_waiting = push, True
                mesh.store([], link)
                return
        self._call(link, push)

    def _call(self, link: Link, call: rpc.Call, mine: Digest | None = None) -> None:
        mesh = self._mesh
        id = mesh.next_id()
        link.calls.append(Pending(id, call, link.generation, mesh.now, mine))
        self._calls[id] = link
        dialect = link.dialect
        method, params = dialect.write_call(mesh.name, call, mesh.now)
        rows = dialect if dialect.is_streamed and isinstance(call, rpc.Pull) else None
        pushed = len(call.rows) if isinstance(call, rpc.Push) else 0
        mesh.emit(Call(id, link.name, method, params, rows, pushed))

    def forget(self, link: Link) -> None:
        """
        Whatever a peer answers says nothing any more.
        """
        for pending in link.calls:
            self._calls.pop(pending.id, None)
        link.calls.clear()

    # --- dialects -----------------------------------------------------------

    def _speak(self, link: Link, place: int) -> None:
        """
        Go over to another dialect, and to the newest one again after a while.
        """
        link.climb_at = self._mesh.now + CLIMB
        dialect = self._mesh.settings.dialects[place]
        if dialect is not link.dialect:
            # What was made ready may be more than the other one can carry.
            link.dialect, link.ready = dialect, None

    def _fall(self, link: Link) -> bool:
        """
        The peer does not know a method.

        @return: Whether it may know that of an older dialect.
        """
        dialects = self._mesh.settings.dialects
        place = dialects.index(link.dialect) + 1
        link.is_falling = place < len(dialects)
        self._speak(link, place if link.is_falling else 0)
        return link.is_falling

    # --- what became of our calls -------------------------------------------

    def answered(self, id: int, value: object) -> None:
        """
        A peer answered our call.
        """
        link = self._calls.pop(id, None)
        if link is None:
            return
        pending = _taken(link, id)
        link.is_falling = False
        if link.dialect is not link.spoken:
            link.spoken = link.dialect
            self._mesh.emit(Spoken(link.name, link.dialect.name))
        call = pending.call
        try:
            if isinstance(call, rpc.Pull):
                self._pulled(link, call, link.dialect.read_page(value, call.number, self._mesh.now))
            elif isinstance(call, rpc.Reset):
                self._reset(link, pending, rpc.number_answered(value))
            elif isinstance(call, rpc.Push):
                self._pushed(link, pending, call, rpc.number_answered(value))
            else:
                self._healing.compare(link, call, pending.mine, digest_answered(value))
                self._mesh.feed(link, Input.CHECKED)
        except rpc.Malformed as error:
            self.forget(link)
            self._mesh.feed(link, Input.BROKEN, str(error))
        except Fault as fault:
            self.forget(link)
            self._mesh.feed(link, _FAILED[type(call)], str(fault))

    def failed(self, id: int, reason: str, code: int | None) -> None:
        """
        A peer answered our call with a fault, or not at all, or with what is no answer.
        """
        link = self._calls.pop(id, None)
        if link is None:
            return
        pending = _taken(link, id)
        if code == rpc.UNKNOWN_METHOD and self._fall(link):
            self.forget(link)
            if link.checks:
                link.checks.clear()
                link.check_at = self._mesh.now
            return
        link.is_falling = False
        # The peer has reset us since: what it did in an earlier life says nothing.
        if pending.generation == link.generation:
            # A push that follows one that was not taken is out of order.
            self.forget(link)
            link.checks.clear()
            self._mesh.feed(link, _FAILED[type(pending.call)], reason)

    def _pulled(self, link: Link, call: rpc.Pull, page: rpc.Page) -> None:
        mesh = self._mesh
        newest_of_pull(call.primary, call.number, page.rows)
        if page.more:
            link.pulls[call.primary] = page.number
        else:
            link.pulls.pop(call.primary, None)
        is_late_own = call.primary == mesh.name and mesh.phase >= Phase.GREETING
        if call.primary == mesh.name:
            link.returned = max(link.returned, page.number)
        if is_late_own:
            self._numbering.peer_holds(link, page.number)
        changed = mesh.registry.apply(page.rows, mesh.now)
        if page.rows or mesh.phase < Phase.OPERATING:
            mesh.emit(Pulled(link.name, call.primary, len(page.rows), len(changed)))
        if is_late_own:
            # Others may lack these too, and have been told of greater numbers since.
            changed = mesh.registry.renumber(changed)
        elif call.primary in mesh.links:
            owner = mesh.links[call.primary]
            owner.received = max(owner.received, page.number)
        if changed:
            mesh.store(changed)
        self._healing.pulled(link, call)
        mesh.feed(link, Input.PULLED)

    def _reset(self, link: Link, pending: Pending, number: int) -> None:
        mesh = self._mesh
        self._numbering.peer_holds(link, number)
        # Of two resets that cross, neither is known to be the later: to push twice is harmless.
        link.sent = number if pending.generation == link.generation else min(link.sent, number)
        mesh.feed(link, Input.RESET_TAKEN)
        link.doubt(mesh.now)
        mesh.emit(Synchronized(link.name, False, number))

    def _pushed(self, link: Link, pending: Pending, push: rpc.Push, number: int) -> None:
        first = push.rows[0].update_number
        if number < first:
            raise Fault(rpc.UPDATE_FAILED, f"update {first} answered by {number}")
        if pending.generation == link.generation:
            self._numbering.peer_holds(link, number)
            link.sent = max(link.sent, number)
            self._mesh.emit(Acknowledged(link.name, number))
        self._mesh.feed(link, Input.PUSH_TAKEN)


def _taken(link: Link, id: int) -> Pending:
    """
    The call of that name, which is under way no more.
    """
    place = next(place for place, each in enumerate(link.calls) if each.id == id)
    return link.calls.pop(place)
