"""
Seals: by which our servers know again what one of them wrote.

HMAC with SHA-256 (RFC 2104) over a secret that they share.  What is sealed,
how much of the seal is written down and how, is for those who do it.
"""

from __future__ import annotations

import hmac
from functools import lru_cache


def seal(secret: bytes, message: bytes) -> bytes:
    """
    @return: the 32 bytes that nobody without C{secret} can tell for C{message}.
    """
    unsealed = _prepared(secret).copy()
    unsealed.update(message)
    return unsealed.digest()


@lru_cache(maxsize=64)
def _prepared(secret: bytes) -> hmac.HMAC:
    # To be copied: that takes less than to begin anew, and hmac.digest lets go
    # of the interpreter, which a thread that writes to the disk then keeps for
    # a hundred times as long.
    return hmac.new(secret, digestmod="sha256")
