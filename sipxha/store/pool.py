"""
One connection to one PostgreSQL server, for one purpose.

txpostgres is untyped, lets a connect hang for ever, and its Deferreds cannot
be cancelled plainly; it is wrapped here and used nowhere else.  A L{Pool}
connects when it is first asked, connects again after a loss, runs one thing at
a time in the order asked, and turns every error of the driver into one of
the leaves below.  It repeats nothing by itself, since only who asks knows what
may be done twice, and it never raises into the reactor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres.txpostgres import AlreadyPolling, Connection, UnexpectedPollResult

from sipxha.errors import LocalError

T = TypeVar("T")
Row = tuple[Any, ...]

GRACE = 5.0
"""Seconds beyond its statement time-out after which a server counts as frozen."""


class DatabaseUnavailable(LocalError):
    """
    A database cannot be reached, or ended the connection.  What was asked for
    may be asked again; if a transaction was being committed, it may have been.
    """


class StatementTimedOut(DatabaseUnavailable):
    """
    A database took longer over one statement than it was allowed.
    """


class StatementRefused(LocalError):
    """
    A database says that a statement or a value is wrong: asking again will
    not help.

    @ivar sqlstate: PostgreSQL's five characters for it, or empty.
    """

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class PoolClosed(LocalError):
    """
    The service that asks is being stopped.
    """


def with_database(dsn: str, dbname: str) -> str:
    """
    Return a DSN for another database of the same server.
    """
    return make_dsn(dsn, dbname=dbname)


def with_user_of(dsn: str, other: str) -> str:
    """
    Return a DSN for the same database, as the user of another one, if that names any.
    """
    user = {
        name: value for name, value in parse_dsn(other).items() if name in ("user", "password", "passfile")
    }
    if "user" not in user:
        return dsn
    parts = {
        name: value for name, value in parse_dsn(dsn).items() if name not in ("user", "password", "passfile")
    }
    return str(make_dsn(**parts | user))


def shown(dsn: str) -> str:
    """
    Return what may be told of a DSN: where it leads, and no password.
    """
    try:
        parts = parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        return "(unreadable dsn)"
    keep = ("host", "hostaddr", "port", "user", "dbname")
    return " ".join(f"{name}={parts[name]}" for name in keep if name in parts)


def _translated(error: Exception) -> Exception:
    # libpq's messages have several lines; the first says what, the others where.
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, CancelledError):
        # txpostgres makes this of QueryCanceled, which is what a statement
        # gets that overruns statement_timeout.
        return StatementTimedOut("the server cancelled a statement that took too long")
    if isinstance(error, psycopg2.Error):
        sqlstate = error.pgcode or ""
        # Class 54 is "program limit exceeded": the row that is too large for
        # an index today is so tomorrow.  A bare DatabaseError is what psycopg2
        # makes of a connection that broke under a statement.
        if (
            isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
            or type(error) is psycopg2.DatabaseError
        ) and not sqlstate.startswith("54"):
            return DatabaseUnavailable(message)
        return StatementRefused(message, sqlstate)
    if isinstance(error, ConnectionDone | UnexpectedPollResult | AlreadyPolling | OSError):
        return DatabaseUnavailable(message)
    if isinstance(error, ValueError):
        # A NUL in a text, or one that is not Unicode.
        return StatementRefused(message)
    return error


class _Connection(Connection):  # type: ignore[misc]
    """
    A connection that may be lost while nobody asks it anything.
    """

    def doRead(self) -> None:
        """
        Hear of it without an exception in the reactor; the next who asks
        finds the connection closed.
        """
        try:
            super().doRead()
        except (psycopg2.Error, UnexpectedPollResult, ValueError):
            # ValueError: it is to be watched on, but its socket is gone.
            self.close()

    def continuePolling(self, swallowErrors: bool = False) -> None:
        """
        Go on connecting.

        libpq may close its socket in here, or take another one, and a reactor
        that watches a socket which is gone can never be told to stop it.
        """
        if self._pollingD is not None:
            self.reactor.removeReader(self)
            self.reactor.removeWriter(self)
        super().continuePolling(swallowErrors)


class Transaction:
    """
    What runs between one BEGIN and its COMMIT.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def run(self, sql: str, params: Sequence[object] = ()) -> Deferred[list[Row]]:
        """
        Run one statement and fetch all its rows; none for one that has none.
        """
        return self._pool._execute(sql, params)


