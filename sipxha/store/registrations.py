"""
The registry on disk: SQLite, for this node alone.

A commit is durable when its Deferred fires.  Commits that come while another
is being written, or soon after it, go to disk together with the next one, in
a thread of its own; the reactor never waits for the disk.  Rows that could not be written
stay here and are tried again, until the disk takes them.

This decides nothing about rows.  What the file is, and whether it can be
used, is L{sipxha.store.registry_file}'s.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Condition, Thread
from time import monotonic, sleep
from typing import NamedTuple

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from sipxha.errors import LocalError
from sipxha.registry.binding import Binding, Key
from sipxha.store.registry_file import checkpoint, open_file, write

_CHECKPOINT = 1000
"""Rows after which the log is copied into the file, when nobody waits for it any more."""

_INTERVAL = 0.004
"""
Seconds from one batch to the next.  A REGISTER that comes alone is written at
once.  Where hundreds come in a second, each batch costs both threads several
turns at the interpreter, whatever its size.
"""


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

        A disk that can be read but takes nothing is no reason to refuse: the
        store is L{degraded} until it does.

        @raise StoreUnusable: The file is no registry of this version, is
            damaged, may not be written, or is in use by another process.
        """
        database, rows, refusal = open_file(self.path)
        if refusal is not None:
            self._refused(refusal)
        self._thread = Thread(target=self._write_all, args=(database,), name="registrations", daemon=True)
        self._thread.start()
        return rows

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
            self._refused(error)
        for waiter in waiters:
            waiter.errback(NotYetWritten(f"{self.path}: {error}"))

    def _refused(self, error: Exception) -> None:
        """
        The disk takes nothing from now on.
        """
        self.degraded = True
        self._log.error(
            "{path} cannot be written, so REGISTER is answered 503: {error}",
            path=str(self.path),
            error=str(error),
        )

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
        is_refused = self.degraded
        is_closing = False
        written = 0
        begun = 0.0
        while not is_closing:
            with self._gate:
                # A disk that refused is tried again, whether anything is asked for or not.
                self._gate.wait_for(self._is_wanted, timeout=self._retry if is_refused else None)
            early = begun + _INTERVAL - monotonic()
            if early > 0.0:
                sleep(early)
            begun = monotonic()
            with self._gate:
                batch, self._queue = self._queue, _Waiting({}, [])
                is_closing = self._is_closing
            kept.update(batch.changes)
            error = write(database, kept) if kept or is_refused else None
            is_refused = error is not None
            if not is_refused:
                written += len(kept)
                kept.clear()
            self._reactor.callFromThread(self._written, batch.waiters, error)
            if written >= _CHECKPOINT:
                written = 0
                checkpoint(database)
        database.close()
        self._reactor.callFromThread(self._ended, len(kept))

    def _is_wanted(self) -> bool:
        return bool(self._queue.waiters) or self._is_closing
