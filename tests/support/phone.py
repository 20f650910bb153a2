"""
Telephones: small SIP user agents that register, call, answer and hang up.

They use sipxha's own endpoint for the wire, and behave as RFC 3261 and 3263
ask of a phone: digest from either challenge, the next server by SRV when one
does not answer, ACK and BYE along the route set, a 2xx again and again until
its ACK comes, and an ACK for each.  No media.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from sipxha.config.model import Ports
from sipxha.net.endpoint import Branch, Endpoint, IBranchObserver, ITransactionUser, Remains
from sipxha.sip import ids
from sipxha.sip.address import Address
from sipxha.sip.auth_fields import Challenge
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.sip.uri import Uri
from sipxha.transaction.vocabulary import T1, T2, ServerKey

_SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
_CHALLENGES = {
    401: ("www-authenticate", "authorization"),
    407: ("proxy-authenticate", "proxy-authorization"),
}
_HASHES: dict[str, Any] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}

PATIENCE = 0.5
"""Seconds in which a server must answer something before its next one is tried."""


def _describe(message: Request) -> None:
    """
    Put the description of a session into a message.
    """
    message.add("content-type", "application/sdp")
    message.body = _SDP


def mint() -> str:
    """
    A fresh token.
    """
    return secrets.token_hex(8)


class Directory(Protocol):
    """
    How a phone finds servers; L{sipxha.net.dns.Locator} is one.
    """

    def locate(self, uri: Uri) -> Deferred[list[Hop]]:
        """
        Where C{uri} leads (RFC 3263).
        """

    def failed(self, hop: Hop) -> None:
        """
        A server did not answer.
        """

    def answered(self, hop: Hop) -> None:
        """
        A server is alive.
        """


class CallFailed(Exception):
    """
    A call was not set up.

    @ivar response: the final response.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status} {response.reason}")
        self.response = response


@implementer(IBranchObserver)
class _Exchange:
    """
    One request of a phone and its final answer.
    """

    def __init__(
        self,
        directory: Directory,
        repeated: Callable[[Response], None],
        ringing: Callable[[Response], None] | None = None,
    ) -> None:
        """
        @param repeated: hears final answers that come after the first.
        """
        self.final: Deferred[Response] = Deferred()
        self._directory = directory
        self._repeated = repeated
        self._ringing = ringing

    def response_received(self, branch: Branch, response: Response) -> None:
        if response.status < 200:
            if self._ringing is not None:
                self._ringing(response)
        elif not self.final.called:
            self.final.callback(response)
        else:
            self._repeated(response)

    def hop_failed(self, branch: Branch, hop: Hop | Flow) -> None:
        if isinstance(hop, Hop):
            self._directory.failed(hop)

    def hop_answered(self, branch: Branch, hop: Hop | Flow) -> None:
        if isinstance(hop, Hop):
            self._directory.answered(hop)


class Call:
    """
    An established dialog, of either side.
    """

    def __init__(
        self, phone: Phone, call_id: str, local: str, remote: str, target: str, routes: list[str]
    ) -> None:
        self._phone = phone
        self.call_id = call_id
        self.local = local
        self.remote = remote
        self.target = target
        self.routes = routes
        self.cseq = itertools.count(1000)
        self.ended: Deferred[None] = Deferred()
        """Fires when the other side hung up."""

        self.ack: tuple[Request, list[Hop]] | None = None
        """What the caller's side acknowledged the answer with."""

    def request(self, method: str, cseq: int | None = None) -> Request:
        """
        @return: a request inside this dialog (RFC 3261 section 12.2.1.1).
        """
        number = next(self.cseq) if cseq is None else cseq
        return Request(
            method,
            self.target,
            [
                *(("route", route) for route in self.routes),
                ("max-forwards", "70"),
                ("from", self.local),
                ("to", self.remote),
                ("call-id", self.call_id),
                ("cseq", f"{number} {method}"),
                ("contact", f"<{self._phone.contact}>"),
            ],
        )

    def first_hop(self) -> Uri:
        """
        @return: where requests of this dialog go first.
        """
        return Address.parse(self.routes[0]).uri if self.routes else Uri.parse(self.target)

    def hang_up(self) -> Deferred[Response]:
        """
        BYE.
        """
        self._phone.calls.pop(self.call_id, None)
        return self._phone.send(self.request("BYE"), self.first_hop())


