"""
A disk that takes nothing.

It is the limit on the size of files that a process may write
(C{RLIMIT_FSIZE}), set to nothing: the kernel then refuses every write to a
file, as a full disk does, whoever asks; pipes and sockets go on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from resource import RLIMIT_FSIZE, prlimit


@contextmanager
def mute_disk(pid: int = 0) -> Iterator[Callable[[], None]]:
    """
    Let a process, or this one, write to no file.

    @return: ends it before the block does.
    """
    pid = pid or os.getpid()
    limits = prlimit(pid, RLIMIT_FSIZE)

    def speak() -> None:
        prlimit(pid, RLIMIT_FSIZE, limits)

    prlimit(pid, RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield speak
    finally:
        try:
            speak()
        except ProcessLookupError:
            # It ended meanwhile.
            pass
