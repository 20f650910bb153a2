"""
What the proxies sign into their Record-Route.

A dialog that was let through once passes unchallenged for as long as it
lives, also after a restart and on another node, since nothing is kept but the
URI parameter that both phones carry for us.  The signature binds it to the
Call-ID and to the tag of the caller; it says nothing about any other dialog.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from sipxha.sip.message import Request
from sipxha.sip.seal import seal
from sipxha.sip.uri import Uri

PARAMETER = "sipX-route"
"""The URI parameter that holds the state of the authproxy."""

EDGE_PARAMETER = "sipX-edge"
"""The same for the forking proxy, which asks for less: none stands for the other."""


CALLER_PARAMETER = "sipX-caller"
"""The URI parameter that holds both names of a caller who has an alias."""


class CallerNames(NamedTuple):
    """
    The two values of a caller's From, or To, both with his tag.
    """

    own: str
    """What he knows himself by."""

    alias: str
    """What the other side knows him by."""


def sign(secret: bytes, call_id: str, from_tag: str, parameter: str = PARAMETER) -> str:
    """
    @param from_tag: of the request that opens the dialog.

    @param parameter: that the state is for.

    @return: the value of the parameter: made of token characters only.
    """
    return f"{_written(from_tag)}!{_signature(secret, call_id, from_tag, parameter)}"


def is_admitted(secret: bytes, request: Request, taken: Iterable[Uri], parameter: str = PARAMETER) -> bool:
    """
    Decide whether a request belongs to a dialog that was let through.

    @param taken: the own routes that the request carried.

    @return: whether one of them bears our signature for this Call-ID and for
        one of the two tags of this request.
    """
    for uri in taken:
        value = uri.params.get(parameter)
        if not value:
            continue
        signed = value.partition("!")[0]
        for tag in (request.from_tag, request.to_tag):
            if tag and _written(tag) == signed:
                expected = sign(secret, request.call_id, tag, parameter)
                if hmac.compare_digest(value.encode("utf-8", "surrogateescape"), expected.encode()):
                    return True
    return False


def sign_names(secret: bytes, call_id: str, names: CallerNames) -> str:
    """
    @return: the value of L{CALLER_PARAMETER}.
    """
    values = [base64.urlsafe_b64encode(each.encode("utf-8", "surrogateescape")) for each in names]
    text = ".".join(value.rstrip(b"=").decode() for value in values)
    return f"{text}!{_signature(secret, call_id, text, CALLER_PARAMETER)}"


def names_of(secret: bytes, request: Request, taken: Iterable[Uri]) -> CallerNames | None:
    """
    @param taken: the own routes that the request carried.

    @return: the names of the caller of this dialog, if we gave him an alias.
    """
    for uri in taken:
        text, separator, signature = (uri.params.get(CALLER_PARAMETER) or "").partition("!")
        if not separator:
            continue
        expected = _signature(secret, request.call_id, text, CALLER_PARAMETER).encode()
        if not hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), expected):
            continue
        own, alias = (
            base64.urlsafe_b64decode(each + "=" * (-len(each) % 4)).decode("utf-8", "surrogateescape")
            for each in text.split(".")
        )
        return CallerNames(own, alias)
    return None


# What an INVITE is signed with comes back in its ACK and its BYE.
@lru_cache(maxsize=1024)
def _written(tag: str) -> str:
    return base64.urlsafe_b64encode(tag.encode("utf-8", "surrogateescape")).rstrip(b"=").decode()


@lru_cache(maxsize=1024)
def _signature(secret: bytes, call_id: str, from_tag: str, parameter: str) -> str:
    message = f"{parameter}\n{call_id}\n{from_tag}".encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(seal(secret, message)[:18]).decode()
