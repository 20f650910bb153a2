"""
The events of one call in the order of cause and effect.

Clocks of two nodes never agree, so time comes last.  What one side of a call
sends is ordered by its CSeq, answers after requests.  The CSeq numbers of the
two sides have nothing to do with each other; between them the protocol
decides: a request, then its setup or failure, then transfers, then the end.
Only what is left is ordered by time.  Times themselves are never corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from sipxha.cdr.event import CallStateEvent

_CAUSE = {"R": 0, "S": 1, "F": 1, "T": 2, "E": 3}


class Skew(NamedTuple):
    """
    Two observers whose clocks cannot both be right.
    """

    ahead: str
    behind: str
    seconds: float
    """By how much at least."""


def arranged(events: Iterable[CallStateEvent]) -> list[CallStateEvent]:
    """
    Put the events of one call in order, each once.

    The answer depends on what the events are, never on how they came.
    """
    keyed = [
        (
            (
                event.cseq,
                cause := _CAUSE[event.event_type],
                # A request collects Vias on its way in; an answer passes the innermost proxy first.
                -(event.via_count or 0) if cause else event.via_count or 0,
                event.event_time,
                event.observer,
                event.event_seq,
            ),
            event,
        )
        for event in events
    ]
    if len(keyed) == 1:
        return [keyed[0][1]]
    keyed.sort(key=_rank)
    before = None
    first_tag = keyed[0][1].from_tag
    has_two_sides = False
    for key, event in keyed:
        if key == before:
            # Two events under one key are rare but for the same one twice, and telling them apart is dear.
            keyed = sorted(set(keyed), key=_full_rank)
            has_two_sides = True
            break
        before = key
        if event.from_tag != first_tag:
            has_two_sides = True
    if has_two_sides:
        keyed = _merged(keyed)
    return [event for _, event in keyed]


def skews(ordered: Sequence[CallStateEvent]) -> list[Skew]:
    """
    Tell which clocks the order proves wrong.

    Only a cause that seems to follow its effect proves anything: an answer
    before its request, or an end before the setup of its dialog.  Transit
    times are taken as nothing, so the figures are lower bounds.

    @param ordered: The answer of L{arranged}.
    """
    found = []
    latest: CallStateEvent | None = None
    for event in ordered:
        if latest is None or event.event_time >= latest.event_time:
            latest = event
        elif event.observer != latest.observer and _is_cause(latest, event):
            found.append(Skew(latest.observer, event.observer, latest.event_time - event.event_time))
    return found


def _is_cause(earlier: CallStateEvent, later: CallStateEvent) -> bool:
    if earlier.event_type == "R":
        return later.event_type != "R" and (later.from_tag != earlier.from_tag or later.cseq >= earlier.cseq)
    same_dialog = {earlier.from_tag, earlier.to_tag} == {later.from_tag, later.to_tag}
    return earlier.event_type == "S" and later.event_type == "E" and same_dialog


_Key = tuple[int, int, int, float, str, int]
_Keyed = tuple[_Key, CallStateEvent]


_rank: Callable[[_Keyed], _Key] = itemgetter(0)


def _full_rank(keyed: _Keyed) -> tuple[_Key, str]:
    return keyed[0], repr(keyed[1])


def _merged(keyed: Iterable[_Keyed]) -> list[_Keyed]:
    """
    Join what the sides sent: always the head that comes first by cause, then by time.
    """
    by_side: dict[str, list[_Keyed]] = {}
    for each in keyed:
        by_side.setdefault(each[1].from_tag or "", []).append(each)
    streams = [by_side[tag] for tag in sorted(by_side)]
    for stream in streams:
        stream.reverse()
    ordered = []
    while len(streams) > 1:
        nearest = min(streams, key=_head)
        ordered.append(nearest.pop())
        if not nearest:
            streams.remove(nearest)
    ordered.extend(reversed(streams[0]))
    return ordered


def _head(stream: list[_Keyed]) -> tuple[int, float]:
    key = stream[-1][0]
    return key[1], key[3]
