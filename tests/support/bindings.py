"""
Rows of the registry with good defaults.
"""

from __future__ import annotations

from typing import Any

from sipxha.registry.binding import Binding

_ROW = Binding(
    uri="<sip:201@example.com>",
    identity="201@example.com",
    contact="<sip:201@10.1.1.7:5060>",
    qvalue="",
    callid="f00d@10.1.1.7",
    cseq=17,
    expires=1_900_000_000,
    instance_id="",
    reg_id=0,
    gruu="",
    path="",
    received="udp:10.1.1.7:5060",
    primary="sipx1.example.com",
    update_number=1,
)


def a_row(**columns: Any) -> Binding:
    """
    A row that differs from the usual one in C{columns}.
    """
    return _ROW._replace(**columns)
