"""
From, To and Contact values as call detail records show them.

Values arrive as any sender wrote them, so nothing here refuses: what cannot
be understood stays as it is.  One pass over the text, whatever it holds.
"""

from __future__ import annotations


def without_tag(value: str) -> str:
    """
    Cut the tag off a From or To value; all else stays as it was sent.

    >>> without_tag('"Bob; tag=none" <sip:bob@example.com>;tag=1928;x=1')
    '"Bob; tag=none" <sip:bob@example.com>;x=1'
    """
    address, bracket, tail = value.rpartition(">")
    if tail.startswith(";tag=") and tail.rfind(";") == 0 and '"' not in tail:
        # As nearly everybody writes it.
        return address + bracket
    if '"' in tail:
        # A quoted parameter, or a display name that is never closed.
        pieces = _split_outside_quotes(value)
    else:
        pieces = tail.split(";")
        pieces[0] = address + bracket + pieces[0]
    if len(pieces) == 1:
        return value
    return ";".join([pieces[0]] + [piece for piece in pieces[1:] if not _is_tag(piece)]).rstrip()


def without_params(contact: str | None) -> str | None:
    """
    Cut all parameters, of the URI and of the field, off a Contact value.

    >>> without_params('"Bob" <sip:bob@10.1.1.7:5062;transport=tcp>;expires=60')
    '"Bob" <sip:bob@10.1.1.7:5062>'
    """
    if not contact:
        return None
    if '"' in contact:
        head = _split_outside_quotes(contact, brackets=False)[0].rstrip()
    else:
        head = contact.partition(";")[0].rstrip()
    address = head[head.rfind('"') + 1 :]
    return head + ">" if "<" in address and ">" not in address else head


def _is_tag(piece: str) -> bool:
    return piece.partition("=")[0].strip().lower() == "tag"


def _split_outside_quotes(value: str, brackets: bool = True) -> list[str]:
    """
    Split at the semicolons that are neither quoted nor, with C{brackets}, in a C{<URI>}.
    """
    pieces = []
    begin = 0
    quoted = bracketed = escaped = False
    for index, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char == "<":
            bracketed = brackets
        elif char == ">":
            bracketed = False
        elif char == ";" and not bracketed:
            pieces.append(value[begin:index])
            begin = index + 1
    pieces.append(value[begin:])
    return pieces
