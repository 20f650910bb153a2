"""
All dialects, in the order in which a peer is tried.

A peer of another age answers that it has no such method, and is then called
in the next one (design 5.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sipxha.sync import rpc
from sipxha.sync.batch import BATCH
from sipxha.sync.dialect import Dialect
from sipxha.sync.structs import MEMO, SIPX
from sipxha.sync.wire import Fault

DIALECTS: tuple[Dialect, ...] = (BATCH, MEMO, SIPX)

Spoken: TypeAlias = Sequence[Dialect]


def spoken_in(dialects: Spoken, method: str) -> Dialect:
    """
    The dialect that a method belongs to.

    @raise Fault: -3, it belongs to none of them.
    """
    for dialect in dialects:
        if method in dialect.methods:
            return dialect
    raise Fault(rpc.UNKNOWN_METHOD, "Method has not been registered")
