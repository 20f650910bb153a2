"""
What may be a row.

One validator serves REGISTER and the wire, so that no row is ever stored that
XML-RPC could not carry to a peer, or that a peer would refuse: one such row
would block replication for good.  It judges form only; whether a row is
wanted is decided elsewhere.
"""

from __future__ import annotations

import re
from operator import gt
from typing import Final

from sipxha.errors import RemoteError
from sipxha.registry.binding import Binding

LIMITS: Final = {
    "uri": 1024,
    "identity": 512,
    "contact": 2048,
    "qvalue": 16,
    "callid": 256,
    "instance_id": 256,
    "gruu": 512,
    "path": 4096,
    "received": 128,
    "primary": 255,
}
"""
The most characters that each text column may hold, in the order of L{Binding}.
"""

INT32: Final = (1 << 31) - 1
"""
The greatest CSeq (RFC 3261 section 8.1.1.5) and reg-id (RFC 5626 section 4.2).
"""

INT64: Final = (1 << 63) - 1
LATEST: Final = 1 << 40
"""
The greatest C{expires}, some 30,000 years away.
"""

# Outside XML 1.0 section 2.2, or (TAB, CR, LF) not left alone by it or by us.
_UNFIT = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")

_LIMITS = tuple(LIMITS.values())


class RowRefused(RemoteError):
    """
    A binding cannot be a row of the registry: it is too large, or holds what
    XML cannot carry.

    @ivar column: The column at fault.
    """

    def __init__(self, column: str, finding: str) -> None:
        super().__init__(f"{column} {finding}")
        self.column = column


def validate(row: Binding) -> None:
    """
    Let pass what every node can store and every dialect can carry.

    @raise RowRefused: The row is none.
    """
    texts = (
        row.uri,
        row.identity,
        row.contact,
        row.qvalue,
        row.callid,
        row.instance_id,
        row.gruu,
        row.path,
        row.received,
        row.primary,
    )
    if any(map(gt, map(len, texts), _LIMITS)):
        _refuse_text(texts)
    joined = "".join(texts)
    # The first two are much faster, and true of nearly every row.
    if not (joined.isascii() and joined.isprintable()) and _UNFIT.search(joined):
        _refuse_text(texts)
    if not (row.identity and row.contact and row.callid and row.primary):
        _refuse_empty(row)
    if not 0 <= row.cseq <= INT32:
        raise RowRefused("cseq", "is out of range")
    if not 0 <= row.expires <= LATEST:
        raise RowRefused("expires", "is out of range")
    if row.reg_id and not (0 < row.reg_id <= INT32 and row.instance_id):
        raise RowRefused("reg_id", "is out of range or lacks an instance")
    if not 0 <= row.update_number <= INT64:
        raise RowRefused("update_number", "is out of range")


def _refuse_text(texts: tuple[str, ...]) -> None:
    for text, (column, limit) in zip(texts, LIMITS.items(), strict=True):
        if len(text) > limit:
            raise RowRefused(column, f"is longer than {limit} characters")
        if _UNFIT.search(text):
            raise RowRefused(column, "holds a character that cannot be replicated")


def _refuse_empty(row: Binding) -> None:
    for column in ("identity", "contact", "callid", "primary"):
        if not getattr(row, column):
            raise RowRefused(column, "is empty")
