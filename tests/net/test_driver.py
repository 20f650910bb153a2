"""
Tests for L{sipxha.net.driver}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipxha.net.driver import Driver


class Alarm:
    """
    A core that wants to be woken at some times.
    """

    def __init__(self, *deadlines: float) -> None:
        self.deadlines = list(deadlines)

    def next_deadline(self) -> float | None:
        return self.deadlines[0] if self.deadlines else None

    def deadline_passed(self, now: float) -> list[str]:
        due = [deadline for deadline in self.deadlines if deadline <= now]
        self.deadlines = self.deadlines[len(due) :]
        return [f"alarm {deadline:g}" for deadline in due]


class DriverTests(SynchronousTestCase):
    """
    Tests for L{Driver}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.performed: list[str] = []

    def driver(self, core: Alarm) -> Driver[str]:
        return Driver(self.clock, core, self.performed.append)

    def test_effects_are_performed_in_order(self) -> None:
        """
        Those that come up meanwhile wait until the others are done.
        """
        driver: Driver[str]

        def perform(effect: str) -> None:
            self.performed.append(f"{effect} begins")
            if effect == "a":
                driver.perform(["c"])
            self.performed.append(f"{effect} ends")

        driver = Driver(self.clock, Alarm(), perform)
        driver.perform(["a", "b"])
        self.assertEqual(self.performed, ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"])

    def test_one_call_waits_for_the_next_deadline(self) -> None:
        """
        Each deadline is met at its time, with a single delayed call.
        """
        driver = self.driver(Alarm(1.0, 2.5))
        driver.perform([])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1.0)
        self.assertEqual(self.performed, ["alarm 1"])
        self.clock.advance(1.5)
        self.assertEqual(self.performed, ["alarm 1", "alarm 2.5"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_nearer_deadline_moves_the_call(self) -> None:
        """
        And one that has become void only wakes the core for nothing.
        """
        core = Alarm(5.0)
        driver = self.driver(core)
        driver.perform([])
        core.deadlines = [1.0, 5.0]
        driver.perform([])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1.0)
        self.assertEqual(self.performed, ["alarm 1"])
        core.deadlines = [7.0]
        self.clock.advance(4.0)
        self.assertEqual(self.performed, ["alarm 1"])
        self.clock.advance(2.0)
        self.assertEqual(self.performed, ["alarm 1", "alarm 7"])

    def test_an_effect_that_raises_costs_only_itself(self) -> None:
        """
        It is reported, and the others are performed.
        """
        failed: list[tuple[str, str]] = []

        def perform(effect: str) -> None:
            if effect == "bad":
                raise ValueError("this one")
            self.performed.append(effect)

        def report(effect: str, error: Exception) -> None:
            failed.append((effect, str(error)))

        Driver(self.clock, Alarm(), perform, report).perform(["bad", "good"])
        self.assertEqual((self.performed, failed), (["good"], [("bad", "this one")]))

    def test_what_nobody_else_reports_is_logged(self) -> None:
        """
        With its traceback.
        """

        def perform(effect: str) -> None:
            raise ValueError(effect)

        Driver(self.clock, Alarm(), perform).perform(["bad"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_stopped_driver_does_nothing(self) -> None:
        """
        No effect, no timer.
        """
        driver = self.driver(Alarm(1.0))
        driver.perform([])
        driver.stop()
        driver.perform(["late"])
        self.assertEqual((self.performed, self.clock.getDelayedCalls()), ([], []))
