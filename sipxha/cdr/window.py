"""
Moments as people write them.

ISO 8601 and RFC 2822 (mail and HTTP dates); local time unless the text names
a zone.  What "now" is, nobody here knows.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from sipxha.errors import LocalError


class NotAMoment(LocalError):
    """
    A text that is neither an ISO 8601 nor an RFC 2822 date and time.
    """

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is neither an ISO 8601 nor an RFC 2822 time")
        self.text = text


class EmptyWindow(LocalError):
    """
    A window that ends before it starts.
    """


class Window(NamedTuple):
    """
    From C{start} on and before C{end}, in UTC seconds; C{None} is open.
    """

    start: float | None = None
    end: float | None = None


def moment(text: str, zone: tzinfo | None = None) -> float:
    """
    Read a moment.

    @param zone: What a text without a zone means; C{None} for the system's own zone.

    @return: UTC seconds.

    @raise NotAMoment: When it is not one.
    """
    try:
        told = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            told = parsedate_to_datetime(text)
        except (ValueError, IndexError):
            raise NotAMoment(text) from None
        if text.rstrip().endswith("-0000"):
            # RFC 2822 3.3: UTC, by a sender that does not tell its own zone.
            told = told.replace(tzinfo=UTC)
    if told.tzinfo is None and zone is not None:
        told = told.replace(tzinfo=zone)
    try:
        # A time without zone is taken as the system's local time.
        return told.timestamp()
    except (OverflowError, ValueError, OSError):
        raise NotAMoment(text) from None


def window(start: str | None, end: str | None, zone: tzinfo | None = None) -> Window:
    """
    Read a window.

    @raise NotAMoment: When an edge is not a moment.
    @raise EmptyWindow: When it ends before it starts.
    """
    edges = Window(
        None if start is None else moment(start, zone),
        None if end is None else moment(end, zone),
    )
    if edges.start is not None and edges.end is not None and edges.end <= edges.start:
        raise EmptyWindow(f"the window ends ({end}) before it starts ({start})")
    return edges
