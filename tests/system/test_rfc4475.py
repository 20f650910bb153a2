"""
The torture messages of RFC 4475, as packets against a running node.
"""

from __future__ import annotations

import re
import shutil
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.protocol import Protocol as StreamProtocol

from sipxha.cli.status import ask
from sipxha.config.load import load
from sipxha.config.users import add_user, remove_user
from sipxha.sip.framing import StreamFramer
from sipxha.sip.message import Request, Response
from sipxha.sip.parser import parse_message
from sipxha.sip.uri import Uri
from tests.sip.samples import corpus
from tests.sip.verdicts import ANSWERS
from tests.support.pair import DOMAIN
from tests.system.servers import PASSWORD, PairTestCase, Server, reactor, until

PROXY, REGISTRAR = 5060, 5070

OTHER_ON_STREAMS = frozenset({"baddn.dat", "clerr.dat", "dblreq.dat", "inv2543.dat"})
"""Their Content-Length, or the end of their header, means something else there."""

STRANGER = 200
"""The last octet of an address that no phone gets."""

REGISTERING = ("watson", "user")
"""The users that the messages register, once the phone has the password."""

_SENT_BY = re.compile(rb"^((?:via|v)[ \t]*:\s*SIP\s*/\s*[0-9.]+\s*/\s*\w+\s+)[^\s;,]+", re.I | re.M)


class Wire(Protocol):
    """
    Takes bytes to a port of a node, and has its answers.
    """

    answers: list[Response]
    is_closed: bool

    def send(self, data: bytes) -> None:
        """
        Send a message as it is in its file, as far as possible.
        """

    def close(self) -> Any:
        """
        Use it no more.
        """


class Datagrams(DatagramProtocol):
    """
    A UDP socket.

    A node answers to the port that the top Via names, so each message leaves
    with this socket's place there instead of its own.
    """

    transport: Any
    is_closed = False

    def __init__(self, place: tuple[str, int]) -> None:
        self.answers: list[Response] = []
        self._place = place

    def send(self, data: bytes) -> None:
        """
        Send it in one datagram.
        """
        own = self.transport.getHost()
        sent_by = f"{own.host}:{own.port}".encode()
        self.transport.write(_SENT_BY.sub(rb"\g<1>" + sent_by, data, count=1), self._place)

    def datagramReceived(self, data: bytes, _: object) -> None:
        """
        Keep an answer.
        """
        response = parse_message(data)
        assert isinstance(response, Response)
        self.answers.append(response)

    def close(self) -> Any:
        """
        Give the port back, unless that was done before.
        """
        return None if self.transport is None else self.transport.stopListening()


class Stream(StreamProtocol):
    """
    A TCP connection: answers come on it, whatever the Via says.
    """

    transport: Any

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self.is_closed = False
        self._framer = StreamFramer()

    def send(self, data: bytes) -> None:
        """
        Send it untouched.
        """
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        """
        Keep answers.
        """
        for response in self._framer.receive_data(data):
            assert isinstance(response, Response)
            self.answers.append(response)

    def connectionLost(self, reason: object = None) -> None:
        """
        The node, or we, have closed it.
        """
        self.is_closed = True

    def close(self) -> Any:
        """
        Hang up.
        """
        self.transport.abortConnection()


