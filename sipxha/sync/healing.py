"""
Whether nodes that have told each other everything also hold the same.

Each minute, and after each reset, the digests of the rows of a few primaries
are compared: our own, the peer's, and those of nodes that nobody reaches
(design 5.8).  What is under way makes them differ too, but hardly ever twice
by the same amount: only rows that do are pulled again, all of them.

A peer that knows no digests cannot be compared with: all of these rows are
pulled from it, after each reset and now and then, for nothing else shows that
a node which lost its disk, and served before it heard of that peer, lacks
some.  Each minute it is only asked for its news.

An answer also shows that a peer with which there is nothing to do is alive.
"""

from __future__ import annotations

from sipxha.registry.digest import Digest, horizon
from sipxha.sync import rpc
from sipxha.sync.effects import Diverged
from sipxha.sync.link import Link
from sipxha.sync.mesh import Mesh
from sipxha.sync.wire import Value

INTERVAL = 60.0
"""Seconds between two comparisons, and between two repairs of the same rows."""

AGAIN = 1.0
"""Seconds until what differed is compared again."""

PAUSE = 30.0
"""Seconds until all rows are pulled again at the earliest, however often a peer is reset."""

SELDOM = 3600.0
"""Seconds until they are pulled again although it was not."""

_TOTAL_BITS = 128


class Healing:
    """
    The comparisons of one node with its peers.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def next_call(self, link: Link) -> tuple[rpc.Call, Digest | None] | None:
        """
        What to ask a peer to which there is nothing to push.

        @return: The call, and our own digest at this moment; C{None} while it is not time.
        """
        mesh = self._mesh
        if not link.checks:
            if mesh.now < link.check_at:
                return None
            link.check_at = mesh.now + INTERVAL
            if not link.dialect.has_digests and not self._begins_all(link):
                return rpc.Pull(link.name, link.received), None
            link.checks = [mesh.name, link.name, *(lost.name for lost in mesh.lost())]
        primary = link.checks[0]
        if not link.dialect.has_digests:
            return rpc.Pull(primary, 0), None
        ask = rpc.Ask(primary, horizon(mesh.now, mesh.settings.max_expires))
        # Now the peer holds all of our own rows; of others, what we hold when it answers is nearer.
        mine = mesh.registry.digest(primary, ask.horizon) if primary == mesh.name else None
        return ask, mine

    def _begins_all(self, link: Link) -> bool:
        """
        Whether it is time for all rows of a peer that knows no digests.
        """
        now = self._mesh.now
        # While a peer refuses one dialect after the other it may not know this one either.
        if link.is_falling or now < link.all_at + (PAUSE if link.is_doubted else SELDOM):
            if link.is_doubted:
                link.check_at = min(link.check_at, max(now, link.all_at + PAUSE))
            return False
        link.all_at, link.is_doubted = now, True
        return True

    def pulled(self, link: Link, pull: rpc.Pull) -> None:
        """
        A peer gave what we asked for.
        """
        if not link.dialect.has_digests and link.checks[:1] == [pull.primary] and not pull.number:
            del link.checks[0]
            link.is_doubted = bool(link.checks)

    def compare(self, link: Link, ask: rpc.Ask, mine: Digest | None, theirs: Digest) -> None:
        """
        A peer answered.
        """
        mesh = self._mesh
        primary = ask.primary
        if link.checks and link.checks[0] == primary:
            del link.checks[0]
        if mine is None:
            mine = mesh.registry.digest(primary, ask.horizon)
        difference = mine.minus(theirs)
        before = link.differences.pop(primary, None)
        if mine == theirs:
            return
        link.differences[primary] = difference
        link.check_at = min(link.check_at, mesh.now + AGAIN)
        if difference == before and mesh.now >= link.repaired.get(primary, 0.0) + INTERVAL:
            link.repaired[primary] = mesh.now
            link.pulls[primary] = 0
            mesh.emit(Diverged(link.name, primary, mine.rows, theirs.rows))
        elif primary not in (mesh.name, link.name):
            # One that only we cannot reach goes on, and the peer has its news.
            link.pulls[primary] = None


def digest_answer(digest: Digest) -> dict[str, Value]:
    """
    A digest as it travels.
    """
    return {"rows": digest.rows, "digest": f"{digest.total:032x}"}


def digest_answered(value: object) -> Digest:
    """
    The digest that answers ours.

    @raise rpc.Malformed: It is none.
    """
    rows = value.get("rows") if isinstance(value, dict) else None
    text = value.get("digest") if isinstance(value, dict) else None
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
        raise rpc.Malformed("the answer is no digest")
    if not isinstance(text, str) or len(text) != _TOTAL_BITS // 4:
        raise rpc.Malformed("the answer is no digest")
    try:
        return Digest(rows, int(text, 16))
    except ValueError as error:
        raise rpc.Malformed("the answer is no digest") from error
