"""
Who is turned away when there is too much to do.

A L{Gate} is asked about each new request before anything is kept of it.  Too
many from one address are answered 503, and so is whatever is new once the
reactor comes late to its work: first REGISTERs, which telephones repeat by
themselves, and if that is not enough, all that begins something.  What
belongs to a call that was let in, what comes from our own nodes, and
emergency calls pass always.

It looks at no credentials: those cost more than what it saves.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from sipxha.auth.failures import network
from sipxha.auth.rates import Rates
from sipxha.auth.security_events import RATE, SecurityEvents
from sipxha.config.limits import LoadLimits
from sipxha.routing import route_state
from sipxha.routing.emergency import EmergencyNumbers
from sipxha.sip.grammar import MalformedField
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request

TICK = 0.05
"""Seconds between two looks at how late the reactor is."""

SUSTAINED = 1.0
"""Seconds for which the reactor has to be late all the time: being late once is no load."""

RETRY_AFTER = (5, 30)
"""Seconds after which to come again: by chance, so that not all do at once."""

QUIET = 60.0
"""Seconds without refusals, after which the next one is worth a line in the log again."""

_COUNTED = frozenset({"INVITE", "REGISTER", "SUBSCRIBE", "OPTIONS", "MESSAGE"})
"""Methods that are counted by their names; anybody can make up others."""

_NOTED = 1_000
"""Sources that are remembered for that."""


class Gate(Service):
    """
    The load of a node.

    @ivar shed: How many requests were turned away, by cause: C{source}, for
        too many from one address, or their method.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        limits: LoadLimits,
        is_node: Callable[[str], bool],
        is_neighbour: Callable[[str], bool],
        emergency: EmergencyNumbers,
        secret: bytes,
        chance: Callable[[], float],
        security: SecurityEvents | None = None,
    ) -> None:
        """
        @param is_node: Whether an address is one of our own nodes, which have
            let in what they send.
        @param is_neighbour: The same, or of this machine, which may ask as
            often as it likes.
        @param chance: Gives numbers from 0 up to, not including, 1.
        """
        self.shed: Counter[str] = Counter()
        self._reactor = reactor
        self._limits = limits
        self._is_node = is_node
        self._is_neighbour = is_neighbour
        self._emergency = emergency
        self._secret = secret
        self._chance = chance
        self._security = security or SecurityEvents()
        self._rates = Rates(limits.requests_per_source, limits.request_burst)
        self._patience = limits.lag / 1000
        # When the next look is due; nothing is late before the first.
        self._due: float | None = None
        # When of late it was how late.
        self._looks: deque[tuple[float, float]] = deque()
        self.lag = 0.0
        """How many seconds the reactor was late at least, each time in the last second."""

        # When each was last turned away, the node's own lag as nobody's.
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor

    def startService(self) -> None:
        """
        Begin to look at the clock.
        """
        super().startService()
        self._ticking.start(TICK)

    def stopService(self) -> None:
        """
        Look no more.
        """
        super().stopService()
        if self._ticking.running:
            self._ticking.stop()
        self._due = None
        self._looks.clear()
        self.lag = 0.0

    def judge(self, request: Request, flow: Flow) -> int | None:
        """
        Decide about a new request, neither ACK nor CANCEL.

        @return: The seconds after which its sender may come again, if it is
            turned away.
        """
        address = flow.address
        if self._is_node(address):
            return None
        now = self._reactor.seconds()
        source = ""
        if not self._is_neighbour(address):
            source = network(address)
            if not self._rates.is_over(source, now):
                source = ""
        if not source:
            if self.lag <= self._patience:
                return None
            if request.method != "REGISTER" and self.lag <= 2 * self._patience:
                return None
        if self._is_spared(request):
            return None
        self.shed["source" if source else request.method if request.method in _COUNTED else "other"] += 1
        self._note(source, now)
        if source:
            self._security.saw(RATE, address, now, transport=flow.transport, method=request.method)
        least, most = RETRY_AFTER
        return least + int(self._chance() * (most - least + 1))

    def spares(self, request: Request) -> bool:
        """
        Whether a request is a call for help, which no load and no drain turns away.
        """
        return self._emergency.called(request) is not None

    def _is_spared(self, request: Request) -> bool:
        """
        Whether a request is that, or belongs to a dialog of ours, which is
        known by its signature.
        """
        if self.spares(request):
            return True
        try:
            if not request.to_tag or not request.has("route"):
                return False
            routes = [route.uri for route in request.routes]
            return any(
                route_state.is_admitted(self._secret, request, routes, parameter)
                for parameter in (route_state.PARAMETER, route_state.EDGE_PARAMETER)
            )
        except MalformedField:
            return False

    def _note(self, source: str, now: float) -> None:
        last = self._noted.pop(source, None)
        if last is None or not 0 <= now - last <= QUIET:
            if source:
                self._log.warn(
                    "more than {limit} requests a second from {source}: they are answered 503",
                    limit=self._limits.requests_per_source,
                    source=source,
                )
            else:
                self._log.warn(
                    "{lag:.1f} s behind: what is new is answered 503, REGISTER first", lag=self.lag
                )
        self._noted[source] = now
        if len(self._noted) > _NOTED:
            self._noted.popitem(last=False)

    def _tick(self) -> None:
        now = self._reactor.seconds()
        looks = self._looks
        looks.append((now, 0.0 if self._due is None else now - self._due))
        while len(looks) > 1 and looks[1][0] <= now - SUSTAINED:
            looks.popleft()
        self.lag = min(late for _, late in looks) if looks[0][0] <= now - SUSTAINED else 0.0
        self._due = now + TICK
