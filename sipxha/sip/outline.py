"""
What every element needs of every message, read in one go.

Which transaction a message belongs to and whether it can be handled at all
takes parts of seven fields, and most senders write all seven alike.  Those are
read here by one pattern; the others, and whatever a message is asked for
beyond this, are read field by field in L{sipxha.sip.message}, which alone
decides what is well-formed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sipxha.sip.grammar import TOKEN
from sipxha.sip.via import DEFAULT_PORTS

USUAL_IDENTIFIER = 128
"""The most characters of a usual Call-ID, tag or branch."""

USUAL_PARAMS = 4
"""The most parameters of a usual URI."""

# Each of these is narrower than the grammar, which has its own patterns: what
# passes here must pass there too, never the other way round.
_HOST = r"[0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*"
_PORT = r"(?:[1-5][0-9]{4}|6[0-4][0-9]{3}|[1-9][0-9]{0,3})"
_URI = (
    rf"sips?:(?:[0-9A-Za-z_.+*-]++@)?{_HOST}(?::{_PORT})?"
    rf"(?:;[A-Za-z-]++(?:=[0-9A-Za-z.-]++)?){{0,{USUAL_PARAMS}}}+"
)
_IDENTIFIER = rf"{TOKEN}{{1,{USUAL_IDENTIFIER - 7}}}+"
_ADDRESS = rf'(?:"[^"\\\n]*+" ?|[0-9A-Za-z ]*+)<{_URI}>(?:;tag=({_IDENTIFIER}))?'
_NOTES = rf"(?:;(?:rport(?:={_PORT})?|received=[0-9.]++|alias))*"
_VIA = (
    rf"SIP/2\.0/(UDP|TCP|TLS) ({_HOST})(?::({_PORT}))?{_NOTES}"
    rf";branch=(z9hG4bK{_IDENTIFIER}){_NOTES}(?:[ \t]*+,[^\n]*+)?"
)
_NAME = r"\n[^:\n]*+:[ \t]*+"

# The Request-URI, Via, From, To, Call-ID, CSeq and Max-Forwards, each on a
# line: a call of a pattern costs more than what it has to look at.  No piece
# matches a line end, so that a folded field is never usual.
_USUAL = re.compile(
    rf"(?:{_URI})?{_NAME}{_VIA}{_NAME}{_ADDRESS}{_NAME}{_ADDRESS}"
    rf"{_NAME}([!-~]{{1,{USUAL_IDENTIFIER}}}+){_NAME}([0-9]{{1,9}}+) ([A-Z]++)(?:{_NAME}([0-9]{{1,2}}+))?"
).fullmatch

_new = tuple.__new__


class Outline(NamedTuple):
    """
    The parts that tell messages apart.
    """

    host: str
    """Of the top Via's sent-by, in lower case."""

    sent_by: str
    """As L{Via.sent_by<sipxha.sip.via.Via.sent_by>}."""

    branch: str
    """The top Via's; empty if it has none."""

    from_tag: str | None
    to_tag: str | None
    number: int
    """Of the CSeq."""

    method: str
    """Of the CSeq."""


def usual_outline(uri: str, keys: list[str], lines: list[str]) -> tuple[Outline, str, int | None] | None:
    """
    Read a message that looks like most.

    @param uri: The Request-URI; empty for a response.
    @param keys: The canonical names of C{lines}.

    @return: The outline, the Call-ID and the Max-Forwards.  If not L{None},
        all of these fields are well-formed and none is there twice; otherwise
        one is unusual, which need not be a fault.
    """
    # The first of each name; looked for one by one they cost more.
    first = dict(zip(reversed(keys), reversed(lines), strict=True))
    again = len(keys) - len(first)
    if again and again != keys.count("via") - 1 and not _is_each_once(keys):
        return None
    try:
        text = f"{uri}\n{first['via']}\n{first['from']}\n{first['to']}\n{first['call-id']}\n{first['cseq']}"
    except KeyError:
        return None
    if "max-forwards" in first:
        text = f"{text}\n{first['max-forwards']}"
    match = _USUAL(text)
    if match is None:
        return None
    transport, host, port, branch, from_tag, to_tag, call_id, number, method, forwards = match.groups()
    host = host.lower()
    sent_by = f"{host}:{port or DEFAULT_PORTS[transport]}"
    # Past the constructor of a named tuple, which is slower than all above it.
    outline: Outline = _new(Outline, (host, sent_by, branch, from_tag, to_tag, int(number), method))
    return outline, call_id, None if forwards is None else int(forwards)


def _is_each_once(keys: list[str]) -> bool:
    """
    Whether none of the fields is there twice that must not be.
    """
    count = keys.count
    return (
        count("from") == count("to") == count("call-id") == count("cseq") == 1 and count("max-forwards") < 2
    )
