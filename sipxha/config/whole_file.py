"""
Writes files that others read at any moment, keys and passwords among them.

A file is put in place at once, so that nobody ever reads a half of it, nor a
key before its mode is set.  Whose it is stays as it was: an operator who works
as root takes no file away from the node.  What stands in a file is no matter
here, nor who else may change it meanwhile.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, content: bytes, mode: int, *, keeps_mode: bool = True) -> None:
    """
    Write a file, and its folders if there are none.

    @param mode: Of a new file.
    @param keeps_mode: Whether one that is replaced keeps its own.

    @raise OSError: As L{whole_file}.
    """
    _make_folder(path.parent)
    with whole_file(path, mode, keeps_mode=keeps_mode) as stream:
        stream.write(content)


@contextmanager
def whole_file(path: Path, mode: int, *, keeps_mode: bool = True) -> Iterator[BinaryIO]:
    """
    Open a file that is in its place when all is written, and not at all
    otherwise.

    A file that is replaced keeps its owner and its group; a new one gets those
    of its folder if root writes it.

    @param mode: Of a new file.
    @param keeps_mode: Whether one that is replaced keeps its own.

    @raise OSError: It cannot be written, or belongs to somebody else to whom
        only root could give the new one.
    """
    folder = path.parent.stat()
    try:
        before: os.stat_result | None = path.stat()
    except FileNotFoundError:
        before = None
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            owner = owner_to_be(before, folder, os.geteuid())
            if owner is not None:
                give(descriptor, owner, path)
            if before is not None and keeps_mode:
                mode = before.st_mode & 0o777
            os.fchmod(descriptor, mode)
            yield stream
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def owner_to_be(before: os.stat_result | None, folder: os.stat_result, writer: int) -> tuple[int, int] | None:
    """
    Decide whose a file becomes.

    @param before: The file that is replaced, if any.
    @param writer: The user that writes; only root, 0, can give a file away.

    @return: User and group, or L{None}: the writer's, as any new file is.
    """
    if before is not None:
        return before.st_uid, before.st_gid
    return (folder.st_uid, folder.st_gid) if writer == 0 else None


def give(descriptor: int, owner: tuple[int, int], path: Path) -> None:
    """
    Make an open file somebody else's.

    @param path: What it is to be, for the error.

    @raise PermissionError: Only root can.
    """
    try:
        os.fchown(descriptor, *owner)
    except PermissionError as error:
        reason = "it belongs to somebody else, for whom only root can replace it"
        raise PermissionError(error.errno, reason, str(path)) from error


def _make_folder(folder: Path) -> None:
    """
    Make a folder which belongs to whom the one above it does.
    """
    if folder.exists():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    owner = owner_to_be(None, folder.parent.stat(), os.geteuid())
    if owner is not None:
        os.chown(folder, *owner)