class Pool:
    """
    A connection that is there when it is needed.

    @ivar connects: How often it has connected so far.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        dsn: str,
        *,
        connect_timeout: float = 5.0,
        statement_timeout: float = 30.0,
        settings: str = "",
    ) -> None:
        """
        @param dsn: libpq parameters.  A host that is a name makes libpq ask
            the system's resolver and block; pass C{hostaddr} beside it.
        @param statement_timeout: Seconds for each single statement.
        @param settings: Options of the server for each connection, as C{-c name=value}.
        """
        self._reactor = reactor
        self._dsn = dsn
        self._connect_timeout = connect_timeout
        self._statement_timeout = statement_timeout
        self._settings = settings
        self._lock = DeferredLock()
        self._connection: Any = None
        self._closed = False
        self.connects = 0

    def __str__(self) -> str:
        return shown(self._dsn)

    @property
    def is_connected(self) -> bool:
        """
        Whether there was a connection when last used.
        """
        return self._connection is not None

    def run(self, sql: str, params: Sequence[object] = ()) -> Deferred[list[Row]]:
        """
        Run one statement, a transaction of its own.

        @raise DatabaseUnavailable: It could not be asked, or the answer was lost.
        @raise StatementRefused: The server does not accept it.
        """
        return Deferred.fromCoroutine(self._run(sql, params))

    def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> Deferred[T]:
        """
        Run C{work} in a transaction, which is committed when it returns and
        rolled back when it raises.
        """
        return Deferred.fromCoroutine(self._transaction(work))

    def close(self) -> None:
        """
        Drop the connection; what waits fails with L{PoolClosed} or
        L{DatabaseUnavailable}.
        """
        self._closed = True
        self._drop()

    async def _run(self, sql: str, params: Sequence[object]) -> list[Row]:
        await self._lock.acquire()
        try:
            await self._connect()
            return await self._execute(sql, params)
        finally:
            self._lock.release()

    async def _transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        await self._lock.acquire()
        try:
            await self._connect()
            await self._execute("BEGIN")
            try:
                result = await work(Transaction(self))
                await self._execute("COMMIT")
            except BaseException:
                await self._roll_back()
                raise
            return result
        finally:
            self._lock.release()

    async def _roll_back(self) -> None:
        if self._connection is None:
            return
        try:
            await self._execute("ROLLBACK")
        except LocalError:
            self._drop()

    async def _connect(self) -> None:
        if self._closed:
            raise PoolClosed(f"database {self} is no longer used")
        if self._connection is not None and not self._connection.closed:
            return
        connection = _Connection(self._reactor)
        self._connection = connection
        try:
            await self._within(
                self._connect_timeout,
                lambda: connection.connect(
                    self._dsn,
                    options=f"-c statement_timeout={int(self._statement_timeout * 1000)} {self._settings}",
                    application_name="sipxha",
                ),
                "no connection",
            )
        except BaseException:
            self._drop()
            raise
        self.connects += 1

    def _execute(self, sql: str, params: Sequence[object] = ()) -> Deferred[list[Row]]:
        connection = self._connection
        if connection is None or connection.closed:
            self._drop()
            return _failed(DatabaseUnavailable("the connection was lost"))

        def fetch(cursor: Any) -> list[Row]:
            return list(cursor.fetchall()) if cursor.description else []

        def begin() -> Deferred[list[Row]]:
            running: Deferred[list[Row]] = connection.cursor().execute(sql, params or None).addCallback(fetch)
            return running

        return self._within(self._statement_timeout + GRACE, begin, "no answer")

    def _within(self, seconds: float, begin: Callable[[], Deferred[T]], finding: str) -> Deferred[T]:
        """
        Start something on the connection and give it C{seconds}.

        Cancelling, by the caller or by time, drops the connection: asking the
        server to cancel would open another connection and block on it, and a
        server that hangs would hang that too.  The server ends what it still
        does at its own statement time-out.
        """
        # The connection's own Deferred is never cancelled: txpostgres raises
        # out of that.
        answer: Deferred[T] = Deferred(lambda answer: self._give_up(answer, CancelledError()))
        timer = self._reactor.callLater(
            seconds, lambda: self._give_up(answer, DatabaseUnavailable(f"{finding} within {seconds:g} s"))
        )

        def ended(result: Any) -> None:
            if timer.active():
                timer.cancel()
            if not answer.called:
                answer.callback(result)

        try:
            running = begin()
        except psycopg2.Error as error:
            # The connection was found dead before anything was sent.
            timer.cancel()
            return _failed(_translated(error))
        running.addErrback(_translate)
        running.addBoth(ended)
        return answer

    def _give_up(self, answer: Deferred[T], error: Exception) -> None:
        # Detached before anybody hears of it, who might use it at once; closed
        # after, because closing reports to the same Deferred.
        connection, self._connection = self._connection, None
        if not answer.called:
            answer.errback(error)
        self._close(connection)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._close(connection)

    def _close(self, connection: Any) -> None:
        # It has no socket yet when libpq refused at once.
        if connection is None or connection.pollable() is None:
            return
        try:
            connection.close()
        except (psycopg2.Error, UnexpectedPollResult) as error:
            self._log.debug("database {dsn} dropped: {reason}", dsn=str(self), reason=error)


def _failed(error: Exception) -> Deferred[Any]:
    failed: Deferred[Any] = Deferred()
    failed.errback(error)
    return failed


def _translate(failure: Failure) -> Failure:
    assert isinstance(failure.value, Exception)
    return Failure(_translated(failure.value))
