"""
Tests for L{sipxha.auth.failures}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.failures import Burst, FailureLimits, Failures, network

NOW = 1_140_817_000.0
HERE, THERE = "192.0.2.1", "192.0.2.2"


class FailuresTests(SynchronousTestCase):
    """
    Tests for whose guesses are not looked at.
    """

    def setUp(self) -> None:
        self.failures = Failures()

    def fail_(self, times: int, source: str = HERE, username: str = "201", now: float = NOW) -> int:
        """
        Guess.

        @return: How many guesses were looked at.
        """
        looked_at = 0
        for _ in range(times):
            if not self.failures.is_held(source, username, now):
                looked_at += 1
                self.failures.failed(source, username, now)
        return looked_at

    def test_five_guesses_at_one_user_are_looked_at(self) -> None:
        """
        Then one every twelve seconds, however many there are.
        """
        self.assertEqual(self.fail_(100), 5)
        self.assertEqual(self.fail_(100, now=NOW + 11), 0)
        self.assertEqual(self.fail_(100, now=NOW + 12.5), 1)
        self.assertEqual(self.fail_(100, now=NOW + 500), 5)

    def test_nobody_is_locked_out_elsewhere(self) -> None:
        """
        Neither the same user at another address, nor another user at the same.
        """
        self.fail_(100)
        self.assertFalse(self.failures.is_held(THERE, "201", NOW))
        self.assertFalse(self.failures.is_held(HERE, "202", NOW))

    def test_a_source_that_tries_many_users_is_held_too(self) -> None:
        """
        But who proved himself there goes on.
        """
        self.failures.proved(HERE, "300")
        looked_at = sum(self.fail_(1, username=str(number)) for number in range(1000, 1200))
        self.assertEqual(looked_at, 60)
        self.assertTrue(self.failures.is_held(HERE, "201", NOW))
        self.assertFalse(self.failures.is_held(HERE, "300", NOW))
        self.assertEqual(self.fail_(100, username="300"), 5)
        self.assertFalse(self.failures.is_held(HERE, "201", NOW + 1.5))

    def test_a_burst_is_told_once(self) -> None:
        """
        Until the source has kept quiet for a minute, whomever it tries.
        """
        self.fail_(4)
        self.assertEqual(self.failures.take_bursts(), [])
        for second in range(200):
            self.fail_(3, now=NOW + second, username=str(200 + second % 3))
        self.assertEqual([burst.source for burst in self.failures.take_bursts()], [HERE])
        self.fail_(6, now=NOW + 300)
        self.assertEqual(self.failures.take_bursts(), [Burst(HERE, "201")])
        self.assertEqual(self.failures.take_bursts(), [])

    def test_memory_is_bounded(self) -> None:
        """
        Those who failed longest ago are forgotten.
        """
        self.failures = Failures(remembered=10)
        for number in range(1000):
            source = f"192.0.{number // 250}.{number % 250}"
            self.fail_(6, source)
            self.failures.proved(source, "201")
        failures = self.failures
        sizes = [len(failures._pairs), len(failures._sources), len(failures._proved), len(failures._guessing)]
        self.assertEqual(sizes, [10, 10, 10, 10])
        self.assertEqual(len(failures.take_bursts()), 100)
        self.assertTrue(failures.is_held("192.0.3.249", "201", NOW))

    def test_a_clock_that_was_set_back_holds_nobody(self) -> None:
        """
        Not for the hour that it lost.
        """
        self.fail_(100)
        self.assertEqual(self.fail_(100, now=NOW - 3600), 5)

    @given(
        st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["201", "202"])), max_size=200),
        st.integers(1, 10),
        st.integers(1, 20),
    )
    def test_no_minute_has_more_than_twice_the_limit(
        self, guesses: list[tuple[float, str]], each: int, source: int
    ) -> None:
        """
        What drains in a minute is at most as much as fits.
        """
        failures = Failures(FailureLimits(each, source, 60))
        now, looked_at = NOW, []
        for pause, username in guesses:
            now += pause
            if not failures.is_held(HERE, username, now):
                failures.failed(HERE, username, now)
                looked_at.append((now, username))
        for start, username in looked_at:
            within = [name for when, name in looked_at if start <= when < start + 60]
            self.assertLessEqual(within.count(username), 2 * each)
            self.assertLessEqual(len(within), 2 * source)


class NetworkTests(SynchronousTestCase):
    """
    Tests for L{network}.
    """

    def test_all_of_a_64_is_one_source(self) -> None:
        """
        An address of IPv4 is itself, also where it looks like one of IPv6, and
        so is what is none.
        """
        self.assertEqual(network("::ffff:192.0.2.1"), HERE)
        self.assertEqual(network("2001:db8:1:2:3::4"), network("2001:db8:1:2::5%eth0"))
        self.assertNotEqual(network("2001:db8:1:2::4"), network("2001:db8:1:3::4"))
        for text in (HERE, "", "phone.example.com", "not:an:address"):
            self.assertEqual(network(text), text)
