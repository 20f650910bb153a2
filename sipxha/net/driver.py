"""
Runs a pure core in the reactor.

A core (L{TransactionLayer<sipxha.transaction.layer.TransactionLayer>},
C{sync.engine.Engine}) returns effects and a next deadline.  A L{Driver}
performs the effects in order and holds the one timer.  It does not know what
any effect means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)


class Core(Protocol[E_co]):
    """
    What every pure core offers beside its own inputs.
    """

    def next_deadline(self) -> float | None:
        """
        The time of the next L{deadline_passed}; C{None} if there is none.
        """

    def deadline_passed(self, now: float) -> Sequence[E_co]:
        """
        It is C{now}: do what is due.
        """


class Driver(Generic[E]):
    """
    One core, its effects and its timer.

    Effects that come up while others are performed wait for their turn: no
    C{perform} is ever called from within another.

    @ivar now: The time to tell the core.

    @param perform: Performs one effect.

    @param failed: Told of an effect that raised, inside the C{except} clause;
        the others are performed all the same.  Without it, that is logged.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        core: Core[E],
        perform: Callable[[E], None],
        failed: Callable[[E, Exception], None] | None = None,
    ) -> None:
        self.now: Callable[[], float] = reactor.seconds
        self._reactor = reactor
        self._core = core
        self._perform = perform
        self._failed = failed or self._log_failed
        self._waiting: list[E] = []
        self._performing = False
        self._stopped = False
        self._call: IDelayedCall | None = None
        self._called_at = 0.0
        """The deadline that the call is for."""

    def perform(self, effects: Sequence[E]) -> None:
        """
        Perform what the core has answered to an input, and see to its timer.
        """
        if self._stopped:
            return
        if self._performing:
            self._waiting += effects
            return
        self._performing = True
        try:
            while effects:
                for effect in effects:
                    if self._stopped:
                        return
                    try:
                        self._perform(effect)
                    except Exception as error:
                        # The edge between the core and the rest of the program:
                        # whatever one effect came upon, the others are owed.
                        self._failed(effect, error)
                effects, self._waiting = self._waiting, []
        finally:
            self._performing = False
        self._arm()

    def stop(self) -> None:
        """
        Perform nothing any more.
        """
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _arm(self) -> None:
        deadline = self._core.next_deadline()
        if deadline is None or self._stopped:
            return
        call = self._call
        # A call that comes too early only arms itself again, which is cheaper
        # than to move it each time its deadline has become void.
        if call is None:
            self._call = self._reactor.callLater(max(0.0, deadline - self.now()), self._due)
            self._called_at = deadline
        elif deadline < self._called_at:
            call.reset(max(0.0, deadline - self.now()))
            self._called_at = deadline

    def _due(self) -> None:
        self._call = None
        self.perform(self._core.deadline_passed(self.now()))

    def _log_failed(self, effect: E, error: Exception) -> None:
        self._log.failure("could not perform {effect}", effect=type(effect).__name__)
