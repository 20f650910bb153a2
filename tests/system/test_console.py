"""
What a real node answers, held against the document that it gives of that.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from sipxha.config.load import load
from tests.support.json_schema import faults
from tests.support.pair import DOMAIN
from tests.system.servers import PairTestCase, Server, until


class _Connection(http.client.HTTPConnection):
    """
    To a control socket.
    """

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        """
        To the socket instead of to a host.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class DocumentTests(PairTestCase):
    """
    Tests for every path.
    """

    def connection(self, node: Server, *, control: bool) -> http.client.HTTPConnection:
        """
        To the control socket of a node, or to the address of its console.
        """
        config = load(node.config)
        if control:
            return _Connection(str(config.node.control_socket))
        assert config.console is not None
        return http.client.HTTPConnection(config.console.address, config.console.port, timeout=60)

    def ask(self, method: str, path: str, posted: object = None, *, control: bool = True) -> tuple[int, Any]:
        """
        Ask the western node, and hold its answer against the document.

        @return: Status and value.
        """
        connection = self.connection(self.west, control=control)
        try:
            body = None if method == "GET" else posted if isinstance(posted, bytes) else json.dumps(posted)
            connection.request(method, path, body)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        operation = self.document["paths"][path.partition("?")[0]][method.lower()]
        described = operation["responses"][str(response.status)]["content"]
        kind = (response.getheader("content-type") or "").partition(";")[0]
        value = json.loads(text) if kind == "application/json" else text
        schema, schemas = described[kind]["schema"], self.document["components"]["schemas"]
        self.assertEqual([*faults(value, schema, schemas)], [], f"{method} {path}")
        self.asked.add((method.lower(), path.partition("?")[0]))
        return response.status, value

    async def test_every_answer_is_what_the_document_says(self) -> None:
        """
        Of every path, with every status that can be had.
        """
        self.asked: set[tuple[str, str]] = set()
        connection = self.connection(self.west, control=False)
        connection.request("GET", "/openapi.json")
        self.document = json.loads(connection.getresponse().read())
        connection.close()
        phone, caller = await self.registered(self.west), await self.registered(self.west)
        call = await caller.call(phone.aor, through=self.west.address)

        for control in (False, True):
            for path in (
                "/status",
                "/calls",
                "/peers",
                "/users",
                "/healthz",
                "/readyz",
                "/metrics",
                "/openapi.json",
            ):
                self.assertEqual(self.ask("GET", path, control=control)[0], 200, path)
            # An answer is good for a second, so the first may be older than the call.
            while call.call_id not in {
                row["call_id"] for row in self.ask("GET", "/calls", control=control)[1]["calls"]
            }:
                pass
            rows = self.ask("GET", "/registrations", control=control)[1]
            self.assertIn(f"{phone.user}@{DOMAIN}", {row["identity"] for row in rows})
            self.assertLess(len(self.ask("GET", "/registrations?user=nobody", control=control)[1]), 1)

        self.assertEqual((await call.hang_up()).status, 200)

        contact = {"user": phone.user, "contact": "<sip:desk@10.1.1.9>;expires=600"}
        for path, right in (
            ("/register", contact),
            ("/unregister", contact),
            ("/import", []),
            ("/reload", {}),
        ):
            # Only its own user may change anything.
            self.assertEqual(self.ask("POST", path, right, control=False)[0], 404, path)
            self.assertEqual(self.ask("POST", path, right)[0], 200, path)
        for path in ("/register", "/unregister", "/import", "/drain"):
            for wrong in (b"{", b"[" * 100_000, "", [1], {"user": 5, "contact": None, "limit": "x"}, None):
                self.assertEqual(self.ask("POST", path, wrong)[0], 400, (path, wrong))
        row = ["<sip:1@x>", "1@x", "sip:1@y", "", "call", 1.5, 2, "", 0, "", "", "udp:1:2", "far", 3]
        self.assertEqual(self.ask("POST", "/import", [row])[0], 400)
        self.assertEqual(self.ask("POST", "/import", [[*row[:5], 1, *row[6:]]]), (200, [False]))

        status, left = self.ask("POST", "/drain", {"limit": 5})
        self.assertEqual((status, left["unanswered"]), (200, 0))
        await until(lambda: not self.west.is_running, "the drained node still runs")
        described = {
            (method, path) for path, operations in self.document["paths"].items() for method in operations
        }
        self.assertEqual(self.asked, described)
