"""
Chance, for a node that needs it with every message.

The pure packages are given it as an argument; nothing else in a node asks the
system for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

CHANCE = secrets.SystemRandom()

_BYTES = 12
_AT_ONCE = 256


def _tokens() -> Iterator[str]:
    # To ask for chance lets go of the interpreter, which another thread may
    # then keep for a switch interval: it is done once for many.
    length = 2 * _BYTES
    while True:
        chance = secrets.token_hex(_BYTES * _AT_ONCE)
        for start in range(0, len(chance), length):
            yield chance[start : start + length]


_next_token = _tokens().__next__


def mint() -> str:
    """
    A token that nobody can guess; in the reactor's thread only.

    @return: 96 bits, as hexadecimal digits.
    """
    return _next_token()
