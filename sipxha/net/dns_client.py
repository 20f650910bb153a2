"""
Questions to DNS servers.

An L{twisted.internet.interfaces.IResolver} like the client of twisted.names,
which this is not because that one takes an answer to another question for the
answer (L12 of our checklist: who guesses an id could plant addresses), and
lets one server that refuses or fails speak for all.  Nothing here remembers
an answer; L{sipxha.net.dns} does.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError, ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import DatagramProtocol, connectionDone
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from sipxha.net.zone_server import Answer

QUERY_LIMIT = 3.0
"""Seconds after which a question is given up, however many servers there are."""

_NO_ANSWER = (TimeoutError, ConnectError, ConnectionLost, ConnectionDone, CannotListenError, OSError)

Server = tuple[str, int]
"""Address and port."""


def system_servers(path: Path = Path("/etc/resolv.conf")) -> list[Server]:
    """
    The DNS servers that this machine is told to use; itself when it is told nothing (resolv.conf(5)).
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    servers = [(line[1], dns.PORT) for line in words if len(line) > 1 and line[0] == "nameserver"]
    return servers[:3] or [("127.0.0.1", dns.PORT)]


class Client(ResolverBase):
    """
    Asks the servers in turn, twice round, until one answers.

    The second round waits twice as long as the first, and both together no
    longer than L{QUERY_LIMIT}.  That a name does not exist is an answer; that
    a server failed or refuses is none while another may know better.
    """

    def __init__(self, reactor: Any, servers: Sequence[Server]) -> None:
        """
        @param reactor: With TCP, UDP and time.
        """
        super().__init__()
        self._reactor = reactor
        self._servers = servers

    def _lookup(self, name: bytes, cls: int, type: int, timeout: object) -> Deferred[Answer]:
        return Deferred.fromCoroutine(self._ask(dns.Query(name, type, cls)))

    async def _ask(self, query: dns.Query) -> Answer:
        first_wait = QUERY_LIMIT / (3 * len(self._servers))
        for wait in (first_wait, 2 * first_wait):
            refusal: Exception | None = None
            for server in self._servers:
                exchange = Deferred.fromCoroutine(self._exchange(query, server))
                try:
                    message = await exchange.addTimeout(wait, self._reactor)
                except _NO_ANSWER:
                    continue
                if message.rCode == dns.OK:
                    return message.answers, message.authority, message.additional
                refusal = self.exceptionForCode(message.rCode)(message)
                if message.rCode == dns.ENAME:
                    break
            if refusal is not None:
                # Who refuses at once would refuse again.
                raise refusal
        raise TimeoutError(f"no DNS server answered about {query.name}")

    async def _exchange(self, query: dns.Query, server: Server) -> dns.Message:
        """
        Ask one server, over TCP as well where UDP is too small for its answer.
        """
        question = dns.Message(id=dns.randomSource(), recDes=1)
        question.queries = [query]
        is_ipv6 = isIPv6Address(server[0])
        datagrams = _DatagramExchange(question, server)
        # Port 0: the system picks one that nobody can guess.
        port = self._reactor.listenUDP(0, datagrams, interface="::" if is_ipv6 else "", maxPacketSize=4096)
        try:
            message = await datagrams.answer
        finally:
            port.stopListening()
        if not message.trunc:
            return message
        stream = _StreamExchange(question)
        endpoint = (TCP6ClientEndpoint if is_ipv6 else TCP4ClientEndpoint)(self._reactor, *server)
        await connectProtocol(endpoint, stream)
        try:
            return await stream.answer
        finally:
            cast(ITCPTransport, stream.transport).abortConnection()


def _answer_to(question: dns.Message, received: bytes) -> dns.Message | None:
    """
    Read a message, and keep it only if it answers C{question} and no other.
    """
    message = dns.Message()
    try:
        message.fromStr(received)
    except (EOFError, ValueError, struct.error):
        return None
    if message.id != question.id or not message.answer or message.queries != question.queries:
        return None
    return message


class _DatagramExchange(DatagramProtocol):
    """
    One question to one server over UDP; whatever else arrives is passed over.
    """

    noisy = False

    def __init__(self, question: dns.Message, server: Server) -> None:
        self.answer: Deferred[dns.Message] = Deferred()
        self._question = question
        self._server = server

    def startProtocol(self) -> None:
        """
        The socket is open.
        """
        assert self.transport is not None
        try:
            self.transport.write(self._question.toStr(), self._server)
        except OSError:
            # There is no way to that network, or a firewall forbids it.
            self.answer.errback()

    def datagramReceived(self, datagram: bytes, addr: Server) -> None:
        """
        Something came: the answer, if it is from the server and about the question.
        """
        if addr[:2] != self._server or self.answer.called:
            return
        message = _answer_to(self._question, datagram)
        if message is not None:
            self.answer.callback(message)


class _StreamExchange(Int16StringReceiver):
    """
    One question to one server over TCP.
    """

    def __init__(self, question: dns.Message) -> None:
        self.answer: Deferred[dns.Message] = Deferred()
        self._question = question

    def connectionMade(self) -> None:
        """
        Ask.
        """
        self.sendString(self._question.toStr())

    def stringReceived(self, string: bytes) -> None:
        """
        A whole message came.
        """
        message = _answer_to(self._question, string)
        if message is not None and not self.answer.called:
            self.answer.callback(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        There is no answer to come.
        """
        if not self.answer.called:
            self.answer.errback(reason)
