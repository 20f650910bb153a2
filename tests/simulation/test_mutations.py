"""
Tests for the simulator itself: whoever breaks replication is caught by it.
"""

from __future__ import annotations

from contextlib import nullcontext

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.histories import BY_NUMBERS, twice_lost
from tests.simulation.mutations import MUTATIONS, NO_DIGESTS, Mutation, broken
from tests.simulation.schedules import Crash, Step, ages, outcome, schedules

_EXAMPLES = 200
"""Schedules within which each mistake must show."""

_BRIEF = settings(
    deadline=None,
    database=None,
    max_examples=_EXAMPLES,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class _Caught(Exception):
    """
    Something was wrong with the cluster.
    """


class MutationTests(SynchronousTestCase):
    """
    Tests for mistakes made on purpose.
    """

    def test_the_simulator_notices_every_mistake(self) -> None:
        """
        Within some schedules, always the same ones.
        """
        missed = [mutation.name for mutation in MUTATIONS if not self.is_caught(mutation)]
        self.assertEqual(missed, [])

    def test_what_is_right_is_not_a_mistake(self) -> None:
        """
        Of the same schedules, those that show most mistakes.
        """
        right = Mutation("nothing", *MUTATIONS[0][1:3], lambda right: right)
        self.assertFalse(self.is_caught(right, 40))

    def is_caught(self, mutation: Mutation, within: int = _EXAMPLES) -> bool:
        """
        Whether a mistake shows in a cluster.

        Where no disk is lost the numbers alone must do: digests would hide most of them.
        """

        def holds_as_told() -> None:
            if twice_lost().differences() or twice_lost(ages((0, 1))).differences():
                raise _Caught
            with broken(NO_DIGESTS):
                if any(happened().differences() for happened in BY_NUMBERS):
                    raise _Caught

        def holds(steps: list[Step], chance: int) -> None:
            keeps_disks = not any(isinstance(step, Crash) and step.disk != "kept" for step in steps)
            try:
                with broken(NO_DIGESTS) if keeps_disks else nullcontext():
                    wrong = outcome(3, steps, chance)
            except (AssertionError, LookupError, ValueError) as error:
                raise _Caught from error
            if wrong:
                raise _Caught

        play = given(schedules(3), st.integers(0, 1 << 32))(holds)
        with broken(mutation):
            try:
                holds_as_told()
                seed(1)(settings(_BRIEF, max_examples=within)(play))()
            except _Caught:
                return True
        return False
