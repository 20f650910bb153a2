"""
Tests for L{sipxha.services.console}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.test.requesthelper import DummyRequest

from sipxha.config import model
from sipxha.errors import RemoteError
from sipxha.services.console import PIECE, Api, Console
from sipxha.store.registrations import NotYetWritten


class FakeNode:
    """
    A node of which everything is known.
    """

    is_ready = True
    is_degraded = False

    def status(self) -> dict[str, Any]:
        """
        The node.
        """
        return {"node": "sipx1.example.com"}

    rows = 1

    def registrations(self, user: str | None) -> Iterator[dict[str, Any]]:
        """
        Rows which tell what was asked.
        """
        return ({"identity": user} for _ in range(self.rows))

    def user_set(self) -> dict[str, Any]:
        """
        Its users.
        """
        return {"version": "17 sipx1.example.com"}

    def peers(self) -> Sequence[dict[str, Any]]:
        """
        One peer.
        """
        return [{"name": "sipx2.example.com"}]

    def calls(self) -> Deferred[dict[str, Any]]:
        """
        One call.
        """
        return succeed({"calls": [{"call_id": "a"}], "missing": {}})


def ask(api: Resource, path: bytes, method: bytes = b"GET", **query: bytes) -> tuple[int, Any]:
    """
    Ask a question, and decode the answer.
    """
    request: Any = DummyRequest([b""])
    request.path = path
    request.method = method
    request.args = {name.encode(): [value] for name, value in query.items()}
    answer = api.render(request)
    if answer is not NOT_DONE_YET:
        request.write(answer)
    body = b"".join(request.written)
    assert request.responseHeaders.getRawHeaders(b"content-type") == [b"application/json"]
    return request.responseCode or 200, json.loads(body)


class ApiTests(SynchronousTestCase):
    """
    Tests for what is answered.
    """

    def setUp(self) -> None:
        """
        Make the answers of a node that serves.
        """
        self.node = FakeNode()
        self.api = Api(self.node)

    def test_each_page_shows_its_part_of_the_node(self) -> None:
        """
        As JSON.
        """
        self.assertEqual(ask(self.api, b"/status"), (200, {"node": "sipx1.example.com"}))
        self.assertEqual(ask(self.api, b"/peers"), (200, [{"name": "sipx2.example.com"}]))
        self.assertEqual(ask(self.api, b"/users"), (200, {"version": "17 sipx1.example.com"}))
        self.assertEqual(ask(self.api, b"/healthz"), (200, {"healthy": True}))

    def test_registrations_are_of_all_users_or_of_one(self) -> None:
        """
        Whatever bytes the name is made of.
        """
        self.assertEqual(ask(self.api, b"/registrations"), (200, [{"identity": None}]))
        self.assertEqual(ask(self.api, b"/registrations", user=b"200"), (200, [{"identity": "200"}]))
        self.assertEqual(ask(self.api, b"/registrations", user=b"\xff"), (200, [{"identity": "\ufffd"}]))

    def test_a_long_list_is_written_in_pieces(self) -> None:
        """
        The node works between two of them; what is read is one array.
        """
        for self.node.rows in (0, 1, PIECE, PIECE + 1):
            status, rows = ask(self.api, b"/registrations")
            self.assertEqual((status, rows), (200, [{"identity": None}] * self.node.rows))

    def test_a_reader_that_goes_away_costs_nothing_more(self) -> None:
        """
        The rest is not even looked at.
        """
        self.node.rows = 10**9
        request: Any = DummyRequest([b""])
        request.path = b"/registrations"
        taken: list[Any] = []
        request.registerProducer = lambda producer, streaming: taken.append(producer)
        self.assertEqual(self.api.render(request), NOT_DONE_YET)
        (listing,) = taken
        listing.resumeProducing()
        self.assertEqual(b"".join(request.written).count(b"identity"), PIECE)
        listing.stopProducing()
        listing.resumeProducing()
        self.assertEqual(b"".join(request.written).count(b"identity"), PIECE)

    def test_metrics_are_text(self) -> None:
        """
        In the format of Prometheus.
        """
        request: Any = DummyRequest([b""])
        request.path = b"/metrics"
        self.assertEqual(
            Api(self.node, metrics=lambda: b"sipxha_up 1.0\n").render(request), b"sipxha_up 1.0\n"
        )
        (kind,) = request.responseHeaders.getRawHeaders(b"content-type")
        self.assertTrue(kind.startswith(b"text/plain; version=0.0.4"))

    def test_a_node_that_does_not_serve_is_not_ready(self) -> None:
        """
        A load balancer looks at the status code only.
        """
        self.assertEqual(ask(self.api, b"/readyz"), (200, {"ready": True, "degraded": False}))
        self.node.is_degraded = True
        self.assertEqual(ask(self.api, b"/readyz"), (200, {"ready": True, "degraded": True}))
        self.node.is_ready = False
        self.assertEqual(ask(self.api, b"/readyz"), (503, {"ready": False, "degraded": True}))

    def test_other_pages_do_not_exist(self) -> None:
        """
        Also not below those that do.
        """
        for path in (b"/", b"/status/", b"/voicemail"):
            self.assertEqual(ask(self.api, path), (404, {"error": "no such page"}))

    def test_calls_are_told_when_all_nodes_have_said(self) -> None:
        """
        A HEAD asks nobody.
        """
        request: Any = DummyRequest([b""])
        request.path, request.channel = b"/calls", object()
        self.assertEqual(self.api.render(request), NOT_DONE_YET)
        self.assertEqual(json.loads(b"".join(request.written)), {"calls": [{"call_id": "a"}], "missing": {}})
        request = DummyRequest([b""])
        request.path, request.method = b"/calls", b"HEAD"
        self.assertEqual(self.api.render(request), b"")

    def test_nothing_can_be_changed(self) -> None:
        """
        There is GET, and nothing else.
        """
        for path in (b"/status", b"/registrations"):
            self.assertEqual(ask(self.api, path, b"POST"), (405, {"error": "only GET is known here"}))
        self.assertEqual(ask(self.api, b"/import", b"POST"), (404, {"error": "no such page"}))
        posts = Api(self.node, {b"/import": succeed})
        self.assertEqual(ask(posts, b"/import"), (405, {"error": "only POST is known here"}))


class ActionTests(SynchronousTestCase):
    """
    Tests for what may be posted.
    """

    def post(self, body: bytes, action: Callable[[Any], Any]) -> tuple[int, Any]:
        """
        Post something, and decode the answer.
        """
        request: Any = DummyRequest([b""])
        request.path = b"/import"
        request.method = b"POST"
        request.content = BytesIO(body)
        request.channel = object()
        self.assertEqual(Api(FakeNode(), {b"/import": action}).render(request), NOT_DONE_YET)
        return request.responseCode or 200, json.loads(b"".join(request.written))

    def test_the_answer_waits_until_it_is_done(self) -> None:
        """
        And tells what came of it.
        """
        self.assertEqual(self.post(b"[1, 2]", lambda posted: succeed(sum(posted))), (200, 3))

    def test_what_cannot_be_used_is_the_senders_fault(self) -> None:
        """
        What cannot be done is ours.
        """

        def refuse(_: Any) -> Any:
            raise RemoteError("no such row")

        self.assertEqual(self.post(b"{", succeed)[0], 400)
        self.assertEqual(self.post(b"1", refuse), (400, {"error": "no such row"}))
        self.assertEqual(
            self.post(b"1", lambda _: fail(NotYetWritten("disk full"))), (503, {"error": "disk full"})
        )

    def test_a_fault_of_ours_is_answered_and_logged(self) -> None:
        """
        Nothing of it leaves the node.
        """
        status, answer = self.post(b"1", lambda _: fail(ZeroDivisionError("secret")))
        self.assertEqual(status, 500)
        self.assertNotIn("secret", str(answer))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ConsoleTests(SynchronousTestCase):
    """
    Tests for where it is answered.
    """

    def setUp(self) -> None:
        """
        Make a reactor without sockets.
        """
        self.reactor: Any = MemoryReactor()
        self.socket = Path(self.mktemp())

    def console(self, address: model.Console | None) -> Console:
        """
        Start a console.
        """
        console = Console(self.reactor, FakeNode(), self.socket, address, {b"/import": succeed})
        console.startService()
        return console

    def test_the_control_socket_is_for_the_nodes_own_user(self) -> None:
        """
        A socket that a killed node left is replaced.
        """
        self.socket.touch()
        self.console(None)
        self.assertFalse(self.socket.exists())
        ((path, _site, _backlog, mode, _pid),) = self.reactor.unixServers
        self.assertEqual((path, mode), (str(self.socket), 0o600))
        self.assertEqual(self.reactor.tcpServers, [])

    def test_the_configured_address_has_the_same_answers(self) -> None:
        """
        It is bound there and nowhere else.
        """
        console = self.console(model.Console("127.1.1.1", 8080))
        ((port, site, _backlog, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (8080, "127.1.1.1"))
        self.assertIsInstance(site.resource, Api)
        # What can be changed can be changed over the socket only.
        self.assertEqual(ask(site.resource, b"/import", b"POST")[0], 404)
        self.assertIsNone(self.successResultOf(console.stopService()))
