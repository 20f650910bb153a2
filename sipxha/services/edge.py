"""
The edge: flows to phones that can be reached in no other way (RFC 5626).

A phone over TCP or TLS, or behind a NAT, is there for us only on the flow that
it has opened.  The forking proxy that it registers through writes a token of
that flow into a Path, and where the phone opens dialogs, into a Record-Route;
whatever comes back with the token goes to the flow.

An L{Edge} knows which flows end at this node, which of them somebody has
registered over, and when they are gone.  It keeps open what a NAT would
forget.  It judges no request, and knows of registrations only what passes:
what is bound is the registrar's, who hears through L{Edge.closed} that a flow
has died.  A node without a registrar tells nobody; there a request is answered
430 until the binding ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from sipxha.config.model import Ports
from sipxha.errors import RemoteError
from sipxha.net.endpoint import Endpoint
from sipxha.registry.binding import Binding, flow_token
from sipxha.registry.domain import ServedDomain
from sipxha.routing.flow_token import FlowToken, TokenForged, is_token, mint_token, read_token
from sipxha.sip.grammar import MalformedField
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request, Response
from sipxha.sip.uri import Uri

PING_INTERVAL = 25.0
"""Seconds between two pings of a phone behind a NAT: most forget a UDP mapping after 30."""

TICK = 1.0
"""Seconds between two looks at whose ping is due."""

NUMBERED = 2**32
"""Lives of a process that are told apart."""

_LOOSE = Uri.parse("sip:edge;lr").params


class FlowGone(RemoteError):
    """
    The far end of a flow has left (RFC 5626 section 5.3.1).
    """

    status = 430


class _Promise(NamedTuple):
    """
    A connection that somebody has registered over.
    """

    token: str
    identity: str
    """Who; nobody where there are several."""

    until: float
    """When the registration ends."""


class Edge(Service):
    """
    The flows of a node's forking proxy.

    @ivar endpoint: That of the proxy; set before the first request comes.

    @ivar closed: Hears of the token of a flow that has died.
    """

    endpoint: Endpoint

    def __init__(
        self,
        reactor: Any,
        secret: bytes,
        address: str,
        name: str,
        ports: Ports,
        domain: ServedDomain,
        life: int,
        *,
        authenticated: bool,
    ) -> None:
        """
        @param address: Of the node, as others know it.

        @param name: Of the node, which its certificate is for.

        @param life: A number that this process does not share with the one before.

        @param authenticated: Whether who registers has proved who he is.
        """
        self.closed: Callable[[str], None] = _tell_nobody
        self._reactor = reactor
        self._secret = secret
        self._address = address
        self._name = name
        self._ports = ports
        self._domain = domain
        self._life = life % NUMBERED
        self._authenticated = authenticated
        port = ports.udp or ports.tcp
        assert port is not None
        # As a token has it, however it is written in the configuration.
        self._own = (str(ip_address(address)), port)
        self._promises: dict[int, _Promise] = {}
        # Until when, by the flow.
        self._mapped: dict[Flow, float] = {}
        # When each of them is pinged next; the same interval for all keeps it in order.
        self._due: deque[tuple[float, Flow]] = deque()
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        self._token = lru_cache(maxsize=4096)(self._mint)

    # Life

    def startService(self) -> None:
        """
        Begin to ping.
        """
        super().startService()
        self._ticking.start(TICK, now=False)

    def stopService(self) -> None:
        """
        Ping no more.
        """
        super().stopService()
        if self._ticking.running:
            self._ticking.stop()

    # Out: tokens for those who come

    def needs_flow(self, request: Request, flow: Flow) -> bool:
        """
        Whether the phone that C{request} comes from can, as far as can be
        seen, only be reached on C{flow}; or whether it goes by its GRUU, for
        inside a dialog nobody asks the registrar where that is.

        Never so where another proxy stands between it and us: then the flow
        leads to that proxy, which has a Path of its own (RFC 5626 section 5.1).
        """
        if request.via_count != 1:
            return False
        if flow.transport != "udp" or _goes_by_gruu(request):
            return True
        via = request.via
        # A Contact elsewhere is no sign: who registers may bind another device (RFC 3261 section 10.2).
        if via.host.strip("[]") != flow.address:
            return _is_numeric(via.host)
        return flow.port != (via.port or 5060) and via.rport is not None

    def wants_outbound(self, request: Request) -> bool:
        """
        Whether the phone that registers asks for outbound (RFC 5626 section 4.2).
        """
        if (
            request.via_count != 1
            or not request.has("supported")
            or "reg-id" not in (request.get("contact") or "").lower()
        ):
            return False
        return "outbound" in (value.lower() for value in request.values("supported"))

    def route(self, flow: Flow, *, safe: bool = False) -> str:
        """
        The URI that leads to C{flow}, for a Path or a Record-Route: what
        servers reach us by, and the phone too.

        @param safe: As a C{sips} URI, if it is a flow over TLS.
        """
        token = self._token(flow)
        ports = self._ports
        if flow.transport == "tls":
            # Whoever connects here looks at the name in our certificate (RFC 5922 section 7.5).
            scheme, transport = ("sips", "") if safe else ("sip", ";transport=tls")
            return f"{scheme}:{token}@{self._name}:{ports.tls}{transport};lr"
        host = f"[{self._address}]" if ":" in self._address else self._address
        port = ports.udp if flow.transport == "udp" else ports.tcp
        return f"sip:{token}@{host}:{port};transport={flow.transport};lr"

    def _mint(self, flow: Flow) -> str:
        is_udp = flow.transport == "udp"
        return mint_token(
            self._secret,
            FlowToken(
                self._own,
                flow.transport,
                flow.address,
                flow.port,
                0 if is_udp else self._life,
                0 if is_udp else flow.connection,
            ),
        )

    # In: where tokens lead

    def way(self, taken: Iterable[Uri], source: Flow, next_is_ours: bool) -> Flow | Uri | None:
        """
        Where the tokens in the routes that a request carried say that it goes.

        @param taken: The own routes, in the order of travel.

        @param source: How the request came.

        @param next_is_ours: Whether it has another route, to a server of ours.
            Then it comes from the phone, on a newer flow perhaps.

        @return: A flow of ours, or another node's edge; C{None} without any
            token, or with none but that of the sender.

        @raise TokenForged: None of our nodes minted it (O11).

        @raise FlowGone: The flow is not there any more.
        """
        for uri in taken:
            if not is_token(uri.user):
                continue
            assert uri.user is not None
            token = read_token(self._secret, uri.user)
            if token.edge != self._own:
                address, port = token.edge
                host = f"[{address}]" if ":" in address else address
                return uri.replace(host=host, port=port, params=_LOOSE)
            flow = Flow(token.transport, token.address, token.port, *self._own, token.connection)
            is_same_life = token.transport == "udp" or token.life == self._life
            is_alive = is_same_life and self.endpoint.is_alive(flow)
            if next_is_ours or (is_alive and token.is_of(source)):
                continue
            if not is_alive:
                # Of an earlier life, perhaps: nobody has told the registrar yet.
                self.closed(uri.user)
                raise FlowGone(f"the flow to {token.transport}:{token.address}:{token.port} is gone")
            return flow
        return None

    # The life of flows

    def registered(self, request: Request, response: Response, flow: Flow) -> None:
        """
        A REGISTER that came over C{flow}, with our Path, was answered 2xx.
        """
        seconds = _granted(request, response)
        if seconds is None:
            return
        until = self._reactor.seconds() + seconds
        if flow.transport == "udp":
            flow = flow._replace(local_address="", local_port=0)
            if flow not in self._mapped:
                if not seconds:
                    return
                self._due.append((self._reactor.seconds() + PING_INTERVAL, flow))
            self._mapped[flow] = until
            return
        token = self._token(flow)
        if not self.endpoint.is_alive(flow):
            # It hung up before it was answered.
            self.closed(token)
            return
        identity = self._domain.identity(request.to.uri) or ""
        held = self._promises.get(flow.connection)
        if held is not None and held.identity != identity:
            identity = ""
        elif not seconds:
            self._promises.pop(flow.connection, None)
            return
        self._promises[flow.connection] = _Promise(token, identity, until)

    def flow_closed(self, flow: Flow) -> None:
        """
        A connection is lost (O07).
        """
        promise = self._promises.pop(flow.connection, None)
        if promise is not None:
            self.closed(promise.token)

    def owner(self, request: Request, flow: Flow) -> str | None:
        """
        Who has sent C{request}, by the connection that it came on: whoever has
        registered over it, if he is the one whom it claims to be from.

        A datagram proves nothing, for its source can be forged, and nor does
        the connection of somebody who registers several: what is behind it may
        be another proxy.
        """
        promise = self._promises.get(flow.connection) if flow.connection else None
        if promise is None or not promise.identity or not self._authenticated:
            return None
        if promise.until <= self._reactor.seconds() or request.via_count != 1:
            return None
        return promise.identity if self._domain.identity(request.from_.uri) == promise.identity else None

    # Pings

    @property
    def mapped(self) -> int:
        """
        How many phones are pinged.
        """
        return len(self._mapped)

    def take_up(self, rows: Iterable[Binding]) -> None:
        """
        Go on to ping the phones that had registered before this node was
        started; the first round is spread over the interval.
        """
        now = self._reactor.seconds()
        for row in rows:
            flow = self._flow_of(row.path)
            if flow is not None:
                self._mapped[flow] = max(row.deadline, self._mapped.get(flow, 0.0))
        flows = list(self._mapped)
        self._due = deque(
            (now + PING_INTERVAL * place / len(flows), flow) for place, flow in enumerate(flows)
        )

    def _flow_of(self, path: str) -> Flow | None:
        """
        The flow over UDP that a row's Path leads to, if it is one of ours.
        """
        user = flow_token(path)
        if not is_token(user):
            return None
        try:
            token = read_token(self._secret, user)
        except TokenForged:
            return None
        if token.edge != self._own or token.transport != "udp":
            return None
        return Flow("udp", token.address, token.port, "", 0)

    def _tick(self) -> None:
        now = self._reactor.seconds()
        due = self._due
        while due and due[0][0] <= now:
            _, flow = due.popleft()
            if self._mapped.get(flow, 0.0) <= now:
                self._mapped.pop(flow, None)
                continue
            self.endpoint.ping(flow)
            due.append((now + PING_INTERVAL, flow))


def _granted(request: Request, response: Response) -> int | None:
    """
    How long the contacts of a REGISTER are bound, by the answer to it.

    @return: C{None} where it only asked.
    """
    if not request.has("contact"):
        return None
    asked = {str(contact.uri) for contact in request.contacts}
    longest = 0
    for contact in response.contacts:
        expires = contact.params.get("expires") or ""
        if str(contact.uri) in asked and expires.isdecimal():
            longest = max(longest, int(expires[:10]))
    return longest


def _goes_by_gruu(request: Request) -> bool:
    """
    Whether a phone asks for a GRUU (RFC 5627 section 4.1), or has one for its Contact.
    """
    contact = request.get("contact") or ""
    if request.method == "REGISTER":
        return "+sip.instance" in contact.lower() and "gruu" in (
            value.lower() for value in request.values("supported")
        )
    if ";gr" not in contact:
        return False
    try:
        return any(each.uri.params.get("gr") is not None for each in request.contacts)
    except MalformedField:
        return False


def _is_numeric(host: str) -> bool:
    return host.startswith("[") or host.replace(".", "").isdecimal()


def _tell_nobody(token: str) -> None:
    """
    There is no registrar on this node.
    """
