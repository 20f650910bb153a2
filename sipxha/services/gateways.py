"""
The gateways of the domain: which addresses are theirs, and what they are
called by.

Their names are asked for again and again, as those of our nodes are: what
comes from them is let in by the address that it comes from.  Which numbers
lead to a gateway is the rules' matter, but for emergencies, which every
gateway is good for.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sipxha.services.gateway_hosts import Finder, GatewayHosts, find_gateways
from sipxha.services.neighbours import INTERVAL
from sipxha.sip.address import Address
from sipxha.sip.grammar import MalformedField
from sipxha.sip.uri import Uri


class Gateways(TimerService):
    """
    The gateways, and where they are.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, names: Iterable[str], finder: Finder) -> None:
        """
        @param names: Their names or addresses.

        @param finder: Asks DNS.
        """
        self._finder = finder
        self._known: dict[str, frozenset[str]] = {}
        super().__init__(INTERVAL, self._ask)
        self.clock = reactor
        self.set_gateways(names)

    def set_gateways(self, names: Iterable[str]) -> None:
        """
        Have these from now on; of those that stay, what is known stays.
        """
        self._known = {name: self._known.get(name, frozenset([name])) for name in names}
        self._gather()
        if self.running:
            self._ask()

    def has_address(self, address: str) -> bool:
        """
        Whether an address, as a socket shows it, is that of a gateway.
        """
        # A wildcard IPv6 socket shows IPv4 senders in the form ::ffff:10.1.1.1.
        return address in self._hosts or address.removeprefix("::ffff:") in self._hosts

    def leads_to(self, uri: Uri) -> bool:
        """
        Whether a URI is for a gateway, by its name or by its address.
        """
        return bool(self._hosts) and uri.host.strip("[]").lower() in self._hosts

    def besides(self, contacts: list[str], uri: Uri) -> list[str]:
        """
        Say where a call for help may go.

        @param contacts: What the rules say.

        @param uri: What is called, in the words of the rules.

        @return: The same, and all gateways that they leave out.
        """
        named = frozenset(map(_host, contacts))
        return contacts + [
            # Where the rules say how a gateway wants a number, they are right.
            f"<{uri.scheme}:{uri.user}@{_written(name)}>;q=0"
            for name, hosts in self._known.items()
            if named.isdisjoint(hosts)
        ]

    def _ask(self) -> None:
        for name in self._known:
            asked = Deferred.fromCoroutine(find_gateways([name], self._finder))
            asked.addCallback(self._found, name)

    def _found(self, found: GatewayHosts, name: str) -> None:
        for reason in found.lost.values():
            self._log.warn("no address of gateway {gateway}: {reason}", gateway=name, reason=reason)
            return
        assert found.known is not None
        hosts = found.known.hosts
        # It may have left meanwhile.
        if hosts != self._known.get(name, hosts):
            self._known[name] = hosts
            self._gather()
            self._log.info(
                "gateway {gateway} has the address {addresses}",
                gateway=name,
                addresses=", ".join(sorted(hosts - {name})),
            )

    def _gather(self) -> None:
        self._hosts = frozenset(host for known in self._known.values() for host in known)


def _written(name: str) -> str:
    """
    A host as it stands in a URI.
    """
    return f"[{name}]" if ":" in name else name


def _host(contact: str) -> str:
    try:
        return Address.parse(contact).uri.host.strip("[]").lower()
    except MalformedField:
        return ""
