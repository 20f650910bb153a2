"""
The file of the registry: what it must be before anything is written to it,
its schema, and how rows get into it.

A file that is damaged, of something else, or of a newer version is refused and
left as it is.  Everything here blocks; whose thread that is, and what becomes
of rows that the disk refused, is L{sipxha.store.registrations}'s.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from sipxha.errors import LocalError
from sipxha.registry.binding import Binding, Key
from sipxha.registry.validate import RowRefused, validate
from sipxha.store.wal import damage

# The columns have the types and the order of Binding; "primary" is a word of SQL.
_REGISTRATIONS = """
CREATE TABLE registrations (
    uri TEXT NOT NULL, identity TEXT NOT NULL, contact TEXT NOT NULL, qvalue TEXT NOT NULL,
    callid TEXT NOT NULL, cseq INTEGER NOT NULL, expires INTEGER NOT NULL,
    instance_id TEXT NOT NULL, reg_id INTEGER NOT NULL, gruu TEXT NOT NULL, path TEXT NOT NULL,
    received TEXT NOT NULL, "primary" TEXT NOT NULL, update_number INTEGER NOT NULL, deadline REAL NOT NULL,
    PRIMARY KEY (identity, callid, contact, reg_id)
) WITHOUT ROWID
"""

STEPS: Sequence[Sequence[str]] = ((_REGISTRATIONS,),)
"""
What makes each version of the schema out of the one before, as statements.
The version is C{user_version}; a step that was released is never changed.
"""

_COLUMNS = ", ".join(f'"{name}"' for name in Binding._fields)
_ONE_ROW = f"({', '.join('?' * len(Binding._fields))})"
_ONE_KEY = "(?, ?, ?, ?)"
_SELECT = f"SELECT {_COLUMNS} FROM registrations"  # noqa: S608
_REPLACE = f"INSERT OR REPLACE INTO registrations ({_COLUMNS}) "
_DELETE = "DELETE FROM registrations WHERE "

_AT_ONCE = 500
"""Rows in one statement: each one hands the interpreter lock to and fro only once."""

_DAMAGES = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_REFUSALS = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR))
"""What a disk that is full, or fails to write, is to SQLite."""


class StoreUnusable(LocalError):
    """
    The file of the registry cannot be used, and was left as it is.

    @ivar path: The file.
    """

    def __init__(self, path: Path, cause: object) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = path

    @classmethod
    def damaged(cls, path: Path, finding: object) -> Self:
        """
        It is not what was written.
        """
        remedy = f"move it and {path.name}-wal away and start again: the other nodes have its rows"
        return cls(path, f"is damaged ({finding}); {remedy}")

    @classmethod
    def by(cls, path: Path, error: sqlite3.Error) -> Self:
        """
        What SQLite found.
        """
        kind = _kind(error)
        if kind in _DAMAGES:
            return cls.damaged(path, error)
        return cls(path, f"{error}: another process has it open" if kind == sqlite3.SQLITE_BUSY else error)


class Opened(NamedTuple):
    """
    A file that can be used.
    """

    database: sqlite3.Connection
    rows: list[Binding]
    refusal: sqlite3.Error | None
    """Why the disk takes nothing at the moment; the rows could be read."""


def open_file(path: Path, steps: Sequence[Sequence[str]] = STEPS) -> Opened:
    """
    Open the file, or make it, and read all rows.

    @param steps: The schema, as L{STEPS}.

    @raise StoreUnusable: It is no registry of this version, is damaged, may
        not be written, or is in use by another process.
    """
    _prepare(path)
    try:
        database = sqlite3.connect(
            path, timeout=1.0, isolation_level=None, check_same_thread=False, cached_statements=32
        )
    except sqlite3.Error as error:
        raise StoreUnusable.by(path, error) from error
    try:
        version = _check(path, database, len(steps))
        # A row that cannot be one is found before anything is written.
        rows = _read(path, database) if version == len(steps) else None
        refusal = _upgrade(database, version, steps)
        return Opened(database, _read(path, database) if rows is None else rows, refusal)
    except sqlite3.Error as error:
        database.close()
        raise StoreUnusable.by(path, error) from error
    except StoreUnusable:
        database.close()
        raise


def _prepare(path: Path) -> None:
    """
    Look at what SQLite would pass over in silence, and make the file.
    """
    log = Path(f"{path}-wal")
    try:
        size = log.stat().st_size if log.exists() else 0
        if size and not (path.exists() and path.stat().st_size):
            # SQLite would delete it.
            raise StoreUnusable(path, f"is gone, but {log.name} is not: put it back, or move that away")
        damaged_at = damage(log)
        if damaged_at is not None:
            raise StoreUnusable.damaged(path, f"{log.name} at byte {damaged_at}")
        # SQLite asks only the umask, and gives its other files the mode of this one.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            finding = "may not be written: look at its owner, its mode, and how its disk is mounted"
            raise StoreUnusable(path, finding) from None
    except OSError as error:
        raise StoreUnusable(path, error.strerror) from error


def _check(path: Path, database: sqlite3.Connection, newest: int) -> int:
    """
    Find out whether the file is ours and whole; it is not written to.

    @return: Its version; 0 for a new one.
    """
    # One process at a time; this also spares the shared memory of WAL, a file of its own.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    version = _version(database)
    if version > newest:
        raise StoreUnusable(
            path, f"was written by a newer sipxha (version {version}, where this one knows {newest})"
        )
    if version == 0 and database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreUnusable(path, "is a database, but not of registrations")
    finding = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if finding != "ok":
        raise StoreUnusable.damaged(path, finding)
    return version


def _upgrade(
    database: sqlite3.Connection, version: int, steps: Sequence[Sequence[str]]
) -> sqlite3.Error | None:
    """
    Bring the schema to the newest version: all missing steps, or none.

    @return: Why the disk takes nothing, where the schema needs nothing.
    """
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    try:
        database.execute("BEGIN IMMEDIATE")
        for step in steps[version:]:
            for statement in step:
                database.execute(statement)
        # Written also when it is right: a disk that refuses is found now.
        _touch(database, len(steps))
        database.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(database)
        if version == len(steps) and _kind(error) in _REFUSALS:
            return error
        raise
    return None


def _read(path: Path, database: sqlite3.Connection) -> list[Binding]:
    """
    All rows; each has to be one.
    """
    rows = [Binding._make(row) for row in database.execute(_SELECT)]
    for row in rows:
        try:
            validate(row)
            row.deadline + 0.0
        except (RowRefused, TypeError) as error:
            raise StoreUnusable.damaged(path, f"a row of {row.identity!r}: {error}") from error
    return rows


def write(database: sqlite3.Connection, changes: Mapping[Key, Binding | None]) -> Exception | None:
    """
    Write all of this in one transaction; without changes, see whether the
    disk takes anything.

    @param changes: The row of each key; L{None} where it is to go.

    @return: Why it did not; then nothing was written.
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
        if not changes:
            _touch(database, _version(database))
        if not is_simple:
            database.execute("COMMIT")
    except (sqlite3.Error, ValueError, OverflowError) as error:
        _roll_back(database)
        return error
    return None


def checkpoint(database: sqlite3.Connection) -> None:
    """
    Copy the log into the file.  What does not fit stays in the log.
    """
    with suppress(sqlite3.Error):
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _kind(error: sqlite3.Error) -> int:
    """
    SQLite's primary result code.
    """
    # An error of the module itself has none.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _touch(database: sqlite3.Connection, version: int) -> None:
    database.execute(f"PRAGMA user_version = {version}")


def _roll_back(database: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        if database.in_transaction:
            database.execute("ROLLBACK")


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
