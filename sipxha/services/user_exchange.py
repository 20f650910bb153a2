"""
Keeps the users of this node and its peers' the same, and knows with which of
them it differs in what must be the same.

Whenever a peer is met (at the start, after each reset, once a minute) and
whenever the users change here, both tell what they have; who has the older
users takes over the newer ones, as a whole.  A connection of its own carries
that, so that no registration waits for thousands of users.  What the files
hold and how they are written is L{sipxha.services.user_files}' business.

Design 5.7.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipxha.config.user_set import differing
from sipxha.errors import SipxhaError
from sipxha.net.rpc_client import RpcClient
from sipxha.net.rpc_server import Exchange
from sipxha.services.user_files import UserFiles
from sipxha.sync import agreement, rpc, wire
from sipxha.sync.agreement import Agreement

INTERVAL = 60.0
"""Seconds between two looks at each peer that is there."""

PATIENCE = 30.0
"""Seconds within which a peer begins to send its users, which it has to read first."""

MOST_USERS = 1 << 27
"""Octets of the users of a peer."""

GRACE = 10.0
"""Seconds that a difference may last before it is worth a word: what is on its way makes one, too."""


class _Peer:
    """
    What is known of one peer.
    """

    __slots__ = ("again", "meeting", "pause", "tells", "theirs")

    def __init__(self) -> None:
        self.theirs: Agreement | None = None
        """What it told last."""

        self.meeting: Deferred[None] | None = None
        """While it is being talked to."""

        self.again = False
        """Something is new since that began."""

        self.pause: IDelayedCall | None = None
        """Runs while a difference is young."""

        self.tells = False
        """It has been said that there is a difference."""


class UserExchange:
    """
    The users and their like, between one node and its peers.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, name: str, peers: Iterable[str], files: UserFiles, client: RpcClient
    ) -> None:
        """
        @param client: Calls the peers, and nobody else uses it.
        """
        self._reactor = reactor
        self._name = name
        self._files = files
        self._client = client
        self._peers = {peer: _Peer() for peer in peers if peer != name}
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._is_running = False

    def start(self) -> Deferred[None]:
        """
        Meet all peers.

        @return: Fires when the newest users that any of them has are here.
        """
        self._is_running = True
        self._looking.start(INTERVAL, now=False)
        met = [self._meet(name) for name in self._peers]
        return DeferredList(met, consumeErrors=True).addCallback(lambda _: None)

    def stop(self) -> Deferred[Any]:
        """
        Say nothing any more.
        """
        self._is_running = False
        if self._looking.running:
            self._looking.stop()
        for peer in self._peers.values():
            self._end_pause(peer)
        return self._client.close()

    # --- what happens -------------------------------------------------------

    def changed(self) -> None:
        """
        The users here are others, or what else is told.
        """
        for name, peer in self._peers.items():
            if peer.theirs is not None:
                self._compare(name, peer)
                self._meet(name)

    def set_peers(self, names: Iterable[str]) -> None:
        """
        Have these peers from now on; who is being talked to leaves after that.
        """
        wanted = set(names)
        for name in wanted - self._peers.keys():
            self._peers[name] = _Peer()
        for name in self._peers.keys() - wanted:
            peer = self._peers[name]
            self.went(name)
            if peer.meeting is None:
                del self._peers[name]
            else:
                peer.meeting.addBoth(self._left, name)

    def _left(self, _: object, name: str) -> None:
        self._peers.pop(name, None)

    def came(self, name: str) -> None:
        """
        A peer is there.
        """
        self._meet(name)

    def went(self, name: str) -> None:
        """
        A peer is lost, and nobody knows any more what it has.
        """
        peer = self._peers[name]
        peer.theirs, peer.tells = None, False
        self._end_pause(peer)

    def call_received(self, exchange: Exchange, method: str, params: list[wire.Value]) -> None:
        """
        A peer calls one of L{agreement.METHODS}; that it is who it says was checked before.

        @raise wire.Fault: It gets no answer.
        """
        name = rpc.caller_of(params)
        peer = self._peers.get(name)
        if peer is None:
            raise wire.Fault(rpc.UNCONFIGURED_PEER, f"Unconfigured peer '{name[:255]}'")
        if method == agreement.USERS:
            snapshot = self._files.snapshot()
            snapshot.addCallbacks(partial(self._send, exchange), partial(self._not_sent, exchange))
            return
        peer.theirs = agreement.read_call(params)
        exchange.answer(wire.encode_answer(agreement.write_answer(self._ours())))
        self._compare(name, peer)
        if peer.theirs.version > self._files.version:
            self._meet(name)

    # --- what is known ------------------------------------------------------

    def version(self, name: str) -> str | None:
        """
        Which users a peer has, as far as it has told.
        """
        theirs = self._peers[name].theirs
        return None if theirs is None else str(theirs.version)

    def differing(self, name: str) -> list[str]:
        """
        In what a peer differs at this moment.
        """
        theirs = self._peers[name].theirs
        return [] if theirs is None else differing(self._files.digest(), theirs.hashes)

    def lasting(self) -> dict[str, list[str]]:
        """
        In what peers differ that should not any more, by their names.
        """
        return {name: self.differing(name) for name, peer in self._peers.items() if peer.tells}

    # --- the talk -----------------------------------------------------------

    def _look(self) -> None:
        for name, peer in self._peers.items():
            if peer.theirs is not None:
                self._meet(name)

    def _meet(self, name: str) -> Deferred[None]:
        """
        @return: Fires when all has been said, or could not be.
        """
        peer = self._peers[name]
        ended: Deferred[None] = Deferred()
        if peer.meeting is not None:
            peer.again = True
            peer.meeting.addBoth(lambda _: ended.callback(None))
            return ended
        peer.meeting, peer.again = ended, False
        talk = Deferred.fromCoroutine(self._talk(name, peer))
        talk.addErrback(self._not_told, name)
        talk.addCallback(self._over, name, peer)
        return ended

    async def _talk(self, name: str, peer: _Peer) -> None:
        told = agreement.write_call(self._name, self._ours())
        theirs = agreement.read_answer(await self._client.call(name, agreement.AGREEMENT, told))
        peer.theirs = theirs
        if theirs.version > self._files.version:
            await self._take(name)
        self._compare(name, peer)

    async def _take(self, name: str) -> None:
        value = await self._client.call(
            name,
            agreement.USERS,
            [self._name],
            agreement.read_piece,
            patience=PATIENCE,
            most=MOST_USERS,
        )
        if await self._files.take(agreement.read_users(value).encode("utf-8")):
            self._log.info("users newer than ours came from '{peer}'", peer=name)

    def _over(self, _: None, name: str, peer: _Peer) -> None:
        meeting, peer.meeting = peer.meeting, None
        assert meeting is not None
        meeting.callback(None)
        if peer.again and self._is_running:
            self._meet(name)

    def _not_told(self, failure: Failure, name: str) -> None:
        if not self._is_running:
            return
        if not failure.check(SipxhaError):
            self._log.failure("talking of users with {peer}", failure, peer=name)
        elif isinstance(failure.value, wire.Fault) and failure.value.code == rpc.UNKNOWN_METHOD:
            # It is older than this node, and its users are its own affair.
            return
        elif self._peers[name].theirs is not None:
            self._log.warn(
                "no word with '{peer}' about users: {reason}",
                peer=name,
                reason=failure.getErrorMessage()[:500],
            )

    def _send(self, exchange: Exchange, text: bytes) -> None:
        exchange.answer_pieces(agreement.write_users(text.decode("utf-8")))

    def _not_sent(self, exchange: Exchange, failure: Failure) -> None:
        failure.trap(SipxhaError)
        # The reason names files of ours, and is in our own log already.
        exchange.answer(
            wire.encode_fault(wire.Fault(rpc.UPDATE_FAILED, "the users cannot be read at the moment"))
        )

    def _ours(self) -> Agreement:
        return Agreement(self._files.version, self._files.digest())

    # --- differences --------------------------------------------------------

    def _compare(self, name: str, peer: _Peer) -> None:
        if not self.differing(name):
            self._end_pause(peer)
            if peer.tells:
                peer.tells = False
                self._log.info("peer '{peer}' has the same as we have again", peer=name)
        elif not peer.tells and peer.pause is None and self._is_running:
            peer.pause = self._reactor.callLater(GRACE, self._lasts, name, peer)

    def _lasts(self, name: str, peer: _Peer) -> None:
        peer.pause = None
        peer.tells = True
        self._log.warn(
            "peer '{peer}' has not the same as we have: {names}",
            peer=name,
            names=", ".join(self.differing(name)),
        )

    def _end_pause(self, peer: _Peer) -> None:
        if peer.pause is not None:
            peer.pause.cancel()
            peer.pause = None
