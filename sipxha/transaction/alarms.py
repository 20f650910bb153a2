"""
Running timers, thousands of them.

Knows when each goes off, not what it is for.  A timer costs the same however
many there are: those that are set for equally long go off in the order in which
they were set, so there is one queue for each duration and nothing to sort.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from math import inf
from operator import attrgetter
from typing import Generic, TypeVar

from sipxha.transaction.vocabulary import Timer

_SLACK = 1024
"""Stopped alarms that are not worth a cleaning."""

_deadline = attrgetter("deadline")

O = TypeVar("O")  # noqa: E741


class Alarm(Generic[O]):
    """
    One timer.

    @ivar owner: Whose it is; nobody's, once it was stopped or has gone off.
    """

    __slots__ = ("deadline", "owner", "timer")

    def __init__(self, owner: O, timer: Timer, deadline: float) -> None:
        self.owner: O | None = owner
        self.timer = timer
        self.deadline = deadline


class Alarms(Generic[O]):
    """
    The alarms of one layer.  Durations must be few.

    @ivar running: How many there are that were not stopped.
    @ivar queued: How many are kept: never many more than twice as many.
    """

    def __init__(self) -> None:
        self.running = 0
        self.queued = 0
        self._queues: dict[float, deque[Alarm[O]]] = {}
        # No alarm goes off before this.
        self._soonest = inf

    def start(self, owner: O, timer: Timer, seconds: float, now: float) -> Alarm[O]:
        """
        Have an alarm go off after so many seconds.
        """
        deadline = now + seconds
        alarm = Alarm(owner, timer, deadline)
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = deque()
        if queue and deadline < queue[-1].deadline:
            # The clock was set back.
            insort(queue, alarm, key=_deadline)
        else:
            queue.append(alarm)
        if deadline < self._soonest:
            self._soonest = deadline
        self.running += 1
        self.queued += 1
        if self.queued > 2 * self.running + _SLACK:
            self.clean()
        return alarm

    def stop(self, alarm: Alarm[O]) -> None:
        """
        Have it not go off; it must be running.
        """
        # Its place in the queue costs less to keep than to find.
        alarm.owner = None
        self.running -= 1

    def next_deadline(self) -> float | None:
        """
        A time before which none goes off, and at which L{due} should be asked.
        """
        if not self.running:
            self._soonest = inf
            return None
        return self._soonest

    def due(self, now: float) -> Iterator[tuple[O, Alarm[O]]]:
        """
        Let those go off whose time has come.  Others may be started and stopped
        meanwhile.
        """
        if now < self._soonest:
            return
        for queue in list(self._queues.values()):
            while queue:
                alarm = queue[0]
                owner = alarm.owner
                if owner is not None and alarm.deadline > now:
                    break
                queue.popleft()
                self.queued -= 1
                if owner is not None:
                    self.stop(alarm)
                    yield owner, alarm
        self._soonest = min([queue[0].deadline for queue in self._queues.values() if queue], default=inf)

    def clean(self) -> None:
        """
        Drop what was stopped.  Done when that is the greater part, this costs
        each alarm a constant.
        """
        for seconds, queue in list(self._queues.items()):
            live = [alarm for alarm in queue if alarm.owner is not None]
            # The queue stays the same object: it may be being emptied.
            queue.clear()
            queue.extend(live)
            if not live:
                del self._queues[seconds]
        self.queued = self.running
