"""
The events of one call in the order of cause and effect.

Clocks of two nodes never agree, so time comes last.  What one side of a call
sends is ordered by its CSeq, answers after requests.  The CSeq numbers of the
two sides have nothing to do with each other; between them the protocol
decides: a request, then its setup or failure, then transfers, then the end.
Only what is left is ordered by time.  Times themselves are never corrected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    distinct = list(set(events))
    if len(distinct) == 1:
        return distinct
    keyed = [(_key(event), event) for event in distinct]
    # Two events under one key are rare, and telling them apart is dear.
    rank = _full_rank if len({key for key, _ in keyed}) < len(keyed) else _short_rank
    keyed.sort(key=rank)
    streams: dict[str, list[CallStateEvent]] = {}
    for _, event in keyed:
        streams.setdefault(event.from_tag or "", []).append(event)
    if len(streams) == 1:
        return [event for _, event in keyed]
    return _merged([streams[tag] for tag in sorted(streams)])


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


def _key(event: CallStateEvent) -> _Key:
    cause = _CAUSE[event.event_type]
    vias = event.via_count or 0
    # A request collects Vias on its way in; an answer passes the innermost proxy first.
    return (
        event.cseq,
        cause,
        vias if cause == 0 else -vias,
        event.event_time,
        event.observer,
        event.event_seq,
    )


def _short_rank(keyed: tuple[_Key, CallStateEvent]) -> _Key:
    return keyed[0]


def _full_rank(keyed: tuple[_Key, CallStateEvent]) -> tuple[_Key, str]:
    return keyed[0], repr(keyed[1])


def _merged(streams: list[list[CallStateEvent]]) -> list[CallStateEvent]:
    """
    Join what the sides sent: always the head that comes first by cause, then by time.
    """
    for stream in streams:
        stream.reverse()
    ordered = []
    while streams:
        nearest = min(streams, key=_head)
        ordered.append(nearest.pop())
        if not nearest:
            streams.remove(nearest)
    return ordered


def _head(stream: list[CallStateEvent]) -> tuple[int, float]:
    return _CAUSE[stream[-1].event_type], stream[-1].event_time
