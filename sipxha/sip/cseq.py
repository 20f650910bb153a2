"""
The CSeq header field: the order of requests within a dialog.

Compares nothing.  RFC 3261 section 20.16.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sipxha.sip.grammar import TOKEN, MalformedField

MAX_NUMBER = 2**31 - 1
"""The greatest sequence number (8.1.1.5)."""

_CSEQ = re.compile(rf"([0-9]++)[ \t]++({TOKEN}++)")


class CSeq(NamedTuple):
    """
    A sequence number and the method that it counts.
    """

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """
        Read a CSeq value.

        @raise MalformedField: If this is not one, or its number is too great.
        """
        match = _CSEQ.fullmatch(text)
        if match is None:
            raise MalformedField("cseq", text)
        digits, method = match.groups()
        # int() of thousands of digits is slow, hence the look at the length.
        if len(digits) > 9 and (len(digits.lstrip("0")) > 10 or int(digits) > MAX_NUMBER):
            raise MalformedField("cseq", text)
        return cls(int(digits), method)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"
