"""
The legs of a call, and which of them speaks for it.

A leg is one dialog: an unordered pair of tags, since either side may end it
or transfer it.  A forked call has several.  One that ended in the normal way
is preferred to one that is open, that to one that failed; then the longest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

from sipxha.cdr.event import CallStateEvent

CHALLENGES = frozenset({401, 407})
"""The caller is asked who it is, and tries again: never a failure of the call."""

DIALOG_IS_GONE = frozenset({408, 481})
"""Answers within a dialog that end it (RFC 3261 12.2.1.2)."""


class Standing(IntEnum):
    """
    How far a leg came; the greater one is preferred.
    """

    FAILED = 0
    OPEN = 1
    LOST = 2
    """Set up, then a request within it found it gone."""

    ENDED = 3


class Leg:
    """
    What is known of one dialog; events are given in their order.
    """

    __slots__ = ("_authority", "contact", "end", "failure", "loss", "route", "setup", "tags", "transfer")

    def __init__(self, tags: tuple[str, str]) -> None:
        self.tags = tags
        self.setup: CallStateEvent | None = None
        """The first answer; later ones belong to re-INVITEs."""

        self.contact: str | None = None
        """Of the callee: the first one told, since a transfer changes it."""

        self.route: str | None = None
        self.end: CallStateEvent | None = None
        """The last BYE: an earlier one may have been challenged."""

        self.failure: CallStateEvent | None = None
        self.loss: CallStateEvent | None = None
        self.transfer: CallStateEvent | None = None
        """The last REFER, unless who sent it took the call back."""

        self._authority: Authority = (-1, False, False, 0.0)

    def add(self, event: CallStateEvent, authority: Authority) -> None:
        """
        Take the next event.

        @param authority: For a failure: how much its word counts.
        """
        kind = event.event_type
        if kind == "S":
            self.setup = self.setup or event
            if event.from_tag == self.setup.from_tag:
                self.contact = self.contact or event.contact
                self.route = self.route or event.callee_route
            if self.transfer is not None and _takes_back(event, self.transfer):
                self.transfer = None
        elif kind == "E":
            self.end = event
        elif kind == "T":
            self.transfer = event
        elif self.setup is None or not _is_within(self.setup, event):
            if authority >= self._authority:
                self.failure, self._authority = event, authority
        elif event.failure_status in DIALOG_IS_GONE:
            self.loss = event

    @property
    def standing(self) -> Standing:
        """
        How far this leg came.

        A BYE in a dialog whose INVITE failed only ended an early dialog.
        """
        if self.setup is None and self.failure is not None:
            return Standing.FAILED
        if self.end is not None:
            return Standing.ENDED
        return Standing.LOST if self.loss is not None else Standing.OPEN

    @property
    def merit(self) -> tuple[Standing, Authority, float, tuple[str, str]]:
        """
        What legs are compared by; the greatest is the best.
        """
        standing = self.standing
        if standing is Standing.FAILED:
            return standing, self._authority, 0.0, self.tags
        if self.setup is None:
            return standing, _UNKNOWN_LENGTH, 0.0, self.tags
        last = self.end or self.loss
        # Of two open legs the one that was answered first is the longer one.
        length = last.event_time - self.setup.event_time if last else -self.setup.event_time
        return standing, _KNOWN_LENGTH, length, self.tags

    def callee_tag(self, caller_tag: str | None) -> str:
        """
        The tag of the other side.
        """
        one, other = self.tags
        return one if other == caller_tag else other


Authority = tuple[int, bool, bool, float]
"""CSeq of the attempt, whether the front door said so, whether it was said for all, when."""

_UNKNOWN_LENGTH: Authority = (0, False, False, 0.0)
_KNOWN_LENGTH: Authority = (1, False, False, 0.0)


def legs_of(ordered: Sequence[CallStateEvent]) -> list[Leg]:
    """
    Group the events of one call by dialog.

    @param ordered: All events of one call, as L{sipxha.cdr.order.arranged} gives them.

    @return: The legs, best first; none while the call is only requested.
    """
    legs: dict[tuple[str, str], Leg] = {}
    doors: set[tuple[str | None, int, str | None, int | None]] | None = None
    authority = _UNKNOWN_LENGTH
    for event in ordered:
        kind = event.event_type
        if kind == "R":
            continue
        if kind == "F":
            status = event.failure_status or 0
            if status in CHALLENGES:
                continue
            if doors is None:
                doors = _front_doors(ordered)
            at_the_door = (event.from_tag, event.cseq, event.branch_id, event.via_count) in doors
            authority = (event.cseq, at_the_door, status >= 600, event.event_time)
        one, other = event.from_tag or "", event.to_tag or ""
        tags = (one, other) if one <= other else (other, one)
        leg = legs.get(tags)
        if leg is None:
            leg = legs[tags] = Leg(tags)
        leg.add(event, authority)
    if len(legs) < 2:
        return list(legs.values())
    return sorted(legs.values(), key=_merit, reverse=True)


def _merit(leg: Leg) -> tuple[Standing, Authority, float, tuple[str, str]]:
    return leg.merit


def _is_within(setup: CallStateEvent, failure: CallStateEvent) -> bool:
    """
    Whether a failure answers a request inside the dialog, not one that tried to open it.
    """
    return failure.from_tag != setup.from_tag or failure.cseq > setup.cseq


def _takes_back(setup: CallStateEvent, transfer: CallStateEvent) -> bool:
    """
    Whether a side asks again for the call that it wanted to transfer: the transfer failed.
    """
    return setup.from_tag == transfer.from_tag and setup.cseq > transfer.cseq


def _front_doors(
    events: Iterable[CallStateEvent],
) -> set[tuple[str | None, int, str | None, int | None]]:
    """
    Per attempt the transaction by which it came in: the request with the fewest Vias.

    What is answered there is what the caller heard; a failure seen further in
    may be that of one branch.
    """
    doors: dict[tuple[str | None, int], CallStateEvent] = {}
    for event in events:
        if event.event_type == "R" and event.branch_id:
            # In order, so the first one of an attempt has the fewest Vias.
            doors.setdefault((event.from_tag, event.cseq), event)
    return {(*attempt, event.branch_id, event.via_count) for attempt, event in doors.items()}
