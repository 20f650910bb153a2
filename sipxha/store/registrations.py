"""
The registry on disk: SQLite, for this node alone.

A commit is durable when its Deferred fires.  Commits that come while another
is being written go to disk together with the next one, in a thread of its
own; the reactor never waits for the disk.  Rows that could not be written
stay here and are tried again.

This decides nothing about rows.  It never repairs and never overwrites a file
that it does not understand.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from threading import Condition, Thread
from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from sipxha.errors import LocalError
from sipxha.registry.binding import Binding, Key

VERSION = 1
"""C{user_version} of the schema below."""

# The columns have the types and the order of Binding; "primary" is a word of SQL.
_SCHEMA = """
CREATE TABLE registrations (
    uri TEXT NOT NULL, identity TEXT NOT NULL, contact TEXT NOT NULL, qvalue TEXT NOT NULL,
    callid TEXT NOT NULL, cseq INTEGER NOT NULL, expires INTEGER NOT NULL,
    instance_id TEXT NOT NULL, reg_id INTEGER NOT NULL, gruu TEXT NOT NULL, path TEXT NOT NULL,
    received TEXT NOT NULL, "primary" TEXT NOT NULL, update_number INTEGER NOT NULL, deadline REAL NOT NULL,
    PRIMARY KEY (identity, callid, contact, reg_id)
) WITHOUT ROWID
"""

_COLUMNS = ", ".join(f'"{name}"' for name in Binding._fields)
_ONE_ROW = f"({', '.join('?' * len(Binding._fields))})"
_ONE_KEY = "(?, ?, ?, ?)"
_SELECT = f"SELECT {_COLUMNS} FROM registrations"  # noqa: S608
_REPLACE = f"INSERT OR REPLACE INTO registrations ({_COLUMNS}) "
_DELETE = "DELETE FROM registrations WHERE "

_AT_ONCE = 500
"""Rows in one statement: each one hands the interpreter lock to and fro only once."""


class StoreUnusable(LocalError):
    """
    The file of the registry cannot be used, and was left as it is.

    @ivar path: The file.
    """

    def __init__(self, path: Path, cause: object) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = path


class NotYetWritten(LocalError):
    """
    Rows are not on the disk yet.  They are kept, and tried again.
    """

    status = 503


class _Waiting(NamedTuple):
    """
    What is to be written together, and who waits for it.
    """

    changes: dict[Key, Binding | None]
    """The newest row of each key; L{None} where it is to go."""

    waiters: list[Deferred[None]]


class RegistrationStore:
    """
    The durable copy of the registry.

    @ivar degraded: Whether the last attempt to write failed.
    """

    _log = Logger()

    def __init__(self, path: Path, reactor: IReactorFromThreads, retry: float = 1.0) -> None:
        """
        @param retry: Seconds between attempts to write what could not be
            written.
        """
        self.path = path
        self.degraded = False
        self._reactor = reactor
        self._retry = retry
        self._thread: Thread | None = None
        self._gate = Condition()
        # Under the gate: what the writer is to take next, and whether to end.
        self._queue = _Waiting({}, [])
        self._is_closing = False
        # The reactor's alone: batches with waiters that were not reported yet.
        self._unwritten = 0
        self._closed: Deferred[None] | None = None

    # -- opening -----------------------------------------------------------

    def open(self) -> list[Binding]:
        """
        Read all rows.  This blocks, and belongs before the reactor's start.

        @raise StoreUnusable: The file is no registry of this version, is
            damaged, cannot be written, or is in use by another process.
        """
        self._make_private()
        try:
            database = sqlite3.connect(
                self.path, timeout=1.0, isolation_level=None, check_same_thread=False, cached_statements=16
            )
        except sqlite3.Error as error:
            raise StoreUnusable(self.path, error) from error
        try:
            rows = self._read(database)
        except sqlite3.Error as error:
            database.close()
            raise StoreUnusable(self.path, error) from error
        except StoreUnusable:
            database.close()
            raise
        self._thread = Thread(target=self._write_all, args=(database,), name="registrations", daemon=True)
        self._thread.start()
        return rows

    def _make_private(self) -> None:
        # SQLite asks only the umask, and gives its other files the mode of this one.
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise StoreUnusable(self.path, error.strerror) from error

    def _read(self, database: sqlite3.Connection) -> list[Binding]:
        # Until it is known to be ours, the file is not written to.
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if version > VERSION:
            raise StoreUnusable(self.path, f"was written by a newer sipxha (version {version})")
        if version == 0 and tables:
            raise StoreUnusable(self.path, "is a database, but not of registrations")
        # One process at a time; this also spares the shared memory of WAL.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("BEGIN IMMEDIATE")
        if version == 0:
            database.execute(_SCHEMA)
        # Written also when it is right: a disk that refuses is found now.
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
        finding = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if finding != "ok":
            raise StoreUnusable(self.path, f"is damaged: {finding}")
        return [Binding._make(row) for row in database.execute(_SELECT)]

    # -- the reactor's side ------------------------------------------------

    def commit(self, rows: Sequence[Binding], purged: Iterable[Key] = ()) -> Deferred[None]:
        """
        Write rows, and forget others.

        Without rows this waits for all that was handed over before.

        @return: Fires when they are durable.  Fails with L{NotYetWritten} as
            soon as an attempt failed, but then they are tried again.
        """
        if self._thread is None or self._is_closing:
            return fail(NotYetWritten(f"{self.path} is closed"))
        changes: dict[Key, Binding | None] = dict.fromkeys(purged)
        for row in rows:
            changes[row.key] = row
        if not changes and not self._unwritten and not self.degraded:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        with self._gate:
            queue = self._queue
            if not queue.waiters:
                self._unwritten += 1
                self._gate.notify()
            queue.changes.update(changes)
            queue.waiters.append(waiter)
        return waiter

    def close(self) -> Deferred[None]:
        """
        Write what is left, once, and let go of the file.
        """
        if self._thread is None:
            return succeed(None)
        if self._closed is None:
            self._closed = Deferred()
            with self._gate:
                self._is_closing = True
                self._gate.notify()
        return self._closed

    def _written(self, waiters: list[Deferred[None]], error: Exception | None) -> None:
        """
        The writer took a batch to the disk, or failed to.
        """
        if waiters:
            self._unwritten -= 1
        if error is None:
            if self.degraded:
                self.degraded = False
                self._log.info("{path} can be written again", path=str(self.path))
            for waiter in waiters:
                waiter.callback(None)
            return
        if not self.degraded:
            self.degraded = True
            self._log.error(
                "{path} cannot be written, so REGISTER is answered 503: {error}",
                path=str(self.path),
                error=str(error),
            )
        for waiter in waiters:
            waiter.errback(NotYetWritten(f"{self.path}: {error}"))

    def _ended(self, lost: int) -> None:
        """
        The writer is gone.
        """
        if lost:
            self._log.error("{path} was closed without {lost} rows", path=str(self.path), lost=lost)
        assert self._thread is not None and self._closed is not None
        self._thread.join()
        self._thread = None
        self._closed.callback(None)

    # -- the writer's side -------------------------------------------------

    def _write_all(self, database: sqlite3.Connection) -> None:
        """
        The life of the writer: batch after batch, until closed.
        """
        kept: dict[Key, Binding | None] = {}
        is_closing = False
        while not is_closing:
            with self._gate:
                # With rows left over, no longer than until the next attempt.
                self._gate.wait_for(self._is_wanted, timeout=self._retry if kept else None)
                batch, self._queue = self._queue, _Waiting({}, [])
                is_closing = self._is_closing
            kept.update(batch.changes)
            error = _write(database, kept)
            if error is None:
                kept.clear()
            self._reactor.callFromThread(self._written, batch.waiters, error)
        database.close()
        self._reactor.callFromThread(self._ended, len(kept))

    def _is_wanted(self) -> bool:
        return bool(self._queue.waiters) or self._is_closing


def _write(database: sqlite3.Connection, changes: dict[Key, Binding | None]) -> Exception | None:
    """
    Write all of this in one transaction.
    """
    rows = [row for row in changes.values() if row is not None]
    gone = [key for key, row in changes.items() if row is None]
    # One statement is a transaction by itself.
    is_simple = not gone and len(rows) <= _AT_ONCE
    try:
        if not is_simple:
            database.execute("BEGIN IMMEDIATE")
        for keys in _portions(gone):
            _delete(database, keys)
        for part in _portions(rows):
            database.execute(_REPLACE + _list(_ONE_ROW, part), list(chain.from_iterable(part)))
        if not is_simple:
            database.execute("COMMIT")
    except (sqlite3.Error, ValueError, OverflowError) as error:
        with suppress(sqlite3.Error):
            if database.in_transaction:
                database.execute("ROLLBACK")
        return error
    return None


def _delete(database: sqlite3.Connection, keys: list[Key]) -> None:
    # SQLite searches the key's index for a single column, but not for a row value.
    identities = ", ".join("?" * len(keys))
    where = f"identity IN ({identities}) AND (identity, callid, contact, reg_id) IN"
    values: list[str | int] = [key[0] for key in keys]
    values += chain.from_iterable(keys)
    database.execute(f"{_DELETE}{where} ({_list(_ONE_KEY, keys)})", values)


_T = TypeVar("_T")


def _portions(items: list[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def _list(one: str, items: Sequence[object]) -> str:
    return "VALUES " + ", ".join([one] * len(items))
