"""
The console: what an operator, a script or a load balancer may ask a running
node, as JSON over HTTP.

    GET /status                     one object about the node
    GET /registrations[?user=USER]  the current bindings, of all users or of one
    GET /users                      what the node holds of its users, after a look at their files
    GET /peers                      the registrars that we replicate with
    GET /calls                      the calls that ring or are talked in, on all nodes
    GET /metrics                    the same as numbers, in the text format of Prometheus
    GET /openapi.json               what all of this is, for programs
    GET /healthz                    200 as long as the reactor turns
    GET /readyz                     200 when the node serves, 503 before

It is served on C{data/control.sock}, which only the node's own user can open,
and on the console's address, which is a loopback address.  What may be changed
(POST, with JSON) is given to the control socket only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IPullProducer, IReactorTCP, IReactorUNIX
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import Resource
from zope.interface import implementer

from sipxha.config import model
from sipxha.errors import RemoteError, SipxhaError
from sipxha.services.openapi import document

Row = Mapping[str, Any]

METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

PIECE = 100
"""Rows that are written at a time."""

Action = Callable[[Any], "Deferred[Any]"]
"""
Takes what was posted, and fires with the answer; what was posted and cannot
be used is a L{RemoteError}, what cannot be done now a L{LocalError}.
"""


class NotJson(RemoteError):
    """
    What was posted cannot be read.
    """


class IConsoleReactor(IReactorTCP, IReactorUNIX):
    """
    What the console needs of a reactor.
    """


class View(Protocol):
    """
    What the console shows.
    """

    @property
    def is_ready(self) -> bool:
        """
        Whether SIP is open.
        """

    @property
    def is_degraded(self) -> bool:
        """
        Whether something that the node needs is missing.
        """

    def status(self) -> Row:
        """
        The node as a whole.
        """

    def registrations(self, user: str | None) -> Iterable[Row]:
        """
        Current bindings: the columns of the registry, times as ISO 8601.

        @param user: C{user} or C{user@domain}; C{None} for all.
        """

    def user_set(self) -> Row:
        """
        Which users the node goes by.
        """

    def peers(self) -> Sequence[Row]:
        """
        The other registrars.
        """

    def calls(self) -> Deferred[dict[str, Any]]:
        """
        The calls that are not over, and which nodes have not said.
        """


@implementer(IPullProducer)
class _Listing:
    """
    Writes one JSON array, as fast as it is read, and lets the node work
    between two pieces.
    """

    def __init__(self, request: server.Request, rows: Iterable[Row]) -> None:
        self._request = request
        self._rows: Iterator[Row] = iter(rows)
        self._before = "["

    def start(self) -> None:
        """
        Begin to write.
        """
        self._request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """
        Write the next piece, or the end.
        """
        piece = list(islice(self._rows, PIECE))
        text = "".join(
            ("," if number else self._before) + json.dumps(row) for number, row in enumerate(piece)
        )
        if piece:
            self._before = ","
            self._request.write(text.encode())
            return
        self._request.write(b"]\n" if self._before == "," else b"[]\n")
        self._request.unregisterProducer()
        self._request.finish()

    def stopProducing(self) -> None:
        """
        Nobody reads any more.
        """
        self._rows = iter(())


class Api(Resource):
    """
    The answers, by path.
    """

    isLeaf = True

    _log = Logger()

    def __init__(
        self,
        view: View,
        actions: Mapping[bytes, Action] | None = None,
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        """
        @param actions: What can be posted, by path.
        @param metrics: Tells what is measured, in the text format of Prometheus.
        """
        super().__init__()
        self._metrics = metrics
        self._view = view
        self._actions = {} if actions is None else actions
        self._answers: dict[bytes, Callable[[server.Request], bytes | int]] = {
            b"/status": lambda request: self._shown(request, view.status()),
            b"/users": lambda request: self._shown(request, view.user_set()),
            b"/peers": lambda request: self._shown(request, view.peers()),
            b"/healthz": lambda request: self._shown(request, {"healthy": True}),
            b"/openapi.json": lambda request: self._shown(request, document()),
            b"/readyz": self._readyz,
            b"/registrations": self._registrations,
            b"/calls": self._calls,
        }
        if metrics is not None:
            self._answers[b"/metrics"] = self._measured

    def render(self, request: server.Request) -> bytes | int:
        """
        Answer one question, or do what is asked for.
        """
        action = self._actions.get(request.path)
        answer = self._answers.get(request.path)
        allowed = (b"GET", b"HEAD") if answer is not None else (b"POST",)
        if action is None and answer is None:
            return self._encode(request, http.NOT_FOUND, {"error": "no such page"})
        if request.method not in allowed:
            request.setHeader(b"allow", b", ".join(allowed))
            known = allowed[0].decode()
            return self._encode(request, http.NOT_ALLOWED, {"error": f"only {known} is known here"})
        if action is not None:
            self._act(request, action)
            return server.NOT_DONE_YET
        assert answer is not None
        return answer(request)

    def _shown(self, request: server.Request, value: object) -> bytes:
        return self._encode(request, http.OK, value)

    def _measured(self, request: server.Request) -> bytes:
        assert self._metrics is not None
        request.setHeader(b"content-type", METRICS_TYPE)
        return self._metrics()

    def _later(self, request: server.Request, result: Deferred[Any]) -> None:
        """
        Answer when there is a result.
        """

        def done(value: object) -> tuple[int, object]:
            return http.OK, value

        def failed(failure: Failure) -> tuple[int, object]:
            error = failure.value
            if isinstance(error, SipxhaError):
                status = http.BAD_REQUEST if isinstance(error, RemoteError) else http.SERVICE_UNAVAILABLE
                return status, {"error": str(error)}
            self._log.failure(
                "{method} {path} was not done",
                failure,
                method=request.method.decode(),
                path=request.path.decode(),
            )
            return http.INTERNAL_SERVER_ERROR, {"error": "a fault of ours: see the log"}

        def answer(result: tuple[int, object]) -> None:
            if not request.finished and request.channel is not None:
                request.write(self._encode(request, *result))
                request.finish()

        result.addCallbacks(done, failed).addCallback(answer)

    def _act(self, request: server.Request, action: Action) -> None:
        """
        Do what was posted, and answer when it is done.
        """
        assert request.content is not None
        try:
            posted = json.loads(request.content.read())
        except (ValueError, RecursionError):
            self._later(request, fail(NotJson("expected JSON")))
            return
        self._later(request, maybeDeferred(action, posted))

    def _encode(self, request: server.Request, status: int, value: object) -> bytes:
        self._set_head(request, status)
        return json.dumps(value).encode() + b"\n"

    def _set_head(self, request: server.Request, status: int) -> None:
        request.setResponseCode(status)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")

    def _registrations(self, request: server.Request) -> bytes | int:
        users: list[bytes] = (request.args or {}).get(b"user", [])
        self._set_head(request, http.OK)
        if request.method == b"HEAD":
            return b""
        rows = self._view.registrations(users[0].decode(errors="replace") if users else None)
        _Listing(request, rows).start()
        return server.NOT_DONE_YET

    def _calls(self, request: server.Request) -> bytes | int:
        self._set_head(request, http.OK)
        if request.method == b"HEAD":
            return b""
        self._later(request, self._view.calls())
        return server.NOT_DONE_YET

    def _readyz(self, request: server.Request) -> bytes:
        ready = self._view.is_ready
        status = http.OK if ready else http.SERVICE_UNAVAILABLE
        return self._encode(request, status, {"ready": ready, "degraded": self._view.is_degraded})


class _Site(server.Site):
    """
    A site whose visitors are no news.
    """

    noisy = False

    def log(self, request: http.Request) -> None:
        """
        Write no line: a load balancer asks every second.
        """


class Console(Service):
    """
    Serves L{Api} on the control socket and, if configured, on an address.
    """

    def __init__(
        self,
        reactor: IConsoleReactor,
        view: View,
        socket: Path,
        address: model.Console | None,
        actions: Mapping[bytes, Action] | None = None,
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        """
        @param actions: What can be posted to the control socket, by path.
        @param metrics: Tells what is measured, in the text format of Prometheus.
        """
        self._metrics = metrics
        self._reactor = reactor
        self._actions = actions
        self._view = view
        self._socket = socket
        self._address = address
        self._ports: list[IListeningPort] = []

    def startService(self) -> None:
        """
        Open the socket and the port.

        @raise twisted.internet.error.CannotListenError: When one is taken.
        """
        super().startService()
        # Twisted's annotations do not see that a Site is a factory.
        site: Any = _Site(Api(self._view, metrics=self._metrics))
        control: Any = _Site(Api(self._view, self._actions, self._metrics))
        # A killed node leaves its socket behind, and only one node can have
        # this folder.
        self._socket.unlink(missing_ok=True)
        self._ports.append(self._reactor.listenUNIX(str(self._socket), control, mode=0o600))
        if self._address is not None:
            self._ports.append(
                self._reactor.listenTCP(self._address.port, site, interface=self._address.address)
            )

    def stopService(self) -> Deferred[None]:
        """
        Close both.
        """
        super().stopService()
        closing = [maybeDeferred(port.stopListening) for port in self._ports]
        self._ports.clear()
        return DeferredList(closing, consumeErrors=True).addCallback(lambda results: None)
