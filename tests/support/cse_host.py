"""
Hosts of call state events for tests: real databases with made-up events.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, ClassVar, cast

import psycopg2
from psycopg2 import extensions
from psycopg2.extensions import parse_dsn
from psycopg2.extras import execute_values
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorUNIX
from twisted.internet.protocol import ClientFactory, ServerFactory
from twisted.protocols.portforward import ProxyClientFactory, ProxyFactory, ProxyServer
from twisted.trial.unittest import TestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.store.pool import Pool
from sipxha.store.schema import CSE, upgrade
from tests.support.postgres import PostgresForTests

_INSERT = f"""
INSERT INTO call_state_events ({", ".join(CallStateEvent._fields)}) VALUES %s
"""
_VALUES = "(" + ", ".join(
    "to_timestamp(%s) AT TIME ZONE 'UTC'" if name == "event_time" else "%s" for name in CallStateEvent._fields
) + ")"  # fmt: skip


def execute(dsn: str, sql: str, *params: object) -> list[tuple[Any, ...]]:
    """
    Run one statement and wait for its rows.
    """
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def log_events(dsn: str, *events: CallStateEvent) -> None:
    """
    Write events as a proxy does.
    """
    connection = psycopg2.connect(dsn)
    try:
        insert_events(connection, *events)
        connection.commit()
    finally:
        connection.close()


def insert_events(connection: extensions.connection, *events: CallStateEvent) -> None:
    """
    The same, to be committed later.
    """
    with connection.cursor() as cursor:
        execute_values(cursor, _INSERT, events, _VALUES, page_size=1000)


class Pair:
    """
    A node's database, which holds its own events and the records, and that of another host.

    Both have the same name, since a host is reached with the parameters of our own.
    """

    _second: ClassVar[PostgresForTests | None] = None

    def __init__(self) -> None:
        if Pair._second is None:
            Pair._second = PostgresForTests()
            Pair._second.start()
        self._is_down = False
        self.own = PostgresForTests.shared().fresh()
        name = parse_dsn(self.own)["dbname"]
        Pair._second.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        self.other = Pair._second.dsn(name)

    async def prepare(self) -> None:
        """
        Make the tables of call events.
        """
        for dsn in (self.own, self.other):
            pool = Pool(reactor, dsn)
            try:
                await upgrade(pool, (CSE,))
            finally:
                pool.close()

    def lose(self, number: int = signal.SIGINT) -> None:
        """
        Stop the other host's server.
        """
        assert Pair._second is not None
        Pair._second.stop(number)
        self._is_down = True

    def bring_back(self) -> None:
        """
        Start it again, if it was lost.
        """
        assert Pair._second is not None
        if self._is_down:
            Pair._second.start()
        self._is_down = False


class _ToSocket(ProxyServer):
    """
    One connection, piped to a unix socket.
    """

    clientProtocolFactory = ProxyClientFactory

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        client = self.clientProtocolFactory()
        client.setServer(self)
        cast(IReactorUNIX, reactor).connectUNIX(self.factory.host, cast(ClientFactory, client))


class _Doors(ProxyFactory):
    protocol = _ToSocket


def listen_for(dsn: str) -> IListeningPort:
    """
    Let a database that only has a unix socket be reached on a free port of 127.0.0.1.
    """
    place = parse_dsn(dsn)
    path = Path(place["host"]) / f".s.PGSQL.{place['port']}"
    doors = cast(ServerFactory, _Doors(str(path), 0))
    return cast(IReactorTCP, reactor).listenTCP(0, doors, interface="127.0.0.1")


def open_door(case: TestCase, dsn: str) -> int:
    """
    As L{listen_for}, until the test ends.

    @return: The port.
    """
    port = listen_for(dsn)
    case.addCleanup(port.stopListening)
    host = port.getHost()
    assert isinstance(host, IPv4Address)
    return host.port
