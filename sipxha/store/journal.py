"""
Records on disk, between the moment they arise and the moment a database has
them.

A L{Journal} is a folder of segments to which records are only ever appended,
one C{write} each.  A reader takes them in order and remembers its L{Position}
elsewhere, in the transaction that made use of them.  The journal knows neither
what a record means nor a reactor: it is written to on the calling thread, and
what makes it durable, L{Journal.unsynced}, is handed out to be run on another.
"""

from __future__ import annotations

import os
import struct
import time
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from twisted.logger import Logger

from sipxha.errors import LocalError

SEGMENT_SIZE = 4 * 1024 * 1024
LIMIT = 256 * 1024 * 1024
"""Bytes of all segments together: about 400,000 events of calls."""

LONGEST_RECORD = 1024 * 1024

READ_SIZE = 256 * 1024
"""Bytes that are read at once: some hundred events."""

_FRAME = struct.Struct(">II")
"""Before each record: its length and its CRC-32."""

_SUFFIX = ".journal"
_IDENTITY = "identity"


class JournalFull(LocalError):
    """
    A record cannot be kept: the journal has reached its limit, or the disk
    is full or broken.
    """


class JournalUnusable(LocalError):
    """
    The folder of the journal cannot be used.
    """


class Position(NamedTuple):
    """
    A place between two records.  Later places compare greater.
    """

    segment: int
    offset: int


START = Position(0, 0)


