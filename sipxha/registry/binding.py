"""
One row of the registry.

The columns are those of the design's section 4, in the order in which they
travel between nodes.  Nothing here decides anything: the merge is in
C{registry.merge}, the rules of REGISTER in C{registry.register}.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Key: TypeAlias = tuple[str, str, str, int]
"""
(identity, Call-ID, contact, reg-id): two rows with one key are merged.
"""

MARKER = "*"
"""
The contact of the row that a C{Contact: *} leaves behind.
"""


class Binding(NamedTuple):
    """
    A contact under an address-of-record, live or ended.
    """

    uri: str
    """The To name-addr of the REGISTER, as text."""

    identity: str
    """C{user@host} of the AOR: host lower-case, user as it came."""

    contact: str
    """The canonical text of the contact; C{*} for a marker row."""

    qvalue: str
    """The q parameter as text, or empty."""

    callid: str

    cseq: int

    expires: int
    """UTC seconds by the clock of the primary that minted it; never rewritten."""

    instance_id: str
    """C{+sip.instance}, or empty."""

    reg_id: int
    """RFC 5626 reg-id, or 0."""

    gruu: str

    path: str
    """The Path URIs, joined by a comma."""

    received: str
    """C{transport:address:port} that the REGISTER came from."""

    primary: str
    """The node that received the REGISTER."""

    update_number: int

    deadline: float = 0.0
    """Local only: until when, by this node's clock, the row is held live."""

    @property
    def key(self) -> Key:
        """
        What the row is merged by.
        """
        return (self.identity, self.callid, self.contact, self.reg_id)

    @property
    def slot(self) -> tuple[str, str] | tuple[str, str, int]:
        """
        What at most one current row may occupy: an outbound flow of an
        instance (RFC 5626 section 6), else a contact of the AOR.
        """
        if self.reg_id:
            return (self.identity, self.instance_id, self.reg_id)
        return (self.identity, self.contact)


def flow_token(path: str) -> str:
    """
    What a Path tells of the flow to the phone: the user part of its last URI,
    which belongs to the proxy next to the phone; empty when there is none.
    """
    start = path.rfind("<")
    end = path.find("@", start)
    if start < 0 or end < 0 or path.find(">", start, end) >= 0:
        return ""
    return path[path.find(":", start) + 1 : end]