class PacketTests(PairTestCase):
    """
    Tests for what the proxy and the registrar of a node answer.

    The registrar talks to our servers only: what is for it comes from the
    address of the other node.
    """

    async def wire(self, transport: str, port: int) -> Wire:
        """
        A way to a port of the first node.
        """
        source = self.west.address if port == REGISTRAR else f"{self.pair.network}.{STRANGER}"
        place = (self.east.address, port)
        wire: Wire
        if transport == "udp":
            wire = datagrams = Datagrams(place)
            reactor.listenUDP(0, datagrams, source)
        else:
            endpoint = TCP4ClientEndpoint(reactor, *place, bindAddress=(source, 0))
            wire = await connectProtocol(endpoint, Stream())
        self.addCleanup(maybeDeferred, wire.close)
        return wire

    async def answer(self, transport: str, port: int, name: str, expected: int) -> int:
        """
        Send one message, and then an OPTIONS, which the node has to answer.

        @param expected: what to wait for if it is not answered at once.

        @return: the status of the answer to the message; 0 for none.
        """
        probe_id = f"probe-{transport}-{port}-{name}"
        logged = self.east.logged
        wire = await self.wire(transport, port)

        def answers(*, to_probe: bool) -> list[int]:
            return [
                answer.status
                for answer in wire.answers
                if answer.status >= 200 and (answer.get("call-id") == probe_id) is to_probe
            ]

        wire.send(corpus()[name])
        wire.send(probe(probe_id))
        await until(
            lambda: wire.is_closed or (answers(to_probe=True) and (answers(to_probe=False) or not expected)),
            f"{name}, or the OPTIONS behind it, is not answered",
        )
        # An answer to an INVITE comes again and again.
        found = set(answers(to_probe=False))
        if wire.is_closed:
            wire = await self.wire(transport, port)
            wire.send(probe(probe_id))
            await until(lambda: answers(to_probe=True), f"the node is dead after {name}")
        await maybeDeferred(wire.close)
        lines = self.east.lines_after(logged)
        self.assertFalse([line for line in lines if "Traceback" in line or "Unhandled" in line], name)
        self.assertLessEqual(len(found), 1, name)
        return found.pop() if found else 0

    async def answers(self, transport: str, port: int) -> None:
        """
        Send all messages, and compare the answers with the table.
        """
        left_out = OTHER_ON_STREAMS if transport == "tcp" else frozenset()
        expected = {
            name: answers.registrar if port == REGISTRAR else answers.proxy
            for name, answers in ANSWERS.items()
            if name not in left_out
        }
        found = {name: await self.answer(transport, port, name, status) for name, status in expected.items()}
        self.assertEqual(found, expected)

    def test_every_file_has_its_answers(self) -> None:
        """
        And all answers a file.
        """
        self.assertEqual(ANSWERS.keys(), corpus().keys())

    async def test_datagrams_to_the_proxy(self) -> None:
        """
        From a stranger, who is asked for credentials where nothing is wrong.
        """
        await self.answers("udp", PROXY)

    async def test_streams_to_the_proxy(self) -> None:
        """
        The same answers.
        """
        await self.answers("tcp", PROXY)

    async def test_datagrams_to_the_registrar(self) -> None:
        """
        From another of our servers.
        """
        await self.answers("udp", REGISTRAR)

    async def test_streams_to_the_registrar(self) -> None:
        """
        The same answers.
        """
        await self.answers("tcp", REGISTRAR)

    async def stream(self, data: bytes, port: int, count: int = 1) -> tuple[list[int], Wire]:
        """
        Send this on a connection and wait for so many answers.
        """
        wire = await self.wire("tcp", port)
        wire.send(data)
        await until(lambda: len(wire.answers) >= count, "there is no answer")
        return [answer.status for answer in wire.answers], wire

    async def test_a_stream_waits_for_the_rest_of_clerr_and_baddn(self) -> None:
        """
        C.11: on a stream nobody knows before the time is up that nothing more
        comes, so here it does.
        """
        announced = corpus()["clerr.dat"]
        missing = 9999 - len(announced.partition(b"\r\n\r\n")[2])
        statuses, _ = await self.stream(announced + b"." * missing, PROXY)
        self.assertEqual(statuses, [407])
        statuses, _ = await self.stream(corpus()["baddn.dat"] + b"\r\n", PROXY)
        self.assertEqual(statuses, [400])

    async def test_a_stream_with_inv2543_is_closed(self) -> None:
        """
        M01: without Content-Length nobody knows where it ends.
        """
        statuses, wire = await self.stream(corpus()["inv2543.dat"], PROXY)
        self.assertEqual(statuses, [400])
        await until(lambda: wire.is_closed, "the connection is still open")

    async def test_dblreq_is_two_messages_on_a_stream(self) -> None:
        """
        Both are answered; what follows them is nothing.
        """
        statuses, wire = await self.stream(corpus()["dblreq.dat"], REGISTRAR, 2)
        self.assertEqual(statuses, [401, 404])
        await until(lambda: wire.is_closed, "the connection is still open")

    async def test_bext01_is_told_what_a_proxy_does_not_support(self) -> None:
        """
        The options of Proxy-Require, not those of Require.
        """
        _, wire = await self.stream(corpus()["bext01.dat"], PROXY)
        self.assertEqual(
            wire.answers[0].values("unsupported"), ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]
        )

    async def test_with_the_password_registrations_are_as_the_messages_say(self) -> None:
        """
        C.11: parameters stay on their side of the bracket, and the escaped
        header stays in the Contact; a Contact with a bare header is refused.
        """
        await self.add_users()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.remove_users()))
        for user, name, contact in (
            ("watson", "cparam01.dat", "<sip:+19725552222@gw1.example.net>"),
            ("watson", "cparam02.dat", "<sip:+19725552222@gw1.example.net;unknownparam>"),
            ("user", "regescrt.dat", "<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"),
        ):
            response = await self.register_as(user, name)
            self.assertEqual(response.status, 200, name)
            self.assertIn(contact, [f"<{each.uri}>" for each in response.contacts], name)
        response = await self.register_as("user", "regbadct.dat")
        self.assertEqual(response.status, 400)

    async def register_as(self, user: str, name: str) -> Response:
        """
        Let a phone send a message of the corpus as its own, and answer the challenge.
        """
        request = parse_message(corpus()[name])
        assert isinstance(request, Request)
        request.remove("via")
        response: Response = await self.phone(user=user).send(request, Uri.parse(f"sip:{self.east.address}"))
        return response

    async def add_users(self) -> None:
        """
        Make the users of the messages, whom the nodes find in their files.
        """
        files = load(self.east.config).users
        before = ask(self.east.config, "/status")["users"]
        for user in REGISTERING:
            add_user(files, f"{user}@{DOMAIN}", DOMAIN, PASSWORD)
        await self.users_are_read(before + len(REGISTERING))

    async def remove_users(self) -> None:
        """
        Leave nothing of them: other tests ask for users of these names.
        """
        files = load(self.east.config).users
        before = ask(self.east.config, "/status")["users"]
        for user in REGISTERING:
            await self.phone(user=user).unregister_all()
        for user in REGISTERING:
            remove_user(files, f"{user}@{DOMAIN}")
        await self.users_are_read(before - len(REGISTERING))

    def knows(self, node: Server, count: int) -> bool:
        """
        Whether a node knows so many users.
        """
        return bool(ask(node.config, "/status")["users"] == count)

    async def users_are_read(self, count: int) -> None:
        """
        Give both nodes the users of the first, and wait until they know so many.
        """
        shutil.copy(load(self.east.config).users.credentials, self.west.folder)
        for node in (self.east, self.west):
            await until(
                partial(self.knows, node, count),
                f"{node.name} does not read its users again",
            )


def probe(call_id: str) -> bytes:
    """
    An OPTIONS that every service answers.
    """
    return (
        f"OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP probe.invalid;branch=z9hG4bK-{call_id}\r\n"
        f"From: <sip:probe@probe.invalid>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: {call_id}\r\n"
        "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()
