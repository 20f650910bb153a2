"""
How long the garbage collector may stop a node.

Memory is given back when the last reference goes.  The collector only looks for
what refers to itself, and while it looks nothing else happens: 0.6 to 1.5
microseconds for each object that it has to look at.  What there is much of is
therefore kept in values that it does not look at
(L{sipxha.transaction.resting}, L{sipxha.cdr.live}); here is when it comes, and
what it need not look at again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from time import thread_time
from typing import Any

THRESHOLDS = (700, 2, 2)
"""
New objects until it looks at these, which is the interpreter's own; how often
until it also looks at those that it saw once, and then at those that it saw
twice.  So even while everything stays that comes it looks at 700 at a time, at
2,800 every fourth, and at some 9,000 every thirteenth, which takes 0.4, 2 and 6
ms.  With 100,000, as was set here when a call left 140 objects, it took 60 to
146 ms each time, and so did whatever call came then.
"""

LONG = 0.003
"""Seconds: as long as a call may be delayed by us."""


class Pauses:
    """
    The settings of the collector while a node runs.

    What was alive when a look at everything took too long is not looked at
    again: rows, users, connections, of which there may be a million.  They are
    freed as before when the last reference goes.  It would be lost memory if
    they came to refer to themselves after that, which what comes and goes with
    phones and calls does not.
    """

    def __init__(self, clock: Callable[[], float] = thread_time) -> None:
        """
        @param clock: seconds that were spent, not those that others took.
        """
        self._clock = clock
        self._begun = 0.0

    def begin(self) -> None:
        """
        A node starts: what it reads now stays, and nothing of it is looked at.
        """
        gc.disable()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._looked)

    def settle(self) -> None:
        """
        It has started, and serves: keep them short from now on.
        """
        gc.enable()
        gc.collect()
        gc.freeze()
        # It comes for everything when there is a quarter more than the last
        # time: from now on that is nothing.
        gc.collect()

    def end(self) -> None:
        """
        Leave it alone.
        """
        gc.callbacks.remove(self._looked)

    def _looked(self, phase: str, info: Mapping[str, Any]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._begun = self._clock()
        elif self._clock() - self._begun > LONG:
            gc.freeze()
