"""
What registrars say to each other, whatever the dialect.

The calls, their answers and the codes of the faults, and how parameters are
read that all dialects share.  How a call is spelt is the business of
L{sipxha.sync.dialect} and those below it; whether it is granted is the
engine's.

SyncDesign 5.8, design 5.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from sipxha.errors import SipxhaError
from sipxha.registry.binding import Binding
from sipxha.sync.numbers import is_number
from sipxha.sync.wire import Fault, Value

# --- fault codes ------------------------------------------------------------

UNKNOWN_METHOD = -3
AUTHENTICATION = -4
UNCONFIGURED_PEER = 300
UNREACHABLE_PEER = 301
INVALID_PARAMETER = 302
UPDATE_FAILED = 304
OUT_OF_ORDER = 305
MIXED_NUMBERS = 306
INCOMPATIBLE_PEER = 307

OFFENCES = frozenset({UNCONFIGURED_PEER, INVALID_PARAMETER, UPDATE_FAILED, MIXED_NUMBERS, INCOMPATIBLE_PEER})
"""What no peer gets that does as it should, whatever was lost on the way."""

# --- what is said -----------------------------------------------------------


class Pull(NamedTuple):
    """
    Give me the rows of C{primary} that are newer than C{number} (SyncDesign 5.8.1).
    """

    primary: str
    number: int
    limit: int = 0
    """The most rows that the caller wants at once; 0 where the dialect knows no pages."""


class Reset(NamedTuple):
    """
    This is the last of your updates that I have; what is the last of mine? (SyncDesign 5.8.2)
    """

    number: int


class Push(NamedTuple):
    """
    All rows of my next updates after C{last_sent} (SyncDesign 5.8.3).
    """

    last_sent: int
    rows: Sequence[Binding]


class Ask(NamedTuple):
    """
    What is your digest of the rows of C{primary} that end after C{horizon}? (design 5.8)
    """

    primary: str
    horizon: int


Call: TypeAlias = Pull | Reset | Push | Ask


class Page(NamedTuple):
    """
    What answers a pull.
    """

    rows: Sequence[Binding]
    number: int
    """The last update in it; what was asked for where there is none."""

    more: bool
    """Whether there are newer ones."""


# --- parameters -------------------------------------------------------------


def caller_of(params: Sequence[Value]) -> str:
    """
    Who calls, in lower case.

    @raise Fault: The first parameter is not a name.
    """
    if not params or not isinstance(params[0], str) or not params[0]:
        raise Fault(INVALID_PARAMETER, "'callingRegistrar' parameter is missing or invalid type")
    return params[0].lower()


def text_param(method: str, params: Sequence[Value], place: int, name: str) -> str:
    """
    @raise Fault: It is missing, empty, or no text.
    """
    value = params[place] if len(params) > place else None
    if not isinstance(value, str) or not value:
        raise invalid(method, name)
    return value


def number_param(method: str, params: Sequence[Value], place: int, name: str) -> int:
    """
    @raise Fault: It is missing, or cannot be an update number or a time.
    """
    value = params[place] if len(params) > place else None
    if not is_number(value):
        raise invalid(method, name)
    return int(value)  # type: ignore[arg-type]


def invalid(method: str, name: str) -> Fault:
    """
    The fault that a parameter deserves.
    """
    return Fault(INVALID_PARAMETER, f"{method} '{name}' parameter is missing or invalid type")


# --- answers ----------------------------------------------------------------


class Malformed(SipxhaError):
    """
    A peer's answer is not what the method returns.
    """


def number_answered(value: object) -> int:
    """
    The number that answers a reset or a push.

    @raise Malformed: It is none.
    """
    if not is_number(value):
        raise Malformed("the answer is no update number")
    return int(value)  # type: ignore[call-overload, no-any-return]