@implementer(ITransactionUser)
class Phone(MultiService):
    """
    One telephone with one line.
    """

    def __init__(
        self,
        reactor: Any,
        user: str,
        password: str,
        domain: str,
        address: str,
        port: int,
        directory: Directory,
        transport: str = "udp",
        believes: str = "",
    ) -> None:
        """
        @param address: where the phone listens, for UDP and TCP.

        @param believes: what it takes for its own address, behind a NAT.
        """
        super().__init__()
        self._reactor = reactor
        self.user = user
        self.address = address
        self._password = password
        self.domain = domain
        self.aor = f"sip:{user}@{domain}"
        self.transport = transport
        believes = believes or address
        self.contact = f"sip:{user}@{believes}:{port};transport={transport}"
        self._directory = directory
        self.endpoint = Endpoint(reactor, user, Ports(udp=port, tcp=port), address, believes, self, mint)
        self.endpoint.setServiceParent(self)
        self._register_id = ids.call_id(mint, address)
        self._register_cseq = itertools.count(1)
        self._nonce_count = itertools.count(1)
        self.calls: dict[str, Call] = {}
        self.comes_back = False
        """Whether it registers again, wherever DNS sends it, when its connection is lost."""

        self.is_back = True
        """Whether it has registered again since its connection was last lost."""

        self._next_try: IDelayedCall | None = None
        self.endpoint.watch(self._connection_lost)
        self.answers: Callable[[Request], int | Response | None] = lambda request: 200
        """
        The status to answer an INVITE with after ringing, or a final response
        that comes instead; L{None} rings for ever.
        """

        self.patience: float | None = PATIENCE
        """Seconds until it tries another server; without, it insists."""

        self._dialling: dict[str, Branch] = {}
        self.rung: list[Request] = []
        """Every INVITE that came in."""

        self.notified: list[Request] = []
        """Every NOTIFY that came in."""

        self.referred: list[Request] = []
        """Every REFER that came in."""

        self._ringing: dict[ServerKey, Request] = {}
        self._unacknowledged: dict[str, IDelayedCall] = {}
        """When each answer is repeated, by Call-ID."""

    def stopService(self) -> Deferred[None]:
        """
        Close the ports and say nothing more.
        """
        while self._unacknowledged:
            self._unacknowledged.popitem()[1].cancel()
        if self._next_try is not None and self._next_try.active():
            self._next_try.cancel()
        stopped: Deferred[None] = super().stopService()
        return stopped

    def _connection_lost(self, flow: Flow) -> None:
        if self.comes_back and self.is_back:
            self.is_back = False
            self._come_back()

    def _come_back(self) -> None:
        if self.running:
            self.register().addBoth(self._came_back)

    def _came_back(self, answer: Any) -> None:
        if isinstance(answer, Response) and answer.status == 200:
            self.is_back = True
        elif self.running:
            self._next_try = self._reactor.callLater(PATIENCE, self._come_back)

    # Outgoing

    def register(
        self, expires: int = 3600, at: str | None = None, flow: int = 0, q: str = ""
    ) -> Deferred[Response]:
        """
        @param at: the address of the server; found by DNS if left out.

        @param flow: which of several, for a phone that registers over more
            than one (RFC 5626).

        @param q: how much it is wanted, of several phones.

        @return: fires with the final response.
        """
        contact = f"<{self.contact}>" + (f";q={q}" if q else "")
        if flow:
            contact += f';reg-id={flow};+sip.instance="<urn:uuid:00000000-0000-1000-8000-{self.user:0>12}>"'
        return self._register(contact, expires, at)

    def unregister_all(self, at: str | None = None) -> Deferred[Response]:
        """
        End every binding of this line, those of other phones too.
        """
        return self._register("*", 0, at)

    def _register(self, contact: str, expires: int, at: str | None) -> Deferred[Response]:
        request = Request(
            "REGISTER",
            f"sip:{self.domain}",
            [
                ("max-forwards", "70"),
                ("from", f"<{self.aor}>;tag={ids.tag(mint)}"),
                ("to", f"<{self.aor}>"),
                ("call-id", self._register_id),
                ("cseq", "0 REGISTER"),
                ("contact", contact),
                ("expires", str(expires)),
                ("supported", "path, outbound"),
            ],
        )
        return self.send(request, self.server(at), self._register_cseq)

    def server(self, address: str | None = None) -> Uri:
        """
        Where requests outside of a dialog go: to an address, or where DNS says.
        """
        return Uri.parse(f"sip:{address or self.domain};transport={self.transport}")

    def call(
        self,
        target: str,
        ringing: Callable[[Response], None] | None = None,
        through: str | None = None,
        *fields: tuple[str, str],
        offers: bool = True,
    ) -> Deferred[Call]:
        """
        INVITE, and ACK what answers.

        @param ringing: hears provisional responses.

        @param through: the address of the server; found by DNS if left out.

        @param fields: more of the INVITE.

        @param offers: whether the session is described in the INVITE, or only
            in the ACK.

        @return: fires with the call, or fails with L{CallFailed}.
        """
        return Deferred.fromCoroutine(self._call(target, ringing, through, fields, offers))

    def give_up(self, call_id: str = "") -> None:
        """
        CANCEL what is being dialled: the last call, or the one that is named.
        """
        self._dialling[call_id or list(self._dialling)[-1]].cancel()

    @property
    def is_ringing(self) -> bool:
        """
        Whether an INVITE waits for an answer here.
        """
        return bool(self._ringing)

    @property
    def waits_for_ack(self) -> bool:
        """
        Whether an answer has not been acknowledged yet.
        """
        return bool(self._unacknowledged)

    async def watch(self, target: str, through: str | None = None) -> Call:
        """
        SUBSCRIBE to registrations; what comes of it is in L{notified}.

        @raise CallFailed: it was refused.
        """
        local = f"<{self.aor}>;tag={ids.tag(mint)}"
        call_id = ids.call_id(mint, self.domain)
        request = Request(
            "SUBSCRIBE",
            target,
            [
                ("max-forwards", "70"),
                ("from", local),
                ("to", f"<{target}>"),
                ("call-id", call_id),
                ("cseq", "0 SUBSCRIBE"),
                ("contact", f"<{self.contact}>"),
                ("event", "reg"),
                ("expires", "600"),
            ],
        )
        response = await self.send(request, self.server(through), itertools.count(1))
        if response.status >= 300:
            raise CallFailed(response)
        routes = response.values("record-route")[::-1]
        remote_target = str(response.contacts[0].uri)
        return Call(self, call_id, local, response.get("to") or "", remote_target, routes)

    async def _call(
        self,
        target: str,
        ringing: Callable[[Response], None] | None,
        through: str | None,
        fields: Sequence[tuple[str, str]],
        offers: bool,
    ) -> Call:
        local = f"<{self.aor}>;tag={ids.tag(mint)}"
        call_id = ids.call_id(mint, self.domain)
        request = Request(
            "INVITE",
            target,
            [
                ("max-forwards", "70"),
                ("from", local),
                ("to", f"<{target}>"),
                ("call-id", call_id),
                ("cseq", "0 INVITE"),
                ("contact", f"<{self.contact}>"),
                *fields,
            ],
        )
        if offers:
            _describe(request)
        response = await self.send(request, self.server(through), itertools.count(1), ringing)
        if response.status >= 300:
            raise CallFailed(response)
        routes = response.values("record-route")[::-1]
        remote_target = str(response.contacts[0].uri)
        call = Call(self, call_id, local, response.get("to") or "", remote_target, routes)
        self.calls[call_id] = call
        ack = call.request("ACK", response.cseq.number)
        if not offers:
            _describe(ack)
        call.ack = (ack, await self._directory.locate(call.first_hop()))
        self.endpoint.send_ack(*call.ack)
        return call

    def _acknowledge_again(self, response: Response) -> None:
        """
        The ACK was lost (RFC 3261 section 13.2.2.4).
        """
        call = self.calls.get(response.call_id)
        if call is not None and call.ack is not None and call.remote == response.get("to"):
            self.endpoint.send_ack(*call.ack)

    def send(
        self,
        request: Request,
        first_hop: Uri,
        cseq: Any = None,
        ringing: Callable[[Response], None] | None = None,
    ) -> Deferred[Response]:
        """
        Send a request; a challenge is answered once, and again if it is stale.

        @param cseq: gives each attempt its number; without, it keeps its own.
        """
        return Deferred.fromCoroutine(self._send(request, first_hop, cseq, ringing))

    async def _send(
        self, request: Request, first_hop: Uri, cseq: Any, ringing: Callable[[Response], None] | None
    ) -> Response:
        if cseq is not None:
            request.set("cseq", f"{next(cseq)} {request.method}")
        response = await self.exchange(request, first_hop, ringing)
        answered: dict[str, list[str]] = {}
        while response.status in _CHALLENGES:
            challenge, credentials = _CHALLENGES[response.status]
            challenges = response.rows(challenge)
            realm = Challenge.parse(challenges[0]).params["realm"]
            # A second challenge means a wrong password, unless it says that only the nonce was too old.
            if realm in answered and not any("stale=true" in text for text in challenges):
                break
            request = request.copy()
            answered[realm] = challenges
            request.remove(credentials)
            for each in answered.values():
                request.add(credentials, self.credentials(each, request))
            number = request.cseq.number + 1 if cseq is None else next(cseq)
            request.set("cseq", f"{number} {request.method}")
            response = await self.exchange(request, first_hop, ringing)
        return response

    async def exchange(
        self, request: Request, first_hop: Uri, ringing: Callable[[Response], None] | None = None
    ) -> Response:
        """
        Send a request as it is, and wait for its final response.
        """
        exchange = _Exchange(self._directory, self._acknowledge_again, ringing)
        hops = await self._directory.locate(first_hop)
        # A phone that heard nothing of an INVITE or a REGISTER for a while tries its next server.
        patience = self.patience if request.method in ("INVITE", "REGISTER") else None
        branch = self.endpoint.request(request.copy(), hops, exchange, first_answer=patience)
        if request.method == "INVITE":
            self._dialling[request.call_id] = branch
        return await exchange.final

    def credentials(self, challenges: Sequence[str], request: Request) -> str:
        """
        Answer the first challenge whose algorithm we know (RFC 7616, 8760).
        """
        for text in challenges:
            params = Challenge.parse(text).params
            algorithm = params.get("algorithm", "MD5")
            digest = _HASHES.get(algorithm)
            if digest is not None:
                break
        else:
            raise ValueError("no challenge that we know")

        def h(value: str) -> str:
            return str(digest(value.encode()).hexdigest())

        realm, nonce, cnonce = params["realm"], params["nonce"], mint()
        count = f"{next(self._nonce_count):08x}"
        ha1 = h(f"{self.user}:{realm}:{self._password}")
        ha2 = h(f"{request.method}:{request.uri}")
        answer = h(f"{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}")
        return (
            f'Digest username="{self.user}", realm="{realm}", nonce="{nonce}", uri="{request.uri}", '
            f'response="{answer}", algorithm={algorithm}, cnonce="{cnonce}", qop=auth, nc={count}'
        )

    # Incoming

    def request_received(self, transaction: ServerKey, request: Request, flow: Flow) -> None:
        """
        Ring, answer, or end a call.
        """
        if request.method == "INVITE":
            self._invited(transaction, request)
            return
        status = 200
        if request.method == "NOTIFY":
            self.notified.append(request)
        elif request.method == "REFER":
            self.referred.append(request)
        elif request.method == "BYE":
            self._acknowledged(request.call_id)
            call = self.calls.pop(request.call_id, None)
            if call is None:
                status = 481
            elif not call.ended.called:
                call.ended.callback(None)
        self.endpoint.respond(transaction, response_to(request, status, to_tag=ids.tag(mint)))

    def _invited(self, transaction: ServerKey, request: Request) -> None:
        self.rung.append(request)
        tag = ids.tag(mint)
        status = self.answers(request)
        if isinstance(status, Response):
            self.endpoint.respond(transaction, status)
            return
        ringing = response_to(request, 180, to_tag=tag)
        self._copy_routes(request, ringing)
        self.endpoint.respond(transaction, ringing)
        if status is None:
            self._ringing[transaction] = request
            return
        response = response_to(request, status, to_tag=tag)
        if status < 300:
            self._copy_routes(request, response)
            local = response.get("to") or ""
            remote = request.get("from") or ""
            target = str(request.contacts[0].uri)
            self.calls[request.call_id] = Call(
                self, request.call_id, local, remote, target, request.values("record-route")
            )
        self.endpoint.respond(transaction, response)
        if status < 300:
            self._repeat(transaction, response, T1, self._reactor.seconds() + 64 * T1)

    def _repeat(self, transaction: ServerKey, response: Response, interval: float, end: float) -> None:
        """
        Send a 2xx until its ACK comes (RFC 3261 section 13.3.1.4).
        """

        def repeat() -> None:
            del self._unacknowledged[response.call_id]
            self.endpoint.respond(transaction, response)
            if self._reactor.seconds() < end:
                self._repeat(transaction, response, min(2 * interval, T2), end)

        self._acknowledged(response.call_id)
        self._unacknowledged[response.call_id] = self._reactor.callLater(interval, repeat)

    def _acknowledged(self, call_id: str) -> None:
        waiting = self._unacknowledged.pop(call_id, None)
        if waiting is not None:
            waiting.cancel()

    def _copy_routes(self, request: Request, response: Response) -> None:
        for row in request.rows("record-route"):
            response.add("record-route", row)
        response.add("contact", f"<{self.contact}>")

    def ack_received(self, request: Request, flow: Flow) -> None:
        """
        The caller has our answer.
        """
        self._acknowledged(request.call_id)

    def cancelled(self, transaction: ServerKey, reason: str | None = None) -> None:
        """
        The caller gave up.
        """
        request = self._ringing.pop(transaction, None)
        if request is not None:
            self.endpoint.respond(transaction, response_to(request, 487, to_tag=ids.tag(mint)))

    def answered_late(self, remains: Remains, response: Response) -> Remains:
        """
        Nothing: the observers of its INVITEs stay.
        """
        return remains

    def server_failed(self, transaction: ServerKey) -> None:
        """
        An answer of ours was never acknowledged.
        """
        self._ringing.pop(transaction, None)