class Journal:
    """
    One folder of records, written and read by one process.

    Segments are numbered by the milliseconds of their making, and every
    opening begins a new one.  So a position that a database committed lies
    before all that is written later, even when a power cut took the end of a
    segment, or all of it, after the database had been told of its records.

    @ivar identity: Tells this journal from all others, for as long as its
        folder lives.
    @ivar size: Bytes of all segments together.
    @ivar damaged: How often reading met bytes that are no record.
    """

    _log = Logger()

    def __init__(self, folder: Path, limit: int = LIMIT, segment_size: int = SEGMENT_SIZE) -> None:
        """
        Open a folder, and make it if there is none.

        @raise JournalUnusable: It cannot be read or written.
        """
        self._folder = folder
        self._limit = limit
        # So small that forgetting what was read makes room well before the limit.
        self._segment_size = min(segment_size, limit // 4)
        self._file = -1
        self._to_sync: list[int] = []
        self._dirty = False
        self.damaged = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.identity = self._read_identity()
            self._sizes = self._found_segments()
            self._open_segment()
        except OSError as error:
            raise JournalUnusable(f"the journal in {folder} cannot be used: {error.strerror}") from error

    @property
    def size(self) -> int:
        """
        Bytes of all segments together.
        """
        return self._total

    @property
    def end(self) -> Position:
        """
        The place after the last record.
        """
        return Position(self._segment, self._sizes[self._segment])

    def append(self, record: bytes) -> None:
        """
        Keep a record: when this returns the operating system has it, so that
        it outlives this process.

        @raise JournalFull: It has not been kept, and nothing of it is left.
        """
        if len(record) > LONGEST_RECORD:
            raise JournalFull(f"a record of {len(record)} bytes is too long")
        frame = _FRAME.pack(len(record), zlib.crc32(record)) + record
        size = self._sizes[self._segment]
        try:
            if size and size + len(frame) > self._segment_size:
                self._open_segment()
                size = 0
            if self._total + len(frame) > self._limit:
                raise JournalFull(f"the journal holds its {self._limit} bytes")
            written = os.write(self._file, frame)
            if written != len(frame):
                os.ftruncate(self._file, size)
                raise JournalFull("the disk is full")
        except OSError as error:
            raise JournalFull(f"the journal cannot be written: {error.strerror}") from error
        self._sizes[self._segment] = size + written
        self._total += written
        self._dirty = True

    def read_from(self, position: Position, limit: int) -> tuple[list[bytes], Position]:
        """
        Read at most C{limit} records, of one segment, that lie after a place.

        @return: They, and the place after the last of them.  No records means
            that there are none yet.
        """
        for segment in sorted(self._sizes):
            if segment < position.segment:
                continue
            offset = position.offset if segment == position.segment else 0
            records, offset = self._read_segment(segment, offset, limit)
            if records:
                return records, Position(segment, offset)
        return [], position

    def count_from(self, position: Position) -> int:
        """
        Count the records that lie after a place, by their lengths alone.
        """
        count = 0
        for segment in sorted(self._sizes):
            if segment < position.segment:
                continue
            at, size = (position.offset if segment == position.segment else 0), self._sizes[segment]
            if at >= size:
                continue
            whole = self._path(segment).read_bytes()
            while at + _FRAME.size <= min(size, len(whole)):
                at += _FRAME.size + _FRAME.unpack_from(whole, at)[0]
                count += 1
        return count

    def forget(self, position: Position) -> None:
        """
        Remove the segments that lie wholly before a place.
        """
        for segment in [number for number in self._sizes if number < position.segment]:
            if segment != self._segment:
                self._path(segment).unlink(missing_ok=True)
                self._total -= self._sizes.pop(segment)

    def unsynced(self) -> Callable[[], None] | None:
        """
        Hand out what makes all that was appended so far survive a power cut.

        @return: To be called on any thread, once; C{None} when there is
            nothing to do.
        """
        if not self._dirty and not self._to_sync:
            return None
        files, self._to_sync = self._to_sync, []
        if self._dirty:
            # Its own descriptor, because ours may be closed meanwhile.
            files.append(os.dup(self._file))
            self._dirty = False

        def sync() -> None:
            for file in files:
                try:
                    os.fsync(file)
                finally:
                    os.close(file)

        return sync

    def close(self) -> None:
        """
        Make everything durable and end.
        """
        sync = self.unsynced()
        if sync is not None:
            sync()
        os.close(self._file)

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:020d}{_SUFFIX}"

    def _read_identity(self) -> str:
        path = self._folder / _IDENTITY
        try:
            identity = path.read_text().strip()
        except FileNotFoundError:
            identity = ""
        if not identity:
            identity = str(uuid.uuid4())
            unfinished = path.with_suffix(".new")
            with open(unfinished, "w", opener=_open_private) as file:
                file.write(identity + "\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            self._sync_folder()
        return identity

    def _found_segments(self) -> dict[int, int]:
        sizes = {}
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path.stem.isdigit():
                sizes[int(path.stem)] = path.stat().st_size
        # Even one that goes below: its number is not used again.
        self._last = max(sizes, default=0)
        if sizes:
            last = self._last
            sizes[last] = self._cut(last, sizes[last])
            if not sizes[last]:
                self._path(last).unlink()
                del sizes[last]
        self._total = sum(sizes.values())
        return sizes

    def _cut(self, segment: int, size: int) -> int:
        """
        Remove a record that was being written when the power went.
        """
        offset = 0
        with self._path(segment).open("r+b") as file:
            whole = file.read()
            while (end := _record_end(whole, offset)) is not None:
                offset = end
            if offset < size:
                file.truncate(offset)
                self._log.warn(
                    "the journal's last {bytes} bytes are no record and were cut", bytes=size - offset
                )
        return offset

    def _open_segment(self) -> None:
        self._last = max(self._last + 1, int(time.time() * 1000))
        file = _open_private(self._path(self._last), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        self._sync_folder()
        if self._dirty:
            self._to_sync.append(self._file)
            self._dirty = False
        elif self._file >= 0:
            os.close(self._file)
        self._file = file
        self._segment = self._last
        self._sizes[self._segment] = 0

    def _sync_folder(self) -> None:
        # Once in a segment: without it a power cut could take the whole file.
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read_segment(self, segment: int, offset: int, limit: int) -> tuple[list[bytes], int]:
        size = self._sizes[segment]
        if offset >= size:
            return [], offset
        with self._path(segment).open("rb", buffering=0) as file:
            file.seek(offset)
            chunk = file.read(min(size - offset, READ_SIZE))
            if _record_end(chunk, 0) is None:
                chunk += file.read(min(size - offset - len(chunk), LONGEST_RECORD))
        records: list[bytes] = []
        at = 0
        while len(records) < limit and (end := _record_end(chunk, at)) is not None:
            records.append(chunk[at + _FRAME.size : end])
            at = end
        if not records:
            self._give_up(segment, offset)
        return records, offset + at

    def _give_up(self, segment: int, offset: int) -> None:
        # Nothing can be found behind bytes of unknown length.
        if segment == self._segment:
            self._open_segment()
        lost = self._sizes[segment] - offset
        self._sizes[segment] = offset
        self._total -= lost
        self.damaged += 1
        self._log.error(
            "the journal's segment {segment} is damaged at byte {offset}: {lost} bytes are lost",
            segment=segment,
            offset=offset,
            lost=lost,
        )


def _open_private(path: str | Path, flags: int) -> int:
    """
    Open a file that only its owner may read: events tell who called whom.
    """
    return os.open(path, flags, 0o600)


def _record_end(chunk: bytes, offset: int) -> int | None:
    """
    Find where the record at an offset ends; C{None} if no whole one is there.
    """
    start = offset + _FRAME.size
    if start > len(chunk):
        return None
    length, checksum = _FRAME.unpack_from(chunk, offset)
    end = start + length
    if length > LONGEST_RECORD or end > len(chunk) or zlib.crc32(chunk[start:end]) != checksum:
        return None
    return int(end)
