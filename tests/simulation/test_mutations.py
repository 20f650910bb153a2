"""
Tests for the simulator itself: whoever breaks replication is caught by it.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.mutations import MUTATIONS, Mutation, broken
from tests.simulation.schedules import Step, outcome, schedules, twice_lost

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
        """

        def holds_when_lost() -> None:
            if twice_lost().differences():
                raise _Caught

        def holds(steps: list[Step], chance: int) -> None:
            try:
                wrong = outcome(3, steps, chance, by_numbers=True)
            except (AssertionError, LookupError, ValueError) as error:
                raise _Caught from error
            if wrong:
                raise _Caught

        play = given(schedules(3), st.integers(0, 1 << 32))(holds)
        with broken(mutation):
            try:
                holds_when_lost()
                seed(1)(settings(_BRIEF, max_examples=within)(play))()
            except _Caught:
                return True
        return False
