"""
Running timers, thousands of them.

Knows when each goes off, not what it is for.  A timer costs the same however
many there are: those that are set for equally long go off in the order in which
they were set, so there is one queue for each duration and nothing to sort.  One
that was stopped leaves nothing behind: most are, within milliseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from math import inf
from operator import attrgetter
from typing import Generic, TypeVar

from sipxha.transaction.vocabulary import Timer

_deadline = attrgetter("deadline")

O = TypeVar("O")  # noqa: E741


class Alarm(Generic[O]):
    """
    One timer.

    @ivar owner: Whose it is; nobody's, once it was stopped or has gone off.
    """

    __slots__ = ("deadline", "owner", "seconds", "timer")

    def __init__(self, owner: O, timer: Timer, seconds: float, deadline: float) -> None:
        self.owner: O | None = owner
        self.timer = timer
        self.seconds = seconds
        self.deadline = deadline


class Alarms(Generic[O]):
    """
    The alarms of one layer.  Durations must be few.

    @ivar running: How many there are.
    """

    def __init__(self) -> None:
        self.running = 0
        self._queues: dict[float, OrderedDict[Alarm[O], None]] = {}
        # No alarm goes off before this.
        self._soonest = inf

    def start(self, owner: O, timer: Timer, seconds: float, now: float) -> Alarm[O]:
        """
        Have an alarm go off after so many seconds.
        """
        deadline = now + seconds
        alarm = Alarm(owner, timer, seconds, deadline)
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = OrderedDict()
        if queue and deadline < next(reversed(queue)).deadline:
            # The clock was set back.
            later = [other for other in queue if other.deadline > deadline]
            queue[alarm] = None
            for other in sorted(later, key=_deadline):
                queue.move_to_end(other)
        else:
            queue[alarm] = None
        if deadline < self._soonest:
            self._soonest = deadline
        self.running += 1
        return alarm

    def stop(self, alarm: Alarm[O]) -> None:
        """
        Have it not go off; it must be running.
        """
        # Whose alarm it is has it, and would stay in memory with it.
        alarm.owner = None
        del self._queues[alarm.seconds][alarm]
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
                alarm = next(iter(queue))
                owner = alarm.owner
                if alarm.deadline > now or owner is None:
                    break
                self.stop(alarm)
                yield owner, alarm
        self._soonest = min(
            [next(iter(queue)).deadline for queue in self._queues.values() if queue], default=inf
        )
