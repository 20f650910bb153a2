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
from pathlib import Path


def write_whole(path: Path, content: bytes, mode: int, *, keeps_mode: bool = True) -> None:
    """
    Write a file, and its folders if there are none.

    A file that is replaced keeps its owner and its group; a new one gets those
    of its folder if root writes it.

    @param mode: Of a new file.
    @param keeps_mode: Whether one that is replaced keeps its own.

    @raise OSError: It cannot be written, or belongs to somebody else to whom
        only root could give the new one.
    """
    _make_folder(path.parent)
    folder = path.parent.stat()
    try:
        before: os.stat_result | None = path.stat()
    except FileNotFoundError:
        before = None
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if before is not None:
                _give(descriptor, before, path)
                if keeps_mode:
                    mode = before.st_mode & 0o777
            elif os.geteuid() == 0:
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            os.fchmod(descriptor, mode)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _give(descriptor: int, before: os.stat_result, path: Path) -> None:
    try:
        os.fchown(descriptor, before.st_uid, before.st_gid)
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
    if os.geteuid() == 0:
        above = folder.parent.stat()
        os.chown(folder, above.st_uid, above.st_gid)
