"""
Which addresses are those of our own nodes.

The registrar listens to nobody else.  A peer's name is asked for again and
again, so that a node that moves is known soon; when DNS does not answer, the
addresses that were last known stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipxha.config.model import Peer
from sipxha.errors import SipxhaError
from sipxha.sip.via import Via

INTERVAL = 60.0
"""Seconds between two looks at DNS."""


def origin(vias: Iterable[Via], knows: Callable[[str], bool]) -> str:
    """
    The address that a request came into the cluster from.

    Each Via was stamped by who received it; the chain is believed as far as
    those are ours.
    """
    return entrance(vias, knows)[1]


def entrance(vias: Iterable[Via], knows: Callable[[str], bool]) -> tuple[str, str]:
    """
    The transport that a request came into the cluster by, and the address.
    """
    transport = address = ""
    for via in vias:
        transport, address = via.transport.lower(), via.received or via.host.strip("[]")
        if not knows(address):
            break
    return transport, address


class Neighbours(TimerService):
    """
    The addresses of this node and of its peers.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        own: Iterable[str],
        peers: Iterable[Peer],
        addresses: Callable[[str], Deferred[list[str]]],
    ) -> None:
        """
        @param own: Addresses of this node.
        @param addresses: Asks DNS for a host.
        """
        self._addresses = addresses
        self._known: dict[str, frozenset[str]] = {}
        self._own = frozenset(own)
        # An answer for each address: everybody who sends asks for it.
        self._answers: dict[str, bool] = {}
        self.set_peers(peers)
        super().__init__(INTERVAL, self._ask)
        self.clock = reactor

    def set_peers(self, peers: Iterable[Peer]) -> None:
        """
        Have these peers from now on; of those that stay, what is known stays.
        """
        self._peers = tuple(peers)
        self._known = {
            peer.name: frozenset([peer.address]) if peer.address else self._known.get(peer.name, frozenset())
            for peer in self._peers
        }
        self._gather()

    def knows(self, address: str) -> bool:
        """
        Whether an address belongs to one of our nodes, or to loopback.
        """
        answer = self._answers.get(address)
        if answer is None:
            if len(self._answers) > 10_000:
                self._answers.clear()
            answer = self._answers[address] = self._is_ours(address)
        return answer

    def is_node(self, address: str) -> bool:
        """
        Whether an address is that of one of our nodes, and not just loopback.
        """
        return address in self._nodes

    def _is_ours(self, address: str) -> bool:
        if self.is_node(address):
            return True
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        # A wildcard IPv6 socket shows IPv4 senders in the form ::ffff:10.1.1.1.
        mapped = getattr(parsed, "ipv4_mapped", None)
        return parsed.is_loopback or (mapped is not None and self._is_ours(str(mapped)))

    def _gather(self) -> None:
        self._nodes = self._own.union(*self._known.values())
        self._answers.clear()

    def _ask(self) -> None:
        for peer in self._peers:
            if peer.address is None:
                self._addresses(peer.name).addCallbacks(
                    self._found, self._not_found, callbackArgs=(peer.name,), errbackArgs=(peer.name,)
                )

    def look(self) -> None:
        """
        Ask for the peers now, and not only in a while.
        """
        if self.running:
            self._ask()

    def _found(self, addresses: list[str], name: str) -> None:
        found = frozenset(addresses)
        # It may have left meanwhile.
        if found != self._known.get(name, found):
            self._known[name] = found
            self._gather()
            self._log.info("{peer} has the address {addresses}", peer=name, addresses=", ".join(addresses))

    def _not_found(self, failure: Failure, name: str) -> None:
        failure.trap(SipxhaError)
        self._log.warn("no address of {peer}: {reason}", peer=name, reason=failure.getErrorMessage())
