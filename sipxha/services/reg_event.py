"""
Registration events: who watches an address-of-record is told of its contacts
(RFC 3680, RFC 6665 as notifier).

SIP for L{sipxha.registry.notifier.Notifier}, which decides whom to tell what
and when.  Only the owner of an address-of-record may watch it.  Subscriptions
live in this process: at its end watchers are told to subscribe anew, and one
that dies is noticed by the next refresh.  Other event packages are not ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipxha.auth import identity as signed_identity
from sipxha.errors import SipxhaError
from sipxha.net.driver import Driver
from sipxha.net.endpoint import Branch, Endpoint, IBranchObserver
from sipxha.registry.binding import Binding
from sipxha.registry.notifier import Key, Notifier, Notify
from sipxha.registry.reginfo import CONTENT_TYPE
from sipxha.registry.register import RegistrationRefused, Terms
from sipxha.registry.table import Registry
from sipxha.routing.route import adapt_to_strict_router, next_hop
from sipxha.sip import ids
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.params import Params
from sipxha.sip.response import response_to
from sipxha.sip.uri import Uri
from sipxha.transaction.vocabulary import ServerKey

ALLOW_EVENTS = ("Allow-Events", "reg")

OF_USERS = frozenset(("", "dialog", "message-summary", "presence"))
"""Event packages about a user, of which no single phone can tell."""

_DEFAULT_EXPIRES = 3761
"""For a SUBSCRIBE that does not say (RFC 3680 section 4.4)."""

_AN_HOUR = 3600

_LAST_WORDS = 2.0
"""Seconds in which watchers may answer what they are told at the end."""

_TYPES = frozenset((CONTENT_TYPE, "application/*", "*/*"))

_IDENTITY = signed_identity.HEADER.lower()

Authorize = Callable[[Request, str, str, float], None]
"""Refuses a request, unless it is proven to be this user's; it came from there."""


@dataclass(slots=True)
class _Dialog:
    """
    Our side of a dialog with a watcher (RFC 3261 section 12.1.1).
    """

    local: str
    """Our address, with our tag."""

    remote: str
    call_id: str
    event: str
    """The value of the Event field."""

    contact: str
    """Where requests to us go."""

    target: str
    routes: tuple[str, ...]
    cseq: int
    """The last one of the watcher."""


