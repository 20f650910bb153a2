"""
The console: what an operator, a script or a load balancer may ask a running
node, as JSON over HTTP.

    GET /status                     one object about the node
    GET /registrations[?user=USER]  the current bindings, of all users or of one
    GET /users                      what the node holds of its users, after a look at their files
    GET /peers                      the registrars that we replicate with
    GET /healthz                    200 as long as the reactor turns
    GET /readyz                     200 when the node serves, 503 before

It is served on C{data/control.sock}, which only the node's own user can open,
and on the console's address, which is a loopback address.  Nothing can be
changed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorUNIX
from twisted.web import http, server
from twisted.web.resource import Resource

from sipxha.config import model

Row = Mapping[str, Any]


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

    def registrations(self, user: str | None) -> Sequence[Row]:
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


class Api(Resource):
    """
    The answers, by path.
    """

    isLeaf = True

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self._answers: dict[bytes, Callable[[server.Request], tuple[int, object]]] = {
            b"/status": lambda request: (http.OK, view.status()),
            b"/registrations": self._registrations,
            b"/users": lambda request: (http.OK, view.user_set()),
            b"/peers": lambda request: (http.OK, view.peers()),
            b"/healthz": lambda request: (http.OK, {"healthy": True}),
            b"/readyz": self._readyz,
        }

    def render(self, request: server.Request) -> bytes:
        """
        Answer one question.
        """
        answer = self._answers.get(request.path)
        if request.method not in (b"GET", b"HEAD"):
            status: int = http.NOT_ALLOWED
            value: object = {"error": "only GET is known here"}
            request.setHeader(b"allow", b"GET, HEAD")
        elif answer is None:
            status = http.NOT_FOUND
            value = {"error": "no such page"}
        else:
            status, value = answer(request)
        request.setResponseCode(status)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        return json.dumps(value).encode() + b"\n"

    def _registrations(self, request: server.Request) -> tuple[int, object]:
        users: list[bytes] = (request.args or {}).get(b"user", [])
        return http.OK, self._view.registrations(users[0].decode(errors="replace") if users else None)

    def _readyz(self, request: server.Request) -> tuple[int, object]:
        ready = self._view.is_ready
        return (
            http.OK if ready else http.SERVICE_UNAVAILABLE,
            {"ready": ready, "degraded": self._view.is_degraded},
        )


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
        self, reactor: IConsoleReactor, view: View, socket: Path, address: model.Console | None
    ) -> None:
        self._reactor = reactor
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
        site: Any = _Site(Api(self._view))
        # A killed node leaves its socket behind, and only one node can have
        # this folder.
        self._socket.unlink(missing_ok=True)
        self._ports.append(self._reactor.listenUNIX(str(self._socket), site, mode=0o600))
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
