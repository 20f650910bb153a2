"""
Whether SQLite's write-ahead log is whole.

After a power cut its last transaction may be torn; SQLite leaves that out, and
nobody was told that it was done.  But it also leaves out, and says nothing of,
all that follows a frame which a disk gave back otherwise than it was written.
This tells the one from the other, and only reads.  Damage inside the very last
transaction looks like a tear and is taken for one.

The format is SQLite's ("WAL-Mode File Format").
"""

from __future__ import annotations

from pathlib import Path
from struct import Struct, unpack
from typing import BinaryIO, Final

_HEADER: Final = Struct(">8I")
_FRAME: Final = Struct(">6I")
_BIG_ENDIAN: Final = 0x377F0683
_LITTLE_ENDIAN: Final = 0x377F0682


def damage(path: Path) -> int | None:
    """
    Look for a frame that was on the disk once and cannot be read any more.

    @param path: The log; it need not exist.

    @return: Where the damage begins, or C{None}.
    @raise OSError: The file cannot be read.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return None
    with stream:
        head = stream.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return None
        first = stream.tell()
        magic, _, page, _, *salt, one, two = _HEADER.unpack(head)
        order = ">" if magic == _BIG_ENDIAN else "<"
        if magic not in (_BIG_ENDIAN, _LITTLE_ENDIAN) or _sum(head[:24], order, (0, 0)) != (one, two):
            # It is on the disk before the first frame is begun.
            return 0 if stream.read(1) else None
        whole = _whole(stream, page, tuple(salt), order, (one, two))
        end = first + whole * (_FRAME.size + page)
        stream.seek(end)
        return end if _goes_on(stream, page, tuple(salt)) else None


def _whole(stream: BinaryIO, page: int, salt: tuple[int, ...], order: str, running: tuple[int, int]) -> int:
    """
    How many frames there are up to the first that is not right.
    """
    count = 0
    while len(frame := stream.read(_FRAME.size + page)) == _FRAME.size + page:
        number, _, *theirs, one, two = _FRAME.unpack_from(frame)
        running = _sum(frame[:8] + frame[_FRAME.size :], order, running)
        if not number or tuple(theirs) != salt or running != (one, two):
            break
        count += 1
    return count


def _goes_on(stream: BinaryIO, page: int, salt: tuple[int, ...]) -> bool:
    """
    Whether a transaction was begun after one that ended here: the end of that
    one was on the disk by then.
    """
    has_ended = False
    while len(frame := stream.read(_FRAME.size + page)) == _FRAME.size + page:
        number, size, *theirs, _, _ = _FRAME.unpack_from(frame)
        if number and tuple(theirs) == salt:
            if has_ended:
                return True
            has_ended = size != 0
    return False


def _sum(content: bytes, order: str, running: tuple[int, int]) -> tuple[int, int]:
    """
    SQLite's checksum, carried on.
    """
    one, two = running
    words = iter(unpack(f"{order}{len(content) // 4}I", content))
    for word in words:
        one = (one + word + two) & 0xFFFFFFFF
        two = (two + next(words) + one) & 0xFFFFFFFF
    return one, two