class RegEvents(Service):
    """
    The notifier of a registrar.

    @ivar endpoint: Where requests and answers go; set before the first one.
    """

    endpoint: Endpoint

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        terms: Terms,
        registry: Registry,
        secret: bytes,
        authorize: Authorize,
        locate: Callable[[Uri], Deferred[list[Hop]]],
        name: str,
        mint: Callable[[], str],
    ) -> None:
        """
        @param secret: With which our servers sign who sent a request.
        @param locate: Where a URI leads.
        @param name: Of this node: the host of its own sips URI.
        """
        self._reactor = reactor
        self._terms = terms
        self._secret = secret
        self._authorize = authorize
        self._locate = locate
        self._name = name
        self._mint = mint
        self._notifier: Notifier[_Dialog] = Notifier(registry, self._heard)
        self._driver: Driver[Notify[_Dialog]] = Driver(reactor, self._notifier, self._notify)
        self._changed: set[str] = set()
        self._look: IDelayedCall | None = None
        self._unanswered = 0
        """NOTIFYs on their way."""

        self._ended: Deferred[None] | None = None
        """Waits for the last of them."""

    def __len__(self) -> int:
        """
        How many subscriptions there are.
        """
        return len(self._notifier)

    def stopService(self) -> Deferred[None]:
        """
        Tell all watchers to subscribe elsewhere, and wait for their answers a
        little.
        """
        super().stopService()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._driver.perform(self._notifier.end_all(self._driver.now()))
        ended: Deferred[None] = succeed(None)
        if self._unanswered:
            ended = self._ended = Deferred()
            ended.addTimeout(_LAST_WORDS, self._reactor, lambda value, seconds: None)
        ended.addCallback(lambda _: self._driver.stop())
        return ended

    # -- SUBSCRIBE ---------------------------------------------------------

    def subscribed(self, transaction: ServerKey, request: Request, received: str) -> None:
        """
        Answer a SUBSCRIBE of the event package C{reg}.

        @param received: Where it came into the cluster.

        @raise RegistrationRefused: It is not to be done.
        @raise RemoteError: The same, or it cannot be read.
        """
        if not self.running:
            raise RegistrationRefused(503, "Stopping")
        if request.has("require"):
            required = ", ".join(request.values("require"))
            raise RegistrationRefused(420, "Bad Extension", (("Unsupported", required),))
        now = self._driver.now()
        our_tag = request.to_tag or ids.tag(self._mint)
        key = (request.call_id, our_tag, request.from_tag or "", _event_id(request))
        if request.to_tag:
            if key not in self._notifier:
                raise RegistrationRefused(481, "Subscription Does Not Exist")
            self._refresh(transaction, request, key, now)
        else:
            self._begin(transaction, request, received, key, now)

    def _begin(self, transaction: ServerKey, request: Request, received: str, key: Key, now: float) -> None:
        identity = self._terms.domain.identity(request.request_uri)
        if identity is None:
            raise RegistrationRefused(404, "Not Found")
        self._judge(request, identity, received, now)
        _check_accept(request)
        seconds = self._granted(request)
        response = response_to(request, 200, to_tag=key[1])
        dialog = _Dialog(
            local=response.get("to") or "",
            remote=request.get("from") or "",
            call_id=request.call_id,
            event=request.get("event") or "",
            contact=self._contact(request),
            target=_target(request),
            routes=tuple(str(route) for route in request.record_routes),
            cseq=request.cseq.number,
        )
        effects = self._notifier.subscribe(key, identity, dialog, seconds, now)
        for row in request.rows("record-route"):
            response.add("Record-Route", row)
        self._confirm(transaction, response, dialog, seconds)
        if seconds:
            self._log.info(
                "{callid} watches the registrations of {identity} for {seconds} s",
                callid=request.call_id,
                identity=identity,
                seconds=seconds,
            )
        self._driver.perform(effects)

    def _refresh(self, transaction: ServerKey, request: Request, key: Key, now: float) -> None:
        """
        Inside its dialog a SUBSCRIBE needs no more proof than its tags, but
        nobody else's will do.
        """
        dialog, identity = self._notifier.dialog(key), self._notifier.identity(key)
        prover = self._prover(request, now)
        if prover is not None and prover != identity:
            raise RegistrationRefused(403, "Forbidden")
        if request.cseq.number <= dialog.cseq:
            raise RegistrationRefused(500, "Out Of Order")
        _check_accept(request)
        seconds = self._granted(request)
        dialog.cseq = request.cseq.number
        if request.has("contact"):
            dialog.target = _target(request)
        effects = self._notifier.refresh(key, seconds, now)
        self._confirm(transaction, response_to(request, 200), dialog, seconds)
        self._driver.perform(effects)

    def _judge(self, request: Request, identity: str, received: str, now: float) -> None:
        """
        Let a user watch only what is its own.  Our proxies vouch for who it
        is; who came without their word has to prove it here.
        """
        prover = self._prover(request, now)
        if prover is None:
            self._authorize(request, identity, received, now)
        elif prover != identity:
            raise RegistrationRefused(403, "Forbidden")

    def _prover(self, request: Request, now: float) -> str | None:
        """
        Who sent a request, by the word of our servers.
        """
        for claim in request.rows(_IDENTITY):
            tag = request.from_tag or ""
            identity = signed_identity.verify(self._secret, claim, request.call_id, tag, now)
            if identity is not None and self._terms.domain.serves(Uri.parse(f"sip:{identity}")):
                return identity
        return None

    def _granted(self, request: Request) -> int:
        """
        RFC 6665 section 4.2.1.1: too short is refused, unless it is an hour;
        too long is shortened.
        """
        asked = request.expires
        if asked is None:
            asked = _DEFAULT_EXPIRES
        least = self._terms.min_expires
        if 0 < asked < least and asked < _AN_HOUR:
            raise RegistrationRefused(423, "Interval Too Brief", (("Min-Expires", str(least)),))
        return min(asked, self._terms.max_expires)

    def _contact(self, request: Request) -> str:
        """
        Where the watcher's further requests are to go: this node.
        """
        endpoint = self.endpoint
        safe_port = endpoint.port("tls")
        if request.request_uri.scheme == "sips" and safe_port is not None:
            return f"<sips:{self._name}:{safe_port}>"
        # It came by one of these.
        liked = ("udp", "tcp") if request.via.transport.lower() == "udp" else ("tcp", "udp", "tls")
        transport = next(each for each in liked if endpoint.port(each) is not None)
        host = endpoint.advertised
        host = f"[{host}]" if ":" in host else host
        return f"<sip:{host}:{endpoint.port(transport)};transport={transport}>"

    def _confirm(self, transaction: ServerKey, response: Response, dialog: _Dialog, seconds: int) -> None:
        response.add("Contact", dialog.contact)
        response.add("Expires", str(seconds))
        self.endpoint.respond(transaction, response)

    # -- NOTIFY ------------------------------------------------------------

    def _heard(self, identity: str) -> None:
        """
        A row of a watched address-of-record changes right now.
        """
        self._changed.add(identity)
        if self._look is None:
            self._look = self._reactor.callLater(0, self._look_at_changes)

    def deactivated(self, rows: Iterable[Binding]) -> None:
        """
        Rows were ended right now, by us and not by their phones.
        """
        self._notifier.deactivated(rows)

    def _look_at_changes(self) -> None:
        self._look = None
        changed, self._changed = self._changed, set()
        self._driver.perform(self._notifier.changed(changed, self._driver.now()))

    def _notify(self, effect: Notify[_Dialog]) -> None:
        dialog = effect.dialog
        request = Request(
            "NOTIFY",
            dialog.target,
            [
                *(("route", route) for route in dialog.routes),
                ("max-forwards", "70"),
                ("from", dialog.local),
                ("to", dialog.remote),
                ("call-id", dialog.call_id),
                ("cseq", f"{effect.version + 1} NOTIFY"),
                ("contact", dialog.contact),
                ("event", dialog.event),
                ("subscription-state", effect.state),
                ("content-type", CONTENT_TYPE),
            ],
            effect.body.encode(),
        )
        hop = next_hop(request)
        adapt_to_strict_router(request)
        self._unanswered += 1
        located = self._locate(hop)
        telling = _Telling(self, effect.key)
        located.addCallback(lambda hops: self.endpoint.request(request, hops, telling))
        located.addErrback(self._not_sent, effect.key)

    def _not_sent(self, failure: Failure, key: Key) -> None:
        if not failure.check(SipxhaError):
            # Whatever it was, the notifier waits for the end of it.
            self._log.failure("a NOTIFY of {callid} was not sent", failure, callid=key[0])
        self.answered(key, 503)

    def answered(self, key: Key, status: int) -> None:
        """
        A watcher answered its notification; 408 or 503 if it did not.
        """
        self._unanswered -= 1
        was_there = key in self._notifier
        self._driver.perform(self._notifier.answered(key, status, self._driver.now()))
        if was_there and key not in self._notifier:
            self._log.info(
                "{callid} does not watch any more: its NOTIFY was answered {status}",
                callid=key[0],
                status=status,
            )
        if self._ended is not None and not self._unanswered and not self._ended.called:
            self._ended.callback(None)


