"""
What the tests of both proxies share: users, requests and the cluster.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from sipxha.auth.digest import Authenticator, ha1, response
from sipxha.auth.nonce import Nonces
from sipxha.auth.users import Credential, Users
from sipxha.cdr.event import CallStateEvent
from sipxha.config.model import Ports
from sipxha.errors import LocalError
from sipxha.registry.domain import ServedDomain
from sipxha.services.cluster import Cluster
from sipxha.services.edge import Edge
from sipxha.services.proxy import Proxy
from sipxha.sip.auth_fields import Challenge
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri
from sipxha.transaction.vocabulary import ServerKey
from tests.support.fake_endpoint import FLOW, FakeEndpoint

DOMAIN = "example.com"
SECRET = b"s" * 32
USERS = Users(
    [Credential(f"201@{DOMAIN}", DOMAIN, "201", {"MD5": ha1("201", DOMAIN, "secret", "MD5")})],
    {f"201@{DOMAIN}": frozenset({"LocalDialing"})},
)


class FakeLog:
    """
    Keeps call state events.
    """

    def __init__(self) -> None:
        self.events: list[CallStateEvent] = []

    def next_seq(self, observer: str) -> int:
        """
        Counts the events.
        """
        return len(self.events)

    def record(self, event: CallStateEvent) -> None:
        """
        Keep it.
        """
        self.events.append(event)

    @property
    def types(self) -> str:
        """
        The types of all events, in order.
        """
        return "".join(event.event_type for event in self.events)


class Unlocatable(LocalError):
    """
    DNS does not know the name.
    """


class Surroundings:
    """
    A cluster of one proxy, whose names lead where the test says.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.log = FakeLog()
        self.endpoint = FakeEndpoint()
        self.pending: dict[str, Deferred[list[Hop]]] = {}
        self.failed: list[Hop] = []
        self.answered: list[Hop] = []
        self.gateways: set[str] = set()
        """Hosts and addresses of gateways."""

        self.cluster = Cluster(
            domain=DOMAIN,
            secret=SECRET,
            authenticator=Authenticator(
                DOMAIN, ["MD5"], USERS, Nonces(SECRET, "sipx1.example.com"), lambda: "0123456789abcdef"
            ),
            locate=self.locate,
            known=self.known,
            hop_failed=self.failed.append,
            hop_answered=self.answered.append,
            call_log=self.log,
            knows=lambda address: address == "127.0.0.1",
            is_ours=lambda uri: uri.host.endswith(DOMAIN),
            is_gateway=lambda uri: uri.host in self.gateways,
            from_gateway=lambda address: address in self.gateways,
        )

    def known(self, uri: Uri) -> list[Hop] | None:
        """
        As L{locate}, for what needs no time.
        """
        if uri.host in self.pending:
            return None
        if uri.host == "nowhere.net":
            raise Unlocatable(uri.host)
        return [Hop("udp", uri.host, uri.port or 5060)]

    def locate(self, uri: Uri) -> Deferred[list[Hop]]:
        """
        Every name leads to itself, nowhere.net nowhere.
        """
        if uri.host in self.pending:
            return self.pending[uri.host]
        if uri.host == "nowhere.net":
            return fail(Unlocatable(uri.host))
        return succeed([Hop("udp", uri.host, uri.port or 5060)])

    def edge(self, life: int = 1, address: str = "10.1.1.50", *, authenticated: bool = True) -> Edge:
        """
        @return: an edge on the endpoint of this cluster.
        """
        edge = Edge(
            self.clock,
            SECRET,
            address,
            f"sipx1.{DOMAIN}",
            Ports(udp=5060, tcp=5060, tls=5061),
            ServedDomain(DOMAIN),
            life,
            authenticated=authenticated,
        )
        edge.endpoint = self.endpoint  # type: ignore[assignment]
        return edge

    def attach(self, proxy: Proxy) -> None:
        """
        Give C{proxy} its endpoint.
        """
        proxy.endpoint = self.endpoint  # type: ignore[assignment]
        self.endpoint.user = proxy

    def credentials(self, method: str, uri: str, password: str = "secret") -> str:
        """
        @return: a Proxy-Authorization of user 201.
        """
        (challenge,) = self.cluster.authenticator.challenges(self.clock.seconds())
        nonce = Challenge.parse(challenge).params["nonce"]
        answer = response(ha1("201", DOMAIN, password, "MD5"), nonce, "00000001", "cn", method, uri, "MD5")
        return (
            f'Digest username="201", realm="{DOMAIN}", nonce="{nonce}", uri="{uri}", response="{answer}", '
            f'algorithm=MD5, qop=auth, nc=00000001, cnonce="cn"'
        )


def a_request(
    method: str = "INVITE", uri: str = f"sip:202@{DOMAIN}", to_tag: str = "", **fields: Any
) -> Request:
    """
    @return: a request as a phone sends it; C{fields} are added, underscores
        standing for hyphens.
    """
    return Request(
        method,
        uri,
        [
            ("via", "SIP/2.0/UDP 10.1.1.7;branch=z9hG4bKphone"),
            ("max-forwards", "70"),
            ("from", f"<sip:201@{DOMAIN}>;tag=caller"),
            ("to", f"<{uri}>" + (f";tag={to_tag}" if to_tag else "")),
            ("call-id", "call@10.1.1.7"),
            ("cseq", f"1 {method}"),
            ("contact", "<sip:201@10.1.1.7>"),
            *((name.replace("_", "-"), value) for name, value in fields.items()),
        ],
    )


def receive(proxy: Proxy, request: Request, flow: Flow = FLOW) -> ServerKey:
    """
    Let C{request} arrive at C{proxy}.
    """
    key = ServerKey("z9hG4bKphone", "10.1.1.7", request.method)
    proxy.request_received(key, request, flow)
    return key