@implementer(IBranchObserver)
class _Telling:
    """
    One NOTIFY on its way.
    """

    __slots__ = ("_events", "_key")

    def __init__(self, events: RegEvents, key: Key) -> None:
        self._events = events
        self._key = key

    def response_received(self, branch: Branch, response: Response) -> None:
        """
        The watcher answered, or the transaction for it.
        """
        if response.status >= 200:
            self._events.answered(self._key, response.status)

    def hop_failed(self, branch: Branch, hop: Hop | Flow) -> None:
        """
        Nothing: the answer says it.
        """

    def hop_answered(self, branch: Branch, hop: Hop | Flow) -> None:
        """
        Nothing: the answer says it.
        """


def package(request: Request) -> str:
    """
    The event package of a request; empty without one.
    """
    return (request.get("event") or "").partition(";")[0].strip()


def _event_id(request: Request) -> str:
    """
    What tells subscriptions of one dialog apart.
    """
    _, semicolon, params = (request.get("event") or "").partition(";")
    return Params.parse(semicolon + params).get("id") or ""


def _target(request: Request) -> str:
    """
    Where the watcher wants its notifications.
    """
    contacts = request.contacts
    if len(contacts) != 1 or contacts[0].uri.scheme not in ("sip", "sips"):
        raise RegistrationRefused(400, "A Subscription Needs One SIP Contact")
    return str(contacts[0].uri.bare())


def _check_accept(request: Request) -> None:
    """
    RFC 3680 section 4.5.
    """
    if request.has("accept"):
        types = {value.partition(";")[0].strip().lower() for value in request.values("accept")}
        if not types & _TYPES:
            raise RegistrationRefused(406, "Not Acceptable", (("Accept", CONTENT_TYPE),))
